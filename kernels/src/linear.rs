//! A Linear layer: a product with packed weights, and what happens to it before it leaves the cache.

use std::ops::Range;

use crate::activation::Activation;
use crate::digits::{DigitProduct, digit_slots};
use crate::isa::{Isa, Kernel};
use crate::layer_norm::LayerNorm;
use crate::matmul::{Lhs, MAX_TILE, TileEpilogue, multiply};
use crate::matrix::Buffer;
use crate::operand::{FloatProduct, slot_rows, slot_stride};
use crate::pack::{PackedColumns, PanelDtype, widen_bf16_panels};
use crate::panels::{Panels, Source};
use crate::product::{MulAdd, Product};
use crate::quantize::QuantizedRows;
use crate::simd::{DigitKernel, DotKernel, PairKernel, Simd};
use crate::view::{Rows, RowsMut};

/// The most rows that go through all panels together.
pub fn max_block_rows(isa: Isa) -> usize {
    isa.block_shape().1
}

/// Cuts rows into blocks of whole tiles, as even as those allow, each of which goes through all panels of weights
/// together. What happens to few columns of a block at a time, and to the next step of it, finds the block in L2.
pub fn row_blocks(isa: Isa, rows: usize) -> impl Iterator<Item = Range<usize>> {
    let (tile, most) = isa.block_shape();
    let tiles = rows.div_ceil(tile);
    let blocks = tiles.div_ceil(most / tile);
    (0..blocks).map(move |i| tiles * i / blocks * tile..rows.min(tiles * (i + 1) / blocks * tile))
}

/// What happens to a product before it leaves the cache.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// Nothing beyond the bias.
    Bias,
    /// Bias, then an activation, tile by tile.
    Activation(Activation),
    /// Bias and residual.
    Residual(Residual<'a>),
    /// Bias and residual, as the norm scales it, then layer normalisation of each finished row.
    ResidualNorm {
        /// Added before normalising; of the shape of dst.
        residual: Rows<'a>,
        /// The normalisation.
        norm: &'a LayerNorm,
    },
}

impl<'a> Epilogue<'a> {
    /// What is added beside the bias.
    pub fn residual(self) -> Option<Residual<'a>> {
        match self {
            Self::Bias | Self::Activation(_) => None,
            Self::Residual(residual) => Some(residual),
            Self::ResidualNorm { residual: rows, norm } => {
                Some(Residual { rows, scale: norm.residual_scale() })
            }
        }
    }
}

/// What is added to a product.
#[derive(Clone, Copy, Debug)]
pub struct Residual<'a> {
    /// Of the shape of dst.
    pub rows: Rows<'a>,
    /// A factor for each column.
    pub scale: &'a [f32],
}

impl<'a> Residual<'a> {
    /// Some columns of it.
    pub fn column_range(self, columns: Range<usize>) -> Self {
        Self { rows: self.rows.column_range(columns.clone()), scale: &self.scale[columns] }
    }

    /// Some rows of it.
    fn row_range(self, rows: Range<usize>) -> Self {
        Self { rows: self.rows.row_range(rows), ..self }
    }

    /// Panics when its shape is not that of dst.
    pub(crate) fn check(&self, dst: &RowsMut<'_>) {
        let shape = (self.rows.rows(), self.rows.cols(), self.scale.len());
        assert_eq!(shape, (dst.rows(), dst.cols(), dst.cols()), "residual, its scale, and dst");
    }
}

/// Memory that a product works in; grows to the deepest weights and stays.
#[derive(Clone, Debug, Default)]
pub struct LinearScratch {
    /// Panels of one tile, widened.
    panels: Buffer,
    /// Rows of one block, in bfloat16.
    rounded: Buffer,
    /// Rows of one block, in bytes or digits.
    quantized: QuantizedRows,
}

