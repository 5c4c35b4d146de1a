//! What a family of models is made of.
//!
//! A family's own file under `family/` turns a `config.json` and the names of its tensors into a [`Description`], which
//! speaks of roles, and a [`Names`], which says which tensor of the checkpoint plays each role. Nothing past that file
//! knows which family it is: `model/` is built from the description, and so are the packed format's names, the tools
//! that calibrate, and the count of operations.

pub(crate) mod bert;
mod compare;

use crossrank_kernels::Activation;
use serde::{Deserialize, Serialize};

use compare::difference;

use crate::checkpoint::json::Fields;
use crate::checkpoint::names::Names;
use crate::checkpoint::packed::{DESCRIPTION, panels_name};
use crate::checkpoint::tensors::Weights;
use crate::error::{Error, Result};

/// Everything that the engine needs to know of a network, besides its weights.
///
/// It is derived from a checkpoint's config and tensors, and written as JSON into a packed checkpoint.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    /// The family, as `model_type` names it: for people, nothing is decided by it.
    pub(crate) family: String,
    /// Width of a token's state.
    pub(crate) hidden: usize,
    pub(crate) embeddings: Embeddings,
    /// In order, at least one.
    pub(crate) layers: Vec<Layer>,
    pub(crate) pooling: Pooling,
    /// Applied in order to what is pooled; the last gives the logits.
    pub(crate) head: Vec<HeadStep>,
}

/// Token ids to the first layer's input: the sum of the rows of all tables, normalised.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Embeddings {
    /// Rows of the table of words.
    pub(crate) words: usize,
    /// Rows of the table of positions, counted from 0 by every token.
    pub(crate) positions: usize,
    /// Rows of the table of token types.
    pub(crate) token_types: usize,
    pub(crate) norm: Norm,
}

/// A layer normalisation: with `bias`, or weights alone.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Norm {
    /// Added to the variance.
    pub(crate) eps: f32,
}

/// One layer: attention, then a feed-forward network, each with its residual and the norm that follows it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    pub(crate) attention: Attention,
    pub(crate) feed_forward: FeedForward,
    /// After attention and its residual.
    pub(crate) attention_norm: Norm,
    /// After the feed-forward network and its residual.
    pub(crate) feed_forward_norm: Norm,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
    /// Columns of a head.
    pub(crate) head_dim: usize,
    /// A factor of all scores, > 0.
    pub(crate) scale: f32,
}

/// down(act(up(x)))
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedForward {
    /// Outputs of `up`.
    pub(crate) intermediate: usize,
    pub(crate) activation: Function,
}

/// Which states the head reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pooling {
    /// That of each sequence's first token. In int8 the rows of those tokens are kept in two bytes, because their
    /// rounding shows in the score as much as that of all others together.
    First,
}

/// One step of the head.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum HeadStep {
    /// A Linear layer with bias, then an activation if there is one.
    Dense { outputs: usize, activation: Option<Function> },
}

/// An activation, as descriptions name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Function {
    Gelu,
    GeluTanh,
    Relu,
    Silu,
    Tanh,
}

impl Function {
    pub(crate) fn kernel(self) -> Activation {
        match self {
            Self::Gelu => Activation::Gelu,
            Self::GeluTanh => Activation::GeluTanh,
            Self::Relu => Activation::Relu,
            Self::Silu => Activation::Silu,
            Self::Tanh => Activation::Tanh,
        }
    }

    /// The function of a `hidden_act`.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        match name {
            "gelu" => Some(Self::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Some(Self::GeluTanh),
            "relu" => Some(Self::Relu),
            "silu" | "swish" => Some(Self::Silu),
            _ => None,
        }
    }
}

impl Description {
    pub(crate) fn labels(&self) -> usize {
        match self.head.last() {
            Some(HeadStep::Dense { outputs, .. }) => *outputs,
            None => self.hidden,
        }
    }

    /// Outputs and depth of the largest Linear layer of the encoder, in either direction.
    pub(crate) fn deepest(&self) -> usize {
        self.layers.iter().map(|layer| layer.feed_forward.intermediate).fold(self.hidden, usize::max)
    }

    /// Roles of the encoder's Linear layers, without `.weight`: those that packing turns into panels.
    pub(crate) fn linears(&self) -> impl Iterator<Item = String> {
        (0..self.layers.len()).flat_map(|i| LINEARS.map(|part| role(i, part)))
    }

