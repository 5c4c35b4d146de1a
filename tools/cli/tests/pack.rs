//! `crossrank pack`, and `inspect --check` of what it writes.

mod common;

use std::fs;
use std::path::Path;

use common::{change_tensor, fixture, reference, run};

fn pack(model: &str, out: &Path, more: &[&str]) -> common::Ran {
    let args = ["pack".as_ref(), model.as_ref(), out.as_os_str()];
    run(args.into_iter().chain(more.iter().map(|arg| arg.as_ref())), "")
}

#[test]
fn a_packed_folder_scores_as_its_source_does() {
    for (name, dtype) in [
        ("gelu-60", "f32"),
        ("gelu-60", "bf16"),
        ("sharded", "f32"),
        ("gelu-new-f16", "bf16"),
        // A limit and an activation that stand in other files than config.json.
        ("modular", "f32"),
        ("modular-mean", "int8"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("packed");
        let stdout = pack(&fixture(name), &out, &["--dtype", dtype]).ok();
        assert!(stdout.contains(&format!("dtype:          {dtype}\n")), "{stdout}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the result is left");
        let (input, _) = reference(name);
        let before = run(["score", "--dtype", dtype, "--model", &fixture(name)], &input).ok();
        assert_eq!(
            run(["score", "--model", out.to_str().unwrap()], &input).ok(),
            before,
            "{name} in {dtype}"
        );
    }
}

/// The head's weights become part of the one file; what its modules are stays beside it.
#[test]
fn a_head_in_modules_keeps_its_settings() {
    let folder = tempfile::tempdir().unwrap();
    let (packed, i8) = (folder.path().join("packed"), folder.path().join("i8"));
    pack(&fixture("modular-mean"), &packed, &[]).ok();
    // It says that it leaves out the pooler that stands unused beside the modules.
    let quantized = run(["quantize".as_ref(), fixture("modular-mean").as_ref(), i8.as_os_str()], "");
    assert_eq!(quantized.code, Some(0), "{}", quantized.stderr);
    for out in [&packed, &i8] {
        for name in
            ["modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "3_Dense/config.json"]
        {
            assert!(out.join(name).exists(), "{name} of {}", out.display());
        }
    }
    assert!(!packed.join("3_Dense/model.safetensors").exists());
    let said = run(["inspect", "--model", packed.to_str().unwrap()], "").ok();
    assert!(said.contains("max length:        60 tokens\n"), "{said}");
    assert!(
        said.contains(
            "mean of all tokens, dense 48 tanh with residual, dense 21 relu with residual, dense 1\n"
        )
    );
}

#[test]
fn an_i8_checkpoint_is_packed_as_what_it_widens_to() {
    let folder = tempfile::tempdir().unwrap();
    let (i8, out) = (folder.path().join("i8"), folder.path().join("packed"));
    run(["quantize".as_ref(), fixture("gelu-60").as_ref(), i8.as_os_str()], "").ok();
    pack(i8.to_str().unwrap(), &out, &[]).ok();
    let (input, _) = reference("gelu-60");
    let score = |model: &Path| run(["score", "--model", model.to_str().unwrap()], &input).ok();
    assert_eq!(score(&i8), score(&out));
}

#[test]
fn the_checksum_is_compared_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("packed");
    pack(&fixture("gelu-60"), &out, &[]).ok();
    let inspect = |model: &str| run(["inspect", "--check", "--model", model], "");
    let out = out.to_str().unwrap();
    assert!(inspect(out).ok().contains("checksum:          matches the data\n"));
    let unpacked = inspect(&fixture("gelu-60")).ok();
    assert!(unpacked.contains("checksum:          none: the checkpoint is not packed\n"), "{unpacked}");

    let weights = Path::new(out).join("model.safetensors");
    change_tensor(Path::new(out), "layer.1.down.panels", |bytes| bytes[0] ^= 1);
    let error = inspect(out).error();
    assert!(error.starts_with(&format!("{}: ", weights.display())), "{error}");
    assert!(
        error.ends_with(
            "`crossrank pack MODEL_DIR OUT_DIR` makes it anew (`--dtype` for another than the checkpoint's)"
        ),
        "{error}"
    );
    run(["inspect", "--model", out], "").ok();
}

#[test]
fn what_cannot_be_packed_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (out, again) = (folder.path().join("packed"), folder.path().join("again"));
    pack(&fixture("gelu-60"), &out, &[]).ok();
    let quantized = run(["quantize".as_ref(), out.as_os_str(), again.as_os_str()], "");
    for error in [pack(out.to_str().unwrap(), &again, &[]).error(), quantized.error()] {
        assert!(
            error.ends_with("expected a checkpoint that is not packed, found one that is packed already"),
            "{error}"
        );
    }
    let error = run(["inspect", "--dtype", "bf16", "--model", out.to_str().unwrap()], "").error();
    assert!(error.starts_with("--dtype: expected f32, "), "{error}");
    let error = pack(&fixture("gelu-60"), &out, &[]).error();
    assert!(
        error.starts_with(&format!("{}: expected a folder that does not exist", out.display())),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn timings_are_of_every_step() {
    let stdout = run(["inspect", "--timings", "--model", &fixture("gelu-60")], "").ok();
    let time = |step: &str| -> f64 {
        let line = stdout.lines().find_map(|line| line.strip_prefix(&format!("{step}:")));
        let line = line.unwrap_or_else(|| panic!("no {step} in {stdout}"));
        line.trim().strip_suffix(" ms").unwrap().parse().unwrap()
    };
    let steps = ["files", "thread pool", "config", "tokenizer", "headers", "weights", "first score"];
    let sum: f64 = steps.into_iter().map(time).sum();
    assert!(sum > 0.0 && sum <= time("total") + 0.1, "{stdout}");
}
