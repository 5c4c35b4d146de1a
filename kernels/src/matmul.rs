//! Products with panels, tile by tile.
//!
//! All rows of a tile's panels before the next panels. Every element of dst is one running sum over k in ascending
//! order, of fine rows two, in every tile shape and at every edge, so its bits do not depend on the rows beside it.

use std::mem::MaybeUninit;
use std::ops::Range;

use crate::PANEL;
use crate::activation::Activation;
use crate::fine::FineRows;
use crate::isa::MAX_BLOCK_ROWS;
use crate::output::{Output, SecondBytes};
use crate::panels::Panels;
use crate::product::Product;
use crate::simd::Simd;
use crate::slot::Slot;
use crate::tile::Tile;
use crate::view::{RowFormat, Rows, RowsMut, Slots};

/// The most rows and columns of a tile on any instruction set.
pub(crate) const MAX_TILE: (usize, usize) = (32, 2 * PANEL);

/// The most rows of a left-hand side that are fine: each takes the room of two.
const MAX_FINE: usize = MAX_BLOCK_ROWS / 2;

/// A left-hand side, in slots as the panels have them.
#[derive(Clone, Copy)]
pub(crate) struct Lhs<'a> {
    /// The second bytes of fine rows, each like a row, then all rows.
    pub(crate) slots: Slots<'a>,
    /// Of all rows.
    pub(crate) fine: FineRows<'a>,
    /// What quantised rows need beside their bytes.
    pub(crate) zeros: &'a [Slot],
    pub(crate) scales: &'a [f32],
}

impl<'a> From<Slots<'a>> for Lhs<'a> {
    #[inline(always)]
    fn from(slots: Slots<'a>) -> Self {
        Self { slots, fine: FineRows::default(), zeros: &[], scales: &[] }
    }
}

