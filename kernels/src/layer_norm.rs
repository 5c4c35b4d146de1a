//! Residual addition and layer normalisation, row by row.

use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::view::{Rows, RowsMut};

/// Weights of a layer normalisation over the last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
}

impl LayerNorm {
    /// `weight` and `bias` are as long as the rows that are normalised; `eps` is added to the variance.
    ///
    /// # Panics
    /// When the two differ in length.
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, eps: f32) -> Self {
        assert_eq!(weight.len(), bias.len(), "LayerNorm weight and bias");
        Self { weight, bias, eps }
    }

    /// dst = norm(dst + residual), each row by itself: (x - mean) / sqrt(variance + eps) * weight + bias.
    ///
    /// # Panics
    /// When `dst`, `residual` and the weights differ in shape.
    pub fn apply(&self, isa: Isa, residual: Option<Rows<'_>>, dst: RowsMut<'_>) {
        struct Apply<'a>(&'a LayerNorm, Option<Rows<'a>>, RowsMut<'a>);
        impl Kernel for Apply<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                self.0.rows(simd, self.1, self.2);
            }
        }
        isa.run(Apply(self, residual, dst));
    }

    #[inline(always)]
    pub(crate) fn rows<S: Simd>(&self, simd: S, residual: Option<Rows<'_>>, mut dst: RowsMut<'_>) {
        assert_eq!(dst.cols(), self.weight.len(), "columns and LayerNorm weights");
        if let Some(residual) = residual {
            assert_eq!((residual.rows(), residual.cols()), (dst.rows(), dst.cols()), "residual and dst");
            for i in 0..dst.rows() {
                add(simd, residual.row(i), dst.row_mut(i));
            }
        }
        for i in 0..dst.rows() {
            self.row(simd, dst.row_mut(i));
        }
    }

    #[inline(always)]
    fn row<S: Simd>(&self, simd: S, row: &mut [f32]) {
        let n = row.len() as f32;
        let mean = sum::<S, false>(simd, row, 0.0) / n;
        let variance = sum::<S, true>(simd, row, mean) / n;
        let mean = simd.splat(mean);
        let factor = simd.splat(1.0 / (variance + self.eps).sqrt());
        let mut chunks = row.chunks_exact_mut(S::LANES);
        let (mut weights, mut biases) =
            (self.weight.chunks_exact(S::LANES), self.bias.chunks_exact(S::LANES));
        for ((x, weight), bias) in (&mut chunks).zip(&mut weights).zip(&mut biases) {
            let scaled = simd.mul(simd.sub(simd.load(x), mean), factor);
            simd.store(simd.mul_add(scaled, simd.load(weight), simd.load(bias)), x);
        }
        let tail = chunks.into_remainder();
        if !tail.is_empty() {
            let scaled = simd.mul(simd.sub(simd.load_partial(tail, 0.0), mean), factor);
            let weight = simd.load_partial(weights.remainder(), 0.0);
            let bias = simd.load_partial(biases.remainder(), 0.0);
            simd.store_partial(simd.mul_add(scaled, weight, bias), tail);
        }
    }
}

/// dst += x
#[inline(always)]
fn add<S: Simd>(simd: S, x: &[f32], dst: &mut [f32]) {
    let (mut from, mut to) = (x.chunks_exact(S::LANES), dst.chunks_exact_mut(S::LANES));
    for (x, dst) in (&mut from).zip(&mut to) {
        simd.store(simd.add(simd.load(dst), simd.load(x)), dst);
    }
    for (dst, x) in to.into_remainder().iter_mut().zip(from.remainder()) {
        *dst += x;
    }
}

/// The sum of a row or, with `SQUARES`, of the squares of its distances from `mean`.
#[inline(always)]
fn sum<S: Simd, const SQUARES: bool>(simd: S, row: &[f32], mean: f32) -> f32 {
    let centre = simd.splat(mean);
    // Four running sums, because one would wait for the latency of each addition.
    let mut sums = [simd.splat(0.0); 4];
    let mut fours = row.chunks_exact(4 * S::LANES);
    for four in &mut fours {
        for (sum, x) in sums.iter_mut().zip(four.chunks_exact(S::LANES)) {
            *sum = add_term::<S, SQUARES>(simd, *sum, simd.load(x), centre);
        }
    }
    let mut sums_left = sums.iter_mut();
    let mut chunks = fours.remainder().chunks_exact(S::LANES);
    for (x, sum) in (&mut chunks).zip(&mut sums_left) {
        *sum = add_term::<S, SQUARES>(simd, *sum, simd.load(x), centre);
    }
    if let (false, Some(sum)) = (chunks.remainder().is_empty(), sums_left.next()) {
        // Filled with the mean, the missing lanes add nothing.
        *sum = add_term::<S, SQUARES>(simd, *sum, simd.load_partial(chunks.remainder(), mean), centre);
    }
    simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
}

/// sum + x, or sum + (x - centre)^2.
#[inline(always)]
fn add_term<S: Simd, const SQUARES: bool>(simd: S, sum: S::V, x: S::V, centre: S::V) -> S::V {
    if SQUARES {
        let centred = simd.sub(x, centre);
        simd.mul_add(centred, centred, sum)
    } else {
        simd.add(sum, x)
    }
}
