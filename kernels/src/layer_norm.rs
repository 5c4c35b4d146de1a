//! Layer normalisation, row by row.

use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::view::{Rows, RowsMut};

/// Rows that are worked on together, because the sum of a row is waited for before anything else.
const GROUP: usize = 4;

/// Weights of a layer normalisation over the last dimension.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    weight: Vec<f32>,
    bias: Vec<f32>,
    eps: f32,
    residual_scale: Vec<f32>,
}

impl LayerNorm {
    /// `weight` and `bias` are as long as the rows that are normalised; `eps` is added to the variance.
    ///
    /// # Panics
    /// When the two differ in length.
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, eps: f32) -> Self {
        assert_eq!(weight.len(), bias.len(), "LayerNorm weight and bias");
        let residual_scale = vec![1.0; weight.len()];
        Self { weight, bias, eps, residual_scale }
    }

    /// One that adds no bias: (x - mean) / sqrt(variance + eps) * weight.
    pub fn without_bias(weight: Vec<f32>, eps: f32) -> Self {
        // What is added to a number and leaves all its bits, so that there is one kernel for both.
        let bias = vec![-0.0; weight.len()];
        Self::new(weight, bias, eps)
    }

    /// The same, with a factor for each column of the residual: where the norm that it comes from has its weight and
    /// bias divided by them.
    ///
    /// # Panics
    /// When there are not as many as weights.
    pub fn with_residual_scale(self, residual_scale: Vec<f32>) -> Self {
        assert_eq!(residual_scale.len(), self.weight.len(), "LayerNorm weight and residual scale");
        Self { residual_scale, ..self }
    }

    /// A factor for each column of the residual; 1 unless they were given.
    pub fn residual_scale(&self) -> &[f32] {
        &self.residual_scale
    }

    /// dst = norm(dst), each row by itself: (x - mean) / sqrt(variance + eps) * weight + bias.
    ///
    /// # Panics
    /// When `dst` has not as many columns as there are weights.
    pub fn apply(&self, isa: Isa, dst: RowsMut<'_>) {
        struct Apply<'a>(&'a LayerNorm, RowsMut<'a>);
        impl Kernel for Apply<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                self.0.rows(simd, self.1);
            }
        }
        isa.run(Apply(self, dst));
    }

    /// dst = norm(src), row by row, with the bits that [`LayerNorm::apply`] gives in place: for layers that normalise
    /// what they read and still add to it afterwards.
    ///
    /// # Panics
    /// When `src` and `dst` differ in shape, or have not as many columns as there are weights.
    pub fn apply_to(&self, isa: Isa, src: Rows<'_>, dst: RowsMut<'_>) {
        struct ApplyTo<'a>(&'a LayerNorm, Rows<'a>, RowsMut<'a>);
        impl Kernel for ApplyTo<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let Self(norm, src, mut dst) = self;
                assert_eq!((src.rows(), src.cols()), (dst.rows(), dst.cols()), "src and dst of a LayerNorm");
                // A group is normalised while its copy is in L1.
                for first in (0..src.rows()).step_by(GROUP) {
                    let rows = first..src.rows().min(first + GROUP);
                    let mut group = dst.row_range(rows.clone());
                    rows.enumerate().for_each(|(i, row)| group.row_mut(i).copy_from_slice(src.row(row)));
                    norm.rows(simd, group);
                }
            }
        }
        isa.run(ApplyTo(self, src, dst));
    }

    #[inline(always)]
    pub(crate) fn rows<S: Simd>(&self, simd: S, mut dst: RowsMut<'_>) {
        assert_eq!(dst.cols(), self.weight.len(), "columns and LayerNorm weights");
        let row_stride = dst.row_stride();
        let grouped = dst.rows() - dst.rows() % GROUP;
        for i in (0..grouped).step_by(GROUP) {
            self.group::<S, GROUP>(simd, dst.group_mut(i), row_stride);
        }
        for i in grouped..dst.rows() {
            self.group::<S, 1>(simd, dst.group_mut(i), row_stride);
        }
    }

    #[inline(always)]
    fn group<S: Simd, const N: usize>(&self, simd: S, mut rows: [&mut [f32]; N], row_stride: usize) {
        let n = self.weight.len() as f32;
        let mut means = sums::<S, N, false>(simd, &rows, [0.0; N]);
        means.iter_mut().for_each(|sum| *sum /= n);
        let mut factors = sums::<S, N, true>(simd, &rows, means);
        factors.iter_mut().for_each(|sum| *sum = 1.0 / (*sum / n + self.eps).sqrt());
        let (means, factors) = (splat_each(simd, means), splat_each(simd, factors));
        let cols = self.weight.len();
        let whole = cols - cols % S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            let (weight, bias) = (simd.load(&self.weight[at..]), simd.load(&self.bias[at..]));
            for ((row, &mean), &factor) in rows.iter_mut().zip(&means).zip(&factors) {
                let x = &mut row[at..at + S::LANES];
                let scaled = simd.mul(simd.sub(simd.load(x), mean), factor);
                simd.store(simd.mul_add(scaled, weight, bias), x);
                simd.prefetch(x.as_ptr().wrapping_add(N * row_stride).cast());
            }
        }
        if whole < cols {
            let weight = simd.load_partial(&self.weight[whole..], 0.0);
            let bias = simd.load_partial(&self.bias[whole..], 0.0);
            for ((row, &mean), &factor) in rows.iter_mut().zip(&means).zip(&factors) {
                let x = &mut row[whole..];
                let scaled = simd.mul(simd.sub(simd.load_partial(x, 0.0), mean), factor);
                simd.store_partial(simd.mul_add(scaled, weight, bias), x);
            }
        }
    }
}