    /// The names of a packed checkpoint: each tensor is called by its role, and the encoder's weights are panels.
    fn packed_names(&self, weights: &Weights) -> Names {
        let mut names = Names::new("layer.", format!("only what {DESCRIPTION} names"));
        let mut add = |role: String| names.insert(role.clone(), role);
        [WORDS, POSITIONS, TOKEN_TYPES].into_iter().for_each(|table| add(table.to_owned()));
        let norms = (0..self.layers.len())
            .flat_map(|i| [ATTENTION_NORM, FEED_FORWARD_NORM].map(|part| role(i, part)));
        for norm in norms.chain([EMBEDDINGS_NORM.to_owned()]) {
            add(format!("{norm}.weight"));
            add(format!("{norm}.bias"));
            let scale = format!("{norm}.residual_scale");
            if weights.contains(&scale) {
                add(scale);
            }
        }
        self.linears().for_each(|linear| add(format!("{linear}.bias")));
        for step in (0..self.head.len()).map(head_role) {
            add(format!("{step}.weight"));
            add(format!("{step}.bias"));
        }
        for (i, _) in self.layers.iter().enumerate() {
            let products: &[&str] = if i + 1 < self.layers.len() { &PRODUCTS } else { &LAST_PRODUCTS };
            products.iter().for_each(|part| add(panels_name(&role(i, part))));
        }
        names
    }

