//! Folders of which something is missing, or has something else in its place: each error says what is there.
#![cfg(feature = "tokenizers")]

mod common;

use common::copy::{ModelCopy, Tensors};
use crossrank::{Error, Reranker};
use serde_json::json;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const MERGE: &str = "merge it into its base first";

fn logit(copy: &ModelCopy) -> f32 {
    let reranker = Reranker::load(copy.path()).unwrap();
    reranker.score_pairs(&[("where do rivers go", "Rivers run to the sea.")]).unwrap()[0].logits[0]
}

#[track_caller]
fn scores(copy: &ModelCopy, expected: f32) {
    let found = logit(copy);
    assert!((found - expected).abs() < 1e-4, "expected {expected}, found {found}");
}

fn rename(copy: &ModelCopy, name: impl Fn(&str) -> String) {
    copy.edit_tensors(|tensors| {
        let old = std::mem::take(tensors);
        *tensors = old.into_iter().map(|(old, tensor)| (name(&old), tensor)).collect::<Tensors>();
    });
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_not_absent() {
    let link = |copy: &ModelCopy, name: &str, target: &str| {
        let _ = std::fs::remove_file(copy.file(name));
        std::os::unix::fs::symlink(target, copy.file(name)).unwrap();
    };
    for (fixture, name) in [
        ("gelu-new-f16", "config.json"),
        ("gelu-new-f16", "tokenizer.json"),
        ("gelu-new-f16", "tokenizer_config.json"),
        ("gelu-new-f16", "config_sentence_transformers.json"),
        ("gelu-new-f16", WEIGHTS),
        // Beside an index.
        ("sharded", WEIGHTS),
        ("sharded", INDEX),
        ("sharded", "model-00002-of-00003.safetensors"),
    ] {
        for target in ["../../blobs/0123", name] {
            let copy = ModelCopy::of(fixture);
            link(&copy, name, target);
            copy.fails_with(&[&format!("{name}: a link to {target}: ")]);
            assert!(matches!(Reranker::load(copy.path()), Err(Error::Io { .. })));
        }
        let copy = ModelCopy::of(fixture);
        let _ = std::fs::remove_file(copy.file(name));
        std::fs::create_dir(copy.file(name)).unwrap();
        copy.fails_with(&[name, "found a folder"]);
    }
}

#[test]
fn what_an_incomplete_download_leaves_is_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90868376\n";
    let page = "\n<!DOCTYPE html>\n<html>\u{1b}[31m";
    for (fixture, name) in [
        ("gelu-new-f16", "config.json"),
        ("gelu-new-f16", "tokenizer.json"),
        ("gelu-new-f16", "tokenizer_config.json"),
        ("gelu-new-f16", "config_sentence_transformers.json"),
        ("gelu-new-f16", WEIGHTS),
        ("sharded", INDEX),
        ("sharded", "model-00002-of-00003.safetensors"),
    ] {
        let with = |text: &str, parts: &[&str]| {
            let copy = ModelCopy::of(fixture);
            copy.write(name, text).fails_with(&[&[name], parts].concat());
            assert!(matches!(Reranker::load(copy.path()), Err(Error::NotTheFile { .. })));
        };
        with(pointer, &["this is a Git LFS pointer, not the file: `git lfs pull` fetches it"]);
        with("Entry not found", &["begins with `Entry not found`"]);
        with("404", &["begins with `404`"]);
        with(page, &["begins with `<!DOCTYPE html>\\n<html>\\u{1b}[31m`"]);
        with(&"\u{e9}".repeat(1000), &[&format!("begins with `{}`", "\u{e9}".repeat(40))]);
    }
}

