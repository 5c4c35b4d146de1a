//! Which tensor of a checkpoint plays which role.

use std::collections::BTreeMap;
use std::ops::Range;

/// The part of a norm that scales the residual which is added before it.
const RESIDUAL_SCALE: &str = "residual_scale";

/// A tensor, or some rows of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Source {
    pub(crate) tensor: String,
    /// None for all rows.
    pub(crate) rows: Option<Part>,
}

/// Some rows of a tensor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) rows: Range<usize>,
    /// How many the tensor has.
    pub(crate) of: usize,
}

/// Roles such as `layer.0.query.weight`, and the tensors of a checkpoint that play them. A packed checkpoint calls its
/// tensors by their roles.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    sources: BTreeMap<String, Source>,
    /// What the names of all tensors of layers begin with.
    layers: String,
    /// What may be in layers, and who says how many there are, for errors about what else there is.
    pub(crate) expected_layers: String,
}

impl Names {
    /// Without any role yet.
    pub(crate) fn new(layers: impl Into<String>, expected_layers: impl Into<String>) -> Self {
        Self { sources: BTreeMap::new(), layers: layers.into(), expected_layers: expected_layers.into() }
    }

    /// Whether a tensor belongs to a layer.
    pub(crate) fn is_of_layer(&self, tensor: &str) -> bool {
        tensor.starts_with(&self.layers)
    }

    /// Gives a role to a whole tensor.
    pub(crate) fn insert(&mut self, role: impl Into<String>, tensor: impl Into<String>) {
        self.sources.insert(role.into(), Source { tensor: tensor.into(), rows: None });
    }

    /// Gives a role to part `n` of a tensor that has `parts` of `rows` rows each.
    pub(crate) fn insert_part(
        &mut self,
        role: impl Into<String>,
        tensor: impl Into<String>,
        [n, parts]: [usize; 2],
        rows: usize,
    ) {
        let part = Part { rows: n * rows..(n + 1) * rows, of: parts * rows };
        self.sources.insert(role.into(), Source { tensor: tensor.into(), rows: Some(part) });
    }

    /// What plays a role.
    pub(crate) fn get(&self, role: &str) -> Option<&Source> {
        self.sources.get(role)
    }

    /// The name of what has this role in front of `.weight`: a Linear layer or a norm.
    pub(crate) fn module(&self, role: &str) -> String {
        let tensor = self.get(&format!("{role}.weight")).map_or(role, |source| &source.tensor);
        tensor.rsplit_once('.').map_or(tensor, |(module, _)| module).to_owned()
    }

    /// What a checkpoint calls the factors of a residual, a norm's `residual_scale`, whether or not it has some: they
    /// lie beside the weight of the norm. None where `role` is no such factors, or the norm has no tensor.
    pub(crate) fn residual_scale(&self, role: &str) -> Option<String> {
        let (norm, part) = role.rsplit_once('.')?;
        self.get(&format!("{norm}.weight")).filter(|_| part == RESIDUAL_SCALE)?;
        Some(format!("{}.{RESIDUAL_SCALE}", self.module(norm)))
    }

    /// All roles with what plays them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.sources.iter().map(|(role, source)| (&**role, source))
    }
}
