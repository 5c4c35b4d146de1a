//! WebAssembly's SIMD128: vectors of 4, tiles of 2 rows and one panel. Bytes are multiplied by its relaxed dot product in
//! a module that is compiled with `relaxed-simd`: a module either validates with an instruction or does not load, so
//! nothing is asked when it runs.

use std::arch::wasm32::*;

#[cfg(target_feature = "relaxed-simd")]
#[path = "simd128/relaxed.rs"]
mod relaxed;

use crate::product::VectorProduct;
use crate::simd::{DotKernel, Simd};
use crate::slot::Slot;
use crate::tile::{Tile, tile};

/// Needs what the module was compiled with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Simd128 {
    /// Whether bytes are multiplied by relaxed dot products.
    relaxed: bool,
}

impl Simd128 {
    pub(crate) const NAME: &'static str = "simd128";
    pub(crate) const RELAXED_NAME: &'static str = "simd128_relaxed";
    pub(crate) const PLAIN: Self = Self { relaxed: false };

    /// With relaxed dot products, if the module was compiled with them.
    pub(crate) fn relaxed() -> Option<Self> {
        cfg!(target_feature = "relaxed-simd").then_some(Self { relaxed: true })
    }
}

impl Simd for Simd128 {
    type V = v128;
    const LANES: usize = 4;
    const MR: usize = 2;
    const TILE_PANELS: usize = 1;

