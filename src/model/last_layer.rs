//! The last layer, of which only the first token's row may be wanted: `cls_attention` of the kernel crate has the
//! algebra. Which form it takes follows from the description, by [`Description::last_form`].
//!
//! [`Description::last_form`]: crate::family::Description::last_form

use std::slice::from_ref;
use std::sync::Arc;

use crossrank_kernels::{
    Epilogue, Heads, Isa, LayerNorm, LhsRows, PackedWeights, Rows, RowsMut, StoredMatrix,
    cls_attention_over_keys, linear, positional_cls_attention,
};

use super::attention::{HeadShape, find_norm, find_qkv, normalise};
use super::feed_forward::FeedForward;
use super::loading::Loading;
use super::product::{EncoderLinear, Product};
use super::workspace::{Scratch, Workspace};
use crate::error::{Error, Result};
use crate::family::description::{Attention, LastForm};
use crate::family::roles::{KEY, KEY_FOLD, QUERY, VALUE_HEADS, role};
use crate::workers::fork::fork_columns;

/// A layer that is computed for the first token of each sequence alone.
pub(crate) struct FirstToken {
    attention: FirstTokenAttention,
    pub(super) feed_forward: Arc<FeedForward>,
}

/// Its attention.
pub(super) struct FirstTokenAttention {
    /// What normalises the states that it reads, where norms come first.
    norm: Option<LayerNorm>,
    query: PackedWeights,
    keys: Keys,
    /// For each head, W_v,h and b_v,h.
    values: Vec<PackedWeights>,
}

enum Keys {
    /// For each head, W_k,h as a right-hand side: it turns a query of head_dim into one of hidden.
    Folded(Vec<PackedWeights>),
    /// They depend on positions by rotation, and are made of all tokens that the first one sees.
    Formed(PackedWeights),
}

impl FirstTokenAttention {
    pub(super) fn load(loading: Loading<'_>, i: usize) -> Result<Self> {
        let Loading { roles, packing, .. } = loading;
        let transposed = packing.transposed();
        let [query, key, value] = find_qkv(loading, i)?;
        let Attention { heads, head_dim, .. } = loading.layer(i).attention;
        let hidden = loading.description.hidden;
        let rows = |h: usize| h * head_dim..(h + 1) * head_dim;
        let keys = match loading.description.last_form() {
            LastForm::ValuesOnly => Keys::Formed(key.load(loading, (i, KEY), hidden)?),
            LastForm::Collapsed | LastForm::Ordinary => {
                check_key_bias(loading, i, &key)?;
                let fold = Product {
                    role: &role(i, KEY_FOLD),
                    shape: [hidden, head_dim],
                    parts: &[&key],
                    biases: &vec![&[][..]; heads],
                };
                let pack = |matrices: &[StoredMatrix<'_>]| {
                    let head = |h| {
                        PackedWeights::pack_transposed(packing.isa, transposed.panels, matrices[0], rows(h))
                    };
                    (0..heads).map(head).collect()
                };
                Keys::Folded(fold.load(roles, transposed, pack)?)
            }
        };
        let biases: Vec<&[f32]> = (0..heads).map(|h| &value.bias[rows(h)]).collect();
        let values = Product {
            role: &role(i, VALUE_HEADS),
            shape: [head_dim, hidden],
            parts: &[&value],
            biases: &biases,
        };
        let pack = |matrices: &[StoredMatrix<'_>]| {
            let head = |h| (matrices[0].row_range(rows(h)), biases[h]);
            (0..heads).map(|h| PackedWeights::pack(packing.isa, packing.panels, &[head(h)])).collect()
        };
        Ok(Self {
            norm: find_norm(loading, i)?,
            query: query.load(loading, (i, QUERY), hidden)?,
            keys,
            values: values.load(roles, packing, pack)?,
        })
    }
}

/// The softmax does not see it, so a NaN in it would be lost where every other one reaches the logit.
fn check_key_bias(loading: Loading<'_>, i: usize, key: &EncoderLinear) -> Result<()> {
    let Some(value) = key.bias.iter().find(|value| !value.is_finite()) else { return Ok(()) };
    let names = loading.roles.names;
    Err(Error::Tensor {
        file: loading.roles.weights.name().to_owned(),
        tensor: format!("{}.bias", names.module(&role(loading.layer(i).weights, KEY))),
        expected: "finite values".into(),
        found: value.to_string(),
    })
}

impl FirstToken {
    pub(super) fn new(attention: FirstTokenAttention, feed_forward: Arc<FeedForward>) -> Self {
        Self { attention, feed_forward }
    }

