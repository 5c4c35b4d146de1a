//! `crossrank quantize`.

mod common;

use std::fs;
use std::path::Path;

use common::{
    change_tensor, command, copy_model, f32s, fixture, fixtures, fixtures_folder, floats, json, reference,
    run, widen,
};
use safetensors::{Dtype, SafeTensors};

fn quantize(model: &str, out: &Path) -> common::Ran {
    run(["quantize".as_ref(), model.as_ref(), out.as_os_str()], "")
}

fn logits(model: &str, input: &str) -> Vec<Vec<f32>> {
    run(["score", "--dtype", "f32", "--model", model], input)
        .json()
        .iter()
        .map(|row| floats(&row["logits"]))
        .collect()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_fixture_scores_nearly_as_before() {
    for name in fixtures() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("i8");
        let ran = quantize(&fixture(&name), &out);
        assert_eq!(ran.code, Some(0), "{name}: {}", ran.stderr);
        assert_eq!(names(folder.path()), ["i8"], "{name}: only the result is left");

        let (input, expected) = reference(&name);
        let expected: Vec<Vec<f32>> = expected.iter().map(|pair| floats(&pair["logits"])).collect();
        let found = logits(out.to_str().unwrap(), &input);
        let difference =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let worst = found.iter().zip(&expected).map(|(a, b)| difference(a, b)).fold(0.0, f32::max);
        let spread = expected.iter().flatten().map(|logit| logit.abs()).fold(0.0, f32::max);
        // Random weights are hard on it; trained ones, with their redundancy, lose far less. ModernBERT's fixtures are
        // made so that each detail moves a logit by much, and rounding does, too.
        let most = if name.starts_with("mod") { 0.3 } else { 0.1 };
        assert!(worst <= most * spread, "{name}: {worst} of {spread}");
        assert!(worst > 1e-5, "{name}: nothing was rounded");

        widen(&out.join("model.safetensors"));
        for (a, b) in found.iter().zip(logits(out.to_str().unwrap(), &input)) {
            assert!(difference(a, &b) <= 1e-4, "{name}: the engine reads other numbers: {a:?} {b:?}");
        }
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let read = |name: &str| {
        let out = folder.path().join(name);
        quantize(&fixture("gelu-new-f16"), &out);
        fs::read(out.join("model.safetensors")).unwrap()
    };
    let first = read("a");
    for name in ["b", "c", "d"] {
        assert!(first == read(name), "another run, other bytes");
    }
}

#[test]
fn weights_are_bytes_with_a_scale_a_row_and_the_rest_is_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("i8");
    let stdout = quantize(&fixture("gelu-60"), &out).ok();
    let before = fs::read(fixtures_folder().join("gelu-60/model.safetensors")).unwrap();
    let after = fs::read(out.join("model.safetensors")).unwrap();
    assert!(after.len() < before.len() * 4 / 10, "{} of {}", after.len(), before.len());
    for expected in ["weights before: ", "0.50 MB", "worst row error: ", "tensors in I8:"] {
        assert!(stdout.contains(expected), "{stdout}");
    }

    let (_, metadata) = SafeTensors::read_metadata(&after).unwrap();
    let metadata = metadata.metadata().clone().unwrap();
    assert_eq!(metadata["quantization"], "crossrank-int8-rowwise-symmetric");
    assert_eq!(metadata["quantization_version"], "1");
    assert_eq!(metadata["format"], "pt");

    let (before, after) =
        (SafeTensors::deserialize(&before).unwrap(), SafeTensors::deserialize(&after).unwrap());
    let mut quantized = 0;
    for (name, old) in before.tensors() {
        let new = after.tensor(&name).unwrap();
        assert_eq!(old.shape(), new.shape());
        let kept =
            ["classifier", "bert.embeddings.token_type_embeddings", "bert.embeddings.position_embeddings"];
        if old.shape().len() != 2 || kept.iter().any(|kept| name == format!("{kept}.weight")) {
            assert_eq!((old.dtype(), old.data()), (new.dtype(), new.data()), "{name}");
            continue;
        }
        quantized += 1;
        assert_eq!(new.dtype(), Dtype::I8, "{name}");
        let scale = after.tensor(&format!("{name}_scale")).unwrap();
        assert_eq!((scale.dtype(), scale.shape()), (Dtype::F32, &old.shape()[..1]), "{name}");
        let (old, scale, cols) = (f32s(old.data()), f32s(scale.data()), old.shape()[1]);
        for (i, row) in old.chunks_exact(cols).enumerate() {
            let largest = row.iter().fold(0.0, |max: f32, value| max.max(value.abs()));
            assert_eq!(scale[i], largest / 127.0, "{name} row {i}");
            for (value, &byte) in row.iter().zip(&new.data()[i * cols..]) {
                let byte = byte as i8;
                assert!(byte != i8::MIN);
                let error = (value - f32::from(byte) * scale[i]).abs();
                assert!(error <= 0.5001 * scale[i], "{name} row {i}: {value}, {byte} * {}", scale[i]);
            }
        }
    }
    // One of three tables, six Linear layers in each of three layers, and the pooler.
    assert_eq!(quantized, 1 + 3 * 6 + 1);
    assert_eq!(after.len(), before.len() + quantized);
}

