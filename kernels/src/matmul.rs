//! Products with panels, tile by tile.
//!
//! All rows of a tile's panels before the next panels. Every element of dst is one running sum over k in ascending
//! order, in every tile shape and at every edge, so its bits do not depend on the rows beside it.

use std::marker::PhantomData;
use std::ops::Range;

use crate::PANEL;
use crate::activation::Activation;
use crate::linear::Residual;
use crate::product::{Product, VectorProduct};
use crate::simd::Simd;
use crate::view::{Rows, RowsMut};

/// Bytes of a panel between what a tile reads and what it asks the cache for where nothing asked before: far enough for
/// L3 to answer in time. The hardware's own prefetching ends with each page of 4 KiB.
const PREFETCH: usize = 96 * LINE;

/// Bytes of a step along k in a panel of f32.
const LINE: usize = PANEL * size_of::<f32>();

/// The most rows and columns of a tile on any instruction set.
pub(crate) const MAX_TILE: (usize, usize) = (32, 2 * PANEL);

/// The most rows of a tile whose sums are held in vectors.
const MAX_VECTOR_ROWS: usize = 14;

/// A left-hand side, in slots as the panels have them.
#[derive(Clone, Copy)]
pub(crate) struct Lhs<'a> {
    pub(crate) slots: Rows<'a>,
    /// What quantised rows need beside their bytes.
    pub(crate) zeros: &'a [f32],
    pub(crate) scales: &'a [f32],
    /// Slots that may be read from the first one on.
    pub(crate) readable: usize,
}

impl<'a> Lhs<'a> {
    /// Rows that begin `room`, of which all may be read.
    #[inline(always)]
    pub(crate) fn of_room(room: &'a [f32], rows: usize, depth: usize, stride: usize) -> Self {
        Self { readable: room.len(), ..Self::from(Rows::new(room, rows, depth, stride)) }
    }

    /// Whether as many rows and slots of each may be read as a tile does.
    fn is_readable_by(&self, unit: usize) -> bool {
        let [rows, cols] = [self.slots.rows(), self.slots.cols()].map(|len| len.next_multiple_of(unit));
        unit == 1 || rows == 0 || (rows - 1) * self.slots.row_stride() + cols <= self.readable
    }
}

impl<'a> From<Rows<'a>> for Lhs<'a> {
    #[inline(always)]
    fn from(slots: Rows<'a>) -> Self {
        Self { slots, zeros: &[], scales: &[], readable: 0 }
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
    source: Source,
    borrow: PhantomData<&'a [f32]>,
}

/// Where panels come from, which decides what tiles ask the cache for.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    /// They are near: there is nothing to ask for.
    Near,
    /// From far away. While the tiles of one group of panels run, all together ask for the next group, so that the
    /// first of them does not wait for memory while the others do without.
    Far {
        /// Whether the first group has been asked for.
        first_is_near: bool,
        next: Option<Upcoming>,
    },
}

/// What will be read after some panels.
#[derive(Clone, Copy)]
pub(crate) struct Upcoming {
    pub(crate) data: *const f32,
    pub(crate) panel_bytes: usize,
}

impl<'a> Panels<'a> {
    /// Panels of `k` x [`PANEL`] one after the other, the last filled up.
    pub(crate) fn packed(data: &'a [f32], k: usize, n: usize) -> Self {
        assert!(data.len() >= n.div_ceil(PANEL) * k * PANEL, "packed panels of {n} columns and depth {k}");
        let panel_stride = k * PANEL;
        Self {
            data: data.as_ptr(),
            k,
            n,
            k_stride: PANEL,
            panel_stride,
            source: Source::Near,
            borrow: PhantomData,
        }
    }

    /// Panels of `slots` x [`PANEL`] slots, each behind `before` lines and in front of one of scales.
    pub(crate) fn scaled(data: &'a [f32], before: usize, slots: usize, n: usize) -> Self {
        let panel_stride = (before + slots + 1) * PANEL;
        assert!(data.len() >= n.div_ceil(PANEL) * panel_stride, "panels of {n} columns and {slots} slots");
        Self {
            data: data.as_ptr().wrapping_add(before * PANEL),
            panel_stride,
            ..Self::packed(data, slots, n)
        }
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
            source: Source::Near,
            borrow: PhantomData,
        }
    }

    pub(crate) fn with_source(self, source: Source) -> Self {
        Self { source, ..self }
    }

    /// What tile `i` of `tiles` asks for while it multiplies by the panels from `panel` on.
    #[inline(always)]
    fn ahead(&self, panel: usize, tile_panels: usize, i: usize, tiles: usize) -> Ahead {
        let here = self.data.wrapping_add(panel * self.panel_stride);
        let Source::Far { first_is_near, next } = self.source else {
            return Ahead { data: here, step: 0, apart: 0 };
        };
        let panel_bytes = self.k * LINE;
        let cold = usize::from(panel == 0 && !first_is_near);
        if i < cold || tiles == 1 && !first_is_near {
            return Ahead { data: here.wrapping_byte_add(PREFETCH), step: LINE, apart: panel_bytes };
        }
        let last = panel + tile_panels >= self.n.div_ceil(PANEL);
        let following = Upcoming { data: here.wrapping_add(tile_panels * self.panel_stride), panel_bytes };
        let Some(next) = (if last { next } else { Some(following) }) else {
            return Ahead { data: here, step: 0, apart: 0 };
        };
        let step = next.panel_bytes.div_ceil((tiles - cold) * self.k.max(1));
        let data = next.data.wrapping_byte_add((i - cold) * self.k * step);
        Ahead { data, step, apart: next.panel_bytes }
    }
}

