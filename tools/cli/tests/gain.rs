//! From a corpus to a measured gain: `crossrank search`, `eval`, and `eval --against-first-stage`.
#![cfg(feature = "search")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use common::{fixture, json, run};
use serde_json::Value;

fn everyday(name: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data/everyday")).join(name);
    path.into_os_string().into_string().unwrap()
}

/// `eval --against-first-stage` of the small corpus with some of its queries, which are a file.
fn gain(queries: &str, more: &[&str]) -> common::Ran {
    let (corpus, qrels, model) = (everyday("corpus.jsonl"), everyday("qrels.txt"), fixture("gelu-60"));
    let own = ["eval", "--against-first-stage", "--corpus", &corpus, "--qrels", &qrels];
    run([&own[..], &["--queries", queries, "--model", &model], more].concat(), "")
}

fn metrics(row: &Value) -> BTreeMap<String, f64> {
    let object = row["metrics"].as_object().unwrap();
    object.iter().map(|(name, value)| (name.clone(), value.as_f64().unwrap())).collect()
}

#[track_caller]
fn near(found: &Value, expected: &Value) {
    let (found, expected) = (metrics(found), metrics(expected));
    assert!(found.keys().eq(expected.keys()) && !found.is_empty(), "{found:?} {expected:?}");
    for (name, value) in &found {
        assert!((value - expected[name]).abs() < 1e-12, "{name}: {value}, expected {}", expected[name]);
    }
}

/// The README's way, in three commands: search without and with the model, compare the runs, and have all of it at once.
#[test]
fn a_gain_is_what_the_two_runs_say() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).into_os_string().into_string().unwrap();
    let (first, reranked, plot) = (file("first.run"), file("reranked.run"), file("gain.svg"));
    let (corpus, queries, qrels) = (everyday("corpus.jsonl"), everyday("queries.tsv"), everyday("qrels.txt"));
    let model = fixture("gelu-60");
    let search = |output: &str, more: &[&str]| {
        let own =
            ["search", "--corpus", &corpus, "--queries", &queries, "--format", "trec", "--output", output];
        run([&own[..], &["--top-k", "30", "--candidates", "30"], more].concat(), "").ok();
    };
    search(&first, &["--no-rerank"]);
    search(&reranked, &["--model", &model]);
    let metrics = ["--metrics", "ndcg@10,mrr,recall@5", "--format", "json"];
    let runs = run([&["eval", "--qrels", &qrels, &first, &reranked], &metrics[..]].concat(), "").json();

    let rows = gain(&queries, &[&metrics[..], &["--depths", "30,1,30,4", "--plot", &plot]].concat()).json();
    assert_eq!(rows.len(), 5, "{rows:?}");
    assert_eq!(rows[0]["stage"], "first");
    assert!(rows.iter().take(4).all(|row| row["ms"].as_f64().unwrap() > 0.0), "{rows:?}");
    let depths: Vec<u64> = rows[1..4].iter().map(|row| row["depth"].as_u64().unwrap()).collect();
    assert_eq!(depths, [1, 4, 30]);
    near(&rows[0], &runs[0]);
    near(&rows[3], &runs[1]);
    // One candidate has no other order.
    near(&rows[1], &runs[0]);
    assert_eq!((rows[1]["delta"].as_f64(), rows[1]["p_value"].as_f64()), (Some(0.0), Some(1.0)));
    let compared = runs.iter().find(|row| row["metric"] == "ndcg@10").unwrap();
    for key in ["permutations", "seed", "p_value"] {
        assert_eq!(rows[3][key], compared[key], "{key}");
    }
    assert!((rows[3]["delta"].as_f64().unwrap() - compared["delta"].as_f64().unwrap()).abs() < 1e-12);
    assert!(rows[3]["delta"].as_f64().unwrap().abs() > 1e-3, "the test would see nothing");
    assert_eq!(rows[4]["queries"], runs[0]["queries"]);

    let svg = fs::read_to_string(plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.matches("<circle").count() == 6, "{svg}");

    // The candidates of a run instead of BM25's, which here are the same.
    let again = gain(&queries, &[&metrics[..], &["--depths", "4,30", "--run", &first]].concat()).json();
    near(&again[0], &rows[0]);
    near(&again[1], &rows[2]);
    near(&again[2], &rows[3]);
}

