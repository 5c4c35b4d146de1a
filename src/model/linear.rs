//! Linear layers of a checkpoint: checked, then packed.

use crossrank_kernels::{Isa, PackedWeights};

use crate::error::Result;
use crate::weights::{MatrixTensor, Weights};

/// A Linear layer where the checkpoint holds it, before it is packed.
pub(crate) struct LinearTensors {
    pub(crate) weight: MatrixTensor,
    pub(crate) bias: Vec<f32>,
}

impl LinearTensors {
    /// Finds `prefix.weight` of shape [n, k] and `prefix.bias` of shape [n].
    pub(crate) fn find(weights: &Weights, isa: Isa, prefix: &str, n: usize, k: usize) -> Result<Self> {
        Ok(Self {
            weight: weights.find_matrix(&format!("{prefix}.weight"), n, k)?,
            bias: weights.vector(isa, &format!("{prefix}.bias"), n)?,
        })
    }

    pub(crate) fn pack(&self, isa: Isa, weights: &Weights) -> PackedWeights {
        PackedWeights::pack(isa, &[(weights.matrix(&self.weight), &self.bias)])
    }
}
