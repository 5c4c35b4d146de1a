//! Broken tokenizers of other kinds than BERT's: each is refused by its file, the field, what was expected and found.
#![cfg(feature = "tokenizers")]

mod common;

use common::copy::ModelCopy;
use common::root;
use serde_json::{Value, json};

const FILE: &str = "tokenizer.json";

/// A fixture with these files of a tokenizer of another kind.
fn copy(kind: &str, class: &str, files: &[&str]) -> ModelCopy {
    let copy = ModelCopy::of("gelu-60");
    copy.remove(FILE);
    for file in files {
        copy.write(file, std::fs::read(root().join("tests/tokenizers").join(kind).join(file)).unwrap());
    }
    copy.write("tokenizer_config.json", json!({"tokenizer_class": class}).to_string());
    copy
}

fn refused(kind: &str, class: &str, edit: impl FnOnce(&mut Value), parts: &[&str]) {
    let copy = copy(kind, class, &[FILE]);
    copy.edit_json(FILE, edit);
    copy.fails_with(&[FILE]);
    copy.fails_with(parts);
}

#[test]
fn pieces_without_a_score_are_refused() {
    let copy = copy("xlmr", "XLMRobertaTokenizer", &[FILE]);
    let whole = std::fs::read_to_string(copy.file(FILE)).unwrap();
    let piece = whole.find("[\"<unk>\",").unwrap();
    let end = piece + whole[piece..].find(']').unwrap();
    for score in ["NaN", "null", "\"x\"", "1e999"] {
        copy.write(FILE, format!("{}[\"<unk>\",{score}{}", &whole[..piece], &whole[end..]));
        copy.fails_with(&[FILE, "`model.vocab`", "piece 3", "`<unk>`", "finite score"]);
    }
}

#[test]
fn unigram_without_a_piece_for_what_is_unknown_is_refused() {
    for (id, found) in [(json!(null), "found null"), (json!(9999), "found 9999")] {
        let edit = |json: &mut Value| json["model"]["unk_id"] = id;
        refused("xlmr", "XLMRobertaTokenizer", edit, &["`model.unk_id`", "pieces", found]);
    }
    let edit = |json: &mut Value| json["model"]["vocab"] = json!([]);
    refused("xlmr", "XLMRobertaTokenizer", edit, &["`model.unk_id`", "0 pieces"]);
}

#[test]
fn byte_fallback_needs_all_bytes() {
    let parts = ["`model.byte_fallback`", "all 256 pieces", "`<0x00>`"];
    refused("xlmr", "XLMRobertaTokenizer", |json| json["model"]["byte_fallback"] = json!(true), &parts);
    let edit = |json: &mut Value| {
        let words = json["model"]["vocab"].as_object_mut().unwrap();
        let id = words.remove("<0x41>").unwrap();
        words.insert("other".into(), id);
    };
    refused("mmbert", "PreTrainedTokenizerFast", edit, &["`model.byte_fallback`", "`<0x41>`"]);
}

#[test]
fn merges_of_unknown_tokens_are_refused() {
    let edit = |json: &mut Value| json["model"]["merges"][0] = json!(["qqq", "e"]);
    refused("roberta", "RobertaTokenizer", edit, &["`model.merges`", "qqq"]);
    let copy = copy("roberta", "RobertaTokenizer", &["vocab.json", "merges.txt"]);
    for (line, found) in [("qqq e", "`qqq`"), ("e", "`e`"), ("a b c", "`a b c`")] {
        copy.write("merges.txt", format!("#version: 0.2\n{line}\n"));
        copy.fails_with(&["vocab.json", "merges.txt", "line 2", "two tokens of the vocabulary", found]);
    }
}

#[test]
fn ids_by_chance_are_refused() {
    let edit = |json: &mut Value| json["model"]["dropout"] = json!(0.1);
    refused("roberta", "RobertaTokenizer", edit, &["`model.dropout`", "expected null", "0.1"]);
}

#[test]
fn a_map_of_characters_that_is_broken_is_refused() {
    let edit = |json: &mut Value| {
        json["normalizer"]["normalizers"][0]["precompiled_charsmap"] = json!("BAAAAP////8=");
    };
    refused("xlmr", "XLMRobertaTokenizer", edit, &["`precompiled_charsmap`", "within its 1 units"]);
}

#[test]
fn ids_beyond_the_models_table_are_refused() {
    for (kind, class) in [("roberta", "RobertaTokenizer"), ("xlmr", "XLMRobertaTokenizer")] {
        let copy = copy(kind, class, &[FILE]);
        copy.set_config("vocab_size", json!(300)).edit_tensors(|tensors| {
            let table = tensors.get_mut("bert.embeddings.word_embeddings.weight").unwrap();
            table.2.truncate(300 * 240);
            table.1 = vec![300, 60];
        });
        copy.fails_with(&[FILE, "vocab_size is 300"]);
    }
}

#[test]
fn a_sentencepiece_model_that_is_cut_is_refused() {
    let name = "sentencepiece.bpe.model";
    let copy = copy("xlmr", "XLMRobertaTokenizer", &[name]);
    let whole = std::fs::read(copy.file(name)).unwrap();
    copy.write(name, &whole[..whole.len() / 2 + 1]);
    copy.fails_with(&[name, "cut short", "expected", "found"]);
    copy.write(name, b"version https://git-lfs.github.com/spec/v1\n").fails_with(&[name]);
    copy.write(name, b"").fails_with(&[name, "UNKNOWN", "found none among 0"]);
}

#[test]
fn files_that_do_not_fit_their_class_are_refused() {
    copy("xlmr", "BertTokenizer", &["sentencepiece.bpe.model"]).fails_with(&[
        "sentencepiece.bpe.model",
        "XLMRobertaTokenizer",
        "found BertTokenizer",
    ]);
    copy("roberta", "BertTokenizer", &["vocab.json", "merges.txt"]).fails_with(&[
        "vocab.json",
        "RobertaTokenizer",
        "found BertTokenizer",
    ]);
    copy("bert", "RobertaTokenizer", &["vocab.txt"]).fails_with(&["vocab.txt", "found RobertaTokenizer"]);
    copy("roberta", "RobertaTokenizer", &["vocab.json"]).fails_with(&["vocab.json", "merges.txt", "neither"]);
    copy("roberta", "RobertaTokenizer", &[]).fails_with(&[
        "config.json",
        "no tokenizer.json",
        "spiece.model",
    ]);
}