/// What happens to each tile: what is added to it, and what is made of the sum.
#[derive(Clone, Copy, Default)]
pub(crate) struct TileEpilogue<'a> {
    /// One value a column, padded to whole panels.
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) residual: Option<Residual<'a>>,
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

/// dst = activation(lhs * rhs + bias + residual * scale).
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
    let TileEpilogue { bias, residual, activation } = epilogue;
    let lhs = lhs.into();
    assert!(lhs.is_readable_by(P::LHS_UNIT), "room of lhs");
    let Lhs { slots: lhs, zeros, scales, .. } = lhs;
    assert_eq!(lhs.cols(), rhs.k, "depth of lhs and rhs");
    assert_eq!((lhs.rows(), rhs.n), (dst.rows(), dst.cols()), "rows of lhs, columns of rhs, and dst");
    assert!(bias.is_none_or(|bias| bias.len() >= rhs.n.next_multiple_of(PANEL)), "bias");
    if let Some(residual) = residual {
        residual.check(&dst);
    }
    for (values, counts) in [(zeros, P::BYTES), (scales, P::SCALED)] {
        assert!(!counts || values.len() >= lhs.rows(), "zeros and scales of lhs");
    }
    assert!(P::MR <= MAX_TILE.0 && S::TILE_PANELS * PANEL <= MAX_TILE.1);

    // Only whole panels can be stored where they belong.
    let mut edge = [0.0; MAX_TILE.0 * MAX_TILE.1];
    let panels = rhs.n.div_ceil(PANEL);
    let tiles = lhs.rows().div_ceil(P::MR);
    for panel in (0..panels).step_by(S::TILE_PANELS) {
        let tile_panels = S::TILE_PANELS.min(panels - panel);
        let first = panel * PANEL;
        let cols = (tile_panels * PANEL).min(rhs.n - first);
        let whole = cols == tile_panels * PANEL;
        for row in (0..lhs.rows()).step_by(P::MR) {
            let rows = P::MR.min(lhs.rows() - row);
            let mut out = if whole {
                dst.row_range(row..row + rows)
            } else {
                RowsMut::new(&mut edge, rows, tile_panels * PANEL, MAX_TILE.1)
            };
            if whole {
                out = out.split_columns(first).1.split_columns(cols).0;
            }
            // SAFETY: `rows` is 1 to P::MR and `tile_panels` 1 to TILE_PANELS: what is left of a step. By the asserts
            // above `lhs` has `rows` rows of k elements from `row` on, both rounded up to LHS_UNIT, `rhs` `tile_panels`
            // panels from `panel` on, `bias` as many columns, `zeros` and `scales`, where they count, as many rows, and
            // what is left of `residual` from `row` and `first` on is, like `out`, `rows` x whole panels, with as many
            // scales. `out` is borrowed exclusively, so it overlaps none of them.
            unsafe {
                let tile = Tile {
                    lhs: lhs.row_range(row..row + rows).as_ptr(),
                    lhs_stride: lhs.row_stride(),
                    rhs: rhs.data.add(panel * rhs.panel_stride),
                    rhs_k_stride: rhs.k_stride,
                    rhs_panel_stride: rhs.panel_stride,
                    k: rhs.k,
                    zeros: zeros.as_ptr().wrapping_add(row),
                    scales: scales.as_ptr().wrapping_add(row),
                    ahead: rhs.ahead(panel, tile_panels, row / P::MR, tiles),
                    bias: bias.map(|bias| bias.as_ptr().add(first)),
                    residual: residual.filter(|_| whole).map(|Residual { rows, scale }| TileResidual {
                        rows: rows.as_ptr().add(row * rows.row_stride() + first),
                        stride: rows.row_stride(),
                        scale: scale.as_ptr().add(first),
                    }),
                    dst: out.as_mut_ptr(),
                    dst_stride: out.row_stride(),
                };
                product.tile(simd, rows, tile_panels, tile);
            }
            if let (false, Some(residual)) = (whole, residual) {
                for i in 0..rows {
                    let residual = residual.rows.row(row + i)[first..].iter().zip(&residual.scale[first..]);
                    out.row_mut(i)
                        .iter_mut()
                        .zip(residual)
                        .for_each(|(x, (residual, scale))| *x += residual * scale);
                }
            }
            if let Some(activation) = activation {
                activation.map(simd, P::ROUNDED, out);
            }
            if !whole {
                for i in 0..rows {
                    dst.row_mut(row + i)[first..].copy_from_slice(&edge[i * MAX_TILE.1..][..cols]);
                }
            }
        }
    }
}

