//! Packed checkpoints: the same bits as their source, and what is wrong with one is said.
#![cfg(feature = "tokenizers")]

mod common;

use std::path::Path;

use common::copy::{ModelCopy, Tensors};
use common::{fixture, fixtures, for_each_isa, read_pairs};
use crossrank::{Dtype, ModelBytes, Reranker, WeightSource};
use safetensors::{Dtype as Stored, SafeTensors};

const FILE: &str = "model.safetensors";
const REMAKE: &str = "crossrank pack MODEL_DIR OUT_DIR";
const QKV: &str = "layer.0.qkv.panels";

fn load(folder: &Path, dtype: Option<Dtype>) -> Reranker {
    let mut builder = Reranker::builder();
    if let Some(dtype) = dtype {
        builder = builder.dtype(dtype);
    }
    builder.load(folder).unwrap()
}

/// A copy of a fixture, packed.
fn packed(name: &str, dtype: Dtype) -> ModelCopy {
    packed_by(name, &load(&fixture(name), Some(dtype)))
}

/// One that is packed for an instruction set.
fn packed_for(isa: &str, dtype: Dtype) -> ModelCopy {
    packed_by("gelu-60", &Reranker::builder().isa(isa).dtype(dtype).load(fixture("gelu-60")).unwrap())
}

fn packed_by(name: &str, reranker: &Reranker) -> ModelCopy {
    let copy = ModelCopy::of(name);
    let mut bytes = Vec::new();
    reranker.write_packed(&mut bytes).unwrap();
    if copy.file("model.safetensors.index.json").exists() {
        copy.remove("model.safetensors.index.json");
    }
    copy.write(FILE, bytes);
    copy
}

fn bits(reranker: &Reranker, name: &str) -> Vec<Vec<u32>> {
    let pairs = read_pairs(&fixture(name).join("reference.jsonl"));
    let texts: Vec<(&str, &str)> = pairs.iter().map(|pair| (&*pair.query, &*pair.document)).collect();
    let scores = reranker.score_pairs(&texts).unwrap();
    scores.iter().map(|score| score.logits.iter().map(|logit| logit.to_bits()).collect()).collect()
}

#[test]
fn every_fixture_keeps_its_bits_however_the_file_is_read() {
    for name in fixtures() {
        for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
            let expected = bits(&load(&fixture(&name), Some(dtype)), &name);
            let copy = packed(&name, dtype);
            for wanted in [None, Some(dtype)] {
                let mapped = load(copy.path(), wanted);
                let info = mapped.info();
                assert_eq!(info.dtype, dtype.name());
                assert!(info.packed_checkpoint);
                assert!(info.shared_bytes > 0, "{name}: nothing is used in place");
                assert_eq!(info.ignored, [""; 0], "{name}");
                assert!(mapped.verify().unwrap());
                assert_eq!(bits(&mapped, &name), expected, "{name} in {dtype:?}");
            }
            let read = Reranker::builder().weight_source(WeightSource::Read).load(copy.path()).unwrap();
            assert!(read.info().shared_bytes > 0, "{name}: read, and then copied");
            assert_eq!(bits(&read, &name), expected, "{name} in {dtype:?}, read");
            for skew in [0, 1, 4, 32] {
                let reranker = Reranker::from_bytes(skewed(&copy, skew)).unwrap();
                let shared = reranker.info().shared_bytes;
                assert_eq!(shared > 0, skew == 0, "{name}: used in place at an alignment of {skew}");
                assert_eq!(
                    bits(&reranker, &name),
                    expected,
                    "{name} in {dtype:?}, {skew} bytes off a cache line"
                );
            }
        }
    }
}

