//! Linear layers: how they are packed, and their products shared among workers.

use crossrank_kernels::{
    Epilogue, Isa, LhsRows, PANEL, PackedWeights, PanelDtype, RowFormat, RowsMut, linear,
};

use super::workspace::Scratch;
use crate::checkpoint::tensors::Weights;
use crate::error::{Error, Result};
use crate::family::Description;
use crate::workers::fork::{fork_columns, fork_rows};

/// By which instructions weights are packed, and how they hold their values.
#[derive(Clone, Copy)]
pub(crate) struct Packing {
    pub(crate) isa: Isa,
    pub(crate) panels: PanelDtype,
}

impl Packing {
    /// Of a model whose encoder's products are to have the precision of `dtype`.
    ///
    /// Fails where that cannot hold them, or where the checkpoint is packed for other instructions.
    pub(crate) fn new(
        isa: Isa,
        dtype: PanelDtype,
        description: &Description,
        weights: &Weights,
    ) -> Result<Self> {
        let depth = description.deepest();
        let fits = |panels: &PanelDtype| panels.max_depth().is_none_or(|most| depth <= most);
        let Some(panels) = [isa.panel_dtype(dtype), dtype].into_iter().find(fits) else {
            let (name, most) = (dtype.name(), dtype.max_depth().unwrap_or(depth));
            return Err(Error::option(
                "dtype",
                format!("{name} allows products of depth {most}, found {depth}"),
            ));
        };
        if weights.packed() == Some(PanelDtype::Digits) && panels != PanelDtype::Digits {
            return Err(weights.packed_otherwise(format!("f32, for {}", isa.name())));
        }
        Ok(Self { isa, panels })
    }

    /// That of transposed weights: an output's scale in bytes would be one of their depth.
    pub(crate) fn transposed(self) -> Self {
        let panels = match self.panels {
            PanelDtype::Int8 => PanelDtype::Bf16,
            panels => panels,
        };
        Self { panels, ..self }
    }

    /// What rows of so many columns hold that a product makes and another reads, where workers may share those columns.
    pub(crate) fn between(self, columns: usize) -> RowFormat {
        let pairs = self.isa.stores_pairs(self.panels) && columns.is_multiple_of(UNIT);
        if pairs { RowFormat::Bf16Pairs } else { RowFormat::F32 }
    }
}

/// Columns that no cut goes through when workers share a product: those of the widest tile.
const UNIT: usize = 2 * PANEL;

/// What [`linear`] gives, to the bit; each worker reads its own columns of the weights. Each of `scratches` is a
/// worker.
pub(crate) fn linear_by_columns<'a>(
    isa: Isa,
    lhs: impl Into<LhsRows<'a>>,
    weights: &PackedWeights,
    epilogue: Epilogue<'_>,
    scratches: &mut [Scratch],
    mut dst: RowsMut<'_>,
) {
    let lhs = lhs.into();
    if let [scratch] = scratches {
        return linear(isa, lhs, weights, epilogue, &mut scratch.linear, dst);
    }
    let n = weights.n();
    fork_columns(n.div_ceil(UNIT), [UNIT], [dst.reborrow()], scratches, &|units, [dst], scratch| {
        let columns = units.start * UNIT..n.min(units.end * UNIT);
        let epilogue = match epilogue.residual_scale() {
            Some(scale) => Epilogue::Residual(&scale[columns.clone()]),
            None => epilogue,
        };
        linear(isa, lhs, weights.columns(columns), epilogue, &mut scratch.linear, dst);
    });
    if let Epilogue::ResidualNorm(norm) = epilogue {
        fork_rows(0..lhs.rows.rows(), [dst], scratches, &|_, [rows], _| norm.apply(isa, rows));
    }
}
