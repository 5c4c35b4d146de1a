//! `config.json` and its neighbours: sizes, activation, head. What is not supported is refused by name.

use crate::checkpoint::files::{File, Files};
use crate::checkpoint::json::{Fields, MAX_SIZE, kind};
use crate::error::Result;
use crate::family::Family;
use crate::score::{ModelActivation, ScoreActivation};

/// What a model's configuration says, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) family: Family,
    pub(crate) vocab: usize,
    pub(crate) max_positions: usize,
    pub(crate) token_types: usize,
    /// The activation inside the feed-forward network, as the config names it.
    pub(crate) hidden_act_name: String,
    pub(crate) activation: ModelActivation,
    /// `model_max_length` of the tokenizer's config, if it is there and can be met.
    model_max_length: Option<usize>,
}

impl Config {
    pub(crate) fn parse(files: &Files) -> Result<Self> {
        let json = files.config.json()?;
        let fields = Fields::new(&files.config, &json)?;
        let family = Family::parse(&fields)?;
        let Family::Bert(bert) = &family;
        Ok(Self {
            vocab: bert.vocab,
            max_positions: bert.positions,
            token_types: bert.token_types,
            hidden_act_name: bert.activation_name.clone(),
            family,
            activation: score_activation(files, &fields)?,
            model_max_length: model_max_length(files.tokenizer_config.as_ref())?,
        })
    }

    /// The most tokens of a pair that the model and its tokenizer allow.
    pub(crate) fn window(&self) -> usize {
        self.model_max_length.map_or(self.max_positions, |limit| limit.min(self.max_positions))
    }

    /// Where that limit stands.
    #[cfg(feature = "tokenizers")]
    pub(crate) fn window_field(&self) -> &'static str {
        if self.window() < self.max_positions {
            "model_max_length of tokenizer_config.json"
        } else {
            "max_position_embeddings of config.json"
        }
    }
}

impl Fields<'_> {
    /// The number of labels that a config names, and the field that does.
    pub(crate) fn labels(&self) -> Result<Option<(&'static str, usize)>> {
        if let Some(labels) = self.get("id2label") {
            let labels =
                labels.as_object().ok_or_else(|| self.error("id2label", "an object", kind(labels)))?;
            return Ok(Some(("id2label", labels.len())));
        }
        if self.has("num_labels") { Ok(Some(("num_labels", self.size("num_labels")?))) } else { Ok(None) }
    }
}

/// Looks in the three places that sentence-transformers has used, newest first.
fn score_activation(files: &Files, config: &Fields<'_>) -> Result<ModelActivation> {
    if let Some(file) = &files.sentence_transformers_config {
        let json = file.json()?;
        let fields = Fields::new(file, &json)?;
        if let Some(name) = fields.string("activation_fn")? {
            return Ok(ModelActivation::named(&file.name, "activation_fn", name));
        }
    }
    if let Some(section) = config.get("sentence_transformers") {
        let section = section
            .as_object()
            .ok_or_else(|| config.error("sentence_transformers", "an object", kind(section)))?;
        let fields = Fields { file: config.file, map: section };
        if let Some(name) = fields.string("activation_fn")? {
            return Ok(ModelActivation::named(
                &config.file.name,
                "sentence_transformers.activation_fn",
                name,
            ));
        }
    }
    let oldest = "sbert_ce_default_activation_function";
    Ok(match config.string(oldest)? {
        Some(name) => ModelActivation::named(&config.file.name, oldest, name),
        None => ModelActivation::Default,
    })
}

impl ModelActivation {
    /// Only dotted paths within torch are trusted; the last part of one says which function it is.
    fn named(file: &str, field: &str, name: &str) -> Self {
        let function = match name.strip_prefix("torch.").and_then(|path| path.rsplit('.').next()) {
            Some("Sigmoid") => Some(ScoreActivation::Sigmoid),
            Some("Identity") => Some(ScoreActivation::Identity),
            Some("Softmax") => Some(ScoreActivation::Softmax),
            _ => None,
        };
        match function {
            Some(activation) => Self::Named(activation),
            None => Self::Unknown { file: file.to_owned(), field: field.to_owned(), name: name.to_owned() },
        }
    }
}

/// Checkpoints without a limit write 1e30, which is no limit.
fn model_max_length(file: Option<&File>) -> Result<Option<usize>> {
    let Some(file) = file else { return Ok(None) };
    let json = file.json()?;
    let fields = Fields::new(file, &json)?;
    match fields.get("model_max_length") {
        None => Ok(None),
        Some(value) => match value.as_f64() {
            Some(limit) if limit >= 1.0 => Ok((limit < MAX_SIZE as f64).then_some(limit as usize)),
            _ => Err(fields.error("model_max_length", "a number of at least 1", value)),
        },
    }
}
