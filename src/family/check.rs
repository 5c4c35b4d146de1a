//! What no description may say: a packed file may carry anything.

use super::description::{
    Attention, Buckets, Description, Embeddings, HeadStep, Norm, Order, PositionTable, Relative, Residual,
    Rotary, RotaryScaling,
};
use crate::checkpoint::json::MAX_SIZE;

/// A field, what is expected there, and what was found.
pub(crate) type Contradiction = (String, String, String);

type Checked = Result<(), Contradiction>;

fn refuse(field: impl Into<String>, expected: impl Into<String>, found: impl ToString) -> Checked {
    Err((field.into(), expected.into(), found.to_string()))
}

fn size(field: &str, size: usize) -> Checked {
    match (1..=MAX_SIZE).contains(&size) {
        true => Ok(()),
        false => refuse(field, format!("an integer from 1 to {MAX_SIZE}"), size),
    }
}

fn norm(field: &str, norm: Norm) -> Checked {
    match (0.0..=1.0).contains(&norm.eps) {
        true => Ok(()),
        false => refuse(field, "an eps from 0 to 1", norm.eps),
    }
}

fn positive(field: String, number: f64) -> Checked {
    match number > 0.0 && number.is_finite() {
        true => Ok(()),
        false => refuse(field, "a number over 0", number),
    }
}

impl Description {
    /// Refuses a description that contradicts itself or that no machine could hold.
    pub(crate) fn check(&self) -> Checked {
        size("hidden", self.hidden)?;
        self.embeddings.check(self.hidden)?;
        size("layers", self.layers.len())?;
        for (i, layer) in self.layers.iter().enumerate() {
            self.check_layer(i).map_err(|(field, expected, found)| {
                (format!("layers.{i}{}{field}", if field.is_empty() { "" } else { "." }), expected, found)
            })?;
            let sizes = |i: usize| {
                let layer = &self.layers[i];
                let Attention { heads, head_dim, .. } = layer.attention;
                (heads, head_dim, layer.feed_forward.intermediate, layer.order)
            };
            let same = |other: usize| {
                let [expected, found] = [other, i].map(|i| {
                    let (heads, _, intermediate, _) = sizes(i);
                    format!("{heads} heads and {intermediate} intermediate")
                });
                refuse(format!("layers.{i}"), format!("{expected}, as in layer {other}"), found)
            };
            if sizes(i) != sizes(0) {
                return same(0);
            }
            let owner = layer.weights;
            if owner > i || self.layers[owner].weights != owner {
                let expected = "its own number, or that of a layer before it with weights of its own";
                return refuse(format!("layers.{i}.weights"), expected, owner);
            }
            let shape = |i: usize| {
                let layer = &self.layers[i];
                let Attention { bias, output_bias, .. } = layer.attention;
                (bias, output_bias, layer.feed_forward, layer.attention_norm, layer.feed_forward_norm)
            };
            if shape(i) != shape(owner) {
                let expected = format!("a layer of the form of layer {owner}, whose weights it has");
                return refuse(format!("layers.{i}"), expected, "another form");
            }
        }
        if let Some(final_norm) = self.final_norm {
            norm("final_norm", final_norm)?;
        }
        self.check_head()
    }

    fn check_layer(&self, i: usize) -> Checked {
        let layer = &self.layers[i];
        let Attention { heads, head_dim, scale, positions, span, .. } = layer.attention;
        size("attention.heads", heads)?;
        size("attention.head_dim", head_dim)?;
        if heads.checked_mul(head_dim) != Some(self.hidden) {
            let expected = format!("heads of {} columns together, which is `hidden`", self.hidden);
            return refuse("attention", expected, format!("{heads} of {head_dim}"));
        }
        positive("attention.scale".into(), f64::from(scale))?;
        if span.is_some_and(|span| span > MAX_SIZE) {
            return refuse("attention.span", format!("at most {MAX_SIZE}"), span.unwrap_or(0));
        }
        match positions {
            Relative::None | Relative::Alibi => {}
            Relative::Rotary(Rotary { theta, scaling }) => {
                if head_dim % 2 != 0 {
                    return refuse("attention.head_dim", "an even number, for rotary positions", head_dim);
                }
                positive("attention.positions.rotary.theta".into(), theta)?;
                let field = |name: &str| format!("attention.positions.rotary.scaling.{name}");
                match scaling {
                    RotaryScaling::None => {}
                    RotaryScaling::Linear { factor } => positive(field("linear.factor"), factor)?,
                    RotaryScaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor } => {
                        size(&field("yarn.original"), original)?;
                        let factors = [
                            ("factor", factor),
                            ("beta_fast", beta_fast),
                            ("beta_slow", beta_slow),
                            ("attention_factor", attention_factor),
                        ];
                        for (name, number) in factors {
                            positive(field(&format!("yarn.{name}")), number)?;
                        }
                    }
                }
            }
            Relative::Buckets(Buckets { rows, count, max_distance, .. }) => {
                let field = |name: &str| format!("attention.positions.buckets.{name}");
                size(&field("rows"), rows)?;
                if count < 4 || count % 4 != 0 || count > rows {
                    let expected = format!("a multiple of 4, at most the {rows} rows");
                    return refuse(field("count"), expected, count);
                }
                if max_distance <= count / 4 || max_distance > MAX_SIZE {
                    let expected = format!("more than {}, a quarter of the buckets", count / 4);
                    return refuse(field("max_distance"), expected, max_distance);
                }
            }
        }
        size("feed_forward.intermediate", layer.feed_forward.intermediate)?;
        match layer.attention_norm {
            Some(attention_norm) => norm("attention_norm", attention_norm)?,
            None if layer.order == Order::NormLast => {
                return refuse("attention_norm", "a norm, as norms come last", "none");
            }
            None => {}
        }
        norm("feed_forward_norm", layer.feed_forward_norm)
    }

    fn check_head(&self) -> Checked {
        if self.head.is_empty() {
            return refuse("head", "at least one step", "none");
        }
        let mut width = self.hidden;
        for (i, step) in self.head.iter().enumerate() {
            match step {
                HeadStep::Dense(dense) => {
                    size(&format!("head.{i}.dense.outputs"), dense.outputs)?;
                    if dense.residual == Residual::Plain && dense.outputs != width {
                        let expected = format!("{width} outputs, as much as is added");
                        return refuse(format!("head.{i}.dense.outputs"), expected, dense.outputs);
                    }
                    width = dense.outputs;
                }
                HeadStep::Norm(of_head) => norm(&format!("head.{i}.norm"), *of_head)?,
            }
        }
        Ok(())
    }
}

impl Embeddings {
    fn check(&self, hidden: usize) -> Checked {
        size("embeddings.width", self.width)?;
        if !self.projected && self.width != hidden {
            let expected = format!("{hidden}, which is `hidden`, as there is no projection");
            return refuse("embeddings.width", expected, self.width);
        }
        size("embeddings.words", self.words)?;
        if let Some(table @ PositionTable { rows, .. }) = self.positions {
            size("embeddings.positions.rows", rows)?;
            if table.window() == 0 {
                let expected = format!("more than {}, the rows of the pad and before", table.rows);
                return refuse("embeddings.positions.rows", expected, rows);
            }
        }
        if let Some(types) = self.token_types {
            size("embeddings.token_types.rows", types.rows)?;
        }
        self.norm.map_or(Ok(()), |of_embeddings| norm("embeddings.norm", of_embeddings))
    }
}
