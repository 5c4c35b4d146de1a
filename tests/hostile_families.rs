//! What the other families' files may say wrongly is refused, by file and field.
#![cfg(feature = "tokenizers")]

mod common;

use common::copy::ModelCopy;
use crossrank::{ModelBytes, Reranker};
use serde_json::{Value, json};

#[track_caller]
fn refused(fixture: &str, field: &str, value: Value, parts: &[&str]) {
    let copy = ModelCopy::of(fixture);
    copy.set_config(field, value).fails_with(&["config.json", field]);
    copy.fails_with(parts);
}

#[test]
fn configs_of_modernbert_that_contradict_themselves() {
    let it = "modernbert";
    refused(it, "num_attention_heads", json!(7), &["`hidden_size`", "multiple"]);
    refused(it, "layer_types", json!(["full_attention"]), &["one of each of the 4 layers"]);
    let unknown = json!(["full_attention", "chunked", "full_attention", "full_attention"]);
    refused(it, "layer_types", unknown, &["`layer_types[1]`", "`sliding_attention`", "chunked"]);
    refused(it, "layer_types", json!(3), &["a list"]);
    refused(it, "local_attention", json!(0), &["an integer from 1"]);
    refused(it, "classifier_pooling", json!("max"), &["`cls` or `mean`", "`max`"]);
    refused(it, "hidden_activation", json!("mish"), &["`mish`"]);
    refused(it, "norm_eps", json!(-1), &["from 0 to 1"]);
    refused(it, "norm_bias", json!(1), &["true or false"]);
    refused(it, "architectures", json!(["ModernBertForMaskedLM"]), &["ModernBertForSequenceClassification"]);
    let theta = |theta: f64| json!({"full_attention": {"rope_type": "default", "rope_theta": theta}});
    refused(it, "rope_parameters", theta(0.0), &["full_attention.rope_theta", "a number over 0"]);
    refused(it, "rope_parameters", theta(-3.0), &["a number over 0", "-3"]);
    let flat = json!({"rope_type": "default", "rope_theta": 10000.0});
    refused(it, "rope_parameters", flat, &["`sliding_attention`", "rope_t"]);
    let scaled = |scaling: Value| json!({"full_attention": scaling});
    let longrope = json!({"rope_type": "longrope", "factor": 4.0});
    refused(it, "rope_parameters", scaled(longrope), &["`yarn`", "`longrope`"]);
    refused(it, "rope_parameters", scaled(json!({"rope_type": "linear"})), &["factor", "nothing"]);
    for (key, value) in
        [("truncate", json!(false)), ("partial_rotary_factor", json!(0.5)), ("low_freq_factor", json!(1))]
    {
        let mut yarn = json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 40});
        yarn[key] = value;
        refused(
            it,
            "rope_parameters",
            scaled(yarn),
            &[&format!("full_attention.{key}"), "cannot be applied"],
        );
    }
    refused("modernbert-old", "local_rope_theta", json!(0), &["a number over 0"]);
    refused("modernbert-old", "local_rope_theta", json!(null), &["a number over 0", "null"]);
    refused("modernbert-old", "global_attn_every_n_layers", json!(0), &["an integer from 1"]);
}

/// Rotary positions turn pairs of columns.
#[test]
fn an_odd_number_of_columns_of_a_head() {
    let copy = ModelCopy::of("modernbert");
    copy.edit_json("config.json", |json| {
        json["hidden_size"] = json!(45);
        json["num_attention_heads"] = json!(3);
    });
    copy.fails_with(&["config.json", "`hidden_size`", "even", "heads of 15"]);
}

#[test]
fn tables_that_are_too_small() {
    for fixture in ["roberta", "xlmr", "mpnet"] {
        refused(fixture, "max_position_embeddings", json!(2), &["more", "2"]);
    }
    refused("roberta", "pad_token_id", json!(-1), &["a token id"]);
    refused("mpnet", "relative_attention_num_buckets", json!(31), &["at least 32", "31"]);
    refused("albert", "num_hidden_groups", json!(0), &["an integer from 1"]);
    refused("albert", "num_hidden_groups", json!(99), &["at most num_hidden_layers"]);
    refused("albert", "num_hidden_layers", json!(100_000), &["at most 256"]);
}

