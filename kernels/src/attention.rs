//! Self-attention of one sequence: of every token to every token, and of the `[CLS]` token alone.

mod cls;

pub use cls::{cls_attention, cls_attention_over_keys, positional_cls_attention};

use crate::PANEL;
use crate::isa::{Isa, Kernel};
use crate::matmul::{Lhs, MAX_TILE, TileEpilogue, multiply};
use crate::matrix::Buffer;
use crate::operand::{FloatProduct, pack_columns, pack_rows_as_columns, slot_rows, slot_stride};
use crate::pack::PanelDtype;
use crate::panels::Panels;
use crate::positions::{Positions, add_biases};
use crate::product::MulAdd;
use crate::simd::{PairKernel, Simd};
use crate::slot::Slot;
use crate::softmax::{exponentials, scale_row};
use crate::view::{RowFormat, Rows, RowsMut, Slots};

/// Scores are made for this many bytes of query rows at a time, so that they stay in a 32 KiB L1 with what they meet.
const SCORE_BYTES: usize = 16 * 1024;

/// Query rows whose scores are made together: as many tiles of `mr` rows as fit, at least one.
fn score_rows(seq_len: usize, mr: usize) -> usize {
    let row_bytes = slot_stride(seq_len) * size_of::<f32>();
    (SCORE_BYTES / row_bytes).max(mr).next_multiple_of(mr)
}

/// Memory that attention works in; grows to the longest sequence and stays.
#[derive(Clone, Debug, Default)]
pub struct AttentionScratch {
    keys: Buffer<Slot>,
    values: Buffer<Slot>,
    /// Keys or values, rounded.
    rounded: Buffer<Slot>,
    /// Queries of one block, rounded.
    queries: Buffer<Slot>,
    /// Then the slots of their exponentials, in the same place.
    scores: Buffer<f32>,
    sums: Vec<f32>,
    /// Biases of a head by distance, where they are made of a slope.
    biases: Vec<f32>,
}

impl AttentionScratch {
    /// Makes room for sequences of up to `seq_len` tokens, of either kind of attention.
    pub fn reserve(&mut self, seq_len: usize, heads: usize, head_dim: usize) {
        let padded_heads = heads.next_multiple_of(PANEL);
        let padded_len = seq_len.next_multiple_of(PANEL);
        self.keys.at_least((padded_len * head_dim).max(padded_heads * heads * head_dim));
        self.values.at_least(head_dim.next_multiple_of(PANEL).max(padded_heads) * seq_len);
        self.rounded.at_least(padded_len * slot_stride(head_dim.div_ceil(2)));
        let block = score_rows(seq_len, 1) + MAX_TILE.0;
        self.scores.at_least((block * slot_stride(seq_len)).max(heads * seq_len));
        // A shorter sequence may have more rows in a block: all that it has, or those that fit with theirs being
        // longer.
        let most = block.max(2 * MAX_TILE.0);
        self.queries.at_least(most * slot_stride(head_dim.div_ceil(2)));
        self.sums.reserve(most.max(heads).saturating_sub(self.sums.len()));
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        let Self { keys, values, rounded, queries, scores, sums, biases } = self;
        let slots: usize = [keys, values, rounded, queries].map(Buffer::bytes).into_iter().sum();
        slots + scores.bytes() + (sums.capacity() + biases.capacity()) * size_of::<f32>()
    }
}

/// What the heads of a layer have in common.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Columns of one.
    pub dim: usize,
    /// A factor of all scores, > 0.
    pub scale: f32,
    /// That of the layers around. Unless it is f32, whole or in digits, an instruction set that multiplies pairs of
    /// bfloat16 rounds queries, keys, values and the exponentials of scores to such.
    pub dtype: PanelDtype,
}