#[inline(always)]
fn splat_each<S: Simd, const N: usize>(simd: S, values: [f32; N]) -> [S::V; N] {
    let mut vectors = [simd.splat(0.0); N];
    for (vector, value) in vectors.iter_mut().zip(values) {
        *vector = simd.splat(value);
    }
    vectors
}

/// The sum of each row or, with `SQUARES`, of the squares of its distances from its mean.
#[inline(always)]
fn sums<S: Simd, const N: usize, const SQUARES: bool>(
    simd: S,
    rows: &[&mut [f32]; N],
    means: [f32; N],
) -> [f32; N] {
    let cols = rows[0].len();
    let whole = cols - cols % S::LANES;
    let pairs = whole - whole % (2 * S::LANES);
    let centres = splat_each(simd, means);
    // Two running sums a row, because one would wait for the latency of each addition.
    let mut sums = [[simd.splat(0.0); 2]; N];
    for at in (0..pairs).step_by(2 * S::LANES) {
        for ((sums, row), &centre) in sums.iter_mut().zip(rows).zip(&centres) {
            let pair = &row[at..at + 2 * S::LANES];
            let (first, second) = pair.split_at(S::LANES);
            sums[0] = add_term::<S, SQUARES>(simd, sums[0], simd.load(first), centre);
            sums[1] = add_term::<S, SQUARES>(simd, sums[1], simd.load(second), centre);
        }
    }
    let mut totals = [0.0; N];
    for ((((total, sums), row), &centre), mean) in
        totals.iter_mut().zip(sums).zip(rows).zip(&centres).zip(means)
    {
        let [mut first, mut second] = sums;
        if pairs < whole {
            first = add_term::<S, SQUARES>(simd, first, simd.load(&row[pairs..]), centre);
        }
        if whole < cols {
            // Filled with the mean, the missing lanes add nothing.
            let tail = simd.load_partial(&row[whole..], mean);
            second = add_term::<S, SQUARES>(simd, second, tail, centre);
        }
        *total = simd.sum(simd.add(first, second));
    }
    totals
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
