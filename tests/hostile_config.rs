//! Configs that cannot be met are refused, by file and field.
#![cfg(feature = "tokenizers")]

mod common;

use common::copy::ModelCopy;
use crossrank::{Error, RerankOptions, Reranker, ScoreMode};
use serde_json::{Value, json};

#[track_caller]
fn refused(field: &str, value: Value, parts: &[&str]) {
    let copy = ModelCopy::of("gelu-60");
    copy.set_config(field, value).fails_with(&["config.json", &format!("`{field}`")]);
    copy.fails_with(parts);
}

#[test]
fn other_families_and_heads_are_refused_by_name() {
    refused("model_type", json!("roberta"), &["`bert`", "`roberta`"]);
    for head in ["BertForTokenClassification", "BertForMultipleChoice", "BertModel"] {
        refused("architectures", json!([head]), &["BertForSequenceClassification", head]);
    }
    refused("architectures", json!([]), &["BertForSequenceClassification"]);
    refused("architectures", json!("Bert"), &["BertForSequenceClassification"]);
    refused("is_decoder", json!(true), &["causal"]);
    refused("quantization_config", json!({"quant_method": "bitsandbytes"}), &["bitsandbytes"]);
    let copy = ModelCopy::of("gelu-60");
    copy.edit_json("config.json", |json| {
        json.as_object_mut().unwrap().remove("model_type");
        json.as_object_mut().unwrap().remove("architectures");
    });
    copy.fails_with(&["config.json", "model_type"]);
}

#[test]
fn settings_that_are_not_supported_are_named() {
    refused("hidden_act", json!("mish"), &["gelu_new", "`mish`"]);
    refused("hidden_act", json!(3), &["a string", "3"]);
    refused("position_embedding_type", json!("relative_key"), &["`absolute`", "`relative_key`"]);
    for eps in [json!(-1e-12), json!(2.0), json!("small")] {
        refused("layer_norm_eps", eps, &["from 0 to 1"]);
    }
}

#[test]
fn sizes_that_are_zero_negative_absurd_or_missing() {
    let sizes = [
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
        "vocab_size",
        "max_position_embeddings",
        "type_vocab_size",
    ];
    for field in sizes {
        for value in [json!(0), json!(-1), json!(1_000_000_000_000u64), json!(1.5), json!("8"), json!(1e300)]
        {
            refused(field, value.clone(), &["an integer from 1", &value.to_string()]);
        }
    }
    for field in &sizes[..6] {
        let copy = ModelCopy::of("gelu-60");
        copy.edit_json("config.json", |json| drop(json.as_object_mut().unwrap().remove(*field)));
        copy.fails_with(&["config.json", &format!("`{field}`"), "none"]);
    }
}

#[test]
fn a_hidden_size_that_the_heads_do_not_divide() {
    let copy = ModelCopy::of("gelu-60");
    copy.set_config("num_attention_heads", json!(7)).fails_with(&["`hidden_size`", "multiple", "(7)", "60"]);
}

#[test]
fn labels_that_disagree_with_the_classifier() {
    refused("id2label", json!({"0": "no", "1": "yes"}), &["rows (1)", "found 2"]);
    refused("id2label", json!(["no"]), &["an object"]);
    let copy = ModelCopy::of("gelu-60");
    copy.edit_json("config.json", |json| {
        json.as_object_mut().unwrap().remove("id2label");
        json["num_labels"] = json!(4);
    });
    copy.fails_with(&["`num_labels`", "rows (1)", "found 4"]);
}

#[test]
fn files_that_are_no_json() {
    let copy = ModelCopy::of("gelu-60");
    copy.write("config.json", "{\"hidden_size\": 60").fails_with(&["config.json", "invalid JSON"]);
    copy.write("config.json", "[]").fails_with(&["config.json", "a JSON object", "an array"]);
    copy.write("config.json", [0xff, 0xfe]).fails_with(&["config.json", "invalid JSON"]);
    copy.remove("config.json").fails_with(&["config.json"]);
    let copy = ModelCopy::of("gelu-60");
    copy.write("tokenizer_config.json", "nonsense").fails_with(&["tokenizer_config.json", "invalid JSON"]);
    copy.write("tokenizer_config.json", r#"{"model_max_length": -3}"#).fails_with(&[
        "tokenizer_config.json",
        "model_max_length",
        "-3",
    ]);
}

#[test]
fn a_folder_that_is_a_file_or_nothing() {
    let copy = ModelCopy::of("gelu-60");
    let file = Reranker::load(copy.file("config.json")).unwrap_err();
    assert!(matches!(file, Error::NotAFolder { .. }), "{file}");
    let nothing = Reranker::load(copy.file("nothing")).unwrap_err();
    assert!(nothing.to_string().contains("nothing"), "{nothing}");
}

#[test]
fn an_unknown_activation_is_an_error_unless_the_caller_chooses() {
    let copy = ModelCopy::of("gelu-60");
    copy.edit_json("config.json", |json| {
        json["sentence_transformers"]["activation_fn"] = json!("evil.Module")
    });
    let reranker = Reranker::load(copy.path()).unwrap();
    let error = reranker.rerank("a", &["b"], &Default::default()).unwrap_err().to_string();
    assert!(
        error.contains("sentence_transformers.activation_fn") && error.contains("evil.Module"),
        "{error}"
    );
    for mode in [ScoreMode::Raw, ScoreMode::Sigmoid] {
        reranker.rerank("a", &["b"], &RerankOptions::default().score(mode)).unwrap();
    }
    assert!(reranker.info().activation.contains("evil.Module"));
}

#[test]
fn the_newest_of_three_places_names_the_activation() {
    let score = |copy: &ModelCopy| {
        let ranked = Reranker::load(copy.path()).unwrap().rerank("a", &["b"], &Default::default()).unwrap();
        (ranked[0].score, ranked[0].logit)
    };
    let sigmoid = |logit: f32| 1.0 / (1.0 + (-logit).exp());
    let identity = "torch.nn.modules.linear.Identity";
    // No place: one label, sigmoid.
    let copy = ModelCopy::of("no-pooler");
    let (score_default, logit) = score(&copy);
    assert_eq!(score_default, sigmoid(logit));
    // The oldest place.
    copy.set_config("sbert_ce_default_activation_function", json!(identity));
    assert_eq!(score(&copy).0, logit);
    // The section of the config goes before it.
    copy.set_config("sentence_transformers", json!({"activation_fn": "torch.nn.modules.activation.Sigmoid"}));
    assert_eq!(score(&copy).0, sigmoid(logit));
    // The file of its own goes before both.
    copy.write("config_sentence_transformers.json", json!({"activation_fn": identity}).to_string());
    assert_eq!(score(&copy).0, logit);
}