/// The files with the weights so many bytes behind a cache line.
fn skewed(copy: &ModelCopy, skew: usize) -> ModelBytes {
    struct Skewed(Vec<u8>, usize);
    impl AsRef<[u8]> for Skewed {
        fn as_ref(&self) -> &[u8] {
            &self.0[self.1..]
        }
    }
    let read = |name: &str| std::fs::read(copy.file(name)).unwrap();
    let file = read(FILE);
    let mut bytes = vec![0; file.len() + 128];
    let start = bytes.as_ptr().align_offset(64) + skew;
    bytes[start..start + file.len()].copy_from_slice(&file);
    bytes.truncate(start + file.len());
    let mut model =
        ModelBytes::new(read("config.json"), Skewed(bytes, start)).tokenizer(read("tokenizer.json"));
    let there = |name: &str| copy.file(name).exists().then(|| read(name));
    if let Some(config) = there("tokenizer_config.json") {
        model = model.tokenizer_config(config);
    }
    let Some(modules) = there("modules.json") else { return model };
    let folders: serde_json::Value = serde_json::from_slice(&modules).unwrap();
    model = model.modules(modules).sentence_transformers_config(read("config_sentence_transformers.json"));
    model = model.sentence_bert_config(read("sentence_bert_config.json"));
    for module in &folders.as_array().unwrap()[1..] {
        model = model.module(read(&format!("{}/config.json", module["path"].as_str().unwrap())));
    }
    model
}

#[test]
fn panels_begin_at_multiples_of_64_and_nothing_that_was_packed_is_left() {
    let copy = packed("gelu-60", Dtype::Bf16);
    let bytes = std::fs::read(copy.file(FILE)).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!((8 + header) % 64, 0);
    let mut panels = 0;
    for (name, info) in metadata.tensors() {
        if name.ends_with(".panels") {
            panels += 1;
            assert_eq!(info.data_offsets.0 % 64, 0, "{name}");
            assert_eq!(info.dtype, Stored::BF16, "{name}");
        }
    }
    // Four products in each of two layers, and six in the last.
    assert_eq!(panels, 2 * 4 + 6);
    assert!(metadata.info("layer.1.down.weight").is_none());
    let user = metadata.metadata().clone().unwrap();
    assert_eq!(user["crossrank_packing"], "panels");
    assert_eq!(user["source_sha256"].len(), 64);
    let mut again = Vec::new();
    load(&fixture("gelu-60"), Some(Dtype::Bf16)).write_packed(&mut again).unwrap();
    assert!(again == bytes, "another run, other bytes");
}

#[test]
fn a_packed_checkpoint_has_one_dtype_and_is_not_packed_again() {
    let copy = packed("gelu-60", Dtype::Bf16);
    let error = Reranker::builder().dtype(Dtype::F32).load(copy.path()).unwrap_err().to_string();
    for part in ["dtype", "expected bf16", "found f32", REMAKE, "--dtype f32"] {
        assert!(error.contains(part), "{error}");
    }
    let error = load(copy.path(), None).write_packed(Vec::new()).unwrap_err().to_string();
    assert!(error.contains("packed already"), "{error}");
    assert!(!load(&fixture("gelu-60"), None).verify().unwrap(), "an unpacked checkpoint has no checksum");
}

/// All but f32 in digits, which only `amx` multiplies: there f32 itself, of another machine, becomes digits as it
/// loads.
#[test]
fn a_packed_checkpoint_serves_every_instruction_set_but_for_digits() {
    for dtype in [Dtype::F32, Dtype::Bf16, Dtype::Int8] {
        let whole = packed_for("portable", dtype);
        for_each_isa(|isa| {
            let own = packed_for(isa, dtype);
            let digits = dtype == Dtype::F32 && isa == "amx";
            let same = std::fs::read(own.file(FILE)).unwrap() == std::fs::read(whole.file(FILE)).unwrap();
            assert_eq!(same, !digits, "{isa} in {dtype:?}");
            let load = |folder: &Path| Reranker::builder().isa(isa).load(folder).unwrap();
            let (own_model, model) = (load(own.path()), load(whole.path()));
            assert_eq!(model.info().shared_bytes > 0, !digits, "{isa} in {dtype:?}");
            assert_eq!(bits(&model, "gelu-60"), bits(&own_model, "gelu-60"), "{isa} in {dtype:?}");
            if digits {
                let error = Reranker::builder().isa("portable").load(own.path()).unwrap_err().to_string();
                let field = "`crossrank_packing_dtype`: expected f32, for portable, found `digits`";
                for part in [FILE, field, REMAKE] {
                    assert!(error.contains(part), "{error}");
                }
            }
        });
    }
}

