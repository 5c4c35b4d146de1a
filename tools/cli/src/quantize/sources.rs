//! The tensors of a checkpoint as the engine sees them: it alone knows what each is for, and what files call it.

use std::collections::BTreeMap;
use std::path::Path;

use crossrank::{Reranker, TensorUse};

/// Which tensors of which files the engine uses, and what for.
pub struct Sources<'a> {
    model: &'a Reranker,
    /// By name: the file that has the copy which counts, as the engine shows it.
    tensors: BTreeMap<String, (String, TensorUse)>,
}

impl<'a> Sources<'a> {
    /// Those of a model that was loaded from a folder.
    pub fn of(model: &'a Reranker) -> Self {
        let tensors = model.sources().into_iter();
        let tensors = tensors.map(|source| (source.name, (source.file, source.used_for)));
        Self { model, tensors: tensors.collect() }
    }

    /// What the engine uses a tensor of a file for, if it does.
    pub fn use_of(&self, file: &Path, tensor: &str) -> Option<TensorUse> {
        let shown = file.display().to_string();
        self.tensors.get(tensor).filter(|(own, _)| *own == shown).map(|&(_, used_for)| used_for)
    }

    /// What the checkpoint calls a part of a Linear layer or norm, given by its role; also of a `residual_scale` that it
    /// has not. Only roles that the engine has given out are asked for, and of a model that it says calibration can
    /// treat.
    pub fn name(&self, role: &str, part: &str) -> String {
        let name = self.model.tensor_of(&format!("{role}.{part}"));
        name.expect("the engine has checked that its Linear layers and norms have all parts")
    }

    /// The same, where the norm may do without the part.
    pub fn optional_name(&self, role: &str, part: &str) -> Option<String> {
        self.model.tensor_of(&format!("{role}.{part}"))
    }
}
