//! Attention whose scores depend on positions, against f64 and against itself cut into parts.

mod common;

use common::approx::Approx;
use common::{Grid, Random, assert_close, assert_panics, assert_same_bits, for_each_isa};
use crossrank_kernels::{
    AttentionScratch, Heads, Isa, PanelDtype, PositionBias, Positions, Rows, attention, cls_attention,
    cls_attention_over_keys, positional_attention, positional_cls_attention,
};

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    None,
    Table,
    Alibi,
}

struct Case {
    seq_len: usize,
    heads: usize,
    dim: usize,
    span: Option<usize>,
    kind: Kind,
    qkv: [Vec<f32>; 3],
    /// Of one position more than there are.
    table: Vec<f32>,
    slopes: Vec<f32>,
}

impl Case {
    fn random(seq_len: usize, heads: usize, dim: usize, span: Option<usize>, kind: Kind) -> Self {
        let mut random = Random((seq_len * 31 + dim) as u64);
        let qkv = [(); 3].map(|()| random.vec(seq_len * heads * dim));
        let table = random.vec(heads * (2 * seq_len + 1));
        let slopes = random.vec(heads).iter().map(|x| x.abs()).collect();
        Self { seq_len, heads, dim, span, kind, qkv, table, slopes }
    }

    fn scale(&self) -> f32 {
        1.0 / (self.dim as f32).sqrt()
    }

    fn positions(&self, first_query: usize) -> Positions<'_> {
        let cols = 2 * self.seq_len + 1;
        let bias = match self.kind {
            Kind::None => PositionBias::None,
            Kind::Table => PositionBias::Table(Rows::new(&self.table, self.heads, cols, cols)),
            Kind::Alibi => PositionBias::Alibi(&self.slopes),
        };
        Positions { first_query, span: self.span, bias }
    }

    fn bias(&self, head: usize, i: usize, j: usize) -> Approx {
        match self.kind {
            Kind::None => Approx::exact(0.0),
            Kind::Table => Approx::exact(self.table[head * (2 * self.seq_len + 1) + j + self.seq_len - i]),
            Kind::Alibi => Approx::exact(-self.slopes[head]).times(Approx::exact(i.abs_diff(j) as f32)),
        }
    }

    /// Some rows of the queries.
    fn run(&self, isa: Isa, rows: std::ops::Range<usize>, scratch: &mut AttentionScratch) -> Vec<f32> {
        let cols = self.heads * self.dim;
        let [q, k, v] = self.qkv.each_ref().map(|x| Grid::of(x, self.seq_len, cols, 3));
        let mut dst = Grid::poisoned(rows.len(), cols, 5);
        let heads = Heads { dim: self.dim, scale: self.scale(), dtype: PanelDtype::F32 };
        let positions = self.positions(rows.start);
        let qkv = [q.view().row_range(rows), k.view(), v.view()];
        positional_attention(isa, qkv, heads, positions, scratch, dst.view_mut());
        dst.values()
    }

    /// What is expected of a row of scores and the rows that it weights, and a bound by running error analysis.
    fn softmax(&self, head: usize, i: usize, scores: &[Approx], values: impl Fn(usize) -> Approx) -> Approx {
        let seen: Vec<usize> =
            (0..self.seq_len).filter(|j| self.span.is_none_or(|span| i.abs_diff(*j) <= span)).collect();
        let (scale, scores): (f32, Vec<Approx>) = if self.kind == Kind::None {
            (self.scale(), seen.iter().map(|&j| scores[j]).collect())
        } else {
            let scale = Approx::exact(self.scale());
            (1.0, seen.iter().map(|&j| scores[j].times(scale).plus(self.bias(head, i, j))).collect())
        };
        let (e, sum) = Approx::exponentials(scale, &scores);
        let values: Vec<Approx> = seen.iter().map(|&j| values(j)).collect();
        Approx::dot(e.iter().zip(&values)).times(sum.inverse())
    }

    fn scores(&self, head: usize, i: usize) -> Vec<Approx> {
        let cols = self.heads * self.dim;
        let of = |x: &[f32], row: usize| Approx::all(&x[row * cols + head * self.dim..][..self.dim]);
        let query = of(&self.qkv[0], i);
        (0..self.seq_len).map(|j| Approx::dot(query.iter().zip(&of(&self.qkv[1], j)))).collect()
    }

    fn expected(&self) -> Vec<Approx> {
        let cols = self.heads * self.dim;
        let mut expected = vec![Approx::exact(0.0); self.seq_len * cols];
        for (head, i) in (0..self.heads).flat_map(|head| (0..self.seq_len).map(move |i| (head, i))) {
            let scores = self.scores(head, i);
            for d in head * self.dim..(head + 1) * self.dim {
                let value = |j: usize| Approx::exact(self.qkv[2][j * cols + d]);
                expected[i * cols + d] = self.softmax(head, i, &scores, value);
            }
        }
        expected
    }
}

