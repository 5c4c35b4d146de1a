//! ELECTRA: BERT's layers, with a projection where the embeddings are narrower than the states; a head of dense, gelu
//! and out_proj.

use std::sync::Arc;

use super::description::{Description, Embeddings, Function, Norm, PositionTable, Relative, TokenTypes};
use super::parts::{
    BERT_LINEARS, BERT_NORMS, OUT_PROJ, absolute_positions, activation, dense_head, encoder, eps, heads,
    insert_dense_head, insert_embeddings, insert_layers, insert_linear, norm_last, prefix_of_kin, size_or,
};
use super::roles::PROJECTION;
use super::{Architecture, Facts, Head};
use crate::checkpoint::json::Fields;
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::error::Result;

/// Prefixes under which the encoder is found.
const PREFIXES: [&str; 2] = ["electra.", ""];

#[derive(Debug)]
struct Electra {
    facts: Facts,
    hidden: usize,
    /// Columns of the embeddings' tables.
    width: usize,
    heads: usize,
    intermediate: usize,
    norm: Norm,
    activation: Function,
    labels: Option<(&'static str, usize)>,
}

pub(super) fn parse(fields: &Fields<'_>) -> Result<Arc<dyn Architecture>> {
    absolute_positions(fields)?;
    let hidden = fields.size("hidden_size")?;
    let (activation, activation_name) = activation(fields, "hidden_act", "gelu")?;
    Ok(Arc::new(Electra {
        hidden,
        width: size_or(fields, "embedding_size", 128)?,
        heads: heads(fields, "num_attention_heads", ("hidden_size", hidden))?,
        intermediate: fields.size("intermediate_size")?,
        norm: Norm { eps: eps(fields, "layer_norm_eps", 1e-12)?, bias: true },
        activation,
        labels: fields.labels()?,
        facts: Facts {
            file: fields.file.name.clone(),
            hidden,
            layers: fields.size("num_hidden_layers")?,
            vocab: fields.size("vocab_size")?,
            window: (fields.size("max_position_embeddings")?, "max_position_embeddings"),
            token_types: size_or(fields, "type_vocab_size", 2)?,
            segments: true,
            tokenizer_class: None,
            activation: activation_name,
        },
    }))
}

impl Electra {
    fn head_of(&self, labels: usize) -> Head {
        // Whatever hidden_act and the summary_ fields say.
        dense_head(self.hidden, Function::Gelu, labels)
    }
}

impl Architecture for Electra {
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
            projected: self.width != self.hidden,
        };
        let sizes = [self.hidden, self.heads, self.intermediate];
        let layer = |i| norm_last(i, sizes, self.activation, Relative::None, self.norm);
        encoder("electra", self.hidden, embeddings, (0..self.facts.layers).map(layer).collect())
    }

    fn encoder_names(&self, weights: &Weights) -> Result<Names> {
        let prefix = prefix_of_kin(weights, &PREFIXES)?;
        let layers = self.facts.layers;
        let expected = format!("only what ELECTRA's layers have, of which num_hidden_layers says {layers}");
        let mut names = Names::new(format!("{prefix}encoder.layer."), expected);
        insert_embeddings(&mut names, weights, prefix, true, "embeddings.LayerNorm");
        if self.width != self.hidden {
            insert_linear(&mut names, PROJECTION, &format!("{prefix}embeddings_project"));
        }
        let layers = (layers, &*format!("{prefix}encoder.layer"));
        insert_layers(&mut names, weights, layers, &BERT_LINEARS, &BERT_NORMS)?;
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
