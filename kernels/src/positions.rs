//! What scores of attention depend on beside queries and keys: how far apart the two are.

use std::ops::Range;

use crate::simd::Simd;
use crate::view::Rows;

/// Windows of keys begin with a multiple of this, and end with one or with the sequence: whole panels, and whole
/// vectors of pairs.
const WINDOW_UNIT: usize = 32;

/// Where rows of queries are within their sequence, and what follows from how far they are from keys.
///
/// The default says nothing: every query sees every key, and only their product decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct Positions<'a> {
    /// The position of the first row of the queries within the sequence; keys and values begin with the sequence.
    pub first_query: usize,
    /// A query sees the keys that are no further away than this, or all.
    pub span: Option<usize>,
    /// What is added to scores after they are scaled.
    pub bias: PositionBias<'a>,
}

/// What is added to the score of query i and key j of a head, by j - i.
#[derive(Clone, Copy, Debug, Default)]
pub enum PositionBias<'a> {
    /// Nothing.
    #[default]
    None,
    /// A row of 2 n - 1 values for each head, n at least the length of the sequence: that of j - i is at
    /// j - i + n - 1.
    Table(Rows<'a>),
    /// -slope |i - j|, a slope for each head (ALiBi).
    Alibi(&'a [f32]),
}

impl Positions<'_> {
    /// Whether scores depend on products alone.
    pub(crate) fn decide_nothing(&self) -> bool {
        self.span.is_none() && matches!(self.bias, PositionBias::None)
    }

    /// Refuses what does not fit so many heads and rows.
    pub(crate) fn check(&self, heads: usize, queries: usize, seq_len: usize) {
        let end = self.first_query.checked_add(queries);
        assert!(
            end.is_some_and(|end| end <= seq_len),
            "{queries} queries from {} on of {seq_len} positions",
            self.first_query
        );
        match self.bias {
            PositionBias::None => {}
            PositionBias::Table(table) => {
                assert_eq!(table.rows(), heads, "rows of the bias and heads");
                assert!(
                    table.cols() % 2 == 1 && table.cols().div_ceil(2) >= seq_len,
                    "{} biases of a head for {seq_len} positions",
                    table.cols()
                );
            }
            PositionBias::Alibi(slopes) => assert_eq!(slopes.len(), heads, "slopes and heads"),
        }
    }

    /// The keys that any of so many queries sees, rounded outwards to units.
    pub(crate) fn window(&self, queries: Range<usize>, seq_len: usize) -> Range<usize> {
        let Some(span) = self.span else { return 0..seq_len };
        let start = queries.start.saturating_sub(span) / WINDOW_UNIT * WINDOW_UNIT;
        let end = queries.end.saturating_add(span).min(seq_len);
        start..end.next_multiple_of(WINDOW_UNIT).min(seq_len)
    }

    /// The widest window of so many queries.
    pub(crate) fn widest_window(&self, queries: usize, seq_len: usize) -> usize {
        let Some(span) = self.span else { return seq_len };
        span.saturating_mul(2).saturating_add(queries + 2 * WINDOW_UNIT).min(seq_len)
    }

    /// The keys that query `i` sees.
    pub(crate) fn seen(&self, i: usize, seq_len: usize) -> Range<usize> {
        let Some(span) = self.span else { return 0..seq_len };
        i.saturating_sub(span)..i.saturating_add(span).saturating_add(1).min(seq_len)
    }

    /// The biases of a head, and the place of that of distance 0; slopes become a table in `room`.
    pub(crate) fn biases_of_head<'b>(
        &'b self,
        head: usize,
        seq_len: usize,
        room: &'b mut Vec<f32>,
    ) -> Option<(&'b [f32], usize)> {
        match self.bias {
            PositionBias::None => None,
            PositionBias::Table(table) => Some((table.row(head), table.cols() / 2)),
            PositionBias::Alibi(slopes) => {
                let (slope, middle) = (slopes[head], seq_len.saturating_sub(1));
                room.clear();
                room.extend((0..=2 * middle).map(|at| -slope * at.abs_diff(middle) as f32));
                Some((&room[..], middle))
            }
        }
    }
}

/// row = scale row + biases
#[inline(always)]
pub(crate) fn add_biases<S: Simd>(simd: S, scale: f32, biases: &[f32], row: &mut [f32]) {
    assert_eq!(biases.len(), row.len(), "biases and scores");
    let scale = simd.splat(scale);
    for (row, biases) in row.chunks_mut(S::LANES).zip(biases.chunks(S::LANES)) {
        let scores = simd.load_some(row, 0.0);
        simd.store_some(simd.mul_add(scores, scale, simd.load_some(biases, 0.0)), row);
    }
}
