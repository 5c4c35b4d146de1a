//! What the files around the weights say of scoring: labels, activation, window, and the settings of
//! sentence-transformers.
//!
//! Of its three files sentence-transformers reads `config_sentence_transformers.json` and `sentence_bert_config.json`
//! only beside a `modules.json`, and only if the former says that the folder is a `CrossEncoder`. So does this; what
//! they say then counts, or is refused by name.

use std::collections::BTreeMap;

use serde_json::Value;

use super::files::{File, Files};
use super::json::{Fields, MAX_SIZE, kind};
use super::modules::{is_cross_encoder, list};
use crate::error::Result;
use crate::score::{ModelActivation, ScoreActivation};

/// The settings of a checkpoint that are not the network's.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) activation: ModelActivation,
    /// The limit of a pair's tokens that is not the network's, and the field that sets it.
    pub(crate) limit: Option<(usize, String)>,
    /// `tokenizer_class` of `config.json`, which counts where `tokenizer_config.json` has none.
    #[cfg_attr(
        not(feature = "tokenizers"),
        expect(dead_code, reason = "texts are tokenised with the feature")
    )]
    pub(crate) tokenizer_class: Option<String>,
    /// What sentence-transformers does to texts.
    pub(crate) texts: Texts,
    /// Names of labels, by their numbers, as `id2label` of the config has them.
    pub(crate) label_names: BTreeMap<usize, String>,
    /// In what transformers computes, as the config says.
    pub(crate) dtype: Option<String>,
    /// A line for each disagreement between the files.
    pub(crate) notes: Vec<String>,
}

/// What sentence-transformers does to the texts of a pair.
#[derive(Clone, Debug, Default)]
pub(crate) struct Texts {
    /// Both are lower-cased before anything else is done to them.
    pub(crate) lowercase: bool,
    /// It is put in front of the query.
    pub(crate) prompt: Option<String>,
    /// Only the document is cut.
    pub(crate) only_document: bool,
}

impl Settings {
    pub(crate) fn parse(files: &Files, config: &Fields<'_>) -> Result<Self> {
        // What an incomplete download left is told of, also in a file that does not count beside the others.
        let beside = [&files.sentence_transformers_config, &files.modules, &files.sentence_bert_config];
        beside.into_iter().flatten().try_for_each(File::check_json)?;
        let mut settings = Self {
            activation: ModelActivation::Default,
            limit: None,
            tokenizer_class: config.string("tokenizer_class")?.map(str::to_owned),
            texts: Texts::default(),
            label_names: label_names(config),
            dtype: config
                .string("dtype")?
                .or(config.string("torch_dtype")?)
                .map(|dtype| dtype.trim_start_matches("torch.").to_owned()),
            notes: vec![],
        };
        settings.limit = settings.model_max_length(files.tokenizer_config.as_ref())?;
        let named = if settings.is_cross_encoder(files)? {
            settings.sentence_bert_config(files.sentence_bert_config.as_ref(), files.head.is_empty())?;
            settings.sentence_transformers_config(files.sentence_transformers_config.as_ref())?
        } else {
            None
        };
        settings.activation = match named {
            Some(activation) => activation,
            None => activation_of_config(config)?,
        };
        if let (Some(labels), Some(names)) = (config.get("num_labels"), config.get("id2label"))
            && names.as_object().is_some_and(|names| labels.as_u64() != Some(names.len() as u64))
        {
            settings.note(format!(
                "{}: `num_labels` is {labels}, but `id2label` has {} names: num_labels counts, as in transformers 5",
                config.file.name,
                names.as_object().map_or(0, serde_json::Map::len)
            ));
        }
        Ok(settings)
    }

    fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Checkpoints without a limit write 1e30, which is no limit. `max_len` is the field's old name.
    fn model_max_length(&mut self, file: Option<&File>) -> Result<Option<(usize, String)>> {
        let Some(file) = file else { return Ok(None) };
        let json = file.json()?;
        let fields = Fields::new(file, &json)?;
        let limit = |field| match fields.get(field) {
            None => Ok(None),
            Some(Value::String(text)) if text == "Infinity" => Ok(None),
            Some(value) => match value.as_f64() {
                Some(limit) if limit >= 1.0 => Ok((limit < MAX_SIZE as f64).then_some(limit as usize)),
                _ => Err(fields.error(field, "a number of at least 1", value)),
            },
        };
        let (new, old) = (limit("model_max_length")?, limit("max_len")?);
        // With transformers a null, too, is the new name's word.
        let field = if fields.map.contains_key("model_max_length") { "model_max_length" } else { "max_len" };
        if field == "model_max_length" && fields.has("max_len") && new != old {
            self.note(format!(
                "{}: `max_len` is {}, but `model_max_length` is there too and counts",
                file.name, fields.map["max_len"]
            ));
        }
        let tokens = if field == "max_len" { old } else { new };
        Ok(tokens.map(|tokens| (tokens, format!("{field} of tokenizer_config.json"))))
    }

