//! What a request asks, whichever contract it comes by.
//!
//! The contract is told by the body where a path has several: an array of `texts` is TEI's, `passages` are NIM's,
//! `property` beside or instead of documents is Weaviate's, and everything else is Cohere's, Jina's, llama.cpp's,
//! infinity's and vLLM's, which share one.

use crossrank::{Fusion, Long};
use crossrank_eval::json::without_lone_surrogates;
use serde_json::value::RawValue;

use crate::fields::{Fields, read_string, wrong};
use crate::options::{Options, Truncate};
use crate::problem::{ErrorForm, Kind, Problem};

/// A field of a body: its name, its JSON type, and what it says.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) about: &'static str,
}

macro_rules! fields {
    ($($name:literal $kind:literal $about:literal;)*) => {
        /// Every field that is read; all others are passed over.
        pub(crate) const FIELDS: &[Field] = &[$(Field { name: $name, kind: $kind, about: $about }),*];
        const NAMES: &[&str] = &[$($name),*];
    };
}

fields! {
    "query" "string" "What the documents are to answer; NIM: an object with `text`.";
    "texts" "array" "TEI: the documents. Their presence as an array makes the answer a bare array.";
    "documents" "array" "The documents: strings, or objects with `text`, or with `content`, a list of text parts.";
    "passages" "array" "NIM: the documents, as objects with `text`.";
    "input" "array" "mixedbread: the documents.";
    "property" "string" "Weaviate: its presence makes the answer Weaviate's, in the order of the documents.";
    "text_1" "array" "vLLM's score: a query, or a list of them.";
    "text_2" "array" "vLLM's score: a document, or a list of them.";
    "model" "string" "Which model; any name where a single one is served.";
    "top_n" "integer" "Only the best so many; absent, null and 0 are all.";
    "top_k" "integer" "Voyage's name of `top_n`; the answer then has `data`, too.";
    "return_documents" "boolean" "Whether results have their `document`; false unless it is asked for.";
    "return_text" "boolean" "TEI's name of `return_documents`.";
    "return_input" "boolean" "mixedbread's name of `return_documents`.";
    "rank_fields" "array" "Cohere v1: the keys of a document that hold its text, joined by a space.";
    "max_tokens_per_doc" "integer" "Cohere v2: no more tokens of a document are read.";
    "raw_scores" "boolean" "Logits in place of scores within 0 and 1.";
    "truncate" "boolean" "TEI: false refuses a text that does not fit; NIM: \"NONE\" does.";
    "truncation" "boolean" "Voyage's name of `truncate`.";
    "truncation_direction" "string" "TEI: \"Right\"; with \"Left\" a text that does not fit is refused.";
    "min_score" "number" "Only documents with at least this score.";
    "budget_ms" "integer" "After so many milliseconds the answer has what was scored by then, and `not_scored`.";
    "fuse" "string" "\"rrf\", or with `first_scores` a weight from 0 to 1: the first stage counts, too.";
    "first_scores" "array" "The first stage's score of each document.";
    "long" "string" "\"truncate\", \"max\" or \"mean\": how a document counts that does not fit the window.";
    "stride" "integer" "Tokens that a passage may share with the one before it.";
    "return_tokens" "boolean" "Whether results have `tokens`, the number that was scored.";
}

/// By which contract an answer is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// A bare array, best first.
    Tei,
    /// An object with `results`, best first.
    Results,
    /// The same with `data`, too, as Voyage and mixedbread have it.
    Data,
    /// An object with `scores`, in the order of the documents.
    Weaviate,
    /// An object with `rankings`, best first.
    Nim,
    /// An object with `data`, in the order of the pairs.
    Score,
}

impl Form {
    /// How its errors look.
    pub(crate) fn errors(self) -> ErrorForm {
        match self {
            Self::Tei => ErrorForm::Tei,
            Self::Results | Self::Data | Self::Score => ErrorForm::Merged,
            Self::Weaviate | Self::Nim => ErrorForm::Text,
        }
    }
}

