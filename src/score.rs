//! Logits to scores.

use crate::error::{Error, Result};

/// How a score is made of a pair's logits. It is applied once, to raw logits, in f32.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum ScoreMode {
    /// As the checkpoint says: its `activation_fn` where it names one, else sigmoid for one label and raw for more.
    #[default]
    Model,
    /// The logit itself.
    Raw,
    /// 1 / (1 + e^-logit), label by label.
    Sigmoid,
    /// e^logit over the sum of all labels'. Needs at least two.
    Softmax,
    /// The logit less that of the other label: of two labels, what softmax is made of, without its saturation.
    Difference,
}

/// A function of a pair's logits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ScoreActivation {
    Identity,
    Sigmoid,
    Softmax,
    Difference,
}

/// What the checkpoint says of its scores.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum ModelActivation {
    /// Nothing: sigmoid for one label, none for more.
    Default,
    Named(ScoreActivation),
    /// Something that is not supported: an error where the model's own scores are asked for.
    Unknown {
        file: String,
        field: String,
        name: String,
    },
}

impl ModelActivation {
    /// The function that a mode stands for with this model.
    pub(crate) fn resolve(&self, mode: ScoreMode, labels: usize) -> Result<ScoreActivation> {
        let activation = match (mode, self) {
            (ScoreMode::Raw, _) => ScoreActivation::Identity,
            (ScoreMode::Sigmoid, _) => ScoreActivation::Sigmoid,
            (ScoreMode::Softmax, _) => ScoreActivation::Softmax,
            (ScoreMode::Difference, _) => ScoreActivation::Difference,
            (ScoreMode::Model, Self::Named(activation)) => *activation,
            (ScoreMode::Model, Self::Default) if labels == 1 => ScoreActivation::Sigmoid,
            (ScoreMode::Model, Self::Default) => ScoreActivation::Identity,
            (ScoreMode::Model, Self::Unknown { file, field, name }) => {
                return Err(Error::Config {
                    file: file.clone(),
                    field: field.clone(),
                    expected: "torch's Sigmoid, Identity or Softmax, or a score mode of the caller's choice"
                        .into(),
                    found: format!("`{name}`"),
                });
            }
        };
        if activation == ScoreActivation::Softmax && labels == 1 {
            return Err(Error::option("score", "softmax over one label is always 1; use sigmoid or raw"));
        }
        if activation == ScoreActivation::Difference && labels != 2 {
            let reason = format!("the difference of two labels' logits, but the model has {labels}");
            return Err(Error::option("score", reason));
        }
        Ok(activation)
    }
}

impl ScoreActivation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Sigmoid => "sigmoid",
            Self::Softmax => "softmax",
            Self::Difference => "difference",
        }
    }

    /// A number by which documents are ordered as by the score of one label, and which does not saturate.
    pub(crate) fn order(self, logits: &[f32], label: usize) -> f32 {
        match self {
            Self::Identity | Self::Sigmoid => logits[label],
            // The logarithm of the label's odds.
            Self::Softmax | Self::Difference => {
                let others =
                    || logits.iter().enumerate().filter(|(i, _)| *i != label).map(|(_, logit)| *logit);
                let max = others().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = others().map(|logit| (logit - max).exp()).sum();
                logits[label] - max - sum.ln()
            }
        }
    }

    /// The score of one label.
    pub(crate) fn score(self, logits: &[f32], label: usize) -> f32 {
        match self {
            Self::Identity => logits[label],
            Self::Sigmoid => 1.0 / (1.0 + (-logits[label]).exp()),
            Self::Softmax => {
                let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let sum: f32 = logits.iter().map(|logit| (logit - max).exp()).sum();
                (logits[label] - max).exp() / sum
            }
            Self::Difference => self.order(logits, label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_sigmoid_for_one_label_and_none_for_more() {
        let resolve = |labels| ModelActivation::Default.resolve(ScoreMode::Model, labels).unwrap();
        assert_eq!(resolve(1), ScoreActivation::Sigmoid);
        assert_eq!(resolve(3), ScoreActivation::Identity);
    }

    #[test]
    fn an_unknown_activation_is_an_error_unless_the_caller_chooses() {
        let unknown = ModelActivation::Unknown {
            file: "config.json".into(),
            field: "activation_fn".into(),
            name: "my.Module".into(),
        };
        let error = unknown.resolve(ScoreMode::Model, 1).unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("my.Module"), "{error}");
        assert_eq!(unknown.resolve(ScoreMode::Raw, 1).unwrap(), ScoreActivation::Identity);
        assert_eq!(unknown.resolve(ScoreMode::Sigmoid, 1).unwrap(), ScoreActivation::Sigmoid);
        assert_eq!(unknown.resolve(ScoreMode::Softmax, 2).unwrap(), ScoreActivation::Softmax);
    }

    #[test]
    fn softmax_over_one_label_is_an_error() {
        assert!(ModelActivation::Default.resolve(ScoreMode::Softmax, 1).is_err());
        assert!(ModelActivation::Named(ScoreActivation::Softmax).resolve(ScoreMode::Model, 1).is_err());
    }

    #[test]
    fn softmax_orders_by_odds_where_the_logit_alone_would_mislead() {
        let (a, b) = ([3.0, 2.5], [2.0, -5.0]);
        let softmax = ScoreActivation::Softmax;
        assert!(softmax.score(&a, 0) < softmax.score(&b, 0) && a[0] > b[0]);
        assert!(softmax.order(&a, 0) < softmax.order(&b, 0));
        assert_eq!((softmax.order(&b, 0), softmax.order(&b, 1)), (7.0, -7.0));
        // Where the score is 1 for both.
        assert!(softmax.order(&[90.0, 0.0, 1.0], 0) < softmax.order(&[95.0, 0.0, 1.0], 0));
        let difference = ModelActivation::Default.resolve(ScoreMode::Difference, 2).unwrap();
        assert_eq!(difference.score(&b, 0), 7.0);
        for labels in [1, 3] {
            assert!(ModelActivation::Default.resolve(ScoreMode::Difference, labels).is_err());
        }
    }

    #[test]
    fn activations_saturate_without_overflow() {
        for (logit, expected) in [(-200.0, 0.0), (0.0, 0.5), (200.0, 1.0)] {
            assert_eq!(ScoreActivation::Sigmoid.score(&[logit], 0), expected);
        }
        assert_eq!(ScoreActivation::Softmax.score(&[1000.0, 0.0], 0), 1.0);
        assert_eq!(ScoreActivation::Softmax.score(&[-1000.0, -1000.0], 1), 0.5);
    }
}
