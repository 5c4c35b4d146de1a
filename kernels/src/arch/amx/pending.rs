//! What is made of a tile's sums while the next tile is multiplied, so that tiles and vectors are busy together: a core
//! looks some hundred instructions ahead, and those that follow a tile are more.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::super::avx512::Avx512;
use super::{LINE, ROWS};
use crate::PANEL;
use crate::output::{Columns, Output, SecondBytes};
use crate::product::Product;
use crate::simd::Simd;
use crate::slot::Slot;
use crate::view::RowsMut;

/// A product whose sums leave tile registers as they are.
pub(super) trait TileProduct: Product<Avx512> {
    /// A row of one register of sums in f32, before they are scaled; those of the others are as far away as in
    /// [`Sums`].
    ///
    /// # Safety
    /// The row is in the tile of `output`, of which its contract holds, and whose [`Sums`] have been stored.
    unsafe fn sum(
        simd: Avx512,
        output: &Output,
        columns: Columns<Avx512>,
        row: usize,
        sums: *const Slot,
    ) -> <Avx512 as Simd>::V;
    /// Values of 32 columns as pairs of bfloat16, where the product [can](Product::STORES_PAIRS) store such.
    fn pairs(self, simd: Avx512, values: [<Avx512 as Simd>::V; 2]) -> <Avx512 as Simd>::V;
}

/// Four registers of sums: rows of two of them side by side, then those of the others.
#[repr(C, align(64))]
pub(super) struct Sums([MaybeUninit<Slot>; 2 * ROWS * Sums::STRIDE]);

impl Sums {
    /// From one row of sums to the next.
    pub(super) const STRIDE: usize = 2 * LINE;

    #[inline(always)]
    pub(super) fn as_mut_ptr(&mut self) -> *mut Slot {
        self.0.as_mut_ptr().cast()
    }
}

/// Room for the sums of a tile, and what is to be made of them.
pub(crate) struct Pending {
    pub(super) sums: Sums,
    tile: Option<Unfinished>,
}

/// Rows of a tile that has been multiplied.
struct Unfinished {
    output: Output,
    rows: Range<usize>,
    panels: usize,
}

impl Default for Pending {
    #[inline(always)]
    fn default() -> Self {
        Self { sums: Sums([MaybeUninit::uninit(); 2 * ROWS * Sums::STRIDE]), tile: None }
    }
}

impl Pending {
    /// `rows` rows and 1 or 2 panels of a tile, none of them finished. Only those that are second bytes are now.
    ///
    /// # Safety
    /// `sums` are theirs, and the contract of [`Output`] holds for them until they are finished.
    #[inline(always)]
    pub(super) unsafe fn begin<P: TileProduct>(
        &mut self,
        product: P,
        simd: Avx512,
        output: Output,
        rows: usize,
        panels: usize,
    ) {
        let SecondBytes { count, to, .. } = output.second_bytes;
        if P::BYTES && count > 0 {
            let output = Output {
                bias: None,
                residual_scale: None,
                activation: None,
                pairs: false,
                dst: to.cast(),
                dst_stride: SecondBytes::LINE,
                second_bytes: SecondBytes::NONE,
                ..output
            };
            let sums = self.sums.as_mut_ptr();
            // SAFETY: as the caller promises: where `dst` is now is a line for each row that is second bytes.
            unsafe {
                match panels {
                    1 => finish::<P, 1>(product, simd, &output, 0..count, sums),
                    _ => finish::<P, 2>(product, simd, &output, 0..count, sums),
                }
            }
        }
        self.tile = Some(Unfinished { output, rows: count..rows, panels });
    }