/// dst = softmax(scale q k^T) v, head by head: what each query gathers. `k` and `v` are seq_len x (number of heads *
/// dim), heads side by side; `q` and `dst` are as wide and hold all rows of the sequence or some.
///
/// Where layers are kept in [pairs](Isa::stores_pairs) of bfloat16, `q`, `k` and `v` may be rows of them: the same bits,
/// as they would be rounded.
///
/// # Panics
/// When the shapes do not fit, or columns are no multiple of `dim`.
pub fn attention(
    isa: Isa,
    qkv: [Rows<'_>; 3],
    heads: Heads,
    scratch: &mut AttentionScratch,
    dst: RowsMut<'_>,
) {
    positional_attention(isa, qkv, heads, Positions::default(), scratch, dst);
}

/// [`attention`] whose scores depend on positions, too: keys beyond a span are not seen, and cost nothing where no
/// query of a block sees them; a bias is added to scaled scores. What is not seen has a weight of 0, or of 2^-125 where
/// exponentials are rounded to bfloat16; its value counts where it is NaN or infinite, if it is near what is seen.
///
/// A row has the same bits whatever rows of the sequence are beside it.
///
/// # Panics
/// As [`attention`], or when `positions` are not of so many heads and rows.
pub fn positional_attention(
    isa: Isa,
    qkv: [Rows<'_>; 3],
    heads: Heads,
    positions: Positions<'_>,
    scratch: &mut AttentionScratch,
    dst: RowsMut<'_>,
) {
    struct Attention<'a> {
        qkv: [Rows<'a>; 3],
        heads: Heads,
        positions: Positions<'a>,
        scratch: &'a mut AttentionScratch,
        dst: RowsMut<'a>,
    }
    impl Kernel for Attention<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            if self.heads.dtype.precision() == PanelDtype::F32 {
                return self.all(simd, MulAdd);
            }
            if let Err(back) = simd.with_pairs(self) {
                back.all(simd, MulAdd);
            }
        }
    }
    impl<S: Simd> PairKernel<S> for Attention<'_> {
        type Output = ();
        #[inline(always)]
        fn run<P: FloatProduct<S>>(self, simd: S, product: P) {
            self.all(simd, product);
        }
    }
    impl Attention<'_> {
        #[inline(always)]
        fn all<S: Simd, P: FloatProduct<S>>(self, simd: S, product: P) {
            let Self { qkv: [q, k, v], heads, positions, scratch, mut dst } = self;
            let (cols, dim) = (dst.cols(), heads.dim);
            assert!(dim > 0 && cols.is_multiple_of(dim), "{cols} columns of heads of {dim}");
            let whole = dim.is_multiple_of(q.format().slot_values());
            assert!(whole, "pairs of heads of {dim}");
            assert_eq!(dst.format(), RowFormat::F32, "what attention writes");
            assert_eq!(
                [k, v].map(|rows| rows.format()),
                [q.format(); 2],
                "formats of queries, keys and values"
            );
            assert_eq!((q.rows(), q.cols()), (dst.rows(), cols), "queries and dst");
            assert_eq!([k, v].map(|rows| rows.cols()), [cols; 2], "columns of keys, values and dst");
            assert_eq!(k.rows(), v.rows(), "keys and values");
            if !positions.decide_nothing() {
                positions.check(cols / dim, q.rows(), k.rows());
            }
            for first in (0..cols).step_by(dim) {
                let qkv = [q, k, v].map(|rows| rows.column_range(first..first + dim));
                let dst = dst.column_range(first..first + dim);
                if positions.decide_nothing() {
                    one_head(simd, product, qkv, heads, scratch, dst);
                } else {
                    positional_head(simd, product, qkv, heads, (positions, first / dim), scratch, dst);
                }
            }
        }
    }
    isa.run(Attention { qkv, heads, positions, scratch, dst });
}

/// dst = lhs * rhs
#[inline(always)]
fn plain<'a, S: Simd, P: FloatProduct<S>>(
    simd: S,
    product: P,
    lhs: impl Into<Lhs<'a>>,
    rhs: Panels<'_>,
    dst: RowsMut<'_>,
) {
    multiply(simd, product, lhs, rhs, TileEpilogue::default(), dst);
}

