//! Products with panels, tile by tile.
//!
//! All rows of a tile's panels before the next panels. Every element of dst is one running sum over k in ascending
//! order, in every tile shape and at every edge, so its bits do not depend on the rows beside it.

use std::ops::Range;

use crate::PANEL;
use crate::activation::Activation;
use crate::output::Output;
use crate::panels::Panels;
use crate::product::Product;
use crate::simd::Simd;
use crate::tile::Tile;
use crate::view::{Rows, RowsMut};

/// The most rows and columns of a tile on any instruction set.
pub(crate) const MAX_TILE: (usize, usize) = (32, 2 * PANEL);

/// A left-hand side, in slots as the panels have them.
#[derive(Clone, Copy)]
pub(crate) struct Lhs<'a> {
    pub(crate) slots: Rows<'a>,
    /// What quantised rows need beside their bytes.
    pub(crate) zeros: &'a [f32],
    pub(crate) scales: &'a [f32],
}

impl<'a> From<Rows<'a>> for Lhs<'a> {
    #[inline(always)]
    fn from(slots: Rows<'a>) -> Self {
        Self { slots, zeros: &[], scales: &[] }
    }
}

/// What happens to each tile: what is added to it, and what is made of the sum.
#[derive(Clone, Copy, Default)]
pub(crate) struct TileEpilogue<'a> {
    /// One value a column, padded to whole panels.
    pub(crate) bias: Option<&'a [f32]>,
    /// As many factors of what dst holds, which is added.
    pub(crate) residual_scale: Option<&'a [f32]>,
    pub(crate) activation: Option<Activation>,
    /// Whether dst takes pairs of bfloat16.
    pub(crate) pairs: bool,
}

impl TileEpilogue<'_> {
    /// That of some columns, from the beginning of a panel on.
    pub(crate) fn columns(&self, columns: Range<usize>) -> Self {
        Self {
            bias: self.bias.map(|bias| &bias[columns.start..columns.end.next_multiple_of(PANEL)]),
            residual_scale: self.residual_scale.map(|scale| &scale[columns]),
            ..*self
        }
    }
}

