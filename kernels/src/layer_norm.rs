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
        let mean = sum(simd, row, None) / n;
        let variance = sum(simd, row, Some(mean)) / n;
        let mean = simd.splat(mean);
        let factor = simd.splat(1.0 / (variance + self.eps).sqrt());
        let mut at = 0;
        while at + S::LANES <= row.len() {
            let centred = simd.sub(simd.load(&row[at..]), mean);
            let scaled = simd.mul(centred, factor);
            let y = simd.mul_add(scaled, simd.load(&self.weight[at..]), simd.load(&self.bias[at..]));
            simd.store(y, &mut row[at..]);
            at += S::LANES;
        }
        if at < row.len() {
            let centred = simd.sub(simd.load_partial(&row[at..], 0.0), mean);
            let weight = simd.load_partial(&self.weight[at..], 0.0);
            let bias = simd.load_partial(&self.bias[at..], 0.0);
            simd.store_partial(simd.mul_add(simd.mul(centred, factor), weight, bias), &mut row[at..]);
        }
    }
}

/// dst += x
#[inline(always)]
fn add<S: Simd>(simd: S, x: &[f32], dst: &mut [f32]) {
    let mut at = 0;
    while at + S::LANES <= dst.len() {
        simd.store(simd.add(simd.load(&dst[at..]), simd.load(&x[at..])), &mut dst[at..]);
        at += S::LANES;
    }
    for (dst, x) in dst[at..].iter_mut().zip(&x[at..]) {
        *dst += x;
    }
}

/// The sum of a row, or of the squares of its distances from a mean.
#[inline(always)]
fn sum<S: Simd>(simd: S, row: &[f32], around: Option<f32>) -> f32 {
    // Four running sums, because one would wait for the latency of each addition.
    let mut sums = [simd.splat(0.0); 4];
    let mean = around.unwrap_or(0.0);
    let mut at = 0;
    let mut next = 0;
    while at < row.len() {
        let x = if at + S::LANES <= row.len() {
            simd.load(&row[at..])
        } else {
            // Filled with the mean, the missing lanes add nothing.
            simd.load_partial(&row[at..], mean)
        };
        sums[next] = if around.is_some() {
            let centred = simd.sub(x, simd.splat(mean));
            simd.mul_add(centred, centred, sums[next])
        } else {
            simd.add(sums[next], x)
        };
        next = (next + 1) % 4;
        at += S::LANES;
    }
    simd.sum(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])))
}