impl<'a> From<Rows<'a>> for Lhs<'a> {
    #[inline(always)]
    fn from(rows: Rows<'a>) -> Self {
        rows.float_slots().into()
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
/// Sums that are to be scaled are, before the bias. Of the fine rows of lhs those of second bytes, which are rows of
/// lhs and not of dst, are added before the activation.
#[inline(always)]
pub(crate) fn multiply<'a, S: Simd, P: Product<S>>(
    simd: S,
    product: P,
    lhs: impl Into<Lhs<'a>>,
    rhs: Panels<'_>,
    epilogue: TileEpilogue<'_>,
    mut dst: RowsMut<'_>,
) {
    let TileEpilogue { bias, residual_scale, activation } = epilogue;
    let pairs = dst.format() == RowFormat::Bf16Pairs;
    let Lhs { slots: lhs, fine, zeros, scales } = lhs.into();
    // Of floats it is known here that there are none.
    let second_rows = if P::BYTES { fine.count() } else { 0 };
    assert!(lhs.is_readable_by(P::LHS_UNIT), "room of lhs");
    assert_eq!(lhs.cols(), rhs.k, "depth of lhs and rhs");
    assert_eq!(
        (lhs.rows(), rhs.n),
        (second_rows + dst.rows(), dst.cols()),
        "rows of lhs, columns of rhs, and dst"
    );
    assert!(second_rows <= MAX_FINE && fine.row_range(0..dst.rows()).count() == second_rows, "fine rows");
    let fits = P::STORES_PAIRS && residual_scale.is_none() && rhs.n.is_multiple_of(S::TILE_PANELS * PANEL);
    assert!(!pairs || fits, "pairs of what no tile makes whole");
    assert!(bias.is_none_or(|bias| bias.len() >= rhs.n.next_multiple_of(PANEL)), "bias");
    if let Some(scale) = residual_scale {
        assert_eq!(scale.len(), dst.cols(), "residual scale and columns of dst");
        assert!(activation.is_none(), "an activation of what has a residual");
    }
    for (len, counts) in [(zeros.len(), P::BYTES), (scales.len(), P::SCALED)] {
        assert!(!counts || len >= lhs.rows(), "zeros and scales of lhs");
    }
    assert!(P::MR <= MAX_TILE.0 && S::TILE_PANELS * PANEL <= MAX_TILE.1);
    const { assert!(P::ACTIVATES || !P::STORES_PAIRS, "an activation of what has been made pairs") };

    // Second bytes, and behind them a tile that is no whole panels, or not all of which belongs to dst.
    let mut lines = MaybeUninit::<[f32; (MAX_FINE + MAX_TILE.0) * SecondBytes::LINE]>::uninit();
    let lines = lines.as_mut_ptr().cast::<f32>();
    let line = |number: usize| lines.wrapping_add(number * SecondBytes::LINE);
    let panels = rhs.n.div_ceil(PANEL);
    let tiles = lhs.rows().div_ceil(P::MR);
    let mut pending = P::Pending::default();
    for panel in (0..panels).step_by(S::TILE_PANELS) {
        let tile_panels = S::TILE_PANELS.min(panels - panel);
        let first = panel * PANEL;
        let cols = (tile_panels * PANEL).min(rhs.n - first);
        let whole = cols == tile_panels * PANEL;
        let asking = rhs.asking(panel, tile_panels, tiles);
        let mut fine_numbers = fine.iter().peekable();
        for row in (0..lhs.rows()).step_by(P::MR) {
            let rows = P::MR.min(lhs.rows() - row);
            let [start, end] = [row, row + rows].map(|row| row.saturating_sub(second_rows));
            let own_second_rows = rows - (end - start);
            let own_lines = line(row.min(second_rows));
            let mut second_bytes = SecondBytes::NONE;
            if second_rows > 0 {
                let from = line(second_rows - fine_numbers.len());
                second_bytes = SecondBytes { count: own_second_rows, to: own_lines, fine: 0, from };
                while let Some(at) = fine_numbers.next_if(|&at| at < end) {
                    second_bytes.fine |= 1 << (own_second_rows + at - start);
                }
            }
            let direct = whole && (own_second_rows == 0 || P::ACTIVATES);
            let mut out = dst.row_range(start..end);
            let mut out = out.column_range(first..first + cols);
            let (to, to_stride) = if direct {
                let stride = out.row_stride();
                (out.as_mut_ptr().wrapping_sub(own_second_rows * stride), stride)
            } else {
                (own_lines.cast(), SecondBytes::LINE)
            };
            // SAFETY: `rows` is 1 to P::MR and `tile_panels` 1 to TILE_PANELS: what is left of a step. By the asserts
            // above `lhs` has `rows` rows of k elements from `row` on, both rounded up to LHS_UNIT, `rhs` `tile_panels`
            // panels from `panel` on, `bias` as many columns, `zeros` and `scales`, where they count, as many rows;
            // where `to` is in `out`, that has as many whole panels and all rows but those of second bytes, and there
            // are as many factors of a residual; where pairs are stored it has a slot for each; else `to` has lines
            // for MAX_TILE rows and columns, which a tile does not exceed, behind at most MAX_FINE others. Panels of
            // sums that are scaled have lines around them. Second bytes come first, so the lines of fine rows are
            // stored by this tile or one before. `out` is borrowed exclusively, so it overlaps none of these, which
            // stay until nothing is pending.
            unsafe {
                let panels = rhs.data.add(panel * rhs.panel_stride);
                let output = Output {
                    zeros: zeros.as_ptr().wrapping_add(row),
                    row_scales: scales.as_ptr().wrapping_add(row),
                    sums: panels.wrapping_sub(PANEL),
                    column_scales: panels.wrapping_add(rhs.k * PANEL),
                    panel_stride: rhs.panel_stride,
                    bias: bias.filter(|_| direct).map(|bias| bias.as_ptr().add(first)),
                    residual_scale: residual_scale.filter(|_| direct).map(|scale| scale.as_ptr().add(first)),
                    activation: activation.filter(|_| direct),
                    pairs,
                    dst: to,
                    dst_stride: to_stride,
                    second_bytes: if direct { second_bytes } else { SecondBytes::NONE },
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
            if direct && P::ACTIVATES {
                continue;
            }
            if !direct {
                product.complete(simd, &mut pending);
                let from = own_lines.wrapping_add(own_second_rows * SecondBytes::LINE);
                let bias = bias.map(|bias| &bias[first..]);
                let scale = residual_scale.map(|scale| &scale[first..][..cols]);
                // SAFETY: nothing is pending: the tile has stored whole panels in as many lines as it has rows, which
                // are those of `out` behind those of second bytes.
                unsafe { store(simd, from, bias, scale, out.reborrow()) };
            }
            if second_bytes.fine != 0 {
                for i in 0..end - start {
                    if let Some(sums) = second_bytes.of_row(own_second_rows + i) {
                        // SAFETY: second bytes come first, so this tile or one before has stored whole panels there.
                        let sums = unsafe { std::slice::from_raw_parts(sums, cols) };
                        add(simd, sums, out.row_mut(i));
                    }
                }
            }
            if let Some(activation) = activation {
                activation.map(simd, P::ROUNDED, out);
            }
        }
    }
    product.complete(simd, &mut pending);
}

/// dst = lines + bias + dst * residual_scale, of which lines and bias are whole vectors.
///
/// # Safety
/// For each row of dst there is a line to read.
#[inline(always)]
unsafe fn store<S: Simd>(
    simd: S,
    lines: *const f32,
    bias: Option<&[f32]>,
    residual_scale: Option<&[f32]>,
    mut dst: RowsMut<'_>,
) {
    let columns = dst.cols();
    for first in (0..columns).step_by(S::LANES) {
        let lanes = first..columns.min(first + S::LANES);
        let bias = bias.map_or(simd.splat(-0.0), |bias| simd.load(&bias[first..]));
        let scale = residual_scale.map(|scale| simd.load_some(&scale[lanes.clone()], 0.0));
        for i in 0..dst.rows() {
            // SAFETY: as the caller promises.
            let mut sum = unsafe { simd.load_raw(lines.add(i * SecondBytes::LINE + first)) };
            sum = simd.add(sum, bias);
            let dst = &mut dst.row_mut(i)[lanes.clone()];
            if let Some(scale) = scale {
                sum = simd.add(sum, simd.mul(simd.load_some(dst, 0.0), scale));
            }
            simd.store_some(sum, dst);
        }
    }
}

/// dst = dst + sums
#[inline(always)]
fn add<S: Simd>(simd: S, sums: &[f32], dst: &mut [f32]) {
    for (dst, sums) in dst.chunks_mut(S::LANES).zip(sums.chunks(S::LANES)) {
        simd.store_some(simd.add(simd.load_some(dst, 0.0), simd.load_some(sums, 0.0)), dst);
    }
}