/// dst = activation(lhs * rhs + bias), or lhs * rhs + bias + dst * residual_scale.
///
/// Sums that are to be scaled are, before the bias.
#[inline(always)]
pub(crate) fn multiply<'a, S: Simd, P: Product<S>>(
    simd: S,
    product: P,
    lhs: impl Into<Lhs<'a>>,
    rhs: Panels<'_>,
    epilogue: TileEpilogue<'_>,
    mut dst: RowsMut<'_>,
) {
    let TileEpilogue { bias, residual_scale, activation, pairs } = epilogue;
    let Lhs { slots: lhs, zeros, scales } = lhs.into();
    assert!(lhs.is_readable_by(P::LHS_UNIT), "room of lhs");
    assert_eq!(lhs.cols(), rhs.k, "depth of lhs and rhs");
    let values = if pairs { 2 } else { 1 };
    assert_eq!(
        (lhs.rows(), rhs.n),
        (dst.rows(), dst.cols() * values),
        "rows of lhs, columns of rhs, and dst"
    );
    let fits = P::STORES_PAIRS && residual_scale.is_none() && rhs.n.is_multiple_of(S::TILE_PANELS * PANEL);
    assert!(!pairs || fits, "pairs of what no tile makes whole");
    assert!(bias.is_none_or(|bias| bias.len() >= rhs.n.next_multiple_of(PANEL)), "bias");
    if let Some(scale) = residual_scale {
        assert_eq!(scale.len(), dst.cols(), "residual scale and columns of dst");
        assert!(activation.is_none(), "an activation of what has a residual");
    }
    for (values, counts) in [(zeros, P::BYTES), (scales, P::SCALED)] {
        assert!(!counts || values.len() >= lhs.rows(), "zeros and scales of lhs");
    }
    assert!(P::MR <= MAX_TILE.0 && S::TILE_PANELS * PANEL <= MAX_TILE.1);
    const { assert!(P::ACTIVATES || !P::STORES_PAIRS, "an activation of what has been made pairs") };

    // Only whole panels can be stored where they belong.
    let mut edge = [0.0; MAX_TILE.0 * MAX_TILE.1];
    let panels = rhs.n.div_ceil(PANEL);
    let tiles = lhs.rows().div_ceil(P::MR);
    let mut pending = P::Pending::default();
    for panel in (0..panels).step_by(S::TILE_PANELS) {
        let tile_panels = S::TILE_PANELS.min(panels - panel);
        let first = panel * PANEL;
        let cols = (tile_panels * PANEL).min(rhs.n - first);
        let whole = cols == tile_panels * PANEL;
        let asking = rhs.asking(panel, tile_panels, tiles);
        for row in (0..lhs.rows()).step_by(P::MR) {
            let rows = P::MR.min(lhs.rows() - row);
            let mut out = if whole {
                dst.row_range(row..row + rows)
            } else {
                RowsMut::new(&mut edge, rows, tile_panels * PANEL, MAX_TILE.1)
            };
            if whole {
                out = out.split_columns(first / values).1.split_columns(cols / values).0;
            }
            // SAFETY: `rows` is 1 to P::MR and `tile_panels` 1 to TILE_PANELS: what is left of a step. By the asserts
            // above `lhs` has `rows` rows of k elements from `row` on, both rounded up to LHS_UNIT, `rhs` `tile_panels`
            // panels from `panel` on, `bias` as many columns, `zeros` and `scales`, where they count, as many rows;
            // `out` is `rows` x whole panels, and where it is a part of dst there are as many factors of a residual;
            // where pairs are stored all panels are whole and `out` has an element for each; panels of sums that are
            // scaled have lines around them. `out` is borrowed exclusively, so it overlaps none of these, which stay
            // until nothing is pending.
            unsafe {
                let panels = rhs.data.add(panel * rhs.panel_stride);
                let output = Output {
                    zeros: zeros.as_ptr().wrapping_add(row),
                    row_scales: scales.as_ptr().wrapping_add(row),
                    sums: panels.wrapping_sub(PANEL),
                    column_scales: panels.wrapping_add(rhs.k * PANEL),
                    panel_stride: rhs.panel_stride,
                    bias: bias.map(|bias| bias.as_ptr().add(first)),
                    residual_scale: residual_scale.filter(|_| whole).map(|scale| scale.as_ptr().add(first)),
                    activation: activation.filter(|_| whole),
                    pairs,
                    dst: out.as_mut_ptr(),
                    dst_stride: out.row_stride(),
                };
                let tile = Tile {
                    lhs: lhs.row_range(row..row + rows).as_ptr(),
                    lhs_stride: lhs.row_stride(),
                    rhs: panels,
                    rhs_k_stride: rhs.k_stride,
                    k: rhs.k,
                    ahead: asking.of_tile(row / P::MR),
                    output,
                };
                product.tile(simd, rows, tile_panels, tile, &mut pending);
            }
            if !whole {
                product.complete(simd, &mut pending);
            }
            if let Some(activation) = activation.filter(|_| !(whole && P::ACTIVATES)) {
                activation.map(simd, P::ROUNDED, out);
            }
            if !whole {
                for i in 0..rows {
                    let (to, sums) = (&mut dst.row_mut(row + i)[first..], &edge[i * MAX_TILE.1..][..cols]);
                    match residual_scale {
                        Some(scale) => {
                            let sums = sums.iter().zip(&scale[first..]);
                            to.iter_mut().zip(sums).for_each(|(x, (sum, scale))| *x = sum + *x * scale);
                        }
                        None => to.copy_from_slice(sums),
                    }
                }
            }
        }
    }
    product.complete(simd, &mut pending);
}
