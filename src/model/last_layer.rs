//! The last layer, of which only the first token's row is wanted: see [`cls_attention`] for the algebra.

use std::slice::from_ref;

use crossrank_kernels::{
    Epilogue, Heads, Isa, LhsRows, PackedWeights, Rows, RowsMut, StoredMatrix, cls_attention, linear,
};

use super::attention::{HeadShape, find_qkv};
use super::feed_forward::FeedForward;
use super::linear::Packing;
use super::product::Product;
use super::workspace::Workspace;
use crate::checkpoint::roles::Roles;
use crate::error::{Error, Result};
use crate::family::{self, Description, KEY, KEY_FOLD, QUERY, VALUE_HEADS, role};
use crate::schedule::fork::fork_columns;

/// The last layer, collapsed to the first token.
pub(crate) struct LastLayer {
    pub(super) query: PackedWeights,
    /// For each head, W_k,h as a right-hand side: it turns a query of head_dim into one of hidden.
    fold: Vec<PackedWeights>,
    /// For each head, W_v,h and b_v,h.
    values: Vec<PackedWeights>,
    pub(super) feed_forward: FeedForward,
}

impl LastLayer {
    pub(crate) fn load(
        roles: Roles<'_>,
        description: &Description,
        packing: Packing,
        i: usize,
    ) -> Result<Self> {
        let Packing { isa, panels } = packing;
        let transposed = packing.transposed();
        let [query, key, value] = find_qkv(roles, description, packing, i)?;
        let family::Attention { heads, head_dim, .. } = description.layers[i].attention;
        let hidden = description.hidden;
        let rows = |h: usize| h * head_dim..(h + 1) * head_dim;
        // The softmax does not see it, so a NaN in it would be lost where every other one reaches the logit.
        if let Some(value) = key.bias.iter().find(|value| !value.is_finite()) {
            return Err(Error::Tensor {
                file: roles.weights.name().to_owned(),
                tensor: format!("{}.bias", roles.names.module(&role(i, KEY))),
                expected: "finite values".into(),
                found: value.to_string(),
            });
        }
        let fold = Product {
            role: &role(i, KEY_FOLD),
            shape: [hidden, head_dim],
            parts: &[&key],
            biases: &vec![&[][..]; heads],
        };
        let pack_fold = |matrices: &[StoredMatrix<'_>]| {
            (0..heads)
                .map(|h| PackedWeights::pack_transposed(isa, transposed.panels, matrices[0], rows(h)))
                .collect()
        };
        let biases: Vec<&[f32]> = (0..heads).map(|h| &value.bias[rows(h)]).collect();
        let values = Product {
            role: &role(i, VALUE_HEADS),
            shape: [head_dim, hidden],
            parts: &[&value],
            biases: &biases,
        };
        let pack_values = |matrices: &[StoredMatrix<'_>]| {
            let head = |h| (matrices[0].row_range(rows(h)), biases[h]);
            (0..heads).map(|h| PackedWeights::pack(isa, panels, &[head(h)])).collect()
        };
        Ok(Self {
            query: query.load(roles, packing, hidden)?,
            fold: fold.load(roles, transposed, pack_fold)?,
            values: values.load(roles, packing, pack_values)?,
            feed_forward: FeedForward::load(roles, description, packing, i)?,
        })
    }

    /// `ws.hidden` in, `ws.cls.hidden` out, a row a sequence. There are few rows: workers share the heads and the
    /// columns.
    pub(crate) fn forward(&self, isa: Isa, shape: HeadShape, ws: &mut Workspace, workers: usize) {
        let HeadShape { count: heads, heads: Heads { dim: head_dim, scale, .. }, .. } = shape;
        let hidden = shape.width();
        let sequences = ws.cu_seqlens.len() - 1;
        let (cls, scratches) = (&mut ws.cls, &mut ws.scratches[..workers]);
        cls.set_sequences(sequences);
        let x = ws.hidden.view();
        copy_cls_rows(x, &ws.cu_seqlens, cls.hidden.view_mut());
        let fine = shape.fine_cls(&cls.numbers[..sequences]);
        let cls_rows = LhsRows { rows: cls.hidden.view(), fine };
        let panel_heads = shape.panel_heads().unwrap_or(heads);
        let [narrow, wide] = [head_dim, hidden].map(|width| panel_heads * width);
        let dst = [&mut cls.query, &mut cls.folded, &mut cls.gathered, &mut cls.context];
        let dst = dst.map(|matrix| matrix.view_mut());
        fork_columns(
            heads / panel_heads,
            [narrow, wide, wide, narrow],
            dst,
            scratches,
            &|units, dst, scratch| {
                let [mut query, mut folded, mut gathered, mut context] = dst;
                let own = units.start * panel_heads..units.end * panel_heads;
                let weights = self.query.columns(own.start * head_dim..own.end * head_dim);
                linear(isa, cls_rows, weights, Epilogue::Bias, &mut scratch.linear, query.reborrow());
                for (h, fold) in self.fold[own.clone()].iter().enumerate() {
                    let query = query.as_rows().column_range(h * head_dim..(h + 1) * head_dim);
                    let dst = folded.column_range(h * hidden..(h + 1) * hidden);
                    linear(isa, query, fold, Epilogue::Bias, &mut scratch.linear, dst);
                }
                for (s, bounds) in ws.cu_seqlens.windows(2).enumerate() {
                    // A row of heads * hidden is a matrix of heads x hidden.
                    let queries = Rows::new(folded.as_rows().row(s), own.len(), hidden, hidden);
                    let dst = RowsMut::new(gathered.row_mut(s), own.len(), hidden, hidden);
                    let x = x.row_range(bounds[0]..bounds[1]);
                    cls_attention(isa, queries, x, scale, &mut scratch.attention, dst);
                }
                for (h, value) in self.values[own.clone()].iter().enumerate() {
                    let gathered = gathered.as_rows().column_range(h * hidden..(h + 1) * hidden);
                    let gathered = LhsRows { rows: gathered, fine };
                    let dst = context.column_range(h * head_dim..(h + 1) * head_dim);
                    linear(isa, gathered, value, Epilogue::Bias, &mut scratch.linear, dst);
                }
            },
        );
        let context = LhsRows { rows: cls.context.view(), fine };
        self.feed_forward.forward(isa, context, cls.hidden.view_mut(), scratches);
    }

    /// All products, by the part that they play; those of the heads are one by one.
    pub(crate) fn products(&self) -> Vec<(&'static str, &[PackedWeights])> {
        let own =
            vec![(QUERY, from_ref(&self.query)), (KEY_FOLD, &self.fold[..]), (VALUE_HEADS, &self.values[..])];
        [own, self.feed_forward.products()].concat()
    }
}

/// The first row of each sequence.
pub(super) fn copy_cls_rows(x: Rows<'_>, cu_seqlens: &[usize], mut dst: RowsMut<'_>) {
    for (s, bounds) in cu_seqlens.windows(2).enumerate() {
        dst.row_mut(s).copy_from_slice(x.row(bounds[0]));
    }
}