#[test]
fn a_packed_file_that_is_cut_off() {
    let copy = packed_for("portable", Dtype::F32);
    let whole = std::fs::read(copy.file(FILE)).unwrap();
    for len in [200, 2000, whole.len() / 2, whole.len() - 1] {
        copy.write(FILE, &whole[..len]).fails_with(&[FILE, "broken safetensors file", REMAKE]);
    }
}

#[test]
fn metadata_of_another_version_or_kind() {
    let copy = packed_for("portable", Dtype::F32);
    let whole = std::fs::read(copy.file(FILE)).unwrap();
    let replaced = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        let mut bytes = whole.clone();
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        copy.write(FILE, bytes)
    };
    let version = replaced(r#""crossrank_packing_version":"4""#, r#""crossrank_packing_version":"3""#);
    version.fails_with(&[FILE, "`crossrank_packing_version`: expected 4, found `3`", REMAKE]);
    let none = replaced(r#""crossrank_packing_version":"#, r#""crossrank_packing_versiom":"#);
    none.fails_with(&[FILE, "`crossrank_packing_version`: expected 4, found none", REMAKE]);
    let order = replaced(r#""crossrank_byte_order":"little""#, r#""crossrank_byte_order":"lampad""#);
    order.fails_with(&[FILE, "`crossrank_byte_order`: expected little, found `lampad`", REMAKE]);
    let none = replaced("network_description", "network_descriptiom");
    none.fails_with(&[FILE, "`network_description`", "found none", REMAKE]);
    // Of the network that it describes itself, each change is one against the config or within.
    for (from, to, parts) in [
        (r#"\"heads\":5"#, r#"\"heads\":6"#, ["layers.0.attention", "heads of 60 columns"]),
        (
            r#"\"activation\":\"gelu\""#,
            r#"\"activation\":\"relu\""#,
            ["feed_forward.activation", "\"gelu\", as"],
        ),
        (r#"\"words\":"#, r#"\"wordz\":"#, ["the description of a network", "wordz"]),
        (r#"\"scale\":0.2886"#, r#"\"scale\":0.3886"#, ["layers.0.attention.scale", "config.json says"]),
        (r#"\"scale\":0.2886"#, r#"\"scale\":-.2886"#, ["network_description", "invalid number"]),
    ] {
        replaced(from, to).fails_with(&[FILE, "network_description", parts[0], parts[1], REMAKE]);
    }
    copy.write(FILE, &whole).set_config("num_hidden_layers", serde_json::json!(1 << 24)).fails_with(&[
        FILE,
        "network_description: layers",
        "16777216 of them, as",
        "found 3",
        REMAKE,
    ]);
    copy.set_config("num_hidden_layers", serde_json::json!(3));
    let dtype = replaced(r#""crossrank_packing_dtype":"f32""#, r#""crossrank_packing_dtype":"f64""#);
    dtype.fails_with(&[FILE, "`crossrank_packing_dtype`", "`f64`", REMAKE]);
}

/// What a packed copy says of its network.
fn description(copy: &ModelCopy) -> String {
    let bytes = std::fs::read(copy.file(FILE)).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    metadata.metadata().as_ref().unwrap()["network_description"].clone()
}

/// A copy whose tensors were changed and that kept its metadata.
fn edited(edit: impl FnOnce(&mut Tensors)) -> ModelCopy {
    edited_as("f32", edit)
}

/// One that says that its panels, which are f32, are of another dtype.
fn edited_as(dtype: &str, edit: impl FnOnce(&mut Tensors)) -> ModelCopy {
    let copy = packed_for("portable", Dtype::F32);
    let description = description(&copy);
    let own = [
        ("crossrank_packing", "panels"),
        ("crossrank_byte_order", "little"),
        ("network_description", &description),
        ("crossrank_packing_version", "4"),
        ("crossrank_packing_dtype", dtype),
    ];
    copy.edit_tensors_with(Some(&own), edit);
    copy
}

#[test]
fn tensors_that_are_missing_or_of_another_size() {
    edited_as("bf16", |_| {}).fails_with(&[FILE, ".panels", "BF16", "F32 of shape", REMAKE]);
    edited(|tensors| drop(tensors.remove(QKV))).fails_with(&[FILE, QKV, "missing", REMAKE]);
    let last = "layer.2.key_fold.panels";
    edited(|tensors| drop(tensors.remove(last))).fails_with(&[FILE, last, "missing", REMAKE]);
    let bias = "layer.0.key.bias";
    edited(|tensors| drop(tensors.remove(bias))).fails_with(&[FILE, bias, "missing", REMAKE]);
    let down = "layer.1.down.panels";
    edited(|tensors| drop(tensors.remove(down))).fails_with(&[FILE, down, "missing", REMAKE]);
    edited(|tensors| tensors.get_mut(QKV).unwrap().1 = vec![1, 60, 12, 16]).fails_with(&[
        FILE,
        QKV,
        "[1, 12, 60, 16]",
        "[1, 60, 12, 16]",
        REMAKE,
    ]);
    edited(|tensors| tensors.get_mut(QKV).unwrap().0 = Stored::U32).fails_with(&[QKV, "F32", "U32", REMAKE]);
    edited(|tensors| {
        let tensor = tensors.get_mut(QKV).unwrap();
        (tensor.1, tensor.2) = (vec![1, 12, 59, 16], vec![0; 12 * 59 * 16 * 4]);
    })
    .fails_with(&[QKV, "[1, 12, 60, 16]", "[1, 12, 59, 16]", REMAKE]);
}

/// The order of the `safetensors` crate, with a header that it fills up to 8 bytes.
#[test]
fn panels_at_other_offsets_are_copied() {
    let expected = bits(&load(&fixture("gelu-60"), None), "gelu-60");
    let copy = edited(|tensors| {
        // First of all names, and eight bytes long: with the bias of the one label, four bytes are left over.
        tensors.insert("a".into(), (Stored::F32, vec![2], vec![0; 8]));
    });
    let reranker = load(copy.path(), None);
    assert_eq!(reranker.info().shared_bytes, 0);
    assert_eq!(bits(&reranker, "gelu-60"), expected);
}

#[test]
fn a_byte_that_was_flipped_is_found_by_the_checksum() {
    let copy = packed_for("portable", Dtype::F32);
    let whole = std::fs::read(copy.file(FILE)).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&whole).unwrap();
    for name in [QKV, "embeddings.words"] {
        let at = 8 + header + metadata.info(name).unwrap().data_offsets.0;
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        copy.write(FILE, bytes);
        let error = load(copy.path(), None).verify().unwrap_err().to_string();
        for part in [FILE, "data_sha256", REMAKE] {
            assert!(error.contains(part), "{error}");
        }
    }
}

#[test]
fn of_shards_that_disagree_on_their_quantisation_the_first_counts() {
    let copy = ModelCopy::of("sharded");
    for (i, value) in [(1, "a"), (2, "b"), (3, "c")] {
        let file = format!("model-0000{i}-of-00003.safetensors");
        let bytes = std::fs::read(copy.file(&file)).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter();
        let tensors: Tensors = tensors
            .map(|(name, view)| (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec())))
            .collect();
        let own = format!("quantization_{value}");
        let metadata = [("quantization_of", value), (&*own, "own"), ("quantizations", "not ours")];
        copy.write(&file, common::copy::serialize(&tensors, Some(&metadata)));
    }
    let source = load(copy.path(), None);
    let found: Vec<(String, String)> = source.info().quantization.into_iter().collect();
    let expected = ["a", "b", "c"].map(|value| (format!("quantization_{value}"), "own".to_owned()));
    assert_eq!(found[..3], expected);
    assert_eq!(found[3..], [("quantization_of".to_owned(), "a".to_owned())]);

    let mut bytes = Vec::new();
    source.write_packed(&mut bytes).unwrap();
    copy.remove("model.safetensors.index.json").write(FILE, bytes);
    assert_eq!(load(copy.path(), None).info().quantization.into_iter().collect::<Vec<_>>(), found);
    assert!(load(&fixture("sharded"), None).info().quantization.is_empty());
}