fn calibrate(model: &str, out: &Path, texts: &Path) -> common::Ran {
    let out = out.as_os_str();
    run(["quantize".as_ref(), model.as_ref(), out, "--calibrate".as_ref(), texts.as_os_str()], "")
}

#[test]
fn calibrated_weights_score_nearer_to_the_source_and_are_the_same_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (mut nearest, mut compensated) = (0.0, 0.0);
    for name in ["gelu-60", "gelu-new-f16", "gelu-tanh-bf16", "no-pooler", "relu-3-labels", "silu-1-layer"] {
        let (input, expected) = reference(name);
        fs::write(path("texts.jsonl"), &input).unwrap();
        let [plain, first, second] = ["plain", "first", "second"].map(|out| path(&format!("{name}-{out}")));
        quantize(&fixture(name), &plain);
        let ran = calibrate(&fixture(name), &first, &path("texts.jsonl"));
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(
            ran.stdout.contains(
                "rounding:             compensated, smoothing 0.5, damping 0.01, [CLS] weight 17, "
            ),
            "{}",
            ran.stdout
        );
        calibrate(&fixture(name), &second, &path("texts.jsonl"));
        let bytes = fs::read(first.join("model.safetensors")).unwrap();
        assert!(bytes == fs::read(second.join("model.safetensors")).unwrap(), "{name}: other bytes");
        let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(metadata.metadata().clone().unwrap()["quantization_rounding"], "compensated");

        let expected: Vec<Vec<f32>> = expected.iter().map(|pair| floats(&pair["logits"])).collect();
        let all = || expected.iter().flatten();
        let count = all().count() as f32;
        let mean = all().sum::<f32>() / count;
        let spread = (all().map(|logit| (logit - mean).powi(2)).sum::<f32>() / count).sqrt();
        let off = |out: &Path| {
            let found = logits(out.to_str().unwrap(), &input);
            found.iter().flatten().zip(all()).map(|(a, b)| (a - b).abs()).sum::<f32>() / count / spread
        };
        let (before, after) = (off(&plain), off(&first));
        println!("{name}: {before} of the spread of logits, compensated {after}");
        nearest += before;
        compensated += after;
    }
    assert!(compensated < nearest, "{compensated}, to the nearest {nearest}");
}

