//! Rows of f32 as bytes: what a product of bytes takes on either side.
//!
//! Activations are quantised as they come, each row by itself: x = scale * (q - zero), q in 0..=255, over the range of
//! the row and 0; of [fine rows](crate::fine) q is in 0..=254, and a second byte has what that leaves. Weights are
//! quantised once, each output by itself: w = scale * q, q in -127..=127. So
//! sum x w = scale_x * scale_w * (sum q_x q_w - zero * sum q_w), in whole numbers up to the last step.

use crate::PANEL;
use crate::fine::LhsRows;
use crate::matmul::{Lhs, MAX_TILE};
use crate::matrix::Buffer;
use crate::operand::slot_stride;
use crate::simd::Simd;
use crate::slot::Slot;
use crate::view::{RowFormat, Slots};

/// The deepest product of bytes: no sum of so many leaves an i32, nor their column sums what [`pair_of_sum`] holds.
pub(crate) const MAX_DEPTH: usize = 1 << 15;

/// Rows whose extremes are found together, because each is waited for before anything else.
const GROUP: usize = 4;

/// A sum of weights as two 16-bit integers, low + 128 * high, the low one in the low bits. The inner product with a
/// pair of [`pair_of_zero`] is a tile's way to their product, which would be slow in 32 bits.
pub(crate) fn pair_of_sum(sum: i32) -> Slot {
    Slot::from_bits(((sum & 127) | ((sum >> 7) << 16)).cast_unsigned())
}

/// -zero and -zero * 128.
fn pair_of_zero(zero: u8) -> Slot {
    let zero = i32::from(zero);
    Slot::from_bits(((-zero & 0xffff) | ((-zero * 128) << 16)).cast_unsigned())
}

/// A block of activations in bytes.
#[derive(Clone, Debug, Default)]
pub(crate) struct QuantizedRows {
    slots: Buffer<Slot>,
    zeros: Buffer<Slot>,
    scales: Buffer<f32>,
}

impl QuantizedRows {
    pub(crate) fn reserve(&mut self, rows: usize, slots: usize) {
        self.room(rows, slot_stride(slots));
    }

    /// Slots of rows, `stride` from one to the next, their zero points and their scales.
    #[inline(always)]
    pub(crate) fn room(&mut self, rows: usize, stride: usize) -> (&mut [Slot], &mut [Slot], &mut [f32]) {
        // Whatever is in rows beyond these meets no row of dst.
        let slots = self.slots.at_least(rows.next_multiple_of(MAX_TILE.0) * stride);
        (slots, self.zeros.at_least(rows), self.scales.at_least(rows))
    }

    /// Rows of either format; ahead of them all the second bytes of those that are fine.
    #[inline(always)]
    pub(crate) fn quantize<'a, S: Simd>(&'a mut self, simd: S, lhs: LhsRows<'a>) -> Lhs<'a> {
        match lhs.rows.format() {
            RowFormat::F32 => self.quantize_from::<S, false>(simd, lhs),
            RowFormat::Bf16Pairs => self.quantize_from::<S, true>(simd, lhs),
        }
    }

    #[inline(always)]
    fn quantize_from<'a, S: Simd, const PAIRS: bool>(
        &'a mut self,
        simd: S,
        LhsRows { rows, fine }: LhsRows<'a>,
    ) -> Lhs<'a> {
        let (count, k, second_rows) = (rows.rows(), rows.cols(), fine.count());
        let stride = slot_stride(k.div_ceil(4));
        let (slots, zeros, scales) = self.room(second_rows + count, stride);
        let mut next_fine = fine.iter().enumerate().peekable();
        for first in (0..count).step_by(GROUP) {
            let group = first..count.min(first + GROUP);
            let mut ranges = [[0.0; 2]; GROUP];
            for (range, i) in ranges.iter_mut().zip(group.clone()) {
                *range = extremes::<S, PAIRS>(simd, rows.slots().row(i));
            }
            for (&range, i) in ranges.iter().zip(group) {
                let row = rows.slots().row(i);
                let second = next_fine.next_if(|&(_, at)| at == i).map(|(second, _)| second);
                let steps = if second.is_some() { FINE_STEPS } else { STEPS };
                let Affine { scale, inverse, zero } = Affine::of_range(range, steps);
                let at = second_rows + i;
                (scales[at], zeros[at]) = (scale, pair_of_zero(zero));
                let own_slots = &mut slots[at * stride..][..stride];
                quantize_row::<S, PAIRS, false>(simd, row, inverse, zero, own_slots);
                if let Some(at) = second {
                    (scales[at], zeros[at]) = (scale / 256.0, pair_of_zero(128));
                    let own_slots = &mut slots[at * stride..][..stride];
                    quantize_row::<S, PAIRS, true>(simd, row, inverse, 128, own_slots);
                }
            }
        }
        let slots = Slots::new(slots, second_rows + count, k.div_ceil(4), stride);
        Lhs { slots, zeros, scales, fine }
    }
}

