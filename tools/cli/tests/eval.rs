//! `crossrank eval`.
#![cfg(feature = "search")]

mod common;

use std::fs;
use std::io::Write;
use std::path::Path;

use common::{Ran, json, run};
use serde_json::Value;

/// A folder of judgements and runs.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn eval(args: &[&str]) -> Ran {
    run([&["eval"], args].concat(), "")
}

/// The values of the table of `trec_eval` 9.0.8: two queries, one of them with all kinds of grades.
const QRELS: &str = "g 0 a 2\ng 0 b 1\ng 0 c 0\ng 0 d -1\ng 0 e -2\nk 0 a 3\nk 0 b 2\nk 0 c 1\n";
const RUN: &str = "g Q0 e 1 5 t\ng Q0 d 2 4 t\ng Q0 a 3 3 t\nk Q0 a 1 5 t\nk Q0 x 2 4 t\nk Q0 b 3 3 t\n";

#[track_caller]
fn near(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{found}"));
    assert!((found - expected).abs() < 1e-6, "{found}, expected {expected}");
}

#[test]
fn json_has_a_line_for_each_query_and_one_for_all() {
    let place = Place::new();
    let (qrels, path) = (place.write("qrels", QRELS), place.write("run", RUN));
    let more = ["--metrics", "ndcg@10,map,P@3,judged@10,ndcg@10", "--per-query", "--format", "json"];
    let text = eval(&[&["--qrels", &qrels, &path], &more[..]].concat()).ok();
    let rows = json(&text);
    assert_eq!(rows.len(), 3);
    for (row, query, ndcg) in [(0, "g", 0.380_094), (1, "k", 0.840_008), (2, "all", 0.610_051)] {
        assert_eq!((&rows[row]["run"], &rows[row]["query"]), (&Value::from(&*path), &query.into()));
        near(&rows[row]["metrics"]["ndcg@10"], ndcg);
    }
    near(&rows[0]["metrics"]["map"], 0.166_667);
    near(&rows[0]["metrics"]["p@3"], 0.333_333);
    near(&rows[0]["metrics"]["judged@10"], 1.0);
    // Keys in their order, each metric once, and the numbers of queries at the end.
    let last = text.lines().last().unwrap();
    let start = format!("{{\"run\":\"{path}\",\"query\":\"all\",\"metrics\":{{\"ndcg@10\":0.61005");
    assert!(last.starts_with(&start) && last.matches("ndcg@10").count() == 1, "{last}");
    assert!(last.ends_with("},\"queries\":{\"judged\":2,\"answered\":2,\"missing\":0}}"), "{last}");
    assert!(rows[0].get("queries").is_none() && rows[0].get("depth").is_none());
}