#[test]
fn a_weight_far_larger_than_its_row_is_split_among_neurons_that_do_nothing() {
    const HIDDEN: usize = 60;
    const NEURONS: usize = 100;
    const OUTLIER: usize = 20;
    let idle = 10..14;
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy_model("gelu-60", &model);
    let [up, down] = ["intermediate.dense.weight", "output.dense.weight"]
        .map(|part| format!("bert.encoder.layer.0.{part}"));
    change_tensor(&model, &up, |bytes| bytes[idle.start * HIDDEN * 4..idle.end * HIDDEN * 4].fill(0));
    change_tensor(&model, &down, |bytes| {
        for row in bytes.chunks_exact_mut(NEURONS * 4) {
            row[idle.start * 4..idle.end * 4].fill(0);
        }
        bytes[OUTLIER * 4..(OUTLIER + 1) * 4].copy_from_slice(&20_f32.to_le_bytes());
    });

    let (input, _) = reference("gelu-60");
    let (texts, out) = (folder.path().join("texts.jsonl"), folder.path().join("i8"));
    fs::write(&texts, &input).unwrap();
    let stdout = calibrate(model.to_str().unwrap(), &out, &texts).ok();
    assert!(stdout.contains(", 4 neurons replaced, "), "{stdout}");
    let after = fs::read(out.join("model.safetensors")).unwrap();
    let after = SafeTensors::deserialize(&after).unwrap();
    let up = after.tensor(&up).unwrap();
    let neurons: Vec<&[u8]> = up.data().chunks_exact(HIDDEN).collect();
    assert_eq!(neurons.len(), NEURONS);
    assert!(idle.clone().all(|neuron| neurons[neuron] == neurons[OUTLIER]));
    let scales = f32s(after.tensor(&format!("{down}_scale")).unwrap().data());
    assert!(scales[0] < 20.0 / 5.0 / 127.0 * 1.01, "the row has a finer step");

    let model = model.to_str().unwrap();
    let [before, after] = [model, out.to_str().unwrap()].map(|model| logits(model, &input).concat());
    let spread = before.iter().fold(0.0, |max: f32, logit| max.max(logit.abs()));
    let worst = before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst < 0.02 * spread, "{worst} of {spread}");
}

#[test]
fn calibration_texts_that_are_broken_or_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (texts, out) = (folder.path().join("texts.jsonl"), folder.path().join("i8"));
    let pair = |document: &str| {
        format!("{}\n", serde_json::json!({ "query": "where do rivers go", "document": document }))
    };
    for (text, expected) in [
        ("", "expected (query, document) pairs, found none"),
        ("\n \n", "expected (query, document) pairs, found none"),
        ("\n{\"query\":\"a\"}\n", "line 2: expected an object with the key `document`, found `query`"),
        ("[]\n", "line 1: expected a JSON object, found an array"),
        (
            "{\"query\":\"\",\"document\":\"\"}\n",
            "expected at least 100 tokens, as many as the widest layer has inputs, found 3 in 1 different pairs",
        ),
        (
            // One pair of tokens.
            &[" ", "  ", ""].map(|end| pair(&["To the sea.", end].concat())).concat().repeat(100),
            "expected at least 100 tokens, as many as the widest layer has inputs, found 15 in 1 different pairs",
        ),
        (
            &(0..100).map(|i| pair(&format!("To sea {i}."))).collect::<String>(),
            "expected at least 60 different tokens, as many as an embedding has values, found 31 in 74 different pairs",
        ),
    ] {
        fs::write(&texts, text).unwrap();
        let error = calibrate(&fixture("gelu-60"), &out, &texts).error();
        assert_eq!(error, format!("{}: {expected}", texts.display()));
        assert_eq!(names(folder.path()), ["texts.jsonl"], "something is left");
    }
    let missing = folder.path().join("missing");
    let error = calibrate(&fixture("gelu-60"), &out, &missing).error();
    assert!(error.starts_with(&format!("{}: ", missing.display())), "{error}");
}

