//! What a network is made of, in roles: see [`Description`].

use crossrank_kernels::Activation;
use serde::{Deserialize, Serialize};

/// Everything that the engine needs to know of a network, besides its weights.
///
/// It is derived from a checkpoint's config and tensors, and written as JSON into a packed checkpoint. A field that a
/// network does without is not written.
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
    /// What normalises the states that leave the last layer, before they are pooled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) final_norm: Option<Norm>,
    pub(crate) pooling: Pooling,
    /// Applied in order to what is pooled; the last gives the logits.
    pub(crate) head: Vec<HeadStep>,
}

/// Token ids to the first layer's input: the sum of the rows of all tables, normalised, then projected.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Embeddings {
    /// Columns of all tables.
    pub(crate) width: usize,
    /// Rows of the table of words.
    pub(crate) words: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) positions: Option<PositionTable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_types: Option<TokenTypes>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) norm: Option<Norm>,
    /// Whether a Linear layer with bias takes the tables' width to `hidden`. Without one they are the same.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) projected: bool,
}

/// A row for each position, added to the words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PositionTable {
    pub(crate) rows: usize,
    /// Where there is one: tokens of this id take the row of that number and are not counted; the others take the rows
    /// behind it, in their order. Else every token takes the row of its place, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pad: Option<u32>,
}

impl PositionTable {
    /// The most tokens that have a row.
    pub(crate) fn window(self) -> usize {
        self.pad.map_or(self.rows, |pad| self.rows.saturating_sub(pad as usize + 1))
    }

    /// The row of each token of a sequence.
    pub(crate) fn rows_of(self, ids: &[u32]) -> impl Iterator<Item = u32> {
        let mut next = self.pad.map_or(0, |pad| pad + 1);
        ids.iter().map(move |&id| match self.pad {
            Some(pad) if pad == id => pad,
            _ => {
                next += 1;
                next - 1
            }
        })
    }
}

/// A row for each segment, added to the words.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenTypes {
    pub(crate) rows: usize,
    /// Whether every token takes row 0, whatever its segment: token types do not reach the model.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) first_only: bool,
}

/// A layer normalisation.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Norm {
    /// Added to the variance.
    pub(crate) eps: f32,
    /// Whether it adds a bias.
    pub(crate) bias: bool,
}

/// One layer: attention, then a feed-forward network, each with its residual and its norm.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Layer {
    /// The layer whose weights it has: its own number, or one before it.
    pub(crate) weights: usize,
    pub(crate) order: Order,
    pub(crate) attention: Attention,
    pub(crate) feed_forward: FeedForward,
    /// None where attention reads the states as they are, which only [`Order::NormFirst`] allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) attention_norm: Option<Norm>,
    pub(crate) feed_forward_norm: Norm,
}

/// Where the norms of a layer are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Behind the residual: x = norm(x + f(x)).
    NormLast,
    /// In front of what reads the states: x = x + f(norm(x)).
    NormFirst,
}

#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attention {
    pub(crate) heads: usize,
    /// Columns of a head.
    pub(crate) head_dim: usize,
    /// A factor of all scores, > 0.
    pub(crate) scale: f32,
    /// Whether query, key and value add biases.
    pub(crate) bias: bool,
    /// Whether the projection of what is gathered adds a bias.
    pub(crate) output_bias: bool,
    /// What scores depend on beside queries and keys.
    #[serde(default, skip_serializing_if = "Relative::is_none")]
    pub(crate) positions: Relative,
    /// A token sees those that are no further away than this, or all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) span: Option<usize>,
}

/// How far apart tokens are, as scores know it.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Relative {
    #[default]
    None,
    /// Queries and keys are turned by angles that grow with the position.
    Rotary(Rotary),
    /// -slope |i - j| is added to scaled scores, with a slope for each head as in the paper of ALiBi
    /// (arXiv 2108.12409).
    Alibi,
    /// A value for each head and bucket of j - i is added to scaled scores.
    Buckets(Buckets),
}

impl Relative {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Rotary positions (arXiv 2104.09864), the first half of a head's columns with the second.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotary {
    /// The base of the frequencies, > 0.
    pub(crate) theta: f64,
    #[serde(default, skip_serializing_if = "RotaryScaling::is_none")]
    pub(crate) scaling: RotaryScaling,
}

/// How the frequencies of rotary positions are stretched for longer texts.
#[derive(Clone, Copy, PartialEq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum RotaryScaling {
    #[default]
    None,
    /// All are divided by the factor.
    Linear { factor: f64 },
    /// YaRN (arXiv 2309.00071): low frequencies are divided by the factor, high ones are not; the bounds between them
    /// are rounded outwards to whole columns.
    Yarn {
        factor: f64,
        /// Positions of the model before it was stretched.
        original: usize,
        beta_fast: f64,
        beta_slow: f64,
        /// A factor of cosines and sines.
        attention_factor: f64,
    },
}

impl RotaryScaling {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

/// Buckets of j - i, half of them for each direction, the nearer half of those one distance each and the others
/// logarithmic (T5, arXiv 1910.10683).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Buckets {
    /// Rows of the table, a value a head each; at least as many as there are buckets.
    pub(crate) rows: usize,
    /// How many there are, a multiple of 4.
    pub(crate) count: usize,
    /// Distances from this one on share the last bucket.
    pub(crate) max_distance: usize,
    /// Whether one table serves all layers.
    pub(crate) shared: bool,
}

/// down(act(up(x))), or with a gate down(act(up(x)) * gate(x))
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeedForward {
    /// Outputs of `up`, and of the gate.
    pub(crate) intermediate: usize,
    pub(crate) activation: Function,
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) gated: bool,
    /// Whether `up` and the gate add biases.
    pub(crate) up_bias: bool,
    pub(crate) down_bias: bool,
}

