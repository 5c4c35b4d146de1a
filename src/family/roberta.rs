//! RoBERTa, XLM-RoBERTa and CamemBERT, which are one network: BERT's layers, positions counted over what is no pad, and
//! a head of dense, tanh and out_proj. Token types never reach the model: row 0 of their table is added to all.

use std::sync::Arc;

use super::description::{Description, Embeddings, Function, Norm, PositionTable, Relative, TokenTypes};
use super::parts::{
    BERT_LINEARS, BERT_NORMS, OUT_PROJ, absolute_positions, activation, dense_head, encoder, eps, heads,
    insert_dense_head, insert_embeddings, insert_layer, norm_last, pad, prefix_of_kin, size_or,
};
use super::roles::{ATTENTION_NORM, ATTENTION_OUTPUT, DOWN, FEED_FORWARD_NORM, KEY, QUERY, UP, VALUE, role};
use super::{Architecture, Facts, Head};
use crate::checkpoint::json::Fields;
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::error::Result;

/// Prefixes under which the encoder is found.
const PREFIXES: [&str; 2] = ["roberta.", ""];

/// The Linear layers of a layer that was written for flash attention, as jinaai's are; query, key and value are rows of
/// one tensor.
const FLASH_LINEARS: [(&str, &str); 3] =
    [(ATTENTION_OUTPUT, "mixer.out_proj"), (UP, "mlp.fc1"), (DOWN, "mlp.fc2")];
const FLASH_QKV: &str = "mixer.Wqkv";
const FLASH_NORMS: [(&str, &str); 2] = [(ATTENTION_NORM, "norm1"), (FEED_FORWARD_NORM, "norm2")];

#[derive(Debug)]
struct Roberta {
    facts: Facts,
    family: String,
    hidden: usize,
    heads: usize,
    intermediate: usize,
    positions: PositionTable,
    token_types: usize,
    norm: Norm,
    activation: Function,
    labels: Option<(&'static str, usize)>,
}

pub(super) fn parse(fields: &Fields<'_>) -> Result<Arc<dyn Architecture>> {
    absolute_positions(fields)?;
    let hidden = fields.size("hidden_size")?;
    let (activation, activation_name) = activation(fields, "hidden_act", "gelu")?;
    let rows = fields.size("max_position_embeddings")?;
    let positions = PositionTable { rows, pad: Some(pad(fields, 1)?) };
    if positions.window() == 0 {
        let expected = format!("more rows than pad_token_id + 1, {}", positions.pad.unwrap_or(0) + 1);
        return Err(fields.error("max_position_embeddings", &expected, rows));
    }
    let family = fields.string("model_type")?.unwrap_or("xlm-roberta");
    let tokenizer_class = match family {
        "roberta" => "RobertaTokenizer",
        "camembert" => "CamembertTokenizer",
        _ => "XLMRobertaTokenizer",
    };
    Ok(Arc::new(Roberta {
        family: family.to_owned(),
        hidden,
        heads: heads(fields, "num_attention_heads", ("hidden_size", hidden))?,
        intermediate: fields.size("intermediate_size")?,
        positions,
        token_types: size_or(fields, "type_vocab_size", 2)?,
        norm: Norm { eps: eps(fields, "layer_norm_eps", 1e-12)?, bias: true },
        activation,
        labels: fields.labels()?,
        facts: Facts {
            file: fields.file.name.clone(),
            hidden,
            layers: fields.size("num_hidden_layers")?,
            vocab: fields.size("vocab_size")?,
            window: (positions.window(), "max_position_embeddings - pad_token_id - 1"),
            token_types: 1,
            segments: false,
            tokenizer_class: Some(tokenizer_class),
            activation: activation_name,
        },
    }))
}

impl Roberta {
    fn head_of(&self, labels: usize) -> Head {
        dense_head(self.hidden, Function::Tanh, labels)
    }

    fn insert_flash_layer(&self, names: &mut Names, weights: &Weights, i: usize, module: &str) -> Result<()> {
        weights.require(&format!("{module}.{FLASH_QKV}.weight"))?;
        for (n, part) in [QUERY, KEY, VALUE].into_iter().enumerate() {
            for kind in ["weight", "bias"] {
                let tensor = format!("{module}.{FLASH_QKV}.{kind}");
                names.insert_part(format!("{}.{kind}", role(i, part)), tensor, [n, 3], self.hidden);
            }
        }
        insert_layer(names, weights, (i, module), &FLASH_LINEARS, &FLASH_NORMS)
    }
}

impl Architecture for Roberta {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn encoder(&self) -> Description {
        let embeddings = Embeddings {
            width: self.hidden,
            words: self.facts.vocab,
            positions: Some(self.positions),
            token_types: Some(TokenTypes { rows: self.token_types, first_only: true }),
            norm: Some(self.norm),
            projected: false,
        };
        let sizes = [self.hidden, self.heads, self.intermediate];
        let layer = |i| norm_last(i, sizes, self.activation, Relative::None, self.norm);
        encoder(&self.family, self.hidden, embeddings, (0..self.facts.layers).map(layer).collect())
    }

    fn encoder_names(&self, weights: &Weights) -> Result<Names> {
        let prefix = prefix_of_kin(weights, &PREFIXES)?;
        let flash = weights.contains(&format!("{prefix}emb_ln.weight"));
        let (layers, norm) = match flash {
            true => ("encoder.layers", "emb_ln"),
            false => ("encoder.layer", "embeddings.LayerNorm"),
        };
        let count = self.facts.layers;
        let expected = format!("only what RoBERTa's layers have, of which num_hidden_layers says {count}");
        let mut names = Names::new(format!("{prefix}{layers}."), expected);
        insert_embeddings(&mut names, weights, prefix, true, norm);
        for i in 0..count {
            let module = format!("{prefix}{layers}.{i}");
            match flash {
                true => self.insert_flash_layer(&mut names, weights, i, &module)?,
                false => insert_layer(&mut names, weights, (i, &module), &BERT_LINEARS, &BERT_NORMS)?,
            }
        }
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
