//! AVX-512F, BW and DQ: vectors of 16, tiles of 14 rows and two panels (28 of 32 registers accumulate). Bytes are
//! multiplied by VNNI where the CPU has it, pairs of bfloat16 by BF16 where that is asked for.

use std::arch::asm;
use std::arch::x86_64::*;

use super::amx::{Amx, TileBytes, TileDigits, TilePairs};
use crate::isa::Kernel;
use crate::operand::FloatProduct;
use crate::product::VectorProduct;
use crate::simd::{DigitKernel, DotKernel, PairKernel, Simd};
use crate::slot::Slot;
use crate::tile::Tile;

/// Proof that the CPU has AVX-512F, BW and DQ, and what the compiler takes them to bring along.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Avx512 {
    /// Proof of VNNI, if the CPU has it.
    vnni: Option<Vnni>,
    /// Proof of BF16, if it is to be used.
    bf16: Option<Bf16>,
    /// Proof of AMX, if it is to be used.
    amx: Option<Amx>,
}

impl Avx512 {
    pub(crate) const NAME: &'static str = "avx512";
    pub(crate) const BF16_NAME: &'static str = "avx512_bf16";
    pub(crate) const AMX_NAME: &'static str = "amx";

    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let vnni = is_x86_feature_detected!("avx512vnni").then_some(Vnni(()));
        has.then_some(Self { vnni, bf16: None, amx: None })
    }

    /// With products of pairs, if the CPU has them.
    pub(crate) fn detect_bf16() -> Option<Self> {
        let bf16 = is_x86_feature_detected!("avx512bf16").then_some(Bf16(()))?;
        Some(Self { bf16: Some(bf16), ..Self::detect()? })
    }

    /// With products of tiles, and of pairs, if the CPU has them.
    pub(crate) fn detect_amx() -> Option<Self> {
        let without = Self::detect_bf16()?;
        // Last, as it asks the system for something.
        Some(Self { amx: Some(Amx::detect()?), ..without })
    }

    /// Whether it multiplies pairs of bfloat16.
    pub(crate) fn multiplies_pairs(self) -> bool {
        self.bf16.is_some()
    }

    /// Whether it multiplies tiles.
    pub(crate) fn has_tiles(self) -> bool {
        self.amx.is_some()
    }

    /// Whether nothing in it is slower than what it is there for. Products of pairs have half the rate of f32 on
    /// Intel's CPUs, which have AMX for them, and twice the rate on AMD's.
    pub(crate) fn is_fast(self) -> bool {
        let is_amd = || {
            let vendor = __cpuid(0);
            [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == b"AuthenticAMD"
        };
        !self.multiplies_pairs() || self.amx.is_some() || is_amd()
    }

    /// As on a CPU that lacks products of bytes.
    pub(crate) fn without_vnni(self) -> Self {
        Self { vnni: None, amx: None, ..self }
    }

    pub(crate) fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2,fma,f16c")]
        fn inner<K: Kernel>(token: Avx512, kernel: K) -> K::Output {
            kernel.run(token)
        }
        // SAFETY: `self` was made by `detect`, which checks every feature that `inner` enables.
        unsafe { inner(self, kernel) }
    }
}

impl Avx512 {
    fn enter_pairs<P: FloatProduct<Avx512>, K: PairKernel<Avx512>>(
        self,
        _: Bf16,
        product: P,
        kernel: K,
    ) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16,avx2,fma,f16c")]
        fn inner<P: FloatProduct<Avx512>, K: PairKernel<Avx512>>(
            token: Avx512,
            product: P,
            kernel: K,
        ) -> K::Output {
            kernel.run(token, product)
        }
        // SAFETY: `self` and the `Bf16` were made by `detect_bf16`, which checks every feature that `inner` enables.
        unsafe { inner(self, product, kernel) }
    }
}

/// An intrinsic that touches no memory.
macro_rules! op {
    ($call:expr) => {
        // SAFETY: a value of `Avx512` exists (`self`), so `detect` has seen AVX-512F, BW, DQ and AVX2.
        unsafe { $call }
    };
}

mod products;

