//! Options out of JSON, and what was loaded as JSON.

use crossrank::{Builder, Dtype, Long, ModelInfo, RerankOptions, Reranker, ScoreMode};
use serde::{Deserialize, Serialize};

use crate::isa::fastest;

/// Options of loading.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Loading {
    dtype: Option<String>,
    max_length: Option<usize>,
    isa: Option<String>,
}

impl Loading {
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| format!("options of loading: {error}"))
    }

    pub(crate) fn builder(self) -> Result<Builder, String> {
        let mut builder = Reranker::builder();
        if let Some(dtype) = self.dtype {
            builder = builder.dtype(Dtype::named(&dtype).ok_or_else(|| {
                format!("option `dtype`: expected auto, f32, bf16 or int8, found `{dtype}`")
            })?);
        }
        if let Some(tokens) = self.max_length {
            builder = builder.max_length(tokens);
        }
        Ok(builder.isa(self.isa.unwrap_or_else(|| fastest().to_owned())))
    }
}

/// Options of one ranking.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Ranking {
    long: Option<String>,
    stride: Option<usize>,
    label: Option<usize>,
    score: Option<String>,
}

impl Ranking {
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| format!("options of ranking: {error}"))
    }

    pub(crate) fn options(self) -> Result<RerankOptions, String> {
        let mut options = RerankOptions::default();
        if let Some(long) = self.long {
            options.long = match long.as_str() {
                "truncate" => Long::Truncate,
                "max" => Long::Max,
                "mean" => Long::Mean,
                _ => return Err(format!("option `long`: expected truncate, max or mean, found `{long}`")),
            };
        }
        if let Some(score) = self.score {
            options.score = match score.as_str() {
                "model" => ScoreMode::Model,
                "sigmoid" => ScoreMode::Sigmoid,
                "softmax" => ScoreMode::Softmax,
                "difference" => ScoreMode::Difference,
                "raw" => ScoreMode::Raw,
                _ => {
                    return Err(format!(
                        "option `score`: expected model, raw, sigmoid, softmax or difference, found `{score}`"
                    ));
                }
            };
        }
        options.stride = self.stride.unwrap_or(0);
        options.label = self.label;
        Ok(options)
    }
}

/// What was loaded and how it runs, as JSON.
pub(crate) fn info(info: &ModelInfo) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Info<'a> {
        family: &'a str,
        layers: usize,
        hidden: usize,
        max_length: usize,
        labels: usize,
        label_names: &'a [String],
        activation: &'a str,
        dtype: &'a str,
        isa: &'a str,
        products: &'a str,
        threads: usize,
        notes: &'a [String],
    }
    let info = Info {
        family: &info.family,
        layers: info.layers,
        hidden: info.hidden,
        max_length: info.max_length,
        labels: info.labels,
        label_names: &info.label_names,
        activation: &info.activation,
        dtype: info.dtype,
        isa: info.isa,
        products: info.products,
        threads: info.threads,
        notes: &info.notes,
    };
    serde_json::to_string(&info).unwrap_or_default()
}
