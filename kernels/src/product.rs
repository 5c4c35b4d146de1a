//! How the operands of a tile are multiplied: by vectors, step by step, or as an instruction set has it.

use crate::peak::chains;
use crate::simd::Simd;
use crate::tile::Tile;

/// How the slots of a tile's operands are multiplied.
pub(crate) trait Product<S: Simd>: Copy {
    /// Whether slots hold four bytes, u8 on the left and s8 on the right, and rows have zero points.
    const BYTES: bool;
    /// Whether its sums are to be scaled, by row and by column, whose scales are behind each panel.
    const SCALED: bool = Self::BYTES;
    /// Whether its operands have been rounded to 8 significant bits or fewer, so that what is made of its sums may be
    /// as coarse.
    const ROUNDED: bool;
    /// Rows of a full tile.
    const MR: usize;
    /// Of the left-hand side a tile may read as many rows, and as many slots of a row, as the next multiple of this.
    const LHS_UNIT: usize;
    /// Whether a tile is activated, or left for that.
    const ACTIVATES: bool = false;
    /// Whether a tile of whole panels can be stored as pairs of bfloat16.
    const STORES_PAIRS: bool = false;
    /// What a tile leaves to be done beside the next one.
    type Pending: Default;
    /// dst = lhs * rhs + bias + dst * residual_scale, now or when the next tile is made, or [`Self::complete`] is
    /// called.
    ///
    /// # Safety
    /// `rows` is 1 to `MR`, `panels` 1 to `TILE_PANELS`; of `t` as [`tile`](crate::tile::tile) says of so many rows and
    /// panels, with rows and slots of `lhs` rounded up to `LHS_UNIT`, until nothing is pending.
    unsafe fn tile(self, simd: S, rows: usize, panels: usize, t: Tile, pending: &mut Self::Pending);
    /// Does what is pending.
    fn complete(self, simd: S, pending: &mut Self::Pending);
    /// `rounds` rounds of products in registers: how many operations they were, and what depends on all of them.
    fn in_registers(self, simd: S, rounds: usize) -> (u64, f32);
}

/// A product of vectors.
pub(crate) trait VectorProduct<S: Simd>: Copy {
    /// As in [`Product`]; sums are i32.
    const BYTES: bool;
    /// As in [`Product`].
    const ROUNDED: bool = true;
    /// As in [`Product`].
    const MR: usize;
    /// Multiplications and additions of a lane in a step.
    const OPERATIONS: u64;
    /// sum + lhs * rhs
    fn step(self, simd: S, lhs: S::V, rhs: S::V, sum: S::V) -> S::V;
    /// As in [`Product`]: a function of its own, since there are many tiles, and many functions that multiply.
    ///
    /// # Safety
    /// As in [`Product`].
    #[inline(always)]
    unsafe fn tile(self, simd: S, rows: usize, panels: usize, t: &Tile) {
        // SAFETY: the caller meets the same contract.
        unsafe { simd.matmul_tile(self, rows, panels, t) }
    }
}

impl<S: Simd, P: VectorProduct<S>> Product<S> for P {
    const BYTES: bool = P::BYTES;
    const ROUNDED: bool = P::ROUNDED;
    const MR: usize = P::MR;
    const LHS_UNIT: usize = 1;
    type Pending = ();
    #[inline(always)]
    unsafe fn tile(self, simd: S, rows: usize, panels: usize, t: Tile, (): &mut ()) {
        // SAFETY: the caller meets the same contract.
        unsafe { VectorProduct::tile(self, simd, rows, panels, &t) }
    }
    #[inline(always)]
    fn complete(self, _: S, (): &mut ()) {}
    #[inline(always)]
    fn in_registers(self, simd: S, rounds: usize) -> (u64, f32) {
        chains(simd, self, rounds)
    }
}

/// f32 times f32.
#[derive(Clone, Copy)]
pub(crate) struct MulAdd;

impl<S: Simd> VectorProduct<S> for MulAdd {
    const BYTES: bool = false;
    const ROUNDED: bool = false;
    const MR: usize = S::MR;
    const OPERATIONS: u64 = 2;
    #[inline(always)]
    fn step(self, simd: S, lhs: S::V, rhs: S::V, sum: S::V) -> S::V {
        simd.mul_add(lhs, rhs, sum)
    }
}
