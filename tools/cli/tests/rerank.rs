//! `crossrank rerank`.

mod common;

use common::{fixture, floats, json, reference, run};
use serde_json::Value;

const QUERY: &str = "where do rivers go";

/// Runs `rerank` with the query and a small model; `args` follow.
fn rerank(args: &[&str], stdin: impl AsRef<[u8]> + Send) -> common::Ran {
    let model = fixture("gelu-60");
    run([&["rerank", "-q", QUERY, "--model", &model], args].concat(), stdin)
}

fn jsonl(args: &[&str], stdin: impl AsRef<[u8]> + Send) -> Vec<Value> {
    rerank(&[&["--format", "jsonl"], args].concat(), stdin).json()
}

/// Texts in the order of the input.
fn texts(args: &[&str], stdin: &[u8]) -> Vec<String> {
    let mut rows = jsonl(args, stdin);
    rows.sort_by_key(|row| row["index"].as_u64());
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["index"], i);
    }
    rows.iter().map(|row| row["text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_ranking_has_the_logits_of_score_and_its_order() {
    let (_, pairs) = reference("gelu-60");
    let documents: Vec<&str> = pairs.iter().map(|pair| pair["document"].as_str().unwrap()).collect();
    let line =
        |document: &&str| serde_json::json!({ "query": QUERY, "document": document }).to_string() + "\n";
    let lines: String = documents.iter().map(line).collect();
    let scored = run(["score", "--model", &fixture("gelu-60")], lines).json();

    let lines: String =
        documents.iter().map(|text| serde_json::json!({ "text": text }).to_string() + "\n").collect();
    let ranking = jsonl(&[], lines);
    assert_eq!(ranking.len(), documents.len());
    for (i, row) in ranking.iter().enumerate() {
        let index = row["index"].as_u64().unwrap() as usize;
        assert_eq!(row["rank"], i + 1);
        assert_eq!(row["text"], documents[index]);
        assert_eq!(row["logit"], scored[index]["logits"][0]);
        assert_eq!(row["score"], scored[index]["score"]);
        assert_eq!(row["tokens"], scored[index]["tokens"]);
        assert_eq!(row["truncated"], scored[index]["truncated"]);
        let logit = row["logit"].as_f64().unwrap();
        assert!((row["score"].as_f64().unwrap() - 1.0 / (1.0 + (-logit).exp())).abs() < 1e-6);
    }
    let logits: Vec<f64> = ranking.iter().map(|row| row["logit"].as_f64().unwrap()).collect();
    assert!(logits.is_sorted_by(|a, b| a >= b), "{logits:?}");
    assert!(logits[0] > logits[logits.len() - 1]);
}

#[test]
fn a_row_has_our_keys_in_order_then_the_callers() {
    let line =
        r#"{"id":12345678901234567890123,"text":"To the sea.","x":{"b":1.0,"a":[1e999]},"t\u00e9":"\n"}"#;
    let row = rerank(&["--format", "jsonl"], line).ok();
    assert!(row.starts_with(r#"{"rank":1,"index":0,"score":"#), "{row}");
    let tail = r#","truncated":false,"text":"To the sea.","id":12345678901234567890123,"x":{"b":1.0,"a":[1e999]},"té":"\n"}"#;
    assert!(row.ends_with(&format!("{tail}\n")), "{row}");
    let (logit, tokens) = (row.find(",\"logit\":").unwrap(), row.find(",\"tokens\":").unwrap());
    assert!(logit < tokens && tokens < row.find(",\"truncated\":").unwrap(), "{row}");
}

#[test]
fn a_carriage_return_within_a_line_does_not_come_back() {
    let row = rerank(&["--format", "jsonl"], "{\"text\":\"a\",\r\"x\":[1,\r2]\r}\r\n").ok();
    assert!(row.ends_with(",\"text\":\"a\",\"x\":[1, 2]}\n"), "{row:?}");
}

#[test]
fn keys_that_collide_with_ours_come_back_under_input() {
    let line = r#"{"score":3,"a":1,"input":null,"rank":"x","index":[],"logit":{},"tokens":0,"truncated":1,"text":"t"}"#;
    let row = rerank(&["--format", "jsonl"], line).ok();
    let tail = r#""truncated":false,"text":"t","a":1,"input":{"score":3,"input":null,"rank":"x","index":[],"logit":{},"tokens":0,"truncated":1}}"#;
    assert!(row.ends_with(&format!("{tail}\n")), "{row}");
    let row = &json(&row)[0];
    assert_eq!((&row["rank"], &row["index"]), (&Value::from(1), &Value::from(0)));
    assert!(row["score"].as_f64().unwrap() < 1.0);
}

#[test]
fn text_is_a_document_a_line() {
    assert_eq!(texts(&[], b"b\n\na \n"), ["b", "", "a "]);
    assert_eq!(texts(&[], b"b\r\n\r\na"), ["b", "", "a"]);
    assert_eq!(texts(&[], b"\xef\xbb\xbfb\na"), ["b", "a"]);
    assert_eq!(texts(&[], b"\n\n"), ["", ""]);
}

#[test]
fn jsonl_skips_blank_lines_and_needs_no_last_newline() {
    let input = b"\xef\xbb\xbf\r\n{\"text\":\"b\"}\r\n  \n{\"text\":\"\"}\n\n{\"text\":\"a\"}";
    assert_eq!(texts(&["--input", "jsonl"], input), ["b", "", "a"]);
    assert_eq!(texts(&[], input), ["b", "", "a"]);
}

#[test]
fn auto_tells_jsonl_by_the_files_name_or_its_first_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.into_os_string().into_string().unwrap()
    };
    let object = "{\"text\":\"a\"}\n";
    assert_eq!(texts(&[&file("a.txt", object)], b""), ["a"]);
    assert_eq!(texts(&[&file("a.txt", &format!("\n{object}"))], b""), ["a"]);
    assert_eq!(texts(&["--input", "text", &file("a.txt", object)], b""), ["{\"text\":\"a\"}"]);
    assert_eq!(texts(&[&file("a.txt", &format!("  {{ {}", &object[1..]))], b""), ["a"]);
    assert_eq!(texts(&[&file("b.txt", "{a} or {\"b\"}\n")], b""), ["{a} or {\"b\"}"]);
    assert_eq!(texts(&[&file("b.txt", "{}\n")], b""), ["{}"]);
    for broken in ["{\"title\":\"a\"}", "{\"text\":\"a", "{ \"text\" \"a\"}"] {
        let path = file("c.txt", &format!("{broken}\n{object}"));
        let error = rerank(&[&path], "").error();
        assert!(error.starts_with(&format!("{path}: line 1: expected ")), "{error}");
        assert!(error.contains("--input text"), "{error}");
    }
    assert_eq!(texts(&[&file("c.txt", "[1]\n{\"text\":\"a\"}\n")], b""), ["[1]", "{\"text\":\"a\"}"]);
    for name in ["a.jsonl", "a.NDJSON"] {
        let path = file(name, "plain\n");
        let error = rerank(&[&path], "").error();
        assert!(error.starts_with(&format!("{path}: line 1: expected JSON")), "{error}");
        assert!(error.contains("--input text"), "{error}");
        assert_eq!(texts(&["--input", "text", &path], b""), ["plain"]);
    }
}

#[test]
fn a_file_and_stdin_give_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.txt");
    std::fs::write(&path, "To the sea.\nBread.\n").unwrap();
    let from_file = jsonl(&[path.to_str().unwrap()], "");
    assert_eq!(from_file.len(), 2);
    assert_eq!(from_file, jsonl(&["-"], "To the sea.\nBread.\n"));
    assert_eq!(from_file, jsonl(&[], "To the sea.\nBread."));
}

