//! What is made of a tile's sums, and where that goes.

use std::ptr::{null, null_mut};

use crate::PANEL;
use crate::activation::Activation;
use crate::matmul::MAX_TILE;
use crate::product::Product;
use crate::simd::Simd;
use crate::slot::Slot;

/// Where a tile finds what it adds to its sums, and stores them. Strides are in elements.
///
/// Methods that take rows and columns of the tile are safe to call while these are valid, for as many rows and columns:
/// for reading, where they are there or the product needs them, a value a row of `zeros` and of `row_scales`; a value a
/// column of `bias`, of `residual_scale`, and a line for each panel of `sums` and of `column_scales`, `panel_stride`
/// apart; a line for each of the fine rows that `second_bytes` names. For writing, and for reading what is added: as
/// many rows of `dst` and a slot for each column, or for two where that takes pairs; it overlaps none of them. Of rows
/// that are second bytes nothing is there, and their lines are written instead.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) zeros: *const Slot,
    pub(crate) row_scales: *const f32,
    pub(crate) sums: *const Slot,
    pub(crate) column_scales: *const Slot,
    pub(crate) panel_stride: usize,
    pub(crate) bias: Option<*const f32>,
    /// What `dst` holds is added, each column scaled.
    pub(crate) residual_scale: Option<*const f32>,
    /// Left to the caller of tiles that do not activate.
    pub(crate) activation: Option<Activation>,
    /// Whether `dst` takes pairs of bfloat16, a slot for two columns, or else f32.
    pub(crate) pairs: bool,
    pub(crate) dst: *mut Slot,
    pub(crate) dst_stride: usize,
    /// Left to the caller of tiles that do not activate.
    pub(crate) second_bytes: SecondBytes,
}

/// Second bytes of [fine rows](crate::fine), of which one line holds the sums of a tile's columns.
#[derive(Clone, Copy)]
pub(crate) struct SecondBytes {
    /// So many rows of the tile are second bytes, before all others: `dst` begins so many rows before there is any.
    pub(crate) count: usize,
    /// The line of the first of those.
    pub(crate) to: *mut f32,
    /// Rows of the tile that are fine, a bit each.
    pub(crate) fine: u32,
    /// The line of the first of those.
    pub(crate) from: *const f32,
}

const _: () = assert!(MAX_TILE.0 <= u32::BITS as usize, "a bit for each row of a tile");

impl SecondBytes {
    /// Values in a line.
    pub(crate) const LINE: usize = MAX_TILE.1;

    pub(crate) const NONE: Self = Self { count: 0, to: null_mut(), fine: 0, from: null() };

    /// Where what is added to that row of the tile is, if it is fine.
    #[inline(always)]
    pub(crate) fn of_row(&self, row: usize) -> Option<*const f32> {
        let before = self.fine & ((1 << row) - 1);
        (self.fine >> row & 1 == 1).then(|| self.from.wrapping_add(before.count_ones() as usize * Self::LINE))
    }
}

/// What a vector of columns needs once its sums are there.
#[derive(Clone, Copy)]
pub(crate) struct Columns<S: Simd> {
    pub(crate) sums: S::V,
    scales: S::V,
    bias: S::V,
    residual_scale: S::V,
}

impl Output {
    /// Whether nothing is done to the sums of floats before they are stored.
    pub(crate) fn is_plain(&self) -> bool {
        self.bias.is_none() && self.residual_scale.is_none() && self.activation.is_none() && !self.pairs
    }

    /// The part of it from a row and a panel on, of sums that have no second bytes.
    #[inline(always)]
    pub(crate) fn part(self, row: usize, panel: usize) -> Self {
        let column = panel * PANEL;
        Self {
            zeros: self.zeros.wrapping_add(row),
            row_scales: self.row_scales.wrapping_add(row),
            sums: self.sums.wrapping_add(panel * self.panel_stride),
            column_scales: self.column_scales.wrapping_add(panel * self.panel_stride),
            second_bytes: SecondBytes::NONE,
            bias: self.bias.map(|bias| bias.wrapping_add(column)),
            residual_scale: self.residual_scale.map(|scale| scale.wrapping_add(column)),
            dst: self.dst.wrapping_add(row * self.dst_stride + column),
            ..self
        }
    }

    /// What the first `C` vectors of columns need.
    ///
    /// # Safety
    /// See [`Output`].
    #[inline(always)]
    pub(crate) unsafe fn columns<S: Simd, P: Product<S>, const C: usize>(&self, simd: S) -> [Columns<S>; C] {
        // What is added to a number and leaves all its bits.
        let none = simd.splat(-0.0);
        let mut all = [Columns { sums: none, scales: none, bias: none, residual_scale: none }; C];
        for (c, columns) in all.iter_mut().enumerate() {
            let column = c * S::LANES;
            let line = column / PANEL * self.panel_stride + column % PANEL;
            // SAFETY: the contract names what is read.
            unsafe {
                if P::BYTES {
                    columns.sums = simd.load_slots_raw(self.sums.add(line));
                }
                if P::SCALED {
                    columns.scales = simd.load_slots_raw(self.column_scales.add(line));
                }
                if let Some(bias) = self.bias {
                    columns.bias = simd.load_raw(bias.add(column));
                }
                if let Some(scale) = self.residual_scale {
                    columns.residual_scale = simd.load_raw(scale.add(column));
                }
            }
        }
        all
    }

    /// What sums of bytes begin with in place of zeros: less the zero point of a row times the columns' sums.
    ///
    /// # Safety
    /// See [`Output`].
    #[inline(always)]
    pub(crate) unsafe fn start_of_bytes<S: Simd>(&self, simd: S, columns: Columns<S>, row: usize) -> S::V {
        // SAFETY: the contract names what is read.
        unsafe { simd.dot_pairs(simd.splat_slot_raw(self.zeros.add(row)), columns.sums) }
    }

    /// What becomes of a vector of sums: scaled, if they are to be, with bias and residual.
    ///
    /// # Safety
    /// See [`Output`].
    #[inline(always)]
    pub(crate) unsafe fn finish<S: Simd, P: Product<S>>(
        &self,
        simd: S,
        columns: Columns<S>,
        [row, column]: [usize; 2],
        mut sum: S::V,
    ) -> S::V {
        // SAFETY: the contract names what is read.
        unsafe {
            if P::SCALED {
                // Nothing here is fused, so that all instruction sets give the same bits of products of bytes.
                sum = simd.mul(sum, simd.mul(simd.splat(*self.row_scales.add(row)), columns.scales));
            }
            sum = simd.add(sum, columns.bias);
            if self.residual_scale.is_some() {
                let residual = simd.load_slots_raw(self.dst.wrapping_add(row * self.dst_stride + column));
                sum = simd.add(sum, simd.mul(residual, columns.residual_scale));
            }
            sum
        }
    }
}
