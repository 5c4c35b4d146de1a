//! What `tokenizer_config.json` says of the tokenizer, and which of it counts before `tokenizer.json`.
//!
//! transformers makes the tokenizer of some classes anew: from `tokenizer.json` it takes the vocabulary and the added
//! tokens, all else is the class's own and this file's. That of another class it takes from `tokenizer.json` whole.

use serde_json::Value;

use super::class::{Class, NAMED};
use crate::checkpoint::files::File;
use crate::checkpoint::json::{Fields, kind};
use crate::error::Result;

/// Whose token ids a pair gets where libraries of different age make different ones of the same checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum TokenizerRules {
    /// Those that the checkpoint was trained and published with: what transformers 4 and 5 share, and where they differ
    /// what `tokenizer.json` says. Files that contradict each other are refused.
    #[default]
    Author,
    /// Those of transformers 5.23, also where it departs from earlier versions: a tokenizer of the class
    /// `PreTrainedTokenizerFast` or `TokenizersBackend` gives every token segment 0 unless `model_input_names` lists
    /// `token_type_ids`, and `added_tokens_decoder` replaces the added tokens of `tokenizer.json`.
    Transformers5,
}

impl TokenizerRules {
    /// Whose ids pairs get, in words.
    pub(super) fn whose(self) -> &'static str {
        match self {
            Self::Author => "its author's",
            Self::Transformers5 => "those of transformers 5.23",
        }
    }
}

/// A token that is found in a text as it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Added {
    pub(super) content: String,
    pub(super) single_word: bool,
    pub(super) lstrip: bool,
    pub(super) rstrip: bool,
    pub(super) normalized: bool,
    pub(super) special: bool,
}

impl Added {
    pub(super) fn special(content: &str) -> Self {
        let content = content.to_owned();
        Self { content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
    }
}

/// The settings of BERT's own normaliser, of which cleaning is no choice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BertSettings {
    pub(super) lowercase: bool,
    /// None is what `lowercase` is.
    pub(super) strip_accents: Option<bool>,
    pub(super) chinese: bool,
}

pub(super) struct Settings {
    /// As the files name it.
    class: Option<String>,
    pub(super) kind: Class,
    /// Whether the tokenizer is made of files from before there was a `tokenizer.json`.
    pub(super) has_no_json: bool,
    /// For a class whose texts are BERT's words.
    pub(super) bert: Option<BertSettings>,
    /// Whether a text without a space in front gets one, where the class asks that here.
    pub(super) prefix_space: Option<bool>,
    /// Of ALBERT.
    pub(super) lowercase: bool,
    pub(super) keep_accents: bool,
    pub(super) unknown: String,
    pub(super) cls: String,
    pub(super) sep: String,
    pub(super) bos: String,
    pub(super) eos: String,
    /// Whether the model is told segments at all.
    pub(super) segments: bool,
    /// Whether special tokens in a text are text.
    pub(super) split_special: bool,
    /// Whether this file says on which side texts are cut: the right one, then.
    pub(super) cuts_right: bool,
    /// `added_tokens_decoder`, where there is one.
    decoder: Option<Vec<Added>>,
    /// Special tokens by name, and those that have none.
    named: Vec<Added>,
    extra: Vec<Added>,
    /// The mask token of a class that takes the space before it.
    mask: Option<&'static str>,
    pub(super) rules: TokenizerRules,
    pub(super) notes: Vec<String>,
    file: String,
}

impl Settings {
    /// `file` is `tokenizer_config.json`, `class` is what `config.json` names for want of a class there.
    pub(super) fn parse(file: Option<&File>, class: Option<&str>, rules: TokenizerRules) -> Result<Self> {
        let nothing = Value::Object(serde_json::Map::new());
        let absent = File {
            name: "tokenizer_config.json (there is none)".into(),
            bytes: std::sync::Arc::new([0u8; 0]),
            map: None,
        };
        let (file, json) = match file {
            Some(file) => (file, &file.json()?),
            None => (&absent, &nothing),
        };
        Self::of(&Fields::new(file, json)?, class, rules)
    }

