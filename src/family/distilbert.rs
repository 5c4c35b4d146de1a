//! DistilBERT: BERT's layers under other names, without token types; a head of dense, ReLU and classifier.

use std::sync::Arc;

use super::description::{Description, Embeddings, Function, Norm, PositionTable, Relative};
use super::parts::{
    activation, dense_head, encoder, heads, insert_dense_head, insert_embeddings, insert_layers, norm_last,
    prefix_of_kin,
};
use super::roles::{ATTENTION_NORM, ATTENTION_OUTPUT, DOWN, FEED_FORWARD_NORM, KEY, QUERY, UP, VALUE};
use super::{Architecture, Facts, Head};
use crate::checkpoint::json::Fields;
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::error::Result;

/// Prefixes under which the encoder is found.
const PREFIXES: [&str; 2] = ["distilbert.", ""];

const LINEARS: [(&str, &str); 6] = [
    (QUERY, "attention.q_lin"),
    (KEY, "attention.k_lin"),
    (VALUE, "attention.v_lin"),
    (ATTENTION_OUTPUT, "attention.out_lin"),
    (UP, "ffn.lin1"),
    (DOWN, "ffn.lin2"),
];
const NORMS: [(&str, &str); 2] =
    [(ATTENTION_NORM, "sa_layer_norm"), (FEED_FORWARD_NORM, "output_layer_norm")];

/// Whatever the config says: the class has no such field.
const NORM: Norm = Norm { eps: 1e-12, bias: true };

#[derive(Debug)]
struct DistilBert {
    facts: Facts,
    hidden: usize,
    heads: usize,
    intermediate: usize,
    activation: Function,
    labels: Option<(&'static str, usize)>,
}

pub(super) fn parse(fields: &Fields<'_>) -> Result<Arc<dyn Architecture>> {
    // The names that other classes have count before the class's own.
    let either = |first: &'static str, own: &'static str| if fields.has(first) { first } else { own };
    let hidden_field = either("hidden_size", "dim");
    let hidden = fields.size(hidden_field)?;
    let (activation, activation_name) = activation(fields, "activation", "gelu")?;
    Ok(Arc::new(DistilBert {
        hidden,
        heads: heads(fields, either("num_attention_heads", "n_heads"), (hidden_field, hidden))?,
        intermediate: fields.size("hidden_dim")?,
        activation,
        labels: fields.labels()?,
        facts: Facts {
            file: fields.file.name.clone(),
            hidden,
            layers: fields.size(either("num_hidden_layers", "n_layers"))?,
            vocab: fields.size("vocab_size")?,
            window: (fields.size("max_position_embeddings")?, "max_position_embeddings"),
            token_types: 1,
            segments: false,
            tokenizer_class: Some("DistilBertTokenizer"),
            activation: activation_name,
        },
    }))
}

impl DistilBert {
    fn head_of(&self, labels: usize) -> Head {
        dense_head(self.hidden, Function::Relu, labels)
    }
}

impl Architecture for DistilBert {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn encoder(&self) -> Description {
        let embeddings = Embeddings {
            width: self.hidden,
            words: self.facts.vocab,
            positions: Some(PositionTable { rows: self.facts.window.0, pad: None }),
            token_types: None,
            norm: Some(NORM),
            projected: false,
        };
        let sizes = [self.hidden, self.heads, self.intermediate];
        let layer = |i| norm_last(i, sizes, self.activation, Relative::None, NORM);
        encoder("distilbert", self.hidden, embeddings, (0..self.facts.layers).map(layer).collect())
    }

    fn encoder_names(&self, weights: &Weights) -> Result<Names> {
        let prefix = prefix_of_kin(weights, &PREFIXES)?;
        let layers = self.facts.layers;
        let expected = format!("only what DistilBERT's layers have, of which n_layers says {layers}");
        let mut names = Names::new(format!("{prefix}transformer.layer."), expected);
        insert_embeddings(&mut names, weights, prefix, false, "embeddings.LayerNorm");
        let layers = (layers, &*format!("{prefix}transformer.layer"));
        insert_layers(&mut names, weights, layers, &LINEARS, &NORMS)?;
        Ok(names)
    }

    fn head(&self, weights: &Weights, names: &mut Names) -> Result<Head> {
        let modules = ["pre_classifier", "classifier"];
        insert_dense_head(names, weights, modules, self.labels, &self.facts.file)
            .map(|labels| self.head_of(labels))
    }

    fn expect_head(&self, carried: &Description) -> Head {
        self.head_of(carried.labels())
    }
}