    /// Whether sentence-transformers takes the folder for one that its `CrossEncoder` has saved.
    fn is_cross_encoder(&mut self, files: &Files) -> Result<bool> {
        let Some(modules) = &files.modules else {
            if let Some(file) = &files.sentence_transformers_config {
                self.note(format!(
                    "{}: not read, as there is no modules.json beside it; so does sentence-transformers",
                    file.name
                ));
            }
            return Ok(false);
        };
        modules.check_json()?;
        if let Err(model_type) = is_cross_encoder(files.sentence_transformers_config.as_ref())? {
            self.note(format!(
                "{}: not read, nor are config_sentence_transformers.json and sentence_bert_config.json, as `model_type` \
                 of the former is {}, not `CrossEncoder`; so does sentence-transformers",
                modules.name,
                model_type.map_or("missing".into(), |kind| format!("`{kind}`"))
            ));
            return Ok(false);
        }
        // Of a model out of bytes the files of modules are not given.
        if let Some(module) = list(modules)?.get(1 + files.head.len()) {
            let none = serde_json::Map::new();
            let fields = Fields { file: modules, map: &none };
            let field = format!("[{}].path", 1 + files.head.len());
            let expected = "no more modules than were given by ModelBytes::module";
            return Err(fields.error(&field, expected, format!("`{}`", module.path)));
        }
        Ok(true)
    }

