//! New weights for some layers of a model that stays loaded.

use safetensors::Dtype;

use crate::checkpoint::roles::Roles;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::model::head::Head;
use crate::model::loading::Loading;

/// A Linear layer in int8.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct NewLinear {
    /// Such as `layer.0.query`.
    pub role: String,
    /// The weights row by row, an output each: value = byte * scale of its row.
    pub values: Vec<i8>,
    /// One a row.
    pub scales: Vec<f32>,
    /// One a row.
    pub bias: Vec<f32>,
}

impl Model {
    /// Puts Linear layers in the place of those of `layer`, or of the head where that is the last, and packs that layer
    /// anew. What results is the model that loading a checkpoint with these tensors gives.
    pub(crate) fn replace(&mut self, layer: usize, linears: Vec<NewLinear>) -> Result<()> {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
        for NewLinear { role, values, scales, bias } in linears {
            let tensor = |part: &str| {
                let source = self.names.get(&format!("{role}.{part}"));
                source.map(|source| source.tensor.clone()).ok_or_else(|| Error::MissingTensor {
                    file: self.weights.name().to_owned(),
                    tensor: format!("{role}.{part}"),
                    hint: " among the roles of this model",
                })
            };
            let (weight, bias_name) = (tensor("weight")?, tensor("bias")?);
            let shape = vec![scales.len(), values.len().checked_div(scales.len()).unwrap_or(0)];
            let values = values.into_iter().map(|byte| byte as u8).collect();
            self.weights.put(&format!("{weight}_scale"), Dtype::F32, vec![scales.len()], bytes(&scales));
            self.weights.put(&weight, Dtype::I8, shape, values);
            self.weights.put(&bias_name, Dtype::F32, vec![bias.len()], bytes(&bias));
        }
        let roles = Roles { weights: &self.weights, names: &self.names };
        let loading = Loading { roles, description: &self.description, packing: self.packing };
        self.encoder.load_layer_anew(loading, layer)?;
        if layer + 1 == self.description.layers.len() {
            self.head = Head::load(loading)?;
        }
        Ok(())
    }
}
