//! What the files of several families have in common: how modules become roles, what fields of configs mean.

use super::Head;
use super::description::{
    Attention, Dense, Description, Embeddings, FeedForward, Function, HeadStep, Layer, Norm, Order, Pooling,
    Relative, Residual,
};
use super::roles::{
    ATTENTION_NORM, ATTENTION_OUTPUT, DOWN, EMBEDDINGS_NORM, FEED_FORWARD_NORM, KEY, POSITIONS, QUERY,
    TOKEN_TYPES, UP, VALUE, WORDS, head_role, role,
};
use crate::checkpoint::json::Fields;
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::error::{Error, Result};

/// What errors say where a classifier is missing.
pub(super) const NO_CLASSIFIER: &str =
    ": without a classifier this is no cross-encoder, and its scores would be random";

/// What BERT and its kin call the Linear layers of a layer.
pub(super) const BERT_LINEARS: [(&str, &str); 6] = [
    (QUERY, "attention.self.query"),
    (KEY, "attention.self.key"),
    (VALUE, "attention.self.value"),
    (ATTENTION_OUTPUT, "attention.output.dense"),
    (UP, "intermediate.dense"),
    (DOWN, "output.dense"),
];

/// What BERT and its kin call the norms of a layer.
pub(super) const BERT_NORMS: [(&str, &str); 2] =
    [(ATTENTION_NORM, "attention.output.LayerNorm"), (FEED_FORWARD_NORM, "output.LayerNorm")];