#[test]
fn one_bad_line_is_an_error_that_names_it_and_there_is_no_ranking() {
    for (args, input, expected) in [
        (&[][..], &b"a\nb\xffc\n"[..], "<stdin>: line 2: expected UTF-8, found byte 0xff at column 2"),
        (
            &[],
            b"{\"text\":\"a\"}\n\n{\"text\":\"a",
            "<stdin>: line 3: expected JSON, found at column 10: EOF",
        ),
        (&["--input", "jsonl"], b"[\"text\"]", "<stdin>: line 1: expected a JSON object, found an array"),
        (
            &["--input", "jsonl"],
            b"{\"text\":\"a\"}\n{\"t\":1}",
            "<stdin>: line 2: expected an object with the key `text`, found `t`",
        ),
        (&[], b"{\"text\":1}", "<stdin>: line 1: `text`: expected a string, found a number"),
    ] {
        let error = rerank(&[&["--format", "jsonl"], args].concat(), input).error();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn no_documents_are_an_empty_ranking() {
    for input in ["", "\u{feff}"] {
        for args in [&[][..], &["--format", "jsonl"], &["--input", "jsonl"], &["--input", "text"]] {
            assert_eq!(rerank(args, input).ok(), "");
        }
    }
    assert_eq!(rerank(&["--input", "jsonl"], "\n \n").ok(), "");
}

#[test]
fn top_k_and_min_score_keep_the_best() {
    let input = "To the sea.\nBread is baked.\nRivers run to the sea.\nAt night.\n";
    let all = jsonl(&[], input);
    assert_eq!(jsonl(&["--top-k", "2"], input), all[..2]);
    assert_eq!(jsonl(&["--top-k", "9"], input), all);
    let third = all[2]["score"].to_string();
    assert_eq!(jsonl(&["--min-score", &third], input), all[..3]);
    assert_eq!(jsonl(&["--min-score", "2"], input), [Value::Null; 0]);
    for least in ["-3", "-5e-1", "-inf"] {
        assert_eq!(jsonl(&["--min-score", least], input), all);
    }
}

#[test]
fn scores_are_made_as_asked() {
    let model = jsonl(&[], "To the sea.");
    let raw = jsonl(&["--score", "raw"], "To the sea.");
    assert_eq!(raw[0]["score"], raw[0]["logit"]);
    assert_eq!(jsonl(&["--score", "sigmoid"], "To the sea."), model);
    assert_ne!(raw[0]["score"], model[0]["score"]);
    let error = rerank(&["--score", "softmax"], "To the sea.").error();
    assert!(error.starts_with("--score: softmax over one label"), "{error}");
}

#[test]
fn several_labels_need_a_choice() {
    let model = fixture("relu-3-labels");
    let (_, pairs) = reference("relu-3-labels");
    let (query, document) = (pairs[0]["query"].as_str().unwrap(), pairs[0]["document"].as_str().unwrap());
    let with = |args: &[&str]| {
        run([&["rerank", "-q", query, "--model", &model, "--format", "jsonl"], args].concat(), document)
    };
    assert_eq!(with(&[]).error(), "--label: the model has 3 labels: choose which one ranks, 0 to 2");
    let error = with(&["--label", "3"]).error();
    assert!(error.starts_with("--label: expected one of 0 (`"), "{error}");
    assert!(error.ends_with(", found `3`"), "{error}");
    let logits = floats(&pairs[0]["logits"]);
    let mut sum = 0.0;
    for (label, logit) in logits.iter().enumerate() {
        let row = &with(&["--label", &label.to_string(), "--score", "softmax"]).json()[0];
        assert!((row["logit"].as_f64().unwrap() as f32 - logit).abs() < 1e-4, "{row}");
        sum += row["score"].as_f64().unwrap();
    }
    assert!((sum - 1.0).abs() < 1e-6, "{sum}");
    for (label, name) in ["contradiction", "entailment", "neutral"].into_iter().enumerate() {
        assert_eq!(with(&["--label", name]).ok(), with(&["--label", &label.to_string()]).ok());
    }
    assert!(
        with(&["--label", "0", "--score", "difference"])
            .error()
            .starts_with("--score: the difference of two")
    );
}

#[test]
fn what_does_not_fit_the_window_is_cut_as_asked() {
    let long = "the river runs to the sea ".repeat(40);
    let input = format!("short\n{long}\n");
    let rows = jsonl(&["--max-length", "20"], &input);
    let row = |index| rows.iter().find(|row| row["index"] == index).unwrap();
    assert_eq!((&row(1)["tokens"], &row(1)["truncated"]), (&Value::from(20), &Value::from(true)));
    assert_eq!(row(0)["truncated"], false);
    let error = rerank(&["--truncation", "error"], &input).error();
    assert!(error.starts_with("<stdin>: line 2: the pair has "), "{error}");
    let model = fixture("gelu-60");
    let args = ["rerank", "-q", &long, "--model", &model, "--truncation", "only-document"];
    let error = run(args, "a\n").error();
    assert!(error.starts_with("<stdin>: line 1: the query alone has "), "{error}");
    assert!(rerank(&["--max-length", "3"], "a").error().starts_with("--max-length: 3 tokens"));
}

#[test]
fn text_output_is_a_line_a_document_that_cannot_steer_a_terminal() {
    let long = "the river runs to the sea ".repeat(40);
    let hostile = r#"{"text":"red \u001b[31m\u0007\nnext \u202e line \u009b"}"#;
    let input = format!("{{\"text\":\"{long}\"}}\n{hostile}\n{{\"text\":\"東{long}\"}}\n");
    let output = rerank(&[], &input).ok();
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 4, "{output}");
    assert!(!output.contains(|c: char| c != '\n' && (c.is_control() || c == '\u{202e}')), "{output:?}");
    assert_eq!(lines[3], "* longer than the window of 64 tokens: what is beyond was not read");
    let ranking = jsonl(&[], &input);
    for (line, row) in lines.iter().zip(&ranking) {
        let score = format!("{}  {:.4}  ", row["rank"], row["score"].as_f64().unwrap());
        assert!(line.starts_with(&score), "{line:?} {score:?}");
        assert_eq!(line.contains(" * "), row["truncated"].as_bool().unwrap(), "{line:?}");
        if row["index"] == 1 {
            assert!(line.ends_with("red \u{fffd}[31m\u{fffd} next \u{fffd} line \u{fffd}"), "{line:?}");
        } else {
            assert!(line.ends_with('…'), "{line:?}");
            // 東 takes two columns.
            let wide = line.chars().filter(|&c| c == '東').count();
            assert!((98..=100).contains(&(line.chars().count() + wide)), "{line:?}");
        }
    }
}

#[test]
fn bars_of_raw_scores_run_from_worst_to_best() {
    let output = rerank(&["--score", "raw"], "To the sea.\nBread is baked.\nAt night.\n").ok();
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines[0].contains(&"█".repeat(10)), "{output}");
    assert!(!lines[2].contains(|c| ('▁'..='▏').contains(&c)), "{output}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for (args, named) in [
        (&["--top-k", "0"][..], "--top-k"),
        (&["--top-k", "-1"], "-1"),
        (&["--threads", "0"], "--threads"),
        (&["--threads", "1000000"], "1..=1024"),
        (&["--max-length", "0"], "--max-length"),
        (&["--min-score", "nan"], "--min-score"),
        (&["--min-score", "high"], "--min-score"),
        (&["--min-score", "--top-k"], "--min-score"),
        (&["--dtype", "f64"], "--dtype"),
        (&["--score", "best"], "--score"),
        (&["--truncation", "none"], "--truncation"),
        (&["--label", "-1"], "-1"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let error = rerank(args, "a").usage_error();
        assert!(error.contains(named), "{error}");
    }
    assert!(run(["rerank"], "a").usage_error().contains("--query"));
    run(["rank"], "").usage_error();
}

#[test]
fn a_query_may_begin_with_a_dash() {
    let model = fixture("gelu-60");
    let rows = run(["rerank", "-q", "--top-k", "--model", &model, "--format", "jsonl"], "a\nb").json();
    assert_eq!(rows.len(), 2);
}

#[test]
fn threads_do_not_change_the_output() {
    let (_, pairs) = reference("gelu-60");
    let input: String =
        pairs.iter().map(|pair| format!("{}\n", pair["document"].as_str().unwrap())).collect();
    let one = rerank(&["--format", "jsonl", "--threads", "1"], &input).ok();
    assert_eq!(one, rerank(&["--format", "jsonl", "--threads", "3", "--dtype", "f32"], &input).ok());
}

#[test]
fn a_missing_or_broken_model_is_named() {
    let model = |path: &str| run(["rerank", "-q", "a", "--model", path], "a\n").error();
    let missing = fixture("no-such-model");
    assert!(model(&missing).starts_with(&format!("{missing}: ")));
    let file = fixture("gelu-60/config.json");
    let error = model(&file);
    assert!(error.starts_with(&format!("{file}: not a folder")), "{error}");

    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken");
    common::copy_model("gelu-60", &broken);
    let weights = broken.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let error = model(broken.to_str().unwrap());
    assert!(error.starts_with(&format!("{}: broken safetensors file", weights.display())), "{error}");
}

#[test]
fn a_wrong_model_is_an_error_before_the_documents_have_come() {
    let mut child = common::command()
        .args(["rerank", "-q", "a", "--model", "no-such-model"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // Held open: `wait` would close it.
    let stdin = child.stdin.take();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    drop(stdin);
}

#[test]
fn a_model_whose_logits_are_not_finite_is_an_error_that_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    common::copy_model("gelu-60", folder.path());
    common::change_tensor(folder.path(), "classifier.bias", |bytes| {
        bytes.copy_from_slice(&f32::NAN.to_le_bytes());
    });
    let model = folder.path().to_str().unwrap();
    let error = run(["rerank", "-q", "a", "--model", model], "a\nb\n").error();
    assert_eq!(error, "<stdin>: line 1: logit 0 is NaN; the model's weights are broken");
}

#[test]
fn a_missing_input_is_named_on_one_line() {
    let error = rerank(&["no\nsuch\u{1b}[2Jfile"], "").error();
    assert!(error.starts_with("no\\nsuch\\u{1b}[2Jfile: "), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert!(rerank(&[path], "").error().starts_with(&format!("{path}: ")));
}

#[test]
fn the_default_model_needs_nothing_but_the_program() {
    let input = "Bread is baked in an oven.\nA river runs downhill to the sea.\nTyres are made of rubber.\n";
    let rows = run(["rerank", "-q", "where do rivers go?", "--format", "jsonl"], input).json();
    assert_eq!(rows[0]["text"], "A river runs downhill to the sea.");
    let scores: Vec<f64> = rows.iter().map(|row| row["score"].as_f64().unwrap()).collect();
    assert!(scores[0] > 0.3 && scores[1] < 0.05 && scores[2] >= 0.0, "{scores:?}");
}