    #[inline(always)]
    fn name(self) -> &'static str {
        if self.relaxed { Self::RELAXED_NAME } else { Self::NAME }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> v128 {
        f32x4_splat(x)
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> v128 {
        let from = &from[..4];
        // SAFETY: the line above checks that 4 values are there.
        unsafe { self.load_raw(from.as_ptr()) }
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> v128 {
        let mut all = [fill; 4];
        all[..from.len()].copy_from_slice(from);
        self.load(&all)
    }
    #[inline(always)]
    fn store(self, v: v128, to: &mut [f32]) {
        let to = &mut to[..4];
        // SAFETY: the line above checks that there is room for 4 values.
        unsafe { self.store_raw(v, to.as_mut_ptr()) }
    }
    #[inline(always)]
    fn store_partial(self, v: v128, to: &mut [f32]) {
        let mut all = [0.0; 4];
        self.store(v, &mut all);
        to.copy_from_slice(&all[..to.len()]);
    }
    #[inline(always)]
    unsafe fn load_raw(self, from: *const f32) -> v128 {
        // SAFETY: the caller vouches for 4 readable values.
        unsafe { v128_load(from.cast()) }
    }
    #[inline(always)]
    unsafe fn store_raw(self, v: v128, to: *mut f32) {
        // SAFETY: the caller vouches for 4 writable values.
        unsafe { v128_store(to.cast(), v) }
    }
    #[inline(always)]
    unsafe fn splat_slot_raw(self, from: *const Slot) -> v128 {
        // SAFETY: the caller vouches for a readable slot.
        unsafe { v128_load32_splat(from.cast()) }
    }
    #[inline(always)]
    fn add(self, a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }
    #[inline(always)]
    fn sub(self, a: v128, b: v128) -> v128 {
        f32x4_sub(a, b)
    }
    #[inline(always)]
    fn mul(self, a: v128, b: v128) -> v128 {
        f32x4_mul(a, b)
    }
    #[inline(always)]
    fn div(self, a: v128, b: v128) -> v128 {
        f32x4_div(a, b)
    }
    #[inline(always)]
    fn mul_add(self, a: v128, b: v128, c: v128) -> v128 {
        // Not the relaxed one: whether it rounds once is the browser's choice, and scores would differ between them.
        f32x4_add(f32x4_mul(a, b), c)
    }
    #[inline(always)]
    fn at_least(self, x: v128, floor: v128) -> v128 {
        // The first where a comparison with NaN is false.
        f32x4_pmax(x, floor)
    }
    #[inline(always)]
    fn at_most(self, x: v128, ceiling: v128) -> v128 {
        f32x4_pmin(x, ceiling)
    }
    #[inline(always)]
    fn select_lt(self, a: v128, b: v128, yes: v128, no: v128) -> v128 {
        v128_bitselect(yes, no, f32x4_lt(a, b))
    }
    #[inline(always)]
    fn abs(self, x: v128) -> v128 {
        f32x4_abs(x)
    }
    #[inline(always)]
    fn copysign(self, x: v128, sign: v128) -> v128 {
        v128_bitselect(sign, x, f32x4_splat(-0.0))
    }
    #[inline(always)]
    fn low_bits_as_exponent(self, x: v128) -> v128 {
        i32x4_shl(x, 23)
    }
    #[inline(always)]
    fn split_bf16(self, pairs: v128) -> [v128; 2] {
        [i32x4_shl(pairs, 16), v128_and(pairs, u32x4_splat(0xffff_0000))]
    }
    #[inline(always)]
    fn transpose(self, block: &mut [v128; 16]) {
        let [a, b, c, d] = [block[0], block[1], block[2], block[3]];
        let low = [i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d)];
        let high = [i32x4_shuffle::<2, 6, 3, 7>(a, b), i32x4_shuffle::<2, 6, 3, 7>(c, d)];
        block[0] = i64x2_shuffle::<0, 2>(low[0], low[1]);
        block[1] = i64x2_shuffle::<1, 3>(low[0], low[1]);
        block[2] = i64x2_shuffle::<0, 2>(high[0], high[1]);
        block[3] = i64x2_shuffle::<1, 3>(high[0], high[1]);
    }
    #[inline(always)]
    fn sum(self, x: v128) -> f32 {
        let [a, b, c, d] = lanes(x);
        (a + c) + (b + d)
    }
    #[inline(always)]
    fn max(self, x: v128) -> f32 {
        let [a, b, c, d] = lanes(x);
        a.max(c).max(b.max(d))
    }
    #[inline(always)]
    fn widen_f16(self, from: &[u8]) -> v128 {
        let from = &from[..8];
        // SAFETY: the line above checks that 8 bytes are there.
        let halves = unsafe { u16x4(from) };
        let sign = i32x4_shl(v128_and(halves, u32x4_splat(0x8000)), 16);
        let magnitude = i32x4_shl(v128_and(halves, u32x4_splat(0x7fff)), 13);
        // The exponents' biases differ by 112; the product is exact, and makes subnormal halves normal.
        let scaled = f32x4_mul(magnitude, f32x4_splat(f32::from_bits((112 + 127) << 23)));
        // Infinity and NaN have all bits of the exponent set, in f32 as well.
        let special = i32x4_gt(magnitude, i32x4_splat((0x7c00 << 13) - 1));
        let exponent = v128_and(special, u32x4_splat(0x7f80_0000));
        v128_or(v128_or(sign, scaled), exponent)
    }
    #[inline(always)]
    fn widen_bf16(self, from: &[u8]) -> v128 {
        let from = &from[..8];
        // SAFETY: the line above checks that 8 bytes are there.
        i32x4_shl(unsafe { u16x4(from) }, 16)
    }
    #[inline(always)]
    fn widen_i8(self, from: &[u8]) -> v128 {
        let from = &from[..4];
        // SAFETY: the line above checks that 4 bytes are there.
        let bytes = unsafe { v128_load32_zero(from.as_ptr().cast()) };
        f32x4_convert_i32x4(i32x4_extend_low_i16x8(i16x8_extend_low_i8x16(bytes)))
    }
    #[inline(always)]
    fn dot_pairs(self, a: v128, b: v128) -> v128 {
        i32x4_dot_i16x8(a, b)
    }
    #[inline(always)]
    fn convert_i32(self, x: v128) -> v128 {
        f32x4_convert_i32x4(x)
    }
    #[inline(always)]
    fn extremes(self, [signed, unsigned]: [v128; 2], x: v128) -> [v128; 2] {
        [i32x4_max(signed, x), u32x4_max(unsigned, x)]
    }
    #[inline(always)]
    fn reduce_extremes(self, [signed, unsigned]: [v128; 2]) -> [u32; 2] {
        let signed = lanes(signed).map(|x| x.to_bits().cast_signed()).into_iter().fold(i32::MIN, i32::max);
        [signed.cast_unsigned(), lanes(unsigned).map(f32::to_bits).into_iter().fold(0, u32::max)]
    }
    #[inline(always)]
    fn quantize(self, x: [v128; 4], zero: u8) -> v128 {
        // 1.5 * 2^23: added to a small number it leaves the nearest integer in the low bits, ties to even.
        let magic = f32x4_splat(12_582_912.0);
        let [a, b, c, d] = x.map(|x| i32x4_sub(f32x4_add(x, magic), magic));
        let zero = i16x8_splat(i16::from(zero));
        let ab = i16x8_add_sat(i16x8_narrow_i32x4(a, b), zero);
        let cd = i16x8_add_sat(i16x8_narrow_i32x4(c, d), zero);
        u8x16_narrow_i16x8(ab, cd)
    }
    #[inline(always)]
    fn with_dot<K: DotKernel<Self>>(self, kernel: K) -> K::Output {
        #[cfg(target_feature = "relaxed-simd")]
        if self.relaxed {
            return kernel.run(self, relaxed::Relaxed);
        }
        kernel.run(self, Words)
    }
    #[inline(never)]
    unsafe fn matmul_tile<P: VectorProduct<Self>>(self, product: P, rows: usize, _panels: usize, t: &Tile) {
        // SAFETY: the caller meets the contract of `tile`; four vectors of 4 are one panel.
        unsafe {
            match rows {
                1 => tile::<Self, P, 1, 4>(self, product, t),
                _ => tile::<Self, P, 2, 4>(self, product, t),
            }
        }
    }
}

/// The lanes in order.
#[inline(always)]
fn lanes(x: v128) -> [f32; 4] {
    [
        f32x4_extract_lane::<0>(x),
        f32x4_extract_lane::<1>(x),
        f32x4_extract_lane::<2>(x),
        f32x4_extract_lane::<3>(x),
    ]
}

/// # Safety
/// `from` has 8 bytes.
#[inline(always)]
unsafe fn u16x4(from: &[u8]) -> v128 {
    // SAFETY: as the caller promises.
    unsafe { u32x4_extend_low_u16x8(v128_load64_zero(from.as_ptr().cast())) }
}

/// Products of bytes by those of 16-bit integers, the even ones and the odd ones.
#[derive(Clone, Copy)]
struct Words;

impl VectorProduct<Simd128> for Words {
    const BYTES: bool = true;
    const OPERATIONS: u64 = 8;
    const MR: usize = Simd128::MR;
    #[inline(always)]
    fn step(self, _: Simd128, lhs: v128, rhs: v128, sum: v128) -> v128 {
        let lhs = [v128_and(lhs, u16x8_splat(0xff)), u16x8_shr(lhs, 8)];
        let rhs = [i16x8_shr(i16x8_shl(rhs, 8), 8), i16x8_shr(rhs, 8)];
        let sum = i32x4_add(sum, i32x4_dot_i16x8(lhs[0], rhs[0]));
        i32x4_add(sum, i32x4_dot_i16x8(lhs[1], rhs[1]))
    }
}
