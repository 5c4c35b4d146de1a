//! `crossrank search`, end to end: what it finds, how it ranks and writes it, and what it refuses.
#![cfg(feature = "search")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Ran, fixture, json, run};
use serde_json::{Value, json};
use tempfile::TempDir;

fn everyday(name: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/everyday")).join(name);
    path.into_os_string().into_string().unwrap()
}

/// A small model on the everyday corpus.
fn search(args: &[&str]) -> Ran {
    let (corpus, model) = (everyday("corpus.jsonl"), fixture("gelu-60"));
    run([&["search", "--corpus", &corpus, "--model", &model], args].concat(), "")
}

/// The first stage alone.
fn first(args: &[&str]) -> Ran {
    let corpus = everyday("corpus.jsonl");
    run([&["search", "--corpus", &corpus, "--no-rerank"], args].concat(), "")
}

fn strings<'a>(rows: &'a [Value], key: &str) -> Vec<&'a str> {
    rows.iter().map(|row| row[key].as_str().unwrap()).collect()
}

const QUERY: &str = "red wine on a wool carpet";
const JSONL: [&str; 2] = ["--format", "jsonl"];

fn files(contents: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in contents {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).into_os_string().into_string().unwrap()
}

fn texts() -> std::collections::HashMap<String, String> {
    let text = |object: &Value, key: &str| object[key].as_str().unwrap().to_owned();
    let corpus = json(&fs::read_to_string(everyday("corpus.jsonl")).unwrap());
    corpus.iter().map(|object| (text(object, "id"), text(object, "text"))).collect()
}

#[test]
fn candidates_are_ranked_as_rerank_ranks_them() {
    let candidates = first(&["-q", QUERY, "--format", "jsonl", "--top-k", "30", "--candidates", "30"]).json();
    assert_eq!(candidates.len(), 30);
    let texts = texts();
    let documents: String = strings(&candidates, "document_id")
        .iter()
        .map(|id| json!({"text": texts[*id], "id": id}).to_string() + "\n")
        .collect();
    let model = fixture("gelu-60");
    let ranked = run(["rerank", "-q", QUERY, "--model", &model, "--format", "jsonl"], documents).json();
    let found = search(&["-q", QUERY, "--candidates", "30", "--top-k", "30", "--format", "jsonl"]).json();
    assert_eq!(found.len(), 30);
    for (at, (found, ranked)) in found.iter().zip(&ranked).enumerate() {
        assert_eq!((&found["rank"], &found["document_id"]), (&json!(at + 1), &ranked["id"]));
        for key in ["logit", "score", "tokens", "truncated"] {
            assert_eq!(found[key], ranked[key], "{key}");
        }
        let before = &candidates[found["first_rank"].as_u64().unwrap() as usize - 1];
        assert_eq!(
            (&before["document_id"], &before["first_score"]),
            (&found["document_id"], &found["first_score"])
        );
    }
    // The best ten are what is kept by default, of a hundred.
    let ten = search(&["-q", QUERY, "--format", "jsonl"]).json();
    let hundred = search(&["-q", QUERY, "--format", "jsonl", "--top-k", "100", "--candidates", "100"]).json();
    assert_eq!((ten.len(), hundred.len(), &ten[..]), (10, 100, &hundred[..10]));
}

