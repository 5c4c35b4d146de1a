//! How well the first stage finds, beside another implementation of BM25.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use crossrank_search::{Error, Index};
use serde_json::Value;

/// nDCG@10 on Cranfield by bm25s 0.3.16 as it is by default (`bm25s.tokenize(texts)`, `bm25s.BM25()`: English stop words,
/// no stemming, k1 = 1.5, b = 0.75), of 100 results without those of score 0, by pytrec-eval-terrier 0.5.11.
const BM25S: f64 = 0.36266;

#[test]
fn cranfield_is_searched_as_well_as_by_bm25s() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/cranfield");
    if !folder.is_dir() {
        // The harness captures `eprintln!`, not the handle.
        std::io::stderr().write_all(b"SKIPPED cranfield: there is no ../shared\n").unwrap();
        return;
    }
    let read = |name| fs::read_to_string(folder.join(name)).unwrap();
    let index = Index::in_memory(|writer| {
        for line in read("corpus.jsonl").lines() {
            let object: Value = serde_json::from_str(line).unwrap();
            writer.add(object["id"].as_str().unwrap(), object["text"].as_str().unwrap())?;
        }
        Ok::<_, Error>(())
    })
    .unwrap();
    assert_eq!(index.documents(), 1400);
    let mut gains: HashMap<String, HashMap<String, f64>> = HashMap::new();
    for line in read("qrels.txt").lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let gain = fields[3].parse::<f64>().unwrap().max(0.0);
        gains.entry(fields[0].to_owned()).or_default().insert(fields[2].to_owned(), gain);
    }
    let discounted = |gains: &[f64]| -> f64 {
        gains.iter().take(10).enumerate().map(|(at, gain)| gain / (at as f64 + 2.0).log2()).sum()
    };
    let mut sum = 0.0;
    for line in read("queries.tsv").lines() {
        let (id, query) = line.split_once('\t').unwrap();
        let of_query = &gains[id];
        let mut ideal: Vec<f64> = of_query.values().copied().collect();
        ideal.sort_by(|a, b| b.total_cmp(a));
        let found: Vec<f64> = index
            .search(query, 10)
            .unwrap()
            .iter()
            .map(|hit| of_query.get(&index.document(hit.ordinal).unwrap().id).copied().unwrap_or(0.0))
            .collect();
        sum += discounted(&found) / discounted(&ideal);
    }
    let mean = sum / gains.len() as f64;
    println!("nDCG@10: {mean:.5}, bm25s {BM25S}");
    assert!((mean - BM25S).abs() < 0.01, "{mean}");
}
