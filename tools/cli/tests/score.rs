//! `crossrank score`.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{command, copy_model, fixture, fixtures, floats, json, reference, run};
use serde_json::Value;

fn score(model: &str, args: &[&str], stdin: impl AsRef<[u8]> + Send) -> common::Ran {
    run([&["score", "--model", &fixture(model)], args].concat(), stdin)
}

fn pair(query: &str, document: &str) -> String {
    serde_json::json!({ "query": query, "document": document }).to_string() + "\n"
}

#[test]
fn every_fixture_has_the_logits_of_transformers_in_the_order_of_the_input() {
    for name in fixtures() {
        let (input, expected) = reference(&name);
        let rows = score(&name, &[], input).json();
        assert_eq!(rows.len(), expected.len(), "{name}");
        for (i, (row, expected)) in rows.iter().zip(&expected).enumerate() {
            assert_eq!(row["index"], i, "{name}");
            assert_eq!(row["tokens"], expected["ids"].as_array().unwrap().len(), "{name} {i}");
            let (logits, expected) = (floats(&row["logits"]), floats(&expected["logits"]));
            assert_eq!(logits.len(), expected.len());
            for (logit, expected) in logits.iter().zip(expected) {
                assert!((logit - expected).abs() <= 1e-4, "{name} {i}: {logit} {expected}");
            }
        }
    }
}

#[test]
fn a_line_has_its_keys_in_order_and_the_shortest_digits() {
    let line = score("gelu-60", &[], pair("a", "b")).ok();
    let row: Value = serde_json::from_str(&line).unwrap();
    let shortest = |value: &Value| (value.as_f64().unwrap() as f32).to_string();
    let (logit, score) = (shortest(&row["logits"][0]), shortest(&row["score"]));
    let tokens = &row["tokens"];
    let expected = format!(
        "{{\"index\":0,\"logits\":[{logit}],\"score\":{score},\"tokens\":{tokens},\"truncated\":false}}\n"
    );
    assert_eq!(line, expected);
}

#[test]
fn several_labels_give_an_array() {
    let rows = score("relu-3-labels", &["--score", "softmax"], pair("a", "b")).json();
    let scores = floats(&rows[0]["score"]);
    assert_eq!(scores.len(), 3);
    assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    let rows = score("relu-3-labels", &[], pair("a", "b")).json();
    assert_eq!(rows[0]["score"], rows[0]["logits"]);
}

#[test]
fn a_bad_line_is_named_and_the_others_are_scored() {
    let good = pair("where do rivers go", "To the sea.");
    let mut input = good.clone().into_bytes();
    input.extend(b"\n[1]\n{\"query\":\"a\"}\n  \r\n\xff\n{\"query\":\"a\",\"document\":2}\n{\"query\n");
    input.extend(good.trim_end().as_bytes());
    let ran = score("gelu-60", &[], &input);
    assert_eq!(ran.code, Some(1));
    let rows = json(&ran.stdout);
    let indexes: Vec<_> = rows.iter().map(|row| row["index"].as_u64().unwrap()).collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4, 5, 6]);
    let alone = score("gelu-60", &[], &good).json();
    for i in [0, 6] {
        assert_eq!((&rows[i]["logits"], &rows[i]["tokens"]), (&alone[0]["logits"], &alone[0]["tokens"]));
    }
    let reasons = [
        "expected a JSON object, found an array",
        "expected an object with the key `document`, found `query`",
        "expected UTF-8, found byte 0xff at column 1",
        "`document`: expected a string, found a number",
        "expected JSON, found at column 7: EOF while parsing a string",
    ];
    let stderr: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!(stderr.len(), reasons.len());
    for (i, (reason, line)) in reasons.iter().zip([3, 4, 6, 7, 8]).enumerate() {
        assert_eq!(rows[1 + i], serde_json::json!({ "index": 1 + i, "error": reason }));
        assert_eq!(stderr[i], format!("crossrank: error: <stdin>: line {line}: {reason}"));
    }
}

