//! Attention of a layer that is computed for all tokens: its projections, and what each token gathers.

use std::ops::Range;

use crossrank_kernels::{
    AttentionScratch, Epilogue, FineRows, Heads, Isa, LhsRows, PANEL, PackedWeights, PanelDtype, Rows,
    RowsMut, StoredMatrix, attention, linear, linear_parts,
};

use super::linear::Packing;
use super::product::{EncoderLinear, Product, one};
use super::workspace::Workspace;
use crate::checkpoint::roles::Roles;
use crate::error::Result;
use crate::family::{self, Description, KEY, QKV, QUERY, VALUE, role};
use crate::schedule::fork::{fork_columns, fork_rows};

/// The heads of attention.
#[derive(Clone, Copy)]
pub(crate) struct HeadShape {
    pub(super) count: usize,
    pub(super) heads: Heads,
    /// Values in an element of queries, keys and values: two are a pair.
    pub(super) slot_values: usize,
}

impl HeadShape {
    pub(crate) fn new(attention: &family::Attention, packing: Packing) -> Self {
        let &family::Attention { heads: count, head_dim: dim, scale } = attention;
        Self {
            count,
            heads: Heads { dim, scale, dtype: packing.panels },
            slot_values: packing.slot_values(dim),
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

    /// The `[CLS]` tokens, whose rounding to bytes shows in the score as much as that of all others together.
    pub(super) fn fine_rows(self, cu_seqlens: &[usize]) -> FineRows<'_> {
        self.fine_cls(&cu_seqlens[..cu_seqlens.len() - 1])
    }

    /// These rows, where products are in bytes; elsewhere none is finer than others.
    pub(super) fn fine_cls(self, rows: &[usize]) -> FineRows<'_> {
        FineRows::new(if self.heads.dtype == PanelDtype::Int8 { rows } else { &[] })
    }

    /// Attention of the tokens `rows`, which are those of `q` and `dst`; keys and values are those of all tokens.
    pub(super) fn attend(
        self,
        isa: Isa,
        [q, k, v]: [Rows<'_>; 3],
        cu_seqlens: &[usize],
        rows: Range<usize>,
        scratch: &mut AttentionScratch,
        mut dst: RowsMut<'_>,
    ) {
        for bounds in cu_seqlens.windows(2) {
            let own = bounds[0].max(rows.start)..bounds[1].min(rows.end);
            if own.is_empty() {
                continue;
            }
            let [k, v] = [k, v].map(|all| all.row_range(bounds[0]..bounds[1]));
            let own = own.start - rows.start..own.end - rows.start;
            attention(isa, [q.row_range(own.clone()), k, v], self.heads, scratch, dst.row_range(own));
        }
    }
}

/// Query, key and value projections of layer `i`.
pub(super) fn find_qkv(
    roles: Roles<'_>,
    description: &Description,
    packing: Packing,
    i: usize,
) -> Result<[EncoderLinear; 3]> {
    let hidden = description.hidden;
    let find = |part| EncoderLinear::find(roles, packing, role(i, part), hidden, hidden);
    Ok([find(QUERY)?, find(KEY)?, find(VALUE)?])
}

/// The projections of a layer, whose outputs stand side by side: queries, keys, values.
pub(super) struct Attention {
    pub(super) qkv: PackedWeights,
}

impl Attention {
    pub(super) fn load(
        roles: Roles<'_>,
        description: &Description,
        packing: Packing,
        i: usize,
    ) -> Result<Self> {
        let Packing { isa, panels } = packing;
        let qkv = find_qkv(roles, description, packing, i)?;
        let parts = qkv.each_ref();
        let bias = parts.map(|part| &*part.bias).concat();
        let product = Product {
            role: &role(i, QKV),
            shape: [bias.len(), description.hidden],
            parts: &parts,
            biases: &[&bias],
        };
        let pack = |matrices: &[StoredMatrix<'_>]| {
            let parts: Vec<_> =
                matrices.iter().zip(parts).map(|(&matrix, part)| (matrix, &*part.bias)).collect();
            vec![PackedWeights::pack(isa, panels, &parts)]
        };
        Ok(Self { qkv: one(product.load(roles, packing, pack)?) })
    }

    /// `ws.hidden` in, `ws.qkv` out.
    pub(super) fn project_by_rows(&self, isa: Isa, shape: HeadShape, ws: &mut Workspace, workers: usize) {
        let Workspace { cu_seqlens, hidden, qkv, scratches, .. } = ws;
        let x = LhsRows { rows: hidden.view(), fine: shape.fine_rows(cu_seqlens) };
        let dst = [qkv.view_mut()];
        fork_rows(0..x.rows.rows(), dst, &mut scratches[..workers], &|rows, [qkv], scratch| {
            linear(isa, x.row_range(rows), &self.qkv, Epilogue::Bias, &mut scratch.linear, qkv);
        });
    }

    /// `ws.hidden` in, `ws.context` out. Here a worker needs the keys and values of its own heads only.
    pub(super) fn attend_by_heads(
        &self,
        isa: Isa,
        shape: HeadShape,
        panel_heads: usize,
        ws: &mut Workspace,
        workers: usize,
    ) {
        let Workspace { cu_seqlens, hidden, qkv, context, scratches, .. } = ws;
        let scratches = &mut scratches[..workers];
        let x = LhsRows { rows: hidden.view(), fine: shape.fine_rows(cu_seqlens) };
        let width = panel_heads * shape.heads.dim;
        let [all, own] = [shape.width(), width].map(|columns| columns / shape.slot_values);
        let (q, kv) = qkv.view_mut().split_columns(all);
        let (k, v) = kv.split_columns(all);
        let dst = [q, k, v, context.view_mut()];
        let widths = [own, own, own, width];
        fork_columns(shape.count / panel_heads, widths, dst, scratches, &|units, dst, scratch| {
            let columns = units.start * width..units.end * width;
            let [q, k, v, context] = dst;
            let part =
                |i| self.qkv.columns(i * shape.width() + columns.start..i * shape.width() + columns.end);
            let mut parts = [(part(0), q), (part(1), k), (part(2), v)];
            linear_parts(isa, x, &mut parts, Epilogue::Bias, &mut scratch.linear);
            let qkv = parts.each_ref().map(|(_, dst)| dst.as_rows());
            shape.attend(isa, qkv, cu_seqlens, 0..x.rows.rows(), &mut scratch.attention, context);
        });
    }
}