pub(crate) use products::Bf16;
use products::{Vnni, Words, tile_of_rows};

/// A mask whose first `n` lanes are set, n < 16.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    (1 << n) - 1
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;
    const MR: usize = 14;
    const TILE_PANELS: usize = 2;

    #[inline(always)]
    fn name(self) -> &'static str {
        match (self.amx, self.bf16) {
            (Some(_), _) => Self::AMX_NAME,
            (None, Some(_)) => Self::BF16_NAME,
            (None, None) => Self::NAME,
        }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        op!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        let from = &from[..16];
        // SAFETY: the line above checks that 16 values are there.
        unsafe { self.load_raw(from.as_ptr()) }
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> __m512 {
        assert!(from.len() < 16);
        // SAFETY: `self` proves AVX-512F; only the first `from.len()` lanes are read.
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first(from.len()), from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m512, to: &mut [f32]) {
        let to = &mut to[..16];
        // SAFETY: the line above checks that there is room for 16 values.
        unsafe { self.store_raw(v, to.as_mut_ptr()) }
    }
    #[inline(always)]
    fn store_partial(self, v: __m512, to: &mut [f32]) {
        assert!(to.len() < 16);
        // SAFETY: `self` proves AVX-512F; only the first `to.len()` lanes are written.
        unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), first(to.len()), v) }
    }
    #[inline(always)]
    unsafe fn load_raw(self, from: *const f32) -> __m512 {
        // SAFETY: the caller vouches for 16 readable values; `self` proves AVX-512F.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_raw(self, v: __m512, to: *mut f32) {
        // SAFETY: the caller vouches for 16 writable values; `self` proves AVX-512F.
        unsafe { _mm512_storeu_ps(to, v) }
    }
    #[inline(always)]
    fn prefetch(self, from: *const Slot) {
        // SAFETY: a prefetch is a hint that never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    fn prefetch_l2(self, from: *const Slot) {
        // SAFETY: as above.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }
    #[inline(always)]
    #[allow(clippy::pointers_in_nomem_asm_block)] // Nothing is read through it.
    fn opaque(self, mut pointer: *const Slot) -> *const Slot {
        // SAFETY: it is a comment, which leaves the pointer as it is.
        unsafe { asm!("/* {0} */", inout(reg) pointer, options(pure, nomem, nostack, preserves_flags)) };
        pointer
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn quotient(self, a: __m512, b: __m512) -> __m512 {
        // One of Newton's steps from a reciprocal of 14 bits: the division unit takes longer than all of GELU beside
        // it.
        op!({
            let r = _mm512_rcp14_ps(b);
            let error = _mm512_fnmadd_ps(b, r, _mm512_set1_ps(1.0));
            _mm512_mul_ps(a, _mm512_fmadd_ps(r, error, r))
        })
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        op!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn at_least(self, x: __m512, floor: __m512) -> __m512 {
        // `vmaxps` gives its second operand when either is NaN.
        op!(_mm512_max_ps(floor, x))
    }
    #[inline(always)]
    fn at_most(self, x: __m512, ceiling: __m512) -> __m512 {
        op!(_mm512_min_ps(ceiling, x))
    }
    #[inline(always)]
    fn select_lt(self, a: __m512, b: __m512, yes: __m512, no: __m512) -> __m512 {
        op!(_mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_NLT_UQ>(a, b), yes, no))
    }
    #[inline(always)]
    fn abs(self, x: __m512) -> __m512 {
        op!(_mm512_abs_ps(x))
    }
    #[inline(always)]
    fn copysign(self, x: __m512, sign: __m512) -> __m512 {
        op!({
            let bit = _mm512_set1_epi32(i32::MIN);
            let (x, sign) = (_mm512_castps_si512(x), _mm512_castps_si512(sign));
            _mm512_castsi512_ps(_mm512_or_epi32(_mm512_andnot_epi32(bit, x), _mm512_and_epi32(bit, sign)))
        })
    }
    #[inline(always)]
    fn low_bits_as_exponent(self, x: __m512) -> __m512 {
        op!(_mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(x))))
    }
    #[inline(always)]
    fn fraction(self, x: __m512) -> __m512 {
        op!(_mm512_reduce_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(x))
    }
    #[inline(always)]
    fn times_power(self, y: __m512, x: __m512) -> __m512 {
        op!(_mm512_scalef_ps(y, x))
    }
    #[inline(always)]
    fn split_bf16(self, pairs: __m512) -> [__m512; 2] {
        op!({
            let pairs = _mm512_castps_si512(pairs);
            let low = _mm512_slli_epi32::<16>(pairs);
            let high = _mm512_and_epi32(pairs, _mm512_set1_epi32(-0x1_0000));
            [_mm512_castsi512_ps(low), _mm512_castsi512_ps(high)]
        })
    }
    #[inline(always)]
    fn transpose(self, block: &mut [__m512; 16]) {
        // Pairs of rows, then fours, within each 128-bit lane; then the lanes.
        let mut pairs = *block;
        let mut fours = *block;
        op!({
            for i in (0..16).step_by(2) {
                pairs[i] = _mm512_unpacklo_ps(block[i], block[i + 1]);
                pairs[i + 1] = _mm512_unpackhi_ps(block[i], block[i + 1]);
            }
            for i in (0..16).step_by(4) {
                for (j, pair) in [(i, i), (i + 2, i + 1)] {
                    let low = _mm512_castps_pd(pairs[pair]);
                    let high = _mm512_castps_pd(pairs[pair + 2]);
                    fours[j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
                    fours[j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
                }
            }
            for i in 0..4 {
                let even = |a, b| _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b);
                let odd = |a, b| _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b);
                let [a, b, c, d] = [fours[i], fours[i + 4], fours[i + 8], fours[i + 12]];
                block[i] = even(even(a, b), even(c, d));
                block[i + 4] = even(odd(a, b), odd(c, d));
                block[i + 8] = odd(even(a, b), even(c, d));
                block[i + 12] = odd(odd(a, b), odd(c, d));
            }
        })
    }
    #[inline(always)]
    fn sum(self, x: __m512) -> f32 {
        op!(_mm512_reduce_add_ps(x))
    }
    #[inline(always)]
    fn max(self, x: __m512) -> f32 {
        op!(_mm512_reduce_max_ps(x))
    }
    #[inline(always)]
    fn widen_f16(self, from: &[u8]) -> __m512 {
        let from = &from[..32];
        // SAFETY: the line above checks that 32 bytes are there; `self` proves AVX-512F.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn widen_bf16(self, from: &[u8]) -> __m512 {
        let from = &from[..32];
        // SAFETY: the line above checks that 32 bytes are there; `self` proves AVX-512F.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    fn widen_i8(self, from: &[u8]) -> __m512 {
        let from = &from[..16];
        // SAFETY: the line above checks that 16 bytes are there; `self` proves AVX-512F.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn dot_pairs(self, a: __m512, b: __m512) -> __m512 {
        op!(_mm512_castsi512_ps(_mm512_madd_epi16(_mm512_castps_si512(a), _mm512_castps_si512(b))))
    }
    #[inline(always)]
    fn convert_i32(self, x: __m512) -> __m512 {
        op!(_mm512_cvtepi32_ps(_mm512_castps_si512(x)))
    }
    #[inline(always)]
    fn extremes(self, [signed, unsigned]: [__m512; 2], x: __m512) -> [__m512; 2] {
        op!({
            let x = _mm512_castps_si512(x);
            let signed = _mm512_max_epi32(_mm512_castps_si512(signed), x);
            let unsigned = _mm512_max_epu32(_mm512_castps_si512(unsigned), x);
            [_mm512_castsi512_ps(signed), _mm512_castsi512_ps(unsigned)]
        })
    }
    #[inline(always)]
    fn reduce_extremes(self, [signed, unsigned]: [__m512; 2]) -> [u32; 2] {
        op!({
            let signed = _mm512_reduce_max_epi32(_mm512_castps_si512(signed)).cast_unsigned();
            [signed, _mm512_reduce_max_epu32(_mm512_castps_si512(unsigned))]
        })
    }
    #[inline(always)]
    fn quantize(self, [a, b, c, d]: [__m512; 4], zero: u8) -> __m512 {
        op!({
            let zero = _mm512_set1_epi16(i16::from(zero));
            let ab = _mm512_packs_epi32(_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b));
            let cd = _mm512_packs_epi32(_mm512_cvtps_epi32(c), _mm512_cvtps_epi32(d));
            let bytes = _mm512_packus_epi16(_mm512_adds_epi16(ab, zero), _mm512_adds_epi16(cd, zero));
            self.gather_lanes(bytes)
        })
    }
    #[inline(always)]
    fn with_dot<K: DotKernel<Self>>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni,avx2,fma,f16c")]
        fn inner<K: DotKernel<Avx512>>(token: Avx512, vnni: Vnni, kernel: K) -> K::Output {
            kernel.run(token, vnni)
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2,fma,f16c")]
        fn without<K: DotKernel<Avx512>>(token: Avx512, words: Words, kernel: K) -> K::Output {
            kernel.run(token, words)
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16,avx2,fma,f16c")]
        fn with_tiles<K: DotKernel<Avx512>>(token: Avx512, tiles: TileBytes, kernel: K) -> K::Output {
            kernel.run(token, tiles)
        }
        match (self.amx, self.bf16, self.vnni) {
            (Some(amx), Some(bf16), _) => amx.with_tiles(|tiles| {
                let product = TileBytes(tiles, bf16);
                // SAFETY: `self` and `bf16` were made by `detect_bf16`, which checks every feature that `with_tiles`
                // enables.
                unsafe { with_tiles(self, product, kernel) }
            }),
            // SAFETY: `self` and `vnni` were made by `detect`, which checks every feature that `inner` enables.
            (_, _, Some(vnni)) => unsafe { inner(self, vnni, kernel) },
            // SAFETY: as above, less VNNI. A function of its own compiles faster than one of all tiles.
            (_, _, None) => unsafe { without(self, Words, kernel) },
        }
    }
    #[inline(always)]
    fn with_pairs<K: PairKernel<Self>>(self, kernel: K) -> Result<K::Output, K> {
        match (self.bf16, self.amx) {
            (Some(bf16), Some(amx)) => {
                Ok(amx.with_tiles(|tiles| self.enter_pairs(bf16, TilePairs(tiles, bf16), kernel)))
            }
            (Some(bf16), None) => Ok(self.enter_pairs(bf16, bf16, kernel)),
            (None, _) => Err(kernel),
        }
    }
    #[inline(always)]
    fn with_digits<K: DigitKernel<Self>>(self, kernel: K) -> Result<K::Output, K> {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2,fma,f16c")]
        fn inner<K: DigitKernel<Avx512>>(token: Avx512, tiles: TileDigits, kernel: K) -> K::Output {
            kernel.run(token, tiles)
        }
        let Some(amx) = self.amx else { return Err(kernel) };
        // SAFETY: `self` was made by `detect`, which checks every feature that `inner` enables.
        Ok(amx.with_tiles(|tiles| unsafe { inner(self, TileDigits::new(tiles), kernel) }))
    }
    #[inline(always)]
    unsafe fn matmul_tile<P: VectorProduct<Self>>(self, product: P, rows: usize, panels: usize, t: &Tile) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx2,fma,f16c")]
        #[inline(never)]
        unsafe fn inner<P: VectorProduct<Avx512>>(
            token: Avx512,
            product: P,
            rows: usize,
            panels: usize,
            t: &Tile,
        ) {
            // SAFETY: the caller meets the same contract.
            unsafe { tile_of_rows(token, product, rows, panels, t) }
        }
        // SAFETY: `self` was made by `detect`, which checks every feature that `inner` enables; the caller does the
        // rest.
        unsafe { inner(self, product, rows, panels, t) }
    }
}

impl Avx512 {
    /// The first fours of bytes of all 128-bit lanes, then the second ones, and so on: what packs or unpacks within the
    /// lanes is in order afterwards.
    #[inline(always)]
    pub(super) fn gather_lanes(self, fours: __m512i) -> __m512 {
        op!({
            let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
            _mm512_castsi512_ps(_mm512_permutexvar_epi32(order, fours))
        })
    }
}
