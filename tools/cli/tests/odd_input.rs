//! Records that other programs left odd: without a text, with half a surrogate pair, with characters that end lines.

mod common;

use common::{Ran, fixture, fixtures_folder, json, run};
use serde_json::Value;

fn rerank(args: &[&str], stdin: impl AsRef<[u8]> + Send) -> Ran {
    run([&["rerank", "-q", "sea", "--model", &fixture("gelu-60")], args].concat(), stdin)
}

fn jsonl(args: &[&str], stdin: &str) -> Vec<Value> {
    rerank(&[&["--format", "jsonl"], args].concat(), stdin).json()
}

/// What Python's `splitlines` and others take for the end of a line.
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

fn ends_lines(text: &str) -> bool {
    text.contains(LINE_ENDS)
}

#[test]
fn no_json_that_is_written_holds_what_ends_a_line_elsewhere() {
    for c in LINE_ENDS {
        let (text, key) = (format!("river{c}run"), format!("k{c}"));
        let escape = format!("\\u{:04x}", u32::from(c));
        let escaped = format!(
            "{{\"text\":\"river{escape}run\",\"k{escape}\":[\"{escape}\",{{\"a{c}\":\"\\\\{c}\"}}]}}"
        );
        for (input, keyed) in [(format!("{text}\n"), false), (format!("{escaped}\n"), true)] {
            let output = rerank(&["--format", "jsonl"], &input).ok();
            assert!(!ends_lines(&output), "{output:?}");
            let row = &json(&output)[0];
            assert_eq!(row["text"], *text);
            if keyed {
                assert_eq!(
                    row[&key],
                    serde_json::json!([c.to_string(), { format!("a{c}"): format!("\\{c}") }])
                );
            }
        }
        // An object within `input`, and an error that quotes a key.
        let output = rerank(&["--format", "jsonl"], format!("{{\"text\":\"a\",\"rank\":\"{c}\"}}")).ok();
        assert!(!ends_lines(&output), "{output:?}");
        assert_eq!(json(&output)[0]["input"]["rank"], *c.to_string());
        let ran = run(["score", "--model", &fixture("gelu-60")], format!("{{\"{key}\":1}}"));
        assert!(!ends_lines(&ran.stdout) && ran.stdout.contains("\"error\""), "{:?}", ran.stdout);
    }
}

/// A set of three documents, of which one answers the only query.
fn eval_set(folder: &std::path::Path, corpus: &str, query: &str) {
    std::fs::write(folder.join("corpus.jsonl"), corpus).unwrap();
    std::fs::write(folder.join("queries.tsv"), format!("q\t{query}\n")).unwrap();
    std::fs::write(folder.join("qrels.txt"), "q 0 1 1\n").unwrap();
}

