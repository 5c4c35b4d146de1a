//! The small vector trait that every kernel is written against.
//!
//! A value of a type that implements [`Simd`] proves that its instructions may run, which makes these methods safe.
//! Arithmetic is lane by lane; what mixes lanes (transposing, quantising, reducing) does so in an order that is fixed.

use crate::digits::DigitProduct;
use crate::operand::FloatProduct;
use crate::product::{Product, VectorProduct};
use crate::slot::Slot;
use crate::tile::Tile;

/// f32 vectors of one instruction set, and the shape of its matrix tile.
pub(crate) trait Simd: Copy {
    /// A vector of `LANES` f32 values, or of as many slots.
    type V: Copy;
    /// Values in a vector: a divisor of [`PANEL`](crate::PANEL).
    const LANES: usize;
    /// Rows of a full matrix tile.
    const MR: usize;
    /// Panels side by side in a full matrix tile.
    const TILE_PANELS: usize;

    /// Name of the instruction set.
    fn name(self) -> &'static str;

    fn splat(self, x: f32) -> Self::V;
    /// The first `LANES` values of `from`; panics when there are fewer.
    fn load(self, from: &[f32]) -> Self::V;
    /// All of `from`, fewer than `LANES` values, followed by `fill`.
    fn load_partial(self, from: &[f32], fill: f32) -> Self::V;
    /// Stores into the first `LANES` places of `to`; panics when there are fewer.
    fn store(self, v: Self::V, to: &mut [f32]);
    /// Stores the first `to.len()` lanes, fewer than `LANES`.
    fn store_partial(self, v: Self::V, to: &mut [f32]);

    /// All of `from`, at most `LANES` values, followed by `fill`.
    #[inline(always)]
    fn load_some(self, from: &[f32], fill: f32) -> Self::V {
        if from.len() == Self::LANES { self.load(from) } else { self.load_partial(from, fill) }
    }
    /// Stores the first `to.len()` lanes, at most `LANES`.
    #[inline(always)]
    fn store_some(self, v: Self::V, to: &mut [f32]) {
        if to.len() == Self::LANES { self.store(v, to) } else { self.store_partial(v, to) }
    }

    /// The first `LANES` slots of `from`, as they are; panics when there are fewer.
    #[inline(always)]
    fn load_slots(self, from: &[Slot]) -> Self::V {
        self.load(Slot::floats(from))
    }
    /// All of `from`, at most `LANES` slots, followed by zeros.
    #[inline(always)]
    fn load_some_slots(self, from: &[Slot]) -> Self::V {
        self.load_some(Slot::floats(from), 0.0)
    }
    /// Stores into the first `LANES` slots of `to`; panics when there are fewer.
    #[inline(always)]
    fn store_slots(self, v: Self::V, to: &mut [Slot]) {
        self.store(v, Slot::floats_mut(to));
    }
    /// Stores the first `to.len()` lanes, at most `LANES`.
    #[inline(always)]
    fn store_some_slots(self, v: Self::V, to: &mut [Slot]) {
        self.store_some(v, Slot::floats_mut(to));
    }
    /// # Safety
    /// `from` must be valid for reading `LANES` slots.
    #[inline(always)]
    unsafe fn load_slots_raw(self, from: *const Slot) -> Self::V {
        // SAFETY: as the caller promises; a slot is as large as an f32, for which every value is valid.
        unsafe { self.load_raw(from.cast()) }
    }
    /// # Safety
    /// `to` must be valid for writing `LANES` slots.
    #[inline(always)]
    unsafe fn store_slots_raw(self, v: Self::V, to: *mut Slot) {
        // SAFETY: as above.
        unsafe { self.store_raw(v, to.cast()) }
    }
    /// One slot in all lanes.
    ///
    /// # Safety
    /// `from` must be valid for reading a slot.
    #[inline(always)]
    unsafe fn splat_slot_raw(self, from: *const Slot) -> Self::V {
        // SAFETY: as above.
        unsafe { self.splat(*from.cast::<f32>()) }
    }

    /// # Safety
    /// `from` must be valid for reading `LANES` values; no alignment is needed.
    unsafe fn load_raw(self, from: *const f32) -> Self::V;
    /// # Safety
    /// `to` must be valid for writing `LANES` values; no alignment is needed.
    unsafe fn store_raw(self, v: Self::V, to: *mut f32);

    /// Asks for the cache line at `from`, which need not be readable.
    #[inline(always)]
    fn prefetch(self, _from: *const Slot) {}

    /// The same, no nearer than L2.
    #[inline(always)]
    fn prefetch_l2(self, _from: *const Slot) {}