/// What a tile asks the cache for: bytes from step to step along k, and from panel to panel.
#[derive(Clone, Copy)]
pub(crate) struct Ahead {
    data: *const f32,
    step: usize,
    apart: usize,
}

impl Ahead {
    /// Asks for what some steps ask for, whole lines of it.
    #[inline(always)]
    pub(crate) fn ask<S: Simd>(&mut self, simd: S, steps: usize) {
        for at in (0..steps * self.step).step_by(LINE) {
            for panel in 0..S::TILE_PANELS {
                simd.prefetch_l2(self.data.wrapping_byte_add(at + panel * self.apart));
            }
        }
        self.data = self.data.wrapping_byte_add(steps * self.step);
    }
}

/// Where a tile finds its operands. Strides are in elements.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(crate) lhs: *const f32,
    pub(crate) lhs_stride: usize,
    pub(crate) rhs: *const f32,
    rhs_k_stride: usize,
    pub(crate) rhs_panel_stride: usize,
    pub(crate) k: usize,
    zeros: *const f32,
    scales: *const f32,
    pub(crate) ahead: Ahead,
    bias: Option<*const f32>,
    residual: Option<TileResidual>,
    pub(crate) dst: *mut f32,
    pub(crate) dst_stride: usize,
}

impl Tile {
    /// Whether nothing is done to the sums of floats before they are stored.
    pub(crate) fn is_plain(&self) -> bool {
        self.bias.is_none() && self.residual.is_none()
    }
}

/// Where a tile finds what it adds.
#[derive(Clone, Copy)]
struct TileResidual {
    rows: *const f32,
    stride: usize,
    scale: *const f32,
}

/// Runs a block for each row of a tile of `R` rows, with its number as a constant. A loop over an array of sums is
/// unrolled too late for LLVM to keep them all in registers.
macro_rules! for_each_row {
    ($row:ident < $R:ident $block:block) => {
        for_each_row!($row < $R $block: 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
    };
    ($row:ident < $R:ident $block:block: $($i:literal)*) => {
        $(if $i < $R {
            const $row: usize = $i;
            $block
        })*
    };
}

/// dst = lhs * rhs + bias + residual * scale for `R` rows and `C` vectors of columns, all held in registers.
///
/// # Safety
/// Valid for reading: k elements of each of the R rows of `lhs`; C vectors of each of the k rows of `rhs`, whose panels
/// are `rhs_panel_stride` apart; for bytes also the rows before and after those, and R values of `zeros` and of
/// `scales`; C vectors of `bias`, of each of the R rows of `residual` and of its scale, if any. Valid for writing: C vectors of each
/// of the R rows of `dst`, which overlaps none of them.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, P: VectorProduct<S>, const R: usize, const C: usize>(
    simd: S,
    product: P,
    t: Tile,
) {
    const { assert!(R <= MAX_VECTOR_ROWS) };
    // SAFETY: every access below is within what the contract names: ROW < R, c < C, and as many steps as t.k.
    unsafe {
        let in_panels = |column: usize| column / PANEL * t.rhs_panel_stride + column % PANEL;
        let mut sums = [[simd.splat(0.0); C]; R];
        if <P as VectorProduct<S>>::BYTES {
            for_each_row!(ROW < R {
                for (c, sum) in sums[ROW].iter_mut().enumerate() {
                    *sum = start_of_bytes(simd, &t, ROW, t.rhs.sub(PANEL).add(in_panels(c * S::LANES)));
                }
            });
        }
        let mut ahead = t.ahead.data;
        let mut rhs_at = t.rhs;
        let mut lhs_at = t.lhs;
        // A row is an odd number of strides away, or that times a power of two, by which an address can scale. LLVM
        // would keep a pointer for each row, of which some did not fit into registers.
        let odd: [usize; MAX_VECTOR_ROWS / 2] = std::array::from_fn(|i| {
            let offset = (2 * i + 1) * t.lhs_stride;
            simd.opaque(std::ptr::without_provenance(offset)).addr()
        });
        for _ in 0..t.k {
            let mut rhs = [simd.splat(0.0); C];
            for (c, rhs) in rhs.iter_mut().enumerate() {
                let column = c * S::LANES;
                *rhs = simd.load_raw(rhs_at.add(in_panels(column)));
                if column % PANEL == 0 {
                    simd.prefetch(ahead.wrapping_byte_add(column / PANEL * t.ahead.apart));
                }
            }
            ahead = ahead.wrapping_byte_add(t.ahead.step);
            rhs_at = rhs_at.wrapping_add(t.rhs_k_stride);
            for_each_row!(ROW < R {
                const SHIFT: u32 = if ROW == 0 { 0 } else { ROW.trailing_zeros() };
                let offset = if ROW == 0 { 0 } else { odd[(ROW >> SHIFT) / 2] << SHIFT };
                let lhs = simd.splat(*lhs_at.add(offset));
                for c in 0..C {
                    sums[ROW][c] = product.step(simd, lhs, rhs[c], sums[ROW][c]);
                }
            });
            lhs_at = simd.opaque(lhs_at.wrapping_add(1));
        }
        let mut epilogues =
            [Columns::<S> { scales: simd.splat(0.0), bias: None, residual_scale: simd.splat(0.0) }; C];
        for (c, epilogue) in epilogues.iter_mut().enumerate() {
            let column = c * S::LANES;
            *epilogue = Columns::load::<P>(simd, &t, rhs_at.add(in_panels(column)), column);
        }
        for_each_row!(ROW < R {
            for (c, &sum) in sums[ROW].iter().enumerate() {
                let sum = if <P as VectorProduct<S>>::BYTES { simd.convert_i32(sum) } else { sum };
                epilogues[c].finish::<P>(simd, &t, ROW, c * S::LANES, sum);
            }
        });
    }
}