#[test]
fn pairs_that_do_not_fit_leave_the_others_their_scores() {
    let long = "the river runs to the sea ".repeat(40);
    let good: String = (0..300).map(|i| pair("where do rivers go", &format!("{i} to the sea"))).collect();
    let expected = score("gelu-60", &[], &good).json();
    assert_eq!(expected.len(), 300);
    let mut input = String::new();
    for (i, line) in good.lines().enumerate() {
        if i % 50 == 7 {
            input += &pair("where do rivers go", &long);
        }
        input += &format!("{line}\n");
    }
    let ran = score("gelu-60", &["--truncation", "error"], input);
    assert_eq!(ran.code, Some(1));
    let rows = json(&ran.stdout);
    let (bad, good): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|row| row.get("error").is_some());
    assert_eq!((bad.len(), good.len(), ran.stderr.lines().count()), (6, 300, 6));
    assert_eq!(bad[0]["index"], 7);
    assert!(bad[0]["error"].as_str().unwrap().starts_with("the pair has "));
    assert!(ran.stderr.starts_with("crossrank: error: <stdin>: line 8: the pair has "), "{}", ran.stderr);
    for (row, expected) in good.iter().zip(&expected) {
        assert_eq!((&row["logits"], &row["score"]), (&expected["logits"], &expected["score"]));
    }
}

#[test]
fn a_tokenizer_without_a_token_for_what_is_unknown_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    copy_model("gelu-60", &model);
    let file = model.join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    tokenizer["model"] =
        serde_json::json!({"type": "Unigram", "unk_id": null, "vocab": [["a", -1.0], ["b", -2.0]]});
    std::fs::write(&file, tokenizer.to_string()).unwrap();
    // BERT's own class has another model.
    let settings = r#"{"tokenizer_class":"PreTrainedTokenizerFast"}"#;
    std::fs::write(model.join("tokenizer_config.json"), settings).unwrap();
    let ran = run(["score", "--model", model.to_str().unwrap()], pair("a", "b"));
    assert_eq!((ran.code, &*ran.stdout), (Some(1), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("`model.unk_id`"), "{}", ran.stderr);
}

#[test]
fn input_that_ends_within_a_line_gives_an_error_line() {
    let whole = pair("a", "b");
    let ran = score("gelu-60", &[], format!("{whole}{}", &whole[..whole.len() - 4]));
    assert_eq!(ran.code, Some(1));
    let rows = json(&ran.stdout);
    assert_eq!(rows.len(), 2);
    assert!(rows[0]["logits"].is_array());
    assert!(rows[1]["error"].as_str().unwrap().starts_with("expected JSON"), "{}", rows[1]);
}

#[test]
fn no_pairs_give_nothing() {
    assert_eq!(score("gelu-60", &[], "").ok(), "");
    assert_eq!(score("gelu-60", &[], "\n\r\n").ok(), "");
}

#[test]
fn options_that_do_not_fit_the_model_fail_before_any_line() {
    let error = score("gelu-60", &["--score", "softmax"], pair("a", "b")).error();
    assert!(error.starts_with("--score: softmax"), "{error}");
    score("gelu-60", &["--threads", "0"], "").usage_error();
    score("gelu-60", &["--top-k", "1"], "").usage_error();
    assert!(run(["score", "no-such-file"], "").error().starts_with("no-such-file: "));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert!(score("gelu-60", &[path], "").error().starts_with(&format!("{path}: ")));
}

/// Lines as they arrive, so that a test can wait for one without waiting forever.
fn lines(stdout: std::process::ChildStdout) -> Receiver<String> {
    let (to, from) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let _ = to.send(line.unwrap());
        }
    });
    from
}

#[test]
fn a_pair_is_answered_while_the_pipe_is_held_open() {
    let mut child = command()
        .args(["score", "--model", &fixture("gelu-60")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines(child.stdout.take().unwrap());
    let next =
        || -> Value { serde_json::from_str(&lines.recv_timeout(Duration::from_secs(60)).unwrap()).unwrap() };

    stdin.write_all(pair("a", "b").as_bytes()).unwrap();
    assert_eq!(next()["index"], 0);
    stdin.write_all((pair("a", "c") + "{bad\n" + &pair("a", "d")).as_bytes()).unwrap();
    assert_eq!(next()["index"], 1);
    assert!(next()["error"].is_string());
    assert_eq!(next()["index"], 3);
    let half = pair("a", "e");
    stdin.write_all(&half.as_bytes()[..10]).unwrap();
    assert!(lines.recv_timeout(Duration::from_millis(300)).is_err(), "half a line was answered");
    stdin.write_all(&half.as_bytes()[10..]).unwrap();
    assert_eq!(next()["index"], 4);
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(lines.recv_timeout(Duration::from_secs(60)).is_err(), "more lines than pairs");
}
