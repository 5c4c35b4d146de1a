//! `crossrank rerank` beyond one model and one window: passages, cascades, budgets, fusion, scaled scores.

mod common;

use common::{Ran, fixture, json, run};
use serde_json::{Value, json};

const QUERY: &str = "where do rivers go";

fn rerank(args: &[&str], stdin: impl AsRef<[u8]> + Send) -> Ran {
    let model = fixture("gelu-60");
    run([&["rerank", "-q", QUERY, "--model", &model, "--format", "jsonl"], args].concat(), stdin)
}

fn lines(texts: &[impl AsRef<str>]) -> String {
    texts.iter().map(|text| json!({ "text": text.as_ref() }).to_string() + "\n").collect()
}

fn indices(rows: &[Value]) -> Vec<u64> {
    rows.iter().map(|row| row["index"].as_u64().unwrap()).collect()
}

fn documents() -> Vec<String> {
    (0..12).map(|i| format!("Document {i} says: {}.", "rivers run to the sea, ".repeat(i % 4 + 1))).collect()
}

#[test]
fn a_long_document_has_the_passage_that_won() {
    let sentences: Vec<String> = (0..30).map(|i| format!("Bread {i} é is baked, 東京 says.")).collect();
    let long = sentences.join(" ") + " Rivers run to the sea. " + &sentences.join(" ");
    let rows = rerank(&["--long", "max", "--stride", "5"], lines(&[&long, "short"])).json();
    let row = rows.iter().find(|row| row["index"] == 0).unwrap();
    let passage = &row["passage"];
    let range =
        passage["start_byte"].as_u64().unwrap() as usize..passage["end_byte"].as_u64().unwrap() as usize;
    assert_eq!(passage["text"], long[range]);
    assert!(passage["index"].as_u64().is_some() && row["truncated"] == false);
    // As that text alone.
    let alone = rerank(&[], lines(&[passage["text"].as_str().unwrap()])).json();
    assert_eq!(alone[0]["logit"], row["logit"]);
    let short = rows.iter().find(|row| row["index"] == 1).unwrap();
    assert_eq!(short["passage"], json!({"index": 0, "start_byte": 0, "end_byte": 5, "text": "short"}));

    let mean = rerank(&["--long", "mean"], lines(&[&long])).json();
    assert!(mean[0]["logit"].as_f64() < row["logit"].as_f64());
    let cut = rerank(&[], lines(&[&long])).json();
    assert_eq!((&cut[0]["truncated"], cut[0].get("passage")), (&Value::from(true), None));
    let table = run(["rerank", "-q", QUERY, "--model", &fixture("gelu-60"), "--long", "max"], &long).ok();
    assert!(table.contains(&passage["text"].as_str().unwrap()[..20]), "{table}");

    assert!(rerank(&["--stride", "3"], "a").error().starts_with("--stride: "));
    assert!(
        rerank(&["--long", "max", "--stride", "9999"], "a").error().starts_with("--stride: expected fewer")
    );
}

#[test]
fn the_caller_may_have_keys_that_are_ours_in_other_calls() {
    let line = r#"{"text":"a","passage":1,"stage":2,"fused":3,"not_scored":4}"#;
    let row = &rerank(&["--long", "max", "--cascade", "=1"], line).json()[0];
    assert_eq!(row["input"], json!({"passage": 1, "stage": 2, "fused": 3, "not_scored": 4}));
    assert_eq!(row["passage"]["text"], "a");
    assert_eq!(row["stage"], 0);
}

#[test]
fn a_cascade_scores_again_what_it_keeps() {
    let texts = lines(&documents());
    let first = rerank(&["--dtype", "int8"], &texts).json();
    let other = fixture("sharded");
    let second = run(["rerank", "-q", QUERY, "--model", &other, "--format", "jsonl"], &texts).json();
    let mut kept = indices(&first)[..6].to_vec();
    let best: Vec<&Value> =
        second.iter().filter(|row| kept.contains(&row["index"].as_u64().unwrap())).collect();
    let rows = rerank(&["--cascade", &format!(":int8=6,{other}=4")], &texts).json();
    assert_eq!(rows.len(), 4, "the last model keeps so many");
    for (row, best) in rows.iter().zip(best) {
        assert_eq!((&row["index"], &row["logit"]), (&best["index"], &best["logit"]));
        assert_eq!(row["stage"], 1);
        kept.retain(|index| *index != row["index"].as_u64().unwrap());
    }
    assert_eq!(kept.len(), 2);
    let rows = rerank(&["--cascade", &format!(":int8=6,{other}=4"), "--top-k", "2"], &texts).json();
    assert_eq!(rows.len(), 2);
    for bad in ["m=0", "=", "m", ":int9=3"] {
        let error = rerank(&["--cascade", bad], "a").usage_error();
        assert!(error.contains("--cascade"), "{error}");
    }
    assert!(rerank(&["--cascade", "no-such-folder=3"], "a").error().contains("no-such-folder"));
}

