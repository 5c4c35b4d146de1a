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
    refused("model_type", json!("qwen3"), &["`bert`", "`xlm-roberta`", "`modernbert`", "`qwen3`"]);
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
    // With both, the number counts.
    copy.set_config("id2label", json!({"0": "yes"})).fails_with(&["`num_labels`", "found 4"]);
    copy.set_config("num_labels", json!(1)).set_config("id2label", json!({"0": "no", "1": "yes"}));
    let notes = Reranker::load(copy.path()).unwrap().info().notes;
    assert!(notes.iter().any(|note| note.contains("`num_labels` is 1")), "{notes:?}");
}

#[test]
fn what_transformers_computes_in_is_noted() {
    let notes = |name: &str, dtype: Value| {
        let copy = ModelCopy::of(name);
        copy.edit_json("config.json", |json| {
            let fields = json.as_object_mut().unwrap();
            fields.remove("torch_dtype");
            fields.insert("dtype".into(), dtype);
        });
        Reranker::load(copy.path()).unwrap().info().notes.join("\n")
    };
    assert!(!notes("gelu-60", json!("float32")).contains("compute"));
    assert!(!notes("gelu-60", json!(null)).contains("compute"));
    assert!(notes("gelu-60", json!("torch.bfloat16")).contains("compute in bfloat16"));
    assert!(notes("gelu-new-f16", json!(null)).contains("the first float tensor"));
    assert!(!notes("gelu-new-f16", json!("float32")).contains("compute"));
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
    // The file of its own goes before both, but counts only beside the list of modules of a cross-encoder.
    let own = |value: Value| copy.write("config_sentence_transformers.json", value.to_string());
    own(json!({"activation_fn": identity, "model_type": "CrossEncoder"}));
    assert_eq!(score(&copy).0, sigmoid(logit));
    copy.write("modules.json", json!([{"path": "", "type": TRANSFORMER}]).to_string());
    assert_eq!(score(&copy).0, logit);
    own(json!({"activation_fn": identity, "model_type": "SentenceTransformer"}));
    assert_eq!(score(&copy).0, sigmoid(logit));
    own(json!({"activation_fn": identity}));
    assert_eq!(score(&copy).0, sigmoid(logit));
    // A null there leaves it to the config; a null in the config's section ends the search.
    own(json!({"activation_fn": null, "model_type": "CrossEncoder"}));
    copy.set_config("sentence_transformers", json!({"activation_fn": identity}));
    assert_eq!(score(&copy).0, logit);
    copy.set_config("sentence_transformers", json!({"activation_fn": null}));
    assert_eq!(score(&copy).0, sigmoid(logit));
    copy.set_config("sentence_transformers", json!({"version": "5.0.0"}));
    assert_eq!(score(&copy).0, logit, "the oldest place");
}

const TRANSFORMER: &str = "sentence_transformers.models.Transformer";

#[test]
fn settings_of_sentence_transformers_that_cannot_be_applied_are_named() {
    let copy = ModelCopy::of("gelu-60");
    let modules = |modules: Value| copy.write("modules.json", modules.to_string());
    let (bert, own) = ("sentence_bert_config.json", "config_sentence_transformers.json");
    let one = json!([{"path": "", "type": TRANSFORMER}]);
    modules(one.clone()).write(own, json!({"model_type": "CrossEncoder"}).to_string());
    Reranker::load(copy.path()).unwrap();
    for (value, parts) in [
        (json!({"transformer_task": "feature-extraction"}), &["transformer_task", "feature-extraction"][..]),
        (json!({"max_seq_length": "8"}), &["max_seq_length", "an integer"]),
        (json!({"do_lower_case": 1}), &["do_lower_case", "true or false"]),
        (json!({"tokenizer_args": {"do_lower_case": false}}), &["tokenizer_args", "do_lower_case"]),
        (json!({"processing_kwargs": {"text": {"stride": 3}}}), &["processing_kwargs.text.stride", "3"]),
        (json!({"processing_kwargs": {"text": {"truncation": false}}}), &["text.truncation", "only_second"]),
        (json!({"processing_kwargs": {"common": {"x": 3}}}), &["processing_kwargs.common.x"]),
        (json!({"processing_kwargs": 3}), &["processing_kwargs", "an object"]),
        (json!([]), &["a JSON object"]),
    ] {
        copy.write(bert, value.to_string()).fails_with(&[bert]);
        copy.fails_with(parts);
    }
    copy.write(bert, "{}");
    for (value, parts) in [
        (json!({}), &["a list of modules"][..]),
        (json!([]), &["a list of modules"]),
        (json!([{"path": "", "type": "my.Transformer"}]), &["[0].type", "my.Transformer"]),
    ] {
        modules(value).fails_with(&["modules.json"]);
        copy.fails_with(parts);
    }
    modules(json!([{"path": "0_Transformer", "type": TRANSFORMER}])).fails_with(&["0_Transformer"]);
    modules(json!([one[0], {"path": "1_Dense", "type": "sentence_transformers.models.Dense"}]));
    copy.fails_with(&["1_Dense"]);
    modules(one);
    let prompt = json!({"model_type": "CrossEncoder", "default_prompt_name": "q", "prompts": {"p": "x"}});
    copy.write(own, prompt.to_string()).fails_with(&[own, "`prompts`", "`q`"]);
}
