//! ModernBERT: norms first, without one before the first attention; rotary positions with a base for each kind of
//! layer; layers that see all tokens or a window; a gate; a head of dense, activation and norm before the classifier.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::description::{
    Attention, Dense, Description, Embeddings, FeedForward, Function, HeadStep, Layer, Norm, Order, Pooling,
    Relative, Residual, Rotary, RotaryScaling,
};
use super::parts::{activation, dense, eps, heads, insert_linear, insert_norm, labels, prefix};
use super::roles::{
    ATTENTION_NORM, ATTENTION_OUTPUT, DOWN, EMBEDDINGS_NORM, FEED_FORWARD_NORM, FINAL_NORM, GATE, KEY, QUERY,
    UP, VALUE, WORDS, head_role, role,
};
use super::{Architecture, Facts, Head};
use crate::checkpoint::json::{Fields, kind};
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::error::Result;

/// Prefixes under which the encoder is found.
const PREFIXES: [&str; 2] = ["model.", ""];
const WORDS_TENSOR: &str = "embeddings.tok_embeddings.weight";

/// The two kinds of layer, each with the key of its old base and the base where none is named.
const KINDS: [(&str, &str, f64); 2] =
    [("full_attention", "global_rope_theta", 160_000.0), ("sliding_attention", "local_rope_theta", 10_000.0)];

/// What is followed of the positions of one kind of layer.
const ROPE_KEYS: [&str; 10] = [
    "rope_type",
    "type",
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "attention_factor",
    "mscale",
    "mscale_all_dim",
    "beta_fast",
    "beta_slow",
];

#[derive(Debug)]
struct ModernBert {
    facts: Facts,
    hidden: usize,
    heads: usize,
    intermediate: usize,
    norm: Norm,
    activation: Function,
    attention_bias: bool,
    mlp_bias: bool,
    /// Positions of layers that see all tokens, and of those that see a window.
    rotary: [Rotary; 2],
    /// Half the window.
    span: usize,
    /// For each layer, whether it sees a window only.
    local: Locality,
    pooling: Pooling,
    head_bias: bool,
    head_activation: Function,
    labels: Option<(&'static str, usize)>,
}

/// Which layers see a window only.
#[derive(Debug)]
enum Locality {
    Named(Vec<bool>),
    /// All but every n-th, from the first on.
    Every(usize),
}

impl Locality {
    fn is_local(&self, i: usize) -> bool {
        match self {
            Self::Named(layers) => layers.get(i).copied().unwrap_or(false),
            Self::Every(n) => !i.is_multiple_of(*n),
        }
    }
}

pub(super) fn parse(fields: &Fields<'_>) -> Result<Arc<dyn Architecture>> {
    let hidden = fields.size("hidden_size")?;
    let heads = heads(fields, "num_attention_heads", ("hidden_size", hidden))?;
    let head_dim = hidden / heads;
    if let Some(other) = fields.get("head_dim").filter(|&other| *other != head_dim) {
        let expected = format!("{head_dim}, which is hidden_size / num_attention_heads");
        return Err(fields.error("head_dim", &expected, other));
    }
    if !head_dim.is_multiple_of(2) {
        let expected = "an even number of columns for each head, as positions are rotary";
        return Err(fields.error("hidden_size", expected, format!("{hidden}, heads of {head_dim}")));
    }
    let layers = fields.size("num_hidden_layers")?;
    let (activation, activation_name) = activation(fields, "hidden_activation", "gelu")?;
    let (head_activation, _) = self::activation(fields, "classifier_activation", "gelu")?;
    let flag = |field| fields.boolean(field).map(|value| value.unwrap_or(false));
    let pooling = match fields.string("classifier_pooling")?.unwrap_or("cls") {
        "cls" => Pooling::First,
        "mean" => Pooling::Mean,
        other => return Err(fields.error("classifier_pooling", "`cls` or `mean`", format!("`{other}`"))),
    };
    Ok(Arc::new(ModernBert {
        hidden,
        heads,
        intermediate: fields.size("intermediate_size")?,
        norm: Norm { eps: eps(fields, "norm_eps", 1e-5)?, bias: flag("norm_bias")? },
        activation,
        attention_bias: flag("attention_bias")?,
        mlp_bias: flag("mlp_bias")?,
        rotary: rotary(fields)?,
        span: span(fields)?,
        local: locality(fields, layers)?,
        pooling,
        head_bias: flag("classifier_bias")?,
        head_activation,
        labels: fields.labels()?,
        facts: Facts {
            file: fields.file.name.clone(),
            hidden,
            layers,
            vocab: fields.size("vocab_size")?,
            window: (fields.size("max_position_embeddings")?, "max_position_embeddings"),
            token_types: 1,
            segments: false,
            tokenizer_class: Some("PreTrainedTokenizerFast"),
            activation: activation_name,
        },
    }))
}

/// Half the window. `sliding_window`, where it is, is that half, and counts.
fn span(fields: &Fields<'_>) -> Result<usize> {
    if fields.has("sliding_window") {
        return fields.size("sliding_window");
    }
    let window = if fields.has("local_attention") { fields.size("local_attention")? } else { 128 };
    Ok(window / 2)
}

/// `layer_types`, else every n-th layer.
fn locality(fields: &Fields<'_>, layers: usize) -> Result<Locality> {
    let Some(types) = fields.get("layer_types") else {
        let every = "global_attn_every_n_layers";
        return Ok(Locality::Every(if fields.has(every) { fields.size(every)? } else { 3 }));
    };
    let types = types.as_array().ok_or_else(|| fields.error("layer_types", "a list", kind(types)))?;
    if types.len() != layers {
        let expected = format!("one of each of the {layers} layers");
        return Err(fields.error("layer_types", &expected, types.len()));
    }
    let is_local = |(i, value): (usize, &Value)| match value.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => {
            Err(fields.error(&format!("layer_types[{i}]"), "`full_attention` or `sliding_attention`", value))
        }
    };
    Ok(Locality::Named(types.iter().enumerate().map(is_local).collect::<Result<_>>()?))
}

