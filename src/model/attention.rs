//! Attention of a layer that is computed for all tokens: its projections, and what each token gathers.

use std::ops::Range;

use crossrank_kernels::{
    AttentionScratch, Epilogue, FineRows, Heads, Isa, LayerNorm, LhsRows, Matrix, PANEL, PackedWeights,
    PanelDtype, Positions, RowFormat, Rows, RowsMut, linear, linear_parts, positional_attention,
};

use super::linear::Packing;
use super::loading::Loading;
use super::product::{EncoderLinear, stacked};
use super::relative::RelativePositions;
use super::workspace::{Scratch, Workspace};
use crate::error::Result;
use crate::family::description::{self, Order, Pooling, Relative};
use crate::family::roles::{ATTENTION_NORM, KEY, QKV, QUERY, VALUE, role};
use crate::workers::fork::{fork_columns, fork_rows};

/// The heads of attention.
#[derive(Clone, Copy)]
pub(crate) struct HeadShape<'a> {
    pub(super) count: usize,
    pub(super) heads: Heads,
    /// Whether the rows of first tokens are kept in two bytes where products are in bytes: their rounding shows in the
    /// score as much as that of all others together, if it is they that are pooled.
    fine: bool,
    pub(super) span: Option<usize>,
    pub(super) relative: &'a RelativePositions,
}

impl<'a> HeadShape<'a> {
    pub(crate) fn new(
        attention: &description::Attention,
        pooling: Pooling,
        packing: Packing,
        relative: &'a RelativePositions,
    ) -> Self {
        let &description::Attention { heads: count, head_dim: dim, scale, span, .. } = attention;
        Self {
            count,
            heads: Heads { dim, scale, dtype: packing.panels },
            fine: packing.panels == PanelDtype::Int8 && pooling == Pooling::First,
            span,
            relative,
        }
    }

    /// Columns of all heads.
    pub(super) fn width(self) -> usize {
        self.count * self.heads.dim
    }

    /// The fewest heads whose columns are whole panels, if all heads can be cut so.
    pub(super) fn panel_heads(self) -> Option<usize> {
        let whole = |heads: &usize| (heads * self.heads.dim).is_multiple_of(PANEL);
        (1..=self.count).find(whole).filter(|&heads| self.count.is_multiple_of(heads))
    }

    /// The first tokens, where they are kept finer than others.
    pub(super) fn fine_rows(self, cu_seqlens: &[usize]) -> FineRows<'_> {
        self.fine_cls(&cu_seqlens[..cu_seqlens.len() - 1])
    }

    /// These rows, where those of first tokens are kept finer than others.
    pub(super) fn fine_cls(self, rows: &[usize]) -> FineRows<'_> {
        FineRows::new(if self.fine { rows } else { &[] })
    }

    /// What scores of some heads depend on beside queries and keys, for queries from `first_query` of a sequence on.
    pub(super) fn positions(self, heads: Range<usize>, first_query: usize) -> Positions<'a> {
        Positions { first_query, span: self.span, bias: self.relative.bias(heads) }
    }

    /// Turns queries or keys, whose rows are the tokens from `first_row` on.
    pub(super) fn rotate(self, isa: Isa, cu_seqlens: &[usize], first_row: usize, mut rows: RowsMut<'_>) {
        if !self.relative.rotates() {
            return;
        }
        let all = first_row..first_row + rows.rows();
        for bounds in cu_seqlens.windows(2) {
            let own = bounds[0].max(all.start)..bounds[1].min(all.end);
            if !own.is_empty() {
                let first = own.start - bounds[0];
                let rows = rows.row_range(own.start - first_row..own.end - first_row);
                self.relative.rotate(isa, first, bounds[1] - bounds[0], rows);
            }
        }
    }

    /// Attention of the tokens `rows`, which are those of `q` and `dst`; keys and values are those of all tokens. All
    /// have the columns of the heads from `first_head` on.
    #[allow(clippy::too_many_arguments)] // What the formula names, and which part of it.
    pub(super) fn attend(
        self,
        isa: Isa,
        [q, k, v]: [Rows<'_>; 3],
        cu_seqlens: &[usize],
        rows: Range<usize>,
        first_head: usize,
        scratch: &mut AttentionScratch,
        mut dst: RowsMut<'_>,
    ) {
        let heads = first_head..first_head + dst.cols() / self.heads.dim;
        for bounds in cu_seqlens.windows(2) {
            let own = bounds[0].max(rows.start)..bounds[1].min(rows.end);
            if own.is_empty() {
                continue;
            }
            let [k, v] = [k, v].map(|all| all.row_range(bounds[0]..bounds[1]));
            let positions = self.positions(heads.clone(), own.start - bounds[0]);
            let own = own.start - rows.start..own.end - rows.start;
            let qkv = [q.row_range(own.clone()), k, v];
            positional_attention(isa, qkv, self.heads, positions, scratch, dst.row_range(own));
        }
    }
}