#[test]
fn what_no_time_is_left_for_is_said_and_follows_in_its_order() {
    let texts = lines(&documents());
    let ran = rerank(&["--budget-ms", "0"], &texts);
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.stderr, "crossrank: note: <stdin>: 12 of 12 documents were not scored within 0 ms\n");
    let rows = json(&ran.stdout);
    assert_eq!(indices(&rows), (0..12).collect::<Vec<_>>());
    for (i, row) in rows.iter().enumerate() {
        assert_eq!((&row["rank"], &row["not_scored"]), (&Value::from(i + 1), &Value::from(true)));
        assert!(row.get("score").is_none() && row.get("logit").is_none());
    }
    assert_eq!(json(&rerank(&["--budget-ms", "0", "--top-k", "5"], &texts).stdout).len(), 5);
    assert_eq!(rerank(&["--budget-ms", "0", "--min-score", "0"], &texts).stdout, "");
    let table = run(["rerank", "-q", QUERY, "--budget-ms", "0", "--model", &fixture("gelu-60")], "a\n");
    assert!(table.stdout.contains("- (not scored) a"), "{}", table.stdout);

    let far = rerank(&["--budget-ms", "3600000"], &texts).json();
    assert_eq!(far, rerank(&[], &texts).json());
}

#[test]
fn the_first_stage_is_given_where_that_is_asked_for_and_only_then() {
    let texts = lines(&documents());
    let missing = ["rerank", "-q", QUERY, "--format", "jsonl", "--model", "no-such-folder"];
    assert!(run(missing, &texts).error().contains("no-such-folder"));
    let ran = run([&missing[..], &["--fallback", "first-stage"]].concat(), &texts);
    assert_eq!(ran.code, Some(0));
    assert!(ran.stderr.starts_with("crossrank: note: no-such-folder"), "{}", ran.stderr);
    assert!(
        ran.stderr.ends_with("; nothing was ranked, and the documents follow as they came\n"),
        "{}",
        ran.stderr
    );
    let rows = json(&ran.stdout);
    assert_eq!(indices(&rows), (0..12).collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row["not_scored"] == true && row.get("score").is_none()));
    // A call that goes well is the same with it.
    assert_eq!(rerank(&["--fallback", "first-stage"], &texts).json(), rerank(&[], &texts).json());
    // Wrong options of the call are found by the engine, and are no less an error of ranking.
    let wrong = rerank(&["--fallback", "first-stage", "--stride", "3"], &texts);
    assert!(wrong.stderr.contains("--stride") && json(&wrong.stdout).len() == 12);
}

#[test]
fn the_first_stage_counts_by_rank_or_by_score() {
    let texts = documents();
    let alone = rerank(&[], lines(&texts)).json();
    let rows = rerank(&["--fuse", "rrf"], lines(&texts)).json();
    let rank = |index: u64| 1 + alone.iter().position(|row| row["index"] == index).unwrap();
    let fused = |index: u64| 1.0 / (60.0 + rank(index) as f64) + 1.0 / (61.0 + index as f64);
    for row in &rows {
        let expected = fused(row["index"].as_u64().unwrap());
        assert!((row["fused"].as_f64().unwrap() - expected).abs() < 1e-6, "{row}");
    }
    assert!(rows.is_sorted_by(|a, b| a["fused"].as_f64() >= b["fused"].as_f64()));
    assert_ne!(indices(&rows), indices(&alone));

    let scored: String = texts
        .iter()
        .enumerate()
        .map(|(i, text)| json!({"text": text, "bm25": i * i, "first_score": 0}).to_string() + "\n")
        .collect();
    let weight =
        |weight| indices(&rerank(&["--fuse", weight, "--first-score-field", "bm25"], &scored).json());
    assert_eq!(weight("weight=0"), (0..12).rev().collect::<Vec<_>>());
    assert_eq!(weight("weight=1"), indices(&alone));
    for bad in ["weight=2", "weight=x", "sum"] {
        assert!(rerank(&["--fuse", bad], "a").usage_error().contains("--fuse"));
    }
    let error = rerank(&["--fuse", "weight=0.5"], lines(&texts)).error();
    assert!(error.starts_with("<stdin>: line 1: ") && error.contains("`first_score`"), "{error}");
    let text = rerank(&["--fuse", "weight=0.5", "--input", "text"], "a").error();
    assert!(text.contains("found a line of text"), "{text}");
}