/// The positions of both kinds of layer, with the precedence of transformers: `rope_parameters`, updated by
/// `rope_scaling`; a base within them, else the old key, else the class's own.
fn rotary(fields: &Fields<'_>) -> Result<[Rotary; 2]> {
    let object = |field: &str, value: &Value| {
        let map = value.as_object().cloned();
        map.ok_or_else(|| fields.error(field, "an object", kind(value)))
    };
    let scaling = fields.get("rope_scaling").map(|value| object("rope_scaling", value)).transpose()?;
    let all = fields.get("rope_parameters").map(|value| object("rope_parameters", value)).transpose()?;
    let known = |key: &String| KINDS.iter().any(|(kind, ..)| kind == key);
    if let Some(other) = all.iter().flat_map(Map::keys).find(|&key| !known(key)) {
        let expected = "an object for `full_attention` and one for `sliding_attention`";
        return Err(fields.error("rope_parameters", expected, format!("`{other}`")));
    }
    let of_kind = |(kind, old_key, absent): (&str, &str, f64)| -> Result<Rotary> {
        let field = format!("rope_parameters.{kind}");
        let mut own = match all.as_ref().and_then(|all| all.get(kind)).filter(|value| !value.is_null()) {
            Some(value) => object(&field, value)?,
            None => Map::new(),
        };
        own.extend(scaling.iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
        let (theta_field, theta) = match own.get("rope_theta") {
            Some(theta) => (format!("{field}.rope_theta"), Some(theta)),
            None => (old_key.to_owned(), fields.map.get(old_key)),
        };
        let theta = match theta {
            None => absent,
            Some(value) => value
                .as_f64()
                .filter(|theta| *theta > 0.0 && theta.is_finite())
                .ok_or_else(|| fields.error(&theta_field, "a number over 0", value))?,
        };
        let scaling = rope_scaling(fields, &field, &own, theta)?;
        Ok(Rotary { theta, scaling })
    };
    let [full, sliding] = KINDS;
    Ok([of_kind(full)?, of_kind(sliding)?])
}

fn rope_scaling(
    fields: &Fields<'_>,
    field: &str,
    own: &Map<String, Value>,
    theta: f64,
) -> Result<RotaryScaling> {
    let number = |key: &str| match own.get(key).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(value) => match value.as_f64().filter(|number| *number > 0.0 && number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(fields.error(&format!("{field}.{key}"), "a number over 0", value)),
        },
    };
    let factor = || {
        number("factor")?
            .ok_or_else(|| fields.error(&format!("{field}.factor"), "a number over 0", "nothing"))
    };
    for (key, value) in own {
        let follows = match &**key {
            // transformers 5.23 reads it elsewhere than where it stands for a kind of layer, and passes it over.
            "truncate" => *value == true,
            "partial_rotary_factor" => *value == 1.0,
            _ => ROPE_KEYS.contains(&&**key),
        };
        if !follows && !value.is_null() {
            return Err(fields.error(&format!("{field}.{key}"), "nothing, as it cannot be applied", value));
        }
    }
    // The older key of the same meaning.
    let rope_type = own.get("rope_type").or_else(|| own.get("type")).unwrap_or(&Value::Null);
    match rope_type.as_str().unwrap_or("default") {
        _ if !rope_type.is_null() && !rope_type.is_string() => {
            Err(fields.error(&format!("{field}.rope_type"), "a string", rope_type))
        }
        "default" => Ok(RotaryScaling::None),
        "linear" => Ok(RotaryScaling::Linear { factor: factor()? }),
        "yarn" => {
            let original = match own.get("original_max_position_embeddings") {
                None | Some(Value::Null) => fields.size("max_position_embeddings")?,
                Some(value) => value.as_u64().filter(|n| (1..=1 << 24).contains(n)).ok_or_else(|| {
                    fields.error(
                        &format!("{field}.original_max_position_embeddings"),
                        "an integer from 1 on",
                        value,
                    )
                })? as usize,
            };
            let factor = factor()?;
            let scale = |by: f64| if factor <= 1.0 { 1.0 } else { 0.1 * by * factor.ln() + 1.0 };
            let attention_factor =
                match (number("attention_factor")?, number("mscale")?, number("mscale_all_dim")?) {
                    (Some(given), ..) => given,
                    (None, Some(own), Some(all)) => scale(own) / scale(all),
                    _ => scale(1.0),
                };
            if theta == 1.0 {
                return Err(fields.error(
                    &format!("{field}.rope_theta"),
                    "another base than 1, with yarn",
                    theta,
                ));
            }
            Ok(RotaryScaling::Yarn {
                factor,
                original,
                beta_fast: number("beta_fast")?.unwrap_or(32.0),
                beta_slow: number("beta_slow")?.unwrap_or(1.0),
                attention_factor,
            })
        }
        other => {
            let expected = "`default`, `linear` or `yarn`";
            Err(fields.error(&format!("{field}.rope_type"), expected, format!("`{other}`")))
        }
    }
}

