//! `crossrank bench`. What it measures is never asserted, only that it measures what it says.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{command, fixture, json, run};
use serde_json::{Value, json};

const KEYS: [&str; 13] = [
    "workload",
    "dtype",
    "threads",
    "isa",
    "pairs",
    "tokens",
    "runs",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "tokenise_ms",
    "forward_ms",
    "peak_rss_mb",
];

/// Little time: what is looked at does not depend on it.
fn bench(args: &[&str]) -> common::Ran {
    run([&["bench", "--seconds", "0.02"], args].concat(), "")
}

struct File {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn new(contents: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workloads.json");
        fs::write(&path, contents).unwrap();
        Self { _folder: folder, path }
    }

    fn path(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

/// Out of the alphabet's order, with lengths that differ and one text beyond the window.
fn workloads() -> Value {
    json!({
        "z": { "query": "where do rivers go", "docs": ["To the sea.", "", "the river runs ".repeat(40)] },
        "a": { "query": "", "docs": ["Bread is baked in an oven."] },
    })
}

/// Written by hand: `serde_json::Value` sorts keys.
fn written() -> String {
    let all = workloads();
    format!("{{\n  \"z\": {},\n  \"a\": {}\n}}\n", all["z"], all["a"])
}

/// What `score` counts for the same texts.
fn tokens(model: &str, workload: &Value) -> u64 {
    let lines: String = workload["docs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|document| json!({ "query": workload["query"], "document": document }).to_string() + "\n")
        .collect();
    let rows = run(["score", "--model", &fixture(model)], lines).json();
    rows.iter().map(|row| row["tokens"].as_u64().unwrap()).sum()
}

#[test]
fn json_has_a_line_for_each_workload_and_thread_count() {
    let (file, all) = (File::new(written()), workloads());
    let model = "relu-3-labels";
    let args =
        ["--model", &fixture(model), "--workload", file.path(), "--threads", "2,1", "--format", "json"];
    let lines = bench(&args).ok();
    let rows = json(&lines);
    let which: Vec<_> =
        rows.iter().map(|row| (row["workload"].as_str().unwrap(), row["threads"].as_u64())).collect();
    assert_eq!(which, [("z", Some(2)), ("z", Some(1)), ("a", Some(2)), ("a", Some(1))]);
    for (line, row) in lines.lines().zip(&rows) {
        let places: Vec<_> = KEYS.iter().map(|key| line.find(&format!("\"{key}\":")).expect(key)).collect();
        assert!(places.is_sorted(), "{line}");
        assert_eq!(row.as_object().unwrap().len(), KEYS.len(), "{line}");

        let workload = &all[row["workload"].as_str().unwrap()];
        assert_eq!(row["pairs"], workload["docs"].as_array().unwrap().len());
        assert_eq!(row["tokens"], tokens(model, workload));
        assert_eq!(row["dtype"], "f32");
        assert!(row["isa"].is_string());
        assert!(row["runs"].as_u64().unwrap() >= 3, "{line}");
        let [p50, p90, p99, tokenise, forward] = [7, 8, 9, 10, 11].map(|i| row[KEYS[i]].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p90 && p90 <= p99, "{line}");
        assert!(forward > 0.0 && (tokenise - (p50 - forward).max(0.0)).abs() < 1e-3, "{line}");
        match row["peak_rss_mb"].as_f64() {
            // A process that runs at all has a megabyte.
            Some(megabytes) => assert!((1.0..10_000.0).contains(&megabytes), "{line}"),
            None => assert!(row["peak_rss_mb"].is_null() && !cfg!(target_os = "linux"), "{line}"),
        }
    }
}

#[test]
fn memory_is_that_of_each_measurement_alone() {
    if !cfg!(target_os = "linux") {
        return;
    }
    // The text of the first alone is 8 MB; the second must not be charged for it.
    let large = json!({ "query": "q", "docs": [" ".repeat(8_000_000)] });
    let small = json!({ "query": "q", "docs": ["d"] });
    let file = File::new(format!("{{\"large\": {large}, \"small\": {small}}}"));
    let args = ["--model", &fixture("silu-1-layer"), "--workload", file.path(), "--format", "json"];
    let rows = bench(&args).json();
    let peaks: Vec<_> = rows.iter().map(|row| row["peak_rss_mb"].as_f64().unwrap()).collect();
    assert!(peaks[0] > peaks[1] + 4.0, "{peaks:?}");
}

#[test]
fn without_a_file_there_are_four_workloads() {
    let rows = bench(&["--model", &fixture("silu-1-layer"), "--threads", "1", "--format", "json"]).json();
    let which: Vec<_> =
        rows.iter().map(|row| (row["workload"].as_str().unwrap(), row["pairs"].as_u64().unwrap())).collect();
    assert_eq!(which, [("pair", 1), ("snippets50", 50), ("passages100", 100), ("long16", 16)]);
}

#[test]
fn the_isa_is_the_one_in_force() {
    let file = File::new(written());
    let args =
        ["bench", "--seconds", "0.01", "--format", "json", "--model", &fixture("gelu-60"), "--workload"];
    let output = command().args(args).arg(file.path()).env("CROSSRANK_ISA", "portable").output().unwrap();
    let rows = json(&String::from_utf8(output.stdout).unwrap());
    assert!(output.status.success() && !rows.is_empty());
    for row in rows {
        assert_eq!(row["isa"], "portable");
    }
}

#[test]
fn text_is_a_table_with_the_same_figures() {
    let file = File::new(written());
    let model = fixture("gelu-60");
    let text = bench(&["--model", &model, "--workload", file.path(), "--threads", "1"]).ok();
    let lines: Vec<&str> = text.lines().collect();
    for head in ["workload", "dtype", "p50", "p99", "docs/s", "tokens/s", "of peak", "MB"] {
        assert!(lines[0].contains(head), "no {head:?} in {text}");
    }
    for (line, name) in lines[1..].iter().zip(["z", "a"]) {
        assert_eq!(line.split_whitespace().next(), Some(name), "{text}");
        assert_eq!(line.len(), lines[0].len(), "{text}");
        assert!(line.contains(" f32 ") && line.contains(" % "), "{text}");
    }
    assert!(lines[3..].iter().any(|note| note.starts_with("of peak: ")), "{text}");
}

#[test]
fn hostile_workload_files_are_errors_that_name_the_file_and_the_place() {
    let deep = "[".repeat(100_000);
    let cases: [(&[u8], &str); 11] = [
        (b"", "expected JSON, found EOF while parsing a value at line 1 column 0"),
        (b"\xff{}", "expected UTF-8, found byte 0xff at offset 0"),
        (b"{\n\"a\": x}", "expected JSON, found expected value at line 2 column 6"),
        (deep.as_bytes(), "expected a JSON object of workloads"),
        (b"{}", "expected at least one workload, found none"),
        (b"{\"a\": 1}", "workload `a`: expected a JSON object, found a number"),
        (
            b"{\"a\": {\"query\": \"q\"}}",
            "workload `a`: expected an object with the key `docs`, found `query`",
        ),
        (
            b"{\"a\": {\"query\": \"q\", \"docs\": []}}",
            "workload `a`: `docs`: expected at least one document",
        ),
        (
            b"{\"a\": {\"query\": {}, \"docs\": [\"\"]}}",
            "workload `a`: `query`: expected a string, found an object",
        ),
        (b"{\"a\": {\"query\": \"q\", \"docs\": [\"\", 1]}}", "workload `a`: `docs[1]`: expected a string"),
        (
            b"{\"a\": {\"query\": \"q\", \"docs\": [\"d\"]}, \"a\": {\"query\": \"q\", \"docs\": [\"d\"]}}",
            "workload `a` is there twice",
        ),
    ];
    for (contents, expected) in cases {
        let file = File::new(contents);
        let error = bench(&["--model", &fixture("gelu-60"), "--workload", file.path()]).error();
        let expected = format!("{}: {expected}", file.path());
        assert!(error.starts_with(&expected), "{error}\nexpected {expected}");
    }
    assert!(bench(&["--workload", "no-such-file"]).error().starts_with("no-such-file: "));
}

#[test]
fn a_file_that_is_too_large_is_an_error() {
    let file = File::new("{}");
    fs::File::options().write(true).open(file.path()).unwrap().set_len((256 << 20) + 1).unwrap();
    let error = bench(&["--workload", file.path()]).error();
    assert_eq!(error, format!("{}: expected at most 256 MiB, found more", file.path()));
}

#[test]
fn errors_of_the_process_that_measures_are_the_commands() {
    assert!(bench(&["--model", "no-such-model"]).error().starts_with("no-such-model: "));
    let mut child = run(["bench-one", "--seconds", "1"], "not a workload\n");
    assert_eq!(child.code, Some(1));
    assert!(child.stderr.split_off(0).starts_with("crossrank: error: <stdin>: "));
}

#[test]
fn wrong_usage_is_a_usage_error() {
    for (args, named) in [
        (["--seconds", "0"], "above 0"),
        (["--seconds", "nan"], "above 0"),
        (["--seconds", "1e30"], "above 0"),
        (["--threads", "1,0"], "1..=1024"),
        (["--threads", ""], "--threads"),
        (["--dtype", "f32,f31"], "f31"),
        (["--format", "xml"], "json"),
    ] {
        let error = run(["bench"].iter().chain(&args), "").usage_error();
        assert!(error.contains(named), "{args:?}: {error}");
    }
}