#[test]
fn keys_stand_in_their_order() {
    let keys = |line: &str| -> Vec<String> {
        let object: indexmap::IndexMap<String, Value> = serde_json::from_str(line).unwrap();
        object.into_keys().collect()
    };
    let out = search(&["-q", QUERY, "--format", "jsonl"]).ok();
    let plain = [
        "query_id",
        "rank",
        "document_id",
        "score",
        "logit",
        "first_rank",
        "first_score",
        "tokens",
        "truncated",
    ];
    for line in out.lines() {
        assert_eq!(keys(line), plain);
    }
    let more = ["--long", "max", "--cascade", "=5", "--fuse", "rrf"];
    let out = search(&[&["-q", QUERY, "--format", "jsonl"], &more[..]].concat()).ok();
    assert_eq!(out.lines().count(), 5);
    for line in out.lines() {
        assert_eq!(keys(line), [&plain[..], &["passage", "stage", "fused"]].concat());
        let row: indexmap::IndexMap<String, Value> = serde_json::from_str(line).unwrap();
        let passage: Vec<_> = row["passage"].as_object().unwrap().keys().collect();
        assert_eq!(passage, ["end_byte", "index", "start_byte", "text"]);
        let passage = &line[line.find("\"passage\":{\"index\":").unwrap()..];
        let at = |key: &str| passage.find(key).unwrap();
        assert!(
            at("\"start_byte\":") < at("\"end_byte\":") && at("\"end_byte\":") < at("\"text\":"),
            "{line}"
        );
    }
    let out = first(&["-q", QUERY, "--format", "jsonl"]).ok();
    let unscored = ["query_id", "rank", "document_id", "first_rank", "first_score", "not_scored"];
    assert!(out.lines().count() == 10 && out.lines().all(|line| keys(line) == unscored));
}

#[test]
fn people_see_how_it_was_searched_and_where_each_result_stood() {
    let out = search(&["-q", QUERY]).ok();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("BM25, k1 = 1.2, b = 0.75: "), "{out}");
    for part in ["no stemming", "no stop words", "400 documents"] {
        assert!(lines[0].contains(part), "{out}");
    }
    // And perhaps what the mark of texts that were cut means.
    assert!((11..=12).contains(&lines.len()), "{out}");
    let rows = search(&["-q", QUERY, "--format", "jsonl"]).json();
    let texts = texts();
    for (line, row) in lines[1..].iter().zip(&rows) {
        let was = format!(" {})", row["first_rank"]);
        let id = row["document_id"].as_str().unwrap();
        let begin: String = texts[id].chars().take(15).collect();
        assert!(line.contains("(was ") && line.contains(&was), "{line}");
        assert!(line.contains(&format!(" {id}: {begin}")), "{line}");
    }
    let several = search(&["--queries", &everyday("queries.tsv"), "--top-k", "2"]).ok();
    assert!(several.contains("\n\ne001: how do I get red wine out of a wool carpet\n1  (was "), "{several}");
    let count = |begin: &str| several.lines().filter(|line| line.starts_with(begin)).count();
    assert_eq!((count("1  (was "), count("2  (was "), count("BM25")), (40, 40, 1));
    let unranked = first(&["-q", QUERY, "--top-k", "1"]).ok();
    assert!(unranked.lines().nth(1).unwrap().starts_with("1  (was 1)  -   e"), "{unranked}");
}

#[test]
fn the_same_search_gives_the_same_bytes_in_twenty_runs() {
    let queries = everyday("queries.tsv");
    let folder = files(&[]);
    let index = path(&folder, "index");
    let args = ["--queries", &queries, "--format", "jsonl", "--top-k", "50"];
    let expected = first(&args).ok();
    assert!(expected.lines().count() > 1000);
    for round in 0..20 {
        let more: &[&str] = if round % 2 == 0 { &["--index", &index] } else { &[] };
        assert!(first(&[&args, more].concat()).ok() == expected, "{round}");
    }
    let ranked = search(&args).ok();
    for threads in ["1", "2", "5"] {
        assert!(search(&[&args[..], &["--threads", threads, "--index", &index]].concat()).ok() == ranked);
    }
}

#[test]
fn an_index_is_kept_and_said_to_be_stale() {
    let folder = files(&[("c.tsv", "a\trivers run\nb\tbread bakes\n"), ("other/file", "mine")]);
    let (corpus, index) = (path(&folder, "c.tsv"), path(&folder, "index"));
    let args = [
        "search",
        "--corpus",
        &corpus,
        "--index",
        &index,
        "--no-rerank",
        "-q",
        "rivers",
        "--format",
        "jsonl",
    ];
    let found = |ran: Ran| strings(&ran.json(), "document_id").join(" ");
    assert_eq!(found(run(args, "")), "a");
    let manifest = || fs::read(Path::new(&index).join("crossrank-index.json")).unwrap();
    let before = manifest();
    assert_eq!(found(run(args, "")), "a");
    assert_eq!(manifest(), before);
    fs::write(&corpus, "a\tbread bakes\nb\trivers run\n").unwrap();
    let ran = run(args, "");
    let note = format!("crossrank: note: {index}: the index is built anew: the corpus has changed\n");
    assert_eq!(
        (ran.code, &*ran.stderr, json(&ran.stdout)[0]["document_id"].as_str()),
        (Some(0), &*note, Some("b"))
    );

    let other = path(&folder, "other");
    let args = ["search", "--corpus", &corpus, "--index", &other, "--no-rerank", "-q", "rivers"];
    assert!(run(args, "").error().contains("found `file` in it: this folder is not touched"));
    assert_eq!(fs::read_to_string(path(&folder, "other/file")).unwrap(), "mine");
    let args = ["search", "--corpus", "-", "--index", &index, "--no-rerank", "-q", "rivers"];
    assert_eq!(run(args, "a\tb\n").error(), "--index: expected a corpus that is a file, found stdin");
}

