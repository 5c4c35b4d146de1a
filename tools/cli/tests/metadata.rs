//! What a checkpoint says of how it was quantised: written, reported, shown and kept.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{copy_model, fixture, fixtures_folder, reference, run};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::Value;
use sha2::{Digest, Sha256};

const MODEL: &str = "gelu-new-f16";

fn sha256(bytes: impl AsRef<[u8]>) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Quantizes a fixture; stdout.
fn quantize(model: &str, out: &Path, more: &[&str]) -> String {
    let args = ["quantize", model, out.to_str().unwrap()];
    let ran = run(args.iter().chain(more), "");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    ran.stdout
}

fn metadata(folder: &Path) -> BTreeMap<String, String> {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    metadata.metadata().clone().unwrap().into_iter().collect()
}

/// Those that say how a checkpoint was quantised.
fn recipe(folder: &Path) -> BTreeMap<String, String> {
    let mut all = metadata(folder);
    all.retain(|key, _| key.starts_with("quantization"));
    all
}

/// What `inspect` shows of a checkpoint's metadata, line by line.
fn inspected(model: &Path) -> Vec<String> {
    let stdout = run(["inspect", "--model", model.to_str().unwrap()], "").ok();
    let lines = stdout.lines().filter_map(|line| line.strip_prefix("metadata:"));
    lines.map(|line| line.trim_start().to_owned()).collect()
}

fn shown(recipe: &BTreeMap<String, String>) -> Vec<String> {
    recipe.iter().map(|(key, value)| format!("{key}: {value}")).collect()
}

fn texts(folder: &Path) -> PathBuf {
    let path = folder.join("texts.jsonl");
    fs::write(&path, reference(MODEL).0).unwrap();
    path
}

/// Of a fixture's one weights file.
fn source_sha256() -> String {
    sha256(fs::read(fixtures_folder().join(MODEL).join("model.safetensors")).unwrap())
}

#[test]
fn a_checkpoint_says_how_it_was_rounded_and_of_what() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("i8");
    quantize(&fixture(MODEL), &out, &[]);
    let version = format!("crossrank {}", env!("CARGO_PKG_VERSION"));
    let source = source_sha256();
    // One table of three, six Linear layers in each of two layers, and the pooler, of 41 tensors that are used.
    let expected = [
        ("quantization", "crossrank-int8-rowwise-symmetric"),
        ("quantization_rounding", "nearest"),
        ("quantization_source_sha256", &source),
        ("quantization_tensors_f32", "0"),
        ("quantization_tensors_i8", "14"),
        ("quantization_tensors_kept", "27"),
        ("quantization_version", "1"),
        ("quantization_written_by", &version),
    ];
    let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(recipe(&out), BTreeMap::from(expected));
    assert_eq!(metadata(&out)["format"], "pt");
}

#[test]
fn a_calibrated_one_says_on_which_texts_and_on_what_machine() {
    let folder = tempfile::tempdir().unwrap();
    let (texts, out) = (texts(folder.path()), folder.path().join("i8"));
    quantize(&fixture(MODEL), &out, &["--calibrate", texts.to_str().unwrap()]);
    let found = recipe(&out);
    // A pair that comes again counts once: of these two are blank.
    let (_, mut pairs) = reference(MODEL);
    pairs.sort_by_key(|pair| pair["ids"].to_string());
    pairs.dedup_by_key(|pair| pair["ids"].clone());
    let tokens: usize = pairs.iter().map(|pair| pair["ids"].as_array().unwrap().len()).sum();
    for (key, expected) in [
        ("rounding", "compensated"),
        ("smoothing", "0.5"),
        ("damping", "0.01"),
        ("cls_weight", "17"),
        ("neurons_replaced", "0"),
        ("calibration_pairs", &*pairs.len().to_string()),
        ("calibration_tokens", &*tokens.to_string()),
        ("calibration_sha256", &*sha256(fs::read(&texts).unwrap())),
        // The biases of all Linear layers but the classifier, and, in the first of two layers, weight and bias of the
        // two norms that smooth, and the scale of either residual.
        ("tensors_f32", "19"),
        ("tensors_i8", "14"),
        ("tensors_kept", "10"),
        ("source_sha256", &*source_sha256()),
    ] {
        assert_eq!(found[&format!("quantization_{key}")], expected, "{key}");
    }
    let isa = &found["quantization_calibration_isa"];
    assert!(crossrank_kernels::Isa::NAMES.contains(&&**isa), "{isa}");
    assert_eq!(found.len(), 16, "{found:?}");
}

