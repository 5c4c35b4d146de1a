//! Linear layers: checked and packed, and their products shared among workers.

use crossrank_kernels::{Epilogue, Isa, PANEL, PackedWeights, PanelDtype, Rows, RowsMut, linear};

use super::workspace::Scratch;
use crate::error::Result;
use crate::fork::{fork_columns, fork_rows};
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

/// Columns that no cut goes through when workers share a product: those of the widest tile.
const UNIT: usize = 2 * PANEL;

/// What [`linear`] gives, to the bit; each worker reads its own columns of the weights. Each of `scratches` is a worker.
pub(crate) fn linear_by_columns(
    isa: Isa,
    lhs: Rows<'_>,
    weights: &PackedWeights,
    epilogue: Epilogue<'_>,
    scratches: &mut [Scratch],
    mut dst: RowsMut<'_>,
) {
    if let [scratch] = scratches {
        return linear(isa, lhs, weights, epilogue, &mut scratch.linear, dst);
    }
    let n = weights.n();
    fork_columns(n.div_ceil(UNIT), [UNIT], [dst.reborrow()], scratches, &|units, [dst], scratch| {
        let columns = units.start * UNIT..n.min(units.end * UNIT);
        let epilogue = match epilogue {
            Epilogue::Residual(residual) | Epilogue::ResidualNorm { residual, .. } => {
                Epilogue::Residual(residual.column_range(columns.clone()))
            }
            Epilogue::Bias | Epilogue::Activation(_) => epilogue,
        };
        linear(isa, lhs, weights.columns(columns), epilogue, &mut scratch.linear, dst);
    });
    if let Epilogue::ResidualNorm { norm, .. } = epilogue {
        fork_rows(0..lhs.rows(), [dst], scratches, &|_, [rows], _| norm.apply(isa, None, rows));
    }
}
