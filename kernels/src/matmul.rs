//! Products with packed weights: dst = epilogue(lhs * weights^T + bias).
//!
//! A block of rows outside, all panels of the weights inside it. Every element of dst is one running sum over k in
//! ascending order, in every tile shape and at every edge, so its bits do not depend on the rows beside it.

use std::marker::PhantomData;

use crate::PANEL;
use crate::activation::Activation;
use crate::isa::{Isa, Kernel};
use crate::layer_norm::LayerNorm;
use crate::pack::PackedWeights;
use crate::simd::Simd;
use crate::view::{Rows, RowsMut};

/// Rows that go through all panels together: few enough to stay in L2 beside a panel, and enough that a panel which
/// comes from L3 is used often.
const MC: usize = 84;

/// Elements of a panel between what a tile reads and what it asks the cache for: far enough for L3 to answer in time.
/// The hardware's own prefetching ends with each page of 4 KiB.
const PREFETCH: usize = 96 * PANEL;

/// The most rows and columns of a tile on any instruction set.
pub(crate) const MAX_TILE: (usize, usize) = (14, 2 * PANEL);

/// What happens to a product before it leaves the cache.
#[derive(Clone, Copy, Debug)]
pub enum Epilogue<'a> {
    /// Nothing beyond the bias.
    Bias,
    /// Bias, then an activation, tile by tile.
    Activation(Activation),
    /// Bias and residual, then layer normalisation of each finished row.
    ResidualNorm {
        /// Added before normalising; of the shape of dst.
        residual: Rows<'a>,
        /// The normalisation.
        norm: &'a LayerNorm,
    },
}

/// dst = epilogue(lhs * weights^T + bias): lhs is m x k, the weights n x k, dst m x n.
///
/// # Panics
/// When the shapes do not fit.
pub fn linear(isa: Isa, lhs: Rows<'_>, weights: &PackedWeights, epilogue: Epilogue<'_>, dst: RowsMut<'_>) {
    struct Linear<'a>(Rows<'a>, &'a PackedWeights, Epilogue<'a>, RowsMut<'a>);
    impl Kernel for Linear<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Self(lhs, weights, epilogue, mut dst) = self;
            assert_eq!(lhs.rows(), dst.rows(), "rows of lhs and dst");
            let (activation, residual) = match epilogue {
                Epilogue::Bias => (None, None),
                Epilogue::Activation(activation) => (Some(activation), None),
                Epilogue::ResidualNorm { residual, .. } => (None, Some(residual)),
            };
            if let Some(residual) = residual {
                assert_eq!(residual.rows(), dst.rows(), "rows of residual and dst");
            }
            for start in (0..lhs.rows()).step_by(MC) {
                let block = start..lhs.rows().min(start + MC);
                let tiles = TileEpilogue {
                    bias: Some(weights.bias()),
                    residual: residual.map(|residual| residual.row_range(block.clone())),
                    activation,
                };
                let mut dst = dst.row_range(block.clone());
                multiply(simd, lhs.row_range(block), weights.panels(), tiles, dst.reborrow());
                if let Epilogue::ResidualNorm { norm, .. } = epilogue {
                    norm.rows(simd, None, dst);
                }
            }
        }
    }
    isa.run(Linear(lhs, weights, epilogue, dst));
}

/// What a lane of a panel holds, and how a tile reads it.
pub(crate) trait PanelElement {
    /// Steps along k that a lane holds.
    const DEPTH: usize;
    /// Rows of a full tile.
    fn tile_rows<S: Simd>() -> usize;
    /// The first `DEPTH` are what a vector of lanes holds, in the order of k.
    fn widen<S: Simd>(simd: S, lanes: S::V) -> [S::V; 2];
}

/// A value.
pub(crate) struct Single;
impl PanelElement for Single {
    const DEPTH: usize = 1;
    #[inline(always)]
    fn tile_rows<S: Simd>() -> usize {
        S::MR
    }
    #[inline(always)]
    fn widen<S: Simd>(_: S, lanes: S::V) -> [S::V; 2] {
        [lanes, lanes]
    }
}

/// Two bfloat16, the first in the low bits; an odd k is filled up with zero.
pub(crate) struct Bf16Pair;
impl PanelElement for Bf16Pair {
    const DEPTH: usize = 2;
    #[inline(always)]
    fn tile_rows<S: Simd>() -> usize {
        S::BF16_MR
    }
    #[inline(always)]
    fn widen<S: Simd>(simd: S, lanes: S::V) -> [S::V; 2] {
        simd.split_bf16(lanes)
    }
}

