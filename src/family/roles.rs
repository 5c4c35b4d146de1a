//! The roles that tensors play in a network, and what packing makes of them.

use super::description::{Description, HeadStep, LastForm, Layer, Norm, Relative, Residual};
use crate::checkpoint::names::Names;
use crate::checkpoint::packed::{DESCRIPTION, panels_name};
use crate::checkpoint::tensors::Weights;

/// Parts of a layer, by their roles.
pub(crate) const QUERY: &str = "query";
pub(crate) const KEY: &str = "key";
pub(crate) const VALUE: &str = "value";
/// What turns the context that attention gathers into what is added to the residual.
pub(crate) const ATTENTION_OUTPUT: &str = "attention_output";
pub(crate) const ATTENTION_NORM: &str = "attention_norm";
pub(crate) const UP: &str = "up";
/// What the activation of `up` is multiplied with.
pub(crate) const GATE: &str = "gate";
pub(crate) const DOWN: &str = "down";
pub(crate) const FEED_FORWARD_NORM: &str = "feed_forward_norm";
/// The table of biases by bucket, where each layer has its own.
pub(crate) const BUCKETS: &str = "buckets";
/// Query, key and value of a layer, whose outputs stand side by side.
pub(crate) const QKV: &str = "qkv";
/// `up`, and behind it the gate.
pub(crate) const UP_GATE: &str = "up_gate";
/// For each head the transpose of its key projection, which turns a query into a row of `hidden`.
pub(crate) const KEY_FOLD: &str = "key_fold";
/// For each head its value projection.
pub(crate) const VALUE_HEADS: &str = "value_heads";

/// Tables, norm and projection of the embeddings, by their roles.
pub(crate) const WORDS: &str = "embeddings.words";
pub(crate) const POSITIONS: &str = "embeddings.positions";
pub(crate) const TOKEN_TYPES: &str = "embeddings.token_types";
pub(crate) const EMBEDDINGS_NORM: &str = "embeddings.norm";
pub(crate) const PROJECTION: &str = "embeddings.projection";
/// The table of biases by bucket that all layers share.
pub(crate) const SHARED_BUCKETS: &str = "shared.buckets";
pub(crate) const FINAL_NORM: &str = "final_norm";

/// The role of a part of layer `i`.
pub(crate) fn role(i: usize, part: &str) -> String {
    format!("layer.{i}.{part}")
}

/// The role of step `i` of the head.
pub(crate) fn head_role(i: usize) -> String {
    format!("head.{i}")
}

/// The role of what takes a residual past step `i` of the head.
pub(crate) fn head_residual_role(i: usize) -> String {
    format!("head.{i}.residual")
}

impl Layer {
    /// Its Linear layers by their parts, and whether each has a bias.
    pub(crate) fn linears(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let (attention, feed_forward) = (self.attention, self.feed_forward);
        let gate = feed_forward.gated.then_some((GATE, feed_forward.up_bias));
        [
            (QUERY, attention.bias),
            (KEY, attention.bias),
            (VALUE, attention.bias),
            (ATTENTION_OUTPUT, attention.output_bias),
            (UP, feed_forward.up_bias),
            (DOWN, feed_forward.down_bias),
        ]
        .into_iter()
        .chain(gate)
    }

    /// Its norms by their parts.
    pub(crate) fn norms(&self) -> impl Iterator<Item = (&'static str, Norm)> {
        let attention = self.attention_norm.map(|norm| (ATTENTION_NORM, norm));
        attention.into_iter().chain([(FEED_FORWARD_NORM, self.feed_forward_norm)])
    }

    /// The product that `up` is part of.
    pub(crate) fn up_product(&self) -> &'static str {
        if self.feed_forward.gated { UP_GATE } else { UP }
    }
}

impl Description {
    /// Layers that have weights of their own, by their numbers.
    pub(crate) fn own_layers(&self) -> impl Iterator<Item = (usize, &Layer)> {
        self.layers.iter().enumerate().filter(|(i, layer)| layer.weights == *i)
    }

    /// Roles of the encoder's Linear layers, without `.weight`, and whether each has a bias: those that packing turns
    /// into panels.
    pub(crate) fn linears_and_biases(&self) -> impl Iterator<Item = (String, bool)> {
        self.own_layers()
            .flat_map(|(i, layer)| layer.linears().map(move |(part, bias)| (role(i, part), bias)))
    }

