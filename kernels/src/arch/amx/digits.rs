//! Products of the digits of f32: one register of rows by one of columns, whose products go to four sums.

use std::arch::asm;
use std::arch::x86_64::*;

use super::super::avx512::Avx512;
use super::pending::{Pending, Sums, TileProduct};
use super::{BYTES, LINE, ROWS, SUM_STRIDE, Tiles};
use crate::digits::{DigitProduct, HALVES, STEP_LINES};
use crate::output::{Columns, Output};
use crate::product::Product;
use crate::simd::Simd;
use crate::slot::Slot;
use crate::tile::Tile;

/// Products of the digits of f32.
#[derive(Clone, Copy)]
pub(crate) struct TileDigits {
    tiles: Tiles,
    /// Whether the rows' second digits are multiplied by the panels' third.
    closer: bool,
}

impl TileDigits {
    pub(crate) fn new(tiles: Tiles) -> Self {
        Self { tiles, closer: false }
    }

    /// Adds the products of a step of digits of 16 rows and of a panel, those of one weight to one sum. Panels are
    /// loaded with the hint that they need not stay in L1, which has room for the digits of a tile's rows and little
    /// else.
    ///
    /// # Safety
    /// Valid for reading: three lines of each of 16 rows of `lhs`, which are `stride` bytes apart; 48 lines of `rhs`.
    #[inline(always)]
    unsafe fn step(self, lhs: *const Slot, stride: usize, rhs: *const Slot) {
        // SAFETY: the field proves that the registers are configured; the contract names what is read.
        unsafe {
            asm!(
                "tileloaddt1 tmm7, [{rhs} + {line}*1]",
                "tileloadd tmm4, [{lhs} + {stride}*1]",
                "tdpbssd tmm0, tmm4, tmm7",
                "tileloadd tmm5, [{lhs} + {stride}*1 + 64]",
                "tdpbssd tmm1, tmm5, tmm7",
                "tileloadd tmm6, [{lhs} + {stride}*1 + 128]",
                "tdpbssd tmm2, tmm6, tmm7",
                "tileloaddt1 tmm7, [{rhs} + {line}*1 + 1024]",
                "tdpbssd tmm2, tmm5, tmm7",
                "tdpbssd tmm1, tmm4, tmm7",
                "tileloaddt1 tmm7, [{rhs} + {line}*1 + 2048]",
                "tdpbssd tmm2, tmm4, tmm7",
                lhs = in(reg) lhs,
                rhs = in(reg) rhs,
                stride = in(reg) stride,
                line = in(reg) LINE * size_of::<Slot>(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(readonly, nostack, preserves_flags)
            );
            if self.closer {
                asm!(
                    "tdpbssd tmm3, tmm5, tmm7",
                    out("tmm3") _,
                    options(nomem, nostack, preserves_flags)
                );
            }
        }
    }
}

impl Product<Avx512> for TileDigits {
    const BYTES: bool = false;
    const SCALED: bool = true;
    const ROUNDED: bool = false;
    const MR: usize = 2 * ROWS;
    const LHS_UNIT: usize = ROWS;
    const ACTIVATES: bool = true;
    type Pending = Pending;
    #[inline(always)]
    unsafe fn tile(self, simd: Avx512, rows: usize, panels: usize, t: Tile, pending: &mut Pending) {
        let (row_bytes, steps, mut ahead) = (t.lhs_stride * size_of::<Slot>(), t.k / STEP_LINES, t.ahead);
        // Each part of the tile asks for its share, unless the tile is about to read it.
        let parts = if ahead.own { 1 } else { panels * rows.div_ceil(ROWS) };
        let mut part = 0;
        // One register of rows by one of columns: four sums, three digits of the rows and one of a panel.
        for panel in 0..panels {
            for first in (0..rows).step_by(ROWS) {
                let mut lhs = t.lhs.wrapping_add(first * t.lhs_stride);
                let mut rhs = t.rhs.wrapping_add(panel * t.output.panel_stride);
                self.tiles.zero();
                // SAFETY: the caller meets the contract of a tile, of which this is a part; sums have room for four
                // registers.
                unsafe {
                    pending.beside::<Self, 1>(self, simd, steps, || {
                        if part < parts {
                            ahead.ask(simd, STEP_LINES / parts);
                        }
                        self.step(lhs, row_bytes, rhs);
                        lhs = lhs.wrapping_add(STEP_LINES);
                        rhs = rhs.wrapping_add(STEP_LINES * LINE);
                    });
                    self.tiles.store::<2, 2>(pending.sums.as_mut_ptr(), SUM_STRIDE);
                    let output = t.output.part(first, panel);
                    pending.begin(self, simd, output, ROWS.min(rows - first), 1);
                }
                part += 1;
            }
        }
    }
    #[inline(always)]
    fn complete(self, simd: Avx512, pending: &mut Pending) {
        pending.complete::<Self, 1>(self, simd);
    }
    #[inline(always)]
    fn in_registers(self, _: Avx512, rounds: usize) -> (u64, f32) {
        // Six products are one of f32.
        let (operations, sum) = self.tiles.in_registers::<BYTES>(rounds, 8);
        (operations / 6, sum)
    }
}

impl TileProduct for TileDigits {
    #[inline(always)]
    unsafe fn sum(simd: Avx512, _: &Output, _: Columns<Avx512>, _: usize, sums: *const Slot) -> __m512 {
        // Sums of weight 1 and 2^-8 are side by side, below them those of 2^-16 and 2^-24.
        let low = sums.wrapping_add(ROWS * Sums::STRIDE);
        // SAFETY: the caller promises that they have been stored.
        let [a, b, c, d] = unsafe {
            [
                simd.load_slots_raw(sums),
                simd.load_slots_raw(sums.add(LINE)),
                simd.load_slots_raw(low),
                simd.load_slots_raw(low.add(LINE)),
            ]
        };
        let base = simd.splat(1.0 / 256.0);
        let low = simd.mul_add(simd.convert_i32(d), base, simd.convert_i32(c));
        simd.mul_add(simd.mul_add(low, base, simd.convert_i32(b)), base, simd.convert_i32(a))
    }
    #[inline(always)]
    fn pairs(self, _: Avx512, _: [__m512; 2]) -> __m512 {
        unreachable!("products of digits store f32")
    }
}

impl DigitProduct<Avx512> for TileDigits {
    #[inline(always)]
    fn closer(self, closer: bool) -> Self {
        Self { closer, ..self }
    }
    #[inline(always)]
    fn digits(self, simd: Avx512, values: [__m512; 4]) -> [__m512; 3] {
        // SAFETY: an `Avx512` proves AVX-512F and BW.
        unsafe {
            let halves = _mm512_set1_epi32(HALVES);
            // Of four values in a 128-bit lane first their highest digits, then the others.
            let by_digit =
                _mm512_broadcast_i32x4(_mm_setr_epi8(2, 6, 10, 14, 1, 5, 9, 13, 0, 4, 8, 12, 3, 7, 11, 15));
            let [mut a, mut b, mut c, mut d] = [_mm512_setzero_si512(); 4];
            for (x, digits) in values.into_iter().zip([&mut a, &mut b, &mut c, &mut d]) {
                let whole = _mm512_add_epi32(_mm512_cvtps_epi32(x), halves);
                *digits = _mm512_shuffle_epi8(_mm512_xor_si512(whole, halves), by_digit);
            }
            let [low_ab, low_cd] = [_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d)];
            let [high_ab, high_cd] = [_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d)];
            [
                simd.gather_lanes(_mm512_unpacklo_epi64(low_ab, low_cd)),
                simd.gather_lanes(_mm512_unpackhi_epi64(low_ab, low_cd)),
                simd.gather_lanes(_mm512_unpacklo_epi64(high_ab, high_cd)),
            ]
        }
    }
}