#[test]
fn corpora_have_several_forms() {
    let beir =
        "{\"_id\":\"a\",\"title\":\"Rivers\",\"text\":\"They run.\"}\n{\"_id\":2,\"text\":\"Bread.\"}\n";
    let folder = files(&[
        ("beir/corpus.jsonl", beir),
        ("beir/queries.jsonl", "{\"_id\":7,\"text\":\"rivers run\"}\n"),
    ]);
    let beir_folder = path(&folder, "beir");
    let args =
        ["search", "--corpus", &beir_folder, "--queries", &beir_folder, "--model", &fixture("gelu-60")];
    let rows = run([&args[..], &JSONL, &["--long", "max"]].concat(), "").json();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["query_id"], &rows[0]["document_id"]), (&json!("7"), &json!("a")));
    // Title and text are one.
    assert_eq!(rows[0]["passage"]["text"], "Rivers They run.");
    let marco = "1\thttp://x\tRivers\tThey run.\n2\thttp://y\t\tBread.\n";
    let ran = run(["search", "--corpus", "-", "-q", "rivers", "--no-rerank", "--format", "jsonl"], marco);
    assert_eq!(strings(&ran.json(), "document_id"), ["1"]);
}

#[test]
fn candidates_may_come_from_a_run() {
    let run_lines = "e003 Q0 e003-02 1 0.5 x\ne001 Q0 e001-03 9 3 x\ne001 Q0 gone 1 5 x\ne001 Q0 e001-01 1 4 x\n\
                     e001 Q0 also-gone 1 1 x\nstranger Q0 e001-01 1 1 x\n";
    let queries = "e001\tred wine\ne002\tnothing\ne003\tdeposit\n";
    let folder = files(&[("run", run_lines), ("q.tsv", queries)]);
    let (run_file, queries) = (path(&folder, "run"), path(&folder, "q.tsv"));
    let args = ["--queries", &queries, "--run", &run_file, "--format", "jsonl"];
    let ran = first(&args);
    assert_eq!(ran.code, Some(0));
    let rows = json(&ran.stdout);
    assert_eq!(strings(&rows, "document_id"), ["e001-01", "e001-03", "e003-02"]);
    assert_eq!((&rows[1]["first_rank"], &rows[1]["first_score"]), (&json!(2), &json!(3.0)));
    let notes: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(notes.len(), 3, "{}", ran.stderr);
    assert!(notes[0].ends_with("run: 2 lines name documents that the corpus lacks: the first is `gone`"));
    assert!(notes[1].ends_with("run: no lines for 1 of 3 queries, which have no results"));
    assert!(notes[2].ends_with("run: lines of 1 queries that were not asked are left out"));
    let ranked = json(&search(&args).stdout);
    assert_eq!(ranked.len(), 3);
    assert!(ranked.iter().all(|row| row["logit"].is_number()));
    // One that is no run is an error that names its line.
    fs::write(&run_file, "e001 Q0 e001-03 9 3 x\ne001 Q0 e001-04 1\n").unwrap();
    assert!(search(&args).error().contains("run: line 2: "));
}