    /// `ws.hidden` in, `ws.cls.hidden` out, a row a sequence. There are few rows: workers share the heads and the
    /// columns.
    pub(crate) fn forward(
        &self,
        isa: Isa,
        shape: HeadShape<'_>,
        ws: &mut Workspace,
        scratches: &mut [Scratch],
    ) {
        let HeadShape { count: heads, heads: Heads { dim: head_dim, scale, .. }, .. } = shape;
        let FirstTokenAttention { norm, query: query_weights, keys, values } = &self.attention;
        let hidden = shape.width();
        let Workspace { cu_seqlens, hidden: states, normed, qkv, cls, .. } = ws;
        let sequences = cu_seqlens.len() - 1;
        cls.set_sequences(sequences);
        copy_cls_rows(states.view(), cu_seqlens, cls.hidden.view_mut());
        let x = normalise(isa, norm.as_ref(), states, normed, scratches);
        let fine = shape.fine_cls(&cls.numbers[..sequences]);
        let cls_rows = match norm {
            None => cls.hidden.view(),
            Some(_) => {
                copy_cls_rows(x, cu_seqlens, cls.normed.view_mut());
                cls.normed.view()
            }
        };
        let cls_rows = LhsRows { rows: cls_rows, fine };
        let panel_heads = shape.panel_heads().unwrap_or(heads);
        let [narrow, wide] = [head_dim, hidden].map(|width| panel_heads * width);
        // Formed keys have a row a token; of folded ones a query has a row a sequence.
        let (key_room, key_width) = match keys {
            Keys::Folded(_) => (cls.folded.view_mut(), wide),
            Keys::Formed(_) => (qkv.view_mut().split_columns(hidden).0, narrow),
        };
        let own = [&mut cls.query, &mut cls.gathered, &mut cls.context].map(|matrix| matrix.view_mut());
        let [query, gathered, context] = own;
        let dst = [query, key_room, gathered, context];
        let widths = [narrow, key_width, wide, narrow];
        fork_columns(heads / panel_heads, widths, dst, scratches, &|units, dst, scratch| {
            let [mut query, mut key_room, mut gathered, mut context] = dst;
            let own = units.start * panel_heads..units.end * panel_heads;
            let columns = own.start * head_dim..own.end * head_dim;
            let weights = query_weights.columns(columns.clone());
            linear(isa, cls_rows, weights, Epilogue::Bias, &mut scratch.linear, query.reborrow());
            let positions = shape.positions(own.clone(), 0);
            match keys {
                Keys::Folded(fold) => {
                    for (h, fold) in fold[own.clone()].iter().enumerate() {
                        let query = query.as_rows().column_range(h * head_dim..(h + 1) * head_dim);
                        let dst = key_room.column_range(h * hidden..(h + 1) * hidden);
                        linear(isa, query, fold, Epilogue::Bias, &mut scratch.linear, dst);
                    }
                }
                Keys::Formed(weights) => {
                    let weights = weights.columns(columns);
                    // Beyond a span the first token sees nothing, and nothing is computed.
                    for (s, bounds) in cu_seqlens.windows(2).enumerate() {
                        let len = bounds[1] - bounds[0];
                        let seen = bounds[0]..bounds[0] + shape.span.map_or(len, |span| len.min(span + 1));
                        let x =
                            LhsRows { rows: x, fine: shape.fine_rows(cu_seqlens) }.row_range(seen.clone());
                        let mut keys = key_room.row_range(seen);
                        linear(isa, x, weights, Epilogue::Bias, &mut scratch.linear, keys.reborrow());
                        shape.relative.rotate(isa, 0, len, keys);
                        shape.relative.rotate(isa, 0, len, query.row_range(s..s + 1));
                    }
                }
            }
            for (s, bounds) in cu_seqlens.windows(2).enumerate() {
                // A row of heads * hidden is a matrix of heads x hidden.
                let dst = RowsMut::new(gathered.row_mut(s), own.len(), hidden, hidden);
                let (x, scratch) = (x.row_range(bounds[0]..bounds[1]), &mut scratch.attention);
                match keys {
                    Keys::Folded(_) => {
                        let queries = Rows::new(key_room.as_rows().row(s), own.len(), hidden, hidden);
                        positional_cls_attention(isa, queries, x, scale, positions, scratch, dst);
                    }
                    Keys::Formed(_) => {
                        let keys = key_room.as_rows().row_range(bounds[0]..bounds[1]);
                        let query = query.as_rows();
                        cls_attention_over_keys(isa, query.row(s), keys, x, scale, positions, scratch, dst);
                    }
                }
            }
            for (h, value) in values[own.clone()].iter().enumerate() {
                let gathered = gathered.as_rows().column_range(h * hidden..(h + 1) * hidden);
                let gathered = LhsRows { rows: gathered, fine };
                let dst = context.column_range(h * head_dim..(h + 1) * head_dim);
                linear(isa, gathered, value, Epilogue::Bias, &mut scratch.linear, dst);
            }
        });
        let context = LhsRows { rows: cls.context.view(), fine };
        self.feed_forward.forward(isa, context, cls.hidden.view_mut(), scratches);
    }

    /// The products of its attention, by the part that they play; those of the heads are one by one.
    pub(crate) fn own_products(&self) -> Vec<(&'static str, &[PackedWeights])> {
        let FirstTokenAttention { query, keys, values, .. } = &self.attention;
        let keys = match keys {
            Keys::Folded(fold) => (KEY_FOLD, &fold[..]),
            Keys::Formed(weights) => (KEY, from_ref(weights)),
        };
        vec![(QUERY, from_ref(query)), keys, (VALUE_HEADS, &values[..])]
    }
}

/// The first row of each sequence.
pub(super) fn copy_cls_rows(x: Rows<'_>, cu_seqlens: &[usize], mut dst: RowsMut<'_>) {
    for (s, bounds) in cu_seqlens.windows(2).enumerate() {
        dst.row_mut(s).copy_from_slice(x.row(bounds[0]));
    }
}