#[test]
fn scores_are_fitted_to_judgements_and_scale_others() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("score-scaling.json");
    let file = file.to_str().unwrap();
    let model = fixture("gelu-60");
    let documents: Vec<String> =
        (0..60).map(|i| format!("document {i} {}", "rivers ".repeat(i % 7))).collect();
    let lines_of = |relevant: &dyn Fn(usize) -> Value| -> String {
        let line = |(i, text): (usize, &String)| {
            json!({"query": QUERY, "document": text, "relevant": relevant(i)}).to_string() + "\n"
        };
        documents.iter().enumerate().map(line).collect()
    };
    let pairs = lines_of(&|_| Value::from(true));
    let logits: Vec<f64> = run(["score", "--model", &model], &pairs)
        .json()
        .iter()
        .map(|row| row["logits"][0].as_f64().unwrap())
        .collect();
    let mut sorted = logits.clone();
    sorted.sort_by(f64::total_cmp);
    // Mostly the upper half, in all forms.
    let judged = lines_of(&|i| {
        let upper = (logits[i] > sorted[30]) != (i % 9 == 0);
        if i % 2 == 0 { Value::from(upper) } else { Value::from(f64::from(u8::from(upper)) * 0.5) }
    });
    let fit = |stdin: &str| run(["fit-scores", "--model", &model, "--output", file], stdin);
    let ran = fit(&judged);
    assert_eq!((ran.code, &*ran.stdout), (Some(0), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("of 60 judgements"), "{}", ran.stderr);
    let stored: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let (slope, offset) = (stored["slope"].as_f64().unwrap(), stored["offset"].as_f64().unwrap());
    assert!(slope > 0.0 && stored["judgements"] == 60);

    let expected = |logit: &Value| 1.0 / (1.0 + (-(slope * logit.as_f64().unwrap() + offset)).exp());
    let scaled = run(["score", "--model", &model, "--scaling", file], &pairs).json();
    for row in &scaled {
        assert!((row["score"].as_f64().unwrap() - expected(&row["logits"][0])).abs() < 1e-6, "{row}");
    }
    let texts = lines(&documents);
    let (plain, ranked) = (rerank(&[], &texts).json(), rerank(&["--scaling", file], &texts).json());
    assert_eq!(indices(&plain), indices(&ranked), "scaling changes no order");
    for row in &ranked {
        assert!((row["score"].as_f64().unwrap() - expected(&row["logit"])).abs() < 1e-6, "{row}");
    }
    assert_ne!(plain[0]["score"], ranked[0]["score"]);

    // Of another model, and what is no such file.
    let other = fixture("no-pooler");
    let error = run(["score", "--model", &other, "--scaling", file], &pairs).error();
    assert!(error.contains("`model`: expected the one in use"), "{error}");
    let mut broken = stored.clone();
    broken["slope"] = Value::from(-1.0);
    std::fs::write(file, broken.to_string()).unwrap();
    assert!(rerank(&["--scaling", file], "a").error().contains("slope above 0"));
    std::fs::write(file, "{}").unwrap();
    assert!(rerank(&["--scaling", file], "a").error().contains("fit-scores"));
    rerank(&["--scaling", file, "--score", "raw"], "a").usage_error();

    let mut lines: Vec<&str> = judged.lines().collect();
    lines[3] = r#"{"query":"a","document":"b","relevant":"yes"}"#;
    let error = fit(&lines.join("\n")).error();
    assert!(error.starts_with("<stdin>: line 4: `relevant`: expected true, false or a number"), "{error}");
    assert!(fit(&pairs).error().contains("found 60 and 0"));
    assert!(run(["fit-scores", "--output", "/no/such/folder/x"], &judged).code == Some(1));
}

#[test]
fn a_query_may_take_three_quarters() {
    let query = "where do rivers go ".repeat(50);
    let model = fixture("gelu-60");
    let run_with = |truncation: &str| {
        let args =
            ["rerank", "-q", &query, "--model", &model, "--format", "jsonl", "--truncation", truncation];
        run(args, "rivers run to the sea ".repeat(50)).json()[0]["logit"].clone()
    };
    assert_ne!(run_with("query-quarters"), run_with("longest-first"));
}
