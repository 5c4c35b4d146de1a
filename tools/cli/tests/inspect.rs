//! `crossrank inspect`, and what the program says of itself.

mod common;

use common::{copy_model, fixture, fixtures, fixtures_folder, run};

fn facts(args: &[&str]) -> Vec<(String, String)> {
    let output = run([&["inspect"], args].concat(), "").ok();
    output
        .lines()
        .map(|line| line.split_once(':').unwrap_or_else(|| panic!("{line}")))
        .map(|(key, value)| (key.to_owned(), value.trim().to_owned()))
        .collect()
}

#[test]
fn it_says_what_the_model_is_and_how_it_runs() {
    let model = fixture("gelu-new-f16");
    let facts = facts(&["--model", &model, "--threads", "3"]);
    let values = |key: &str| -> Vec<&str> {
        facts.iter().filter(|(k, _)| k == key).map(|(_, value)| &**value).collect()
    };
    for (key, expected) in [
        ("model", &*model),
        ("family", "bert, by `model_type` bert"),
        ("layers", "2"),
        ("hidden size", "64"),
        ("attention heads", "2"),
        ("intermediate size", "96"),
        ("hidden activation", "gelu_new"),
        ("vocabulary", "576"),
        ("positions", "48"),
        ("token types", "2"),
        ("max length", "40 tokens"),
        ("token ids", "its author's, from tokenizer.json"),
        ("head", "first token, dense 64 tanh, dense 1"),
        ("labels", "1"),
        ("score activation", "sigmoid"),
        ("ignored", "bert.embeddings.position_ids"),
        ("dtype", "f32"),
        ("threads", "3"),
    ] {
        assert_eq!(values(key), [expected], "{key}");
    }
    let tensors = values("tensors");
    assert_eq!(tensors.len(), 2, "{tensors:?}");
    assert!(tensors[0].starts_with("F16: 41, ") && tensors[0].ends_with("0.21 MB"), "{tensors:?}");
    assert_eq!(tensors[1], "I64: 1, 48 elements, 0.00 MB");
    assert!(values("packed weights")[0].ends_with(" MB in memory"));
    assert!(crossrank_kernels::Isa::NAMES.contains(&values("instruction set")[0]));
}

#[test]
fn it_says_whose_token_ids_pairs_get() {
    let model = fixture("gelu-new-f16");
    let later = ("token ids".to_owned(), "those of transformers 5.23, from tokenizer.json".to_owned());
    assert!(facts(&["--model", &model, "--tokenizer", "transformers5"]).contains(&later));
    assert!(!facts(&["--model", &model]).contains(&later));
}

/// Everything that is the same on every machine. `CROSSRANK_RECORD_INSPECT=1` writes the file anew.
#[test]
fn what_is_said_of_each_fixture_is_as_recorded() {
    let mut said = String::new();
    for name in fixtures() {
        // By a name that is the same wherever the project lies.
        let mut command = common::command();
        command.args(["inspect", "--threads", "1", "--model", &name]).current_dir(fixtures_folder());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let output = String::from_utf8(output.stdout).unwrap();
        let of_machine = |line: &&str| {
            let keys = [
                "model:",
                "instruction set:",
                "products:",
                "attention:",
                "between steps:",
                "packed weights:",
            ];
            keys.iter().any(|key| line.starts_with(key))
        };
        let lines: Vec<&str> = output.lines().filter(|line| !of_machine(line)).collect();
        assert!(lines.len() > 15, "{output}");
        said += &format!("{name}\n  {}\n", lines.join("\n  "));
    }
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/inspect.txt");
    if std::env::var_os("CROSSRANK_RECORD_INSPECT").is_some() {
        std::fs::write(&file, &said).unwrap();
    }
    let recorded = std::fs::read_to_string(&file).unwrap_or_default();
    for (found, expected) in said.lines().zip(recorded.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(said.lines().count(), recorded.lines().count());
}

#[test]
fn names_out_of_a_checkpoint_cannot_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    copy_model("gelu-new-f16", folder.path());
    let weights = folder.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let name = b"\"bert.embeddings.position_ids\"";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap();
    bytes[at + 1..at + 15].copy_from_slice(br"\u001b[2J \n\t");
    std::fs::write(&weights, bytes).unwrap();
    let output = run(["inspect".as_ref(), "--model".as_ref(), folder.path().as_os_str()], "").ok();
    assert!(output.contains("ignored:           \\u{1b}[2J \\n\\t"), "{output:?}");
    assert!(!output.contains('\u{1b}'));
}

#[test]
fn a_model_that_does_not_load_is_an_error() {
    assert!(run(["inspect", "--model", "no-such-model"], "").error().starts_with("no-such-model: "));
}

#[test]
fn help_says_what_users_must_know() {
    let help = |command: &str| run([command, "--help"], "").ok();
    for (command, parts) in [
        ("rerank", &[".jsonl or .ndjson", "`text`", "--label", "a blank line is a document"][..]),
        ("score", &["Blank lines are skipped", "`query`", "--truncation"]),
        ("quantize", &["F32 scale for each row", "Its metadata say", "<OUT_DIR>"]),
        ("inspect", &["--model", "--check", "--timings"]),
        ("pack", &["the same bits", "--dtype", "<OUT_DIR>"]),
        ("bench", &["by nearest rank", "peak_rss_mb", "at least 3 runs", "default: 3"]),
    ] {
        let help = help(command).split_whitespace().collect::<Vec<_>>().join(" ");
        for part in parts {
            assert!(help.contains(part), "{command}: no {part:?} in {help}");
        }
    }
    assert!(run(["--help"], "").ok().contains("141"));
    assert!(run(["--version"], "").ok().starts_with("crossrank "));
}