/// Which states the head reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pooling {
    /// That of each sequence's first token. In int8 the rows of those tokens are kept in two bytes, because their
    /// rounding shows in the score as much as that of all others together.
    First,
    /// The mean of all tokens. No row is kept in two bytes.
    Mean,
}

/// One step of the head.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum HeadStep {
    /// A Linear layer, then an activation if there is one.
    Dense(Dense),
    Norm(Norm),
}

/// act(weight x + bias), and what is added to it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dense {
    pub(crate) outputs: usize,
    pub(crate) bias: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) activation: Option<Function>,
    #[serde(default, skip_serializing_if = "Residual::is_none")]
    pub(crate) residual: Residual,
}

/// What a step of the head adds of what it reads, after its activation.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Residual {
    #[default]
    None,
    /// As it is.
    Plain,
    /// Taken to the outputs' width by a Linear layer without bias.
    Projected,
}

impl Residual {
    fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
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
    /// What [`Function::by_name`] knows.
    pub(crate) const NAMES: &str = "gelu, gelu_new, gelu_pytorch_tanh, relu or silu";

    pub(crate) fn kernel(self) -> Activation {
        match self {
            Self::Gelu => Activation::Gelu,
            Self::GeluTanh => Activation::GeluTanh,
            Self::Relu => Activation::Relu,
            Self::Silu => Activation::Silu,
            Self::Tanh => Activation::Tanh,
        }
    }

    /// What is said of it behind the width of its layer.
    fn name(self) -> &'static str {
        match self {
            Self::Gelu => " gelu",
            Self::GeluTanh => " gelu_tanh",
            Self::Relu => " relu",
            Self::Silu => " silu",
            Self::Tanh => " tanh",
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

/// How much of the last layer is computed: what follows from the description, decided here alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LastForm {
    /// For the first token alone; keys and values of the others are never formed.
    Collapsed,
    /// For the first token alone, whose queries and keys depend on positions by rotation: keys of all tokens that it
    /// sees are formed, values are not.
    ValuesOnly,
    /// As any other layer.
    Ordinary,
}

impl LastForm {
    /// For people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Collapsed => "collapsed to the first token",
            Self::ValuesOnly => "for the first token, with keys of all tokens that it sees",
            Self::Ordinary => "ordinary",
        }
    }
}

impl Description {
    pub(crate) fn labels(&self) -> usize {
        self.head_widths().last().unwrap_or(self.hidden)
    }

    /// The width that each step of the head makes.
    pub(crate) fn head_widths(&self) -> impl Iterator<Item = usize> {
        self.head.iter().scan(self.hidden, |width, step| {
            if let HeadStep::Dense(dense) = step {
                *width = dense.outputs;
            }
            Some(*width)
        })
    }

    /// The head, for people.
    pub(crate) fn head_in_words(&self) -> String {
        let mut words = match self.pooling {
            Pooling::First => "first token".to_owned(),
            Pooling::Mean => "mean of all tokens".to_owned(),
        };
        for (step, width) in self.head.iter().zip(self.head_widths()) {
            words += &match step {
                HeadStep::Norm(_) => ", norm".to_owned(),
                HeadStep::Dense(Dense { activation, residual, .. }) => {
                    let activation = activation.map_or("", Function::name);
                    let residual = if residual.is_none() { "" } else { " with residual" };
                    format!(", dense {width}{activation}{residual}")
                }
            };
        }
        words
    }

    /// The form of the last layer.
    pub(crate) fn last_form(&self) -> LastForm {
        let rotates = |layer: &Layer| matches!(layer.attention.positions, Relative::Rotary(_));
        match self.pooling {
            Pooling::Mean => LastForm::Ordinary,
            Pooling::First if self.layers.last().is_some_and(rotates) => LastForm::ValuesOnly,
            Pooling::First => LastForm::Collapsed,
        }
    }

    /// Outputs and depth of the largest Linear layer of the encoder, in either direction.
    pub(crate) fn deepest(&self) -> usize {
        self.layers.iter().map(|layer| layer.feed_forward.intermediate).fold(self.hidden, usize::max)
    }

    /// Operations that the network needs for a pair, a multiply-add counting two, as coefficients of 1, of the number of
    /// tokens, and of its square. Where a layer has a span, scores are counted as if all were seen up to twice the span.
    pub(crate) fn operations(&self) -> [u64; 3] {
        let hidden = self.hidden as u64;
        let (last, form) = (self.layers.len() - 1, self.last_form());
        let mut sum = [0; 3];
        if self.embeddings.projected {
            sum[1] += 2 * hidden * self.embeddings.width as u64;
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let heads = layer.attention.heads as u64;
            let ups = if layer.feed_forward.gated { 3 } else { 2 };
            let dense = 2 * (4 * hidden * hidden + ups * hidden * layer.feed_forward.intermediate as u64);
            let seen = layer.attention.span.map(|span| 2 * span as u64 + 1);
            let scores = |a_token: u64| match seen {
                Some(seen) => [0, dense + a_token * seen, 0],
                None => [0, dense, a_token],
            };
            let own = match form {
                LastForm::Collapsed if i == last => [dense, 4 * heads * hidden, 0],
                LastForm::ValuesOnly if i == last => {
                    [dense, 2 * hidden * hidden + 2 * hidden + 2 * heads * hidden, 0]
                }
                _ => scores(4 * hidden),
            };
            sum.iter_mut().zip(own).for_each(|(sum, own)| *sum += own);
        }
        sum
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