/// What rows of queries, keys and values hold, in all layers alike. What is to be turned must not have been rounded.
pub(super) fn qkv_format<'a>(
    mut layers: impl Iterator<Item = &'a description::Attention>,
    packing: Packing,
) -> RowFormat {
    let rounds = |attention: &description::Attention| {
        !matches!(attention.positions, Relative::Rotary(_))
            && packing.between(attention.head_dim) == RowFormat::Bf16Pairs
    };
    if layers.all(rounds) { RowFormat::Bf16Pairs } else { RowFormat::F32 }
}

/// Query, key and value projections of the layer whose weights layer `i` has.
pub(super) fn find_qkv(loading: Loading<'_>, i: usize) -> Result<[EncoderLinear; 3]> {
    let hidden = loading.description.hidden;
    let layer = loading.layer(i);
    let find = |part| loading.linear(layer.weights, part, [hidden; 2], layer.attention.bias);
    Ok([find(QUERY)?, find(KEY)?, find(VALUE)?])
}

/// The projections of a layer, whose outputs stand side by side: queries, keys, values.
pub(super) struct Attention {
    /// What normalises the states that it reads, where norms come first.
    pub(super) norm: Option<LayerNorm>,
    pub(super) qkv: PackedWeights,
}

/// The norm of what attention reads, where norms come first.
pub(super) fn find_norm(loading: Loading<'_>, i: usize) -> Result<Option<LayerNorm>> {
    let layer = loading.layer(i);
    let norm = layer.attention_norm.filter(|_| layer.order == Order::NormFirst);
    let hidden = loading.description.hidden;
    norm.map(|norm| loading.norm(&role(layer.weights, ATTENTION_NORM), hidden, norm)).transpose()
}

/// `ws.normed` = norm(`ws.hidden`), and which of the two attention is to read.
pub(super) fn normalise<'w>(
    isa: Isa,
    norm: Option<&LayerNorm>,
    hidden: &'w Matrix,
    normed: &'w mut Matrix,
    scratches: &mut [Scratch],
) -> Rows<'w> {
    let Some(norm) = norm else { return hidden.view() };
    let rows = hidden.view();
    fork_rows(0..rows.rows(), [normed.view_mut()], scratches, &|own, [dst], _| {
        norm.apply_to(isa, rows.row_range(own), dst);
    });
    normed.view()
}

impl Attention {
    pub(super) fn load(loading: Loading<'_>, i: usize) -> Result<Self> {
        let qkv = find_qkv(loading, i)?;
        let norm = find_norm(loading, i)?;
        Ok(Self { norm, qkv: stacked(loading, (i, QKV), loading.description.hidden, &qkv.each_ref())? })
    }

    /// What attention reads in, `ws.qkv` out.
    pub(super) fn project_by_rows(
        &self,
        isa: Isa,
        shape: HeadShape<'_>,
        ws: &mut Workspace,
        scratches: &mut [Scratch],
    ) {
        let Workspace { cu_seqlens, hidden, normed, qkv, .. } = ws;
        let rows = normalise(isa, self.norm.as_ref(), hidden, normed, scratches);
        let x = LhsRows { rows, fine: shape.fine_rows(cu_seqlens) };
        let turned = 2 * shape.width();
        fork_rows(0..x.rows.rows(), [qkv.view_mut()], scratches, &|rows, [mut qkv], scratch| {
            let own = x.row_range(rows.clone());
            linear(isa, own, &self.qkv, Epilogue::Bias, &mut scratch.linear, qkv.reborrow());
            shape.rotate(isa, cu_seqlens, rows.start, qkv.column_range(0..turned));
        });
    }

    /// What attention reads in, `ws.context` out. Here a worker needs the keys and values of its own heads only.
    pub(super) fn attend_by_heads(
        &self,
        isa: Isa,
        shape: HeadShape<'_>,
        panel_heads: usize,
        ws: &mut Workspace,
        scratches: &mut [Scratch],
    ) {
        let Workspace { cu_seqlens, hidden, normed, qkv, context, .. } = ws;
        let rows = normalise(isa, self.norm.as_ref(), hidden, normed, scratches);
        let x = LhsRows { rows, fine: shape.fine_rows(cu_seqlens) };
        let width = panel_heads * shape.heads.dim;
        let (q, kv) = qkv.view_mut().split_columns(shape.width());
        let (k, v) = kv.split_columns(shape.width());
        let dst = [q, k, v, context.view_mut()];
        fork_columns(shape.count / panel_heads, [width; 4], dst, scratches, &|units, dst, scratch| {
            let columns = units.start * width..units.end * width;
            let [q, k, v, context] = dst;
            let part =
                |i| self.qkv.columns(i * shape.width() + columns.start..i * shape.width() + columns.end);
            let mut parts = [(part(0), q), (part(1), k), (part(2), v)];
            linear_parts(isa, x, &mut parts, Epilogue::Bias, &mut scratch.linear);
            let [(_, mut q), (_, mut k), (_, v)] = parts;
            for rows in [&mut q, &mut k] {
                shape.rotate(isa, cu_seqlens, 0, rows.reborrow());
            }
            let qkv = [q.as_rows(), k.as_rows(), v.as_rows()];
            let (rows, first_head) = (0..x.rows.rows(), units.start * panel_heads);
            shape.attend(isa, qkv, cu_seqlens, rows, first_head, &mut scratch.attention, context);
        });
    }
}
