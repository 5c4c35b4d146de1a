//! A Linear layer: a product with packed weights, and what happens to it before it leaves the cache.

use std::ops::Range;

use crate::activation::Activation;
use crate::digits::{DigitProduct, digit_slots};
use crate::fine::{FineRows, LhsRows};
use crate::isa::{Isa, Kernel};
use crate::layer_norm::LayerNorm;
use crate::matmul::{Lhs, MAX_TILE, TileEpilogue, multiply};
use crate::matrix::Buffer;
use crate::operand::{FloatProduct, slot_rows, slot_stride};
use crate::pack::{PackedColumns, PanelDtype, widen_bf16_panels};
use crate::panels::{Panels, Source, Upcoming};
use crate::product::{MulAdd, Product};
use crate::quantize::QuantizedRows;
use crate::simd::{DigitKernel, DotKernel, PairKernel, Simd};
use crate::slot::Slot;
use crate::view::{RowFormat, RowsMut};

/// The most rows that go through all panels together, those that are fine counted twice.
pub fn max_block_rows(isa: Isa) -> usize {
    isa.block_shape().1
}

/// Cuts rows into blocks of whole tiles, as even as those allow, each of which goes through all panels of weights
/// together. What happens to few columns of a block at a time, and to the next step of it, finds the block in L2. Rows
/// that are fine take the room of two; where one would be cut the block is a row short.
pub fn row_blocks(isa: Isa, rows: usize, fine: FineRows<'_>) -> impl Iterator<Item = Range<usize>> {
    let (tile, most) = isa.block_shape();
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = fine.row_range(start..rows);
        let tiles = (rows - start + left.count()).div_ceil(tile);
        let blocks = tiles.div_ceil(most / tile);
        let room = tiles.checked_div(blocks)? * tile;
        // Each fine row pushes the end of the block one row back.
        let mut len = room;
        while len + left.row_range(0..len.min(rows - start)).count() > room {
            len -= 1;
        }
        let block = start..rows.min(start + len);
        start = block.end;
        Some(block)
    })
}

/// What happens to a product before it leaves the cache.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// Nothing beyond the bias.
    Bias,
    /// Bias, then an activation, tile by tile.
    Activation(Activation),
    /// Bias and residual: what dst holds before, with a factor for each column.
    Residual(&'a [f32]),
    /// Bias and residual: what dst holds before, as it is. The same bits as with factors of 1.
    PlainResidual,
    /// Bias and residual, as the norm scales it, then layer normalisation of each finished row.
    ResidualNorm(&'a LayerNorm),
}

impl<'a> Epilogue<'a> {
    /// The factors of the residual, if it has such.
    pub fn residual_scale(self) -> Option<&'a [f32]> {
        match self {
            Self::Bias | Self::Activation(_) | Self::PlainResidual => None,
            Self::Residual(scale) => Some(scale),
            Self::ResidualNorm(norm) => Some(norm.residual_scale()),
        }
    }
}

/// Memory that a product works in; grows to the deepest weights and stays.
#[derive(Clone, Debug, Default)]
pub struct LinearScratch {
    /// Panels of one tile, widened.
    panels: Buffer<Slot>,
    /// Rows of one block, in bfloat16.
    rounded: Buffer<Slot>,
    /// Rows of one block, in bytes or digits.
    quantized: QuantizedRows,
    /// Factors of a residual that has none.
    ones: Vec<f32>,
}

impl LinearScratch {
    /// Makes room for weights of up to depth `k`, packed as `dtype`.
    pub fn reserve(&mut self, isa: Isa, dtype: PanelDtype, k: usize) {
        match dtype {
            PanelDtype::F32 => {}
            PanelDtype::Digits => self.quantized.reserve(max_block_rows(isa), digit_slots(k)),
            PanelDtype::Bf16 if isa.multiplies_pairs() => {
                self.rounded.at_least(max_block_rows(isa) * slot_stride(k.div_ceil(2)));
            }
            PanelDtype::Bf16 => _ = self.panels.at_least(MAX_TILE.1 * k),
            PanelDtype::Int8 => self.quantized.reserve(max_block_rows(isa), k.div_ceil(4)),
        }
    }
}

/// dst = epilogue(lhs * weights^T + bias): lhs is m x k, the weights n x k, dst m x n. Where there is a residual, that
/// is what dst holds before.
///
/// On an instruction set that has [pairs](Isa::stores_pairs) of bfloat16, dst may be rows of them where n is whole tiles
/// of 32 and there is no residual, and lhs may be: the same bits, as they would be rounded.
///
/// # Panics
/// When the shapes do not fit.
pub fn linear<'a, 'w>(
    isa: Isa,
    lhs: impl Into<LhsRows<'a>>,
    weights: impl Into<PackedColumns<'w>>,
    epilogue: Epilogue<'_>,
    scratch: &mut LinearScratch,
    dst: RowsMut<'_>,
) {
    multiply_parts(isa, lhs.into(), &mut [(weights.into(), dst)], epilogue, scratch);
}