/// How a row of activations becomes bytes.
struct Affine {
    scale: f32,
    /// 1 / scale, or 0 where that would be no number.
    inverse: f32,
    zero: u8,
}

/// Steps of a byte from the lowest of a row to the highest.
const STEPS: f32 = 255.0;

/// The same of a row that is fine: where both ends of 255 round outwards one is cut off, more than a second byte can
/// mend.
const FINE_STEPS: f32 = 254.0;

impl Affine {
    /// A row that holds NaN or an infinity has NaN for its scale. One whose range is too small for the inverse of its
    /// scale counts as zeros.
    #[inline(always)]
    fn of_range([low, high]: [f32; 2], steps: f32) -> Self {
        // The difference might overflow.
        let scale = high / steps - low / steps;
        if scale.is_finite() && scale >= f32::MIN_POSITIVE {
            let inverse = 1.0 / scale;
            return Self { scale, inverse, zero: (-low * inverse).round_ties_even() as u8 };
        }
        let scale = if low.is_finite() && high.is_finite() { 0.0 } else { f32::NAN };
        Self { scale, inverse: 0.0, zero: 0 }
    }
}

/// The largest magnitude of a row; NaN where one of it is not finite.
#[inline(always)]
pub(crate) fn largest<S: Simd>(simd: S, row: &[f32]) -> f32 {
    let [low, high] = extremes::<S, false>(simd, Slot::of_floats(row));
    if low.is_finite() && high.is_finite() { f32::max(-low, high) } else { f32::NAN }
}

/// The lowest and the highest of a row of f32, or of pairs of bfloat16, and 0; not finite if one of the row is not.
#[inline(always)]
fn extremes<S: Simd, const PAIRS: bool>(simd: S, row: &[Slot]) -> [f32; 2] {
    let mut parts = [[simd.splat(0.0); 2]; 4];
    let mut steps = row.chunks_exact(4 * S::LANES);
    for step in &mut steps {
        for (i, part) in parts.iter_mut().enumerate() {
            *part = extremes_of::<S, PAIRS>(simd, *part, simd.load_slots(&step[i * S::LANES..]));
        }
    }
    let mut vectors = steps.remainder().chunks_exact(S::LANES);
    for vector in &mut vectors {
        parts[0] = extremes_of::<S, PAIRS>(simd, parts[0], simd.load_slots(vector));
    }
    let tail = vectors.remainder();
    if !tail.is_empty() {
        parts[0] = extremes_of::<S, PAIRS>(simd, parts[0], simd.load_some_slots(tail));
    }
    // Extremes of extremes: each of them is a value of the row, or zero.
    let mut all = parts[0];
    for &extreme in parts[1..].iter().flatten() {
        all = simd.extremes(all, extreme);
    }
    let [high, low] = simd.reduce_extremes(all).map(f32::from_bits);
    [if low.is_sign_negative() { low } else { 0.0 }, high]
}

#[inline(always)]
fn extremes_of<S: Simd, const PAIRS: bool>(simd: S, so_far: [S::V; 2], elements: S::V) -> [S::V; 2] {
    if PAIRS {
        let [low, high] = simd.split_bf16(elements);
        simd.extremes(simd.extremes(so_far, low), high)
    } else {
        simd.extremes(so_far, elements)
    }
}

