//! ALBERT: groups of layers that share weights, embeddings that are narrower than the states, a pooler and a classifier.

use std::sync::Arc;

use super::description::{
    Description, Embeddings, Function, Layer, Norm, PositionTable, Relative, TokenTypes,
};
use super::parts::{
    absolute_positions, activation, dense_head, encoder, eps, heads, insert_dense_head, insert_embeddings,
    insert_layer, insert_linear, norm_last, prefix_of_kin, size_or,
};
use super::roles::{
    ATTENTION_NORM, ATTENTION_OUTPUT, DOWN, FEED_FORWARD_NORM, KEY, PROJECTION, QUERY, UP, VALUE,
};
use super::{Architecture, Facts, Head};
use crate::checkpoint::json::Fields;
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::error::Result;

/// Prefixes under which the encoder is found.
const PREFIXES: [&str; 2] = ["albert.", ""];

const LINEARS: [(&str, &str); 6] = [
    (QUERY, "attention.query"),
    (KEY, "attention.key"),
    (VALUE, "attention.value"),
    (ATTENTION_OUTPUT, "attention.dense"),
    (UP, "ffn"),
    (DOWN, "ffn_output"),
];
const NORMS: [(&str, &str); 2] =
    [(ATTENTION_NORM, "attention.LayerNorm"), (FEED_FORWARD_NORM, "full_layer_layer_norm")];

/// Of published models the largest has 12. Others are as deep as their checkpoint has layers, but these share theirs.
const MOST_LAYERS: usize = 256;

#[derive(Debug)]
struct Albert {
    facts: Facts,
    hidden: usize,
    /// Columns of the embeddings' tables.
    width: usize,
    heads: usize,
    intermediate: usize,
    groups: usize,
    /// Layers of a group, which run in turn.
    inner: usize,
    norm: Norm,
    activation: Function,
    labels: Option<(&'static str, usize)>,
}

pub(super) fn parse(fields: &Fields<'_>) -> Result<Arc<dyn Architecture>> {
    absolute_positions(fields)?;
    let hidden = fields.size("hidden_size")?;
    let (activation, activation_name) = activation(fields, "hidden_act", "gelu_new")?;
    let rounds = fields.size("num_hidden_layers")?;
    let groups = size_or(fields, "num_hidden_groups", 1)?;
    if groups > rounds {
        let expected = format!("at most num_hidden_layers ({rounds})");
        return Err(fields.error("num_hidden_groups", &expected, groups));
    }
    let inner = size_or(fields, "inner_group_num", 1)?;
    for (field, size) in [("num_hidden_layers", rounds), ("inner_group_num", inner)] {
        if size > MOST_LAYERS {
            return Err(fields.error(field, &format!("at most {MOST_LAYERS}"), size));
        }
    }
    Ok(Arc::new(Albert {
        hidden,
        width: size_or(fields, "embedding_size", 128)?,
        heads: heads(fields, "num_attention_heads", ("hidden_size", hidden))?,
        intermediate: fields.size("intermediate_size")?,
        groups,
        inner,
        norm: Norm { eps: eps(fields, "layer_norm_eps", 1e-12)?, bias: true },
        activation,
        labels: fields.labels()?,
        facts: Facts {
            file: fields.file.name.clone(),
            hidden,
            layers: rounds.saturating_mul(inner),
            vocab: fields.size("vocab_size")?,
            window: (fields.size("max_position_embeddings")?, "max_position_embeddings"),
            token_types: size_or(fields, "type_vocab_size", 2)?,
            segments: true,
            tokenizer_class: Some("AlbertTokenizer"),
            activation: activation_name,
        },
    }))
}

impl Albert {
    /// The group of a round, computed in floating point as the class does: for some numbers of rounds and groups that
    /// is another one than in integers.
    fn group(&self, round: usize) -> usize {
        let rounds = self.facts.layers / self.inner;
        (round as f64 / (rounds as f64 / self.groups as f64)) as usize
    }

    /// The first layer that has the weights of this one.
    fn owner(&self, layer: usize) -> usize {
        let (round, inner) = (layer / self.inner, layer % self.inner);
        let first = (0..=round).find(|&other| self.group(other) == self.group(round)).unwrap_or(round);
        first * self.inner + inner
    }

    fn head_of(&self, labels: usize) -> Head {
        dense_head(self.hidden, Function::Tanh, labels)
    }
}

impl Architecture for Albert {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn encoder(&self) -> Description {
        let embeddings = Embeddings {
            width: self.width,
            words: self.facts.vocab,
            positions: Some(PositionTable { rows: self.facts.window.0, pad: None }),
            token_types: Some(TokenTypes { rows: self.facts.token_types, first_only: false }),
            norm: Some(self.norm),
            // Also where the widths are the same.
            projected: true,
        };
        let sizes = [self.hidden, self.heads, self.intermediate];
        let layer =
            |i| -> Layer { norm_last(self.owner(i), sizes, self.activation, Relative::None, self.norm) };
        encoder("albert", self.hidden, embeddings, (0..self.facts.layers).map(layer).collect())
    }

    fn encoder_names(&self, weights: &Weights) -> Result<Names> {
        let prefix = prefix_of_kin(weights, &PREFIXES)?;
        let groups = "encoder.albert_layer_groups";
        let expected = format!("only what {} groups of {} layers have", self.groups, self.inner);
        let mut names = Names::new(format!("{prefix}{groups}."), expected);
        insert_embeddings(&mut names, weights, prefix, true, "embeddings.LayerNorm");
        insert_linear(&mut names, PROJECTION, &format!("{prefix}encoder.embedding_hidden_mapping_in"));
        for i in (0..self.facts.layers).filter(|&i| self.owner(i) == i) {
            let (group, inner) = (self.group(i / self.inner), i % self.inner);
            let module = format!("{prefix}{groups}.{group}.albert_layers.{inner}");
            insert_layer(&mut names, weights, (i, &module), &LINEARS, &NORMS)?;
        }
        Ok(names)
    }

    fn head(&self, weights: &Weights, names: &mut Names) -> Result<Head> {
        let modules = [&*format!("{}pooler", prefix_of_kin(weights, &PREFIXES)?), "classifier"];
        insert_dense_head(names, weights, modules, self.labels, &self.facts.file)
            .map(|labels| self.head_of(labels))
    }

    fn expect_head(&self, carried: &Description) -> Head {
        self.head_of(carried.labels())
    }
}
