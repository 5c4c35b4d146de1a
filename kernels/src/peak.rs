//! What the machine's registers allow, to hold the kernels against.

use crate::isa::{Isa, Kernel};
use crate::matmul::Product;
use crate::simd::{DotKernel, Simd};

/// Multiply-adds that do not wait for each other: more than latency times throughput of any core known, and no more
/// than stay in registers.
const CHAINS: usize = 12;
/// The same where a vector takes two of sixteen registers.
const PORTABLE_CHAINS: usize = 6;

/// Runs `rounds` rounds of multiply-adds that touch no memory, and returns how many f32 operations they were (a
/// multiply-add counts two), with a value that depends on all of them.
pub fn multiply_adds(isa: Isa, rounds: usize) -> (u64, f32) {
    struct MultiplyAdds(usize);
    impl Kernel for MultiplyAdds {
        type Output = (u64, f32);
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> (u64, f32) {
            let chains = if S::NAME == "portable" { PORTABLE_CHAINS } else { CHAINS };
            let mut sums = [simd.splat(0.0); CHAINS];
            let factor = simd.splat(std::hint::black_box(0.999_999));
            let term = simd.splat(std::hint::black_box(1e-3));
            for _ in 0..self.0 {
                for sum in &mut sums[..chains] {
                    *sum = simd.mul_add(*sum, factor, term);
                }
            }
            let mut total = sums[0];
            for &sum in &sums[1..] {
                total = simd.add(total, sum);
            }
            (2 * (self.0 * chains * S::LANES) as u64, simd.sum(total))
        }
    }
    isa.run(MultiplyAdds(rounds))
}

/// The same with products of bytes as the kernels have them, u8 by s8, which are integer operations.
pub fn dot_products(isa: Isa, rounds: usize) -> (u64, f32) {
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
            let chains = if S::NAME == "portable" { PORTABLE_CHAINS } else { CHAINS };
            let four_bytes = |bytes: [u8; 4]| simd.splat(f32::from_le_bytes(std::hint::black_box(bytes)));
            let mut sums = [four_bytes([255, 3, 77, 128]); CHAINS];
            let rhs = four_bytes([5, 251, 2, 127]);
            for _ in 0..self.0 {
                for sum in &mut sums[..chains] {
                    // The same bytes each time would be multiplied once where that is a step of its own.
                    *sum = product.step(simd, *sum, rhs, *sum);
                }
            }
            let mut total = simd.convert_i32(sums[0]);
            for &sum in &sums[1..] {
                total = simd.add(total, simd.convert_i32(sum));
            }
            (2 * (self.0 * chains * S::LANES * 4) as u64, simd.sum(total))
        }
    }
    isa.run(DotProducts(rounds))
}