#[track_caller]
fn assert_approx(what: &str, found: &[f32], expected: &[Approx]) {
    let values: Vec<f64> = expected.iter().map(|x| x.value).collect();
    assert_close(what, found, &values, &Approx::errors(expected));
}

const KINDS: [Kind; 3] = [Kind::None, Kind::Table, Kind::Alibi];
const SPANS: [Option<usize>; 6] = [None, Some(0), Some(1), Some(15), Some(40), Some(usize::MAX)];

#[test]
fn every_span_and_bias_is_that_of_f64() {
    let mut scratch = AttentionScratch::default();
    for (seq_len, heads, dim) in [(150, 1, 12), (65, 2, 16), (33, 3, 5), (32, 1, 20), (2, 2, 4), (1, 1, 1)] {
        for (span, kind) in SPANS.into_iter().flat_map(|span| KINDS.map(|kind| (span, kind))) {
            let case = Case::random(seq_len, heads, dim, span, kind);
            let expected = case.expected();
            for_each_isa(|isa| {
                let what = format!("{}: {seq_len} x {heads} x {dim}, {span:?}, {kind:?}", isa.name());
                assert_approx(&what, &case.run(isa, 0..seq_len, &mut scratch), &expected);
            });
        }
    }
}

/// Cut anywhere, beside whatever a scratch held before.
#[test]
fn a_row_has_the_bits_that_it_has_alone() {
    let mut scratch = AttentionScratch::default();
    for (span, kind) in SPANS.into_iter().flat_map(|span| KINDS.map(|kind| (span, kind))) {
        let case = Case::random(150, 2, 12, span, kind);
        for_each_isa(|isa| {
            let all = case.run(isa, 0..150, &mut scratch);
            for rows in [0..1, 1..2, 47..101, 149..150, 60..60] {
                let part = &all[rows.start * 24..rows.end * 24];
                let what = format!("{}: {rows:?}, {span:?}, {kind:?}", isa.name());
                assert_same_bits(&what, &case.run(isa, rows, &mut AttentionScratch::default()), part);
            }
        });
    }
}

#[test]
fn positions_that_decide_nothing_leave_the_bits_of_attention() {
    let case = Case::random(70, 2, 16, None, Kind::None);
    for_each_isa(|isa| {
        let [q, k, v] = case.qkv.each_ref().map(|x| Grid::of(x, 70, 32, 0));
        let mut dst = Grid::poisoned(70, 32, 0);
        let heads = Heads { dim: 16, scale: case.scale(), dtype: PanelDtype::F32 };
        attention(
            isa,
            [q.view(), k.view(), v.view()],
            heads,
            &mut AttentionScratch::default(),
            dst.view_mut(),
        );
        let found = case.run(isa, 0..70, &mut AttentionScratch::default());
        assert_same_bits(isa.name(), &found, &dst.values());
    });
}

/// A NaN reaches every row that sees it, and none beyond the windows of whole blocks.
#[test]
fn nan_passes_through_what_is_seen() {
    for kind in KINDS {
        let mut case = Case::random(300, 1, 4, Some(3), kind);
        for part in 1..3 {
            let before = case.qkv[part][10 * 4];
            case.qkv[part][10 * 4] = f32::NAN;
            for_each_isa(|isa| {
                let found = case.run(isa, 0..300, &mut AttentionScratch::default());
                assert!((7..14).all(|i| found[i * 4].is_nan()), "{}: {kind:?}, part {part}", isa.name());
                assert!(found[200 * 4..].iter().all(|x| x.is_finite()), "{}: {kind:?}, {part}", isa.name());
            });
            case.qkv[part][10 * 4] = before;
        }
    }
}

