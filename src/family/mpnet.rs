//! MPNet: BERT's layers under other names, a table of biases by bucket that all of them share, positions counted over
//! what is no pad; no token types; a head of dense, tanh and out_proj.

use std::sync::Arc;

use super::description::{Buckets, Description, Embeddings, Function, Norm, PositionTable, Relative};
use super::parts::{
    OUT_PROJ, activation, dense_head, encoder, eps, heads, insert_dense_head, insert_embeddings,
    insert_layers, norm_last, prefix_of_kin, size_or,
};
use super::roles::{
    ATTENTION_NORM, ATTENTION_OUTPUT, DOWN, FEED_FORWARD_NORM, KEY, QUERY, SHARED_BUCKETS, UP, VALUE,
};
use super::{Architecture, Facts, Head};
use crate::checkpoint::json::Fields;
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::error::Result;

/// Prefixes under which the encoder is found.
const PREFIXES: [&str; 2] = ["mpnet.", ""];

const LINEARS: [(&str, &str); 6] = [
    (QUERY, "attention.attn.q"),
    (KEY, "attention.attn.k"),
    (VALUE, "attention.attn.v"),
    (ATTENTION_OUTPUT, "attention.attn.o"),
    (UP, "intermediate.dense"),
    (DOWN, "output.dense"),
];
const NORMS: [(&str, &str); 2] =
    [(ATTENTION_NORM, "attention.LayerNorm"), (FEED_FORWARD_NORM, "output.LayerNorm")];

/// The class's own, whatever the config says.
const PAD: u32 = 1;
/// The class's own, whatever the config says: that sizes the table alone.
const BUCKETS: usize = 32;
const MAX_DISTANCE: usize = 128;

#[derive(Debug)]
struct MpNet {
    facts: Facts,
    hidden: usize,
    heads: usize,
    intermediate: usize,
    positions: PositionTable,
    /// Rows of the table of biases.
    bucket_rows: usize,
    norm: Norm,
    activation: Function,
    labels: Option<(&'static str, usize)>,
}

pub(super) fn parse(fields: &Fields<'_>) -> Result<Arc<dyn Architecture>> {
    let hidden = fields.size("hidden_size")?;
    let (activation, activation_name) = activation(fields, "hidden_act", "gelu")?;
    let rows = fields.size("max_position_embeddings")?;
    let positions = PositionTable { rows, pad: Some(PAD) };
    if positions.window() == 0 {
        return Err(fields.error(
            "max_position_embeddings",
            "more than 2 rows, as the first are no token's",
            rows,
        ));
    }
    let bucket_rows = size_or(fields, "relative_attention_num_buckets", BUCKETS)?;
    if bucket_rows < BUCKETS {
        let expected = format!("at least {BUCKETS}, which are used whatever it says");
        return Err(fields.error("relative_attention_num_buckets", &expected, bucket_rows));
    }
    Ok(Arc::new(MpNet {
        hidden,
        heads: heads(fields, "num_attention_heads", ("hidden_size", hidden))?,
        intermediate: fields.size("intermediate_size")?,
        positions,
        bucket_rows,
        norm: Norm { eps: eps(fields, "layer_norm_eps", 1e-12)?, bias: true },
        activation,
        labels: fields.labels()?,
        facts: Facts {
            file: fields.file.name.clone(),
            hidden,
            layers: fields.size("num_hidden_layers")?,
            vocab: fields.size("vocab_size")?,
            window: (positions.window(), "max_position_embeddings - 2"),
            token_types: 1,
            segments: false,
            tokenizer_class: Some("MPNetTokenizer"),
            activation: activation_name,
        },
    }))
}

impl MpNet {
    fn head_of(&self, labels: usize) -> Head {
        dense_head(self.hidden, Function::Tanh, labels)
    }
}

impl Architecture for MpNet {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn encoder(&self) -> Description {
        let embeddings = Embeddings {
            width: self.hidden,
            words: self.facts.vocab,
            positions: Some(self.positions),
            token_types: None,
            norm: Some(self.norm),
            projected: false,
        };
        let sizes = [self.hidden, self.heads, self.intermediate];
        let buckets =
            Buckets { rows: self.bucket_rows, count: BUCKETS, max_distance: MAX_DISTANCE, shared: true };
        let layer = |i| norm_last(i, sizes, self.activation, Relative::Buckets(buckets), self.norm);
        encoder("mpnet", self.hidden, embeddings, (0..self.facts.layers).map(layer).collect())
    }

    fn encoder_names(&self, weights: &Weights) -> Result<Names> {
        let prefix = prefix_of_kin(weights, &PREFIXES)?;
        let layers = self.facts.layers;
        let expected = format!("only what MPNet's layers have, of which num_hidden_layers says {layers}");
        let mut names = Names::new(format!("{prefix}encoder.layer."), expected);
        names.insert(SHARED_BUCKETS, format!("{prefix}encoder.relative_attention_bias.weight"));
        insert_embeddings(&mut names, weights, prefix, false, "embeddings.LayerNorm");
        let layers = (layers, &*format!("{prefix}encoder.layer"));
        insert_layers(&mut names, weights, layers, &LINEARS, &NORMS)?;
        Ok(names)
    }

    fn head(&self, weights: &Weights, names: &mut Names) -> Result<Head> {
        insert_dense_head(names, weights, OUT_PROJ, self.labels, &self.facts.file)
            .map(|labels| self.head_of(labels))
    }

    fn expect_head(&self, carried: &Description) -> Head {
        self.head_of(carried.labels())
    }
}