#[test]
fn tensors_of_another_shape_are_named() {
    for (fixture, tensor) in [
        ("modernbert", "model.layers.1.attn.Wqkv.weight"),
        ("modernbert", "model.layers.0.mlp.Wi.weight"),
        ("mpnet", "mpnet.encoder.relative_attention_bias.weight"),
        ("albert", "albert.encoder.embedding_hidden_mapping_in.weight"),
        ("electra", "electra.embeddings_project.weight"),
        ("distilbert", "distilbert.transformer.layer.0.ffn.lin1.weight"),
        ("roberta", "roberta.embeddings.position_embeddings.weight"),
    ] {
        let copy = ModelCopy::of(fixture);
        copy.edit_tensors(|tensors| {
            let (dtype, shape, bytes) = tensors.get_mut(tensor).unwrap_or_else(|| panic!("no {tensor}"));
            let row = bytes.len() / shape[0];
            shape[0] += 1;
            bytes.extend(vec![0; row]);
            let _ = dtype;
        });
        copy.fails_with(&["model.safetensors", &format!("`{tensor}`"), "expected shape", "found"]);
        copy.edit_tensors(|tensors| drop(tensors.remove(tensor)));
        copy.fails_with(&["model.safetensors", &format!("`{tensor}`")]);
    }
}

/// A head in modules.
fn modular() -> ModelCopy {
    ModelCopy::of("modular")
}

#[test]
fn modules_that_are_foreign_missing_or_elsewhere() {
    let set = |number: usize, field: &str, value: Value| {
        let copy = modular();
        copy.edit_json("modules.json", |json| json[number][field] = value);
        copy
    };
    let named = |copy: &ModelCopy, parts: &[&str]| copy.fails_with(parts);
    modular().write("modules.json", "[]").fails_with(&["modules.json", "a list of modules", "an empty one"]);
    for path in ["/etc", "../elsewhere", "2_Dense/../../elsewhere"] {
        named(&set(2, "path", json!(path)), &["modules.json", "`[2].path`", "within this one", path]);
    }
    named(&set(2, "path", json!("9_Dense")), &["9_Dense"]);
    named(&set(2, "path", json!(3)), &["modules.json", "`[2].path`"]);
    let logit = "sentence_transformers.cross_encoder.modules.logit_score.LogitScore";
    named(&set(1, "type", json!(logit)), &["modules.json", "`[1].type`", "LogitScore"]);
    named(&set(2, "type", json!("my_package.Dense")), &["`[2].type`", "my_package.Dense"]);
    named(&set(1, "type", json!("sentence_transformers.models.Dense")), &["`[1].type`", "one Pooling"]);
    let copy = modular();
    copy.edit_json("modules.json", |json| drop(json.as_array_mut().unwrap().pop()));
    copy.fails_with(&["modules.json", "`scores`"]);
}

#[cfg(unix)]
#[test]
fn a_module_that_is_a_link_out_of_the_folder() {
    let (copy, elsewhere) = (modular(), modular());
    std::fs::remove_dir_all(copy.file("2_Dense")).unwrap();
    std::os::unix::fs::symlink(elsewhere.file("2_Dense"), copy.file("2_Dense")).unwrap();
    copy.fails_with(&["2_Dense", "expected a folder of a module", "a link"]);
}

#[test]
fn settings_of_modules_that_do_not_fit() {
    let refused = |module: &str, field: &str, value: Value, parts: &[&str]| {
        let copy = modular();
        let file = format!("{module}/config.json");
        copy.edit_json(&file, |json| json[field] = value);
        copy.fails_with(&[&file, field]);
        copy.fails_with(parts);
    };
    refused("2_Dense", "in_features", json!(41), &["40", "41"]);
    refused("4_Dense", "in_features", json!(40), &["36, the width of what stands before it"]);
    refused("3_LayerNorm", "dimension", json!(40), &["36"]);
    refused("2_Dense", "activation_function", json!("my.activation.Swoosh"), &["Swoosh"]);
    refused("2_Dense", "activation_function", json!("torch.nn.modules.activation.Hardtanh"), &["Hardtanh"]);
    refused("2_Dense", "activation_function", json!(null), &["null"]);
    refused("2_Dense", "module_input_name", json!("token_embeddings"), &["`sentence_embedding`"]);
    refused("1_Pooling", "pooling_mode", json!("lasttoken"), &["`cls` or `mean`", "lasttoken"]);
    refused("1_Pooling", "pooling_mode", json!(["cls", "mean"]), &["one mode"]);
    refused("1_Pooling", "embedding_dimension", json!(41), &["40", "41"]);
    refused("1_Pooling", "include_prompt", json!(false), &["true", "false"]);
    let copy = modular();
    copy.remove("2_Dense/model.safetensors").fails_with(&["2_Dense/linear.weight", "modules.json"]);
    let copy = modular();
    copy.edit_json("4_Dense/config.json", |json| json["module_output_name"] = json!("other"));
    copy.fails_with(&["modules.json", "`scores`", "`other`"]);
    let copy = modular();
    copy.edit_json("sentence_bert_config.json", |json| {
        json["transformer_task"] = json!("sequence-classification")
    });
    copy.fails_with(&["sentence_bert_config.json", "`feature-extraction`"]);
}

