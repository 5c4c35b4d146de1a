//! Which tensors of a checkpoint a model is made of, by the names that the file has for them.

use std::collections::BTreeSet;

use crate::checkpoint::names::Source;
use crate::checkpoint::roles::Roles;
use crate::family::description::HeadStep;
use crate::family::roles::{WORDS, head_role};
use crate::model::Model;
use crate::model::calibration::{Untreated, check};

/// A tensor of the checkpoint that plays a role. One of which several roles have some rows each comes once for each.
#[doc(hidden)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceTensor {
    /// What its file calls it.
    pub name: String,
    /// Its file, as errors name it.
    pub file: String,
    /// Such as `layer.0.query.weight`.
    pub role: String,
    /// What it is for.
    pub used_for: TensorUse,
}

/// What a tensor is for.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TensorUse {
    /// The table of words.
    Words,
    /// The weight of a Linear layer of the encoder, or of the head but for the last.
    LinearWeight,
    /// The weight of the Linear layer that makes the logits.
    LogitsWeight,
    /// Anything else: other tables, norms, biases.
    Other,
}

impl Model {
    /// All tensors that play a role, in the order of roles.
    pub(crate) fn sources(&self) -> Vec<SourceTensor> {
        let head = self.description.head.iter().enumerate().filter_map(|(i, step)| match step {
            HeadStep::Dense(_) => Some(head_role(i)),
            HeadStep::Norm(_) => None,
        });
        let mut linears: BTreeSet<String> = self.description.linears().chain(head).collect();
        let logits = head_role(self.description.head.len() - 1);
        linears.remove(&logits);
        let used_for = |role: &str| match role.strip_suffix(".weight") {
            _ if role == WORDS => TensorUse::Words,
            Some(linear) if linear == logits => TensorUse::LogitsWeight,
            Some(linear) if linears.contains(linear) => TensorUse::LinearWeight,
            _ => TensorUse::Other,
        };
        let sources = self.names.iter().filter_map(|(role, Source { tensor, .. })| {
            Some(SourceTensor {
                name: format!("{}{tensor}", self.weights.wrappers()),
                file: self.weights.file_of(tensor)?.to_owned(),
                role: role.to_owned(),
                used_for: used_for(role),
            })
        });
        sources.collect()
    }

    /// What the file calls the tensor of a role, or would call the factors of a residual if it had them.
    pub(crate) fn tensor_of(&self, role: &str) -> Option<String> {
        let name = match self.names.get(role) {
            Some(source) => source.tensor.clone(),
            None => self.names.residual_scale(role)?,
        };
        Some(format!("{}{name}", self.weights.wrappers()))
    }

    /// Decides whether calibration can treat this model.
    pub(crate) fn check_calibration(&self) -> Result<(), Untreated> {
        let roles = Roles { weights: &self.weights, names: &self.names };
        check(&self.description, |role| self.names.get(role).filter(|_| roles.contains(role)).cloned())
    }
}
