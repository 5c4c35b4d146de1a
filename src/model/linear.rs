//! Linear layers of a checkpoint: checked, then packed.

use crossrank_kernels::{Isa, PackedWeights, PanelDtype};

use crate::error::Result;
use crate::weights::{MatrixTensor, Weights};

/// By which instructions weights are packed, and how they hold their values.
#[derive(Clone, Copy)]
pub(crate) struct Packing {
    pub(crate) isa: Isa,
    pub(crate) dtype: PanelDtype,
}

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

    pub(crate) fn pack(&self, packing: Packing, weights: &Weights) -> PackedWeights {
        PackedWeights::pack(packing.isa, packing.dtype, &[(weights.matrix(&self.weight), &self.bias)])
    }
}
