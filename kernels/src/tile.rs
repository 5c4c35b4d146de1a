//! A tile of a product, and how vectors multiply it.

use crate::PANEL;
use crate::output::Output;
use crate::panels::Ahead;
use crate::product::VectorProduct;
use crate::simd::Simd;
use crate::slot::Slot;

/// The most rows of a tile whose sums are held in vectors.
const MAX_VECTOR_ROWS: usize = 14;

/// Where a tile finds its operands. Strides are in slots.
#[derive(Clone, Copy)]
pub(crate) struct Tile {
    pub(crate) lhs: *const Slot,
    pub(crate) lhs_stride: usize,
    pub(crate) rhs: *const Slot,
    pub(crate) rhs_k_stride: usize,
    pub(crate) k: usize,
    pub(crate) ahead: Ahead,
    pub(crate) output: Output,
}

/// Runs a block for each row of a tile of `R` rows, with its number as a constant. A loop over an array of sums is
/// unrolled too late for LLVM to keep them all in registers.
macro_rules! for_each_row {
    ($row:ident < $R:ident $block:block) => {
        for_each_row!($row < $R $block: 0 1 2 3 4 5 6 7 8 9 10 11 12 13);
    };
    ($row:ident < $R:ident $block:block: $($i:literal)*) => {
        $(if $i < $R {
            const $row: usize = $i;
            $block
        })*
    };
}

/// dst = lhs * rhs + bias + dst * residual_scale for `R` rows and `C` vectors of columns, all held in registers.
///
/// # Safety
/// Valid for reading: k slots of each of the R rows of `lhs`; C vectors of each of the k rows of `rhs`, whose panels
/// are the `panel_stride` of `output` apart; of `output` what its own contract says of R rows and C vectors.
#[inline(always)]
pub(crate) unsafe fn tile<S: Simd, P: VectorProduct<S>, const R: usize, const C: usize>(
    simd: S,
    product: P,
    t: &Tile,
) {
    const { assert!(R <= MAX_VECTOR_ROWS) };
    // SAFETY: every access below is within what the contract names: ROW < R, c < C, and as many steps as t.k.
    unsafe {
        let in_panels = |column: usize| column / PANEL * t.output.panel_stride + column % PANEL;
        let mut sums = [[simd.splat(0.0); C]; R];
        if <P as VectorProduct<S>>::BYTES {
            let columns = t.output.columns::<S, P, C>(simd);
            for_each_row!(ROW < R {
                for (sum, &columns) in sums[ROW].iter_mut().zip(&columns) {
                    *sum = t.output.start_of_bytes(simd, columns, ROW);
                }
            });
        }
        let mut ahead = t.ahead.data;
        let mut rhs_at = t.rhs;
        let mut lhs_at = t.lhs;
        // A row is an odd number of strides away, or that times a power of two, by which an address can scale. LLVM
        // would keep a pointer for each row, of which some did not fit into registers.
        let odd: [usize; MAX_VECTOR_ROWS / 2] = std::array::from_fn(|i| {
            let offset = (2 * i + 1) * t.lhs_stride;
            simd.opaque(std::ptr::without_provenance(offset)).addr()
        });
        for _ in 0..t.k {
            let mut rhs = [simd.splat(0.0); C];
            for (c, rhs) in rhs.iter_mut().enumerate() {
                let column = c * S::LANES;
                *rhs = simd.load_slots_raw(rhs_at.add(in_panels(column)));
                if column % PANEL == 0 {
                    simd.prefetch(ahead.wrapping_byte_add(column / PANEL * t.ahead.apart));
                }
            }
            ahead = ahead.wrapping_byte_add(t.ahead.step);
            rhs_at = rhs_at.wrapping_add(t.rhs_k_stride);
            for_each_row!(ROW < R {
                const SHIFT: u32 = if ROW == 0 { 0 } else { ROW.trailing_zeros() };
                let offset = if ROW == 0 { 0 } else { odd[(ROW >> SHIFT) / 2] << SHIFT };
                let lhs = simd.splat_slot_raw(lhs_at.add(offset));
                for c in 0..C {
                    sums[ROW][c] = product.step(simd, lhs, rhs[c], sums[ROW][c]);
                }
            });
            lhs_at = simd.opaque(lhs_at.wrapping_add(1));
        }
        let columns = t.output.columns::<S, P, C>(simd);
        for_each_row!(ROW < R {
            for (c, &sum) in sums[ROW].iter().enumerate() {
                let sum = if <P as VectorProduct<S>>::BYTES { simd.convert_i32(sum) } else { sum };
                let column = c * S::LANES;
                let value = t.output.finish::<S, P>(simd, columns[c], [ROW, column], sum);
                simd.store_slots_raw(value, t.output.dst.add(ROW * t.output.dst_stride + column));
            }
        });
    }
}
