//! Packed weights of the encoder's products: where a packed checkpoint holds them, else packed out of its tensors.

use crossrank_kernels::{PackedWeights, PanelDtype, StoredMatrix};

use super::linear::Packing;
use crate::checkpoint::packed::panels_name;
use crate::checkpoint::roles::Roles;
use crate::checkpoint::tensors::MatrixTensor;
use crate::error::Result;

/// A Linear layer of the encoder. In a packed checkpoint its weights are part of a product, and only the bias is there.
pub(crate) struct EncoderLinear {
    role: String,
    weight: Option<MatrixTensor>,
    pub(crate) bias: Vec<f32>,
}

impl EncoderLinear {
    /// Finds the weight of shape [n, k] of the Linear layer that plays `role`, unless it is packed, and its bias of
    /// shape [n].
    pub(crate) fn find(roles: Roles<'_>, packing: Packing, role: String, n: usize, k: usize) -> Result<Self> {
        let weight = match roles.weights.packed() {
            Some(_) => None,
            None => Some(roles.find_matrix(&format!("{role}.weight"), n, k)?),
        };
        let bias = roles.vector(packing.isa, &format!("{role}.bias"), n)?;
        Ok(Self { role, weight, bias })
    }

    /// A product of this layer alone, which has the layer's role.
    pub(crate) fn load(&self, roles: Roles<'_>, packing: Packing, k: usize) -> Result<PackedWeights> {
        let shape = [self.bias.len(), k];
        let product = Product { role: &self.role, shape, parts: &[self], biases: &[&self.bias] };
        let pack = |matrices: &[StoredMatrix<'_>]| {
            vec![PackedWeights::pack(packing.isa, packing.panels, &[(matrices[0], &self.bias)])]
        };
        product.load(roles, packing, pack).map(one)
    }
}

/// Products of one shape, which lie side by side in one tensor of a packed checkpoint.
pub(crate) struct Product<'a> {
    pub(crate) role: &'a str,
    /// Outputs and depth of each.
    pub(crate) shape: [usize; 2],
    /// What they are made of.
    pub(crate) parts: &'a [&'a EncoderLinear],
    /// One for each product; empty for none.
    pub(crate) biases: &'a [&'a [f32]],
}

impl Product<'_> {
    /// The packed weights, which `pack` makes of the matrices of the parts. Their memory in the checkpoint is then
    /// given back.
    pub(crate) fn load(
        &self,
        roles: Roles<'_>,
        packing: Packing,
        pack: impl FnOnce(&[StoredMatrix<'_>]) -> Vec<PackedWeights>,
    ) -> Result<Vec<PackedWeights>> {
        let weights = roles.weights;
        let matrices: Option<Vec<_>> =
            self.parts.iter().map(|part| part.weight.as_ref().map(|weight| weights.matrix(weight))).collect();
        if let Some(matrices) = matrices {
            let packed = pack(&matrices);
            drop(matrices);
            self.parts.iter().for_each(|part| roles.release(&format!("{}.weight", part.role)));
            return Ok(packed);
        }
        let Packing { isa, panels } = packing;
        // The file was packed as plain f32 by a machine that does not multiply digits.
        let whole = panels == PanelDtype::Digits && weights.packed() == Some(PanelDtype::F32);
        let held = if whole { PanelDtype::F32 } else { panels };
        let (bytes, range) = roles.find_panels(self.role, held, self.biases.len(), self.shape)?;
        let len = range.len() / self.biases.len();
        let packed = self.biases.iter().enumerate().map(|(i, bias)| {
            let start = range.start + i * len;
            PackedWeights::from_panels(held, self.shape, bias, bytes, start..start + len)
        });
        if !whole {
            return Ok(packed.collect());
        }
        let packed = packed.map(|packed| packed.to_digits(isa)).collect();
        roles.release(&panels_name(self.role));
        Ok(packed)
    }
}

/// Of products that are one.
pub(crate) fn one(mut products: Vec<PackedWeights>) -> PackedWeights {
    products.pop().expect("a product was loaded for its one bias")
}
