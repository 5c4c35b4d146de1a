//! What the Linear layers of a description read, and how they hang together: by roles, without any weights.

use std::collections::BTreeMap;
use std::fmt;

use crate::checkpoint::names::Source;
use crate::family::Description;
use crate::family::description::{HeadStep, Layer, Norm, Order, Pooling, Relative};
use crate::family::roles::{
    ATTENTION_NORM, ATTENTION_OUTPUT, DOWN, EMBEDDINGS_NORM, FEED_FORWARD_NORM, KEY, QUERY, UP, VALUE,
    head_role, role,
};

/// What some Linear layers read, all the same. Layers and norms go by their roles, such as `layer.0.query`.
#[doc(hidden)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// All Linear layers that read it, at least one.
    pub linears: Vec<String>,
    /// Whether it has a row a token. Else it has a row a pair: that of its first token.
    pub all_tokens: bool,
    /// Whether int8 holds its rows in one byte a value. Else they take two, and their range does not matter.
    pub in_one_byte: bool,
    /// The norm that gives its rows, if one does. Where `in_one_byte` holds, nothing reads them but `linears` and the
    /// residual of `residual_of`.
    pub norm: Option<String>,
    /// The norm before which its rows are added as a residual, each column times the norm's `residual_scale`.
    pub residual_of: Option<String>,
    /// The norm before which a residual is added to what `linears` make of it.
    pub adds_to: Option<String>,
    /// The Linear layer of whose outputs the activation makes its columns, one of each.
    pub activation_of: Option<String>,
}

/// Why calibration cannot treat a model.
#[doc(hidden)]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Untreated {
    /// The role of the Linear layer or norm that stands in the way.
    pub role: String,
    /// What calibration needs of it.
    pub expected: String,
    /// What it has.
    pub found: String,
}

impl fmt::Display for Untreated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: calibration expects {}, found {}", self.role, self.expected, self.found)
    }
}

/// The inputs of a layer in the order in which they are computed; after those of the last that of the head's first
/// step, unless this is what makes the logits.
pub(crate) fn inputs(description: &Description, layer: usize) -> Vec<Input> {
    let is_last = layer + 1 == description.layers.len();
    let own = |part: &str| role(layer, part);
    let input = |parts: &[&str]| Input {
        linears: parts.iter().map(|part| own(part)).collect(),
        all_tokens: !is_last || parts.contains(&KEY),
        in_one_byte: !is_last,
        norm: None,
        residual_of: None,
        adds_to: None,
        activation_of: None,
    };
    let before = match layer.checked_sub(1) {
        Some(before) => role(before, FEED_FORWARD_NORM),
        None => EMBEDDINGS_NORM.to_owned(),
    };
    // The last layer's query is that of the first token alone.
    let projections: &[&[&str]] = if is_last { &[&[QUERY], &[KEY, VALUE]] } else { &[&[QUERY, KEY, VALUE]] };
    let mut inputs: Vec<Input> = projections
        .iter()
        .map(|parts| Input {
            norm: Some(before.clone()),
            residual_of: Some(own(ATTENTION_NORM)),
            ..input(parts)
        })
        .collect();
    inputs.push(Input { adds_to: Some(own(ATTENTION_NORM)), ..input(&[ATTENTION_OUTPUT]) });
    inputs.push(Input {
        norm: Some(own(ATTENTION_NORM)),
        residual_of: Some(own(FEED_FORWARD_NORM)),
        ..input(&[UP])
    });
    inputs.push(Input {
        adds_to: Some(own(FEED_FORWARD_NORM)),
        activation_of: Some(own(UP)),
        ..input(&[DOWN])
    });
    if is_last && description.head.len() > 1 {
        inputs.push(Input { linears: vec![head_role(0)], ..input(&[]) });
    }
    inputs
}

/// Decides whether calibration can treat a network: whether it is of the form that [`inputs`] describes, and each of its
/// Linear layers has a weight and a bias of its own, which can be rounded and corrected without touching another layer.
/// `source` gives the tensor of the checkpoint that plays a role, if there is one.
pub(crate) fn check(
    description: &Description,
    source: impl Fn(&str) -> Option<Source>,
) -> Result<(), Untreated> {
    check_forms(description)?;
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let mut own = |role: &str, part: &str| -> Result<(), Untreated> {
        let untreated = |expected: &str, found: String| Untreated {
            role: role.to_owned(),
            expected: expected.to_owned(),
            found,
        };
        let Some(Source { tensor, rows }) = source(&format!("{role}.{part}")) else {
            return Err(untreated(&format!("a {part}"), "none".to_owned()));
        };
        let whole = format!("a {part} that is a tensor of its own");
        if let Some(rows) = rows {
            return Err(untreated(
                &whole,
                format!("rows {} to {} of `{tensor}`", rows.rows.start, rows.rows.end),
            ));
        }
        match owners.insert(tensor, role.to_owned()) {
            Some(other) if other != role => Err(untreated(&whole, format!("that of `{other}`"))),
            _ => Ok(()),
        }
    };
    for Input { linears, norm, .. } in
        (0..description.layers.len()).flat_map(|layer| inputs(description, layer))
    {
        for linear in &linears {
            own(linear, "weight")?;
            own(linear, "bias")?;
        }
        if let Some(norm) = norm {
            own(&norm, "weight")?;
        }
    }
    Ok(())
}

/// Decides on the forms: of what [`inputs`] says nothing, nothing can be calibrated.
fn check_forms(description: &Description) -> Result<(), Untreated> {
    let untreated = |role: String, expected: &str, found: &str| {
        Err(Untreated { role, expected: expected.to_owned(), found: found.to_owned() })
    };
    // Taken apart without `..`: what is new has to be decided on here before it compiles.
    let Description { family: _, hidden: _, embeddings, layers, final_norm, pooling, head } = description;
    match embeddings.norm {
        Some(Norm { eps: _, bias: true }) if !embeddings.projected => {}
        _ => {
            let expected = "a norm with bias right before the first layer";
            return untreated(EMBEDDINGS_NORM.to_owned(), expected, "another form");
        }
    }
    if *pooling != Pooling::First || final_norm.is_some() {
        return untreated(
            head_role(0),
            "the first token's state as it leaves the last layer",
            "another pooling",
        );
    }
    for (i, layer) in layers.iter().enumerate() {
        let Layer { weights, order, attention, feed_forward, attention_norm, feed_forward_norm } = layer;
        if *weights != i {
            let found = format!("those of layer {weights}");
            return untreated(role(i, QUERY), "weights of the layer's own", &found);
        }
        if *order == Order::NormFirst {
            return untreated(role(i, ATTENTION_NORM), "norms behind the residuals", "norms before them");
        }
        if feed_forward.gated {
            return untreated(role(i, UP), "a network without a gate", "a gate");
        }
        match attention.positions {
            Relative::None | Relative::Alibi | Relative::Buckets(_) => {}
            Relative::Rotary(_) => return untreated(role(i, KEY), "no rotary positions", "such"),
        }
        let norms = [(ATTENTION_NORM, *attention_norm), (FEED_FORWARD_NORM, Some(*feed_forward_norm))];
        for (part, norm) in norms {
            if !norm.is_some_and(|norm| norm.bias) {
                return untreated(role(i, part), "a norm with bias", "none");
            }
        }
    }
    for (i, step) in head.iter().enumerate() {
        if let HeadStep::Norm(_) = step {
            return untreated(head_role(i), "a head of Linear layers", "a norm");
        }
    }
    Ok(())
}