    fn sentence_bert_config(&mut self, file: Option<&File>, classifies: bool) -> Result<()> {
        let Some(file) = file else { return Ok(()) };
        let json = file.json()?;
        let fields = Fields::new(file, &json)?;
        // What is absent is the older files' way to say the second.
        let task = fields.string("transformer_task")?;
        let expected = if classifies { "sequence-classification" } else { "feature-extraction" };
        if task.is_some_and(|task| task != expected) {
            let expected =
                format!("`{expected}`, as modules.json has {} head", if classifies { "no" } else { "a" });
            return Err(fields.error(
                "transformer_task",
                &expected,
                format!("`{}`", task.unwrap_or_default()),
            ));
        }
        for field in [
            "model_args",
            "model_kwargs",
            "tokenizer_args",
            "processor_kwargs",
            "config_args",
            "config_kwargs",
            "tokenizer_name_or_path",
            "unpad_inputs",
        ] {
            let empty = |value: &Value| {
                matches!(value, Value::Bool(false)) || value.as_object().is_some_and(|map| map.is_empty())
            };
            if let Some(value) = fields.get(field).filter(|&value| !empty(value)) {
                return Err(fields.error(field, "nothing, as it cannot be applied", value));
            }
        }
        if fields.has("max_seq_length") {
            self.set_limit(&fields, "max_seq_length", "max_seq_length of sentence_bert_config.json")?;
        }
        self.texts.lowercase = fields.boolean("do_lower_case")?.unwrap_or(false);
        if self.texts.lowercase {
            self.note(format!("{}: `do_lower_case`: texts are lower-cased first", file.name));
        }
        let Some(section) = fields.get("processing_kwargs") else { return Ok(()) };
        let section = section
            .as_object()
            .ok_or_else(|| fields.error("processing_kwargs", "an object", kind(section)))?;
        for (name, settings) in section {
            let settings = settings.as_object().ok_or_else(|| {
                fields.error(&format!("processing_kwargs.{name}"), "an object", kind(settings))
            })?;
            match &**name {
                "text" => self.text_settings(&Fields { file, map: settings })?,
                // A text is neither, nor a message.
                "audio" | "image" | "video" | "chat_template" => {}
                _ => {
                    let known = ["padding", "return_tensors"];
                    if let Some(other) = settings.keys().find(|&key| !known.contains(&&**key)) {
                        let field = format!("processing_kwargs.{name}.{other}");
                        return Err(fields.error(
                            &field,
                            "nothing, as it cannot be applied",
                            &settings[other],
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// What the tokenizer is called with.
    fn text_settings(&mut self, text: &Fields<'_>) -> Result<()> {
        let prefix = "processing_kwargs.text.";
        let error = |field: &str, expected: &str, found: &Value| {
            Err(text.error(&format!("{prefix}{field}"), expected, found))
        };
        for (field, value) in text.map {
            match (&**field, value) {
                // Padding is not attended to.
                ("padding" | "return_tensors" | "pad_to_multiple_of" | "return_attention_mask", _) => {}
                ("max_length", Value::Null) => {}
                ("max_length", _) => {
                    let source = "processing_kwargs.text.max_length of sentence_bert_config.json";
                    self.set_limit(text, "max_length", source)?;
                }
                ("truncation", Value::Bool(true)) => {}
                ("truncation", value) if value == "longest_first" => {}
                ("truncation", value) if value == "only_second" => self.texts.only_document = true,
                ("truncation", value) => {
                    return error(field, "`longest_first` or `only_second`", value);
                }
                ("add_special_tokens", Value::Bool(true)) => {}
                (_, value) => return error(field, "nothing, as it cannot be applied", value),
            }
        }
        Ok(())
    }

    /// A limit that counts whatever the others are.
    fn set_limit(&mut self, fields: &Fields<'_>, field: &str, source: &str) -> Result<()> {
        let tokens = fields.size(field)?;
        if let Some((other, name)) = &self.limit
            && *other != tokens
        {
            let note =
                format!("{}: `{field}` is {tokens}, which counts before {name}, {other}", fields.file.name);
            self.note(note);
        }
        self.limit = Some((tokens, source.to_owned()));
        Ok(())
    }

    fn sentence_transformers_config(&mut self, file: Option<&File>) -> Result<Option<ModelActivation>> {
        let Some(file) = file else { return Ok(None) };
        let json = file.json()?;
        let fields = Fields::new(file, &json)?;
        if let Some(name) = fields.string("default_prompt_name")? {
            let expected = format!("an object with a string under `{name}`, the default prompt's name");
            let prompts = fields.get("prompts").unwrap_or(&Value::Null);
            let prompt = match prompts.get(name) {
                Some(Value::String(prompt)) => prompt.clone(),
                // With sentence-transformers a prompt that is null is empty.
                Some(Value::Null) => String::new(),
                _ => return Err(fields.error("prompts", &expected, prompts)),
            };
            if !prompt.is_empty() {
                self.note(format!(
                    "{}: the prompt `{name}`, {prompt:?}, is put in front of every query",
                    file.name
                ));
                self.texts.prompt = Some(prompt);
            }
        }
        Ok(fields
            .string("activation_fn")?
            .map(|name| ModelActivation::named(&file.name, "activation_fn", name)))
    }
}

/// What is no name is passed over: it has its number.
fn label_names(config: &Fields<'_>) -> BTreeMap<usize, String> {
    let names = config.get("id2label").and_then(Value::as_object).into_iter().flatten();
    names.filter_map(|(id, name)| Some((id.parse().ok()?, name.as_str()?.to_owned()))).collect()
}

/// Looks in the two places of `config.json` that sentence-transformers has used, the newer first, whose null is an
/// answer too.
fn activation_of_config(config: &Fields<'_>) -> Result<ModelActivation> {
    if let Some(section) = config.get("sentence_transformers") {
        let section = section
            .as_object()
            .ok_or_else(|| config.error("sentence_transformers", "an object", kind(section)))?;
        let fields = Fields { file: config.file, map: section };
        if section.contains_key("activation_fn") {
            let field = "sentence_transformers.activation_fn";
            let name = fields.string("activation_fn")?;
            return Ok(name.map_or(ModelActivation::Default, |name| {
                ModelActivation::named(&config.file.name, field, name)
            }));
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

impl Fields<'_> {
    /// The number of labels, and the field that says it: `num_labels` counts before `id2label`.
    pub(crate) fn labels(&self) -> Result<Option<(&'static str, usize)>> {
        if self.has("num_labels") {
            return Ok(Some(("num_labels", self.size("num_labels")?)));
        }
        let Some(labels) = self.get("id2label") else { return Ok(None) };
        let labels = labels.as_object().ok_or_else(|| self.error("id2label", "an object", kind(labels)))?;
        Ok(Some(("id2label", labels.len())))
    }

    pub(crate) fn boolean(&self, field: &str) -> Result<Option<bool>> {
        match self.get(field) {
            None => Ok(None),
            Some(&Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(self.error(field, "true or false", other)),
        }
    }
}
