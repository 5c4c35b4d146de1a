//! Attention of the first token alone, `[CLS]`.

use super::{AttentionScratch, plain};
use crate::PANEL;
use crate::isa::{Isa, Kernel};
use crate::operand::{pack_columns, pack_rows_as_columns};
use crate::panels::Panels;
use crate::positions::{Positions, add_biases};
use crate::product::MulAdd;
use crate::simd::Simd;
use crate::slot::Slot;
use crate::softmax::{exponentials, scale_row};
use crate::view::{Rows, RowsMut};

/// For each head h, dst_h = sum_j softmax_j(scale queries_h . x_j) x_j: attention of one row in which the key
/// projection has been moved into the query and the value projection is left for later.
///
/// `queries` and `dst` are heads x hidden, `x` is seq_len x hidden. With queries_h = W_k,h^T q_h the scores are those
/// of the keys, up to a number that is the same for all positions (the key bias), which the softmax does not see; and
/// since its weights sum to one, W_v,h dst_h + b_v,h is the context. Keys and values of all tokens are never formed.
///
/// # Panics
/// When the shapes do not fit.
pub fn cls_attention(
    isa: Isa,
    queries: Rows<'_>,
    x: Rows<'_>,
    scale: f32,
    scratch: &mut AttentionScratch,
    dst: RowsMut<'_>,
) {
    positional_cls_attention(isa, queries, x, scale, Positions::default(), scratch, dst);
}

/// [`cls_attention`] whose scores depend on positions, too: those of the first token, position 0, to all others.
///
/// # Panics
/// As [`cls_attention`], or when `positions` are not of so many heads and tokens, or begin elsewhere than at 0.
pub fn positional_cls_attention(
    isa: Isa,
    queries: Rows<'_>,
    x: Rows<'_>,
    scale: f32,
    positions: Positions<'_>,
    scratch: &mut AttentionScratch,
    dst: RowsMut<'_>,
) {
    struct ClsAttention<'a>(Rows<'a>, Rows<'a>, f32, Positions<'a>, &'a mut AttentionScratch, RowsMut<'a>);
    impl Kernel for ClsAttention<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Self(queries, x, scale, positions, scratch, dst) = self;
            let x = seen_by_cls(&positions, queries.rows(), x);
            let (heads, hidden, seq_len) = (queries.rows(), queries.cols(), x.rows());
            assert_eq!(x.cols(), hidden, "columns of queries and x");
            assert_eq!((dst.rows(), dst.cols()), (heads, hidden), "queries and dst");

            // One panel holds the queries of 16 heads, so that every token is read once for all of them.
            let padded_heads = heads.next_multiple_of(PANEL);
            let packed = scratch.keys.at_least(padded_heads * hidden);
            pack_rows_as_columns(simd, queries.float_slots(), packed);
            let by_token = Slot::floats_mut(scratch.values.at_least(seq_len * padded_heads));
            let mut by_token = RowsMut::new(by_token, seq_len, heads, padded_heads);
            plain(simd, MulAdd, x, Panels::packed(packed, hidden, heads), by_token.reborrow());

            let scores = scratch.scores.at_least(heads * seq_len);
            for (j, row) in (0..seq_len).map(|j| (j, by_token.as_rows().row(j))) {
                for (h, &score) in row.iter().enumerate() {
                    scores[h * seq_len + j] = score;
                }
            }
            gather(simd, x, scale, positions, scratch, dst);
        }
    }
    isa.run(ClsAttention(queries, x, scale, positions, scratch, dst));
}

