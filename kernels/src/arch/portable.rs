//! Any target, through `wide`: vectors of 8 (two SSE2 or NEON registers each), tiles of 2 rows and one panel.

use half::{bf16, f16};
use wide::f32x8;

use crate::product::VectorProduct;
use crate::simd::{DotKernel, Simd};
use crate::tile::{Tile, tile};

/// Needs nothing from the CPU beyond what the target always has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Portable;

impl Portable {
    pub(crate) const NAME: &'static str = "portable";

    #[inline(always)]
    fn map(x: f32x8, f: impl Fn(f32) -> f32) -> f32x8 {
        f32x8::from(x.to_array().map(f))
    }

    #[inline(always)]
    fn zip(a: f32x8, b: f32x8, f: impl Fn(f32, f32) -> f32) -> f32x8 {
        let (a, b) = (a.to_array(), b.to_array());
        f32x8::from(std::array::from_fn(|i| f(a[i], b[i])))
    }

    /// Folds halves onto each other: 8 to 4 to 2 to 1.
    #[inline(always)]
    fn fold(x: f32x8, f: impl Fn(f32, f32) -> f32) -> f32 {
        let x = x.to_array();
        let four: [f32; 4] = std::array::from_fn(|i| f(x[i], x[i + 4]));
        f(f(four[0], four[2]), f(four[1], four[3]))
    }
}

impl Simd for Portable {
    type V = f32x8;
    const LANES: usize = 8;
    const MR: usize = 2;
    const TILE_PANELS: usize = 1;

