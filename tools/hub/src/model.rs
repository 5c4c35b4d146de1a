//! What a user calls a model: its repository and a revision of it.

use std::fmt;

use crate::error::{Error, Result};

/// Names that stand for repositories: what people run most, in safetensors, of families that the engine reads.
pub const SHORT_NAMES: [(&str, &str); 10] = [
    ("minilm-l6", "cross-encoder/ms-marco-MiniLM-L6-v2"),
    ("minilm-l12", "cross-encoder/ms-marco-MiniLM-L12-v2"),
    ("ettin-17m", "cross-encoder/ettin-reranker-17m-v1"),
    ("ettin-32m", "cross-encoder/ettin-reranker-32m-v1"),
    ("ettin-68m", "cross-encoder/ettin-reranker-68m-v1"),
    ("ettin-150m", "cross-encoder/ettin-reranker-150m-v1"),
    ("bge-base", "BAAI/bge-reranker-base"),
    ("bge-large", "BAAI/bge-reranker-large"),
    ("bge-v2-m3", "BAAI/bge-reranker-v2-m3"),
    ("gte-modernbert", "Alibaba-NLP/gte-reranker-modernbert-base"),
];

/// The revision where none is given.
const DEFAULT_REVISION: &str = "main";
/// How long an id may be, as the hub has it.
const MAX_ID: usize = 96;
/// How long a revision may be: file systems have no longer names.
const MAX_REVISION: usize = 200;

/// A repository on the hub and a revision of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Model {
    id: String,
    revision: String,
}

impl Model {
    /// Reads `org/name`, `org/name@revision`, or one of [`SHORT_NAMES`], each with or without `hf:` before it.
    ///
    /// A revision is a branch, a tag, a pull request (`refs/pr/1`) or a commit.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] where it is none of these, or where the id or the revision is one that the hub cannot have,
    /// `..` among them.
    pub fn parse(argument: &str) -> Result<Self> {
        let refused = |reason: String| Error::Argument { argument: argument.to_owned(), reason };
        let text = argument.strip_prefix("hf:").unwrap_or(argument);
        let (name, revision) = text.split_once('@').unwrap_or((text, DEFAULT_REVISION));
        let short = SHORT_NAMES.iter().find(|(short, _)| *short == name);
        let id = short.map_or(name, |(_, id)| id);
        check_id(id).map_err(refused)?;
        check_revision(revision).map_err(refused)?;
        Ok(Self { id: id.to_owned(), revision: revision.to_owned() })
    }

    /// The repository: `org/name`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The revision, `main` where none was given.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The revision, if it is the full name of a commit, which always means the same files.
    pub(crate) fn commit(&self) -> Option<&str> {
        is_commit(&self.revision).then_some(&*self.revision)
    }
}

/// `org/name@revision`, without the revision where it is `main`.
impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.revision {
            DEFAULT_REVISION => f.write_str(&self.id),
            revision => write!(f, "{}@{revision}", self.id),
        }
    }
}

/// Whether a text is the full name of a commit, as the hub writes it.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_lower_hex(text)
}

pub(crate) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The hub's rules, which keep ids out of other folders of the cache, too.
fn check_id(id: &str) -> std::result::Result<(), String> {
    let short = || SHORT_NAMES.map(|(short, _)| short).join(", ");
    let Some((org, name)) = id.split_once('/') else {
        return Err(format!(
            "expected a repository, `org/name` or `org/name@revision`, or a short name: {}",
            short()
        ));
    };
    let part = |part: &str| {
        let edge = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let bytes = part.as_bytes();
        bytes.iter().all(|byte| edge(*byte) || matches!(byte, b'-' | b'.'))
            && bytes.first().is_some_and(|byte| edge(*byte))
            && bytes.last().is_some_and(|byte| edge(*byte))
    };
    let valid = part(org) && part(name) && id.len() <= MAX_ID;
    if !valid || id.contains("--") || id.contains("..") || id.ends_with(".git") {
        return Err(format!(
            "expected a repository, `org/name` of letters, digits, `-`, `_` and `.`, at most {MAX_ID} in all, without \
             `--`, `..` or `.git` at its end, found `{}`",
            id.escape_debug()
        ));
    }
    Ok(())
}

/// Git's rules for names, which keep them out of other folders of the cache, too.
fn check_revision(revision: &str) -> std::result::Result<(), String> {
    let byte = |byte: u8| {
        byte > b' '
            && !matches!(
                byte,
                b'\\' | b':' | b'~' | b'^' | b'?' | b'*' | b'[' | b'"' | b'<' | b'>' | b'|' | 0x7f
            )
    };
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let valid = revision.len() <= MAX_REVISION
        && revision.bytes().all(byte)
        && revision.split('/').all(part)
        && !revision.contains("..")
        && !revision.contains("@{");
    if valid {
        return Ok(());
    }
    Err(format!(
        "expected a branch, a tag or a commit behind `@`, found `{}`, which git allows as no name",
        revision.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::{Model, SHORT_NAMES, is_commit};

    fn parse(text: &str) -> Option<(String, String)> {
        Model::parse(text).ok().map(|model| (model.id, model.revision))
    }

    #[test]
    fn ids_revisions_and_short_names_are_read() {
        let is = |text, id: &str, revision: &str| assert_eq!(parse(text), Some((id.into(), revision.into())));
        is("a/b", "a/b", "main");
        is("hf:a/b", "a/b", "main");
        is("hf:a/b@v1.0", "a/b", "v1.0");
        is("a_b/c.d-e@refs/pr/12", "a_b/c.d-e", "refs/pr/12");
        is("minilm-l6", "cross-encoder/ms-marco-MiniLM-L6-v2", "main");
        is("hf:bge-v2-m3@dev", "BAAI/bge-reranker-v2-m3", "dev");
        for (short, id) in SHORT_NAMES {
            is(short, id, "main");
        }
    }

    #[test]
    fn what_could_leave_the_cache_is_refused() {
        for text in [
            "",
            "a",
            "/b",
            "a/",
            "a/b/c",
            "../b",
            "a/..",
            "a/.b",
            "a/b.",
            "a/-b",
            "a--b/c",
            "a/b..c",
            "a\\b/c",
            "a/b\\c",
            "a/b c",
            "a/b\n",
            "a/é",
            "a/b.git",
            "hf:",
            "hf:hf:a/b",
            "a/b@",
            "a/b@..",
            "a/b@../x",
            "a/b@x/../y",
            "a/b@/x",
            "a/b@x/",
            "a/b@x//y",
            "a/b@.x",
            "a/b@x\\y",
            "a/b@C:x",
            "a/b@x y",
            "a/b@x\0",
            "a/b@x@{1}",
            "a/b@x.lock",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
        assert_eq!(parse(&format!("a/{}", "b".repeat(95))), None);
        assert_eq!(parse(&format!("a/b@{}", "c".repeat(201))), None);
    }

    #[test]
    fn a_commit_is_forty_small_hexadecimal_digits() {
        assert!(is_commit(&"0a".repeat(20)));
        for text in ["", "0a", &"0A".repeat(20), &"0g".repeat(20), &"0a".repeat(32)] {
            assert!(!is_commit(text), "{text}");
        }
    }

    #[test]
    fn it_is_shown_as_it_is_written() {
        assert_eq!(Model::parse("hf:a/b@main").unwrap().to_string(), "a/b");
        assert_eq!(Model::parse("a/b@x").unwrap().to_string(), "a/b@x");
    }
}
