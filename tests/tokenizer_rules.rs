//! What settings beside a tokenizer do to the ids of a pair: a table made by `tools/reference/tokenizer_rules.py` from
//! transformers 5.23 and sentence-transformers 6.2, replayed on copies of a fixture.
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
    /// File, JSON pointer, value.
    set: BTreeMap<String, BTreeMap<String, Value>>,
    /// File and JSON pointer; an empty one is the file.
    remove: Vec<(String, String)>,
    write: BTreeMap<String, Value>,
    query: String,
    document: String,
    transformers5: Ids,
    author: Expected,
    logit: Option<f32>,
}

#[derive(Deserialize, PartialEq, Debug)]
struct Ids {
    ids: Vec<u32>,
    type_ids: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Ids(Ids),
    Refused { refused: String },
}

impl Case {
    fn copy(&self) -> ModelCopy {
        let copy = ModelCopy::of("gelu-60");
        for (file, fields) in &self.set {
            copy.edit_json(file, |json| {
                for (pointer, value) in fields {
                    let (parent, key) = pointer.rsplit_once('/').unwrap();
                    json.pointer_mut(parent).unwrap()[key] = value.clone();
                }
            });
        }
        for (file, pointer) in &self.remove {
            if pointer.is_empty() {
                copy.remove(file);
            } else {
                copy.edit_json(file, |json| {
                    json.as_object_mut().unwrap().remove(&pointer[1..]).unwrap();
                });
            }
        }
        for (file, value) in &self.write {
            copy.write(file, value.to_string());
        }
        copy
    }

    fn ids(&self, reranker: &Reranker) -> Ids {
        let pair = &reranker.tokenize(&self.query, &[&self.document]).unwrap()[0];
        Ids { ids: pair.ids().to_vec(), type_ids: pair.type_ids().to_vec() }
    }
}

fn cases() -> Vec<Case> {
    let table = std::fs::read_to_string(root().join("tests/tokenizer_rules.jsonl")).unwrap();
    let cases: Vec<Case> = table.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() >= 60, "the table has lost cases: {}", cases.len());
    cases
}

#[test]
fn the_authors_rules_give_the_ids_and_logits_of_the_table() {
    let mut wrong = vec![];
    for case in cases() {
        let copy = case.copy();
        let found = Reranker::builder().threads(1).load(copy.path());
        match (&case.author, found) {
            (Expected::Ids(expected), Ok(reranker)) => {
                let ids = case.ids(&reranker);
                let logit = reranker.score_pairs(&[(&case.query, &case.document)]).unwrap()[0].logits[0];
                if ids != *expected || (logit - case.logit.unwrap()).abs() > 1e-4 {
                    wrong.push(format!("{}: {expected:?}, found {ids:?}, {logit}", case.name));
                }
            }
            (Expected::Refused { refused }, Err(error)) if error.to_string().contains(&**refused) => {}
            (Expected::Refused { refused }, Ok(_)) => {
                wrong.push(format!("{}: loaded, `{refused}`", case.name));
            }
            (_, Err(error)) => wrong.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_rules_of_transformers_5_give_its_ids() {
    let mut wrong = vec![];
    for case in cases() {
        let copy = case.copy();
        let rules = TokenizerRules::Transformers5;
        match Reranker::builder().threads(1).tokenizer_rules(rules).load(copy.path()) {
            Ok(reranker) => {
                let ids = case.ids(&reranker);
                if ids != case.transformers5 {
                    wrong.push(format!("{}: {:?}, found {ids:?}", case.name, case.transformers5));
                }
            }
            Err(error) => wrong.push(format!("{}: {error}", case.name)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each setting of the table that changes something leaves a line.
#[test]
fn the_window_and_each_disagreement_are_noted() {
    let notes = |name: &str| {
        let case = cases().into_iter().find(|case| case.name == name).unwrap();
        Reranker::load(case.copy().path()).unwrap().info().notes
    };
    let plain = notes("as it is");
    assert_eq!(plain, ["the window of 64 tokens is max_position_embeddings of config.json"]);
    for (name, parts) in [
        ("model_max_length", &["window of 20 tokens is model_max_length of tokenizer_config.json"][..]),
        ("max_len", &["max_len of tokenizer_config.json"]),
        ("max_len beside model_max_length", &["`max_len` is 20"]),
        ("max_seq_length", &["max_seq_length of sentence_bert_config.json"]),
        ("words of 5 characters", &["`model.max_input_chars_per_word` is 5, but 100 counts"]),
        ("text is not cleaned", &["`normalizer.clean_text` is false, but true counts"]),
        ("normaliser NFKC", &["`normalizer` is \"NFKC\""]),
        ("pre-tokeniser Whitespace", &["`pre_tokenizer` is \"Whitespace\""]),
        ("two [SEP]s between the texts", &["`post_processor`"]),
        ("no post-processor", &["no post-processor"]),
        ("no segments listed", &["`model_input_names`", "segment 0"]),
        ("class PreTrainedTokenizerFast", &["PreTrainedTokenizerFast", "transformers 5.23", "segment 0"]),
        ("a default prompt", &["\"the sea: \"", "in front of every query"]),
        ("max_seq_length without modules.json", &["window of 64"]),
        ("max_seq_length of another model type", &["`model_type`", "`SentenceTransformer`"]),
    ] {
        let notes = notes(name);
        for part in parts {
            assert!(notes.iter().any(|note| note.contains(part)), "{name}: `{part}` is not in {notes:?}");
        }
    }
}