#[test]
fn text_is_a_table_and_queries_are_in_the_form_of_trec_eval() {
    let place = Place::new();
    let (qrels, path) = (place.write("qrels", QRELS), place.write("run", RUN));
    let table = "                    run\n\
                 ndcg@10          0.6101\n\
                 mrr              0.6667\n\
                 judged queries        2\n\
                 with results          2\n\
                 without results       0\n\
                 \n\
                 Means over all judged queries; those without results count as 0.\n";
    let args = ["--qrels", &qrels, "--metrics", "ndcg@10,mrr", &path];
    assert_eq!(eval(&args).ok(), table);
    let queries = "ndcg@10               \tg\t0.3801\nmrr                   \tg\t0.3333\n\
                   ndcg@10               \tk\t0.8400\nmrr                   \tk\t1.0000\n\
                   ndcg@10               \tall\t0.6101\nmrr                   \tall\t0.6667\n\n";
    assert_eq!(eval(&[&args[..], &["--per-query"]].concat()).ok(), format!("{queries}{table}"));
    // Of several runs each line names its own.
    let other = place.write("other", RUN);
    let text = eval(&[&args[..], &["--per-query", &other]].concat()).ok();
    assert!(text.starts_with("ndcg@10               \tg\t0.3801\trun\n"), "{text}");
    assert!(text.contains("mrr                   \tall\t0.6667\tother\n"), "{text}");
    // An id does not steer a terminal.
    let hostile = place.write("hostile", "\u{1b}[2J Q0 a 1 1 t\n");
    let judged = place.write("judged", "\u{1b}[2J 0 a 1\n");
    let text = eval(&["--qrels", &judged, "--per-query", &hostile]).ok();
    assert!(text.contains("\t\\u{1b}[2J\t1.0000") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn files_may_be_compressed_a_folder_of_beir_or_stdin() {
    let place = Place::new();
    let beir: String = QRELS
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            format!("{}\t{}\t{}\n", fields[0], fields[2], fields[3])
        })
        .collect();
    place.write("beir/qrels/test.tsv", format!("query-id\tcorpus-id\tscore\n{beir}"));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(RUN.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let (qrels, plain, packed) =
        (place.write("qrels", QRELS), place.write("run", RUN), place.write("packed", &gzip));
    let folder = place.path("beir");
    let metrics = |ran: Ran| ran.json()[0]["metrics"].clone();
    let expected = metrics(eval(&["--qrels", &qrels, "--format", "json", &plain]));
    for ran in [
        eval(&["--qrels", &folder, "--format", "json", &packed]),
        run(["eval", "--qrels", &qrels, "--format", "json", "-"], &gzip),
        run(["eval", "--qrels", "-", "--format", "json", &plain], QRELS),
    ] {
        assert_eq!(metrics(ran), expected);
    }

    let cut = place.write("cut.gz", &gzip[..gzip.len() - 9]);
    let error = eval(&["--qrels", &qrels, &cut]).error();
    assert_eq!(error, format!("{cut}: expected gzip data up to its end, found it cut short"));
    let error = eval(&["--qrels", "-", &plain, "-"]).error();
    assert_eq!(error, "-: expected one input from stdin, found several");
    let (empty, expected) = (place.path("."), "expected qrels/test.tsv or qrels.txt in this folder");
    let error = eval(&["--qrels", &empty, &plain]).error();
    assert!(error.starts_with(&format!("{empty}: {expected}")), "{error}");
}

#[test]
fn queries_that_are_missing_or_not_judged_are_counted_and_said() {
    let place = Place::new();
    let qrels = place.write("qrels", "# judged\nq1 0 a 1\nq2 0 m 1\nq4 0 a 0\n");
    let path = place.write("run", "q1 Q0 a 1 1 t\nq3 Q0 a 1 1 t\nq4 Q0 a 1 1 t\n# end\n#\n");
    let args = ["--qrels", &qrels, "--metrics", "mrr", "--format", "json", &path];
    for (more, mrr, fate) in
        [(&[][..], 1.0 / 3.0, "they count as 0"), (&["--retrieved-only"], 0.5, "they are left out")]
    {
        let ran = eval(&[&args[..], more].concat());
        let notes = [
            format!("{path}: no results for 1 of 3 judged queries: {fate}"),
            format!("{path}: 1 of 3 queries are not in {qrels}: they do not count"),
            format!("{path}: lines that begin with #, which were passed over: 2"),
            format!("{qrels}: 1 of 3 queries have no relevant document: they count as 0"),
            format!("{qrels}: lines that begin with #, which were passed over: 1"),
        ];
        let notes: String = notes.iter().map(|note| format!("crossrank: note: {note}\n")).collect();
        assert_eq!((ran.code, &*ran.stderr), (Some(0), &*notes));
        let row = &json(&ran.stdout)[0];
        near(&row["metrics"]["mrr"], mrr);
        assert_eq!(row["queries"], serde_json::json!({"judged": 3, "answered": 2, "missing": 1}));
    }
}

#[test]
fn a_tie_across_a_cutoff_is_said() {
    let place = Place::new();
    let qrels = place.write("qrels", "q 0 a 1\n");
    let path = place.write("run", "q Q0 a 1 1 t\nq Q0 b 2 1.00000001 t\nq Q0 c 3 0.5 t\n");
    let ran = eval(&["--qrels", &qrels, "--metrics", "p@1,p@2,mrr", "--depths", "1", &path]);
    let expected = "in 1 of 1 queries documents 1 and 2 have equal scores: their ids decide which one counts";
    assert_eq!(ran.stderr, format!("crossrank: note: {path}: {expected}\n"));
    // b, whose id is greater, comes first.
    assert!(ran.stdout.contains("p@1              0.0000\np@2              0.5000\n"), "{}", ran.stdout);
}

#[test]
fn depths_cut_the_rankings() {
    let place = Place::new();
    let (qrels, path) = (place.write("qrels", QRELS), place.write("run", RUN));
    let args = ["--qrels", &qrels, "--metrics", "mrr,recall@10", "--depths", "1,3,1", &path];
    let rows = eval(&[&args[..], &["--format", "json"]].concat()).json();
    let figures: Vec<_> = rows.iter().map(|row| (&row["depth"], &row["query"], &row["metrics"])).collect();
    assert_eq!(figures.len(), 3);
    for (i, depth, mrr, recall) in [
        (0, Value::from(1), 0.5, 1.0 / 6.0),
        (1, 3.into(), 4.0 / 6.0, 7.0 / 12.0),
        (2, Value::Null, 4.0 / 6.0, 7.0 / 12.0),
    ] {
        assert_eq!((figures[i].0, figures[i].1), (&depth, &"all".into()));
        near(&figures[i].2["mrr"], mrr);
        near(&figures[i].2["recall@10"], recall);
    }
    let text = eval(&args).ok();
    let table = "run, first     mrr  recall@10\n\
                 1           0.5000     0.1667\n\
                 3           0.6667     0.5833\n\
                 all         0.6667     0.5833\n";
    assert!(text.contains(table), "{text}");
}

/// Four queries; the second run finds three of them sooner.
fn two_runs(place: &Place) -> [String; 3] {
    let queries = ["q1", "q2", "q3", "q4"];
    let qrels: String = queries.iter().map(|query| format!("{query} 0 a 1\n")).collect();
    let lines = |first: &dyn Fn(usize) -> bool| -> String {
        let line = |(i, query): (usize, &&str)| {
            let (a, b) = if first(i) { (2, 1) } else { (1, 2) };
            format!("{query} Q0 a 1 {a} t\n{query} Q0 b 1 {b} t\n")
        };
        queries.iter().enumerate().map(line).collect()
    };
    [
        place.write("qrels", qrels),
        place.write("a/run", lines(&|i| i == 3)),
        place.write("b/run", lines(&|_| true)),
    ]
}

#[test]
fn two_runs_are_compared() {
    let place = Place::new();
    let [qrels, a, b] = two_runs(&place);
    let args = ["--qrels", &qrels, "--metrics", "mrr,p@2", &a, &b];
    let text = eval(&[&args[..], &["--format", "json"]].concat()).ok();
    let lines: Vec<&str> = text.lines().collect();
    // Of the signs of three equal differences two choices are as far from 0; by p@2 there is none.
    let start = format!("{{\"a\":\"{a}\",\"b\":\"{b}\",");
    let mrr = "\"metric\":\"mrr\",\"delta\":0.375,\"p_value\":0.25,\"permutations\":8,\"seed\":1}";
    let p = "\"metric\":\"p@2\",\"delta\":0.0,\"p_value\":1.0,\"permutations\":1,\"seed\":1}";
    assert_eq!(lines[2..], [format!("{start}{mrr}"), format!("{start}{p}")]);
    let text = eval(&args).ok();
    assert!(text.contains("0.6250"), "{text}");
    let row = text.lines().find(|line| line.starts_with("mrr")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, ["mrr", "0.6250", "1.0000", "+0.3750", "0.2500"]);
    // Three are not.
    let text = eval(&[&args[..], &[&a, "--format", "json"]].concat()).ok();
    assert_eq!(text.lines().count(), 3);
    // Queries that only one of them answers count as 0 there, or not at all.
    let b = place.write("b/run", "q1 Q0 a 1 1 t\n");
    let args = ["--qrels", &qrels, "--metrics", "mrr", "--format", "json", &a, &b];
    for (more, delta) in [(&[][..], -0.375), (&["--retrieved-only"], 0.5)] {
        let ran = eval(&[&args[..], more].concat());
        near(&json(&ran.stdout)[2]["delta"], delta);
    }
    let a = place.write("a/run", "q2 Q0 a 1 1 t\n");
    let ran = eval(&["--qrels", &qrels, "--retrieved-only", "--format", "json", &a, &b]);
    assert_eq!(ran.stdout.lines().count(), 2);
    assert!(ran.stderr.contains("no judged query has results in both runs"), "{}", ran.stderr);
}

#[test]
fn what_is_broken_is_named_by_file_line_and_field_and_nothing_is_written() {
    let place = Place::new();
    let (qrels, good) = (place.write("qrels", QRELS), place.write("good", RUN));
    let twice = "document: expected one that this query has not yet, found `a`, which line 1 has";
    let long = "x".repeat((4 << 20) + 1);
    for (contents, expected) in [
        ("", "expected lines, found none"),
        ("# g Q0 a 1 1 t\n", "expected lines, found none"),
        ("g Q0 a 1 1\n", "line 1: expected 6 fields (query, Q0, document, rank, score, tag), found 5"),
        ("\ng Q0 a 1 nan t\n", "line 2: score: expected a number, found `nan`"),
        ("g Q0 a 1 1,9 t\n", "line 1: score: expected a number, found `1,9`"),
        ("p Q0 a 1 2 t\np Q0 a 2 1 t\n", &*format!("line 2: {twice}")),
        (&*long, "line 1: expected at most 4 MiB, found a longer line"),
        ("z Q0 a 1 1 t\n", &*format!("expected a query that {qrels} judges, found none among 1, as `z`")),
    ] {
        let path = place.write("run", contents);
        let error = eval(&["--qrels", &qrels, &good, &path]).error();
        assert_eq!(error, format!("{path}: {expected}"));
    }
    let path = place.write("run", b"g Q0 \xff 1 1 t\n");
    let error = eval(&["--qrels", &qrels, &path]).error();
    assert_eq!(error, format!("{path}: line 1: expected UTF-8, found byte 0xff at column 6"));
    for (contents, expected) in [
        ("query-id\tcorpus-id\tscore\n", "expected lines, found none"),
        ("g 0 a 1.5\n", "line 1: relevance: expected an integer, found `1.5`"),
        ("g 0 a 1\ng 0 a 1\n", &*format!("line 2: {twice}")),
    ] {
        let path = place.write("judgements", contents);
        let error = eval(&["--qrels", &path, &good]).error();
        assert_eq!(error, format!("{path}: {expected}"));
    }
    let none = place.path("none");
    for args in [[&*none, &good], [&qrels, &none]] {
        let error = eval(&["--qrels", args[0], args[1]]).error();
        assert!(error.starts_with(&format!("{none}: ")), "{error}");
    }
    assert!(Path::new(&good).exists());
}

#[test]
fn wrong_usage_names_what_was_expected() {
    let usage = |args: &[&str]| eval(args).usage_error();
    let error = usage(&["--qrels", "q", "--metrics", "ndcg@10,rr", "run"]);
    assert!(error.contains("expected ndcg, ndcg@K, mrr") && error.contains("found `rr`"), "{error}");
    assert!(usage(&["--qrels", "q", "--depths", "0", "run"]).contains("--depths"));
    assert!(usage(&["--qrels", "q"]).contains("<RUN>"));
    assert!(usage(&["run"]).contains("--qrels"));
    let help = eval(&["--help"]).ok();
    for named in ["trec_eval 9.0.8", "ir-measures 0.4.3", "RR@k", "ranx", "100,000"] {
        assert!(help.contains(named), "{named}: {help}");
    }
}

#[test]
fn the_example_of_the_documentation_is_what_comes_out() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evaluation.md");
    let docs = fs::read_to_string(docs).unwrap();
    // The lines that its `printf` commands are given, up to the name of the file.
    let commands = docs.replace(" \\\n", " ");
    let place = Place::new();
    for name in ["qrels.txt", "bm25.run", "reranked.run"] {
        let end = format!(" > {name}");
        let command = commands.lines().find_map(|line| line.strip_suffix(&*end)).unwrap();
        let lines = command.split('\'').skip(3).step_by(2).map(|line| format!("{line}\n"));
        place.write(name, lines.collect::<String>());
    }
    let eval = |args: &[&str]| {
        let output = common::command().arg("eval").args(args).current_dir(place.0.path()).output().unwrap();
        String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap()
    };
    let runs = eval(&["--qrels", "qrels.txt", "--metrics", "ndcg@10,mrr@10,p@1", "bm25.run", "reranked.run"]);
    let json = ["--metrics", "ndcg@10,mrr", "--per-query", "--format", "json", "bm25.run"];
    let json = eval(&[&["--qrels", "qrels.txt"], &json[..]].concat());
    for output in [runs, json] {
        assert!(output.lines().count() > 3, "{output}");
        let shown = |line: &str| if line.is_empty() { "\n".into() } else { format!("    {line}\n") };
        let shown: String = output.lines().map(shown).collect();
        assert!(docs.contains(&shown), "the documentation lacks\n{shown}");
    }
}