/// Out of bytes a head must be given whole.
#[test]
fn modules_out_of_bytes() {
    let copy = modular();
    let read = |name: &str| std::fs::read(copy.file(name)).unwrap();
    let without = || {
        ModelBytes::new(read("config.json"), read("model.safetensors"))
            .tokenizer(read("tokenizer.json"))
            .tokenizer_config(read("tokenizer_config.json"))
            .modules(read("modules.json"))
            .sentence_transformers_config(read("config_sentence_transformers.json"))
            .sentence_bert_config(read("sentence_bert_config.json"))
    };
    let with = without()
        .module(read("1_Pooling/config.json"))
        .module_with_weights(read("2_Dense/config.json"), read("2_Dense/model.safetensors"))
        .module_with_weights(read("3_LayerNorm/config.json"), read("3_LayerNorm/model.safetensors"))
        .module_with_weights(read("4_Dense/config.json"), read("4_Dense/model.safetensors"));
    let pairs = [("where do rivers go", "to the sea")];
    let [own, loaded] = [Reranker::load(copy.path()), Reranker::from_bytes(with)]
        .map(|reranker| reranker.unwrap().score_pairs(&pairs).unwrap());
    assert_eq!(own, loaded);
    let error = |bytes| Reranker::from_bytes(bytes).unwrap_err().to_string();
    let all_missing = error(without());
    assert!(all_missing.contains("architectures") || all_missing.contains("modules.json"), "{all_missing}");
    let half = error(without().module(read("1_Pooling/config.json")));
    assert!(half.contains("modules.json"), "{half}");
}

/// The names that jinaai's fork gives to the same network.
#[test]
fn names_of_the_flash_fork_give_the_same_logits() {
    let (own, fork) = (ModelCopy::of("xlmr"), ModelCopy::of("xlmr"));
    fork.edit_tensors(|tensors| {
        let old = std::mem::take(tensors);
        let layers = (0..).take_while(|i| {
            old.contains_key(&format!("roberta.encoder.layer.{i}.attention.self.query.weight"))
        });
        let layers = layers.count();
        assert!(layers > 1);
        let names = [
            ("attention.output.dense", "mixer.out_proj"),
            ("attention.output.LayerNorm", "norm1"),
            ("intermediate.dense", "mlp.fc1"),
            ("output.dense", "mlp.fc2"),
            ("output.LayerNorm", "norm2"),
        ];
        for (name, tensor) in &old {
            if let Some(part) = name.strip_prefix("roberta.embeddings.LayerNorm.") {
                tensors.insert(format!("roberta.emb_ln.{part}"), tensor.clone());
            } else if !name.starts_with("roberta.encoder.") {
                tensors.insert(name.clone(), tensor.clone());
            }
        }
        for i in 0..layers {
            let theirs = |part: &str| format!("roberta.encoder.layers.{i}.{part}");
            for kind in ["weight", "bias"] {
                let get = |part: &str| old[&format!("roberta.encoder.layer.{i}.{part}.{kind}")].clone();
                for (own, their) in names {
                    tensors.insert(format!("{}.{kind}", theirs(their)), get(own));
                }
                let [mut all, key, value] =
                    ["query", "key", "value"].map(|part| get(&format!("attention.self.{part}")));
                for part in [key, value] {
                    all.1[0] += part.1[0];
                    all.2.extend(part.2);
                }
                tensors.insert(format!("{}.{kind}", theirs("mixer.Wqkv")), all);
            }
        }
    });
    let score = |copy: &ModelCopy| {
        let reranker = Reranker::load(copy.path()).unwrap();
        assert!(reranker.info().ignored.is_empty(), "{:?}", reranker.info().ignored);
        reranker.score_pairs(&[("where do rivers go", "to the sea"), ("bread", "an oven")]).unwrap()
    };
    assert_eq!(score(&fork), score(&own));
}
