//! `BertForSequenceClassification`: post-norm layers, absolute positions, a pooler where there is one, a classifier.

use super::{
    ATTENTION_NORM, ATTENTION_OUTPUT, Attention, DOWN, Description, EMBEDDINGS_NORM, Embeddings,
    FEED_FORWARD_NORM, FeedForward, Function, HeadStep, KEY, Layer, Norm, POSITIONS, Pooling, QUERY,
    TOKEN_TYPES, UP, VALUE, WORDS, head_role, role,
};
use crate::checkpoint::json::Fields;
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::error::{Error, Result};

/// Prefixes under which the encoder is found, and the classifier beside it.
const PREFIXES: [(&str, &str); 3] = [("bert.", ""), ("module.bert.", "module."), ("", "")];

/// What the layers are called within the encoder.
const LAYERS: &str = "encoder.layer.";

/// The Linear layers of a layer: their roles, and what BERT calls them.
const LINEARS: [(&str, &str); 6] = [
    (QUERY, "attention.self.query"),
    (KEY, "attention.self.key"),
    (VALUE, "attention.self.value"),
    (ATTENTION_OUTPUT, "attention.output.dense"),
    (UP, "intermediate.dense"),
    (DOWN, "output.dense"),
];

/// The norms of a layer.
const NORMS: [(&str, &str); 2] =
    [(ATTENTION_NORM, "attention.output.LayerNorm"), (FEED_FORWARD_NORM, "output.LayerNorm")];

/// What the config of a BERT says, checked.
#[derive(Clone, Debug)]
pub(crate) struct Bert {
    hidden: usize,
    pub(crate) layers: usize,
    heads: usize,
    intermediate: usize,
    pub(crate) vocab: usize,
    pub(crate) positions: usize,
    pub(crate) token_types: usize,
    eps: f32,
    activation: Function,
    /// As the config names it.
    pub(crate) activation_name: String,
    /// The number of labels that the config names, and the field that does.
    labels: Option<(&'static str, usize)>,
    /// The config, for errors about what it says.
    pub(crate) file: String,
}

impl Bert {
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self> {
        check_family(fields)?;
        let hidden = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        if !hidden.is_multiple_of(heads) {
            let expected = format!("a multiple of num_attention_heads ({heads})");
            return Err(fields.error("hidden_size", &expected, hidden));
        }
        let activation_name = fields.string("hidden_act")?.unwrap_or("gelu").to_owned();
        let activation = Function::by_name(&activation_name).ok_or_else(|| {
            let expected = "gelu, gelu_new, gelu_pytorch_tanh, relu or silu";
            fields.error("hidden_act", expected, format!("`{activation_name}`"))
        })?;
        Ok(Self {
            hidden,
            layers: fields.size("num_hidden_layers")?,
            heads,
            intermediate: fields.size("intermediate_size")?,
            vocab: fields.size("vocab_size")?,
            positions: fields.size("max_position_embeddings")?,
            token_types: if fields.has("type_vocab_size") { fields.size("type_vocab_size")? } else { 2 },
            eps: eps(fields)?,
            activation,
            activation_name,
            labels: fields.labels()?,
            file: fields.file.name.clone(),
        })
    }

    /// Describes a checkpoint that holds a BERT's tensors.
    pub(crate) fn describe(&self, weights: &Weights) -> Result<(Description, Names)> {
        let [encoder, classifier] = prefixes(weights)?;
        let classifier = format!("{classifier}classifier");
        let hint = ": without a classifier this is no cross-encoder, and its scores would be random";
        let labels = weights.rows_of(&format!("{classifier}.weight"), hint)?;
        self.check_labels(labels)?;
        if labels == 0 {
            return Err(Error::Tensor {
                file: weights.name().to_owned(),
                tensor: format!("{classifier}.weight"),
                expected: "at least one label".into(),
                found: "no rows".into(),
            });
        }
        let pooler = format!("{encoder}pooler.dense");
        // Half a pooler is an error, not a checkpoint without one.
        let has_pooler = ["weight", "bias"].iter().any(|part| weights.contains(&format!("{pooler}.{part}")));

        let expected =
            format!("only what BERT's layers have, of which num_hidden_layers says {}", self.layers);
        let mut names = Names::new(format!("{encoder}{LAYERS}"), expected);
        for (role, part) in [
            (WORDS, "word_embeddings"),
            (POSITIONS, "position_embeddings"),
            (TOKEN_TYPES, "token_type_embeddings"),
        ] {
            names.insert(role, format!("{encoder}embeddings.{part}.weight"));
        }
        insert_norm(&mut names, weights, EMBEDDINGS_NORM, &format!("{encoder}embeddings.LayerNorm"));
        for i in 0..self.layers {
            let name = |part: &str| format!("{encoder}{LAYERS}{i}.{part}");
            // The config's number of layers is only believed when the checkpoint has them.
            weights.require(&format!("{}.weight", name("output.dense")))?;
            for (part, theirs) in LINEARS {
                insert_linear(&mut names, &role(i, part), &name(theirs));
            }
            for (part, theirs) in NORMS {
                insert_norm(&mut names, weights, &role(i, part), &name(theirs));
            }
        }
        let head = [has_pooler.then_some(pooler), Some(classifier)];
        for (i, step) in head.into_iter().flatten().enumerate() {
            insert_linear(&mut names, &head_role(i), &step);
        }
        Ok((self.description(has_pooler, labels), names))
    }