/// Bytes round(x * inverse) + zero, and those of zeros up to the end of the slots that vectors reach. Of what is
/// `SECOND` only what that rounding leaves, in 256ths.
#[inline(always)]
fn quantize_row<S: Simd, const PAIRS: bool, const SECOND: bool>(
    simd: S,
    row: &[Slot],
    inverse: f32,
    zero: u8,
    slots: &mut [Slot],
) {
    let factor = simd.splat(inverse);
    let step = if PAIRS { 2 } else { 4 } * S::LANES;
    let mut slots = slots.chunks_exact_mut(S::LANES);
    let mut steps = row.chunks_exact(step);
    for (elements, slots) in (&mut steps).zip(&mut slots) {
        quantize_step::<S, PAIRS, SECOND>(simd, elements, factor, zero, slots);
    }
    let rest = steps.remainder();
    if let (false, Some(slots)) = (rest.is_empty(), slots.next()) {
        let mut padded = [Slot::ZERO; 4 * PANEL];
        padded[..rest.len()].copy_from_slice(rest);
        quantize_step::<S, PAIRS, SECOND>(simd, &padded[..step], factor, zero, slots);
    }
}

#[inline(always)]
fn quantize_step<S: Simd, const PAIRS: bool, const SECOND: bool>(
    simd: S,
    elements: &[Slot],
    factor: S::V,
    zero: u8,
    slots: &mut [Slot],
) {
    let mut x = [factor; 4];
    for (i, x) in x.iter_mut().enumerate() {
        let values = if PAIRS {
            simd.widen_bf16(&bytemuck::cast_slice(elements)[2 * i * S::LANES..])
        } else {
            simd.load_slots(&elements[i * S::LANES..])
        };
        *x = simd.mul(values, factor);
        if SECOND {
            *x = simd.mul(simd.sub(*x, simd.nearest(*x)), simd.splat(256.0));
        }
    }
    simd.store_slots(simd.quantize(x, zero), slots);
}

/// The rows of one panel of weights, in bytes.
pub(crate) struct QuantizedPanel {
    slots: Buffer<Slot>,
    stride: usize,
    /// Lines of the packed panel.
    pub(crate) sums: [Slot; PANEL],
    pub(crate) scales: [f32; PANEL],
}

impl QuantizedPanel {
    pub(crate) fn new(k: usize) -> Self {
        let stride = slot_stride(k.div_ceil(4));
        Self { slots: Buffer::zeros(PANEL * stride), stride, sums: [Slot::ZERO; PANEL], scales: [0.0; PANEL] }
    }

    /// Rows of slots, and from one to the next.
    pub(crate) fn slots(&self) -> (&[Slot], usize) {
        (self.slots.as_slice(), self.stride)
    }

    /// Row `i` is that of f32 values. One that holds NaN or an infinity has NaN for its scale; one too small for the
    /// inverse of its scale counts as zeros.
    #[inline(always)]
    pub(crate) fn quantize<S: Simd>(&mut self, simd: S, i: usize, row: &[f32]) {
        let scale = largest(simd, row) / 127.0;
        let (scale, inverse) = if scale.is_nan() {
            (f32::NAN, 0.0)
        } else if scale < f32::MIN_POSITIVE {
            (0.0, 0.0)
        } else {
            (scale, 1.0 / scale)
        };
        let slots = &mut self.slots.as_mut_slice()[i * self.stride..][..self.stride];
        quantize_row::<S, false, false>(simd, Slot::of_floats(row), inverse, 128, slots);
        let mut sum = 0;
        for slot in &mut slots[..row.len().div_ceil(4)] {
            let bits = slot.bits() ^ 0x8080_8080;
            *slot = Slot::from_bits(bits);
            sum += sum_of_bytes(bits);
        }
        (self.scales[i], self.sums[i]) = (scale, pair_of_sum(sum));
    }

    /// Row `i` is as a checkpoint holds it.
    pub(crate) fn copy(&mut self, i: usize, bytes: &[u8], scale: f32) {
        let slots = &mut self.slots.as_mut_slice()[i * self.stride..][..self.stride];
        let mut sum = 0;
        for (slot, bytes) in slots.iter_mut().zip(bytes.chunks(4)) {
            let mut four = [0; 4];
            four[..bytes.len()].copy_from_slice(bytes);
            let bits = u32::from_le_bytes(four);
            *slot = Slot::from_bits(bits);
            sum += sum_of_bytes(bits);
        }
        (self.scales[i], self.sums[i]) = (scale, pair_of_sum(sum));
    }
}

#[inline(always)]
fn sum_of_bytes(bits: u32) -> i32 {
    bits.to_le_bytes().map(|byte| i32::from(byte.cast_signed())).iter().sum()
}
