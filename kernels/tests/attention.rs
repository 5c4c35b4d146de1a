//! Attention against f64, and that of the `[CLS]` token against the attention it is derived from.

mod common;

use common::approx::Approx;
use common::{Grid, Random, assert_close, assert_same_bits, config, for_each_isa, wide};
use crossrank_kernels::{
    AttentionScratch, Heads, Isa, PanelDtype, Rows, RowsMut, attention, cls_attention, reference,
};
use proptest::prelude::*;

/// What rounding to bfloat16, of 8 significant bits, changes at most.
const BF16_ROUNDING: f64 = 1.0 / 256.0;

/// The relative error that `math.rs` states for its coarse powers of two.
const COARSE_EXP2_ERROR: f64 = 7.6e-5;

/// Queries, keys and values side by side, as one product makes them.
#[derive(Clone)]
struct Case {
    seq_len: usize,
    heads: usize,
    head_dim: usize,
    qkv: Vec<f32>,
}

impl Case {
    fn random(seq_len: usize, heads: usize, head_dim: usize, seed: u64) -> Self {
        Self { seq_len, heads, head_dim, qkv: Random(seed).vec(seq_len * 3 * heads * head_dim) }
    }

    fn cols(&self) -> usize {
        self.heads * self.head_dim
    }

    fn scale(&self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    fn run(&self, isa: Isa, gaps: [usize; 2], scratch: &mut AttentionScratch) -> Vec<f32> {
        self.run_beside(PanelDtype::F32, isa, gaps, scratch)
    }

    fn run_beside(
        &self,
        dtype: PanelDtype,
        isa: Isa,
        gaps: [usize; 2],
        scratch: &mut AttentionScratch,
    ) -> Vec<f32> {
        let cols = self.cols();
        let qkv = [0, 1, 2].map(|part| Grid::of(&self.part(part), self.seq_len, cols, gaps[0]));
        let mut dst = Grid::poisoned(self.seq_len, cols, gaps[1]);
        let heads = Heads { dim: self.head_dim, scale: self.scale(), dtype };
        attention(isa, qkv.each_ref().map(Grid::view), heads, scratch, dst.view_mut());
        dst.values()
    }

    /// The queries, keys or values.
    fn part(&self, part: usize) -> Vec<f32> {
        let cols = self.cols();
        self.qkv.chunks(3 * cols).flat_map(|row| row[part * cols..][..cols].to_vec()).collect()
    }

    fn expected(&self) -> Vec<f64> {
        let [q, k, v] = [0, 1, 2].map(|part| wide(&self.part(part)));
        reference::attention([&q, &k, &v], self.seq_len, self.heads, self.head_dim, f64::from(self.scale()))
    }

    /// By running error analysis of what `attention.rs` does; see `common/approx.rs`.
    fn bounds(&self) -> Vec<f64> {
        let (seq_len, cols, head_dim) = (self.seq_len, self.cols(), self.head_dim);
        let [q, k, v] = [0, 1, 2].map(|part| Approx::all(&self.part(part)));
        let mut bounds = vec![0.0; seq_len * cols];
        for head in (0..cols).step_by(head_dim) {
            for i in 0..seq_len {
                let of = |matrix: &'_ [Approx], row: usize| matrix[row * cols + head..][..head_dim].to_vec();
                let query = of(&q, i);
                let scores: Vec<Approx> =
                    (0..seq_len).map(|j| Approx::dot(query.iter().zip(&of(&k, j)))).collect();
                let (e, sum) = Approx::exponentials(self.scale(), &scores);
                let factor = sum.inverse();
                for d in head..head + head_dim {
                    let values = v.iter().skip(d).step_by(cols);
                    bounds[i * cols + d] = Approx::dot(e.iter().zip(values)).times(factor).error;
                }
            }
        }
        bounds
    }

    /// With every value rounded to bfloat16.
    fn rounded(&self) -> Self {
        let qkv = self.qkv.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect();
        Self { qkv, ..*self }
    }

    /// Beside layers in bfloat16 or bytes: pairs of bfloat16 where the set multiplies such, else f32 to the bit. Where
    /// it does, the weights of the values and their sum are coarse, and the weights rounded after the reference's.
    fn check_rounded(&self, gaps: [usize; 2], scratch: &mut AttentionScratch) {
        let rounded = self.rounded();
        let mut magnitudes = rounded.clone();
        for row in magnitudes.qkv.chunks_mut(3 * self.cols()) {
            row[2 * self.cols()..].iter_mut().for_each(|value| *value = value.abs());
        }
        const WEIGHT_ERROR: f64 = BF16_ROUNDING + 2.0 * COARSE_EXP2_ERROR;
        let bounds = rounded.bounds().into_iter().zip(magnitudes.expected());
        let bounds: Vec<f64> =
            bounds.map(|(error, magnitude)| error + 1.01 * WEIGHT_ERROR * magnitude + 1e-30).collect();
        for_each_isa(|isa| {
            let what = format!("{}: {} x {} x {}", isa.name(), self.seq_len, self.heads, self.head_dim);
            let [bf16, int8] =
                [PanelDtype::Bf16, PanelDtype::Int8].map(|dtype| self.run_beside(dtype, isa, gaps, scratch));
            assert_same_bits(&what, &bf16, &int8);
            if ["avx512_bf16", "amx"].contains(&isa.name()) {
                assert_close(&what, &bf16, &rounded.expected(), &bounds);
            } else {
                assert_same_bits(&what, &bf16, &self.run(isa, gaps, scratch));
            }
        });
    }

    fn check(&self, gaps: [usize; 2], scratch: &mut AttentionScratch) {
        let (expected, bounds) = (self.expected(), self.bounds());
        for_each_isa(|isa| {
            let what = format!("{}: {} x {} x {}", isa.name(), self.seq_len, self.heads, self.head_dim);
            assert_close(&what, &self.run(isa, gaps, scratch), &expected, &bounds);
        });
    }
}

/// Of two keys the first, which fits best, has a weight that rounds to 1; so what the query gathers of the value 1
/// there and 0 elsewhere is one over the sum of weights before they are rounded.
#[test]
fn sums_of_weights_beside_bfloat16_err_no_more_than_stated() {
    for_each_isa(|isa| {
        let mut worst = (0.0_f64, 0.0);
        for bits in half::bf16::from_f32(1e-3).to_bits()..half::bf16::from_f32(40.0).to_bits() {
            let key = -half::bf16::from_bits(bits).to_f32();
            let case = Case { seq_len: 2, heads: 1, head_dim: 1, qkv: vec![1.0, 0.0, 1.0, 1.0, key, 0.0] };
            let found = case.run_beside(PanelDtype::Bf16, isa, [0, 0], &mut AttentionScratch::default())[0];
            let expected = 1.0 + f64::from(key).exp();
            let error = (1.0 / f64::from(found) / expected - 1.0).abs();
            if error > worst.0 {
                worst = (error, key);
            }
        }
        println!("{}: maximal error of a sum of weights {:.4e} at {}", isa.name(), worst.0, worst.1);
        assert!(worst.0 <= COARSE_EXP2_ERROR + 3e-7, "{}: {:.4e} at {}", isa.name(), worst.0, worst.1);
    });
}

/// One scratch serves them all, in an order that leaves the longer behind for the shorter.
#[test]
fn every_length_and_head_is_that_of_f64() {
    let mut scratch = AttentionScratch::default();
    const HEAD_DIMS: [usize; 8] = [1, 5, 9, 12, 16, 20, 32, 64];
    const HEADS: [usize; 5] = [1, 3, 5, 12, 17];
    for seq_len in (1..=40).rev() {
        let head_dim = HEAD_DIMS[seq_len % HEAD_DIMS.len()];
        let case = Case::random(seq_len, HEADS[seq_len % HEADS.len()], head_dim, seq_len as u64);
        case.check([3, 5], &mut scratch);
        case.check_rounded([3, 5], &mut scratch);
    }
    for head_dim in HEAD_DIMS {
        for heads in HEADS {
            Case::random(7, heads, head_dim, 50).check([0, 1], &mut scratch);
        }
    }
}

#[test]
fn long_sequences_are_those_of_f64() {
    let mut scratch = AttentionScratch::default();
    for (seq_len, heads, head_dim) in [(512, 2, 32), (128, 12, 32), (128, 2, 64), (257, 1, 20), (100, 5, 12)]
    {
        let case = Case::random(seq_len, heads, head_dim, 60);
        case.check([0, 0], &mut scratch);
        case.check_rounded([0, 0], &mut scratch);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_shape_is_that_of_f64(
        seq_len in 0..50_usize,
        heads in 1..6_usize,
        head_dim in 1..40_usize,
        gaps in [0..20_usize, 0..20_usize],
        seed: u64,
    ) {
        let case = Case::random(seq_len, heads, head_dim, seed);
        case.check(gaps, &mut AttentionScratch::default());
        case.check_rounded(gaps, &mut AttentionScratch::default());
    }
}

#[test]
fn what_a_scratch_held_before_does_not_matter() {
    for_each_isa(|isa| {
        let mut used = AttentionScratch::default();
        for (seq_len, heads, head_dim) in [(40, 3, 20), (5, 1, 9), (33, 2, 16), (1, 1, 1), (17, 1, 64)] {
            let case = Case::random(seq_len, heads, head_dim, 70);
            let mut poison = Case::random(37, 2, 33, 71);
            poison.qkv.fill(f32::NAN);
            for dtype in [PanelDtype::F32, PanelDtype::Bf16] {
                poison.run_beside(dtype, isa, [0, 0], &mut used);
                used.reserve(seq_len * 2, heads, head_dim);
                let fresh = case.run_beside(dtype, isa, [0, 0], &mut AttentionScratch::default());
                let what = format!("{}: {seq_len} x {heads} x {head_dim} beside {dtype:?}", isa.name());
                assert_same_bits(&what, &case.run_beside(dtype, isa, [2, 1], &mut used), &fresh);
            }
        }
    });
}

/// A query with NaN spoils its own row of its head, a key the whole head, a value its column.
#[test]
fn nan_reaches_what_depends_on_it_and_nothing_else() {
    for (seq_len, at) in [(1, 0), (5, 4), (21, 13), (40, 39)] {
        let (heads, head_dim) = (3, 20);
        let cols = heads * head_dim;
        let clean = Case::random(seq_len, heads, head_dim, 80);
        for_each_isa(|isa| {
            let dtypes = [PanelDtype::F32, PanelDtype::Bf16];
            for (dtype, part) in dtypes.into_iter().flat_map(|dtype| [0, 1, 2].map(|part| (dtype, part))) {
                let run = |case: &Case| case.run_beside(dtype, isa, [0, 0], &mut AttentionScratch::default());
                let unharmed = run(&clean);
                assert!(unharmed.iter().all(|x| x.is_finite()));
                // In the middle head.
                let column = head_dim + 17;
                let mut harmed = Case::random(seq_len, heads, head_dim, 80);
                harmed.qkv[at * 3 * cols + part * cols + column] = f32::NAN;
                let mut expected = unharmed.clone();
                for (i, x) in expected.iter_mut().enumerate() {
                    let (row, col) = (i / cols, i % cols);
                    let in_head = col / head_dim == 1;
                    if in_head && [row == at, true, col == column][part] {
                        *x = f32::NAN;
                    }
                }
                let what = format!("{}: {seq_len}, NaN in part {part} at {at} beside {dtype:?}", isa.name());
                assert_same_bits(&what, &run(&harmed), &expected);
            }
        });
    }
}

struct ClsCase {
    heads: usize,
    hidden: usize,
    scale: f32,
    queries: Vec<f32>,
    x: Vec<f32>,
}

impl ClsCase {
    fn random(seq_len: usize, heads: usize, hidden: usize, seed: u64) -> Self {
        let mut random = Random(seed);
        let scale = 1.0 / (hidden as f32).sqrt();
        Self { heads, hidden, scale, queries: random.vec(heads * hidden), x: random.vec(seq_len * hidden) }
    }

    fn run(&self, isa: Isa, gaps: [usize; 3], scratch: &mut AttentionScratch) -> Vec<f32> {
        let queries = Grid::of(&self.queries, self.heads, self.hidden, gaps[0]);
        let x = Grid::of(&self.x, self.x.len() / self.hidden, self.hidden, gaps[1]);
        let mut dst = Grid::poisoned(self.heads, self.hidden, gaps[2]);
        cls_attention(isa, queries.view(), x.view(), self.scale, scratch, dst.view_mut());
        dst.values()
    }

    fn bounds(&self) -> Vec<f64> {
        let x = Approx::all(&self.x);
        let mut bounds = Vec::new();
        for query in self.queries.chunks(self.hidden) {
            let query = Approx::all(query);
            let scores: Vec<Approx> =
                x.chunks(self.hidden).map(|token| Approx::dot(query.iter().zip(token))).collect();
            let (e, sum) = Approx::exponentials(self.scale, &scores);
            let factor = sum.inverse();
            bounds.extend((0..self.hidden).map(|d| {
                Approx::dot(e.iter().zip(x.iter().skip(d).step_by(self.hidden))).times(factor).error
            }));
        }
        bounds
    }

    fn check(&self, gaps: [usize; 3], scratch: &mut AttentionScratch) {
        let scale = f64::from(self.scale);
        let expected = reference::cls_attention(&wide(&self.queries), &wide(&self.x), self.hidden, scale);
        let bounds = self.bounds();
        for_each_isa(|isa| {
            let seq_len = self.x.len() / self.hidden;
            let what = format!("{}: {seq_len} x {} x {}", isa.name(), self.heads, self.hidden);
            assert_close(&what, &self.run(isa, gaps, scratch), &expected, &bounds);
        });
    }
}

#[test]
fn cls_attention_of_every_shape_is_that_of_f64() {
    let mut scratch = AttentionScratch::default();
    for seq_len in (1..=40).chain([128, 512]).rev() {
        let hidden = [1, 12, 16, 17, 33, 48, 60][seq_len % 7];
        let heads = [1, 3, 5, 12, 17][seq_len % 5];
        ClsCase::random(seq_len, heads, hidden, seq_len as u64).check([1, 2, 3], &mut scratch);
    }
    ClsCase::random(128, 12, 384, 90).check([0, 0, 0], &mut scratch);
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn cls_attention_of_any_shape_is_that_of_f64(
        seq_len in 1..50_usize,
        heads in 1..20_usize,
        hidden in 1..70_usize,
        gaps in [0..20_usize, 0..20_usize, 0..20_usize],
        seed: u64,
    ) {
        ClsCase::random(seq_len, heads, hidden, seed).check(gaps, &mut AttentionScratch::default());
    }
}

#[test]
fn what_a_scratch_held_before_does_not_matter_to_cls_attention() {
    for_each_isa(|isa| {
        let mut used = AttentionScratch::default();
        for (seq_len, heads, hidden) in [(40, 17, 33), (5, 3, 12), (21, 12, 60)] {
            let mut poison = ClsCase::random(23, 18, 40, 91);
            poison.x.fill(f32::NAN);
            poison.run(isa, [0, 0, 0], &mut used);
            let case = ClsCase::random(seq_len, heads, hidden, 92);
            let fresh = case.run(isa, [0, 0, 0], &mut AttentionScratch::default());
            assert_same_bits(isa.name(), &case.run(isa, [1, 2, 0], &mut used), &fresh);
        }
    });
}

/// A query with NaN spoils its head, a token everything.
#[test]
fn nan_reaches_what_depends_on_it_in_cls_attention() {
    let (seq_len, heads, hidden) = (21, 5, 37);
    for_each_isa(|isa| {
        let clean = ClsCase::random(seq_len, heads, hidden, 93);
        let unharmed = clean.run(isa, [0, 0, 0], &mut AttentionScratch::default());
        let mut harmed = ClsCase::random(seq_len, heads, hidden, 93);
        harmed.queries[2 * hidden + 36] = f32::NAN;
        let mut expected = unharmed.clone();
        expected[2 * hidden..3 * hidden].fill(f32::NAN);
        let found = harmed.run(isa, [0, 0, 0], &mut AttentionScratch::default());
        assert_same_bits(isa.name(), &found, &expected);
        for at in 0..seq_len {
            let mut harmed = ClsCase::random(seq_len, heads, hidden, 93);
            harmed.x[at * hidden + at] = f32::NAN;
            let found = harmed.run(isa, [0, 0, 0], &mut AttentionScratch::default());
            assert!(found.iter().all(|x| x.is_nan()), "{}: NaN in token {at}", isa.name());
        }
    });
}

/// The algebra, in f64 alone: with queries_h = W_k,h^T q_h and contexts W_v,h dst_h + b_v,h it is row 0 of attention
/// over keys and values with their biases.
#[test]
fn cls_attention_is_row_0_of_attention() {
    for (seq_len, heads, head_dim) in [(1, 1, 1), (9, 3, 5), (20, 2, 16), (33, 5, 12)] {
        let hidden = heads * head_dim;
        let mut random = Random(seq_len as u64);
        let x = wide(&random.vec(seq_len * hidden));
        let [w_q, w_k, w_v] = [(); 3].map(|()| wide(&random.vec(hidden * hidden)));
        let [b_q, b_k, b_v] = [(); 3].map(|()| wide(&random.vec(hidden)));
        let scale = 1.0 / (hidden as f64).sqrt();

        let project = |w: &[f64], b: &[f64]| reference::matmul(&x, w, b, seq_len, hidden);
        let (q, k, v) = (project(&w_q, &b_q), project(&w_k, &b_k), project(&w_v, &b_v));
        let all = reference::attention([&q, &k, &v], seq_len, heads, head_dim, scale);

        let mut queries = vec![0.0; heads * hidden];
        for h in 0..heads {
            for out in h * head_dim..(h + 1) * head_dim {
                for c in 0..hidden {
                    queries[h * hidden + c] += w_k[out * hidden + c] * q[out];
                }
            }
        }
        let averages = reference::cls_attention(&queries, &x, hidden, scale);
        for out in 0..hidden {
            let average = &averages[out / head_dim * hidden..][..hidden];
            let products = w_v[out * hidden..][..hidden].iter().zip(average).map(|(a, b)| a * b);
            let context = products.sum::<f64>() + b_v[out];
            // f64 leaves some 1e-13 of scores of magnitude 1e2.
            let distance = (context - all[out]).abs();
            assert!(distance <= 1e-11 * (1.0 + all[out].abs()), "{out}: {context} instead of {}", all[out]);
        }
    }
}

#[test]
fn what_was_reserved_for_a_sequence_is_enough_for_shorter_ones() {
    const HEAD_DIM: usize = 20;
    for longest in [1, 60, 100, 512] {
        let values = vec![0.5; longest * HEAD_DIM];
        for isa in Isa::available() {
            for dtype in [PanelDtype::F32, PanelDtype::Bf16] {
                let mut scratch = AttentionScratch::default();
                scratch.reserve(longest, 1, HEAD_DIM);
                let reserved = scratch.bytes();
                for seq_len in 1..=longest {
                    let rows = Rows::new(&values, seq_len, HEAD_DIM, HEAD_DIM);
                    let mut gathered = vec![0.0; seq_len * HEAD_DIM];
                    let dst = RowsMut::new(&mut gathered, seq_len, HEAD_DIM, HEAD_DIM);
                    let heads = Heads { dim: HEAD_DIM, scale: 1.0, dtype };
                    attention(isa, [rows; 3], heads, &mut scratch, dst);
                    let what = format!("{}: {seq_len} of {longest}, {}", isa.name(), dtype.name());
                    assert_eq!(scratch.bytes(), reserved, "{what}");
                }
            }
        }
    }
}
