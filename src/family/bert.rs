//! `BertForSequenceClassification`: norms last, absolute positions, a pooler where there is one, a classifier.

use std::sync::Arc;

use super::description::{
    Description, Embeddings, Function, HeadStep, Norm, Pooling, PositionTable, Relative, TokenTypes,
};
use super::parts::{
    BERT_LINEARS, BERT_NORMS, absolute_positions, activation, dense, encoder, eps, heads, insert_embeddings,
    insert_head, insert_layers, labels, norm_last, prefix_of_kin, size_or,
};
use super::{Architecture, Facts, Head};
use crate::checkpoint::json::Fields;
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::error::Result;

/// Prefixes under which the encoder is found. The second stands there where other tensors than the model's have no such
/// wrapper.
const PREFIXES: [&str; 3] = ["bert.", "module.bert.", ""];

/// Older sentence-transformers saved such checkpoints on purpose; a converter that drops the pooler makes others, whose
/// scores are on another scale than their author's.
const NO_POOLER: &str = "no pooler: the classifier reads the [CLS] state";

/// What the config of a BERT says, checked.
#[derive(Debug)]
struct Bert {
    facts: Facts,
    hidden: usize,
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
    Ok(Arc::new(Bert {
        hidden,
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

impl Bert {
    fn head_of(&self, has_pooler: bool, labels: usize) -> Head {
        let pooler = has_pooler.then(|| dense(self.hidden, Some(Function::Tanh)));
        let steps: Vec<HeadStep> = pooler.into_iter().chain([dense(labels, None)]).collect();
        Head { pooling: Pooling::First, steps }
    }
}

impl Architecture for Bert {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn encoder(&self) -> Description {
        let embeddings = Embeddings {
            width: self.hidden,
            words: self.facts.vocab,
            positions: Some(PositionTable { rows: self.facts.window.0, pad: None }),
            token_types: Some(TokenTypes { rows: self.facts.token_types, first_only: false }),
            norm: Some(self.norm),
            projected: false,
        };
        let sizes = [self.hidden, self.heads, self.intermediate];
        let layer = |i| norm_last(i, sizes, self.activation, Relative::None, self.norm);
        encoder("bert", self.hidden, embeddings, (0..self.facts.layers).map(layer).collect())
    }

    fn encoder_names(&self, weights: &Weights) -> Result<Names> {
        let prefix = prefix_of_kin(weights, &PREFIXES)?;
        let layers = self.facts.layers;
        let expected = format!("only what BERT's layers have, of which num_hidden_layers says {layers}");
        let mut names = Names::new(format!("{prefix}encoder.layer."), expected);
        insert_embeddings(&mut names, weights, prefix, true, "embeddings.LayerNorm");
        let layers = (layers, &*format!("{prefix}encoder.layer"));
        insert_layers(&mut names, weights, layers, &BERT_LINEARS, &BERT_NORMS)?;
        Ok(names)
    }

    fn head(&self, weights: &Weights, names: &mut Names) -> Result<Head> {
        let prefix = prefix_of_kin(weights, &PREFIXES)?;
        let pooler = format!("{prefix}pooler.dense");
        let classifier = if prefix.starts_with("module.") { "module.classifier" } else { "classifier" };
        let labels = labels(weights, classifier, self.labels, &self.facts.file)?;
        // Half a pooler is an error, not a checkpoint without one.
        let has_pooler = ["weight", "bias"].iter().any(|part| weights.contains(&format!("{pooler}.{part}")));
        let modules = [has_pooler.then_some(pooler), Some(classifier.to_owned())];
        insert_head(names, &modules.into_iter().flatten().collect::<Vec<_>>());
        Ok(self.head_of(has_pooler, labels))
    }

    fn expect_head(&self, carried: &Description) -> Head {
        self.head_of(carried.head.len() > 1, carried.labels())
    }

    fn notes(&self, description: &Description) -> Vec<String> {
        match description.head.len() {
            1 => vec![NO_POOLER.to_owned()],
            _ => Vec::new(),
        }
    }
}