/// What a vector of columns of a tile needs once its sums are there.
#[derive(Clone, Copy)]
pub(crate) struct Columns<S: Simd> {
    scales: S::V,
    bias: Option<S::V>,
    residual_scale: S::V,
}

impl<S: Simd> Columns<S> {
    /// Those from `column` on. `scales` are behind their panel.
    ///
    /// # Safety
    /// A vector from `column` on is in the tile, of which the contract of [`tile`] holds; a vector of `scales` can be read
    /// where sums are to be scaled.
    #[inline(always)]
    pub(crate) unsafe fn load<P: Product<S>>(simd: S, t: &Tile, scales: *const f32, column: usize) -> Self {
        let none = simd.splat(0.0);
        // SAFETY: the contract names what is read.
        unsafe {
            Self {
                scales: if P::SCALED { simd.load_raw(scales) } else { none },
                // A closure would not be sure to have the instruction set.
                #[allow(clippy::manual_map)]
                bias: match t.bias {
                    Some(bias) => Some(simd.load_raw(bias.add(column))),
                    None => None,
                },
                residual_scale: match t.residual {
                    Some(residual) => simd.load_raw(residual.scale.add(column)),
                    None => none,
                },
            }
        }
    }

    /// Stores sums: scaled, if they are to be, with bias and residual.
    ///
    /// # Safety
    /// `row` and a vector from `column` on are in the tile, of which the contract of [`tile`] holds.
    #[inline(always)]
    pub(crate) unsafe fn finish<P: Product<S>>(
        &self,
        simd: S,
        t: &Tile,
        row: usize,
        column: usize,
        mut sum: S::V,
    ) {
        // SAFETY: the contract names what is read and written.
        unsafe {
            if P::SCALED {
                // Nothing here is fused, so that all instruction sets give the same bits of products of bytes.
                sum = simd.mul(sum, simd.mul(simd.splat(*t.scales.add(row)), self.scales));
            }
            if let Some(bias) = self.bias {
                sum = simd.add(sum, bias);
            }
            if let Some(residual) = t.residual {
                let values = simd.load_raw(residual.rows.add(row * residual.stride + column));
                sum = simd.add(sum, simd.mul(values, self.residual_scale));
            }
            simd.store_raw(sum, t.dst.add(row * t.dst_stride + column));
        }
    }
}

/// What a tile of bytes begins with in place of zeros: less the zero point of a row times the columns' sums.
///
/// # Safety
/// `row` is in the tile, of which the contract of [`tile`] holds; `sums` is the line before a panel of bytes.
#[inline(always)]
pub(crate) unsafe fn start_of_bytes<S: Simd>(simd: S, t: &Tile, row: usize, sums: *const f32) -> S::V {
    // SAFETY: the contract names what is read.
    unsafe { simd.dot_pairs(simd.splat(*t.zeros.add(row)), simd.load_raw(sums)) }
}