    fn of(fields: &Fields<'_>, class: Option<&str>, rules: TokenizerRules) -> Result<Self> {
        let class = fields.string("tokenizer_class")?.or(class);
        let kind = class.map_or(Class::Bert, Class::of);
        if let Some(class) = class
            && rules == TokenizerRules::Transformers5
            && kind == Class::Other
        {
            let expected = "a class whose rules in transformers 5 are known: BertTokenizer and its kin, \
                            DistilBertTokenizer, MPNetTokenizer, RobertaTokenizer, XLMRobertaTokenizer, \
                            CamembertTokenizer, AlbertTokenizer, PreTrainedTokenizerFast or TokenizersBackend";
            return Err(fields.error("tokenizer_class", expected, format!("`{class}`")));
        }
        let cuts_right = match fields.string("truncation_side")? {
            None => false,
            Some("right") => true,
            Some(side) => {
                let expected = "`right`, as texts are cut there";
                return Err(fields.error("truncation_side", expected, format!("`{side}`")));
            }
        };
        if let Some(files) = fields.get("fast_tokenizer_files")
            && files.as_array().is_none_or(|files| files.iter().any(|file| file != "tokenizer.json"))
        {
            return Err(fields.error("fast_tokenizer_files", "tokenizer.json alone", files));
        }
        let mut settings = Self {
            class: class.map(str::to_owned),
            kind,
            has_no_json: false,
            bert: None,
            prefix_space: fields.boolean("add_prefix_space")?,
            lowercase: true,
            keep_accents: false,
            unknown: String::new(),
            cls: String::new(),
            sep: String::new(),
            bos: String::new(),
            eos: String::new(),
            segments: true,
            split_special: fields.boolean("split_special_tokens")?.unwrap_or(false),
            cuts_right,
            decoder: decoder(fields)?,
            named: vec![],
            extra: extra(fields)?,
            mask: kind.names()[6].filter(|_| kind.is_roberta() || kind == Class::Albert),
            rules,
            notes: vec![],
            file: fields.file.name.clone(),
        };
        // A null is an error there, too: only `strip_accents` has a use for it.
        let setting = |field, default| match fields.map.get(field) {
            None => Ok(default),
            Some(&Value::Bool(value)) => Ok(value),
            Some(other) => Err(fields.error(field, "true or false", other)),
        };
        if kind.is_bert() {
            settings.bert = Some(BertSettings {
                lowercase: setting("do_lower_case", true)?,
                strip_accents: fields.boolean("strip_accents")?,
                chinese: setting("tokenize_chinese_chars", true)?,
            });
        }
        if kind == Class::Albert {
            settings.lowercase = setting("do_lower_case", true)?;
            settings.keep_accents = setting("keep_accents", false)?;
        }
        settings.name_tokens(fields)?;
        settings.segments = settings.gives_segments(fields)?;
        Ok(settings)
    }

    /// Whether the class's own normaliser, pre-tokeniser and template count, whatever the file says.
    pub(super) fn is_made_anew(&self) -> bool {
        let anew = self.has_no_json || self.rules == TokenizerRules::Transformers5;
        self.kind.is_bert() || anew && self.kind.is_made_anew()
    }

    /// What stands for the class in messages.
    pub(super) fn class(&self) -> &str {
        self.class.as_deref().unwrap_or("BertTokenizer, as none is named")
    }

