//! Products of bytes by relaxed dot products, the same integers as by all others.
//!
//! The instruction multiplies s8 by 0..=127: what it makes of a second operand beyond that depends on the machine. So that
//! is the magnitude of a weight, and its sign goes to the other side: with q the activation, u8, and q - 128 that as s8,
//! `(q - 128) ^ -1` is `127 - q`, and
//!
//! ```text
//! sum over w >= 0 of (q - 128) w  +  sum over w < 0 of (127 - q) |w|  =  sum of q w  -  128 sum of w  -  sum over w < 0 of |w|.
//! ```
//!
//! Two products of 128 * 127 fit into the 16 bits in which some machines add them first.

use std::arch::wasm32::*;

use super::{Simd128, Words};
use crate::output::Output;
use crate::product::VectorProduct;
use crate::simd::Simd;
use crate::slot::Slot;
use crate::tile::Tile;

/// Products of bytes of which no weight is -128: tiles that have one are left to [`Words`].
#[derive(Clone, Copy)]
pub(super) struct Relaxed;

/// Vectors of a panel.
const VECTORS: usize = crate::PANEL / Simd128::LANES;

/// Where a weight is negative, and its magnitude.
#[inline(always)]
fn sign_and_magnitude(weights: v128) -> (v128, v128) {
    (i8x16_lt(weights, i8x16_splat(0)), i8x16_abs(weights))
}

#[inline(always)]
fn dot(signed: v128, magnitude: v128, sum: v128) -> v128 {
    i32x4_relaxed_dot_i8x16_i7x16_add(signed, magnitude, sum)
}

impl VectorProduct<Simd128> for Relaxed {
    const BYTES: bool = true;
    const OPERATIONS: u64 = 8;
    const MR: usize = 2;
    #[inline(always)]
    fn step(self, _: Simd128, lhs: v128, rhs: v128, sum: v128) -> v128 {
        let (negative, magnitude) = sign_and_magnitude(rhs);
        let ones = i8x16_splat(1);
        let of_negative = dot(ones, v128_and(magnitude, negative), sum);
        let sums = dot(rhs, ones, i32x4_splat(0));
        let flipped = v128_xor(v128_xor(lhs, i8x16_splat(i8::MIN)), negative);
        dot(flipped, magnitude, i32x4_add(of_negative, i32x4_shl(sums, 7)))
    }
    #[inline(always)]
    unsafe fn tile(self, simd: Simd128, rows: usize, panels: usize, t: &Tile) {
        // SAFETY: the caller meets the contract, which is the same for all three.
        let done = unsafe {
            match rows {
                1 => tile::<1>(simd, t),
                _ => tile::<2>(simd, t),
            }
        };
        if !done {
            // SAFETY: as above; nothing was stored.
            unsafe { simd.matmul_tile(Words, rows, panels, t) }
        }
    }
}

/// What [`crate::tile::tile`] does, for `R` rows and a panel. False, and nothing is stored, where a weight is -128.
///
/// # Safety
/// As [`crate::tile::tile`] says, of products of bytes.
#[inline(never)]
unsafe fn tile<const R: usize>(simd: Simd128, t: &Tile) -> bool {
    let output: &Output = &t.output;
    // SAFETY: every access is within what the contract names: rows below R, vectors of one panel, as many steps as t.k.
    unsafe {
        let columns = output.columns::<Simd128, Relaxed, VECTORS>(simd);
        // 128 times the columns' sums, of which the second part counts 128 times.
        let shift = u32x4_splat(128 << 23 | 128);
        let mut sums = [[i32x4_splat(0); VECTORS]; R];
        for (row, sums) in sums.iter_mut().enumerate() {
            for (sum, &columns) in sums.iter_mut().zip(&columns) {
                let start = output.start_of_bytes(simd, columns, row);
                *sum = i32x4_add(start, simd.dot_pairs(shift, columns.sums));
            }
        }
        let mut of_negative = [i32x4_splat(0); VECTORS];
        let mut least = i8x16_splat(0);
        let (mut lhs_at, mut rhs_at) = (t.lhs, t.rhs);
        for _ in 0..t.k {
            let mut lhs = [i8x16_splat(0); R];
            for (row, lhs) in lhs.iter_mut().enumerate() {
                *lhs = v128_xor(simd.splat_slot_raw(lhs_at.add(row * t.lhs_stride)), i8x16_splat(i8::MIN));
            }
            for c in 0..VECTORS {
                let weights = simd.load_slots_raw(rhs_at.add(c * Simd128::LANES));
                let (negative, magnitude) = sign_and_magnitude(weights);
                least = i8x16_min(least, weights);
                of_negative[c] = dot(i8x16_splat(1), v128_and(magnitude, negative), of_negative[c]);
                for (row, lhs) in lhs.iter().enumerate() {
                    sums[row][c] = dot(v128_xor(*lhs, negative), magnitude, sums[row][c]);
                }
            }
            lhs_at = lhs_at.wrapping_add(1);
            rhs_at = rhs_at.wrapping_add(t.rhs_k_stride);
        }
        if v128_any_true(i8x16_eq(least, i8x16_splat(i8::MIN))) {
            return false;
        }
        for (row, sums) in sums.iter().enumerate() {
            for (c, &sum) in sums.iter().enumerate() {
                let sum = simd.convert_i32(i32x4_add(sum, of_negative[c]));
                let column = c * Simd128::LANES;
                let value = output.finish::<Simd128, Relaxed>(simd, columns[c], [row, column], sum);
                let to: *mut Slot = output.dst.add(row * output.dst_stride + column);
                simd.store_slots_raw(value, to);
            }
        }
    }
    true
}