/// A text to rank.
pub(crate) struct Document {
    /// The number of the query that it is paired with.
    pub(crate) query: usize,
    pub(crate) text: String,
    /// The object that it came in, where it is to be given back.
    pub(crate) object: Option<Box<RawValue>>,
}

/// A request, read.
pub(crate) struct Ask {
    pub(crate) form: Form,
    pub(crate) model: Option<String>,
    pub(crate) queries: Vec<String>,
    pub(crate) documents: Vec<Document>,
    pub(crate) top_n: Option<usize>,
    pub(crate) return_documents: bool,
    pub(crate) return_tokens: bool,
    pub(crate) raw_scores: bool,
    /// Whether a text that does not fit is cut; else it is refused.
    pub(crate) truncate: bool,
    pub(crate) max_document_tokens: Option<usize>,
    pub(crate) min_score: Option<f32>,
    pub(crate) budget_ms: Option<usize>,
    pub(crate) fusion: Fusion,
    pub(crate) first_scores: Option<Vec<f32>>,
    pub(crate) long: Long,
    pub(crate) stride: usize,
    /// Weaviate's property, where that is what is scored.
    pub(crate) property: bool,
}

/// A problem and how it is to be said.
pub(crate) type Refused = (ErrorForm, Problem);

/// Reads a body that came by a path whose errors look like `open` until the contract is known.
pub(crate) fn read(body: &[u8], open: ErrorForm, options: &Options) -> Result<Ask, Refused> {
    let fields = Fields::parse(body, NAMES).map_err(|problem| (open, problem))?;
    read_fields(&fields, open, options)
}

/// Reads the instances of a body of Vertex AI, each TEI's.
pub(crate) fn read_instances(body: &[u8], options: &Options) -> Result<Vec<Ask>, Refused> {
    let tei = |problem| (ErrorForm::Tei, problem);
    let fields = Fields::parse(body, &["instances"]).map_err(tei)?;
    let items = fields.items("instances", options.max_documents).map_err(tei)?;
    let items = items.ok_or_else(|| tei(missing("instances")))?;
    if items.count > options.max_documents {
        return Err(tei(too_many(items.count, options.max_documents, ErrorForm::Tei)));
    }
    let read = |json: &&RawValue| {
        let fields = Fields::of(json.get(), NAMES).map_err(tei)?;
        read_fields(&fields, ErrorForm::Tei, options)
    };
    items.first.iter().map(read).collect()
}

fn read_fields(fields: &Fields<'_>, open: ErrorForm, options: &Options) -> Result<Ask, Refused> {
    let form = form(fields, open).ok_or_else(|| (open, nothing_to_rank(open)))?;
    let errors = if open == ErrorForm::Tei { open } else { form.errors() };
    let reader = Reader { fields, form, errors, options };
    reader.ask().map_err(|problem| (errors, problem))
}

/// The contract of a body; none where there is nothing to rank.
fn form(fields: &Fields<'_>, open: ErrorForm) -> Option<Form> {
    let has = |name: &str| fields.has(name);
    if fields.is_array("texts") {
        Some(Form::Tei)
    } else if has("passages") {
        Some(Form::Nim)
    } else if has("property") {
        Some(Form::Weaviate)
    } else if has("text_1") || has("text_2") {
        Some(Form::Score)
    } else if has("documents") {
        Some(if has("top_k") { Form::Data } else { Form::Results })
    } else if has("input") {
        Some(Form::Data)
    } else if has("texts") && open != ErrorForm::Merged {
        Some(Form::Tei)
    } else if open == ErrorForm::Merged {
        Some(Form::Results)
    } else {
        None
    }
}

fn nothing_to_rank(open: ErrorForm) -> Problem {
    match open {
        ErrorForm::Text => missing("passages"),
        _ => Problem::new(
            Kind::Shape,
            "Failed to deserialize the JSON body into the target type: missing field `texts` (or `documents`)",
        ),
    }
}