    /// The same pointer, of which the compiler knows nothing, so that it takes no other way to it.
    #[inline(always)]
    fn opaque(self, pointer: *const Slot) -> *const Slot {
        pointer
    }

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a / b` for finite a and b of ordinary size, at most two units in the last place off.
    #[inline(always)]
    fn quotient(self, a: Self::V, b: Self::V) -> Self::V {
        self.div(a, b)
    }
    /// `a * b + c`, rounded once where the instruction set can.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The larger of the two; a NaN in `x` stays, one in `floor` does not.
    fn at_least(self, x: Self::V, floor: Self::V) -> Self::V;
    /// The smaller of the two; a NaN in `x` stays, one in `ceiling` does not.
    fn at_most(self, x: Self::V, ceiling: Self::V) -> Self::V;
    /// `yes` where `a < b`, else `no`: a NaN on either side gives `no`.
    fn select_lt(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V;
    fn abs(self, x: Self::V) -> Self::V;
    /// The magnitude of `x` with the sign of `sign`.
    fn copysign(self, x: Self::V, sign: Self::V) -> Self::V;
    /// The float whose bits are those of x shifted left by 23: the low bits of the significand become the exponent.
    fn low_bits_as_exponent(self, x: Self::V) -> Self::V;
    /// The nearest integer, ties to even, for finite x of less than 2^22.
    #[inline(always)]
    fn nearest(self, x: Self::V) -> Self::V {
        // 1.5 * 2^23 leaves no room for a fraction.
        let magic = self.splat(12_582_912.0);
        self.sub(self.add(x, magic), magic)
    }
    /// The integer next below, for finite x of less than 2^22.
    #[inline(always)]
    fn floor(self, x: Self::V) -> Self::V {
        let nearest = self.nearest(x);
        self.sub(nearest, self.select_lt(x, nearest, self.splat(1.0), self.splat(0.0)))
    }
    /// x less the integer next below it: 0 to 1, and 1 only by rounding.
    #[inline(always)]
    fn fraction(self, x: Self::V) -> Self::V {
        self.sub(x, self.floor(x))
    }
    /// y times 2 to the power of the integer next below x, for y in 1..=2 and x in -126..=0.
    #[inline(always)]
    fn times_power(self, y: Self::V, x: Self::V) -> Self::V {
        let biased = self.add(self.floor(x), self.splat(12_582_912.0 + 127.0));
        self.mul(y, self.low_bits_as_exponent(biased))
    }
    /// Two bfloat16 in each lane as two vectors: those of the low bits, then those of the high bits.
    fn split_bf16(self, pairs: Self::V) -> [Self::V; 2];
    /// The first `LANES` vectors of `block` as a matrix, transposed; the others are left as they are.
    fn transpose(self, block: &mut [Self::V; crate::PANEL]);
    /// The sum of all lanes, in an order that is always the same.
    fn sum(self, x: Self::V) -> f32;
    /// The largest lane; where a lane is NaN the result is unspecified.
    fn max(self, x: Self::V) -> f32;

    /// The first `LANES` little-endian f32 of `from`, at any alignment; panics when there are fewer.
    #[inline(always)]
    fn widen_f32(self, from: &[u8]) -> Self::V {
        let mut values = [0.0; crate::PANEL];
        for (value, bytes) in values[..Self::LANES].iter_mut().zip(from[..4 * Self::LANES].chunks_exact(4)) {
            *value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        self.load(&values)
    }
    /// Widens the first `LANES` little-endian halves of `from` (`2 * LANES` bytes; panics when there are fewer).
    fn widen_f16(self, from: &[u8]) -> Self::V;
    /// The same for bfloat16.
    fn widen_bf16(self, from: &[u8]) -> Self::V;
    /// The same for signed bytes (`LANES` bytes).
    fn widen_i8(self, from: &[u8]) -> Self::V;

    /// In each lane the inner product of two pairs of signed 16-bit integers, as an i32.
    fn dot_pairs(self, a: Self::V, b: Self::V) -> Self::V;
    /// The f32 nearest to the i32 whose bits each lane holds.
    fn convert_i32(self, x: Self::V) -> Self::V;
    /// The larger of the bits of each lane, as signed and as unsigned integers. From zeros on, the first becomes the
    /// highest float that is not negative, the second the lowest that is, if any; and a NaN is beyond them all.
    fn extremes(self, so_far: [Self::V; 2], x: Self::V) -> [Self::V; 2];
    /// The bits of the largest lane of the first, as signed integers, and of the second, as unsigned ones.
    fn reduce_extremes(self, extremes: [Self::V; 2]) -> [u32; 2];
    /// All lanes rounded to integers, ties to even, plus `zero`, clamped to 0..=255, as bytes in order: 4 a lane, the
    /// first in the low bits. Where a lane is beyond what 16 bits hold the result is unspecified.
    fn quantize(self, x: [Self::V; 4], zero: u8) -> Self::V;

    /// Runs a kernel with the fastest way to multiply bytes.
    fn with_dot<K: DotKernel<Self>>(self, kernel: K) -> K::Output;

    /// Runs a kernel with products of pairs of bfloat16, or gives it back where the set has none.
    #[inline(always)]
    fn with_pairs<K: PairKernel<Self>>(self, kernel: K) -> Result<K::Output, K> {
        Err(kernel)
    }

    /// The same with products of f32 that are split into digits.
    #[inline(always)]
    fn with_digits<K: DigitKernel<Self>>(self, kernel: K) -> Result<K::Output, K> {
        Err(kernel)
    }

    /// `rows` rows of a tile of a product that needs no instructions beyond this set's.
    ///
    /// # Safety
    /// `rows` is 1 to `P::MR`, `panels` 1 to `TILE_PANELS`; all else as [`tile`](crate::tile::tile) says.
    unsafe fn matmul_tile<P: VectorProduct<Self>>(self, product: P, rows: usize, panels: usize, tile: &Tile);
}

/// An operation on bytes. `run` must be `#[inline(always)]`: it is compiled with the instructions of the product.
pub(crate) trait DotKernel<S: Simd> {
    type Output;
    fn run<P: Product<S>>(self, simd: S, product: P) -> Self::Output;
}

/// The same for an operation on digits of f32.
pub(crate) trait DigitKernel<S: Simd> {
    type Output;
    fn run<P: DigitProduct<S>>(self, simd: S, product: P) -> Self::Output;
}

/// The same for an operation on pairs of bfloat16.
pub(crate) trait PairKernel<S: Simd> {
    type Output;
    fn run<P: FloatProduct<S>>(self, simd: S, product: P) -> Self::Output;
}