    /// Operations that the network needs for a pair, a multiply-add counting two, as coefficients of 1, of the number of
    /// tokens, and of its square: all layers but the last for every token, the last for the first token alone.
    pub(crate) fn operations(&self) -> [u64; 3] {
        let hidden = self.hidden as u64;
        let last = self.layers.len() - 1;
        let mut sum = [0; 3];
        for (i, layer) in self.layers.iter().enumerate() {
            let (heads, inner) = (layer.attention.heads as u64, layer.feed_forward.intermediate as u64);
            let dense = 2 * (4 * hidden * hidden + 2 * hidden * inner);
            let own = if i == last { [dense, 4 * heads * hidden, 0] } else { [0, dense, 4 * hidden] };
            sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        sum
    }

    /// Refuses a description that contradicts itself or that no machine could hold, as a packed file may carry. An
    /// error is a field, what is expected there, and what was found.
    pub(crate) fn check(&self) -> std::result::Result<(), (String, String, String)> {
        const MOST: usize = crate::checkpoint::json::MAX_SIZE;
        let size = |field: &str, size: usize| match (1..=MOST).contains(&size) {
            true => Ok(()),
            false => Err((field.to_owned(), format!("an integer from 1 to {MOST}"), size.to_string())),
        };
        let number = |field: String, expected: &str, fits: bool, found: f32| match fits {
            true => Ok(()),
            false => Err((field, expected.to_owned(), found.to_string())),
        };
        let norm = |field: String, norm: &Norm| {
            number(field, "an eps from 0 to 1", (0.0..=1.0).contains(&norm.eps), norm.eps)
        };
        size("hidden", self.hidden)?;
        size("embeddings.words", self.embeddings.words)?;
        size("embeddings.positions", self.embeddings.positions)?;
        size("embeddings.token_types", self.embeddings.token_types)?;
        norm("embeddings.norm".into(), &self.embeddings.norm)?;
        size("layers", self.layers.len())?;
        for (i, layer) in self.layers.iter().enumerate() {
            let Attention { heads, head_dim, scale } = layer.attention;
            let field = |part: &str| format!("layers.{i}.{part}");
            size(&field("attention.heads"), heads)?;
            size(&field("attention.head_dim"), head_dim)?;
            if heads * head_dim != self.hidden {
                let expected = format!("heads of {} columns together, which is `hidden`", self.hidden);
                return Err((field("attention"), expected, format!("{heads} of {head_dim}")));
            }
            number(field("attention.scale"), "a number over 0", scale > 0.0 && scale.is_finite(), scale)?;
            size(&field("feed_forward.intermediate"), layer.feed_forward.intermediate)?;
            let sizes = |layer: &Layer| (layer.attention.heads, layer.feed_forward.intermediate);
            if sizes(layer) != sizes(&self.layers[0]) {
                let [expected, found] = [&self.layers[0], layer].map(|layer| {
                    let (heads, intermediate) = sizes(layer);
                    format!("{heads} heads and {intermediate} intermediate")
                });
                return Err((format!("layers.{i}"), format!("{expected}, as in layer 0"), found));
            }
            norm(field("attention_norm"), &layer.attention_norm)?;
            norm(field("feed_forward_norm"), &layer.feed_forward_norm)?;
        }
        if self.head.is_empty() {
            return Err(("head".into(), "at least one step".into(), "none".into()));
        }
        for (i, HeadStep::Dense { outputs, .. }) in self.head.iter().enumerate() {
            size(&format!("head.{i}.dense.outputs"), *outputs)?;
        }
        Ok(())
    }
}

/// Parts of a layer, by their roles.
pub(crate) const QUERY: &str = "query";
pub(crate) const KEY: &str = "key";
pub(crate) const VALUE: &str = "value";
/// What turns the context that attention gathers into what is added to the residual.
pub(crate) const ATTENTION_OUTPUT: &str = "attention_output";
pub(crate) const ATTENTION_NORM: &str = "attention_norm";
pub(crate) const UP: &str = "up";
pub(crate) const DOWN: &str = "down";
pub(crate) const FEED_FORWARD_NORM: &str = "feed_forward_norm";
/// Query, key and value of a layer, whose outputs stand side by side.
pub(crate) const QKV: &str = "qkv";
/// For each head the transpose of its key projection, which turns a query into a row of `hidden`.
pub(crate) const KEY_FOLD: &str = "key_fold";
/// For each head its value projection.
pub(crate) const VALUE_HEADS: &str = "value_heads";

/// What is packed of a layer that is computed for all tokens, and of a last layer that is collapsed to the first token.
const PRODUCTS: [&str; 4] = [QKV, ATTENTION_OUTPUT, UP, DOWN];
const LAST_PRODUCTS: [&str; 6] = [QUERY, KEY_FOLD, VALUE_HEADS, ATTENTION_OUTPUT, UP, DOWN];

const LINEARS: [&str; 6] = [QUERY, KEY, VALUE, ATTENTION_OUTPUT, UP, DOWN];

/// Tables and norm of the embeddings, by their roles.
pub(crate) const WORDS: &str = "embeddings.words";
pub(crate) const POSITIONS: &str = "embeddings.positions";
pub(crate) const TOKEN_TYPES: &str = "embeddings.token_types";
pub(crate) const EMBEDDINGS_NORM: &str = "embeddings.norm";

/// The role of a part of layer `i`.
pub(crate) fn role(i: usize, part: &str) -> String {
    format!("layer.{i}.{part}")
}

/// The role of step `i` of the head.
pub(crate) fn head_role(i: usize) -> String {
    format!("head.{i}")
}

/// A config whose family has been recognised and whose settings have been checked.
#[derive(Clone, Debug)]
pub(crate) enum Family {
    Bert(bert::Bert),
}

impl Family {
    /// Recognises the family of a `config.json`, by `model_type`, or by `architectures` where that is absent.
    pub(crate) fn parse(fields: &Fields<'_>) -> Result<Self> {
        bert::Bert::parse(fields).map(Self::Bert)
    }

    /// Describes a checkpoint of this family. A packed one carries its description, which must be what the config says.
    pub(crate) fn describe(&self, weights: &Weights) -> Result<(Description, Names)> {
        let Self::Bert(bert) = self;
        let Some(json) = weights.description() else { return bert.describe(weights) };
        let error = |field: &str, expected: String, found: String| Error::Config {
            file: weights.name().to_owned(),
            field: field.to_owned(),
            expected,
            found,
        };
        let carried: Description = serde_json::from_str(json).map_err(|source| {
            error(DESCRIPTION, "the description of a network".into(), source.to_string())
        })?;
        let inconsistent = |(field, expected, found): (String, _, _)| {
            error(&format!("{DESCRIPTION}: {field}"), expected, found)
        };
        carried.check().map_err(inconsistent)?;
        // The config's number of layers is only believed, and described, when the checkpoint has as many.
        let difference = if bert.layers == carried.layers.len() {
            difference(&bert.description_with(&carried), &carried)
        } else {
            Some(("layers".into(), format!("{} of them", bert.layers), carried.layers.len().to_string()))
        };
        if let Some((field, expected, found)) = difference {
            let expected = format!("{expected}, as {} says", bert.file);
            return Err(inconsistent((field, expected, found)));
        }
        let names = carried.packed_names(weights);
        Ok((carried, names))
    }
}
