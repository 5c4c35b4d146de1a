//! What the machine's registers allow, to hold the kernels against.

use crate::isa::{Isa, Kernel};
use crate::matmul::{MulAdd, Product};
use crate::operand::FloatProduct;
use crate::pack::PanelDtype;
use crate::simd::{DotKernel, PairKernel, Simd};

/// Multiply-adds that do not wait for each other: more than latency times throughput of any core known, and no more
/// than stay in registers.
const CHAINS: usize = 12;
/// The same where a vector takes two of sixteen registers.
const PORTABLE_CHAINS: usize = 6;

/// Runs `rounds` rounds of the products that panels of `dtype` are for, which touch no memory, and returns how many
/// operations they were (a multiply-add counts two), with a value that depends on all of them.
pub fn products(isa: Isa, dtype: PanelDtype, rounds: usize) -> (u64, f32) {
    match dtype {
        PanelDtype::F32 => multiply_adds(isa, rounds),
        PanelDtype::Bf16 => pair_products(isa, rounds),
        PanelDtype::Int8 => dot_products(isa, rounds),
    }
}

/// Those of f32.
fn multiply_adds(isa: Isa, rounds: usize) -> (u64, f32) {
    struct MultiplyAdds(usize);
    impl Kernel for MultiplyAdds {
        type Output = (u64, f32);
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> (u64, f32) {
            // Small enough to leave each sum as it is: none may become subnormal, however many rounds there are.
            chains(simd, MulAdd, self.0, [1.0, 1e-9], 2)
        }
    }
    isa.run(MultiplyAdds(rounds))
}

/// Those of bytes as the kernels have them, u8 by s8, which are integer operations.
fn dot_products(isa: Isa, rounds: usize) -> (u64, f32) {
    struct DotProducts(usize);
    impl Kernel for DotProducts {
        type Output = (u64, f32);
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> (u64, f32) {
            simd.with_dot(self)
        }
    }
    impl<S: Simd> DotKernel<S> for DotProducts {
        type Output = (u64, f32);
        #[inline(always)]
        fn run<P: Product<S>>(self, simd: S, product: P) -> (u64, f32) {
            let [start, rhs] = [[255, 3, 77, 128], [5, 251, 2, 127]].map(f32::from_le_bytes);
            chains(simd, product, self.0, [start, rhs], 8)
        }
    }
    isa.run(DotProducts(rounds))
}

/// Those of pairs of bfloat16, or, where the set has none, of f32.
fn pair_products(isa: Isa, rounds: usize) -> (u64, f32) {
    struct PairProducts(usize);
    impl Kernel for PairProducts {
        type Output = Option<(u64, f32)>;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Option<(u64, f32)> {
            simd.with_pairs(self).ok()
        }
    }
    impl<S: Simd> PairKernel<S> for PairProducts {
        type Output = (u64, f32);
        #[inline(always)]
        fn run<P: FloatProduct<S>>(self, simd: S, product: P) -> (u64, f32) {
            chains(simd, product, self.0, [1.0, 1e-9], 2 * P::DEPTH as u64)
        }
    }
    isa.run(PairProducts(rounds)).unwrap_or_else(|| multiply_adds(isa, rounds))
}

/// sum = sum + sum * rhs in each chain, `rounds` times, each step `operations` for a lane.
///
/// Both factors may not stay the same: bytes that do would be
/// widened once where that is a step of its own.
#[inline(always)]
fn chains<S: Simd, P: Product<S>>(
    simd: S,
    product: P,
    rounds: usize,
    [start, rhs]: [f32; 2],
    operations: u64,
) -> (u64, f32) {
    let chains = if simd.name() == "portable" { PORTABLE_CHAINS } else { CHAINS };
    let mut sums = [simd.splat(std::hint::black_box(start)); CHAINS];
    let rhs = simd.splat(std::hint::black_box(rhs));
    for _ in 0..rounds {
        for sum in &mut sums[..chains] {
            *sum = product.step(simd, *sum, rhs, *sum);
        }
    }
    let mut total = simd.splat(0.0);
    for &sum in &sums {
        total = simd.add(total, if P::BYTES { simd.convert_i32(sum) } else { sum });
    }
    ((rounds * chains * S::LANES) as u64 * operations, simd.sum(total))
}