#[test]
fn adapters_are_to_be_merged_first() {
    let copy = ModelCopy::of("gelu-60");
    std::fs::rename(copy.file(WEIGHTS), copy.file("adapter_model.safetensors")).unwrap();
    copy.fails_with(&["adapter_model.safetensors", MERGE]);
    copy.write("adapter_config.json", r#"{"peft_type":"LORA"}"#).fails_with(&["adapter_config.json", MERGE]);
    for (from, to) in [
        ("classifier.", "classifier.modules_to_save.default."),
        ("classifier.", "classifier.original_module."),
        ("query.weight", "query.base_layer.weight"),
        ("query.weight", "query.lora_A.default.weight"),
    ] {
        let copy = ModelCopy::of("gelu-60");
        rename(&copy, |name| name.replace(from, to));
        copy.fails_with(&[WEIGHTS, to.trim_end_matches('.'), MERGE]);
    }
}

#[test]
fn wrappers_before_all_names_are_taken_off() {
    for wrapper in [
        "module.",
        "_orig_mod.",
        "model.",
        "base_model.model.",
        "module._orig_mod.",
        "_orig_mod.module.model.",
    ] {
        let copy = ModelCopy::of("gelu-60");
        rename(&copy, |name| format!("{wrapper}{name}"));
        scores(&copy, -4.4995875);
        assert!(Reranker::load(copy.path()).unwrap().info().ignored.is_empty());
        // Packed, it has the same scores.
        let mut packed = Vec::new();
        Reranker::load(copy.path()).unwrap().write_packed(&mut packed).unwrap();
        let before = logit(&copy);
        copy.write(WEIGHTS, packed);
        assert_eq!(logit(&copy), before);
    }
    // What not all share stays, and an error has the name that is in the file.
    let copy = ModelCopy::of("gelu-60");
    rename(&copy, |name| if name.starts_with("bert.") { format!("model.{name}") } else { name.to_owned() });
    copy.fails_with(&[WEIGHTS, "word_embeddings.weight", "missing"]);
    let copy = ModelCopy::of("relu-3-labels");
    copy.set_config("intermediate_size", json!(99)).fails_with(&[WEIGHTS, "`module.bert.encoder.layer.0."]);
}

#[test]
fn of_two_copies_the_index_says_which_counts() {
    let changed = |name: &str, shard: &str| {
        let copy = ModelCopy::of("sharded");
        let bytes = std::fs::read(copy.file(shard)).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut all: Tensors = tensors
            .tensors()
            .into_iter()
            .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
            .collect();
        assert!(!all.contains_key(name), "the copy is another's");
        let len = if name.starts_with("classifier") { 1 } else { 64 };
        let value: Vec<u8> = std::iter::repeat_n(3f32.to_le_bytes(), len).flatten().collect();
        all.insert(name.into(), (safetensors::Dtype::F32, vec![len], value));
        copy.write(shard, common::copy::serialize(&all, None));
        copy
    };
    let index: serde_json::Value =
        serde_json::from_slice(&std::fs::read(common::fixture("sharded").join(INDEX)).unwrap()).unwrap();
    for name in ["classifier.bias", "bert.embeddings.LayerNorm.bias"] {
        let mut copies = 0;
        for shard in (1..=3).map(|i| format!("model-0000{i}-of-00003.safetensors")) {
            if index["weight_map"][name] == json!(shard) {
                continue;
            }
            let copy = changed(name, &shard);
            scores(&copy, 7.8739376);
            let info = Reranker::load(copy.path()).unwrap().info();
            assert_eq!(info.ignored, [format!("`{name}` in {shard}")]);
            copies += 1;
        }
        assert_eq!(copies, 2);
    }
}

#[test]
fn a_checkpoint_without_a_pooler_is_told_of() {
    let copy = ModelCopy::of("gelu-60");
    let told = |copy: &ModelCopy| {
        let notes = Reranker::load(copy.path()).unwrap().info().notes;
        notes.iter().filter(|note| note.contains("no pooler")).count()
    };
    assert_eq!(told(&copy), 0);
    copy.edit_tensors(|tensors| tensors.retain(|name, _| !name.contains("pooler")));
    scores(&copy, -12.193765);
    assert_eq!(told(&copy), 1);
}