impl LinearScratch {
    /// Makes room for weights of up to depth `k`, packed as `dtype`.
    pub fn reserve(&mut self, isa: Isa, dtype: PanelDtype, k: usize) {
        match dtype {
            PanelDtype::F32 => {}
            PanelDtype::Digits => self.quantized.reserve(max_block_rows(isa), digit_slots(k)),
            PanelDtype::Bf16 if isa.has_pairs() => {
                self.rounded.at_least(max_block_rows(isa) * slot_stride(k.div_ceil(2)));
            }
            PanelDtype::Bf16 => _ = self.panels.at_least(MAX_TILE.1 * k),
            PanelDtype::Int8 => self.quantized.reserve(max_block_rows(isa), k.div_ceil(4)),
        }
    }
}

/// dst = epilogue(lhs * weights^T + bias): lhs is m x k, the weights n x k, dst m x n.
///
/// On an instruction set that has [pairs](Isa::pairs) of bfloat16, dst may be m x n / 2 of them where n is whole tiles of 32
/// and there is no residual, and lhs m x k / 2 where the weights are bfloat16: the same bits, as they would be rounded.
///
/// # Panics
/// When the shapes do not fit.
pub fn linear<'w>(
    isa: Isa,
    lhs: Rows<'_>,
    weights: impl Into<PackedColumns<'w>>,
    epilogue: Epilogue<'_>,
    scratch: &mut LinearScratch,
    dst: RowsMut<'_>,
) {
    linear_columns(isa, lhs, weights.into(), epilogue, scratch, dst);
}

/// [`linear`], without a type parameter: or every crate that calls it would compile all tiles anew.
fn linear_columns(
    isa: Isa,
    lhs: Rows<'_>,
    weights: PackedColumns<'_>,
    epilogue: Epilogue<'_>,
    scratch: &mut LinearScratch,
    dst: RowsMut<'_>,
) {
    struct Linear<'a> {
        isa: Isa,
        lhs: Rows<'a>,
        weights: PackedColumns<'a>,
        epilogue: Epilogue<'a>,
        scratch: &'a mut LinearScratch,
        dst: RowsMut<'a>,
    }
    impl Kernel for Linear<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Self { isa, lhs, weights, epilogue, scratch, mut dst } = self;
            assert_eq!(lhs.rows(), dst.rows(), "rows of lhs and dst");
            let pairs = dst.cols() != weights.n();
            assert!(!pairs || 2 * dst.cols() == weights.n(), "columns of rhs, and dst");
            let dtype = weights.dtype();
            assert!(!pairs || isa.pairs(dtype), "{} makes no pairs of {}", isa.name(), dtype.name());
            let activation = match epilogue {
                Epilogue::Activation(activation) => Some(activation),
                _ => None,
            };
            let residual = epilogue.residual();
            if let Some(residual) = residual {
                residual.check(&dst);
            }
            for block in row_blocks(isa, lhs.rows()) {
                let residual = residual.map(|residual| residual.row_range(block.clone()));
                let tiles = TileEpilogue { bias: Some(weights.bias()), residual, activation, pairs };
                let mut dst = dst.row_range(block.clone());
                let turn = Turn { first: block.start == 0, last: block.end == lhs.rows() };
                multiply_packed(simd, turn, lhs.row_range(block), weights, tiles, scratch, dst.reborrow());
                if let Epilogue::ResidualNorm { norm, .. } = epilogue {
                    norm.rows(simd, None, dst);
                }
            }
        }
    }
    isa.run(Linear { isa, lhs, weights, epilogue, scratch, dst });
}

/// Which block of rows goes through the weights.
#[derive(Clone, Copy)]
struct Turn {
    first: bool,
    last: bool,
}