fn missing(name: &str) -> Problem {
    let reason = format!("Failed to deserialize the JSON body into the target type: missing field `{name}`");
    Problem::new(Kind::Shape, reason)
}

fn too_many(found: usize, most: usize, errors: ErrorForm) -> Problem {
    let reason = match errors {
        ErrorForm::Merged => format!("invalid request: {found} documents, but the most are {most}"),
        _ => format!("batch size {found} > maximum allowed batch size {most}"),
    };
    Problem::new(Kind::Batch, reason)
}

struct Reader<'a> {
    fields: &'a Fields<'a>,
    form: Form,
    errors: ErrorForm,
    options: &'a Options,
}

impl Reader<'_> {
    fn ask(&self) -> Result<Ask, Problem> {
        let fields = self.fields;
        let flag = |names: &[&str]| -> Result<Option<bool>, Problem> {
            names
                .iter()
                .map(|name| fields.flag(name))
                .find(|found| !matches!(found, Ok(None)))
                .unwrap_or(Ok(None))
        };
        let return_documents = flag(&["return_documents", "return_text", "return_input"])?.unwrap_or(false);
        let top_n = match fields.count("top_n")? {
            None => fields.count("top_k")?,
            found => found,
        };
        let property = self.form == Form::Weaviate && fields.get("documents").is_none();
        let queries = self.queries()?;
        let documents = self.documents(return_documents, queries.len(), property)?;
        let first_scores = fields.numbers("first_scores", documents.len() + 1)?;
        let ask = Ask {
            form: self.form,
            model: fields.string("model")?,
            queries,
            top_n: top_n.filter(|top_n| *top_n > 0),
            return_documents,
            return_tokens: flag(&["return_tokens"])?.unwrap_or(false),
            raw_scores: flag(&["raw_scores"])?.unwrap_or(self.form == Form::Nim),
            truncate: self.truncate()?,
            max_document_tokens: fields.count("max_tokens_per_doc")?.filter(|most| *most > 0),
            min_score: fields.number("min_score")?,
            budget_ms: fields.count("budget_ms")?,
            fusion: self.fusion()?,
            first_scores,
            long: self.long()?,
            stride: fields.count("stride")?.unwrap_or(0),
            property,
            documents,
        };
        if !matches!(self.form, Form::Results | Form::Data)
            && (ask.budget_ms.is_some() || ask.min_score.is_some())
        {
            let reason =
                "`budget_ms` and `min_score` leave documents out, which this contract does not allow";
            return Err(Problem::new(Kind::Shape, reason));
        }
        Ok(ask)
    }

    fn queries(&self) -> Result<Vec<String>, Problem> {
        if self.form == Form::Score {
            let queries = self.texts("text_1")?;
            return queries.into_iter().map(|query| self.checked("text_1", query)).collect();
        }
        let Some(value) = self.fields.get("query") else { return Err(self.no_query()) };
        let text = match value.get().starts_with('{') {
            true => text_of("query", value)?,
            false if !value.get().starts_with('"') && self.errors == ErrorForm::Merged => {
                return Err(Problem::new(Kind::Shape, "\"query\" must be a string"));
            }
            false => read_string("query", value.get())?,
        };
        let blank = text.trim().is_empty();
        if blank && self.errors == ErrorForm::Merged {
            let reason = "invalid request: query must not be empty or be only whitespace";
            return Err(Problem::new(Kind::Empty, reason));
        }
        if blank {
            return Err(Problem::new(Kind::Empty, "Input validation error: `inputs` cannot be empty"));
        }
        Ok(vec![self.checked("query", text)?])
    }

    fn no_query(&self) -> Problem {
        match self.errors {
            ErrorForm::Merged => Problem::new(Kind::Shape, "\"query\" must be provided"),
            _ => missing("query"),
        }
    }

    fn documents(&self, keep: bool, queries: usize, property: bool) -> Result<Vec<Document>, Problem> {
        let document = |query, text| Document { query, text, object: None };
        if self.form == Form::Score {
            let texts = self.texts("text_2")?;
            if queries != 1 && queries != texts.len() {
                let reason = format!(
                    "expected as many `text_1` as `text_2`, or one, found {queries} and {}",
                    texts.len()
                );
                return Err(Problem::new(Kind::Shape, reason));
            }
            let number = |i: usize| if queries == 1 { 0 } else { i };
            let texts = texts.into_iter().enumerate();
            return texts.map(|(i, text)| Ok(document(number(i), self.checked("text_2", text)?))).collect();
        }
        if property {
            let text = self.fields.string("property")?.ok_or_else(|| missing("documents"))?;
            return Ok(vec![document(0, self.checked("property", text)?)]);
        }
        let name = match self.form {
            Form::Tei => "texts",
            Form::Nim => "passages",
            Form::Data if self.fields.get("documents").is_none() => "input",
            _ => "documents",
        };
        let most = self.options.max_documents;
        let merged = self.errors == ErrorForm::Merged;
        if merged && !self.fields.is_array(name) {
            return Err(Problem::new(Kind::Shape, "\"documents\" must be a non-empty string array"));
        }
        let items = self.fields.items(name, most)?.ok_or_else(|| missing(name))?;
        if items.count == 0 {
            return Err(Problem::new(
                Kind::Empty,
                match merged {
                    true => "invalid request: list of documents must not be empty".to_owned(),
                    false => format!("`{name}` cannot be empty"),
                },
            ));
        }
        if items.count > most {
            return Err(too_many(items.count, most, self.errors));
        }
        let rank_fields = self.fields.strings("rank_fields", 100)?.filter(|keys| !keys.is_empty());
        let read = |(i, value): (usize, &&RawValue)| {
            let name = format!("{name}[{i}]");
            let object = value.get().starts_with('{');
            let text = match (&rank_fields, object) {
                (Some(keys), true) => text_of_keys(&name, value, keys)?,
                (_, true) => text_of(&name, value)?,
                (_, false) => read_string(&name, value.get())?,
            };
            let text = self.checked(&name, text)?;
            let object = (keep && object).then(|| repaired(value));
            Ok(Document { query: 0, text, object })
        };
        items.first.iter().enumerate().map(read).collect()
    }

    /// A text or a list of texts.
    fn texts(&self, name: &str) -> Result<Vec<String>, Problem> {
        if !self.fields.is_array(name) {
            return Ok(vec![self.fields.string(name)?.ok_or_else(|| missing(name))?]);
        }
        let most = self.options.max_documents;
        let items = self.fields.items(name, most)?.ok_or_else(|| missing(name))?;
        if items.count == 0 {
            return Err(Problem::new(Kind::Empty, format!("`{name}` cannot be empty")));
        }
        if items.count > most {
            return Err(too_many(items.count, most, self.errors));
        }
        items.first.iter().map(|value| read_string(name, value.get())).collect()
    }

    /// A text that is not longer than is allowed.
    fn checked(&self, name: &str, text: String) -> Result<String, Problem> {
        let Some(most) = self.options.max_document_chars else { return Ok(text) };
        // Bytes are never fewer than characters.
        let chars = if text.len() > most { text.chars().count() } else { 0 };
        if chars <= most {
            return Ok(text);
        }
        let reason = format!("`{name}` must have less than {} characters. Given: {chars}", most + 1);
        Err(Problem::new(
            Kind::TooLong,
            match self.errors {
                ErrorForm::Merged => format!("invalid request: {reason}"),
                _ => format!("Input validation error: {reason}"),
            },
        ))
    }

    fn truncate(&self) -> Result<bool, Problem> {
        let fields = self.fields;
        let asked = match fields.get("truncate").map(RawValue::get) {
            Some("\"END\"" | "\"end\"" | "\"START\"") => Some(true),
            Some("\"NONE\"" | "\"none\"") => Some(false),
            _ => fields.flag("truncate")?,
        };
        let asked = match asked {
            None => fields.flag("truncation")?,
            asked => asked,
        };
        // Texts are cut at their end: a text that would have to be cut elsewhere is refused.
        let left = match fields.string("truncation_direction")?.as_deref() {
            None | Some("Right" | "right") => false,
            Some("Left" | "left") => true,
            Some(other) => {
                let reason = format!("`truncation_direction`: expected Right or Left, found {other}");
                return Err(Problem::new(Kind::Shape, reason));
            }
        };
        Ok(self.options.truncate == Truncate::Always || (asked.unwrap_or(true) && !left))
    }

    fn fusion(&self) -> Result<Fusion, Problem> {
        let Some(value) = self.fields.get("fuse") else { return Ok(Fusion::None) };
        match value.get() {
            "\"rrf\"" => Ok(Fusion::Rrf),
            "\"none\"" => Ok(Fusion::None),
            _ => match self.fields.number("fuse") {
                Ok(Some(weight)) if (0.0..=1.0).contains(&weight) => Ok(Fusion::Weight(weight)),
                _ => Err(wrong("fuse", "\"none\", \"rrf\" or a weight from 0 to 1", value)),
            },
        }
    }

    fn long(&self) -> Result<Long, Problem> {
        let Some(value) = self.fields.get("long") else { return Ok(Long::Truncate) };
        match value.get() {
            "\"truncate\"" => Ok(Long::Truncate),
            "\"max\"" => Ok(Long::Max),
            "\"mean\"" => Ok(Long::Mean),
            _ => Err(wrong("long", "\"truncate\", \"max\" or \"mean\"", value)),
        }
    }
}

