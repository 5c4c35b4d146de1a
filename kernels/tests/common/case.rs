//! A product to be tested.

use crossrank_kernels::{Epilogue, Isa, LinearScratch, PackedColumns, PackedWeights, linear};

use super::{Grid, Random, pack, wide};

/// A product of `n` columns, in memory that was poisoned.
pub fn multiplied<'w>(
    isa: Isa,
    lhs: &Grid,
    weights: impl Into<PackedColumns<'w>>,
    epilogue: Epilogue<'_>,
    n: usize,
    dst_gap: usize,
) -> Grid {
    multiplied_onto(Grid::poisoned(lhs.view().rows(), n, dst_gap), isa, lhs, weights, epilogue)
}

/// A product in the place of a residual.
pub fn multiplied_onto<'w>(
    mut dst: Grid,
    isa: Isa,
    lhs: &Grid,
    weights: impl Into<PackedColumns<'w>>,
    epilogue: Epilogue<'_>,
) -> Grid {
    linear(isa, lhs.view(), weights, epilogue, &mut LinearScratch::default(), dst.view_mut());
    dst
}

#[derive(Clone)]
pub struct Case {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub lhs: Vec<f32>,
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Case {
    pub fn random(m: usize, n: usize, k: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        Self { m, n, k, lhs: random.vec(m * k), weights: random.vec(n * k), bias: random.vec(n) }
    }

    /// Every product is followed by its negative, but for the last bits.
    pub fn cancelling(m: usize, n: usize, k: usize, seed: u64) -> Self {
        let mut case = Self::random(m, n, k, seed);
        for row in case.lhs.chunks_mut(k.max(1)) {
            row.as_chunks_mut::<2>().0.iter_mut().for_each(|[first, second]| *second = *first);
        }
        for row in case.weights.chunks_mut(k.max(1)) {
            row.as_chunks_mut::<2>()
                .0
                .iter_mut()
                .for_each(|[first, second]| *second = -*first * (1.0 - 1e-6));
        }
        case
    }

    /// lhs, weights and bias in f64.
    pub fn wide(&self) -> [Vec<f64>; 3] {
        [&self.lhs, &self.weights, &self.bias].map(|values| wide(values))
    }

    /// The first `m` rows.
    pub fn run(&self, isa: Isa, m: usize, gaps: [usize; 2]) -> Vec<f32> {
        self.run_rows(isa, 0, m, gaps)
    }

    pub fn run_rows(&self, isa: Isa, start: usize, m: usize, [lhs_gap, dst_gap]: [usize; 2]) -> Vec<f32> {
        let lhs = Grid::of(&self.lhs[start * self.k..][..m * self.k], m, self.k, lhs_gap);
        multiplied(isa, &lhs, &self.pack(isa), Epilogue::Bias, self.n, dst_gap).values()
    }

    pub fn pack(&self, isa: Isa) -> PackedWeights {
        pack(isa, &self.weights, &self.bias, self.k)
    }
}

pub fn changed(values: &[f32], at: usize, value: f32) -> Vec<f32> {
    let mut values = values.to_vec();
    values[at] = value;
    values
}
