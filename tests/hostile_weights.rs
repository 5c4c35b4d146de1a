//! Weights that lie: each lie has its own error, which names the file and the tensor.
#![cfg(feature = "tokenizers")]

mod common;

use common::copy::{ModelCopy, Tensors};
use common::read_pairs;
use crossrank::{ModelBytes, Reranker};
use safetensors::Dtype;
use serde_json::json;

const FILE: &str = "model.safetensors";
const QUERY: &str = "bert.encoder.layer.0.attention.self.query.weight";

fn copy() -> ModelCopy {
    ModelCopy::of("gelu-60")
}

/// A file of a header and some data.
fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn a_header_that_is_cut_off_or_too_large() {
    copy().write(FILE, []).fails_with(&[FILE, "header too small", "found 0"]);
    copy().write(FILE, [1, 2, 3]).fails_with(&[FILE, "header too small", "found 3"]);
    let expected = "expected 5000 bytes of it, found 0";
    copy().write(FILE, 5_000u64.to_le_bytes()).fails_with(&[FILE, "invalid header length", expected]);
    let found = format!("found {} bytes", u64::MAX);
    copy().write(FILE, u64::MAX.to_le_bytes()).fails_with(&[FILE, "header too large", &found]);
    let whole = std::fs::read(copy().file(FILE)).unwrap();
    let expected = format!("expected {} bytes", whole.len());
    for wrong in [whole.len() - 1, whole.len() + 1] {
        let mut bytes = whole.clone();
        bytes.resize(wrong, 0);
        copy().write(FILE, bytes).fails_with(&[FILE, &expected, &format!("found {wrong}")]);
    }
    copy().write(FILE, &whole[..600]).fails_with(&[FILE, "invalid header length", "found 592"]);
}

#[test]
fn a_header_that_is_no_header() {
    copy().write(FILE, safetensors("{", 0)).fails_with(&[FILE, "invalid JSON"]);
    copy().write(FILE, safetensors("[]", 0)).fails_with(&[FILE, "JSON"]);
    let mut bytes = safetensors("{}", 0);
    bytes[8] = 0xff;
    copy().write(FILE, bytes).fails_with(&[FILE, "UTF-8"]);
    copy().write(FILE, safetensors("{}", 0)).fails_with(&[FILE, "word_embeddings.weight", "missing"]);
}