/// [`linear`] of the same rows with several weights of one dtype and depth, each into a dst of its own: rows that are
/// rounded, quantised or split are so once.
///
/// # Panics
/// As [`linear`], or when the weights differ in dtype or depth.
pub fn linear_parts<'a, 'w>(
    isa: Isa,
    lhs: impl Into<LhsRows<'a>>,
    parts: &mut [(PackedColumns<'w>, RowsMut<'w>)],
    epilogue: Epilogue<'_>,
    scratch: &mut LinearScratch,
) {
    multiply_parts(isa, lhs.into(), parts, epilogue, scratch);
}

/// What both are made of. It has no parameters of its own, so that the kernels of all instruction sets are compiled once,
/// here, and not by every crate that calls them.
fn multiply_parts<'w>(
    isa: Isa,
    lhs: LhsRows<'_>,
    parts: &mut [(PackedColumns<'w>, RowsMut<'w>)],
    epilogue: Epilogue<'_>,
    scratch: &mut LinearScratch,
) {
    struct Linear<'p, 'w> {
        isa: Isa,
        lhs: LhsRows<'p>,
        parts: &'p mut [(PackedColumns<'w>, RowsMut<'w>)],
        epilogue: Epilogue<'p>,
        scratch: &'p mut LinearScratch,
    }
    impl Kernel for Linear<'_, '_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Self { isa, lhs, parts, epilogue, scratch } = self;
            let Some((first, _)) = parts.first() else { return };
            let (dtype, k) = (first.dtype(), first.k());
            for (weights, dst) in parts.iter() {
                assert_eq!((weights.dtype(), weights.k()), (dtype, k), "dtype and depth of weights");
                assert_eq!(lhs.rows.rows(), dst.rows(), "rows of lhs and dst");
                assert_eq!(weights.n(), dst.cols(), "columns of rhs, and dst");
                let pairs = [lhs.rows.format(), dst.format()].contains(&RowFormat::Bf16Pairs);
                assert!(
                    !pairs || isa.stores_pairs(dtype),
                    "{} takes no pairs beside {}",
                    isa.name(),
                    dtype.name()
                );
                if let Some(scale) = epilogue.residual_scale() {
                    assert_eq!(scale.len(), dst.cols(), "residual scale and columns of dst");
                }
            }
            // Tiles know a residual by its factors.
            let mut ones = std::mem::take(&mut scratch.ones);
            let tile_epilogue = if let Epilogue::PlainResidual = epilogue {
                let widest = parts.iter().map(|(weights, _)| weights.n()).max().unwrap_or(0);
                ones.resize(ones.len().max(widest), 1.0);
                Epilogue::Residual(&ones)
            } else {
                epilogue
            };
            assert_eq!(lhs.rows.cols(), k, "depth of lhs and rhs");
            for rows in row_blocks(isa, lhs.rows.rows(), lhs.fine) {
                let last = rows.end == lhs.rows.rows();
                let (lhs, epilogue) = (lhs.row_range(rows.clone()), tile_epilogue);
                let block = Block { lhs, rows: rows.clone(), last, parts, epilogue };
                multiply_packed(simd, block, scratch);
                if let Epilogue::ResidualNorm(norm) = epilogue {
                    parts.iter_mut().for_each(|(_, dst)| norm.rows(simd, dst.row_range(rows.clone())));
                }
            }
            scratch.ones = ones;
        }
    }
    isa.run(Linear { isa, lhs, parts, epilogue, scratch });
}

/// A block of rows on its way through the weights.
struct Block<'p, 'w> {
    lhs: LhsRows<'p>,
    /// Which they are of all.
    rows: Range<usize>,
    last: bool,
    parts: &'p mut [(PackedColumns<'w>, RowsMut<'w>)],
    epilogue: Epilogue<'p>,
}

/// One of its products.
struct Part<'p, 'w> {
    weights: PackedColumns<'w>,
    /// The same where they lie, as a right-hand side.
    panels: Panels<'w>,
    /// What will be read after them.
    next: Option<Upcoming>,
    epilogue: TileEpilogue<'p>,
    dst: RowsMut<'p>,
}

