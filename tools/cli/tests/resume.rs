//! `crossrank search --output FILE --resume`: what a run leaves when it is killed, and how it is gone on with.
#![cfg(feature = "search")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use common::{Ran, command, fixture, run};

const QUERIES: usize = 300;

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let corpus: String = (0..60)
            .map(|i| {
                format!(
                    "d{i}\tDocument {i} says that rivers {} run to the sea, {}.\n",
                    i % 7,
                    "bread ".repeat(i % 5)
                )
            })
            .collect();
        fs::write(folder.path().join("corpus.tsv"), corpus).unwrap();
        // Those in between find nothing.
        let text = |i: usize| {
            if i % 3 == 1 { "zzz".to_owned() } else { format!("rivers {} bread {}", i % 7, i % 60) }
        };
        let queries: String = (0..QUERIES).map(|i| format!("q{i}\t{}\n", text(i))).collect();
        fs::write(folder.path().join("queries.tsv"), queries).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn args(&self, format: &str, output: &str, more: &[&str]) -> Vec<String> {
        let text = |path: PathBuf| path.into_os_string().into_string().unwrap();
        let (corpus, queries) = (text(self.path("corpus.tsv")), text(self.path("queries.tsv")));
        let (model, output) = (fixture("gelu-60"), text(self.path(output)));
        let args = ["search", "--corpus", &corpus, "--queries", &queries, "--model", &model];
        let args =
            [&args[..], &["--candidates", "12", "--format", format, "--output", &output], more].concat();
        args.into_iter().map(str::to_owned).collect()
    }

    fn run(&self, format: &str, output: &str, more: &[&str]) -> Ran {
        run(self.args(format, output, more), "")
    }

    /// A run without interruption.
    fn whole(&self, format: &str) -> Vec<u8> {
        let ran = self.run(format, "whole", &[]);
        assert_eq!((ran.code, &*ran.stdout), (Some(0), ""), "{}", ran.stderr);
        assert!(!self.path("whole.partial").exists() && !self.path("whole.partial.json").exists());
        fs::read(self.path("whole")).unwrap()
    }

    /// Starts a run, and kills it as soon as it has written something.
    fn kill_one(&self, format: &str, output: &str) {
        let mut child = command().args(self.args(format, output, &[])).stderr(Stdio::null()).spawn().unwrap();
        let partial = self.path(&format!("{output}.partial"));
        while !fs::metadata(&partial).is_ok_and(|file| file.len() > 0) {
            // Nothing here asks a clock: what never comes about hangs, as a test that fails.
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(partial.exists() && !self.path(output).exists(), "it was done before it could be killed");
    }
}

#[test]
fn what_a_killed_run_left_becomes_what_a_whole_run_gives() {
    for format in ["trec", "jsonl"] {
        let case = Case::new();
        let whole = case.whole(format);
        case.kill_one(format, "out");
        let settings = fs::read(case.path("out.partial.json")).unwrap();
        let left = fs::read(case.path("out.partial")).unwrap();
        assert!(whole.starts_with(&left) && left.len() < whole.len());
        let resume = |partial: &[u8]| {
            fs::write(case.path("out.partial"), partial).unwrap();
            fs::write(case.path("out.partial.json"), &settings).unwrap();
            let ran = case.run(format, "out", &["--resume"]);
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            assert!(ran.stderr.contains("going on behind"), "{}", ran.stderr);
            assert!(fs::read(case.path("out")).unwrap() == whole, "{format}, {} bytes", partial.len());
            assert!(!case.path("out.partial").exists() && !case.path("out.partial.json").exists());
        };
        resume(&left);
        // Cut anywhere: within a line, between two, between queries, before and behind everything.
        let line = whole.iter().rposition(|byte| *byte == b'\n').unwrap();
        let before = whole[..line].iter().rposition(|byte| *byte == b'\n').unwrap();
        for cut in [0, 3, line / 2, before - 1, before, before + 1, line, whole.len()] {
            resume(&whole[..cut]);
        }
    }
}

#[test]
fn a_file_that_is_not_whole_is_neither_replaced_nor_mixed() {
    let case = Case::new();
    case.kill_one("trec", "out");
    let left = fs::read(case.path("out.partial")).unwrap();
    let error = case.run("trec", "out", &[]).error();
    assert!(
        error.contains("out.partial: results of a run that did not end: `--resume` goes on with it"),
        "{error}"
    );
    for (format, more, says) in [
        ("trec", &["--top-k", "3"][..], "other settings: top-k: now 3, then 10"),
        ("trec", &["--fuse", "rrf"], "other settings: fuse: now "),
        ("trec", &["--dtype", "int8"], "other settings: arithmetic: now "),
        ("trec", &["--no-rerank"], "other settings: no-rerank: now true, then false"),
        ("trec", &["--long", "max"], "other settings: long: now "),
        ("jsonl", &[], "other settings: format: now Jsonl, then Trec"),
        ("text", &[], "--resume: expected --format jsonl or trec"),
    ] {
        let error = case.run(format, "out", &[more, &["--resume"]].concat()).error();
        assert!(error.contains(says), "{says}: {error}");
    }
    let queries = fs::read_to_string(case.path("queries.tsv")).unwrap();
    fs::write(case.path("queries.tsv"), queries.replace("bread 4", "bread 5")).unwrap();
    let error = case.run("trec", "out", &["--resume"]).error();
    assert!(error.contains("other settings: queries: now "), "{error}");
    fs::write(case.path("queries.tsv"), queries).unwrap();
    fs::remove_file(case.path("out.partial.json")).unwrap();
    let error = case.run("trec", "out", &["--resume"]).error();
    assert!(error.contains("it says what ") && error.contains("cannot be resumed without"), "{error}");
    assert_eq!(fs::read(case.path("out.partial")).unwrap(), left);
}

#[test]
fn without_anything_to_go_on_with_a_run_begins() {
    let case = Case::new();
    let whole = case.whole("trec");
    fs::write(case.path("out"), "an older result").unwrap();
    let ran = case.run("trec", "out", &["--resume"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(fs::read(case.path("out")).unwrap() == whole);
    // What fails before anything is written leaves what was there.
    fs::create_dir(case.path("folder")).unwrap();
    let error = case.run("trec", "folder", &[]).error();
    assert!(error.contains("folder: expected the name of a file, found a folder"), "{error}");
    let error = case.run("trec", "no/out", &[]).error();
    assert!(error.contains("no/out.partial: "), "{error}");
    let piped = ["search", "--corpus", "-", "--queries"].map(str::to_owned);
    let queries = case.path("queries.tsv").into_os_string().into_string().unwrap();
    let more = ["--no-rerank", "--format", "trec", "--resume", "--output"].map(str::to_owned);
    let out = case.path("piped").into_os_string().into_string().unwrap();
    let ran = run([&piped[..], &[queries], &more[..], std::slice::from_ref(&out)].concat(), "1\trivers\n");
    assert!(ran.error().starts_with("--resume: expected files"));
    assert!(!Path::new(&out).exists());
}

#[test]
fn results_for_people_may_go_to_a_file() {
    let case = Case::new();
    let ran = case.run("text", "out", &[]);
    assert_eq!((ran.code, &*ran.stdout), (Some(0), ""), "{}", ran.stderr);
    let text = fs::read_to_string(case.path("out")).unwrap();
    assert!(text.starts_with("BM25, k1 = 1.2") && text.contains("\nq299: "), "{text}");
}