/// A right-hand side of depth `k` in panels of [`PANEL`] columns: packed, or rows read where they are.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    data: *const f32,
    k: usize,
    n: usize,
    k_stride: usize,
    panel_stride: usize,
    bf16: bool,
    borrow: PhantomData<&'a [f32]>,
}

impl<'a> Panels<'a> {
    /// Panels of `k` x [`PANEL`] one after the other, the last filled up.
    pub(crate) fn packed(data: &'a [f32], k: usize, n: usize) -> Self {
        assert!(data.len() >= n.div_ceil(PANEL) * k * PANEL, "packed panels of {n} columns and depth {k}");
        let panel_stride = k * PANEL;
        Self { data: data.as_ptr(), k, n, k_stride: PANEL, panel_stride, bf16: false, borrow: PhantomData }
    }

    /// The same of pairs of bfloat16, half as long.
    pub(crate) fn packed_bf16(data: &'a [f32], k: usize, n: usize) -> Self {
        Self { k, bf16: true, ..Self::packed(data, k.div_ceil(Bf16Pair::DEPTH), n) }
    }

    /// The rows of a matrix, whose columns must be whole panels.
    pub(crate) fn in_place(rows: Rows<'a>) -> Self {
        assert!(rows.cols().is_multiple_of(PANEL), "{} columns are no whole panels", rows.cols());
        Self {
            data: rows.as_ptr(),
            k: rows.rows(),
            n: rows.cols(),
            k_stride: rows.row_stride(),
            panel_stride: PANEL,
            bf16: false,
            borrow: PhantomData,
        }
    }
}

/// What happens to each tile: what is added to it, and what is made of the sum.
#[derive(Clone, Copy, Default)]
pub(crate) struct TileEpilogue<'a> {
    /// One value a column, padded to whole panels.
    pub(crate) bias: Option<&'a [f32]>,
    /// Of the shape of dst.
    pub(crate) residual: Option<Rows<'a>>,
    pub(crate) activation: Option<Activation>,
}

/// dst = activation(lhs * rhs + bias + residual).
#[inline(always)]
pub(crate) fn multiply<S: Simd>(
    simd: S,
    lhs: Rows<'_>,
    rhs: Panels<'_>,
    epilogue: TileEpilogue<'_>,
    dst: RowsMut<'_>,
) {
    if rhs.bf16 {
        multiply_by::<S, Bf16Pair>(simd, lhs, rhs, epilogue, dst)
    } else {
        multiply_by::<S, Single>(simd, lhs, rhs, epilogue, dst)
    }
}

#[inline(always)]
fn multiply_by<S: Simd, P: PanelElement>(
    simd: S,
    lhs: Rows<'_>,
    rhs: Panels<'_>,
    epilogue: TileEpilogue<'_>,
    mut dst: RowsMut<'_>,
) {
    let TileEpilogue { bias, residual, activation } = epilogue;
    assert_eq!(lhs.cols(), rhs.k, "depth of lhs and rhs");
    assert_eq!((lhs.rows(), rhs.n), (dst.rows(), dst.cols()), "rows of lhs, columns of rhs, and dst");
    assert!(bias.is_none_or(|bias| bias.len() >= rhs.n.next_multiple_of(PANEL)), "bias");
    if let Some(residual) = residual {
        assert_eq!((residual.rows(), residual.cols()), (dst.rows(), dst.cols()), "residual and dst");
    }
    assert!(S::MR <= MAX_TILE.0 && S::TILE_PANELS * PANEL <= MAX_TILE.1);

    // Only whole panels can be stored where they belong.
    let mut edge = [0.0; MAX_TILE.0 * MAX_TILE.1];
    let panels = rhs.n.div_ceil(PANEL);
    for panel in (0..panels).step_by(S::TILE_PANELS) {
        let tile_panels = S::TILE_PANELS.min(panels - panel);
        let first = panel * PANEL;
        let cols = (tile_panels * PANEL).min(rhs.n - first);
        let whole = cols == tile_panels * PANEL;
        for row in (0..lhs.rows()).step_by(P::tile_rows::<S>()) {
            let rows = P::tile_rows::<S>().min(lhs.rows() - row);
            let mut out = if whole {
                dst.row_range(row..row + rows)
            } else {
                RowsMut::new(&mut edge, rows, tile_panels * PANEL, MAX_TILE.1)
            };
            if whole {
                out = out.split_columns(first).1.split_columns(cols).0;
            }
            // SAFETY: the asserts above: `lhs` has `rows` rows of k elements from `row` on, `rhs` has all steps of
            // k of `tile_panels` panels from `panel` on, `bias` as many columns, `out` is `rows` x whole panels, and so is
            // what is left of `residual` from `row` and `first` on, where it is given.
            unsafe {
                let tile = Tile {
                    lhs: lhs.row_range(row..row + rows).as_ptr(),
                    lhs_stride: lhs.row_stride(),
                    rhs: rhs.data.add(panel * rhs.panel_stride),
                    rhs_k_stride: rhs.k_stride,
                    rhs_panel_stride: rhs.panel_stride,
                    k: rhs.k,
                    bias: bias.map(|bias| bias.as_ptr().add(first)),
                    residual: residual.filter(|_| whole).map(|residual| {
                        (residual.as_ptr().add(row * residual.row_stride() + first), residual.row_stride())
                    }),
                    dst: out.as_mut_ptr(),
                    dst_stride: out.row_stride(),
                };
                simd.matmul_tile::<P>(rows, tile_panels, tile);
            }
            if let (false, Some(residual)) = (whole, residual) {
                for i in 0..rows {
                    let residual = &residual.row(row + i)[first..];
                    out.row_mut(i).iter_mut().zip(residual).for_each(|(x, residual)| *x += residual);
                }
            }
            if let Some(activation) = activation {
                activation.map(simd, out);
            }
            if !whole {
                for i in 0..rows {
                    dst.row_mut(row + i)[first..].copy_from_slice(&edge[i * MAX_TILE.1..][..cols]);
                }
            }
        }
    }
}