impl<'w> Block<'_, 'w> {
    #[inline(always)]
    fn part(&mut self, i: usize) -> Part<'_, 'w> {
        let after = match self.parts.get(i + 1) {
            None if self.last => None,
            after => after.or(self.parts.first()),
        };
        let next = after.map(|(weights, _)| weights.upcoming());
        let source = Source::Far { first_is_near: i > 0 || self.rows.start > 0, next };
        let (weights, dst) = &mut self.parts[i];
        let activation = match self.epilogue {
            Epilogue::Activation(activation) => Some(activation),
            _ => None,
        };
        let epilogue = TileEpilogue {
            bias: Some(weights.bias()),
            residual_scale: self.epilogue.residual_scale().map(|scale| &scale[..weights.n()]),
            activation,
        };
        let panels = weights.as_panels().with_source(source);
        Part { weights: *weights, panels, next, epilogue, dst: dst.row_range(self.rows.clone()) }
    }

    /// [`multiply`] with each of the weights where they lie.
    #[inline(always)]
    fn multiply<S: Simd, P: Product<S>>(mut self, simd: S, product: P, lhs: Lhs<'_>) {
        for i in 0..self.parts.len() {
            let Part { panels, epilogue, dst, .. } = self.part(i);
            multiply(simd, product, lhs, panels, epilogue, dst);
        }
    }
}

#[inline(always)]
fn multiply_packed<S: Simd>(simd: S, block: Block<'_, '_>, scratch: &mut LinearScratch) {
    match block.parts[0].0.dtype() {
        PanelDtype::Int8 => {
            let lhs = scratch.quantized.quantize(simd, block.lhs);
            simd.with_dot(MultiplyBytes { lhs, block });
        }
        PanelDtype::Digits => {
            let done = simd.with_digits(MultiplyMade { room: &mut scratch.quantized, block });
            assert!(done.is_ok(), "weights in digits, which {} does not multiply", simd.name());
        }
        PanelDtype::Bf16 => {
            if let Err(back) = simd.with_pairs(MultiplyMade { room: &mut scratch.rounded, block }) {
                // Widened once for all tiles of a block of rows, so that those are the tiles of f32.
                multiply_floats(simd, back.block, MAX_TILE.1, &mut scratch.panels);
            }
        }
        PanelDtype::F32 => multiply_floats(simd, block, usize::MAX, &mut scratch.panels),
    }
}

/// Multiply-adds of `step` columns at a time. One function for both dtypes: it is compiled into as many tiles as there
/// are shapes.
#[inline(always)]
fn multiply_floats<S: Simd>(simd: S, mut block: Block<'_, '_>, step: usize, widened: &mut Buffer<Slot>) {
    for i in 0..block.parts.len() {
        let lhs = block.lhs.rows;
        let Part { weights, panels, next, epilogue, mut dst } = block.part(i);
        let (k, n) = (weights.k(), weights.n());
        for first in (0..n).step_by(step) {
            let columns = first..n.min(first.saturating_add(step));
            let panels = if weights.dtype() == PanelDtype::Bf16 {
                let widened = widened.at_least(MAX_TILE.1 * k);
                widen_bf16_panels(simd, weights.columns(columns.clone()).panels(), k, widened);
                let rest = weights.columns(columns.end..n);
                let next = if rest.n() > 0 { Some(rest.upcoming()) } else { next };
                Panels::packed(widened, k, columns.len())
                    .with_source(Source::Far { first_is_near: true, next })
            } else {
                panels
            };
            let epilogue = epilogue.columns(columns.clone());
            multiply(simd, MulAdd, lhs, panels, epilogue, dst.column_range(columns));
        }
    }
}

/// [`Block::multiply`] with the product of bytes.
struct MultiplyBytes<'p, 'w> {
    lhs: Lhs<'p>,
    block: Block<'p, 'w>,
}

impl<S: Simd> DotKernel<S> for MultiplyBytes<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<P: Product<S>>(self, simd: S, product: P) {
        self.block.multiply(simd, product, self.lhs);
    }
}

/// [`Block::multiply`] with a product whose left-hand side is made in `room`: pairs, or digits.
struct MultiplyMade<'p, 'w, R> {
    room: &'p mut R,
    block: Block<'p, 'w>,
}

impl<S: Simd> DigitKernel<S> for MultiplyMade<'_, '_, QuantizedRows> {
    type Output = ();
    #[inline(always)]
    fn run<P: DigitProduct<S>>(self, simd: S, product: P) {
        let product = product.closer(self.block.epilogue.residual_scale().is_some());
        let lhs = self.room.split(simd, product, self.block.lhs.rows);
        self.block.multiply(simd, product, lhs);
    }
}

impl<S: Simd> PairKernel<S> for MultiplyMade<'_, '_, Buffer<Slot>> {
    type Output = ();
    #[inline(always)]
    fn run<P: FloatProduct<S>>(self, simd: S, product: P) {
        let lhs = slot_rows(simd, product, self.block.lhs.rows, P::LHS_UNIT, self.room);
        self.block.multiply(simd, product, lhs.into());
    }
}
