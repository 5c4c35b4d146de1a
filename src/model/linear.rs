//! Linear layers: checked and packed, and their products shared among workers.

use crossrank_kernels::{Epilogue, Isa, PANEL, PackedWeights, PanelDtype, Rows, RowsMut, linear};

use super::workspace::Scratch;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::fork::{fork_columns, fork_rows};
use crate::weights::{MatrixTensor, Weights};

/// By which instructions weights are packed, and how they hold their values.
#[derive(Clone, Copy)]
pub(crate) struct Packing {
    pub(crate) isa: Isa,
    pub(crate) dtype: PanelDtype,
    /// Whether the encoder's weights take the form in which the instruction set multiplies them fastest, not the one that
    /// packed checkpoints hold.
    pub(crate) split: bool,
}

impl Packing {
    /// That of products that one row a sequence goes through: too few to pay for quantising them, and next to the score.
    pub(crate) fn of_cls(self) -> Self {
        let dtype = match self.dtype {
            PanelDtype::F32 => PanelDtype::F32,
            PanelDtype::Bf16 | PanelDtype::Int8 => PanelDtype::Bf16,
        };
        Self { dtype, ..self }
    }

    /// Values in an element of what products make of some columns: two are a [pair](Isa::pairs).
    pub(crate) fn depth(self, columns: usize) -> usize {
        if self.isa.pairs(self.dtype) && columns.is_multiple_of(UNIT) { 2 } else { 1 }
    }

    /// Packed weights in the form that products take.
    pub(crate) fn finish(self, packed: Vec<PackedWeights>) -> Vec<PackedWeights> {
        if !self.split {
            return packed;
        }
        packed.into_iter().map(|weights| weights.split(self.isa)).collect()
    }

    /// Fails where the dtype cannot hold the products of a model.
    pub(crate) fn check(self, config: &Config) -> Result<()> {
        let depth = config.hidden.max(config.intermediate);
        match self.dtype.max_depth() {
            Some(most) if depth > most => {
                let name = self.dtype.name();
                Err(Error::option("dtype", format!("{name} allows products of depth {most}, found {depth}")))
            }
            _ => Ok(()),
        }
    }
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
    let width = if dst.cols() == n { UNIT } else { UNIT / 2 };
    fork_columns(n.div_ceil(UNIT), [width], [dst.reborrow()], scratches, &|units, [dst], scratch| {
        let columns = units.start * UNIT..n.min(units.end * UNIT);
        let epilogue = match epilogue.residual() {
            Some(residual) => Epilogue::Residual(residual.column_range(columns.clone())),
            None => epilogue,
        };
        linear(isa, lhs, weights.columns(columns), epilogue, &mut scratch.linear, dst);
    });
    if let Epilogue::ResidualNorm { norm, .. } = epilogue {
        fork_rows(0..lhs.rows(), [dst], scratches, &|_, [rows], _| norm.apply(isa, None, rows));
    }
}