#[test]
fn options_of_ranking_are_those_of_rerank() {
    let all = |more: &[&str]| search(&[&["-q", QUERY, "--top-k", "100"], &JSONL[..], more].concat());
    let plain = all(&[]).json();
    let least = plain[4]["score"].as_f64().unwrap();
    assert_eq!(all(&["--min-score", &format!("{least:.17}")]).json(), plain[..5]);
    let fused = all(&["--fuse", "rrf"]).json();
    for row in &fused {
        let rank = 1 + plain.iter().position(|other| other["document_id"] == row["document_id"]).unwrap();
        let expected = 1.0 / (60.0 + rank as f64) + 1.0 / (60.0 + row["first_rank"].as_f64().unwrap());
        assert!((row["fused"].as_f64().unwrap() - expected).abs() < 1e-6, "{row}");
    }
    let by_first = all(&["--fuse", "weight=0"]).json();
    assert!(by_first.is_sorted_by_key(|row| row["first_rank"].as_u64()));
    let kept = all(&["--cascade", ":int8=20,:f32=4"]).json();
    assert!(kept.len() == 4 && kept.iter().all(|row| row["stage"] == 1));
    assert!(all(&["--stride", "3"]).error().starts_with("--stride: "));
    assert!(all(&["--model", "no-such-folder"]).usage_error().contains("--model"));
    let none = all(&["--budget-ms", "0"]);
    assert_eq!(none.stderr, "crossrank: note: query `1`: 100 of 100 documents were not scored within 0 ms\n");
    let rows = json(&none.stdout);
    assert!(
        rows.len() == 100
            && rows.iter().all(|row| row["not_scored"] == true && row["rank"] == row["first_rank"])
    );
    assert_eq!(all(&["--budget-ms", "0", "--min-score", "0"]).stdout, "");
}

#[test]
fn the_first_stage_is_given_where_that_is_asked_for() {
    let corpus = everyday("corpus.jsonl");
    let args = ["search", "--corpus", &corpus, "--model", "no-such-folder", "-q", QUERY, "--format", "jsonl"];
    assert!(run(args, "").error().contains("no-such-folder"));
    let ran = run([&args[..], &["--fallback", "first-stage"]].concat(), "");
    assert!(
        ran.stderr.ends_with("; nothing is ranked, and results are in the first stage's order\n"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stdout, first(&["-q", QUERY, "--format", "jsonl"]).ok());
    // A query that does not fit, among others.
    let long = format!("a\t{}\nb\tred wine\n", "red wine ".repeat(600));
    let short: String = (0..12).map(|i| format!("d{i}\tred wine {i}\n")).collect();
    let folder = files(&[("q.tsv", &long), ("c.tsv", &short)]);
    let (corpus, queries, model) = (path(&folder, "c.tsv"), path(&folder, "q.tsv"), fixture("gelu-60"));
    let args =
        ["search", "--corpus", &corpus, "--queries", &queries, "--model", &model, "--truncation", "error"];
    let args = [&args[..], &JSONL].concat();
    let error = run(args.clone(), "");
    assert!(error.stderr.starts_with("crossrank: error: query `a`: "), "{}", error.stderr);
    let ran = run([&args[..], &["--fallback", "first-stage"]].concat(), "");
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.starts_with("crossrank: note: query `a`: "), "{}", ran.stderr);
    let rows = json(&ran.stdout);
    let of = |id: &str| rows.iter().filter(|row| row["query_id"] == id).collect::<Vec<_>>();
    assert!(of("a").len() == 10 && of("a").iter().all(|row| row["not_scored"] == true));
    assert!(of("b").len() == 10 && of("b").iter().all(|row| row["logit"].is_number()));
}

