//! What the machine's registers allow, to hold the kernels against.

use crate::isa::{Isa, Kernel};
use crate::simd::Simd;

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