#[test]
fn the_logits_file_stays_on_its_lines_and_a_set_may_have_integer_ids_and_half_pairs() {
    let (folder, results) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let corpus = "{\"id\":1,\"text\":\"the river\u{2028}runs to the sea\"}\n\
                  {\"id\":\"2\",\"text\":\"a river \\ud83d of the north\"}\n\
                  {\"id\":-3,\"text\":\"the sea\u{85}at night\"}\n";
    eval_set(folder.path(), corpus, "river\u{2029}sea");
    let set = folder.path().to_str().unwrap().to_owned();
    let [out, logits] =
        ["out", "logits.jsonl"].map(|name| results.path().join(name).to_str().unwrap().to_owned());
    let model = fixture("gelu-60");
    let ran = run(["quantize", &model, &out, "--verify", &set, "--logits", &logits], "");
    assert_eq!(ran.stderr.matches("lone surrogate").count(), 1, "{}", ran.stderr);
    let written = std::fs::read_to_string(&logits).unwrap();
    assert!(!ends_lines(&written), "{written:?}");
    let rows = json(&written);
    let mut ids: Vec<_> = rows.iter().map(|row| row["document_id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["-3", "1", "2"]);
    let half = rows.iter().find(|row| row["document_id"] == "2").unwrap();
    assert_eq!(half["document"], "a river \u{fffd} of the north");
    assert_eq!(half["query"], "river\u{2029}sea");
}

#[test]
fn half_a_surrogate_pair_is_read_as_a_replacement_character_and_said_once() {
    for half in ["\\ud83d", "\\uDE00"] {
        let input = format!(
            "{{\"text\":\"good\"}}\n{{\"text\":\"cut {half}\"}}\n{{\"text\":\"{half}\",\"{half}\":\"{half}\"}}\n"
        );
        let ran = rerank(&["--format", "jsonl"], &input);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(ran.stderr.starts_with("crossrank: note: a lone surrogate"), "{}", ran.stderr);
        // The key that passes through is one that others can read, too.
        let rows = json(&ran.stdout.replace(half, "\\ufffd"));
        let plain = jsonl(&[], "good\ncut \u{fffd}\n\u{fffd}\n");
        assert_eq!(rows.len(), 3);
        for (row, plain) in rows.iter().zip(&plain) {
            for key in ["rank", "index", "text", "logit"] {
                assert_eq!(row[key], plain[key]);
            }
        }

        let model = fixture("gelu-60");
        let pair = |text: &str| format!("{{\"query\":\"a{text}\",\"document\":\"b{text}\"}}\n");
        let ran = run(["score", "--model", &model], pair(half) + &pair("\\ud83d\\ude00"));
        assert_eq!((ran.code, ran.stderr.matches("lone surrogate").count()), (Some(0), 1), "{}", ran.stderr);
        let plain = run(["score", "--model", &model], pair("\u{fffd}") + &pair("😀")).ok();
        assert_eq!(ran.stdout, plain);
    }
}

#[test]
fn calibration_texts_may_hold_half_a_surrogate_pair() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = std::fs::read_to_string(fixtures_folder().join("gelu-60/reference.jsonl")).unwrap();
    let texts = |name: &str, mark: &str| {
        let path = folder.path().join(name);
        let lines = pairs.lines().enumerate().map(|(i, line)| {
            let pair: Value = serde_json::from_str(line).unwrap();
            format!("{{\"query\":{},\"document\":\"{i} the river {mark}\"}}\n{line}\n", pair["query"])
        });
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let weights = |texts: &str, out: &str, notes: usize| {
        let out = folder.path().join(out);
        let ran = run(["quantize", &fixture("gelu-60"), out.to_str().unwrap(), "--calibrate", texts], "");
        assert_eq!(
            (ran.code, ran.stderr.matches("lone surrogate").count()),
            (Some(0), notes),
            "{}",
            ran.stderr
        );
        let file = std::fs::read(out.join("model.safetensors")).unwrap();
        let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        file[8 + header..].to_vec()
    };
    let (half, whole) = (texts("half.jsonl", "\\ud800"), texts("whole.jsonl", "\u{fffd}"));
    // The tensors: the header names the checksum of the file.
    assert!(weights(&half, "a", 1) == weights(&whole, "b", 0));
}

#[test]
fn texts_come_from_the_keys_that_are_named() {
    let input = "{\"contents\":\"the sea\",\"text\":\"other\",\"id\":7}\n";
    let row = &jsonl(&["--text-field", "contents"], input)[0];
    let plain = &jsonl(&[], "the sea\n")[0];
    assert_eq!((&row["text"], &row["logit"]), (&plain["text"], &plain["logit"]));
    // What came is not lost.
    assert_eq!((&row["contents"], &row["input"]["text"]), (&"the sea".into(), &"other".into()));
    assert_eq!(row["id"], 7);

    let input = "{\"title\":\"Sea\",\"text\":\"of the north\"}\n{\"title\":null,\"text\":\"river\"}\n\
                 {\"title\":\"Sea\",\"text\":\"\"}\n{\"title\":\"\",\"text\":\"\"}\n";
    let rows = jsonl(&["--text-field", "title,text"], input);
    let mut texts: Vec<_> =
        rows.iter().map(|row| (row["index"].as_u64(), row["text"].as_str().unwrap())).collect();
    texts.sort_unstable();
    assert_eq!(texts, [(Some(0), "Sea of the north"), (Some(1), "river"), (Some(2), "Sea"), (Some(3), "")]);
    let plain = jsonl(&[], "Sea of the north\nriver\nSea\n\n");
    let logits = |rows: &[Value]| rows.iter().map(|row| row["logit"].clone()).collect::<Vec<_>>();
    assert_eq!(logits(&rows), logits(&plain));

    for (fields, input, expected) in [
        ("contents", "{\"text\":\"a\"}", "expected an object with the key `contents`, found `text`"),
        ("title,text", "{\"id\":1}", "expected a text under one of `title`, `text`, found `id`"),
        ("title,text", "{\"title\":null}", "expected a text under one of `title`, `text`, found `title`"),
        ("title,text", "{\"title\":\"a\",\"text\":2}", "`text`: expected a string, found a number"),
        ("contents", "the sea", "expected JSON, found at column 2: expected ident"),
    ] {
        assert_eq!(rerank(&["--text-field", fields], input).error(), format!("<stdin>: line 1: {expected}"));
    }
    let error = rerank(&["--text-field", "contents", "--input", "text"], "a").error();
    assert!(error.starts_with("--text-field: "), "{error}");
}

/// Two good documents, at lines 1 and 9, and six bad ones.
fn some_bad() -> Vec<u8> {
    let mut input =
        b"{\"id\":1,\"text\":\"a river\",\"error\":\"own\"}\n\n{\"id\":2,\"contents\":\"the sea\"}\n"
            .to_vec();
    input.extend(
        b"{\"id\":3,\"text\":null,\"rank\":5}\n{\"id\":4,\"text\":[]}\n{\"text\":\"\xff\"}\n[1]\n{\"text\n",
    );
    input.extend(b"{\"id\":\"z\",\"text\":\"the sea\"}\n");
    input
}

const REASONS: [(usize, &str); 6] = [
    (3, "expected an object with the key `text`, found `id`, `contents`"),
    (4, "`text`: expected a string, found null"),
    (5, "`text`: expected a string, found an array"),
    (6, "expected UTF-8, found byte 0xff at column 10"),
    (7, "expected a JSON object, found an array"),
    (8, "expected JSON, found at column 6: EOF while parsing a string"),
];

/// The notes of a run: each bad document's, then their number.
fn assert_notes(stderr: &str, fate: &str) {
    let notes: Vec<&str> = stderr.lines().collect();
    assert_eq!(notes.len(), REASONS.len() + 1, "{stderr}");
    for (note, (line, reason)) in notes.iter().zip(REASONS) {
        assert_eq!(*note, format!("crossrank: note: <stdin>: line {line}: {fate}: {reason}"));
    }
    assert_eq!(notes[6], format!("crossrank: note: <stdin>: 6 of 8 documents {fate}"));
}

fn bad_documents(how: &str, args: &[&str]) -> Ran {
    let always = ["--on-bad-document", how, "--input", "jsonl", "--format", "jsonl"];
    rerank(&[&always, args].concat(), some_bad())
}

#[test]
fn bad_documents_end_the_command_unless_asked_otherwise() {
    let error = format!("<stdin>: line 3: {}", REASONS[0].1);
    assert_eq!(bad_documents("error", &[]).error(), error);
    assert_eq!(rerank(&["--input", "jsonl"], some_bad()).error(), error);
}

#[test]
fn bad_documents_are_skipped_with_a_note_each() {
    let ran = bad_documents("skip", &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_notes(&ran.stderr, "skipped");
    let rows = json(&ran.stdout);
    let plain = jsonl(&[], "a river\nthe sea\n");
    assert_eq!(rows.len(), 2);
    for (row, plain) in rows.iter().zip(&plain) {
        assert_eq!(
            (&row["rank"], &row["text"], &row["logit"]),
            (&plain["rank"], &plain["text"], &plain["logit"])
        );
        // Places are those of the input.
        assert_eq!(row["index"], if plain["index"] == 1 { 7 } else { 0 });
    }
    assert_eq!(rows.iter().find(|row| row["index"] == 0).unwrap()["error"], "own");
}

#[test]
fn bad_documents_come_last_with_an_error_each() {
    let ran = bad_documents("last", &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_notes(&ran.stderr, "put last");
    let rows = json(&ran.stdout);
    assert_eq!(rows.len(), 8);
    let good = rows.iter().find(|row| row["index"] == 0).unwrap();
    assert_eq!((good.get("error"), &good["input"]["error"]), (None, &Value::from("own")));
    for (i, (row, (_, reason))) in rows[2..].iter().zip(REASONS).enumerate() {
        assert_eq!((&row["rank"], &row["index"]), (&(i + 3).into(), &(i + 1).into()), "{row}");
        assert_eq!((row.get("score"), row.get("text"), &row["error"]), (None, None, &reason.into()), "{row}");
    }
    assert_eq!((&rows[2]["id"], &rows[2]["contents"]), (&2.into(), &"the sea".into()));
    assert_eq!(rows[3]["input"], serde_json::json!({ "text": null, "rank": 5 }));

    assert_eq!(json(&bad_documents("last", &["--top-k", "3"]).stdout), rows[..3]);
    assert_eq!(json(&bad_documents("last", &["--top-k", "1"]).stdout), rows[..1]);
    assert_eq!(json(&bad_documents("last", &["--min-score", "0"]).stdout), rows[..2]);

    let table = rerank(&["--on-bad-document", "last", "--input", "jsonl"], some_bad());
    let lines: Vec<&str> = table.stdout.lines().collect();
    assert_eq!(lines.len(), 8, "{}", table.stdout);
    assert!(lines[2].starts_with("3") && lines[2].contains(" - line 3: expected an object"), "{}", lines[2]);
}

#[test]
fn documents_that_do_not_fit_are_bad_too() {
    let long = "the river runs to the sea ".repeat(40);
    let input = format!("short\n{long}\nthe sea\n{long}\n");
    let args = ["--format", "jsonl", "--truncation", "error", "--on-bad-document", "last"];
    let ran = rerank(&args, &input);
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(0), 3), "{}", ran.stderr);
    let rows = json(&ran.stdout);
    let errors: Vec<_> = rows.iter().map(|row| row.get("error").is_some()).collect();
    assert_eq!(errors, [false, false, true, true]);
    assert_eq!((&rows[2]["index"], &rows[3]["index"]), (&1.into(), &3.into()));
    assert!(rows[2]["error"].as_str().unwrap().starts_with("the pair has "), "{}", rows[2]);
}

#[test]
fn where_no_document_can_be_ranked_that_is_an_error() {
    for how in ["skip", "last"] {
        let args = ["--on-bad-document", how, "--input", "jsonl"];
        let error = rerank(&args, "{\"a\":1}\n{\"b\":1}\n").error();
        assert_eq!(
            error,
            "<stdin>: line 1: expected an object with the key `text`, found `a`; no document can be ranked"
        );
        assert_eq!(rerank(&args, "\n").ok(), "");
    }
}