#[inline(always)]
fn multiply_packed<S: Simd>(
    simd: S,
    turn: Turn,
    lhs: Rows<'_>,
    weights: PackedColumns<'_>,
    epilogue: TileEpilogue<'_>,
    scratch: &mut LinearScratch,
    mut dst: RowsMut<'_>,
) {
    let (k, n) = (weights.k(), weights.n());
    let pairs = lhs.cols() != k && weights.dtype() == PanelDtype::Bf16;
    assert_eq!(lhs.cols() * if pairs { 2 } else { 1 }, k, "depth of lhs and rhs");
    let next = if turn.last { None } else { Some(weights.upcoming()) };
    let source = Source::Far { first_is_near: !turn.first, next };
    let step = match weights.dtype() {
        PanelDtype::Int8 => {
            let lhs = scratch.quantized.quantize(simd, lhs);
            let rhs = Panels::scaled(weights.panels(), 1, k.div_ceil(4), n).with_source(source);
            return simd.with_dot(MultiplyBytes { lhs, rhs, epilogue, dst });
        }
        PanelDtype::Digits => {
            let rhs = Panels::scaled(weights.panels(), 0, digit_slots(k), n).with_source(source);
            let room = &mut scratch.quantized;
            let done = simd.with_digits(MultiplyMade { lhs, k, room, rhs, epilogue, dst });
            assert!(done.is_ok(), "weights in digits, which {} does not multiply", simd.name());
            return;
        }
        PanelDtype::F32 => n.max(1),
        PanelDtype::Bf16 => {
            let rhs = Panels::packed(weights.panels(), k.div_ceil(2), n).with_source(source);
            let (room, dst) = (&mut scratch.rounded, dst.reborrow());
            if simd.with_pairs(MultiplyMade { lhs, k, room, rhs, epilogue, dst }).is_ok() {
                return;
            }
            assert!(!pairs, "pairs of bfloat16 for {}, which takes none", simd.name());
            // Widened once for all tiles of a block of rows, so that those are the tiles of f32.
            MAX_TILE.1
        }
    };
    // One call for both: it is compiled into as many tiles as there are shapes.
    for first in (0..n).step_by(step) {
        let columns = first..n.min(first + step);
        let panels = if weights.dtype() == PanelDtype::Bf16 {
            let here = weights.columns(columns.clone());
            let widened = scratch.panels.at_least(MAX_TILE.1 * k);
            widen_bf16_panels(simd, here.panels(), k, widened);
            let rest = weights.columns(columns.end..n);
            let next = match (rest.n() > 0, turn.last) {
                (true, _) => Some(rest.upcoming()),
                (false, false) => Some(weights.upcoming()),
                (false, true) => None,
            };
            let source = Source::Far { first_is_near: true, next };
            Panels::packed(widened, k, columns.len()).with_source(source)
        } else {
            Panels::packed(weights.panels(), k, n).with_source(source)
        };
        let epilogue = epilogue.columns(columns.clone());
        multiply(simd, MulAdd, lhs, panels, epilogue, dst.column_range(columns));
    }
}

/// [`multiply`] with the product of bytes.
struct MultiplyBytes<'a> {
    lhs: Lhs<'a>,
    rhs: Panels<'a>,
    epilogue: TileEpilogue<'a>,
    dst: RowsMut<'a>,
}

impl<S: Simd> DotKernel<S> for MultiplyBytes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<P: Product<S>>(self, simd: S, product: P) {
        multiply(simd, product, self.lhs, self.rhs, self.epilogue, self.dst);
    }
}

/// [`multiply`] with a product whose left-hand side is made in `room`: pairs, or digits.
struct MultiplyMade<'a, R> {
    lhs: Rows<'a>,
    k: usize,
    room: &'a mut R,
    rhs: Panels<'a>,
    epilogue: TileEpilogue<'a>,
    dst: RowsMut<'a>,
}

impl<S: Simd> DigitKernel<S> for MultiplyMade<'_, QuantizedRows> {
    type Output = ();
    #[inline(always)]
    fn run<P: DigitProduct<S>>(self, simd: S, product: P) {
        let product = product.closer(self.epilogue.residual.is_some());
        let lhs = self.room.split(simd, product, self.lhs);
        multiply(simd, product, lhs, self.rhs, self.epilogue, self.dst);
    }
}

impl<S: Simd> PairKernel<S> for MultiplyMade<'_, Buffer> {
    type Output = ();
    #[inline(always)]
    fn run<P: FloatProduct<S>>(self, simd: S, product: P) {
        let lhs = slot_rows(simd, product, self.lhs, self.k, P::LHS_UNIT, self.room);
        multiply(simd, product, lhs, self.rhs, self.epilogue, self.dst);
    }
}