impl ModernBert {
    fn prefix(weights: &Weights) -> Result<&'static str> {
        prefix(weights, &PREFIXES, WORDS_TENSOR)
    }

    fn layer(&self, i: usize) -> Layer {
        let local = self.local.is_local(i);
        let head_dim = self.hidden / self.heads;
        Layer {
            weights: i,
            order: Order::NormFirst,
            attention: Attention {
                heads: self.heads,
                head_dim,
                scale: 1.0 / (head_dim as f32).sqrt(),
                bias: self.attention_bias,
                output_bias: self.attention_bias,
                positions: Relative::Rotary(self.rotary[usize::from(local)]),
                span: local.then_some(self.span),
            },
            feed_forward: FeedForward {
                intermediate: self.intermediate,
                activation: self.activation,
                gated: true,
                up_bias: self.mlp_bias,
                down_bias: self.mlp_bias,
            },
            attention_norm: (i > 0).then_some(self.norm),
            feed_forward_norm: self.norm,
        }
    }

    fn head_of(&self, labels: usize) -> Head {
        let first = Dense {
            outputs: self.hidden,
            bias: self.head_bias,
            activation: Some(self.head_activation),
            residual: Residual::None,
        };
        let steps = vec![HeadStep::Dense(first), HeadStep::Norm(self.norm), dense(labels, None)];
        Head { pooling: self.pooling, steps }
    }
}

impl Architecture for ModernBert {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn encoder(&self) -> Description {
        Description {
            family: "modernbert".into(),
            hidden: self.hidden,
            embeddings: Embeddings {
                width: self.hidden,
                words: self.facts.vocab,
                positions: None,
                token_types: None,
                norm: Some(self.norm),
                projected: false,
            },
            layers: (0..self.facts.layers).map(|i| self.layer(i)).collect(),
            final_norm: Some(self.norm),
            pooling: self.pooling,
            head: Vec::new(),
        }
    }

    fn encoder_names(&self, weights: &Weights) -> Result<Names> {
        let prefix = Self::prefix(weights)?;
        let count = self.facts.layers;
        let expected = format!("only what ModernBERT's layers have, of which num_hidden_layers says {count}");
        let mut names = Names::new(format!("{prefix}layers."), expected);
        names.insert(WORDS, format!("{prefix}{WORDS_TENSOR}"));
        insert_norm(&mut names, weights, EMBEDDINGS_NORM, &format!("{prefix}embeddings.norm"));
        insert_norm(&mut names, weights, FINAL_NORM, &format!("{prefix}final_norm"));
        for i in 0..count {
            let module = format!("{prefix}layers.{i}");
            let stacked = [
                ("attn.Wqkv", &[QUERY, KEY, VALUE][..], self.hidden),
                ("mlp.Wi", &[UP, GATE], self.intermediate),
            ];
            for (theirs, parts, rows) in stacked {
                weights.require(&format!("{module}.{theirs}.weight"))?;
                for (n, part) in parts.iter().enumerate() {
                    for kind in ["weight", "bias"] {
                        let tensor = format!("{module}.{theirs}.{kind}");
                        let role = format!("{}.{kind}", role(i, part));
                        names.insert_part(role, tensor, [n, parts.len()], rows);
                    }
                }
            }
            insert_linear(&mut names, &role(i, ATTENTION_OUTPUT), &format!("{module}.attn.Wo"));
            insert_linear(&mut names, &role(i, DOWN), &format!("{module}.mlp.Wo"));
            if i > 0 {
                insert_norm(&mut names, weights, &role(i, ATTENTION_NORM), &format!("{module}.attn_norm"));
            }
            insert_norm(&mut names, weights, &role(i, FEED_FORWARD_NORM), &format!("{module}.mlp_norm"));
        }
        Ok(names)
    }

    fn head(&self, weights: &Weights, names: &mut Names) -> Result<Head> {
        let labels = labels(weights, "classifier", self.labels, &self.facts.file)?;
        insert_linear(names, &head_role(0), "head.dense");
        insert_norm(names, weights, &head_role(1), "head.norm");
        insert_linear(names, &head_role(2), "classifier");
        Ok(self.head_of(labels))
    }

    fn expect_head(&self, carried: &Description) -> Head {
        self.head_of(carried.labels())
    }
}
