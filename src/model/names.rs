//! The names that checkpoints give their tensors.

use crate::checkpoint::tensors::Weights;
use crate::error::{Error, Result};

/// Prefixes under which the encoder is found, and the classifier beside it.
const PREFIXES: [(&str, &str); 3] = [("bert.", ""), ("module.bert.", "module."), ("", "")];

/// What the layers are within the encoder.
const LAYERS: &str = "encoder.layer.";

/// Tensor names of one checkpoint.
pub(crate) struct Names {
    encoder: &'static str,
    classifier: &'static str,
}

impl Names {
    /// Sees which prefix the checkpoint uses.
    pub(crate) fn detect(weights: &Weights) -> Result<Self> {
        let words = "embeddings.word_embeddings.weight";
        PREFIXES
            .into_iter()
            .find(|(encoder, _)| weights.contains(&format!("{encoder}{words}")))
            .map(|(encoder, classifier)| Self { encoder, classifier })
            .ok_or_else(|| Error::MissingTensor {
                file: weights.name().to_owned(),
                tensor: format!("bert.{words}"),
                hint: " (nor is it there as `module.bert....` or without a prefix)",
            })
    }

    /// The classifier, a Linear layer.
    pub(crate) fn classifier(&self) -> String {
        format!("{}classifier", self.classifier)
    }

    /// The pooler's Linear layer.
    pub(crate) fn pooler(&self) -> String {
        format!("{}pooler.dense", self.encoder)
    }

    /// A part of the embeddings.
    pub(crate) fn embeddings(&self, part: &str) -> String {
        format!("{}embeddings.{part}", self.encoder)
    }

    /// A part of layer `i`.
    pub(crate) fn layer(&self, i: usize, part: &str) -> String {
        format!("{}{LAYERS}{i}.{part}", self.encoder)
    }

    /// Whether a tensor is part of a layer.
    pub(crate) fn is_of_layer(&self, tensor: &str) -> bool {
        tensor.strip_prefix(self.encoder).is_some_and(|part| part.starts_with(LAYERS))
    }
}
