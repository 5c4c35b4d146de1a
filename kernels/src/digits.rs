//! f32 as three digits of a byte each: what products of f32 by tiles of bytes take on either side.
//!
//! A row of activations, or the weights of an output, has one scale s, its largest magnitude over 127. Each value
//! becomes s (d0 + d1 / 2^8 + d2 / 2^16) with digits in -128..=127, which is off by no more than 2^-24 of the row's
//! largest and a hundredth of that. Of the nine products of digits six are summed in i32, exactly, those of one weight
//! together: those of d0 and d1 d1. Left out are d1 d2, d2 d1 and d2 d2, the first two up to 2^-24 of the largest of
//! both sides and a little, of any sign. Where a residual is added, d1 of the rows by d2 of the weights is summed, too:
//! what comes of activations with few large values among many small ones would be off by more than all else. Floats as
//! digits of few bits are Ozaki's scheme (Ozaki et al. 2012, Numerical Algorithms 59); in bytes, Ootomo, Ozaki and
//! Yokota 2024.
//!
//! Steps of 64 values along k are three lines of a row of activations, a line a digit, and three times 16 lines of a
//! panel, whose slots hold four bytes as those of bytes do. The scales are one more line behind each panel.

use crate::PANEL;
use crate::matmul::Lhs;
use crate::matrix::Buffer;
use crate::operand::slot_stride;
use crate::product::Product;
use crate::quantize::{QuantizedRows, largest};
use crate::simd::Simd;
use crate::slot::Slot;
use crate::view::{Rows, Slots};

/// Values along k that are digits side by side.
const STEP: usize = 4 * PANEL;

/// Lines of a panel that hold the digits of a step.
pub(crate) const STEP_LINES: usize = 3 * PANEL;

/// How far digits reach: the largest of a row, in units of the last.
const REACH: f32 = 127.0 * 65536.0;

/// A row whose values are all smaller counts as zeros: no factor could take them to [`REACH`].
const SMALLEST: f32 = f32::from_bits((127 - 100) << 23);

/// Added to an integer and then xored with it, leaves in the three low bytes digits in -128..=127 that amount to it.
pub(crate) const HALVES: i32 = 0x0080_8080;

/// Slots of a row, and lines of a panel less that of scales.
pub(crate) fn digit_slots(k: usize) -> usize {
    k.div_ceil(STEP) * STEP_LINES
}

/// A product of digits.
pub(crate) trait DigitProduct<S: Simd>: Product<S> {
    /// The same, with d1 of the rows by d2 of the panels or without.
    fn closer(self, closer: bool) -> Self;
    /// The digits of a step of values, rounded to integers: first the highest of them all.
    fn digits(self, simd: S, values: [S::V; 4]) -> [S::V; 3];
}

/// scale, and the factor that makes integers of values.
#[inline(always)]
fn scale_of(largest: f32) -> (f32, f32) {
    if !largest.is_finite() {
        (f32::NAN, 0.0)
    } else if largest < SMALLEST {
        (0.0, 0.0)
    } else {
        (largest / 127.0, REACH / largest)
    }
}

/// The digits of a value that reaches no further than [`REACH`], rounded to an integer, the highest in the third byte.
/// (A cast would be made one by one, for it saturates.)
#[inline(always)]
fn digits_of(x: f32) -> u32 {
    // Between 2^23 and 2^24 floats are the integers.
    let magnitude = (x.abs() + 8_388_608.0).to_bits().cast_signed() & 0x007f_ffff;
    let sign = x.to_bits().cast_signed() >> 31;
    (((magnitude ^ sign) - sign + HALVES) ^ HALVES).cast_unsigned()
}

impl QuantizedRows {
    /// Rows in digits.
    #[inline(always)]
    pub(crate) fn split<S: Simd, P: DigitProduct<S>>(
        &mut self,
        simd: S,
        product: P,
        rows: Rows<'_>,
    ) -> Lhs<'_> {
        const { assert!(S::LANES == PANEL) };
        let (count, depth) = (rows.rows(), digit_slots(rows.cols()));
        let stride = slot_stride(depth);
        let (slots, _, scales) = self.room(count, stride);
        for i in 0..count {
            let row = rows.row(i);
            let (scale, factor) = scale_of(largest(simd, row));
            scales[i] = scale;
            let factor = simd.splat(factor);
            for (values, slots) in row.chunks(STEP).zip(slots[i * stride..].chunks_exact_mut(STEP_LINES)) {
                let mut step = [simd.splat(0.0); 4];
                for (vector, values) in step.iter_mut().zip(values.chunks(PANEL)) {
                    *vector = simd.mul(simd.load_some(values, 0.0), factor);
                }
                for (digits, line) in
                    product.digits(simd, step).into_iter().zip(slots.chunks_exact_mut(PANEL))
                {
                    simd.store_slots(digits, line);
                }
            }
        }
        Lhs { scales, ..Slots::new(slots, count, depth, stride).into() }
    }
}

/// Appends a panel of digits, given one of f32, a line for each of k.
#[inline(always)]
pub(crate) fn push_digits(panel: &[[f32; PANEL]], panels: &mut Buffer<Slot>) {
    // NaN is the largest of them all: larger than infinity, as an integer.
    let mut largest = [0; PANEL];
    for line in panel {
        for (largest, x) in largest.iter_mut().zip(line) {
            *largest = u32::max(*largest, x.to_bits() & !(1 << 31));
        }
    }
    let scales = largest.map(|bits| scale_of(f32::from_bits(bits)));
    let factors = scales.map(|(_, factor)| factor);
    for step in panel.chunks(STEP) {
        let mut digits = [[[Slot::ZERO; PANEL]; PANEL]; 3];
        for (slot, lines) in step.chunks(4).enumerate() {
            // No closures, which would be compiled without the instruction set.
            let mut bits = [[0; PANEL]; 4];
            for (bits, line) in bits.iter_mut().zip(lines) {
                for i in 0..PANEL {
                    bits[i] = digits_of(line[i] * factors[i]);
                }
            }
            for (d, digits) in digits.iter_mut().enumerate() {
                let shift = 16 - 8 * d;
                for i in 0..PANEL {
                    let low = bits[0][i] >> shift & 0xff | (bits[1][i] >> shift & 0xff) << 8;
                    let high = bits[2][i] >> shift & 0xff | (bits[3][i] >> shift & 0xff) << 8;
                    digits[slot][i] = Slot::from_bits(high << 16 | low);
                }
            }
        }
        digits.as_flattened().iter().for_each(|&line| panels.push(line));
    }
    panels.push(bytemuck::cast(scales.map(|(scale, _)| scale)));
}