/// The text of an object: under `text`, or the text parts under `content`.
fn text_of(name: &str, value: &RawValue) -> Result<String, Problem> {
    const KEYS: &[&str] = &["text", "content"];
    let fields = Fields::of(value.get(), KEYS)?;
    if let Some(text) = fields.get("text") {
        return read_string(&format!("{name}.text"), text.get());
    }
    if !fields.is_array("content") {
        return match fields.get("content") {
            Some(text) => read_string(&format!("{name}.content"), text.get()),
            None => Err(Problem::new(
                Kind::Shape,
                format!("`{name}`: expected a string or an object with `text`"),
            )),
        };
    }
    let parts = fields.items("content", 1000)?.map_or(vec![], |items| items.first);
    let texts = parts.iter().map(|part| {
        let part = Fields::of(part.get(), &["type", "text"])?;
        let no_text =
            || Problem::new(Kind::Shape, format!("`{name}.content`: expected parts of the type text"));
        read_string(name, part.get("text").ok_or_else(no_text)?.get())
    });
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join(" "))
}

/// The texts under some keys of an object, joined by a space; those that are missing, null or empty are left out.
fn text_of_keys(name: &str, value: &RawValue, keys: &[String]) -> Result<String, Problem> {
    let json = without_lone_surrogates(value.get());
    let object: std::collections::HashMap<String, &RawValue> =
        serde_json::from_str(json.as_deref().unwrap_or(value.get()))
            .map_err(|error| Problem::new(Kind::Json, error.to_string()))?;
    let there = keys.iter().filter_map(|key| object.get(key).filter(|value| value.get() != "null"));
    let texts = there.map(|value| match value.get().starts_with('"') {
        true => read_string(name, value.get()),
        false => Ok(value.get().to_owned()),
    });
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" "))
}

/// An object as it came, without halves of surrogate pairs, which strict readers refuse.
fn repaired(value: &RawValue) -> Box<RawValue> {
    let repaired = without_lone_surrogates(value.get()).map(RawValue::from_string);
    repaired.and_then(Result::ok).unwrap_or_else(|| value.to_owned())
}