#[test]
fn offsets_and_shapes_that_lie() {
    let tensor = |name: &str, shape: &str, start: u64, end: u64| {
        format!(r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    };
    let file = |tensors: &[String], data| safetensors(&format!("{{{}}}", tensors.join(",")), data);
    let beyond = file(&[tensor("a", "[4]", 0, 16)], 8);
    copy().write(FILE, beyond).fails_with(&[FILE, "not fully covered"]);
    let backwards = file(&[tensor("a", "[4]", 16, 0)], 16);
    copy().write(FILE, backwards).fails_with(&[FILE, "`a`"]);
    let overlapping = file(&[tensor("a", "[4]", 0, 16), tensor("b", "[4]", 8, 24)], 24);
    copy().write(FILE, overlapping).fails_with(&[FILE, "offset", "`b`"]);
    let wrong_size = file(&[tensor("a", "[4]", 0, 16), tensor("liar", "[5]", 16, 32)], 32);
    copy().write(FILE, wrong_size).fails_with(&[FILE, "`liar`"]);
    let overflow = file(&[tensor("huge", "[4294967296,4294967296,4294967296]", 0, 16)], 16);
    copy().write(FILE, overflow).fails_with(&[FILE, "`huge`"]);
}

#[test]
fn a_tensor_that_is_missing_or_of_another_kind() {
    let edit = |edit: fn(&mut Tensors)| {
        let copy = copy();
        copy.edit_tensors(edit);
        copy
    };
    edit(|tensors| drop(tensors.remove(QUERY))).fails_with(&[FILE, QUERY, "missing"]);
    edit(|tensors| tensors.get_mut(QUERY).unwrap().1 = vec![30, 120]).fails_with(&[
        FILE,
        QUERY,
        "[60, 60]",
        "[30, 120]",
    ]);
    edit(|tensors| {
        let tensor = tensors.get_mut(QUERY).unwrap();
        *tensor = (Dtype::F64, vec![60, 60], vec![0; 60 * 60 * 8]);
    })
    .fails_with(&[FILE, QUERY, "F64"]);
    edit(|tensors| {
        let tensor = tensors.get_mut("bert.embeddings.LayerNorm.bias").unwrap();
        *tensor = (Dtype::I64, vec![60], vec![0; 60 * 8]);
    })
    .fails_with(&[FILE, "bert.embeddings.LayerNorm.bias", "I64"]);
    edit(|tensors| drop(tensors.remove("classifier.weight"))).fails_with(&[
        FILE,
        "classifier.weight",
        "no cross-encoder",
    ]);
    edit(|tensors| drop(tensors.remove("bert.pooler.dense.bias"))).fails_with(&[
        FILE,
        "bert.pooler.dense.bias",
        "missing",
    ]);
}

#[test]
fn a_classifier_without_labels() {
    let copy = copy();
    copy.set_config("id2label", json!({})).edit_tensors(|tensors| {
        tensors.insert("classifier.weight".into(), (Dtype::F32, vec![0, 60], vec![]));
        tensors.insert("classifier.bias".into(), (Dtype::F32, vec![0], vec![]));
    });
    copy.fails_with(&[FILE, "classifier.weight", "at least one label"]);
}

#[test]
fn a_number_of_layers_that_one_tensor_at_the_end_vouches_for() {
    let copy = copy();
    copy.set_config("num_hidden_layers", json!(1 << 24)).edit_tensors(|tensors| {
        let last = "bert.encoder.layer.16777215.output.dense.weight";
        tensors.insert(last.into(), (Dtype::F32, vec![1, 1], vec![0; 4]));
    });
    copy.fails_with(&[FILE, "encoder.layer.3.attention.self.query.weight", "missing"]);
}

#[test]
fn sizes_that_contradict_the_config() {
    for (field, value, tensor) in [
        ("hidden_size", 65, "classifier.weight"),
        ("intermediate_size", 99, "intermediate.dense.weight"),
        ("vocab_size", 577, "word_embeddings"),
        ("max_position_embeddings", 512, "position_embeddings"),
        ("type_vocab_size", 3, "token_type_embeddings"),
        ("num_hidden_layers", 4, "encoder.layer.3."),
        ("num_hidden_layers", 1 << 24, "encoder.layer.3."),
    ] {
        let copy = copy();
        copy.set_config(field, json!(value)).fails_with(&[tensor]);
    }
}

#[test]
fn i8_needs_its_scales_and_its_scheme() {
    let quantised = |metadata: &[(&str, &str)], edit: fn(&mut Tensors)| {
        let copy = copy();
        copy.edit_tensors_with(Some(metadata), |tensors| {
            tensors.insert(QUERY.into(), (Dtype::I8, vec![60, 60], vec![3; 3600]));
            let scales: Vec<u8> = [0.01f32; 60].iter().flat_map(|scale| scale.to_le_bytes()).collect();
            tensors.insert(format!("{QUERY}_scale"), (Dtype::F32, vec![60], scales));
            edit(tensors);
        });
        copy
    };
    let ours = [("quantization", "crossrank-int8-rowwise-symmetric"), ("quantization_version", "1")];
    let loads = |copy: ModelCopy| Reranker::load(copy.path()).unwrap();
    let column = |tensors: &mut Tensors| tensors.get_mut(&format!("{QUERY}_scale")).unwrap().1 = vec![60, 1];
    let pair = [("where do rivers go", "to the sea")];
    let scores = loads(quantised(&ours, |_| {})).score_pairs(&pair).unwrap();
    assert_eq!(loads(quantised(&ours, column)).score_pairs(&pair).unwrap(), scores);

    quantised(&[], |_| {}).fails_with(&[QUERY, "quantization", "none"]);
    quantised(&[("quantization", "bitsandbytes"), ours[1]], |_| {}).fails_with(&[QUERY, "`bitsandbytes`"]);
    quantised(&[ours[0], ("quantization_version", "2")], |_| {}).fails_with(&["quantization_version", "`2`"]);
    quantised(&ours, |tensors| drop(tensors.remove(&format!("{QUERY}_scale"))))
        .fails_with(&["_scale", "missing"]);
    let short = |tensors: &mut Tensors| {
        *tensors.get_mut(&format!("{QUERY}_scale")).unwrap() = (Dtype::F32, vec![59], vec![0; 59 * 4]);
    };
    quantised(&ours, short).fails_with(&["_scale", "[60]", "[59]"]);
    let half = |tensors: &mut Tensors| {
        *tensors.get_mut(&format!("{QUERY}_scale")).unwrap() = (Dtype::F16, vec![60], vec![0; 120]);
    };
    quantised(&ours, half).fails_with(&["_scale", "F32", "F16"]);
    let zero_point = |tensors: &mut Tensors| {
        tensors.insert(format!("{QUERY}_zero_point"), (Dtype::I8, vec![60], vec![0; 60]));
    };
    quantised(&ours, zero_point).fails_with(&["_zero_point", "symmetric"]);
}

#[test]
fn shards_that_leave_the_folder_or_are_not_there() {
    let index = |edit: fn(&mut serde_json::Value)| {
        let copy = ModelCopy::of("sharded");
        copy.edit_json("model.safetensors.index.json", edit);
        copy
    };
    let name = "model.safetensors.index.json";
    for path in ["../model.safetensors", "/etc/passwd", "a/../../b", "..", "", "sub/model.safetensors"] {
        let copy = ModelCopy::of("sharded");
        copy.edit_json(name, |json| json["weight_map"]["classifier.bias"] = json!(path));
        copy.fails_with(&[name, "classifier.bias", &format!("`{path}`")]);
    }
    index(|json| json["weight_map"]["classifier.bias"] = json!(7)).fails_with(&[name, "classifier.bias"]);
    index(|json| json["weight_map"]["classifier.bias"] = json!("other.safetensors"))
        .fails_with(&["other.safetensors"]);
    index(|json| json["weight_map"]["no.such.tensor"] = json!("model-00001-of-00003.safetensors"))
        .fails_with(&[name, "no.such.tensor"]);
    index(|json| json["weight_map"] = json!({})).fails_with(&[name, "empty"]);
    index(|json| *json = json!([])).fails_with(&[name, "weight_map"]);
    let copy = ModelCopy::of("sharded");
    copy.remove("model-00002-of-00003.safetensors").fails_with(&["model-00002-of-00003.safetensors"]);
    let copy = ModelCopy::of("sharded");
    std::fs::copy(
        copy.file("model-00001-of-00003.safetensors"),
        copy.file("model-00002-of-00003.safetensors"),
    )
    .unwrap();
    // Shard 1 twice: the index says which one counts, and that shard 2 is missing.
    copy.fails_with(&[name, "is not in `model-00002-of-00003.safetensors`"]);
}

#[test]
fn no_weights_at_all() {
    copy().remove(FILE).remove("hidden.safetensors").fails_with(&[
        FILE,
        "model.safetensors.index.json",
        "no weights at all",
    ]);
    let other = copy();
    other
        .remove(FILE)
        .remove("hidden.safetensors")
        .write("pytorch_model.bin", "x")
        .write("model-q4.gguf", "x");
    other.fails_with(&[FILE, "found `model-q4.gguf`, `pytorch_model.bin`"]);
    let copy = copy();
    copy.remove(FILE);
    std::fs::create_dir(copy.file(FILE)).unwrap();
    copy.fails_with(&[FILE]);
}

#[test]
fn nan_in_the_weights_is_found_at_the_logit_and_names_the_document() {
    let pairs = read_pairs(&common::fixture("gelu-60").join("reference.jsonl"));
    // One word's embedding is NaN: only documents with that word are broken.
    let broken_word = pairs[0].ids[1] as usize;
    let copy = copy();
    copy.edit_tensors(|tensors| {
        let words = &mut tensors.get_mut("bert.embeddings.word_embeddings.weight").unwrap().2;
        words[broken_word * 240..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let reranker = Reranker::load(copy.path()).unwrap();
    let tokenized = |ids: &[u32]| crossrank::Tokenized::new(ids.to_vec(), vec![0; ids.len()]);
    let healthy = tokenized(&[2, 3]);
    assert!(reranker.score_tokenized(&[healthy.clone(), healthy.clone()]).is_ok());
    let ill = tokenized(&[2, broken_word as u32, 3]);
    let pairs = [healthy.clone(), ill, healthy];
    let error = reranker.score_tokenized(&pairs).unwrap_err();
    assert_eq!(error.document(), Some(1));
    assert!(error.to_string().contains("NaN"), "{error}");
    // Where pairs of several callers are scored together, the others have their scores.
    let each = reranker.score_until(&pairs, &Default::default()).unwrap();
    let each: Vec<_> = each.into_iter().map(Option::unwrap).collect();
    assert!(each[0].is_ok() && each[0].as_ref().unwrap() == each[2].as_ref().unwrap());
    assert_eq!(each[1].as_ref().unwrap_err().document(), Some(1));
}

#[test]
fn every_nan_in_a_used_weight_reaches_the_logit() {
    let names: Vec<String> = {
        let mut names = Vec::new();
        copy().edit_tensors(|tensors| names.extend(tensors.keys().cloned()));
        names
    };
    for name in names {
        let copy = copy();
        copy.edit_tensors(|tensors| {
            // All of it: a single row might be a word or a position that no text has.
            let data = &mut tensors.get_mut(&name).unwrap().2;
            data.chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&f32::NAN.to_le_bytes()));
        });
        // The last layer does not compute with the bias of its keys, so that one is found when it is loaded.
        if name.ends_with("layer.2.attention.self.key.bias") {
            copy.fails_with(&[&name, "finite", "NaN"]);
            continue;
        }
        let reranker = Reranker::load(copy.path()).unwrap();
        let error = reranker.rerank("rivers", &["sea"], &Default::default()).expect_err(&name);
        assert_eq!(error.document(), Some(0), "{name}");
    }
}

#[test]
fn misaligned_data_gives_the_same_bits() {
    let folder = common::fixture("gelu-60");
    let pairs = read_pairs(&folder.join("reference.jsonl"));
    let texts: Vec<_> = pairs.iter().map(|pair| (&pair.query, &pair.document)).collect();
    let expected = Reranker::load(&folder).unwrap().score_pairs(&texts).unwrap();
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    for shift in 0..4 {
        // A header longer by a few spaces moves all tensors, and so does where the bytes begin.
        let weights = read(FILE);
        let header = u64::from_le_bytes(weights[..8].try_into().unwrap());
        let mut moved = (header + shift).to_le_bytes().to_vec();
        moved.extend_from_slice(&weights[8..8 + header as usize]);
        moved.extend(std::iter::repeat_n(b' ', shift as usize));
        moved.extend_from_slice(&weights[8 + header as usize..]);
        let bytes = ModelBytes::new(read("config.json"), moved.clone()).tokenizer(read("tokenizer.json"));
        let reranker = Reranker::from_bytes(bytes).unwrap();
        assert_eq!(reranker.score_pairs(&texts).unwrap(), expected, "shifted by {shift}");
    }
}

#[test]
fn shards_from_bytes_give_the_same_bits() {
    let folder = common::fixture("sharded");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let shard = |i: usize| read(&format!("model-0000{i}-of-00003.safetensors"));
    let bytes = ModelBytes::new(read("config.json"), shard(2)).tokenizer(read("tokenizer.json"));
    let reranker = Reranker::from_bytes(bytes.shard(shard(3)).shard(shard(1))).unwrap();
    let pair = [("where do rivers go", "to the sea")];
    assert_eq!(
        reranker.score_pairs(&pair).unwrap(),
        Reranker::load(&folder).unwrap().score_pairs(&pair).unwrap()
    );

    let bytes = ModelBytes::new(read("config.json"), shard(1)).tokenizer(read("tokenizer.json"));
    let error = Reranker::from_bytes(bytes.shard(shard(1))).unwrap_err().to_string();
    assert!(error.contains("shard 2") && error.contains("also in"), "{error}");
}

#[test]
fn mapped_and_read_weights_give_the_same_bits() {
    let folder = common::fixture("gelu-new-f16");
    let pair = [("where do rivers go", "to the sea")];
    let read = Reranker::builder().weight_source(crossrank::WeightSource::Read).load(&folder).unwrap();
    assert_eq!(
        read.score_pairs(&pair).unwrap(),
        Reranker::load(&folder).unwrap().score_pairs(&pair).unwrap()
    );
}

#[test]
fn tensors_that_are_not_used_are_ignored_and_listed() {
    let info = Reranker::load(common::fixture("gelu-new-f16")).unwrap().info();
    assert_eq!(info.ignored, ["bert.embeddings.position_ids"]);
    assert_eq!(info.tensors["I64"], (1, 48));
    assert!(Reranker::load(common::fixture("gelu-60")).unwrap().info().ignored.is_empty());
}

#[test]
fn layers_beyond_the_config_and_parts_that_no_layer_has_are_refused() {
    let fewer = copy();
    fewer.set_config("num_hidden_layers", json!(2));
    fewer.fails_with(&[FILE, "`bert.encoder.layer.2.", "num_hidden_layers says 2"]);
    let other = copy();
    other.edit_tensors(|tensors| {
        let query = tensors[QUERY].clone();
        tensors.insert(QUERY.replace("weight", "lora_A.weight"), query);
    });
    other.fails_with(&[FILE, "`bert.encoder.layer.0.attention.self.query.lora_A.weight`", "adapter"]);
    let other = copy();
    other.edit_tensors(|tensors| {
        let query = tensors[QUERY].clone();
        tensors.insert(QUERY.replace("weight", "gate.weight"), query);
    });
    other.fails_with(&[FILE, "`bert.encoder.layer.0.attention.self.query.gate.weight`", "another part"]);
    // What is in no layer may be there: a head for another task, a table of positions.
    let beside = copy();
    beside.edit_tensors(|tensors| {
        tensors.insert("bert.embeddings.position_ids".into(), (Dtype::I64, vec![1, 1], vec![0; 8]));
    });
    assert_eq!(Reranker::load(beside.path()).unwrap().info().ignored, ["bert.embeddings.position_ids"]);
}

#[cfg(unix)]
#[test]
fn what_is_no_regular_file_is_refused_before_it_is_opened() {
    for name in ["config.json", FILE, "tokenizer.json"] {
        let copy = copy();
        std::fs::remove_file(copy.file(name)).unwrap();
        std::os::unix::fs::symlink("/dev/zero", copy.file(name)).unwrap();
        copy.fails_with(&[name, "expected a regular file"]);
        std::fs::remove_file(copy.file(name)).unwrap();
        std::fs::create_dir(copy.file(name)).unwrap();
        copy.fails_with(&[name, "found a folder"]);
    }
}