/// Where a tile finds its operands. Strides are in elements.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    lhs: *const f32,
    lhs_stride: usize,
    rhs: *const f32,
    rhs_k_stride: usize,
    rhs_panel_stride: usize,
    k: usize,
    bias: Option<*const f32>,
    /// And its stride.
    residual: Option<(*const f32, usize)>,
    dst: *mut f32,
    dst_stride: usize,
}

/// dst = lhs * rhs + bias for `R` rows and `C` vectors of columns, all held in registers.
///
/// # Safety
/// Valid for reading: k elements of each of the R rows of `lhs`; C vectors of each of the k / DEPTH rows of `rhs`
/// (rounded up), whose panels are `rhs_panel_stride` apart; C vectors of `bias` and of each of the R rows of `residual`, if any. Valid for
/// writing: C vectors of each of the R rows of `dst`, which overlaps none of them.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, P: PanelElement, const R: usize, const C: usize>(simd: S, t: Tile) {
    // SAFETY: every access below is within what the contract names: r < R, c < C, k < t.k.
    unsafe {
        let mut sums = [[simd.splat(0.0); C]; R];
        for step in 0..t.k.div_ceil(P::DEPTH) {
            let mut rhs = [[simd.splat(0.0); 2]; C];
            for (c, rhs) in rhs.iter_mut().enumerate() {
                let column = c * S::LANES;
                let at = step * t.rhs_k_stride + column / PANEL * t.rhs_panel_stride + column % PANEL;
                *rhs = P::widen(simd, simd.load_raw(t.rhs.add(at)));
                simd.prefetch(t.rhs.wrapping_add(at + PREFETCH));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let lhs = simd.splat(*t.lhs.add(r * t.lhs_stride + step * P::DEPTH));
                for (sum, rhs) in sums.iter_mut().zip(&rhs) {
                    *sum = simd.mul_add(lhs, rhs[0], *sum);
                }
            }
            if P::DEPTH == 2 && step * 2 + 1 < t.k {
                for (r, sums) in sums.iter_mut().enumerate() {
                    let lhs = simd.splat(*t.lhs.add(r * t.lhs_stride + step * 2 + 1));
                    for (sum, rhs) in sums.iter_mut().zip(&rhs) {
                        *sum = simd.mul_add(lhs, rhs[1], *sum);
                    }
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (c, &sum) in sums.iter().enumerate() {
                let column = c * S::LANES;
                let mut sum = sum;
                if let Some(bias) = t.bias {
                    sum = simd.add(sum, simd.load_raw(bias.add(column)));
                }
                if let Some((residual, stride)) = t.residual {
                    sum = simd.add(sum, simd.load_raw(residual.add(r * stride + column)));
                }
                simd.store_raw(sum, t.dst.add(r * t.dst_stride + column));
            }
        }
    }
}
