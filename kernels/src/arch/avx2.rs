//! AVX2 with FMA and F16C: vectors of 8, tiles of 6 rows and one panel (12 of 16 registers accumulate). Bytes are
//! multiplied by AVX-VNNI where the CPU has it.

use std::arch::x86_64::*;

use crate::isa::Kernel;
use crate::product::VectorProduct;
use crate::simd::{DotKernel, Simd};
use crate::slot::Slot;
use crate::tile::{Tile, tile};

/// Proof that the CPU has AVX2, FMA and F16C.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Avx2 {
    /// Proof of AVX-VNNI, if the CPU has it.
    vnni: Option<Vnni>,
}

/// Products of bytes by AVX-VNNI; proof that the CPU has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Vnni(());

/// The same without, by products of 16-bit integers: those of bytes (`vpmaddubsw`) would saturate.
#[derive(Clone, Copy)]
struct Words;

impl Avx2 {
    pub(crate) const NAME: &'static str = "avx2";

    pub(crate) fn detect() -> Option<Self> {
        let has = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        let vnni = is_x86_feature_detected!("avxvnni").then_some(Vnni(()));
        has.then_some(Self { vnni })
    }

    /// As on a CPU that lacks AVX-VNNI.
    pub(crate) fn without_vnni(self) -> Self {
        Self { vnni: None }
    }

    pub(crate) fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn inner<K: Kernel>(token: Avx2, kernel: K) -> K::Output {
            kernel.run(token)
        }
        // SAFETY: `self` was made by `detect`, which checks every feature that `inner` enables.
        unsafe { inner(self, kernel) }
    }
}

/// An intrinsic that touches no memory.
macro_rules! op {
    ($call:expr) => {
        // SAFETY: a value of `Avx2` exists (`self`), so `detect` has seen AVX2, FMA and F16C.
        unsafe { $call }
    };
}

