//! Texts with judgements, and the candidates of each query.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};

use super::bm25::Bm25;
use super::{CANDIDATES, run};
use crate::failure::Failure;
use crate::input::Lines;
use crate::object;
use crate::text::printable;

const CORPUS: &str = "corpus.jsonl";
const QUERIES: &str = "queries.tsv";
const QRELS: &str = "qrels.txt";

/// What two models are compared on.
pub struct EvalSet {
    pub documents: Vec<Text>,
    pub queries: Vec<Query>,
    /// How many queries there were before they were cut to the first few.
    pub all_queries: usize,
}

/// A document or a query.
pub struct Text {
    pub id: String,
    pub text: String,
}

/// A query, what is known of it, and what is scored for it.
pub struct Query {
    pub text: Text,
    /// By document, its gain: above 0 is relevant.
    pub judgements: HashMap<usize, i32>,
    /// Documents, best first.
    pub candidates: Vec<usize>,
}

impl EvalSet {
    /// Reads a folder: `corpus.jsonl` (an object a line with the keys `id`, a string or an integer, and `text`; others are ignored),
    /// `queries.tsv` (id, tab, text) and `qrels.txt` (TREC: query, 0, document, relevance). Candidates come from a TREC
    /// run if there is one, else from BM25.
    ///
    /// Only the first `limit` queries stay, but all that is said of the others must be well-formed, too.
    pub fn read(folder: &Path, run: Option<&PathBuf>, limit: Option<usize>) -> Result<Self, Failure> {
        let (documents, document_ids) = read_texts(&folder.join(CORPUS), document)?;
        let (queries, query_ids) = read_texts(&folder.join(QUERIES), query)?;
        let mut judgements = vec![HashMap::new(); queries.len()];
        let qrels = folder.join(QRELS);
        Lines::open(Some(&qrels))?.for_each(|line| {
            let [query, _, document, relevance] = fields(line, ["query", "0", "document", "relevance"])?;
            let query = known(&query_ids, "query", query, QUERIES)?;
            let relevance = relevance.parse().map_err(|_| expected("relevance", "an integer", relevance))?;
            match judgements[query].entry(known(&document_ids, "document", document, CORPUS)?) {
                Entry::Occupied(_) => {
                    Err(expected("document", "one not yet judged for this query", document))
                }
                Entry::Vacant(entry) => {
                    entry.insert(relevance);
                    Ok(())
                }
            }
        })?;

        let all_queries = queries.len();
        let kept = limit.unwrap_or(all_queries).min(all_queries);
        let mut candidates = match run {
            Some(path) => run::read(path, &query_ids, &document_ids)?,
            None => {
                let index = Bm25::new(documents.iter().map(|document| &*document.text));
                queries[..kept].iter().map(|query| index.best(&query.text, CANDIDATES)).collect()
            }
        };
        candidates.truncate(kept);
        let queries: Vec<Query> = queries
            .into_iter()
            .zip(judgements)
            .zip(candidates)
            .map(|((text, judgements), candidates)| Query { text, judgements, candidates })
            .collect();

        let of = || format!("any of {kept} queries");
        if queries.iter().all(|query| query.judgements.values().all(|&relevance| relevance <= 0)) {
            let reason = format!("relevance: expected a relevant document for {}, found none", of());
            return Err(Failure::about(qrels.display(), reason));
        }
        if queries.iter().all(|query| query.candidates.is_empty()) {
            let file = run.cloned().unwrap_or_else(|| folder.join(CORPUS));
            let reason = format!("expected candidates for {}, found none", of());
            return Err(Failure::about(file.display(), reason));
        }
        Ok(Self { documents, queries, all_queries })
    }

    /// How many pairs there are to score.
    pub fn pairs(&self) -> usize {
        self.queries.iter().map(|query| query.candidates.len()).sum()
    }
}

/// Where the texts with some id are.
pub type Ids = HashMap<String, usize>;

fn document(line: &str) -> Result<Text, String> {
    let object = object::parse(line)?;
    Ok(Text { id: object::id(&object)?, text: object::string(&object, "text")? })
}

fn query(line: &str) -> Result<Text, String> {
    let (id, text) =
        line.split_once('\t').ok_or_else(|| expected("text", "an id, a tab and a text", line))?;
    Ok(Text { id: id.to_owned(), text: text.to_owned() })
}

/// One text a line, each with an id of its own.
fn read_texts(
    path: &Path,
    parse: impl Fn(&str) -> Result<Text, String>,
) -> Result<(Vec<Text>, Ids), Failure> {
    let (mut texts, mut ids) = (Vec::new(), Ids::new());
    Lines::open(Some(path))?.for_each(|line| {
        let text = parse(line)?;
        match ids.entry(text.id.clone()) {
            Entry::Occupied(_) => return Err(expected("id", "one that no line before has", &text.id)),
            Entry::Vacant(entry) => entry.insert(texts.len()),
        };
        texts.push(text);
        Ok(())
    })?;
    if texts.is_empty() {
        Err(Failure::about(path.display(), "expected lines, found none"))
    } else {
        Ok((texts, ids))
    }
}

/// The fields of a line, which white space parts.
pub fn fields<'a, const N: usize>(line: &'a str, names: [&str; N]) -> Result<[&'a str; N], String> {
    let found: Vec<&str> = line.split_whitespace().collect();
    let count = found.len();
    found.try_into().map_err(|_| format!("expected {N} fields ({}), found {count}", names.join(", ")))
}

/// The text with an id that a file must have.
pub fn known(ids: &Ids, field: &str, id: &str, file: &str) -> Result<usize, String> {
    ids.get(id).copied().ok_or_else(|| expected(field, &format!("an id of {file}"), id))
}

/// What is wrong with a field.
pub fn expected(field: &str, what: &str, found: &str) -> String {
    format!("{field}: expected {what}, found `{}`", printable(found, 60))
}