/// For each head h, dst_h = sum_j softmax_j(scale q_h . k_j,h) x_j: attention of the first token in which only the
/// value projection is left for later, for queries and keys that depend on positions by rotation, so that no key
/// projection can be moved into the query.
///
/// `query` is one row of all heads side by side, `keys` are as wide, of all tokens; `x` is seq_len x hidden, `dst`
/// heads x hidden. The context is as [`cls_attention`] says.
///
/// # Panics
/// When the shapes do not fit, or as [`positional_cls_attention`].
#[allow(clippy::too_many_arguments)] // All of them are what the formula names.
pub fn cls_attention_over_keys(
    isa: Isa,
    query: &[f32],
    keys: Rows<'_>,
    x: Rows<'_>,
    scale: f32,
    positions: Positions<'_>,
    scratch: &mut AttentionScratch,
    dst: RowsMut<'_>,
) {
    struct OverKeys<'a> {
        query: &'a [f32],
        keys: Rows<'a>,
        x: Rows<'a>,
        scale: f32,
        positions: Positions<'a>,
        scratch: &'a mut AttentionScratch,
        dst: RowsMut<'a>,
    }
    impl Kernel for OverKeys<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Self { query, keys, x, scale, positions, scratch, dst } = self;
            let heads = dst.rows();
            assert!(heads > 0 && query.len().is_multiple_of(heads), "a query of {heads} heads");
            assert_eq!((keys.rows(), keys.cols()), (x.rows(), query.len()), "keys, x and query");
            assert_eq!(x.cols(), dst.cols(), "columns of x and dst");
            let x = seen_by_cls(&positions, heads, x);
            let (dim, seq_len) = (query.len() / heads, x.rows());
            let scores = scratch.scores.at_least(heads * seq_len);
            for j in 0..seq_len {
                let key = keys.row(j);
                for h in 0..heads {
                    let own = h * dim..(h + 1) * dim;
                    scores[h * seq_len + j] = dot(simd, &query[own.clone()], &key[own]);
                }
            }
            gather(simd, x, scale, positions, scratch, dst);
        }
    }
    isa.run(OverKeys { query, keys, x, scale, positions, scratch, dst });
}

/// The inner product of vectors of one length.
#[inline(always)]
fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let mut sum = simd.splat(0.0);
    for (a, b) in a.chunks(S::LANES).zip(b.chunks(S::LANES)) {
        sum = simd.mul_add(simd.load_some(a, 0.0), simd.load_some(b, 0.0), sum);
    }
    simd.sum(sum)
}

/// The tokens that the first one sees.
#[inline(always)]
fn seen_by_cls<'a>(positions: &Positions<'_>, heads: usize, x: Rows<'a>) -> Rows<'a> {
    if positions.decide_nothing() {
        return x;
    }
    assert_eq!(positions.first_query, 0, "the position of the first token");
    positions.check(heads, x.rows().min(1), x.rows());
    x.row_range(positions.seen(0, x.rows()))
}

/// The rows of `x`, weighted by the softmax of the scores of each head, heads x seq_len in `scratch`.
#[inline(always)]
fn gather<S: Simd>(
    simd: S,
    x: Rows<'_>,
    mut scale: f32,
    positions: Positions<'_>,
    scratch: &mut AttentionScratch,
    mut dst: RowsMut<'_>,
) {
    let (heads, hidden, seq_len) = (dst.rows(), dst.cols(), x.rows());
    let scores = scratch.scores.at_least(heads * seq_len);
    if !positions.decide_nothing() {
        let mut factor = scale;
        for (h, row) in scores.chunks_exact_mut(seq_len.max(1)).enumerate() {
            if let Some((biases, middle)) = positions.biases_of_head(h, seq_len, &mut scratch.biases) {
                add_biases(simd, scale, &biases[middle..][..seq_len], row);
                factor = 1.0;
            }
        }
        scale = factor;
    }
    scratch.sums.clear();
    scratch.sums.resize(heads, 0.0);
    let rows = RowsMut::new(scores, heads, seq_len, seq_len);
    exponentials(simd, MulAdd, scale, seq_len, rows, &mut scratch.sums);

    let weights = Rows::new(scores, heads, seq_len, seq_len);
    let whole = hidden - hidden % PANEL;
    let panels = Panels::in_place(x.column_range(0..whole));
    plain(simd, MulAdd, weights, panels, dst.column_range(0..whole));
    if whole < hidden {
        let packed = scratch.values.at_least(seq_len * PANEL);
        pack_columns(simd, MulAdd, x.column_range(whole..hidden).float_slots(), packed);
        let panels = Panels::packed(packed, seq_len, hidden - whole);
        plain(simd, MulAdd, weights, panels, dst.column_range(whole..hidden));
    }
    for (h, sum) in scratch.sums.iter().enumerate() {
        scale_row(simd, 1.0 / sum, dst.row_mut(h));
    }
}