    #[inline(always)]
    fn name(self) -> &'static str {
        Self::NAME
    }
    #[inline(always)]
    fn splat(self, x: f32) -> f32x8 {
        f32x8::splat(x)
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> f32x8 {
        f32x8::from(std::array::from_fn(|i| from[i]))
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> f32x8 {
        let mut all = [fill; 8];
        all[..from.len()].copy_from_slice(from);
        f32x8::from(all)
    }
    #[inline(always)]
    fn store(self, v: f32x8, to: &mut [f32]) {
        to[..8].copy_from_slice(&v.to_array());
    }
    #[inline(always)]
    fn store_partial(self, v: f32x8, to: &mut [f32]) {
        to.copy_from_slice(&v.to_array()[..to.len()]);
    }
    #[inline(always)]
    unsafe fn load_raw(self, from: *const f32) -> f32x8 {
        // SAFETY: the caller vouches for 8 readable values.
        f32x8::from(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store_raw(self, v: f32x8, to: *mut f32) {
        // SAFETY: the caller vouches for 8 writable values.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(v.to_array()) }
    }
    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        // Not `mul_add`: it would fuse, and give other bits, where the user's compile flags allow it.
        a * b + c
    }
    #[inline(always)]
    fn at_least(self, x: f32x8, floor: f32x8) -> f32x8 {
        self.select_lt(x, floor, floor, x)
    }
    #[inline(always)]
    fn at_most(self, x: f32x8, ceiling: f32x8) -> f32x8 {
        self.select_lt(ceiling, x, ceiling, x)
    }
    #[inline(always)]
    fn select_lt(self, a: f32x8, b: f32x8, yes: f32x8, no: f32x8) -> f32x8 {
        a.simd_lt(b).bitselect(yes, no)
    }
    #[inline(always)]
    fn abs(self, x: f32x8) -> f32x8 {
        x.abs()
    }
    #[inline(always)]
    fn copysign(self, x: f32x8, sign: f32x8) -> f32x8 {
        let bit = f32x8::splat(-0.0);
        bit.bitselect(sign, x)
    }
    #[inline(always)]
    fn low_bits_as_exponent(self, x: f32x8) -> f32x8 {
        Self::map(x, |x| f32::from_bits(x.to_bits() << 23))
    }
    #[inline(always)]
    fn split_bf16(self, pairs: f32x8) -> [f32x8; 2] {
        let low = Self::map(pairs, |pair| f32::from_bits(pair.to_bits() << 16));
        [low, Self::map(pairs, |pair| f32::from_bits(pair.to_bits() & 0xffff_0000))]
    }
    #[inline(always)]
    fn transpose(self, block: &mut [f32x8; 16]) {
        let rows = block.map(f32x8::to_array);
        for (j, column) in block[..8].iter_mut().enumerate() {
            *column = f32x8::from(std::array::from_fn(|i| rows[i][j]));
        }
    }
    #[inline(always)]
    fn sum(self, x: f32x8) -> f32 {
        Self::fold(x, |a, b| a + b)
    }
    #[inline(always)]
    fn max(self, x: f32x8) -> f32 {
        Self::fold(x, f32::max)
    }
    #[inline(always)]
    fn widen_f16(self, from: &[u8]) -> f32x8 {
        f32x8::from(std::array::from_fn(|i| f16::from_le_bytes([from[2 * i], from[2 * i + 1]]).to_f32()))
    }
    #[inline(always)]
    fn widen_bf16(self, from: &[u8]) -> f32x8 {
        f32x8::from(std::array::from_fn(|i| bf16::from_le_bytes([from[2 * i], from[2 * i + 1]]).to_f32()))
    }
    #[inline(always)]
    fn widen_i8(self, from: &[u8]) -> f32x8 {
        f32x8::from(std::array::from_fn(|i| f32::from(from[i] as i8)))
    }
    #[inline(always)]
    fn dot_pairs(self, a: f32x8, b: f32x8) -> f32x8 {
        let halves = |x: f32| [x.to_bits() as i16, (x.to_bits() >> 16) as i16].map(i32::from);
        Self::zip(a, b, |a, b| {
            let (a, b) = (halves(a), halves(b));
            from_i32(a[0] * b[0] + a[1] * b[1])
        })
    }
    #[inline(always)]
    fn convert_i32(self, x: f32x8) -> f32x8 {
        Self::map(x, |x| x.to_bits().cast_signed() as f32)
    }
    #[inline(always)]
    fn extremes(self, [signed, unsigned]: [f32x8; 2], x: f32x8) -> [f32x8; 2] {
        let signed =
            Self::zip(signed, x, |a, b| from_i32(a.to_bits().cast_signed().max(b.to_bits().cast_signed())));
        [signed, Self::zip(unsigned, x, |a, b| f32::from_bits(a.to_bits().max(b.to_bits())))]
    }
    #[inline(always)]
    fn reduce_extremes(self, [signed, unsigned]: [f32x8; 2]) -> [u32; 2] {
        let signed =
            signed.to_array().map(|x| x.to_bits().cast_signed()).into_iter().fold(i32::MIN, i32::max);
        [signed.cast_unsigned(), unsigned.to_array().map(f32::to_bits).into_iter().fold(0, u32::max)]
    }
    #[inline(always)]
    fn quantize(self, x: [f32x8; 4], zero: u8) -> f32x8 {
        /// 1.5 * 2^23: added to a small number it leaves the nearest integer in the low bits, ties to even.
        const MAGIC: f32 = 12_582_912.0;
        let byte = |x: f32| {
            let rounded = (x + MAGIC).to_bits().cast_signed().wrapping_sub(MAGIC.to_bits().cast_signed());
            rounded.wrapping_add(i32::from(zero)).clamp(0, 255) as u8
        };
        let mut bytes = [0; 32];
        for (bytes, x) in bytes.chunks_exact_mut(8).zip(x) {
            bytes.iter_mut().zip(x.to_array()).for_each(|(to, x)| *to = byte(x));
        }
        f32x8::from(std::array::from_fn(|i| f32::from_le_bytes(std::array::from_fn(|j| bytes[4 * i + j]))))
    }
    #[inline(always)]
    fn with_dot<K: DotKernel<Self>>(self, kernel: K) -> K::Output {
        kernel.run(self, Scalar)
    }
    #[inline(never)]
    unsafe fn matmul_tile<P: VectorProduct<Self>>(self, product: P, rows: usize, _panels: usize, t: &Tile) {
        // SAFETY: the caller meets the contract of `tile`; two vectors of 8 are one panel.
        unsafe {
            match rows {
                1 => tile::<Self, P, 1, 2>(self, product, t),
                _ => tile::<Self, P, 2, 2>(self, product, t),
            }
        }
    }
}

/// Products of bytes, one by one.
#[derive(Clone, Copy)]
struct Scalar;

impl VectorProduct<Portable> for Scalar {
    const BYTES: bool = true;
    const OPERATIONS: u64 = 8;
    const MR: usize = Portable::MR;
    #[inline(always)]
    fn step(self, _: Portable, lhs: f32x8, rhs: f32x8, sum: f32x8) -> f32x8 {
        let products = Portable::zip(lhs, rhs, |lhs, rhs| {
            let (lhs, rhs) = (lhs.to_bits().to_le_bytes(), rhs.to_bits().to_le_bytes());
            from_i32((0..4).map(|i| i32::from(lhs[i]) * i32::from(rhs[i].cast_signed())).sum())
        });
        Portable::zip(sum, products, |a, b| {
            from_i32(a.to_bits().cast_signed().wrapping_add(b.to_bits().cast_signed()))
        })
    }
}

/// A lane that holds the bits of an integer.
#[inline(always)]
fn from_i32(x: i32) -> f32 {
    f32::from_bits(x.cast_unsigned())
}