#[test]
fn the_neighbours_of_the_weights_come_along() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy_model("gelu-60", &model);
    fs::write(model.join("config_sentence_transformers.json"), "{\"model_type\":\"CrossEncoder\"}").unwrap();
    let out = folder.path().join("i8");
    quantize(model.to_str().unwrap(), &out).ok();
    let copied =
        ["config.json", "config_sentence_transformers.json", "tokenizer.json", "tokenizer_config.json"];
    assert_eq!(names(&out), [&copied[..2], &["model.safetensors"], &copied[2..]].concat());
    for name in copied {
        assert_eq!(fs::read(out.join(name)).unwrap(), fs::read(model.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn shards_become_one_file_and_half_precision_is_read() {
    for (name, dtype) in [("sharded", "F32"), ("gelu-new-f16", "F16"), ("gelu-tanh-bf16", "BF16")] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("i8");
        assert_eq!(quantize(&fixture(name), &out).code, Some(0));
        assert!(!out.join("model.safetensors.index.json").exists());
        let inspected = run(["inspect".as_ref(), "--model".as_ref(), out.as_os_str()], "").ok();
        assert!(inspected.contains(" I8: 14, "), "{inspected}");
        assert!(inspected.contains(&format!(" {dtype}: ")), "{inspected}");
        assert!(inspected.contains("ignored:           none"), "{inspected}");
    }
}

#[test]
fn tensors_that_the_engine_does_not_use_are_left_out_with_a_note() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("i8");
    let ran = quantize(&fixture("gelu-new-f16"), &out);
    assert_eq!(ran.code, Some(0));
    assert_eq!(
        ran.stderr,
        "crossrank: note: left out tensor `bert.embeddings.position_ids` (I64): the engine does not use it\n"
    );
    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    assert!(SafeTensors::deserialize(&bytes).unwrap().tensor("bert.embeddings.position_ids").is_err());
}

#[test]
fn a_folder_with_files_is_refused_and_an_empty_one_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("i8");
    fs::create_dir(&out).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::write(out.join("mine.txt"), "mine").unwrap();
    let error = quantize(&fixture("gelu-60"), &out).error();
    assert!(
        error.starts_with(&format!("{}: expected a folder that does not exist", out.display())),
        "{error}"
    );
    assert_eq!(names(&out), ["mine.txt"]);
    assert_eq!(names(folder.path()), ["empty", "i8"]);

    fs::remove_file(out.join("mine.txt")).unwrap();
    quantize(&fixture("gelu-60"), &out).ok();
    assert!(out.join("model.safetensors").exists());

    let mut here = command();
    here.args(["quantize", &fixture("gelu-60"), "."]).current_dir(folder.path().join("empty"));
    let here = String::from_utf8(here.output().unwrap().stderr).unwrap();
    assert!(here.contains("expected another folder than the current one"), "{here}");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(quantize(&fixture("gelu-60"), &file).error().starts_with(&format!("{}: ", file.display())));
    let deep = folder.path().join("no/such/folder");
    let error = quantize(&fixture("gelu-60"), &deep).error();
    assert!(error.starts_with(&format!("{}: expected a name within", deep.display())), "{error}");
    let model = fixture("gelu-60");
    assert!(quantize(&model, Path::new(&model)).error().starts_with(&model), "a model onto itself");
}

/// A copy of `gelu-60` with one number changed; quantizing it must fail and leave nothing.
fn refused(tensor: &str, element: usize, value: f32) -> String {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy_model("gelu-60", &model);
    let at = 4 * element;
    change_tensor(&model, tensor, |bytes| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes()));
    let weights = model.join("model.safetensors");
    let error = quantize(model.to_str().unwrap(), &folder.path().join("i8")).error();
    assert_eq!(names(folder.path()), ["model"], "something is left");
    error.strip_prefix(&format!("{}: ", weights.display())).unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn numbers_that_are_not_finite_are_refused_by_tensor_and_row() {
    assert_eq!(
        refused("bert.encoder.layer.1.output.dense.weight", 7 * 100 + 3, f32::NAN),
        "tensor `bert.encoder.layer.1.output.dense.weight`: row 7: expected finite numbers, found NaN"
    );
    assert_eq!(
        refused("bert.embeddings.word_embeddings.weight", 575 * 60, f32::NEG_INFINITY),
        "tensor `bert.embeddings.word_embeddings.weight`: row 575: expected finite numbers, found -inf"
    );
    assert_eq!(
        refused("classifier.bias", 0, f32::INFINITY),
        "tensor `classifier.bias`: element 0: expected finite numbers, found inf"
    );
}

#[test]
fn rows_of_zeros_stay_zeros() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy_model("gelu-60", &model);
    let name = "bert.embeddings.word_embeddings.weight";
    change_tensor(&model, name, |bytes| bytes[..4 * 60].fill(0));
    let out = folder.path().join("i8");
    quantize(model.to_str().unwrap(), &out).ok();
    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    assert!(tensors.tensor(name).unwrap().data()[..60].iter().all(|&byte| byte == 0));
    assert_eq!(tensors.tensor(&format!("{name}_scale")).unwrap().data()[..4], [0; 4]);
}