#[test]
fn a_run_falls_strictly_in_the_order_of_the_results() {
    let queries = everyday("queries.tsv");
    for more in [
        &[][..],
        &["--no-rerank"],
        &["--fuse", "rrf"],
        &["--fuse", "weight=0.3"],
        &["--cascade", ":int8=30,:f32=30"],
        &["--score", "raw"],
        &["--budget-ms", "0"],
    ] {
        let args = |format| {
            let base = ["--queries", &queries, "--top-k", "30", "--candidates", "40", "--format", format];
            let corpus = everyday("corpus.jsonl");
            let model = fixture("gelu-60");
            run([&["search", "--corpus", &corpus, "--model", &model], &base[..], more].concat(), "")
        };
        let (trec, rows) = (args("trec"), json(&args("jsonl").stdout));
        assert_eq!(trec.code, Some(0), "{}", trec.stderr);
        let lines: Vec<Vec<&str>> = trec.stdout.lines().map(|line| line.split(' ').collect()).collect();
        assert_eq!(lines.len(), rows.len());
        let mut before: Option<(&str, f32)> = None;
        for (line, row) in lines.iter().zip(&rows) {
            let [query, q0, document, rank, score, tag] = line[..] else { panic!("{line:?}") };
            assert_eq!((query, q0, tag), (row["query_id"].as_str().unwrap(), "Q0", "crossrank"));
            assert_eq!((document, rank), (row["document_id"].as_str().unwrap(), &*row["rank"].to_string()));
            let score: f32 = score.parse().unwrap();
            if let Some((_, last)) = before.filter(|(last, _)| *last == query) {
                assert!(score < last, "{line:?}");
            }
            if let (true, Some(logit)) = (more.is_empty(), row["logit"].as_f64()) {
                assert!((f64::from(score) - logit).abs() < 1e-4, "{line:?} {row}");
            }
            before = Some((query, score));
        }
    }
}

#[test]
fn what_is_wrong_is_named() {
    let folder = files(&[
        ("broken.jsonl", "{\"_id\":1,\"text\":\"a\"}\n{\"_id\":2}\n"),
        (
            "double.jsonl",
            "{\"_id\":1,\"text\":\"a\"}\n{\"_id\":2,\"text\":\"b\"}\n{\"_id\":1,\"text\":\"c\"}\n",
        ),
        ("empty.jsonl", ""),
        ("q.tsv", "1\ta\n1\tb\n"),
    ]);
    let corpus =
        |name: &str| run(["search", "--corpus", &path(&folder, name), "-q", "a", "--no-rerank"], "").error();
    assert!(corpus("none.jsonl").contains("none.jsonl: No such file"));
    assert!(corpus("broken.jsonl").contains("broken.jsonl: line 2: expected an object with the key `text`"));
    assert!(corpus("double.jsonl").ends_with("documents 1 and 3 of the corpus have the same id `1`"));
    assert!(corpus("empty.jsonl").ends_with("empty.jsonl: expected lines, found none"));
    assert!(corpus("").contains("expected corpus.jsonl or corpus.tsv in this folder"));
    let twice = first(&["--queries", &path(&folder, "q.tsv"), "--format", "jsonl"]);
    assert!(
        twice.stderr.contains("q.tsv: line 2: id: expected one that no line before has"),
        "{}",
        twice.stderr
    );
    let nothing = first(&["-q", "zzzz qqqq"]);
    assert_eq!(nothing.code, Some(0));
    assert!(nothing.stderr.contains("1 of 1 queries share no word with the corpus"), "{}", nothing.stderr);

    let stdin = ["search", "--corpus", "-", "--queries", "-", "--no-rerank"];
    assert_eq!(run(stdin, "1\ta\n").error(), "--queries: expected a file, since stdin is the corpus");
    for (args, says) in [
        (&[][..], "--query"),
        (&["-q", "a", "--queries", "q"], "cannot be used with"),
        (&["-q", "a", "--run", "r"], "cannot be used with"),
        (&["-q", "a", "--top-k", "0"], "--top-k"),
        (&["-q", "a", "--candidates", "0"], "--candidates"),
        (&["-q", "a", "--format", "csv"], "--format"),
        (&["--queries", "q", "--resume"], "--output"),
        (&["-q", "a", "--output", "o", "--resume"], "cannot be used with"),
        (&["--queries", "q", "--output", "o", "--resume", "--budget-ms", "3"], "--budget-ms"),
        (&["-q", "a", "--no-rerank", "--fuse", "rrf"], "--fuse"),
        (&["-q", "a", "--no-rerank", "--long", "max"], "--long"),
    ] {
        let corpus = everyday("corpus.jsonl");
        let error = run([&["search", "--corpus", &corpus], args].concat(), "").usage_error();
        assert!(error.contains(says), "{args:?}: {error}");
    }
}