    fn name_tokens(&mut self, fields: &Fields<'_>) -> Result<()> {
        for (name, default) in NAMED.into_iter().zip(self.kind.names()) {
            let added = match fields.map.get(name) {
                None => default.map(Added::special),
                Some(Value::Null)
                    if self.kind.is_made_anew()
                        && matches!(name, "unk_token" | "sep_token" | "cls_token") =>
                {
                    return Err(fields.error(name, "a token", "null"));
                }
                Some(Value::Null) => None,
                Some(value) => Some(token(fields, name, value)?),
            };
            let Some(added) = added else { continue };
            match name {
                "unk_token" => self.unknown.clone_from(&added.content),
                "sep_token" => self.sep.clone_from(&added.content),
                "cls_token" => self.cls.clone_from(&added.content),
                "bos_token" => self.bos.clone_from(&added.content),
                "eos_token" => self.eos.clone_from(&added.content),
                _ => {}
            }
            self.named.push(added);
        }
        for (name, value) in fields.map {
            if name.ends_with("_token") && !NAMED.contains(&&**name) && value.is_string() {
                self.named.push(token(fields, name, value)?);
            }
        }
        Ok(())
    }

    fn gives_segments(&mut self, fields: &Fields<'_>) -> Result<bool> {
        let class = self.class.as_deref().unwrap_or_default();
        if let Some(names) = fields.map.get("model_input_names") {
            let strings = names.as_array().filter(|names| names.iter().all(Value::is_string));
            let strings =
                strings.ok_or_else(|| fields.error("model_input_names", "a list of names", names))?;
            let listed = strings.iter().any(|name| name == "token_type_ids");
            if !listed {
                self.notes.push(format!(
                    "{}: `model_input_names` has no `token_type_ids`: every token is of segment 0",
                    self.file
                ));
            }
            return Ok(listed);
        }
        if self.kind == Class::Bert {
            return Ok(true);
        }
        if self.kind.has_no_segments() {
            let note = format!("{}: class {class} gives no segments: every token is of segment 0", self.file);
            self.notes.push(note);
            return Ok(false);
        }
        if self.rules == TokenizerRules::Transformers5 {
            let note = format!(
                "{}: class {class} gives no segments in transformers 5: every token is of segment 0, by the rules \
                 that were chosen",
                self.file
            );
            self.notes.push(note);
            return Ok(false);
        }
        self.notes.push(format!(
            "{}: class {class} gives every token segment 0 in transformers 5.23, unless `model_input_names` lists \
             token_type_ids; segments are those of tokenizer.json here, as in transformers 4; the tokenizer rules \
             transformers5 give the former",
            self.file
        ));
        Ok(true)
    }

    /// The added tokens that count, given those of `tokenizer.json`; an error is what contradicts.
    pub(super) fn added(&self, file: &[Added]) -> std::result::Result<Vec<Added>, String> {
        let strict = self.rules == TokenizerRules::Author;
        let find = |list: &[Added], content: &str| list.iter().position(|token| token.content == content);
        let mut list = match &self.decoder {
            Some(decoder) if self.is_made_anew() => decoder.clone(),
            _ => file.to_vec(),
        };
        for token in self.decoder.iter().flatten() {
            if let Some(at) = find(file, &token.content)
                && file[at] != *token
                && strict
            {
                return Err(format!(
                    "added token `{}` is {} here, but {} in `added_tokens_decoder` of {}",
                    token.content,
                    file[at].properties(),
                    token.properties(),
                    self.file
                ));
            }
            match find(&list, &token.content) {
                Some(at) => list[at] = token.clone(),
                None => list.push(token.clone()),
            }
        }
        if self.is_made_anew() {
            for token in &mut list {
                token.special |= find(&self.named, &token.content).is_some();
            }
        }
        for token in self.named.iter().chain(&self.extra) {
            if find(&list, &token.content).is_none() && !token.content.is_empty() {
                let mut token = token.clone();
                // Where its file was yet to be made, version 4 gave it this.
                token.lstrip |= strict && self.has_no_json && Some(&*token.content) == self.mask;
                list.push(token);
            }
        }
        if strict && let Some(lost) = file.iter().find(|token| find(&list, &token.content).is_none()) {
            return Err(format!(
                "added token `{}` is not in `added_tokens_decoder` of {}: transformers 4 finds it in texts, transformers \
                 5 does not; expected it in both files or in neither, or the tokenizer rules transformers5",
                lost.content, self.file
            ));
        }
        Ok(list)
    }
}

