//! What AVX-512 multiplies beside f32: bytes and pairs of bfloat16.

use std::arch::x86_64::*;
use std::mem::transmute;

use super::Avx512;
use crate::operand::FloatProduct;
use crate::product::VectorProduct;
use crate::simd::Simd;
use crate::tile::{Tile, tile};

/// Products of bytes by VNNI; proof that the CPU has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Vnni(pub(super) ());

/// Products of pairs of bfloat16; proof that the CPU has them. They sum in f32 and take subnormal numbers for zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bf16(pub(super) ());

/// Products of bytes without VNNI, by products of 16-bit integers.
#[derive(Clone, Copy)]
pub(super) struct Words;

/// # Safety
/// As [`Simd::matmul_tile`] says.
#[inline(always)]
pub(super) unsafe fn tile_of_rows<P: VectorProduct<Avx512>>(
    token: Avx512,
    product: P,
    rows: usize,
    panels: usize,
    t: &Tile,
) {
    macro_rules! by_rows {
        ($vectors:literal: $($r:literal)*) => {
            match rows {
                $($r if $r <= P::MR => tile::<Avx512, P, $r, $vectors>(token, product, t),)*
                _ => tile::<Avx512, P, 14, $vectors>(token, product, t),
            }
        };
    }
    // SAFETY: the caller meets the contract of `tile`; a vector of 16 is one panel.
    unsafe {
        if panels == 2 {
            by_rows!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13)
        } else {
            by_rows!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13)
        }
    }
}

impl VectorProduct<Avx512> for Vnni {
    const BYTES: bool = true;
    const OPERATIONS: u64 = 8;
    const MR: usize = Avx512::MR;
    #[inline(always)]
    fn step(self, _: Avx512, lhs: __m512, rhs: __m512, sum: __m512) -> __m512 {
        // SAFETY: a value of `Vnni` exists (`self`), so `detect` has seen VNNI.
        unsafe {
            let (lhs, rhs) = (_mm512_castps_si512(lhs), _mm512_castps_si512(rhs));
            _mm512_castsi512_ps(_mm512_dpbusd_epi32(_mm512_castps_si512(sum), lhs, rhs))
        }
    }
    #[inline(always)]
    unsafe fn tile(self, token: Avx512, rows: usize, panels: usize, t: &Tile) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vnni,avx2,fma,f16c")]
        #[inline(never)]
        unsafe fn inner(token: Avx512, product: Vnni, rows: usize, panels: usize, t: &Tile) {
            // SAFETY: the caller meets the same contract.
            unsafe { tile_of_rows(token, product, rows, panels, t) }
        }
        // SAFETY: `self` and `token` were made by `detect`, which checks every feature that `inner` enables; the caller
        // does the rest.
        unsafe { inner(token, self, rows, panels, t) }
    }
}

/// An intrinsic of BF16 that touches no memory.
macro_rules! bf16_op {
    ($call:expr) => {
        // SAFETY: a value of `Bf16` exists (`self`), so `detect_bf16` has seen BF16 and what `Avx512` proves; vectors
        // of f32 and of bfloat16 are 64 bytes for which every value is valid.
        unsafe { $call }
    };
}

impl VectorProduct<Avx512> for Bf16 {
    const BYTES: bool = false;
    const OPERATIONS: u64 = 4;
    const MR: usize = Avx512::MR;
    #[inline(always)]
    fn step(self, _: Avx512, lhs: __m512, rhs: __m512, sum: __m512) -> __m512 {
        bf16_op!(_mm512_dpbf16_ps(
            sum,
            transmute::<__m512, __m512bh>(lhs),
            transmute::<__m512, __m512bh>(rhs)
        ))
    }
    #[inline(always)]
    unsafe fn tile(self, token: Avx512, rows: usize, panels: usize, t: &Tile) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16,avx2,fma,f16c")]
        #[inline(never)]
        unsafe fn inner(token: Avx512, product: Bf16, rows: usize, panels: usize, t: &Tile) {
            // SAFETY: the caller meets the same contract.
            unsafe { tile_of_rows(token, product, rows, panels, t) }
        }
        // SAFETY: `self` and `token` were made by `detect_bf16`, which checks every feature that `inner` enables; the
        // caller does the rest.
        unsafe { inner(token, self, rows, panels, t) }
    }
}

impl FloatProduct<Avx512> for Bf16 {
    const SLOT_VALUES: usize = 2;
    #[inline(always)]
    fn along(self, _: Avx512, [low, high]: [__m512; 2]) -> __m512 {
        bf16_op!(transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low)))
    }
    #[inline(always)]
    fn across(self, _: Avx512, rows: [__m512; 2]) -> [__m512; 2] {
        bf16_op!({
            let [above, below] = rows.map(|row| _mm512_castps_si512(row));
            [ACROSS_LOW, ACROSS_HIGH].map(|order| {
                let order = transmute::<[u16; 32], __m512i>(order);
                _mm512_castsi512_ps(_mm512_permutex2var_epi16(above, order, below))
            })
        })
    }
}

/// Words of two vectors side by side: 0, 32, 1, 33 and so on.
const ACROSS_LOW: [u16; 32] = side_by_side(0);
/// The same of the second halves of both.
const ACROSS_HIGH: [u16; 32] = side_by_side(16);

const fn side_by_side(first: usize) -> [u16; 32] {
    let mut order = [0; 32];
    let mut i = 0;
    while i < 32 {
        order[i] = (first + i / 2 + i % 2 * 32) as u16;
        i += 1;
    }
    order
}

impl VectorProduct<Avx512> for Words {
    const BYTES: bool = true;
    const OPERATIONS: u64 = 8;
    /// Panels take two registers a vector, and each activation two. There would be room for 12, whose tiles take long
    /// to compile; few CPUs come this way.
    const MR: usize = 6;
    #[inline(always)]
    fn step(self, _: Avx512, lhs: __m512, rhs: __m512, sum: __m512) -> __m512 {
        op!({
            let (lhs, rhs) = (_mm512_castps_si512(lhs), _mm512_castps_si512(rhs));
            let lhs = [_mm512_and_si512(lhs, _mm512_set1_epi16(0xff)), _mm512_srli_epi16::<8>(lhs)];
            let rhs = [_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(rhs)), _mm512_srai_epi16::<8>(rhs)];
            let even = _mm512_madd_epi16(lhs[0], rhs[0]);
            let odd = _mm512_madd_epi16(lhs[1], rhs[1]);
            let sum = _mm512_add_epi32(_mm512_castps_si512(sum), even);
            _mm512_castsi512_ps(_mm512_add_epi32(sum, odd))
        })
    }
}