impl Avx2 {
    /// A mask whose first `n` lanes are set, n <= 8.
    #[inline(always)]
    fn first(self, n: usize) -> __m256i {
        op!(_mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)))
    }
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;
    const MR: usize = 6;
    const TILE_PANELS: usize = 1;

    #[inline(always)]
    fn name(self) -> &'static str {
        Self::NAME
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        op!(_mm256_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        let from = &from[..8];
        // SAFETY: the line above checks that 8 values are there.
        unsafe { self.load_raw(from.as_ptr()) }
    }
    #[inline(always)]
    fn load_partial(self, from: &[f32], fill: f32) -> __m256 {
        assert!(from.len() < 8);
        let mask = self.first(from.len());
        // SAFETY: `self` proves AVX2; only the first `from.len()` lanes are read.
        let read = unsafe { _mm256_maskload_ps(from.as_ptr(), mask) };
        op!(_mm256_blendv_ps(_mm256_set1_ps(fill), read, _mm256_castsi256_ps(mask)))
    }
    #[inline(always)]
    fn store(self, v: __m256, to: &mut [f32]) {
        let to = &mut to[..8];
        // SAFETY: the line above checks that there is room for 8 values.
        unsafe { self.store_raw(v, to.as_mut_ptr()) }
    }
    #[inline(always)]
    fn store_partial(self, v: __m256, to: &mut [f32]) {
        assert!(to.len() < 8);
        // SAFETY: `self` proves AVX2; only the first `to.len()` lanes are written.
        unsafe { _mm256_maskstore_ps(to.as_mut_ptr(), self.first(to.len()), v) }
    }
    #[inline(always)]
    unsafe fn load_raw(self, from: *const f32) -> __m256 {
        // SAFETY: the caller vouches for 8 readable values; `self` proves AVX2.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn store_raw(self, v: __m256, to: *mut f32) {
        // SAFETY: the caller vouches for 8 writable values; `self` proves AVX2.
        unsafe { _mm256_storeu_ps(to, v) }
    }
    #[inline(always)]
    fn prefetch(self, from: *const Slot) {
        // SAFETY: a prefetch is a hint that never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        op!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn at_least(self, x: __m256, floor: __m256) -> __m256 {
        // `vmaxps` gives its second operand when either is NaN.
        op!(_mm256_max_ps(floor, x))
    }
    #[inline(always)]
    fn at_most(self, x: __m256, ceiling: __m256) -> __m256 {
        op!(_mm256_min_ps(ceiling, x))
    }
    #[inline(always)]
    fn select_lt(self, a: __m256, b: __m256, yes: __m256, no: __m256) -> __m256 {
        op!(_mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)))
    }
    #[inline(always)]
    fn abs(self, x: __m256) -> __m256 {
        op!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), x))
    }
    #[inline(always)]
    fn copysign(self, x: __m256, sign: __m256) -> __m256 {
        let bit = self.splat(-0.0);
        op!(_mm256_or_ps(_mm256_andnot_ps(bit, x), _mm256_and_ps(bit, sign)))
    }
    #[inline(always)]
    fn low_bits_as_exponent(self, x: __m256) -> __m256 {
        op!(_mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(x))))
    }
    #[inline(always)]
    fn floor(self, x: __m256) -> __m256 {
        op!(_mm256_floor_ps(x))
    }
    #[inline(always)]
    fn split_bf16(self, pairs: __m256) -> [__m256; 2] {
        op!({
            let pairs = _mm256_castps_si256(pairs);
            let low = _mm256_slli_epi32::<16>(pairs);
            let high = _mm256_and_si256(pairs, _mm256_set1_epi32(-0x1_0000));
            [_mm256_castsi256_ps(low), _mm256_castsi256_ps(high)]
        })
    }
    #[inline(always)]
    fn transpose(self, block: &mut [__m256; 16]) {
        // Pairs of rows, then fours, within each 128-bit lane; then the lanes.
        let mut pairs = *block;
        let mut fours = *block;
        op!({
            for i in (0..8).step_by(2) {
                pairs[i] = _mm256_unpacklo_ps(block[i], block[i + 1]);
                pairs[i + 1] = _mm256_unpackhi_ps(block[i], block[i + 1]);
            }
            for i in (0..8).step_by(4) {
                for (j, pair) in [(i, i), (i + 2, i + 1)] {
                    fours[j] = _mm256_shuffle_ps::<0b01_00_01_00>(pairs[pair], pairs[pair + 2]);
                    fours[j + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(pairs[pair], pairs[pair + 2]);
                }
            }
            for i in 0..4 {
                block[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
                block[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
            }
        })
    }
    #[inline(always)]
    fn sum(self, x: __m256) -> f32 {
        op!({
            let four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        })
    }
    #[inline(always)]
    fn max(self, x: __m256) -> f32 {
        op!({
            let four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        })
    }
    #[inline(always)]
    fn widen_f16(self, from: &[u8]) -> __m256 {
        let from = &from[..16];
        // SAFETY: the line above checks that 16 bytes are there; `self` proves F16C.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn widen_bf16(self, from: &[u8]) -> __m256 {
        let from = &from[..16];
        // SAFETY: the line above checks that 16 bytes are there; `self` proves AVX2.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    fn widen_i8(self, from: &[u8]) -> __m256 {
        let from = &from[..8];
        // SAFETY: the line above checks that 8 bytes are there; `self` proves AVX2.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn dot_pairs(self, a: __m256, b: __m256) -> __m256 {
        op!(_mm256_castsi256_ps(_mm256_madd_epi16(_mm256_castps_si256(a), _mm256_castps_si256(b))))
    }
    #[inline(always)]
    fn convert_i32(self, x: __m256) -> __m256 {
        op!(_mm256_cvtepi32_ps(_mm256_castps_si256(x)))
    }
    #[inline(always)]
    fn extremes(self, [signed, unsigned]: [__m256; 2], x: __m256) -> [__m256; 2] {
        op!({
            let x = _mm256_castps_si256(x);
            let signed = _mm256_max_epi32(_mm256_castps_si256(signed), x);
            let unsigned = _mm256_max_epu32(_mm256_castps_si256(unsigned), x);
            [_mm256_castsi256_ps(signed), _mm256_castsi256_ps(unsigned)]
        })
    }
    #[inline(always)]
    fn reduce_extremes(self, [signed, unsigned]: [__m256; 2]) -> [u32; 2] {
        // Both at once: halves onto each other, 8 to 4 to 2 to 1.
        op!({
            let (signed, unsigned) = (_mm256_castps_si256(signed), _mm256_castps_si256(unsigned));
            let mut s = _mm_max_epi32(_mm256_castsi256_si128(signed), _mm256_extracti128_si256::<1>(signed));
            let mut u =
                _mm_max_epu32(_mm256_castsi256_si128(unsigned), _mm256_extracti128_si256::<1>(unsigned));
            s = _mm_max_epi32(s, _mm_shuffle_epi32::<0b01_00_11_10>(s));
            u = _mm_max_epu32(u, _mm_shuffle_epi32::<0b01_00_11_10>(u));
            s = _mm_max_epi32(s, _mm_shuffle_epi32::<0b10_11_00_01>(s));
            u = _mm_max_epu32(u, _mm_shuffle_epi32::<0b10_11_00_01>(u));
            [_mm_cvtsi128_si32(s), _mm_cvtsi128_si32(u)].map(i32::cast_unsigned)
        })
    }
    #[inline(always)]
    fn quantize(self, [a, b, c, d]: [__m256; 4], zero: u8) -> __m256 {
        op!({
            let zero = _mm256_set1_epi16(i16::from(zero));
            let ab = _mm256_packs_epi32(_mm256_cvtps_epi32(a), _mm256_cvtps_epi32(b));
            let cd = _mm256_packs_epi32(_mm256_cvtps_epi32(c), _mm256_cvtps_epi32(d));
            let bytes = _mm256_packus_epi16(_mm256_adds_epi16(ab, zero), _mm256_adds_epi16(cd, zero));
            // Packing keeps to the 128-bit lanes.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_castsi256_ps(_mm256_permutevar8x32_epi32(bytes, order))
        })
    }
    #[inline(always)]
    fn with_dot<K: DotKernel<Self>>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,avxvnni,fma,f16c")]
        fn inner<K: DotKernel<Avx2>>(token: Avx2, vnni: Vnni, kernel: K) -> K::Output {
            kernel.run(token, vnni)
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        fn without<K: DotKernel<Avx2>>(token: Avx2, kernel: K) -> K::Output {
            kernel.run(token, Words)
        }
        match self.vnni {
            // SAFETY: `self` and `vnni` were made by `detect`, which checks every feature that `inner` enables.
            Some(vnni) => unsafe { inner(self, vnni, kernel) },
            // SAFETY: as above, less VNNI. A function of its own compiles faster than one of all tiles.
            None => unsafe { without(self, kernel) },
        }
    }
    #[inline(always)]
    unsafe fn matmul_tile<P: VectorProduct<Self>>(self, product: P, rows: usize, _: usize, t: &Tile) {
        #[target_feature(enable = "avx2,fma,f16c")]
        #[inline(never)]
        unsafe fn inner<P: VectorProduct<Avx2>>(token: Avx2, product: P, rows: usize, t: &Tile) {
            // SAFETY: the caller meets the same contract.
            unsafe { tile_of_rows(token, product, rows, t) }
        }
        // SAFETY: `self` was made by `detect`, which checks every feature that `inner` enables; the caller does the
        // rest.
        unsafe { inner(self, product, rows, t) }
    }
}

/// # Safety
/// As [`Simd::matmul_tile`] says.
#[inline(always)]
unsafe fn tile_of_rows<P: VectorProduct<Avx2>>(token: Avx2, product: P, rows: usize, t: &Tile) {
    // SAFETY: the caller meets the contract of `tile`; two vectors of 8 are one panel.
    unsafe {
        match rows {
            1 => tile::<Avx2, P, 1, 2>(token, product, t),
            2 => tile::<Avx2, P, 2, 2>(token, product, t),
            3 => tile::<Avx2, P, 3, 2>(token, product, t),
            4 => tile::<Avx2, P, 4, 2>(token, product, t),
            5 => tile::<Avx2, P, 5, 2>(token, product, t),
            _ => tile::<Avx2, P, 6, 2>(token, product, t),
        }
    }
}

impl VectorProduct<Avx2> for Vnni {
    const BYTES: bool = true;
    const OPERATIONS: u64 = 8;
    const MR: usize = Avx2::MR;
    #[inline(always)]
    fn step(self, _: Avx2, lhs: __m256, rhs: __m256, sum: __m256) -> __m256 {
        // SAFETY: a value of `Vnni` exists (`self`), so `detect` has seen AVX-VNNI.
        unsafe {
            let (lhs, rhs) = (_mm256_castps_si256(lhs), _mm256_castps_si256(rhs));
            _mm256_castsi256_ps(_mm256_dpbusd_avx_epi32(_mm256_castps_si256(sum), lhs, rhs))
        }
    }
    #[inline(always)]
    unsafe fn tile(self, token: Avx2, rows: usize, _: usize, t: &Tile) {
        #[target_feature(enable = "avx2,avxvnni,fma,f16c")]
        #[inline(never)]
        unsafe fn inner(token: Avx2, vnni: Vnni, rows: usize, t: &Tile) {
            // SAFETY: the caller meets the same contract.
            unsafe { tile_of_rows(token, vnni, rows, t) }
        }
        // SAFETY: `self` and `token` were made by `detect`, which checks every feature that `inner` enables; the caller
        // does the rest.
        unsafe { inner(token, self, rows, t) }
    }
}

impl VectorProduct<Avx2> for Words {
    const BYTES: bool = true;
    const OPERATIONS: u64 = 8;
    /// Panels take two registers a vector, and each activation two.
    const MR: usize = 4;
    #[inline(always)]
    fn step(self, _: Avx2, lhs: __m256, rhs: __m256, sum: __m256) -> __m256 {
        op!({
            let (lhs, rhs) = (_mm256_castps_si256(lhs), _mm256_castps_si256(rhs));
            let lhs = [_mm256_and_si256(lhs, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(lhs)];
            let rhs = [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(rhs)), _mm256_srai_epi16::<8>(rhs)];
            let even = _mm256_madd_epi16(lhs[0], rhs[0]);
            let odd = _mm256_madd_epi16(lhs[1], rhs[1]);
            let sum = _mm256_add_epi32(_mm256_castps_si256(sum), even);
            _mm256_castsi256_ps(_mm256_add_epi32(sum, odd))
        })
    }
}