#[test]
fn positional_cls_attention_is_that_of_f64() {
    let mut scratch = AttentionScratch::default();
    for (seq_len, heads, hidden) in [(150, 3, 37), (33, 17, 16), (2, 1, 5), (1, 2, 3)] {
        for (span, kind) in SPANS.into_iter().flat_map(|span| KINDS.map(|kind| (span, kind))) {
            let case = Case::random(seq_len, heads, hidden, span, kind);
            let mut random = Random(7);
            let (queries, x) = (random.vec(heads * hidden), random.vec(seq_len * hidden));
            let mut expected = Vec::new();
            for (head, query) in queries.chunks(hidden).enumerate() {
                let query = Approx::all(query);
                let scores: Vec<Approx> =
                    x.chunks(hidden).map(|x| Approx::dot(query.iter().zip(&Approx::all(x)))).collect();
                let value = |d: usize, j: usize| Approx::exact(x[j * hidden + d]);
                expected.extend((0..hidden).map(|d| case.softmax(head, 0, &scores, |j| value(d, j))));
            }
            for_each_isa(|isa| {
                let (queries, x) = (Grid::of(&queries, heads, hidden, 1), Grid::of(&x, seq_len, hidden, 2));
                let mut dst = Grid::poisoned(heads, hidden, 3);
                let (scale, positions) = (case.scale(), case.positions(0));
                let (queries, x) = (queries.view(), x.view());
                positional_cls_attention(isa, queries, x, scale, positions, &mut scratch, dst.view_mut());
                let what = format!("{}: {seq_len} x {heads} x {hidden}, {span:?}, {kind:?}", isa.name());
                assert_approx(&what, &dst.values(), &expected);
                if span.is_none() && kind == Kind::None {
                    let mut plain = Grid::poisoned(heads, hidden, 0);
                    cls_attention(isa, queries, x, scale, &mut scratch, plain.view_mut());
                    assert_same_bits(&what, &dst.values(), &plain.values());
                }
            });
        }
    }
}

#[test]
fn cls_attention_over_keys_is_that_of_f64() {
    let mut scratch = AttentionScratch::default();
    for (seq_len, heads, dim) in [(150, 3, 12), (33, 2, 16), (20, 5, 7), (1, 1, 1)] {
        for (span, kind) in SPANS.into_iter().flat_map(|span| KINDS.map(|kind| (span, kind))) {
            let case = Case::random(seq_len, heads, dim, span, kind);
            let hidden = heads * dim + 3;
            let x = Random(9).vec(seq_len * hidden);
            let mut expected = Vec::new();
            for head in 0..heads {
                let scores = case.scores(head, 0);
                let value = |d: usize, j: usize| Approx::exact(x[j * hidden + d]);
                expected.extend((0..hidden).map(|d| case.softmax(head, 0, &scores, |j| value(d, j))));
            }
            for_each_isa(|isa| {
                let keys = Grid::of(&case.qkv[1], seq_len, heads * dim, 1);
                let (x, mut dst) = (Grid::of(&x, seq_len, hidden, 2), Grid::poisoned(heads, hidden, 3));
                let (query, positions) = (&case.qkv[0][..heads * dim], case.positions(0));
                let (keys, x, scale) = (keys.view(), x.view(), case.scale());
                cls_attention_over_keys(isa, query, keys, x, scale, positions, &mut scratch, dst.view_mut());
                let what = format!("{}: {seq_len} x {heads} x {dim}, {span:?}, {kind:?}", isa.name());
                assert_approx(&what, &dst.values(), &expected);
            });
        }
    }
}

#[test]
fn positions_that_do_not_fit_are_refused() {
    let case = Case::random(5, 2, 3, Some(2), Kind::Table);
    for_each_isa(|isa| {
        let run = |positions: Positions<'_>| {
            let [q, k, v] = case.qkv.each_ref().map(|x| Grid::of(x, 5, 6, 0));
            let heads = Heads { dim: 3, scale: 1.0, dtype: PanelDtype::F32 };
            let mut dst = Grid::poisoned(5, 6, 0);
            let qkv = [q.view(), k.view(), v.view()];
            positional_attention(
                isa,
                qkv,
                heads,
                positions,
                &mut AttentionScratch::default(),
                dst.view_mut(),
            );
        };
        run(case.positions(0));
        assert_panics("rows", "5 queries from 1 on of 5 positions", || run(case.positions(1)));
        let with = |bias| run(Positions { bias, ..Positions::default() });
        assert_panics("slopes", "slopes and heads", || with(PositionBias::Alibi(&[1.0])));
        let table = |rows, cols| PositionBias::Table(Rows::new(&case.table, rows, cols, cols));
        with(table(2, 9));
        assert_panics("heads", "rows of the bias and heads", || with(table(1, 9)));
        assert_panics("short", "7 biases of a head for 5 positions", || with(table(2, 7)));
        assert_panics("even", "10 biases of a head for 5 positions", || with(table(2, 10)));
    });
}
