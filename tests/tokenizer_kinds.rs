//! Tokenizers of each kind against the libraries: a table made by `tools/reference/tokenizer_kinds.py` from transformers
//! 5.23 and tokenizers 0.23.3, replayed beside the weights of a fixture, which has a row for each of their ids.
#![cfg(feature = "tokenizers")]

mod common;

use std::collections::BTreeMap;

use common::copy::ModelCopy;
use common::root;
use crossrank::{Reranker, TokenizerRules};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    files: Vec<String>,
    /// JSON pointer into `tokenizer.json`, value.
    set: BTreeMap<String, Value>,
    config: Value,
    pairs: Vec<Pair>,
}

#[derive(Deserialize)]
struct Pair {
    query: String,
    document: String,
    transformers5: Ids,
    /// Where they differ.
    author: Option<Ids>,
}

#[derive(Deserialize, PartialEq, Debug)]
struct Ids {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
}

impl Case {
    fn copy(&self) -> ModelCopy {
        let copy = ModelCopy::of("gelu-60");
        copy.remove("tokenizer.json");
        let folder = root().join("tests/tokenizers").join(&self.kind);
        for file in &self.files {
            copy.write(file, std::fs::read(folder.join(file)).unwrap());
        }
        for (pointer, value) in &self.set {
            copy.edit_json("tokenizer.json", |json| {
                let (parent, key) = pointer.rsplit_once('/').unwrap();
                json.pointer_mut(parent).unwrap()[key] = value.clone();
            });
        }
        copy.write("tokenizer_config.json", self.config.to_string());
        copy
    }

    fn wrong(&self, rules: TokenizerRules) -> Vec<String> {
        let reranker = match Reranker::builder().threads(1).tokenizer_rules(rules).load(self.copy().path()) {
            Ok(reranker) => reranker,
            Err(error) => return vec![format!("{}: {error}", self.name)],
        };
        let wrong = self.pairs.iter().filter_map(|pair| {
            let found = &reranker.tokenize(&pair.query, &[&pair.document]).unwrap()[0];
            let found = Ids { ids: found.ids().to_vec(), type_ids: found.type_ids().to_vec() };
            let expected = match rules {
                TokenizerRules::Author => pair.author.as_ref().unwrap_or(&pair.transformers5),
                _ => &pair.transformers5,
            };
            let line = || {
                format!(
                    "{}: {:?} {:?}: expected {expected:?}, found {found:?}",
                    self.name, pair.query, pair.document
                )
            };
            (found != *expected).then(line)
        });
        wrong.collect()
    }
}

fn cases() -> Vec<Case> {
    let table = std::fs::read_to_string(root().join("tests/tokenizer_kinds.jsonl")).unwrap();
    let cases: Vec<Case> = table.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() >= 28, "the table has lost cases: {}", cases.len());
    cases
}

fn check(rules: TokenizerRules) {
    let wrong: Vec<String> = cases().iter().flat_map(|case| case.wrong(rules)).collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_authors_rules_give_the_ids_of_the_file() {
    check(TokenizerRules::Author);
}

#[test]
fn the_rules_of_transformers_5_give_its_ids() {
    check(TokenizerRules::Transformers5);
}