    /// Roles of the encoder's Linear layers, without `.weight`.
    pub(crate) fn linears(&self) -> impl Iterator<Item = String> {
        self.linears_and_biases().map(|(role, _)| role)
    }

    /// Roles of all norms outside the head.
    fn norms(&self) -> impl Iterator<Item = (String, Norm)> {
        let layers = self
            .own_layers()
            .flat_map(|(i, layer)| layer.norms().map(move |(part, norm)| (role(i, part), norm)));
        let embeddings = self.embeddings.norm.map(|norm| (EMBEDDINGS_NORM.to_owned(), norm));
        let last = self.final_norm.map(|norm| (FINAL_NORM.to_owned(), norm));
        layers.chain(embeddings).chain(last)
    }

    /// Roles of the tables of biases by bucket.
    fn bucket_tables(&self) -> impl Iterator<Item = String> {
        let shared = |buckets: super::description::Buckets, i| match buckets.shared {
            true => SHARED_BUCKETS.to_owned(),
            false => role(i, BUCKETS),
        };
        self.own_layers().filter_map(move |(i, layer)| match layer.attention.positions {
            Relative::Buckets(buckets) => Some(shared(buckets, i)),
            _ => None,
        })
    }

    /// Roles of the products that packing makes of the encoder's Linear layers.
    pub(crate) fn products(&self) -> impl Iterator<Item = String> {
        let last = self.layers.len() - 1;
        let of_layer = move |i: usize| {
            let own = self.layers[i].weights;
            let attention: &[&str] = match self.last_form() {
                LastForm::Collapsed if i == last => &[QUERY, KEY_FOLD, VALUE_HEADS],
                LastForm::ValuesOnly if i == last => &[QUERY, KEY, VALUE_HEADS],
                _ if own == i => &[QKV],
                // Those of the layer whose weights it has. That one may be of the other form only where it is last.
                _ => &[],
            };
            let after: [&str; 3] = [ATTENTION_OUTPUT, self.layers[i].up_product(), DOWN];
            let after = after.into_iter().filter(move |_| own == i).map(move |part| role(i, part));
            attention.iter().map(move |part| role(i, part)).chain(after)
        };
        (0..self.layers.len()).flat_map(of_layer)
    }

    /// The names of a packed checkpoint: each tensor is called by its role, and the encoder's weights are panels.
    pub(crate) fn packed_names(&self, weights: &Weights) -> Names {
        let mut names = Names::new("layer.", format!("only what {DESCRIPTION} names"));
        let mut add = |role: String| names.insert(role.clone(), role);
        let tables = [
            Some(WORDS),
            self.embeddings.positions.map(|_| POSITIONS),
            self.embeddings.token_types.map(|_| TOKEN_TYPES),
        ];
        tables.into_iter().flatten().for_each(|table| add(table.to_owned()));
        self.bucket_tables().for_each(&mut add);
        let mut head: Vec<(String, bool)> = Vec::new();
        if self.embeddings.projected {
            head.push((PROJECTION.to_owned(), true));
        }
        let mut head_norms = Vec::new();
        for (i, step) in self.head.iter().enumerate() {
            match step {
                HeadStep::Dense(dense) => {
                    head.push((head_role(i), dense.bias));
                    if dense.residual == Residual::Projected {
                        head.push((head_residual_role(i), false));
                    }
                }
                HeadStep::Norm(norm) => head_norms.push((head_role(i), *norm)),
            }
        }
        for (norm, Norm { bias, .. }) in self.norms().chain(head_norms) {
            add(format!("{norm}.weight"));
            if bias {
                add(format!("{norm}.bias"));
            }
            let scale = format!("{norm}.residual_scale");
            if weights.contains(&scale) {
                add(scale);
            }
        }
        for (linear, bias) in head {
            add(format!("{linear}.weight"));
            if bias {
                add(format!("{linear}.bias"));
            }
        }
        for (linear, _) in self.linears_and_biases().filter(|&(_, bias)| bias) {
            add(format!("{linear}.bias"));
        }
        self.products().for_each(|product| add(panels_name(&product)));
        names
    }
}