    /// What this config says of a network with the head of another description.
    pub(crate) fn description_with(&self, other: &Description) -> Description {
        self.description(other.head.len() > 1, other.labels())
    }

    fn description(&self, has_pooler: bool, labels: usize) -> Description {
        let norm = Norm { eps: self.eps };
        let head_dim = self.hidden / self.heads;
        let layer = Layer {
            attention: Attention { heads: self.heads, head_dim, scale: 1.0 / (head_dim as f32).sqrt() },
            feed_forward: FeedForward { intermediate: self.intermediate, activation: self.activation },
            attention_norm: norm,
            feed_forward_norm: norm,
        };
        let pooler = HeadStep::Dense { outputs: self.hidden, activation: Some(Function::Tanh) };
        let classifier = HeadStep::Dense { outputs: labels, activation: None };
        Description {
            family: "bert".into(),
            hidden: self.hidden,
            embeddings: Embeddings {
                words: self.vocab,
                positions: self.positions,
                token_types: self.token_types,
                norm,
            },
            layers: vec![layer; self.layers],
            pooling: Pooling::First,
            head: has_pooler.then_some(pooler).into_iter().chain([classifier]).collect(),
        }
    }

    /// Refuses a checkpoint whose classifier has another number of labels than the config says.
    fn check_labels(&self, rows: usize) -> Result<()> {
        match self.labels {
            Some((field, labels)) if labels != rows => Err(Error::Config {
                file: self.file.clone(),
                field: field.to_owned(),
                expected: format!("as many labels as the classifier has rows ({rows})"),
                found: labels.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

/// Sees which prefixes the checkpoint uses, for the encoder and for the classifier.
fn prefixes(weights: &Weights) -> Result<[&'static str; 2]> {
    let words = "embeddings.word_embeddings.weight";
    PREFIXES
        .into_iter()
        .find(|(encoder, _)| weights.contains(&format!("{encoder}{words}")))
        .map(|(encoder, classifier)| [encoder, classifier])
        .ok_or_else(|| Error::MissingTensor {
            file: weights.name().to_owned(),
            tensor: format!("bert.{words}"),
            hint: " (nor is it there as `module.bert....` or without a prefix)",
        })
}

fn insert_linear(names: &mut Names, role: &str, module: &str) {
    for part in ["weight", "bias"] {
        names.insert(format!("{role}.{part}"), format!("{module}.{part}"));
    }
}

/// A norm under either of the two names that its tensors go by, with the factors of the residual where there are some:
/// `crossrank quantize` writes them.
fn insert_norm(names: &mut Names, weights: &Weights, role: &str, module: &str) {
    let old = weights.contains(&format!("{module}.gamma"));
    let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
    names.insert(format!("{role}.weight"), format!("{module}.{weight}"));
    names.insert(format!("{role}.bias"), format!("{module}.{bias}"));
    let scale = format!("{module}.residual_scale");
    if weights.contains(&scale) {
        names.insert(format!("{role}.residual_scale"), scale);
    }
}

fn check_family(fields: &Fields<'_>) -> Result<()> {
    if let Some(family) = fields.string("model_type")?
        && family != "bert"
    {
        let expected = "`bert`, the one family supported so far";
        return Err(fields.error("model_type", expected, format!("`{family}`")));
    }
    if let Some(architectures) = fields.get("architectures") {
        let supported = "BertForSequenceClassification";
        let names = architectures.as_array().map(Vec::as_slice).unwrap_or_default();
        if names.is_empty() || names.iter().any(|name| name != supported) {
            return Err(fields.error("architectures", &format!("[\"{supported}\"]"), architectures));
        }
    } else if !fields.has("model_type") {
        return Err(fields.error("model_type", "`bert`", "neither `model_type` nor `architectures`"));
    }
    if let Some(kind) = fields.string("position_embedding_type")?
        && kind != "absolute"
    {
        return Err(fields.error("position_embedding_type", "`absolute`", format!("`{kind}`")));
    }
    if let Some(decoder) = fields.get("is_decoder").filter(|&value| value != false) {
        let expected = "false: a decoder's causal attention is not supported";
        return Err(fields.error("is_decoder", expected, decoder));
    }
    if let Some(scheme) = fields.get("quantization_config") {
        let expected = "none: another tool's quantised weights cannot be read";
        return Err(fields.error("quantization_config", expected, scheme));
    }
    Ok(())
}

fn eps(fields: &Fields<'_>) -> Result<f32> {
    match fields.get("layer_norm_eps") {
        None => Ok(1e-12),
        Some(value) => match value.as_f64() {
            Some(eps) if (0.0..=1.0).contains(&eps) => Ok(eps as f32),
            _ => Err(fields.error("layer_norm_eps", "a number from 0 to 1", value)),
        },
    }
}
