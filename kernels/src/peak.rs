//! What the machine's registers allow, to hold the kernels against.

use crate::digits::DigitProduct;
use crate::isa::{Isa, Kernel};
use crate::operand::FloatProduct;
use crate::pack::PanelDtype;
use crate::product::{MulAdd, Product, VectorProduct};
use crate::simd::{DigitKernel, DotKernel, PairKernel, Simd};

/// Multiply-adds that do not wait for each other: more than latency times throughput of any core known, and no more
/// than stay in registers.
const CHAINS: usize = 12;
/// The same where a vector takes two of sixteen registers.
const PORTABLE_CHAINS: usize = 6;

/// Runs `rounds` rounds of the products that panels of `dtype` are for, which touch no memory, and returns how many
/// operations they were (a multiply-add counts two), with a value that depends on all of them. Where a set has none for
/// pairs of bfloat16 or digits, their products are those of f32. Six of digits count as one.
pub fn products(isa: Isa, dtype: PanelDtype, rounds: usize) -> (u64, f32) {
    struct InRegisters(PanelDtype, usize);
    impl Kernel for InRegisters {
        type Output = (u64, f32);
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> (u64, f32) {
            match self.0 {
                PanelDtype::F32 => self.of_f32(simd),
                PanelDtype::Digits => simd.with_digits(self).unwrap_or_else(|back| back.of_f32(simd)),
                PanelDtype::Bf16 => simd.with_pairs(self).unwrap_or_else(|back| back.of_f32(simd)),
                PanelDtype::Int8 => simd.with_dot(self),
            }
        }
    }
    impl<S: Simd> DotKernel<S> for InRegisters {
        type Output = (u64, f32);
        #[inline(always)]
        fn run<P: Product<S>>(self, simd: S, product: P) -> (u64, f32) {
            product.in_registers(simd, self.1)
        }
    }
    impl<S: Simd> DigitKernel<S> for InRegisters {
        type Output = (u64, f32);
        #[inline(always)]
        fn run<P: DigitProduct<S>>(self, simd: S, product: P) -> (u64, f32) {
            product.in_registers(simd, self.1)
        }
    }
    impl<S: Simd> PairKernel<S> for InRegisters {
        type Output = (u64, f32);
        #[inline(always)]
        fn run<P: FloatProduct<S>>(self, simd: S, product: P) -> (u64, f32) {
            product.in_registers(simd, self.1)
        }
    }
    impl InRegisters {
        #[inline(always)]
        fn of_f32<S: Simd>(self, simd: S) -> (u64, f32) {
            MulAdd.in_registers(simd, self.1)
        }
    }
    isa.run(InRegisters(dtype, rounds))
}

/// sum = sum + sum * rhs in each chain, `rounds` times.
///
/// Both factors may not stay the same: bytes that do would be widened once where that is a step of its own.
#[inline(always)]
pub(crate) fn chains<S: Simd, P: VectorProduct<S>>(simd: S, product: P, rounds: usize) -> (u64, f32) {
    let chains = if simd.name() == "portable" { PORTABLE_CHAINS } else { CHAINS };
    // Of floats small enough to leave each sum as it is: none may become subnormal, however many rounds there are.
    let [start, rhs] = match <P as VectorProduct<S>>::BYTES {
        true => [[255, 3, 77, 128], [5, 251, 2, 127]].map(f32::from_le_bytes),
        false => [1.0, 1e-9],
    };
    let mut sums = [simd.splat(std::hint::black_box(start)); CHAINS];
    let rhs = simd.splat(std::hint::black_box(rhs));
    for _ in 0..rounds {
        for sum in &mut sums[..chains] {
            *sum = product.step(simd, *sum, rhs, *sum);
        }
    }
    let mut total = simd.splat(0.0);
    for &sum in &sums {
        total = simd.add(total, if <P as VectorProduct<S>>::BYTES { simd.convert_i32(sum) } else { sum });
    }
    ((rounds * chains * S::LANES) as u64 * P::OPERATIONS, simd.sum(total))
}
