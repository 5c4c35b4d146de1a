//! Two stages: something fast finds candidates in a corpus, the default model says which of them answer.
//!
//!     cargo run --release --example two_stage
//!     cargo run --release --example two_stage -- 'my deposit and a few nail holes'

use std::collections::{BTreeSet, HashMap};
use std::error::Error;
use std::path::Path;

use crossrank::{Candidate, Pipeline, RerankOptions, Reranker};

/// What is asked where no argument says otherwise.
pub const QUERY: &str = "how do I get red wine out of a wool carpet";

/// A passage: its id and its text.
pub type Passage = (String, String);

/// Reads the passages in `data/everyday`.
pub fn corpus(folder: &Path) -> Result<Vec<Passage>, Box<dyn Error>> {
    let lines = std::fs::read_to_string(folder.join("corpus.jsonl"))?;
    let passage = |line| {
        let mut object: HashMap<String, String> = serde_json::from_str(line)?;
        let mut take = |key| object.remove(key).ok_or_else(|| format!("no `{key}` in {line}"));
        Ok((take("id")?, take("text")?))
    };
    lines.lines().map(passage).collect()
}

fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// The first stage, as simple as can be: the passages that share most words with the query, rare ones counting more. A
/// search engine or a vector store takes its place in earnest.
pub fn first_stage(corpus: &[Passage], query: &str, count: usize) -> Vec<Candidate> {
    let corpus: Vec<_> = corpus.iter().map(|(id, text)| (id, text, words(text))).collect();
    let with = |word: &String| corpus.iter().filter(|(.., its)| its.contains(word)).count();
    let rarity = |word: &String| (1.0 + corpus.len() as f32 / (1 + with(word)) as f32).ln();
    let asked: Vec<(String, f32)> = words(query)
        .into_iter()
        .map(|word| {
            let rarity = rarity(&word);
            (word, rarity)
        })
        .collect();
    let score = |its: &BTreeSet<String>| {
        asked.iter().filter(|(word, _)| its.contains(word)).map(|(_, rarity)| rarity).sum()
    };
    let mut found: Vec<Candidate> =
        corpus.iter().map(|(id, text, its)| Candidate::new((*id).clone(), *text, score(its))).collect();
    found.sort_by(|a, b| b.score.total_cmp(&a.score));
    found.truncate(count);
    found
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let query = std::env::args().nth(1).unwrap_or_else(|| QUERY.to_owned());

    let corpus = corpus(&folder.join("data/everyday"))?;
    let retriever = |query: &str, count: usize| Ok::<_, Box<dyn Error>>(first_stage(&corpus, query, count));
    let reranker = Reranker::load(folder.join("../models/default"))?;
    let options = RerankOptions::default().top_k(5);
    let pipeline = Pipeline::new(retriever, &reranker).candidates(50).options(options);

    println!("{query}");
    for (rank, found) in pipeline.search(&query)?.iter().enumerate() {
        let score = found.ranked.as_ref().map_or(0.0, |ranked| ranked.score);
        println!("{}. (was {}) {score:.4}  {}", rank + 1, found.first_rank, found.candidate.text);
    }
    Ok(())
}