#[inline(always)]
fn one_head<S: Simd, P: FloatProduct<S>>(
    simd: S,
    product: P,
    [q, k, v]: [Rows<'_>; 3],
    Heads { dim, scale, .. }: Heads,
    scratch: &mut AttentionScratch,
    mut dst: RowsMut<'_>,
) {
    let seq_len = k.rows();
    let (key_slots, value_slots) = (dim.div_ceil(P::SLOT_VALUES), seq_len.div_ceil(P::SLOT_VALUES));
    let padded_len = seq_len.next_multiple_of(PANEL);
    let score_stride = slot_stride(seq_len);
    let keys = scratch.keys.at_least(padded_len * key_slots);
    pack_rows_as_columns(simd, slot_rows(simd, product, k, 1, &mut scratch.rounded), keys);
    let values = scratch.values.at_least(dim.next_multiple_of(PANEL) * value_slots);
    pack_columns(simd, product, slot_rows(simd, product, v, 1, &mut scratch.rounded), values);

    let block = score_rows(seq_len, P::MR);
    let scores = scratch.scores.at_least(block * score_stride);
    for start in (0..q.rows()).step_by(block) {
        let rows = start..q.rows().min(start + block);
        // Whole panels are stored faster than parts of one; what is beyond the sequence is not looked at.
        let mut view = RowsMut::new(scores, rows.len(), score_stride, score_stride);
        let panels = Panels::packed(keys, key_slots, padded_len);
        let queries = q.row_range(rows.clone());
        let queries = slot_rows(simd, product, queries, P::LHS_UNIT, &mut scratch.queries);
        plain(simd, product, queries, panels, view.column_range(0..padded_len));
        if scratch.sums.len() < rows.len() {
            scratch.sums.resize(rows.len(), 0.0);
        }
        let sums = &mut scratch.sums[..rows.len()];
        exponentials(simd, product, scale, seq_len, view, sums);
        let panels = Panels::packed(values, value_slots, dim);
        let weights = Slots::new(Slot::of_floats(scores), rows.len(), value_slots, score_stride);
        let mut dst = dst.row_range(rows);
        plain(simd, product, weights, panels, dst.reborrow());
        for (i, sum) in sums.iter().enumerate() {
            scale_row(simd, 1.0 / sum, dst.row_mut(i));
        }
    }
}

/// Queries of a block whose scores fit as [`score_rows`] says, with the window of keys that they see.
fn window_rows(positions: &Positions<'_>, seq_len: usize, mr: usize) -> usize {
    let fits = |rows: &usize| {
        let stride = slot_stride(positions.widest_window(*rows, seq_len));
        *rows <= mr || rows * stride * size_of::<f32>() <= SCORE_BYTES
    };
    (1..).map(|tiles| tiles * mr).take_while(fits).last().unwrap_or(mr)
}

/// Blocks begin at multiples of their size within the sequence, so that the window of a row, and with it the order of
/// its sums, does not depend on the rows beside it.
#[inline(always)]
fn positional_head<S: Simd, P: FloatProduct<S>>(
    simd: S,
    product: P,
    [q, k, v]: [Rows<'_>; 3],
    Heads { dim, scale, .. }: Heads,
    (positions, head): (Positions<'_>, usize),
    scratch: &mut AttentionScratch,
    mut dst: RowsMut<'_>,
) {
    let seq_len = k.rows();
    let (key_slots, value_slots) = (dim.div_ceil(P::SLOT_VALUES), seq_len.div_ceil(P::SLOT_VALUES));
    let padded_len = seq_len.next_multiple_of(PANEL);
    let keys = scratch.keys.at_least(padded_len * key_slots);
    pack_rows_as_columns(simd, slot_rows(simd, product, k, 1, &mut scratch.rounded), keys);
    let values = scratch.values.at_least(dim.next_multiple_of(PANEL) * value_slots);
    pack_columns(simd, product, slot_rows(simd, product, v, 1, &mut scratch.rounded), values);
    let biases = positions.biases_of_head(head, seq_len, &mut scratch.biases);

    let block = window_rows(&positions, seq_len, P::MR);
    let end = positions.first_query + q.rows();
    let mut start = positions.first_query;
    while start < end {
        let whole = start / block * block..(start / block + 1) * block;
        let window = positions.window(whole.start..whole.end.min(seq_len), seq_len);
        let queries = start..end.min(whole.end);
        start = queries.end;
        let own = queries.start - positions.first_query..queries.end - positions.first_query;

        let score_stride = slot_stride(window.len());
        // Tiles read whole units of rows; what is in those that are none meets no row of dst.
        let scores = scratch.scores.at_least(own.len().next_multiple_of(P::LHS_UNIT) * score_stride);
        let mut view = RowsMut::new(scores, own.len(), score_stride, score_stride);
        let panels = &keys[window.start * key_slots..window.end.next_multiple_of(PANEL) * key_slots];
        let panels = Panels::packed(panels, key_slots, window.len().next_multiple_of(PANEL));
        let rows = slot_rows(simd, product, q.row_range(own.clone()), P::LHS_UNIT, &mut scratch.queries);
        plain(simd, product, rows, panels, view.column_range(0..panels.n));
        for (i, query) in queries.enumerate() {
            let row = &mut view.row_mut(i)[..window.len()];
            if let Some((biases, middle)) = biases {
                add_biases(simd, scale, &biases[middle + window.start - query..][..window.len()], row);
            }
            let seen = positions.seen(query, seq_len);
            row[..seen.start - window.start].fill(f32::NEG_INFINITY);
            row[seen.end - window.start..].fill(f32::NEG_INFINITY);
        }
        if scratch.sums.len() < own.len() {
            scratch.sums.resize(own.len(), 0.0);
        }
        let sums = &mut scratch.sums[..own.len()];
        let scale = if biases.is_some() { 1.0 } else { scale };
        exponentials(simd, product, scale, window.len(), view, sums);
        let slots = window.start / P::SLOT_VALUES..window.end.div_ceil(P::SLOT_VALUES);
        let weights = Slots::new(Slot::of_floats(scores), own.len(), slots.len(), score_stride);
        let panels = Panels::packed(values, value_slots, dim).depth_range(slots);
        let mut dst = dst.row_range(own);
        plain(simd, product, weights, panels, dst.reborrow());
        for (i, sum) in sums.iter().enumerate() {
            scale_row(simd, 1.0 / sum, dst.row_mut(i));
        }
    }
}
