//! Products with panels, tile by tile.
//!
//! All rows of a tile's panels before the next panels. Every element of dst is one running sum over k in ascending
//! order, in every tile shape and at every edge, so its bits do not depend on the rows beside it.

use std::marker::PhantomData;
use std::ops::Range;

use crate::PANEL;
use crate::activation::Activation;
use crate::simd::Simd;
use crate::view::{Rows, RowsMut};

/// Elements of a panel between what a tile reads and what it asks the cache for: far enough for L3 to answer in time.
/// The hardware's own prefetching ends with each page of 4 KiB.
const PREFETCH: usize = 96 * PANEL;

/// The most rows and columns of a tile on any instruction set.
pub(crate) const MAX_TILE: (usize, usize) = (14, 2 * PANEL);

/// A right-hand side of depth `k` in panels of [`PANEL`] columns: packed, or rows read where they are.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    data: *const f32,
    k: usize,
    n: usize,
    k_stride: usize,
    panel_stride: usize,
    borrow: PhantomData<&'a [f32]>,
}

impl<'a> Panels<'a> {
    /// Panels of `k` x [`PANEL`] one after the other, the last filled up.
    pub(crate) fn packed(data: &'a [f32], k: usize, n: usize) -> Self {
        assert!(data.len() >= n.div_ceil(PANEL) * k * PANEL, "packed panels of {n} columns and depth {k}");
        let panel_stride = k * PANEL;
        Self { data: data.as_ptr(), k, n, k_stride: PANEL, panel_stride, borrow: PhantomData }
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

impl TileEpilogue<'_> {
    /// That of some columns, from the beginning of a panel on.
    pub(crate) fn columns(&self, columns: Range<usize>) -> Self {
        Self {
            bias: self.bias.map(|bias| &bias[columns.start..columns.end.next_multiple_of(PANEL)]),
            residual: self.residual.map(|residual| residual.column_range(columns)),
            ..*self
        }
    }
}

/// dst = activation(lhs * rhs + bias + residual).
#[inline(always)]
pub(crate) fn multiply<S: Simd>(
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
        for row in (0..lhs.rows()).step_by(S::MR) {
            let rows = S::MR.min(lhs.rows() - row);
            let mut out = if whole {
                dst.row_range(row..row + rows)
            } else {
                RowsMut::new(&mut edge, rows, tile_panels * PANEL, MAX_TILE.1)
            };
            if whole {
                out = out.split_columns(first).1.split_columns(cols).0;
            }
            // SAFETY: the asserts above: `lhs` has `rows` rows of k elements from `row` on, `rhs` has `tile_panels`
            // panels from `panel` on, `bias` as many columns, `out` is `rows` x whole panels, and so is what is left of
            // `residual` from `row` and `first` on, where it is given.
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
                simd.matmul_tile(rows, tile_panels, tile);
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
/// Valid for reading: k elements of each of the R rows of `lhs`; C vectors of each of the k rows of `rhs`, whose panels
/// are `rhs_panel_stride` apart; C vectors of `bias` and of each of the R rows of `residual`, if any. Valid for writing:
/// C vectors of each of the R rows of `dst`, which overlaps none of them.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, const R: usize, const C: usize>(simd: S, t: Tile) {
    // SAFETY: every access below is within what the contract names: r < R, c < C, k < t.k.
    unsafe {
        let mut sums = [[simd.splat(0.0); C]; R];
        for i in 0..t.k {
            let mut rhs = [simd.splat(0.0); C];
            for (c, rhs) in rhs.iter_mut().enumerate() {
                let column = c * S::LANES;
                let at = i * t.rhs_k_stride + column / PANEL * t.rhs_panel_stride + column % PANEL;
                *rhs = simd.load_raw(t.rhs.add(at));
                simd.prefetch(t.rhs.wrapping_add(at + PREFETCH));
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let lhs = simd.splat(*t.lhs.add(r * t.lhs_stride + i));
                for (sum, &rhs) in sums.iter_mut().zip(&rhs) {
                    *sum = simd.mul_add(lhs, rhs, *sum);
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
