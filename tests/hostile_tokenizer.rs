//! Tokenizers that are broken or belong to another model.
#![cfg(feature = "tokenizers")]

mod common;

use common::copy::ModelCopy;
use common::{fixture, fixtures, read_pairs};
use crossrank::{Reranker, Tokenized};
use safetensors::Dtype;
use serde_json::json;

const FILE: &str = "tokenizer.json";

/// A copy whose tokenizer is what `tokenizer.json` says, whole: BERT's own class takes little but the vocabulary from it.
fn generic(name: &str) -> ModelCopy {
    let copy = ModelCopy::of(name);
    copy.write("tokenizer_config.json", r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#);
    copy
}

#[test]
fn a_tokenizer_that_is_missing_or_broken() {
    let copy = ModelCopy::of("gelu-60");
    copy.write(FILE, "{}").fails_with(&[FILE, "broken tokenizer"]);
    copy.write(FILE, "not json").fails_with(&[FILE, "invalid JSON", "`not json`"]);
    copy.remove(FILE).fails_with(&[FILE]);
}

#[test]
fn what_the_tokenizers_crate_would_panic_at_is_refused() {
    for copy in [ModelCopy::of("gelu-60"), generic("gelu-60")] {
        let whole = std::fs::read_to_string(copy.file(FILE)).unwrap();
        let broken = whole.replace("\"decoder\":", "\"decoder\"::");
        assert_ne!(broken, whole);
        copy.write(FILE, broken).fails_with(&[FILE, "broken tokenizer", "expected value"]);
        copy.write(FILE, whole);
        let table = json!({"type": "Precompiled", "precompiled_charsmap": "AAA="});
        for normalizer in [table.clone(), json!({"type": "Sequence", "normalizers": [table]})] {
            copy.edit_json(FILE, |json| json["normalizer"] = normalizer);
            copy.fails_with(&[FILE, "broken tokenizer", "`normalizer`", "precompiled_charsmap"]);
        }
    }
    let copy = generic("gelu-60");
    copy.edit_json(FILE, |json| {
        let vocab = json["model"]["vocab"].take();
        json["model"] = json!({"type": "WordLevel", "unk_token": "[UNK]", "vocab": vocab});
        json["model"]["vocab"]["sea"] = json!(u32::MAX);
    });
    copy.fails_with(&[FILE, "broken tokenizer", "`model.vocab`", "`sea`", "4294967295"]);
}

#[test]
fn a_template_without_segments_is_refused() {
    let copy = generic("gelu-60");
    copy.edit_json(FILE, |json| {
        for part in json["post_processor"]["pair"].as_array_mut().unwrap() {
            for value in part.as_object_mut().unwrap().values_mut() {
                value["type_id"] = json!(0);
            }
        }
    });
    copy.fails_with(&[FILE, "type id 0", "2 token types"]);
}

#[test]
fn a_type_id_beyond_the_table_is_refused() {
    let copy = ModelCopy::of("gelu-60");
    copy.set_config("type_vocab_size", json!(1)).edit_tensors(|tensors| {
        let table = tensors.get_mut("bert.embeddings.token_type_embeddings.weight").unwrap();
        *table = (Dtype::F32, vec![1, 60], vec![0; 240]);
    });
    copy.fails_with(&[FILE, "type id 1", "type_vocab_size is 1"]);
}

#[test]
fn a_template_that_names_what_it_does_not_define_is_refused() {
    let copy = generic("gelu-60");
    copy.edit_json(FILE, |json| {
        drop(json["post_processor"]["special_tokens"].as_object_mut().unwrap().remove("[SEP]"))
    });
    copy.fails_with(&[FILE, "`[SEP]`", "does not define"]);
    // The same, one level down.
    copy.edit_json(FILE, |json| {
        let processor = json["post_processor"].take();
        json["post_processor"] = json!({"type": "Sequence", "processors": [processor]});
    });
    copy.fails_with(&[FILE, "`[SEP]`", "does not define"]);
}

#[test]
fn a_tokenizer_that_adds_no_special_tokens_is_refused() {
    let copy = generic("gelu-60");
    copy.edit_json(FILE, |json| json["post_processor"] = json!(null));
    copy.fails_with(&[FILE, "no post-processor"]);
    copy.edit_json(FILE, |json| {
        json["post_processor"] =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
    });
    copy.fails_with(&[FILE, "does not begin with a special token"]);
}

#[test]
fn a_template_that_leaves_a_text_out_is_refused() {
    let copy = generic("gelu-60");
    copy.edit_json(FILE, |json| {
        json["post_processor"]["pair"].as_array_mut().unwrap().retain(|part| part["Sequence"]["id"] != "A");
    });
    copy.fails_with(&[FILE]);
}

#[test]
fn a_special_token_beyond_the_vocabulary_is_refused() {
    let copy = generic("gelu-60");
    copy.edit_json(FILE, |json| json["post_processor"]["special_tokens"]["[SEP]"]["ids"] = json!([999_999]));
    copy.fails_with(&[FILE, "999999", "vocab_size is 576"]);
}

#[test]
fn a_vocabulary_smaller_than_the_tokenizers_is_refused() {
    let copy = ModelCopy::of("gelu-60");
    copy.set_config("vocab_size", json!(500)).edit_tensors(|tensors| {
        let table = tensors.get_mut("bert.embeddings.word_embeddings.weight").unwrap();
        table.2.truncate(500 * 240);
        table.1 = vec![500, 60];
    });
    copy.fails_with(&[FILE, "vocab_size is 500", "575"]);
}

#[test]
fn a_window_too_small_for_the_special_tokens_is_refused() {
    for max_length in 0..5 {
        let error =
            Reranker::builder().max_length(max_length).load(fixture("gelu-60")).unwrap_err().to_string();
        assert!(error.contains("max_length") && error.contains("3 special tokens"), "{error}");
    }
    let reranker = Reranker::builder().max_length(5).load(fixture("gelu-60")).unwrap();
    let pair = &reranker.tokenize("where do rivers go", &["to the sea"]).unwrap()[0];
    assert_eq!((pair.len(), pair.type_ids(), pair.truncated()), (5, &[0, 0, 0, 1, 1][..], true));
}

#[test]
fn a_window_too_small_by_the_models_own_word_names_the_field() {
    let copy = ModelCopy::of("gelu-60");
    copy.write("tokenizer_config.json", r#"{"model_max_length": 4}"#);
    copy.fails_with(&[FILE, "4 tokens", "model_max_length of tokenizer_config.json"]);
    copy.write("tokenizer_config.json", "{}");
    copy.set_config("max_position_embeddings", json!(3)).fails_with(&[
        FILE,
        "3 tokens",
        "max_position_embeddings of config.json",
    ]);
}

#[test]
fn an_unknown_token_that_is_unknown_is_refused() {
    let copy = generic("gelu-60");
    copy.edit_json(FILE, |json| json["model"]["unk_token"] = json!("[FOO]")).fails_with(&[FILE, "`[FOO]`"]);
    let copy = ModelCopy::of("gelu-60");
    copy.edit_json(FILE, |json| json["model"]["vocab"] = json!({})).fails_with(&[FILE, "`[UNK]`"]);
}

/// `transformers` does what `tokenizer_config.json` says, if that is of a `BertTokenizer`.
#[test]
fn the_settings_of_a_bert_tokenizer_go_before_its_normalizer() {
    let text = "The R\u{ed}ver \u{6cb3}\u{6c34} runs";
    let ids = |copy: &ModelCopy| Reranker::load(copy.path()).unwrap().tokenize(text, &[text]).unwrap();
    for (setting, field) in [
        ("do_lower_case", "lowercase"),
        ("strip_accents", "strip_accents"),
        ("tokenize_chinese_chars", "handle_chinese_chars"),
    ] {
        // Through the engine's own tokenizer, and through that of the crate.
        for form in ["engine", "crate"] {
            let normalizer = |value: serde_json::Value, settings: &str| {
                let copy = ModelCopy::of("gelu-60");
                copy.write("tokenizer_config.json", settings).edit_json(FILE, |json| {
                    json["normalizer"][field] = value;
                    if form == "crate" {
                        let digits = json!({"type": "Digits", "individual_digits": false});
                        let words = json["pre_tokenizer"].take();
                        json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [words, digits]});
                    }
                });
                ids(&copy)
            };
            let whole = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
            let (on, off) = (normalizer(json!(true), whole), normalizer(json!(false), whole));
            assert_ne!(on, off, "{setting}: the text does not show it");
            let file =
                |value: bool, class: &str| json!({setting: value, "tokenizer_class": class}).to_string();
            assert_eq!(normalizer(json!(true), &file(false, "BertTokenizer")), off, "{setting}, {form}");
            assert_eq!(normalizer(json!(false), &file(true, "BertTokenizerFast")), on, "{setting}, {form}");
            assert_eq!(
                normalizer(json!(true), &json!({setting: false}).to_string()),
                off,
                "{setting}, {form}"
            );
            // What is absent is true, or null for `strip_accents`, which here is the same.
            assert_eq!(normalizer(json!(false), "{}"), on, "{setting}, {form}");
            let other = file(false, "PreTrainedTokenizerFast");
            assert_eq!(normalizer(json!(true), &other), on, "{setting}, {form}");
        }
        let copy = ModelCopy::of("gelu-60");
        copy.write("tokenizer_config.json", json!({setting: "yes"}).to_string());
        copy.fails_with(&["tokenizer_config.json", setting, "true or false", "yes"]);
    }
}