impl Added {
    fn properties(&self) -> String {
        let names = [
            (self.single_word, "single_word"),
            (self.lstrip, "lstrip"),
            (self.rstrip, "rstrip"),
            (self.normalized, "normalized"),
            (self.special, "special"),
        ];
        let names: Vec<_> = names.into_iter().filter(|&(set, _)| set).map(|(_, name)| name).collect();
        if names.is_empty() { "plain".into() } else { names.join(", ") }
    }
}

/// A token as a string, or as an object with its properties.
fn token(fields: &Fields<'_>, field: &str, value: &Value) -> Result<Added> {
    let error = || fields.error(field, "a token: a string, or an object with the key `content`", value);
    if let Value::String(content) = value {
        return Ok(Added::special(content));
    }
    let mut added = Added::special(value["content"].as_str().ok_or_else(error)?);
    added.special = property(fields, field, value, "special")?.unwrap_or(true);
    added.with_properties(fields, field, value)
}

impl Added {
    fn with_properties(mut self, fields: &Fields<'_>, field: &str, value: &Value) -> Result<Self> {
        self.single_word = property(fields, field, value, "single_word")?.unwrap_or(false);
        self.lstrip = property(fields, field, value, "lstrip")?.unwrap_or(false);
        self.rstrip = property(fields, field, value, "rstrip")?.unwrap_or(false);
        self.normalized = property(fields, field, value, "normalized")?.unwrap_or(!self.special);
        Ok(self)
    }
}

fn property(fields: &Fields<'_>, field: &str, token: &Value, name: &str) -> Result<Option<bool>> {
    match &token[name] {
        Value::Null => Ok(None),
        Value::Bool(value) => Ok(Some(*value)),
        other => Err(fields.error(&format!("{field}.{name}"), "true or false", other)),
    }
}

/// `added_tokens_decoder`: tokens by number, which orders them and is no id.
fn decoder(fields: &Fields<'_>) -> Result<Option<Vec<Added>>> {
    let field = "added_tokens_decoder";
    let Some(value) = fields.map.get(field) else { return Ok(None) };
    let tokens = value.as_object().ok_or_else(|| fields.error(field, "an object", kind(value)))?;
    let mut numbered = Vec::with_capacity(tokens.len());
    for (number, value) in tokens {
        let at = format!("{field}.{number}");
        let order: u64 =
            number.parse().map_err(|_| fields.error(field, "numbers as keys", format!("`{number}`")))?;
        let content = value["content"].as_str();
        let content = content.ok_or_else(|| fields.error(&at, "an object with the key `content`", value))?;
        let mut added = Added::special(content);
        added.special = property(fields, &at, value, "special")?.unwrap_or(false);
        numbered.push((order, added.with_properties(fields, &at, value)?));
    }
    numbered.sort_by_key(|&(order, _)| order);
    Ok(Some(numbered.into_iter().map(|(_, token)| token).collect()))
}

/// Special tokens that have no name, by the key's new name or else its old one.
fn extra(fields: &Fields<'_>) -> Result<Vec<Added>> {
    let empty = |value: &&Value| {
        !(value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(|map| map.is_empty()))
    };
    for field in ["extra_special_tokens", "additional_special_tokens"] {
        let Some(value) = fields.get(field).filter(empty) else { continue };
        let values: Vec<&Value> = match value {
            Value::Array(values) => values.iter().collect(),
            Value::Object(values) if field == "extra_special_tokens" => values.values().collect(),
            other => return Err(fields.error(field, "a list of tokens", other)),
        };
        return values.into_iter().map(|value| token(fields, field, value)).collect();
    }
    Ok(vec![])
}