#[test]
fn a_broken_or_quantized_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (out, again) = (folder.path().join("i8"), folder.path().join("again"));
    quantize(&fixture("gelu-60"), &out).ok();
    let error = quantize(out.to_str().unwrap(), &again).error();
    assert!(error.contains("tensor `bert.embeddings.word_embeddings.weight`: "), "{error}");
    assert!(error.ends_with("expected F32, F16 or BF16, found I8: it is quantized already"), "{error}");

    let config = out.join("config.json");
    let text = fs::read_to_string(&config).unwrap().replace("\"hidden_size\": 60", "\"hidden_size\": 61");
    fs::write(&config, text).unwrap();
    let error = quantize(out.to_str().unwrap(), &again).error();
    assert!(error.contains("config.json: `hidden_size`"), "{error}");
    assert_eq!(names(folder.path()), ["i8"]);
    assert!(quantize("no-such-model", &again).error().starts_with("no-such-model: "));
}

#[test]
fn the_default_model_is_one_of_ours() {
    let inspected = run(["inspect"], "").ok();
    assert!(inspected.starts_with("model:             built-in default model\n"), "{inspected}");
    assert!(inspected.contains(" I8: 38, 22484736 elements, 22.48 MB\n"), "{inspected}");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/default");
    let input = "{\"query\":\"where do rivers go?\",\"document\":\"A river runs to the sea.\"}\n";
    let built_in = json(&run(["score"], input).ok());
    assert_eq!(built_in, run(["score", "--model", folder], input).json());
    assert!(built_in[0]["score"].as_f64().unwrap() > 0.5, "{:?}", built_in[0]);
}

#[test]
fn weights_beside_which_what_is_missing_is_large_stay_as_they_are() {
    for weight in [0.0_f32, 1e-7] {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        copy_model("gelu-60", &model);
        let tensor = "bert.encoder.layer.0.output.dense.weight";
        change_tensor(&model, tensor, |bytes| {
            bytes.chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&weight.to_le_bytes()));
        });
        let (texts, out) = (folder.path().join("texts.jsonl"), folder.path().join("i8"));
        fs::write(&texts, reference("gelu-60").0).unwrap();
        calibrate(model.to_str().unwrap(), &out, &texts).ok();
        let after = fs::read(out.join("model.safetensors")).unwrap();
        let after = SafeTensors::deserialize(&after).unwrap();
        let scales = f32s(after.tensor(&format!("{tensor}_scale")).unwrap().data());
        assert_eq!(scales, vec![weight / 127.0; scales.len()]);
    }
}

#[test]
fn what_only_cls_reads_is_rounded_for_it_but_not_corrected() {
    let folder = tempfile::tempdir().unwrap();
    let (texts, out) = (folder.path().join("texts.jsonl"), folder.path().join("i8"));
    fs::write(&texts, reference("gelu-60").0).unwrap();
    calibrate(&fixture("gelu-60"), &out, &texts).ok();
    let [before, after] = [fixture("gelu-60"), out.to_str().unwrap().to_owned()]
        .map(|folder| fs::read(Path::new(&folder).join("model.safetensors")).unwrap());
    let [before, after] = [&before, &after].map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    let name = "bert.encoder.layer.2.attention.self.query.weight";
    let scales = f32s(after.tensor(&format!("{name}_scale")).unwrap().data());
    let bytes = after.tensor(name).unwrap();
    let (mut elsewhere, weights) = (0, f32s(before.tensor(name).unwrap().data()));
    let width = weights.len() / scales.len();
    for ((row, scale), bytes) in weights.chunks(width).zip(scales).zip(bytes.data().chunks(width)) {
        assert_eq!(scale, row.iter().fold(0.0, |max: f32, weight| max.max(weight.abs())) / 127.0);
        let nearest = row.iter().map(|weight| (weight / scale).round_ties_even() as i8);
        elsewhere += nearest.zip(bytes).filter(|&(nearest, &byte)| nearest != byte as i8).count();
    }
    assert!(elsewhere > weights.len() / 20, "{elsewhere} of {} bytes are not the nearest", weights.len());
}