#[test]
fn metadata_text_and_json_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let texts = texts(folder.path());
    for (i, calibrate) in [&[][..], &["--calibrate", texts.to_str().unwrap()]].into_iter().enumerate() {
        let out = |form: &str| folder.path().join(format!("{form}-{i}"));
        let stdout = quantize(&fixture(MODEL), &out("json"), &[calibrate, &["--format", "json"]].concat());
        let text = quantize(&fixture(MODEL), &out("text"), calibrate);
        let found = recipe(&out("json"));
        assert_eq!(found, recipe(&out("text")));

        let report: Value = serde_json::from_str(&stdout).unwrap();
        let json = report["quantization"].as_object().unwrap();
        let as_text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let mut from_json: BTreeMap<String, String> =
            json.iter().map(|(key, value)| (format!("quantization_{key}"), as_text(value))).collect();
        for key in ["quantization", "quantization_version"] {
            from_json.insert(key.to_owned(), found[key].clone());
        }
        assert_eq!(from_json, found);
        assert!(json["tensors_i8"].is_u64(), "numbers are numbers: {stdout}");
        assert_eq!(report.get("rounding"), None);

        let value = |key: &str| &*found[&format!("quantization_{key}")];
        let mut lines = vec![
            ("tensors in I8", value("tensors_i8").to_owned()),
            ("vectors made F32", value("tensors_f32").to_owned()),
            ("tensors as they were", value("tensors_kept").to_owned()),
            ("source", format!("sha256 {}", value("source_sha256"))),
            ("written by", value("written_by").to_owned()),
        ];
        if calibrate.is_empty() {
            lines.push(("rounding", value("rounding").to_owned()));
        } else {
            let [rounding, smoothing, damping, weight, replaced] =
                ["rounding", "smoothing", "damping", "cls_weight", "neurons_replaced"].map(value);
            let [pairs, tokens] = ["calibration_pairs", "calibration_tokens"].map(value);
            let how = format!("smoothing {smoothing}, damping {damping}, [CLS] weight {weight}");
            let on = format!("{replaced} neurons replaced, on {pairs} pairs, {tokens} tokens");
            lines.push(("rounding", format!("{rounding}, {how}, {on}")));
            let (sha256, isa) = (value("calibration_sha256"), value("calibration_isa"));
            lines.push(("calibration", format!("sha256 {sha256}, seen on {isa}")));
        }
        for (key, value) in lines {
            let line = format!("{:<21} {value}", format!("{key}:"));
            assert!(text.lines().any(|found| found == line), "no {line:?} in {text}");
        }
    }
}

#[test]
fn the_checksum_of_shards_is_that_of_all_files_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let (out, packed) = (folder.path().join("i8"), folder.path().join("packed"));
    quantize(&fixture("sharded"), &out, &[]);
    let shard = |i| fs::read(fixtures_folder().join(format!("sharded/model-0000{i}-of-00003.safetensors")));
    let all: Vec<u8> = (1..=3).flat_map(|i| shard(i).unwrap()).collect();
    assert_eq!(metadata(&out)["quantization_source_sha256"], sha256(&all));
    // The engine's own, when it packs the same files.
    run(["pack", &fixture("sharded"), packed.to_str().unwrap()], "").ok();
    assert_eq!(metadata(&packed)["source_sha256"], sha256(&all));
}

#[test]
fn inspect_shows_it_and_pack_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let (texts, i8) = (texts(folder.path()), folder.path().join("i8"));
    quantize(&fixture(MODEL), &i8, &["--calibrate", texts.to_str().unwrap()]);
    let expected = recipe(&i8);
    assert_eq!(inspected(&i8), shown(&expected));
    for dtype in ["int8", "f32"] {
        let packed = folder.path().join(dtype);
        run(["pack", "--dtype", dtype, i8.to_str().unwrap(), packed.to_str().unwrap()], "").ok();
        assert_eq!(recipe(&packed), expected, "{dtype}");
        assert_eq!(inspected(&packed), shown(&expected), "{dtype}");
        assert_eq!(metadata(&packed).get("format"), None, "of other metadata nothing is kept");
    }
}

/// A copy of a fixture with metadata of someone else's.
fn foreign(folder: &Path, pairs: &[(&str, &str)]) {
    copy_model(MODEL, folder);
    let path = folder.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views: Vec<(String, TensorView<'_>)> = tensors.tensors();
    let metadata = pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    fs::write(&path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
}

#[test]
fn other_checkpoints_show_none_or_what_they_have() {
    for name in ["gelu-60", "sharded", MODEL] {
        assert_eq!(inspected(Path::new(&fixture(name))), [""; 0], "{name}");
    }
    let folder = tempfile::tempdir().unwrap();
    foreign(folder.path(), &[("quantizations", "2"), ("author", "someone"), ("quantization_of", "none")]);
    assert_eq!(inspected(folder.path()), ["quantization_of: none"]);
}

#[test]
fn metadata_out_of_a_checkpoint_cannot_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let (model, packed) = (folder.path().join("model"), folder.path().join("packed"));
    let long = "x".repeat(1_000);
    foreign(
        &model,
        &[
            ("quantization_a", "\u{1b}[2J\nthreads: 9\r"),
            ("quantization_\u{1b}[0m", "\u{202e}\t"),
            ("quantization_long", &long),
        ],
    );
    run(["pack", model.to_str().unwrap(), packed.to_str().unwrap()], "").ok();
    for model in [model, packed] {
        let lines = inspected(&model);
        assert_eq!(lines[0], "quantization_\\u{1b}[0m: \\u{202e}\\t");
        assert_eq!(lines[1], "quantization_a: \\u{1b}[2J\\nthreads: 9\\r");
        assert!(lines[2].starts_with("quantization_long: xxx") && lines[2].ends_with("x…"), "{lines:?}");
        assert!(lines[2].chars().count() < 310, "{lines:?}");
        assert_eq!(lines.len(), 3);
    }
}

#[test]
fn the_default_model_names_the_calibration_texts_beside_it() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/default"));
    let texts = fs::read(folder.join("calibration.jsonl")).unwrap();
    let found = recipe(folder);
    assert_eq!(found["quantization_calibration_sha256"], sha256(texts), "made on other texts");
    let built_in = run(["inspect"], "").ok();
    for line in shown(&found) {
        assert!(built_in.contains(&format!("metadata:          {line}\n")), "no {line} in {built_in}");
    }
}