#[test]
fn the_table_says_what_it_comes_to() {
    let text = gain(&everyday("queries.tsv"), &["--depths", "2,20", "--metrics", "mrr"]).ok();
    assert!(text.starts_with("BM25, k1 = 1.2, b = 0.75: ") && text.contains("; 400 documents\n"), "{text}");
    for part in [
        "first stage",
        "depth 2 ",
        "depth 20 ",
        "Means over all judged queries",
        "(40 of 40 have candidates)",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // A random model helps at one depth or at none, and says so.
    assert!(text.contains("mrr is best at depth ") || text.contains("does not help here"), "{text}");
}

#[test]
fn queries_that_count_for_nothing_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let queries = folder.path().join("queries.tsv").into_os_string().into_string().unwrap();
    let all = fs::read_to_string(everyday("queries.tsv")).unwrap();
    let first = all.lines().next().unwrap();
    let second = all.lines().nth(1).unwrap().split('\t').next().unwrap();
    fs::write(&queries, format!("{first}\n{second}\tzyzzyva\nunjudged\tred wine\n")).unwrap();
    let ran = gain(&queries, &["--depths", "5", "--format", "json", "--metrics", "judged@5"]);
    let missing = "qrels.txt: 38 of 40 queries are not among the queries: they count as 0\n";
    assert!(ran.stderr.contains(missing), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("1 of 40 judged queries have no candidates: they count as 0\n"),
        "{}",
        ran.stderr
    );
    let rows = json(&ran.stdout);
    let whole = metrics(&rows[0])["judged@5"];
    assert_eq!(
        rows.last().unwrap()["queries"],
        serde_json::json!({"judged": 40, "answered": 1, "missing": 39})
    );
    let ran =
        gain(&queries, &["--depths", "5", "--format", "json", "--metrics", "judged@5", "--retrieved-only"]);
    assert!(ran.stderr.contains("they are left out"), "{}", ran.stderr);
    let answered = metrics(&json(&ran.stdout)[0])["judged@5"];
    assert!(whole > 0.0 && (answered - 40.0 * whole).abs() < 1e-12, "{whole} {answered}");

    fs::write(&queries, "unjudged\tred wine\n").unwrap();
    let error = gain(&queries, &[]).error();
    assert!(error.contains("expected a query that") && error.contains("found none among 1"), "{error}");
    fs::write(&queries, format!("{first}\n{first}\n")).unwrap();
    let error = gain(&queries, &[]).error();
    assert!(error.contains("queries.tsv: line 2"), "{error}");
}

#[test]
fn a_cascade_and_fusion_are_measured_too() {
    let queries = everyday("queries.tsv");
    let of = |more: &[&str]| {
        gain(&queries, &[&["--depths", "20", "--format", "json", "--metrics", "ndcg"], more].concat()).json()
    };
    let plain = of(&[]);
    // What the cascade leaves out follows in the first stage's order: nothing is lost, the recall is the same.
    let cascade = of(&["--cascade", ":f32=20,:f32=3"]);
    let fused = of(&["--fuse", "rrf"]);
    near(&cascade[0], &plain[0]);
    assert_ne!(cascade[1]["metrics"], plain[1]["metrics"]);
    assert_ne!(fused[1]["metrics"], plain[1]["metrics"]);
    assert!(cascade[2]["model"].as_str().unwrap().contains(", then "), "{cascade:?}");
}

#[test]
fn options_that_do_not_belong_together_are_refused() {
    let queries = everyday("queries.tsv");
    for more in [
        &["--min-score", "0"][..],
        &["--budget-ms", "5"],
        &["--fallback", "first-stage"],
        &["--per-query"],
        &["--depths", "0"],
        &["some.run"],
    ] {
        gain(&queries, more).usage_error();
    }
    let qrels = everyday("qrels.txt");
    for more in [
        &["--against-first-stage"][..],
        &["some.run", "--corpus", "c.jsonl"],
        &["some.run", "--dtype", "f32"],
        &[],
    ] {
        let error = run([&["eval", "--qrels", &qrels], more].concat(), "").usage_error();
        assert!(error.contains("required"), "{error}");
    }
    let error = gain(&queries, &["--plot", "/"]).error();
    assert!(error.contains("expected the name of a file"), "{error}");
    assert!(gain("-", &["--run", "-"]).error().contains("expected one input from stdin"));
}
