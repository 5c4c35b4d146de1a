//! Softmax of a row.

use crate::isa::{Isa, Kernel};
use crate::math::exp;
use crate::simd::Simd;

/// row = e^(scale (row - max)) / sum, over the whole row, for `scale` > 0; empty rows stay empty. A NaN anywhere, or
/// an infinite maximum, makes the whole row NaN.
pub fn softmax(isa: Isa, scale: f32, row: &mut [f32]) {
    struct Softmax<'a>(f32, &'a mut [f32]);
    impl Kernel for Softmax<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let factor = 1.0 / exponentials(simd, self.0, self.1);
            multiply(simd, factor, self.1);
        }
    }
    isa.run(Softmax(scale, row));
}

/// row = e^(scale (row - max)); returns the sum, by which the caller divides where it costs least. `scale` > 0.
#[inline(always)]
pub(crate) fn exponentials<S: Simd>(simd: S, scale: f32, row: &mut [f32]) -> f32 {
    let lowest = f32::NEG_INFINITY;
    // Four running maxima, because one would wait for the latency of each comparison.
    let mut maxima = [simd.splat(lowest); 4];
    let mut fours = row.chunks_exact(4 * S::LANES);
    for four in &mut fours {
        for (max, chunk) in maxima.iter_mut().zip(four.chunks_exact(S::LANES)) {
            *max = simd.at_least(simd.load(chunk), *max);
        }
    }
    let mut chunks = fours.remainder().chunks_exact(S::LANES);
    for (max, chunk) in maxima.iter_mut().zip(&mut chunks) {
        *max = simd.at_least(simd.load(chunk), *max);
    }
    maxima[3] = simd.at_least(simd.load_partial(chunks.remainder(), lowest), maxima[3]);
    let [a, b, c, d] = maxima;
    // A NaN may be lost here, not below: its exponential is NaN, and with it the sum.
    let max = simd.at_least(simd.at_least(a, b), simd.at_least(c, d));
    let max = simd.splat(simd.max(max));
    let scale = simd.splat(scale);

    let mut sum = simd.splat(0.0);
    let mut chunks = row.chunks_exact_mut(S::LANES);
    for chunk in &mut chunks {
        let e = exp(simd, simd.mul(simd.sub(simd.load(chunk), max), scale));
        sum = simd.add(sum, e);
        simd.store(e, chunk);
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        let e = exp(simd, simd.mul(simd.sub(simd.load_partial(tail, lowest), max), scale));
        sum = simd.add(sum, e);
        simd.store_partial(e, tail);
    }
    simd.sum(sum)
}

/// row *= factor
#[inline(always)]
pub(crate) fn multiply<S: Simd>(simd: S, factor: f32, row: &mut [f32]) {
    let vector = simd.splat(factor);
    let mut chunks = row.chunks_exact_mut(S::LANES);
    for chunk in &mut chunks {
        simd.store(simd.mul(simd.load(chunk), vector), chunk);
    }
    for x in chunks.into_remainder() {
        *x *= factor;
    }
}