    /// Calls `step` so many times, and finishes what is pending meanwhile, if that is of `C` panels.
    #[inline(always)]
    pub(super) fn beside<P: TileProduct, const C: usize>(
        &mut self,
        product: P,
        simd: Avx512,
        steps: usize,
        mut step: impl FnMut(),
    ) {
        let Some(Unfinished { output, rows, panels }) = self.tile.take() else {
            return (0..steps).for_each(|_| step());
        };
        let sums = self.sums.as_mut_ptr();
        // What there is to do is known in each of these, so that little is asked row by row.
        // SAFETY: `begin` was promised what is needed.
        unsafe {
            match (panels, output.residual_scale, output.activation) {
                (panels, ..) if panels != C => {
                    (0..steps).for_each(|_| step());
                    finish::<P, 1>(product, simd, &output, rows, sums);
                }
                (_, None, None) => {
                    let output = Output { residual_scale: None, activation: None, ..output };
                    finish_beside::<P, C>(product, simd, &output, rows, sums, steps, step);
                }
                (_, None, Some(_)) => {
                    let output = Output { residual_scale: None, ..output };
                    finish_beside::<P, C>(product, simd, &output, rows, sums, steps, step);
                }
                (_, Some(scale), _) => {
                    let output = Output { residual_scale: Some(scale), ..output };
                    finish_beside::<P, C>(product, simd, &output, rows, sums, steps, step);
                }
            }
        }
    }

    /// Finishes what is pending.
    #[inline(always)]
    pub(super) fn complete<P: TileProduct, const C: usize>(&mut self, product: P, simd: Avx512) {
        self.beside::<P, C>(product, simd, 0, || {});
    }
}

/// Calls `step` so many times, and finishes `C` panels meanwhile.
///
/// # Safety
/// As [`finish`] says.
#[inline(always)]
unsafe fn finish_beside<P: TileProduct, const C: usize>(
    product: P,
    simd: Avx512,
    output: &Output,
    rows: Range<usize>,
    sums: *mut Slot,
    steps: usize,
    mut step: impl FnMut(),
) {
    let pace = rows.len().div_ceil(steps.max(1));
    let Range { start: mut done, end } = rows;
    // SAFETY: as the caller promises.
    unsafe {
        for _ in 0..steps {
            step();
            let now = end.min(done + pace);
            finish::<P, C>(product, simd, output, done..now, sums);
            done = now;
        }
        finish::<P, C>(product, simd, output, done..end, sums);
    }
}

/// Makes values of rows and of `C` panels: scaled, with bias and residual, activated, in pairs of bfloat16.
///
/// # Safety
/// Of those the contract of [`Output`] holds, and their [`Sums`] have been stored.
#[inline(always)]
unsafe fn finish<P: TileProduct, const C: usize>(
    product: P,
    simd: Avx512,
    output: &Output,
    rows: Range<usize>,
    sums: *mut Slot,
) {
    // Pairs are made of values that take the place of the sums.
    let (dst, stride) = if output.pairs { (sums, Sums::STRIDE) } else { (output.dst, output.dst_stride) };
    // SAFETY: as the caller promises.
    unsafe {
        let columns = output.columns::<_, P, C>(simd);
        for row in rows.clone() {
            let second = output.second_bytes.of_row(row).filter(|_| P::BYTES);
            for (panel, &columns) in columns.iter().enumerate() {
                let column = panel * PANEL;
                let sum = P::sum(simd, output, columns, row, sums.add(row * Sums::STRIDE + column));
                let mut value = output.finish::<_, P>(simd, columns, [row, column], sum);
                if let Some(second) = second {
                    value = simd.add(value, simd.load_raw(second.add(column)));
                }
                simd.store_slots_raw(value, dst.wrapping_add(row * stride + column));
            }
        }
        if let Some(activation) = output.activation {
            let dst = RowsMut::from_raw(dst.wrapping_add(rows.start * stride), rows.len(), C * PANEL, stride);
            activation.map(simd, P::ROUNDED, dst);
        }
        if output.pairs {
            for row in rows {
                let values = dst.add(row * stride);
                let pairs = product
                    .pairs(simd, [simd.load_slots_raw(values), simd.load_slots_raw(values.add(PANEL))]);
                simd.store_slots_raw(pairs, output.dst.wrapping_add(row * output.dst_stride));
            }
        }
    }
}
