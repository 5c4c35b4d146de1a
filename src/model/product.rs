//! Packed weights of the encoder's products: where a packed checkpoint holds them, else packed out of its tensors.

use crossrank_kernels::{PackedWeights, PanelDtype, StoredMatrix};

use super::linear::Packing;
use super::loading::Loading;
use crate::checkpoint::packed::panels_name;
use crate::checkpoint::roles::Roles;
use crate::checkpoint::tensors::MatrixTensor;
use crate::error::Result;
use crate::family::roles::role;

/// A Linear layer of the encoder. In a packed checkpoint its weights are part of a product, and only the bias is there.
pub(crate) struct EncoderLinear {
    role: String,
    weight: Option<MatrixTensor>,
    pub(crate) bias: Vec<f32>,
}

impl EncoderLinear {
    /// Finds the weight of shape [n, k] of the Linear layer that plays `role`, unless it is packed, and its bias of
    /// shape [n], where it has one.
    pub(crate) fn find(
        loading: Loading<'_>,
        role: String,
        [n, k]: [usize; 2],
        has_bias: bool,
    ) -> Result<Self> {
        let roles = loading.roles;
        let weight = match roles.weights.packed() {
            Some(_) => None,
            None => Some(roles.find_matrix(&format!("{role}.weight"), n, k)?),
        };
        let bias = match has_bias {
            true => roles.vector(loading.isa(), &format!("{role}.bias"), n)?,
            // What is added to a number and leaves all its bits, so that there is one kernel for both.
            false => vec![-0.0; n],
        };
        Ok(Self { role, weight, bias })
    }

    /// A product of this layer alone, as part `part` of layer `i`.
    pub(crate) fn load(
        &self,
        loading: Loading<'_>,
        (i, part): (usize, &str),
        k: usize,
    ) -> Result<PackedWeights> {
        stacked(loading, (i, part), k, &[self])
    }
}

/// One product of Linear layers that read the same, whose outputs stand side by side, as part `part` of layer `i`.
pub(crate) fn stacked(
    loading: Loading<'_>,
    (i, part): (usize, &str),
    k: usize,
    parts: &[&EncoderLinear],
) -> Result<PackedWeights> {
    let Packing { isa, panels } = loading.packing;
    let bias = parts.iter().map(|part| &*part.bias).collect::<Vec<_>>().concat();
    let product = Product { role: &role(i, part), shape: [bias.len(), k], parts, biases: &[&bias] };
    let pack = |matrices: &[StoredMatrix<'_>]| {
        let parts: Vec<_> = matrices.iter().zip(parts).map(|(&matrix, part)| (matrix, &*part.bias)).collect();
        vec![PackedWeights::pack(isa, panels, &parts)]
    };
    let mut products = product.load(loading.roles, loading.packing, pack)?;
    Ok(products.pop().expect("a product was loaded for its one bias"))
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