/// The first of `prefixes` under which there is a tensor, which names an encoder that all of the family have.
pub(super) fn prefix(weights: &Weights, prefixes: &[&'static str], tensor: &str) -> Result<&'static str> {
    let found = prefixes.iter().find(|prefix| weights.contains(&format!("{prefix}{tensor}")));
    found.copied().ok_or_else(|| Error::MissingTensor {
        file: weights.name().to_owned(),
        tensor: format!("{}{tensor}", prefixes[0]),
        hint: " (nor is it there without that prefix)",
    })
}

/// [`prefix`] of BERT and its kin, by the name that all of them give to the table of words.
pub(super) fn prefix_of_kin(weights: &Weights, prefixes: &[&'static str]) -> Result<&'static str> {
    prefix(weights, prefixes, "embeddings.word_embeddings.weight")
}

/// Gives roles to the tables of BERT and its kin, of which some have none of token types, and to the norm behind them,
/// of which `norm` is the name.
pub(super) fn insert_embeddings(
    names: &mut Names,
    weights: &Weights,
    prefix: &str,
    has_types: bool,
    norm: &str,
) {
    let types = has_types.then_some((TOKEN_TYPES, "token_type_embeddings"));
    let tables = [(WORDS, "word_embeddings"), (POSITIONS, "position_embeddings")];
    for (role, part) in tables.into_iter().chain(types) {
        names.insert(role, format!("{prefix}embeddings.{part}.weight"));
    }
    insert_norm(names, weights, EMBEDDINGS_NORM, &format!("{prefix}{norm}"));
}

/// [`insert_layer`] of as many layers as the config names, each of which is `module` and its number.
pub(super) fn insert_layers(
    names: &mut Names,
    weights: &Weights,
    (count, module): (usize, &str),
    linears: &[(&str, &str)],
    norms: &[(&str, &str)],
) -> Result<()> {
    (0..count).try_for_each(|i| insert_layer(names, weights, (i, &format!("{module}.{i}")), linears, norms))
}

/// Gives roles to the tensors of one layer, of which `module` is the name. The config's number of layers is only
/// believed when the checkpoint has them.
pub(super) fn insert_layer(
    names: &mut Names,
    weights: &Weights,
    (i, module): (usize, &str),
    linears: &[(&str, &str)],
    norms: &[(&str, &str)],
) -> Result<()> {
    for (part, theirs) in linears {
        weights.require(&format!("{module}.{theirs}.weight"))?;
        insert_linear(names, &role(i, part), &format!("{module}.{theirs}"));
    }
    for (part, theirs) in norms {
        insert_norm(names, weights, &role(i, part), &format!("{module}.{theirs}"));
    }
    Ok(())
}

pub(super) fn insert_linear(names: &mut Names, role: &str, module: &str) {
    for part in ["weight", "bias"] {
        names.insert(format!("{role}.{part}"), format!("{module}.{part}"));
    }
}

/// A norm under either of the two names that its tensors go by, with the factors of the residual where there are some:
/// `crossrank quantize` writes them.
pub(super) fn insert_norm(names: &mut Names, weights: &Weights, role: &str, module: &str) {
    let old = weights.contains(&format!("{module}.gamma"));
    let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
    names.insert(format!("{role}.weight"), format!("{module}.{weight}"));
    names.insert(format!("{role}.bias"), format!("{module}.{bias}"));
    let scale = format!("{module}.residual_scale");
    if weights.contains(&scale) {
        names.insert(format!("{role}.residual_scale"), scale);
    }
}

/// Gives roles to the Linear layers of a head, first to last.
pub(super) fn insert_head(names: &mut Names, modules: &[String]) {
    for (i, module) in modules.iter().enumerate() {
        insert_linear(names, &head_role(i), module);
    }
}

/// A Linear layer of a head with bias.
pub(super) fn dense(outputs: usize, activation: Option<Function>) -> HeadStep {
    HeadStep::Dense(Dense { outputs, bias: true, activation, residual: Residual::None })
}

/// A head that reads the first token: a Linear layer of the states' width with an activation, and the classifier.
pub(super) fn dense_head(hidden: usize, activation: Function, labels: usize) -> Head {
    Head { pooling: Pooling::First, steps: vec![dense(hidden, Some(activation)), dense(labels, None)] }
}

/// Gives roles to the head of which `dense` and `classifier` are the modules, and counts its labels.
pub(super) fn insert_dense_head(
    names: &mut Names,
    weights: &Weights,
    [dense, classifier]: [&str; 2],
    said: Option<(&'static str, usize)>,
    config: &str,
) -> Result<usize> {
    let labels = labels(weights, classifier, said, config)?;
    insert_head(names, &[dense.to_owned(), classifier.to_owned()]);
    Ok(labels)
}

/// The modules of the head that RoBERTa, ELECTRA and MPNet have.
pub(super) const OUT_PROJ: [&str; 2] = ["classifier.dense", "classifier.out_proj"];

/// A layer whose norms come last, with biases everywhere.
pub(super) fn norm_last(
    weights: usize,
    [hidden, heads, intermediate]: [usize; 3],
    activation: Function,
    positions: Relative,
    norm: Norm,
) -> Layer {
    let head_dim = hidden / heads;
    Layer {
        weights,
        order: Order::NormLast,
        attention: Attention {
            heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            bias: true,
            output_bias: true,
            positions,
            span: None,
        },
        feed_forward: FeedForward { intermediate, activation, gated: false, up_bias: true, down_bias: true },
        attention_norm: Some(norm),
        feed_forward_norm: norm,
    }
}

/// An encoder whose head reads the first token, still without that head.
pub(super) fn encoder(
    family: &str,
    hidden: usize,
    embeddings: Embeddings,
    layers: Vec<Layer>,
) -> Description {
    Description {
        family: family.to_owned(),
        hidden,
        embeddings,
        layers,
        final_norm: None,
        pooling: Pooling::First,
        head: Vec::new(),
    }
}

/// Labels of the classifier `module`, which must be as many as the config says.
pub(super) fn labels(
    weights: &Weights,
    module: &str,
    said: Option<(&'static str, usize)>,
    config: &str,
) -> Result<usize> {
    let tensor = format!("{module}.weight");
    let rows = weights.rows_of(&tensor, NO_CLASSIFIER)?;
    match said {
        Some((field, labels)) if labels != rows => Err(Error::Config {
            file: config.to_owned(),
            field: field.to_owned(),
            expected: format!("as many labels as the classifier has rows ({rows})"),
            found: labels.to_string(),
        }),
        _ if rows == 0 => Err(Error::Tensor {
            file: weights.name().to_owned(),
            tensor,
            expected: "at least one label".into(),
            found: "no rows".into(),
        }),
        _ => Ok(rows),
    }
}

/// The number of heads, by which `hidden` can be divided.
pub(super) fn heads(
    fields: &Fields<'_>,
    field: &str,
    (hidden_field, hidden): (&str, usize),
) -> Result<usize> {
    let heads = fields.size(field)?;
    match hidden.is_multiple_of(heads) {
        true => Ok(heads),
        false => Err(fields.error(hidden_field, &format!("a multiple of {field} ({heads})"), hidden)),
    }
}

/// The activation that a field names.
pub(super) fn activation(fields: &Fields<'_>, field: &str, absent: &str) -> Result<(Function, String)> {
    let name = fields.string(field)?.unwrap_or(absent);
    match Function::by_name(name) {
        Some(function) => Ok((function, name.to_owned())),
        None => Err(fields.error(field, Function::NAMES, format!("`{name}`"))),
    }
}

/// What a norm adds to the variance.
pub(super) fn eps(fields: &Fields<'_>, field: &str, absent: f32) -> Result<f32> {
    match fields.get(field) {
        None => Ok(absent),
        Some(value) => match value.as_f64() {
            Some(eps) if (0.0..=1.0).contains(&eps) => Ok(eps as f32),
            _ => Err(fields.error(field, "a number from 0 to 1", value)),
        },
    }
}

/// A size, or what the class takes where the field is absent.
pub(super) fn size_or(fields: &Fields<'_>, field: &str, absent: usize) -> Result<usize> {
    if fields.has(field) { fields.size(field) } else { Ok(absent) }
}

/// The id of the pad.
pub(super) fn pad(fields: &Fields<'_>, absent: u32) -> Result<u32> {
    match fields.get("pad_token_id") {
        None => Ok(absent),
        Some(value) => value
            .as_u64()
            .and_then(|id| u32::try_from(id).ok())
            .ok_or_else(|| fields.error("pad_token_id", "a token id", value)),
    }
}

/// Refuses positions of another kind than a table with a row for each.
pub(super) fn absolute_positions(fields: &Fields<'_>) -> Result<()> {
    match fields.string("position_embedding_type")? {
        Some(kind) if kind != "absolute" => {
            Err(fields.error("position_embedding_type", "`absolute`", format!("`{kind}`")))
        }
        _ => Ok(()),
    }
}
