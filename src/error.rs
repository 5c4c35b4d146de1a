//! What can go wrong, named so that the reader can mend it.

use std::path::PathBuf;

use crossrank_kernels::UnavailableIsa;

/// An error of loading or scoring. Each names the file, tensor, field or document, what was expected and what was
/// found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's word.
        source: std::io::Error,
    },
    /// The model path is no folder.
    #[error("{}: not a folder; a model is a folder with config.json, tokenizer.json and model.safetensors", path.display())]
    NotAFolder {
        /// The path that was given.
        path: PathBuf,
    },
    /// A JSON file does not parse.
    #[error("{file}: invalid JSON: {source}")]
    Json {
        /// The file.
        file: String,
        /// The parser's word.
        source: serde_json::Error,
    },
    /// Something else stands in the place of a file, such as what an incomplete download leaves there.
    #[error("{file}: {reason}")]
    NotTheFile {
        /// The file.
        file: String,
        /// What it is instead.
        reason: String,
    },
    /// A folder or file of an adapter, which changes the weights of another model.
    #[error("{file}: this is {what}: merge it into its base first, as `merge_and_unload` of peft does")]
    Adapter {
        /// The file.
        file: String,
        /// What shows it.
        what: String,
    },
    /// A setting is missing, out of range or not supported.
    #[error("{file}: `{field}`: expected {expected}, found {found}")]
    Config {
        /// The file.
        file: String,
        /// The field.
        field: String,
        /// What would be accepted.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A safetensors file whose header or layout is broken.
    #[error("{file}: broken safetensors file: {reason}")]
    Safetensors {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A shard index that names what is not there, or must not be read.
    #[error("{file}: {reason}")]
    ShardIndex {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor that the model needs is in no file.
    #[error("{file}: tensor `{tensor}` is missing{hint}")]
    MissingTensor {
        /// The weights file, or the index of its shards.
        file: String,
        /// The tensor, under the name that was looked for.
        tensor: String,
        /// Why it is needed, where that helps.
        hint: &'static str,
    },
    /// A tensor with another dtype, shape or companion than the model needs.
    #[error("{file}: tensor `{tensor}`: expected {expected}, found {found}")]
    Tensor {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// What the config asks for.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A packed checkpoint that cannot be used.
    #[error(
        "{source}; `crossrank pack MODEL_DIR OUT_DIR` makes it anew (`--dtype` for another than the checkpoint's)"
    )]
    Packed {
        /// Why not.
        source: Box<Error>,
    },
    /// What was to be written could not be.
    #[error("cannot be written: {source}")]
    Write {
        /// The system's word.
        source: std::io::Error,
    },
    /// The tokenizer is missing, broken, or does not fit the model.
    #[error("{file}: {reason}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An option that is out of range, or does not fit the model.
    #[error("option `{option}`: {reason}")]
    Option {
        /// The option.
        option: &'static str,
        /// What would be accepted, and what was given.
        reason: String,
    },
    /// An instruction set that is unknown or that this machine lacks.
    #[error(transparent)]
    Isa(#[from] UnavailableIsa),
    /// The thread pool could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    ThreadPool {
        /// How many were asked for.
        threads: usize,
        /// The system's word.
        reason: String,
    },
    /// The process is not the one that loaded the model, but was forked off it: the threads stayed behind.
    #[error(
        "process {here} was forked from process {loaded} after the model was loaded there, and has none of its threads: \
         load the model in the process that uses it, or with `threads(1)`"
    )]
    Forked {
        /// The process that loaded the model.
        loaded: u32,
        /// The process that calls.
        here: u32,
    },
    /// A query that cannot be tokenised.
    #[error("query: {reason}")]
    Query {
        /// What is wrong with it.
        reason: String,
    },
    /// A text that cannot be scored.
    #[error("document {document}: {reason}")]
    Document {
        /// Its index in the call, from 0.
        document: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A logit that is no finite number: the weights hold NaN or infinity, or values that overflow.
    #[error("document {document}: logit {label} is {value}; the model's weights are broken")]
    NonFinite {
        /// The index of the document in the call, from 0.
        document: usize,
        /// The label whose logit it is.
        label: usize,
        /// NaN or an infinity.
        value: f32,
    },
    /// The caller's stop flag was set.
    #[error("stopped: {scored} of {documents} documents had been scored")]
    Stopped {
        /// Documents that were scored.
        scored: usize,
        /// Documents of the call.
        documents: usize,
    },
}

impl Error {
    /// The index of the document that this error is about, if it is about one.
    pub fn document(&self) -> Option<usize> {
        match self {
            Self::Document { document, .. } | Self::NonFinite { document, .. } => Some(*document),
            _ => None,
        }
    }

    /// The same of another document, if it is about one.
    #[cfg(feature = "tokenizers")]
    #[must_use]
    pub fn at_document(mut self, number: Option<usize>) -> Self {
        if let (Self::Document { document, .. } | Self::NonFinite { document, .. }, Some(number)) =
            (&mut self, number)
        {
            *document = number;
        }
        self
    }

    /// The error of a packed checkpoint.
    pub(crate) fn of_packed(self) -> Self {
        Self::Packed { source: Box::new(self) }
    }

    pub(crate) fn option(option: &'static str, reason: impl Into<String>) -> Self {
        Self::Option { option, reason: reason.into() }
    }

    pub(crate) fn document_error(document: usize, reason: impl Into<String>) -> Self {
        Self::Document { document, reason: reason.into() }
    }
}

/// `std::result::Result` with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;
