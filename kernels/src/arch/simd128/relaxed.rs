//! Products of bytes by relaxed dot products, the same integers as by all others.
//!
//! The instruction multiplies s8 by 0..=127: what it makes of a second operand beyond that depends on the machine. So
//! weights are its first operand, and an activation q, u8, comes in two parts, its low seven bits and the eighth:
//!
//! ```text
//! sum of q w  =  sum of (q mod 128) w  +  128 sum of (q div 128) w.
//! ```
//!
//! Two products of 127 * -128 fit into the 16 bits in which some machines add them first.

use std::arch::wasm32::*;

use super::Simd128;
use crate::output::Output;
use crate::product::VectorProduct;
use crate::simd::Simd;
use crate::slot::Slot;
use crate::tile::Tile;

/// Products of bytes.
#[derive(Clone, Copy)]
pub(super) struct Relaxed;

/// Vectors of a panel.
const VECTORS: usize = crate::PANEL / Simd128::LANES;

/// The low seven bits of each byte.
#[inline(always)]
fn low_bits() -> v128 {
    i8x16_splat(i8::MAX)
}

/// The bits of each byte that are in `low_bits`, and the eighth.
#[inline(always)]
fn parts(activations: v128, low_bits: v128) -> [v128; 2] {
    let low = v128_and(activations, low_bits);
    // Nothing of a byte gets into its neighbour: only its eighth bit is left.
    [low, u16x8_shr(v128_xor(activations, low), 7)]
}

#[inline(always)]
fn dot(weights: v128, part: v128, sum: v128) -> v128 {
    i32x4_relaxed_dot_i8x16_i7x16_add(weights, part, sum)
}

/// The sum of both parts' products.
#[inline(always)]
fn join([low, eighth]: [v128; 2]) -> v128 {
    i32x4_add(low, i32x4_shl(eighth, 7))
}

impl VectorProduct<Simd128> for Relaxed {
    const BYTES: bool = true;
    const OPERATIONS: u64 = 8;
    // A row's sums are two for each vector, as many as fit into registers.
    const MR: usize = 1;
    #[inline(always)]
    fn step(self, _: Simd128, lhs: v128, rhs: v128, sum: v128) -> v128 {
        let [low, eighth] = parts(lhs, low_bits());
        join([dot(rhs, low, sum), dot(rhs, eighth, i32x4_splat(0))])
    }
    #[inline(always)]
    unsafe fn tile(self, simd: Simd128, _rows: usize, _panels: usize, t: &Tile) {
        // SAFETY: the caller meets the contract, which is the same; a tile has one row, as MR says.
        unsafe { tile(simd, t) }
    }
}

/// What [`crate::tile::tile`] does, for a row and a panel.
///
/// # Safety
/// As [`crate::tile::tile`] says, of products of bytes.
#[inline(never)]
unsafe fn tile(simd: Simd128, t: &Tile) {
    let output: &Output = &t.output;
    // SAFETY: every access is within what the contract names: one row, vectors of one panel, as many steps as t.k.
    unsafe {
        let columns = output.columns::<Simd128, Relaxed, VECTORS>(simd);
        let mut sums = columns.map(|columns| [output.start_of_bytes(simd, columns, 0), i32x4_splat(0)]);
        // Browsers make a constant anew each time it is used, in as many instructions as the rest of this takes.
        let low_bits = std::hint::black_box(low_bits());
        let (mut lhs_at, mut rhs_at) = (t.lhs, t.rhs);
        for _ in 0..t.k {
            let parts = parts(simd.splat_slot_raw(lhs_at), low_bits);
            for (c, sums) in sums.iter_mut().enumerate() {
                let weights = simd.load_slots_raw(rhs_at.add(c * Simd128::LANES));
                *sums = [dot(weights, parts[0], sums[0]), dot(weights, parts[1], sums[1])];
            }
            lhs_at = lhs_at.wrapping_add(1);
            rhs_at = rhs_at.wrapping_add(t.rhs_k_stride);
        }
        for (c, sums) in sums.into_iter().enumerate() {
            let column = c * Simd128::LANES;
            let value = output.finish::<Simd128, Relaxed>(
                simd,
                columns[c],
                [0, column],
                simd.convert_i32(join(sums)),
            );
            let to: *mut Slot = output.dst.add(column);
            simd.store_slots_raw(value, to);
        }
    }
}