#[test]
fn texts_that_are_to_be_cut_on_the_left_are_refused() {
    let copy = ModelCopy::of("gelu-60");
    let direction = |direction: &str| {
        copy.edit_json(FILE, |json| {
            json["truncation"] =
                json!({"direction": direction, "max_length": 8, "strategy": "LongestFirst", "stride": 0});
        })
    };
    direction("Left").fails_with(&[FILE, "`truncation.direction`", "Left"]);
    direction("Right");
    Reranker::load(copy.path()).unwrap();
    copy.write("tokenizer_config.json", r#"{"truncation_side": "left"}"#);
    copy.fails_with(&["tokenizer_config.json", "`truncation_side`", "`left`"]);
}

#[test]
fn settings_of_another_kind_are_named() {
    let copy = ModelCopy::of("gelu-60");
    copy.write("tokenizer_config.json", "[]").fails_with(&[
        "tokenizer_config.json",
        "a JSON object",
        "an array",
    ]);
    for (field, value, parts) in [
        ("split_special_tokens", json!("yes"), &["true or false", "yes"][..]),
        ("do_lower_case", json!(null), &["true or false", "null"]),
        ("model_input_names", json!("input_ids"), &["a list of names"]),
        ("model_input_names", json!(null), &["a list of names"]),
        ("sep_token", json!(null), &["a token", "null"]),
        ("cls_token", json!(5), &["a token", "5"]),
        ("added_tokens_decoder", json!([]), &["an object", "an array"]),
        ("added_tokens_decoder", json!({"x": {"content": "a"}}), &["numbers as keys", "`x`"]),
        ("added_tokens_decoder", json!({"7": {"content": "a", "lstrip": 1}}), &["lstrip", "true or false"]),
        ("additional_special_tokens", json!("a"), &["a list of tokens"]),
        ("fast_tokenizer_files", json!(["tokenizer.4.0.0.json"]), &["tokenizer.json alone"]),
        ("truncation_side", json!("up"), &["`right`", "`up`"]),
        ("max_len", json!(0), &["at least 1", "0"]),
        ("tokenizer_class", json!(1), &["a string", "1"]),
    ] {
        copy.write("tokenizer_config.json", json!({field: value}).to_string());
        copy.fails_with(&["tokenizer_config.json", &format!("`{field}")]);
        copy.fails_with(parts);
    }
}

/// A special token that the vocabulary lacks gets an id beyond it, which the model must have.
#[test]
fn a_named_token_that_is_unknown_is_refused() {
    let copy = ModelCopy::of("gelu-60");
    copy.write("tokenizer_config.json", r#"{"sep_token": "<sep>"}"#);
    copy.fails_with(&[FILE, "`<sep>`", "576"]);
    copy.write("tokenizer_config.json", r#"{"unk_token": "<unk>"}"#).fails_with(&[FILE, "`<unk>`"]);
}

/// Python writes and reads what is no JSON.
#[test]
fn literals_of_python_are_read_or_named() {
    let copy = ModelCopy::of("gelu-60");
    copy.write(
        "tokenizer_config.json",
        r#"{"model_max_length": Infinity, "x": "a\"NaN", "y": [NaN, -Infinity]}"#,
    );
    assert_eq!(Reranker::load(copy.path()).unwrap().info().max_length, 64);
    copy.write("tokenizer_config.json", r#"{"model_max_length": NaN}"#);
    copy.fails_with(&["tokenizer_config.json", "`model_max_length`", "NaN"]);
    copy.write("tokenizer_config.json", r#"{"model_max_length": Infinit}"#);
    copy.fails_with(&["tokenizer_config.json", "invalid JSON"]);
    let copy = ModelCopy::of("gelu-60");
    let config = std::fs::read_to_string(copy.file("config.json")).unwrap();
    copy.write("config.json", config.replacen('{', r#"{"x": Infinity,"#, 1));
    Reranker::load(copy.path()).unwrap();
    copy.write("config.json", config.replacen("1e-12", "NaN", 1));
    copy.fails_with(&["config.json", "`layer_norm_eps`", "NaN"]);
}

/// BERT's own class needs a vocabulary of word pieces.
#[test]
fn another_model_than_the_class_has_is_refused() {
    let copy = ModelCopy::of("gelu-60");
    copy.edit_json(FILE, |json| json["model"]["type"] = json!("WordLevel"));
    copy.fails_with(&[FILE, "`model.type`", "WordPiece", "BertTokenizer"]);
}

/// The rules of transformers 5 are those of the classes whose rules are known.
#[test]
fn rules_that_are_not_known_are_refused() {
    let copy = ModelCopy::of("gelu-60");
    copy.write("tokenizer_config.json", r#"{"tokenizer_class": "DebertaV2Tokenizer"}"#);
    let rules = crossrank::TokenizerRules::Transformers5;
    let error = Reranker::builder().tokenizer_rules(rules).load(copy.path()).unwrap_err().to_string();
    assert!(error.contains("tokenizer_class") && error.contains("`DebertaV2Tokenizer`"), "{error}");
}

#[test]
fn the_window_is_the_smallest_of_three() {
    let window = |builder: crossrank::Builder, name| builder.load(fixture(name)).unwrap().info().max_length;
    assert_eq!(window(Reranker::builder(), "gelu-60"), 64, "positions");
    assert_eq!(window(Reranker::builder(), "gelu-new-f16"), 40, "model_max_length");
    assert_eq!(window(Reranker::builder().max_length(17), "gelu-60"), 17, "the caller's");
    assert_eq!(window(Reranker::builder().max_length(9999), "gelu-60"), 64, "not beyond the positions");
    assert_eq!(window(Reranker::builder(), "no-pooler"), 64, "1e30 is no limit");
    assert_eq!(window(Reranker::builder(), "silu-1-layer"), 32, "without a tokenizer_config.json");
}

#[test]
fn the_tokenizers_own_truncation_and_padding_are_cleared() {
    let json = std::fs::read_to_string(fixture("sharded").join(FILE)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["truncation"].is_object() && json["padding"].is_object(), "the fixture has lost its trap");
    let reranker = Reranker::load(fixture("sharded")).unwrap();
    let lengths: Vec<usize> = read_pairs(&fixture("sharded").join("reference.jsonl"))
        .iter()
        .map(|pair| reranker.tokenize(&pair.query, &[&pair.document]).unwrap()[0].len())
        .collect();
    assert!(lengths.iter().any(|&len| len < 16) && lengths.contains(&64), "{lengths:?}");
}

/// The engine's own tokenizer takes over from `tokenizers` where it can.
#[test]
fn another_form_of_the_same_tokenizer_gives_the_same_ids() {
    for name in fixtures() {
        let copy = generic(&name);
        copy.edit_json(FILE, |json| {
            let steps: Vec<_> =
                Some(json["normalizer"].take()).filter(|step| !step.is_null()).into_iter().collect();
            json["normalizer"] = json!({"type": "Sequence", "normalizers": steps});
        });
        let load = |folder: &std::path::Path| Reranker::builder().max_length(32).load(folder).unwrap();
        let (own, other) = (load(&fixture(&name)), load(copy.path()));
        for pair in read_pairs(&fixture(&name).join("reference.jsonl")) {
            let tokenize = |reranker: &Reranker| {
                [pair.document.clone(), pair.document.repeat(9)]
                    .map(|document| reranker.tokenize(&pair.query, &[&document]).unwrap())
            };
            assert_eq!(tokenize(&own), tokenize(&other), "{name}: {} / {}", pair.query, pair.document);
        }
    }
}

#[test]
fn ids_of_callers_are_checked_and_the_pair_is_named() {
    let reranker = Reranker::load(fixture("gelu-60")).unwrap();
    let good = Tokenized::new(vec![2, 3], vec![0, 1]);
    for (bad, part) in [
        (Tokenized::new(vec![], vec![]), "no tokens"),
        (Tokenized::new(vec![2, 3], vec![0]), "2 ids, but 1 type ids"),
        (Tokenized::new(vec![2, 576], vec![0, 0]), "token id 576"),
        (Tokenized::new(vec![2, 3], vec![0, 2]), "type id 2"),
        (Tokenized::new(vec![2; 65], vec![0; 65]), "65 tokens"),
    ] {
        let error = reranker.score_tokenized(&[good.clone(), good.clone(), bad]).unwrap_err();
        assert_eq!(error.document(), Some(2));
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(reranker.score_tokenized(&[]).unwrap(), []);
    let mut short = [0.0; 1];
    let error = reranker.score_tokenized_into(&[good.clone(), good], &mut short).unwrap_err().to_string();
    assert!(error.contains("expected room for 2 logits, found 1"), "{error}");
}
