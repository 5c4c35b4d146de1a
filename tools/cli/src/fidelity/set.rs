//! Texts with judgements, and the candidates of each query.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crossrank_eval::{Documents, Judgements, Queries, Run};

use super::CANDIDATES;
use super::bm25::Bm25;
use crate::failure::{Failure, say};
use crate::json::say_lone_surrogates;

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
    /// The gains of documents that the corpus lacks: the ideal ranking has them, and none finds them.
    pub not_in_corpus: Vec<i32>,
    /// Documents, best first.
    pub candidates: Vec<usize>,
}

/// Where the texts with some id are.
type Ids = HashMap<String, usize>;

impl EvalSet {
    /// Reads a folder: a corpus, queries and judgements in the forms and under the names that `crossrank_eval` reads
    /// (`corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv`, as BEIR has them, or `queries.tsv` and TREC's `qrels.txt`).
    /// Candidates come from a TREC run if there is one, else from BM25.
    ///
    /// Only the first `limit` queries stay, but all that is said of the others must be well-formed, too. What judgements
    /// and the run say of documents and queries that are not there is counted in notes on stderr.
    pub fn read(folder: &Path, run: Option<&PathBuf>, limit: Option<usize>) -> Result<Self, Failure> {
        if !folder.is_dir() {
            let reason = "expected a folder with a corpus, queries and judgements, found none";
            return Err(Failure::about(folder.display(), reason));
        }
        let (documents, document_ids, corpus) = read_documents(folder)?;
        let (queries, query_ids) = read_queries(folder)?;
        let all_queries = queries.len();
        let kept = limit.unwrap_or(all_queries).min(all_queries);
        let judgements = Judgements::open(folder)?;
        let judged = by_query(&judgements, &query_ids, &document_ids);

        let candidates: Vec<Vec<usize>> = match run {
            Some(path) => {
                let run = Run::open(path)?;
                tell_of_run(&run, &query_ids, &document_ids);
                let known = |id: &str| {
                    let documents = run.ranking(id).into_iter().flat_map(|ranking| ranking.iter());
                    let known = documents.filter_map(|(document, _)| document_ids.get(document));
                    known.take(CANDIDATES).copied().collect()
                };
                queries[..kept].iter().map(|query| known(&query.id)).collect()
            }
            None => {
                let index = Bm25::new(documents.iter().map(|document| &*document.text));
                queries[..kept].iter().map(|query| index.best(&query.text, CANDIDATES)).collect()
            }
        };
        let queries: Vec<Query> = queries
            .into_iter()
            .zip(judged)
            .zip(candidates)
            .map(|((text, (judgements, not_in_corpus)), candidates)| Query {
                text,
                judgements,
                not_in_corpus,
                candidates,
            })
            .collect();

        let of = || format!("any of {kept} queries");
        let mut grades =
            queries.iter().flat_map(|query| query.judgements.values().chain(&query.not_in_corpus));
        if grades.all(|&relevance| relevance <= 0) {
            let reason = format!("relevance: expected a relevant document for {}, found none", of());
            return Err(Failure::about(judgements.name(), reason));
        }
        if queries.iter().all(|query| query.candidates.is_empty()) {
            let file = run.map_or(corpus, |run| run.display().to_string());
            let reason = format!("expected candidates for {}, found none", of());
            return Err(Failure::about(file, reason));
        }
        Ok(Self { documents, queries, all_queries })
    }

    /// How many pairs there are to score.
    pub fn pairs(&self) -> usize {
        self.queries.iter().map(|query| query.candidates.len()).sum()
    }
}

/// The documents, where each id is, and the name of the file.
fn read_documents(folder: &Path) -> Result<(Vec<Text>, Ids, String), Failure> {
    let (mut texts, mut ids) = (Vec::new(), Ids::new());
    let mut documents = Documents::open(folder)?.unique_ids();
    for document in &mut documents {
        let document = document?;
        ids.insert(document.id.clone(), texts.len());
        texts.push(Text { text: document.full_text().into_owned(), id: document.id });
    }
    if documents.repaired() > 0 {
        say_lone_surrogates();
    }
    Ok((texts, ids, documents.name().to_owned()))
}

/// The queries, and where each id is.
fn read_queries(folder: &Path) -> Result<(Vec<Text>, Ids), Failure> {
    let (mut texts, mut ids) = (Vec::new(), Ids::new());
    let mut queries = Queries::open(folder)?;
    for query in &mut queries {
        let query = query?;
        ids.insert(query.id.clone(), texts.len());
        texts.push(Text { id: query.id, text: query.text });
    }
    if queries.repaired() > 0 {
        say_lone_surrogates();
    }
    Ok((texts, ids))
}

type Judged = (HashMap<usize, i32>, Vec<i32>);

/// What is known of each query; notes say what is judged and not there.
fn by_query(judgements: &Judgements, queries: &Ids, documents: &Ids) -> Vec<Judged> {
    let mut all = vec![Judged::default(); queries.len()];
    let (mut unknown_queries, mut unknown_documents) = (0, 0);
    for id in judgements.queries() {
        let (Some(&query), Some(judged)) = (queries.get(id), judgements.of(id)) else {
            unknown_queries += 1;
            continue;
        };
        let (known, not_in_corpus) = &mut all[query];
        for (document, grade) in judged.iter() {
            match documents.get(document) {
                Some(&document) => {
                    known.insert(document, grade);
                }
                None => {
                    unknown_documents += 1;
                    not_in_corpus.push(grade);
                }
            }
        }
    }
    let name = judgements.name();
    note(name, unknown_queries, "queries that the set lacks, which do not count");
    note(name, unknown_documents, "judged documents that the corpus lacks, which count as not found");
    all
}

fn tell_of_run(run: &Run, queries: &Ids, documents: &Ids) {
    let known = || run.queries().filter(|id| queries.contains_key(*id));
    let unknown_queries = run.queries().len() - known().count();
    let ranked = known().filter_map(|id| run.ranking(id)).flat_map(|ranking| ranking.iter());
    let unknown_documents = ranked.filter(|(document, _)| !documents.contains_key(*document)).count();
    note(run.name(), unknown_queries, "queries that the set lacks, which do not count");
    note(run.name(), unknown_documents, "documents that the corpus lacks, which are no candidates");
}

fn note(file: &str, count: usize, what: &str) {
    if count > 0 {
        say("note", &format!("{file}: {what}: {count}"));
    }
}
