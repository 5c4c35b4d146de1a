//! `crossrank quantize --verify`.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Ran, change_tensor, copy_model, fixture, fixtures_folder, reference, run, widen};
use serde_json::Value;

/// A folder with a model that I8 holds exactly, and texts to compare on.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.exact_model();
        fs::create_dir(place.eval()).unwrap();
        let (_, pairs) = reference("gelu-60");
        let texts = |key: &str| -> BTreeSet<String> {
            pairs.iter().map(|pair| pair[key].as_str().unwrap().replace(['\t', '\n', '\r'], " ")).collect()
        };
        let corpus: String = texts("document")
            .iter()
            .enumerate()
            .map(|(i, text)| format!("{}\n", serde_json::json!({"id": format!("d{i}"), "text": text})))
            .collect();
        place.write("corpus.jsonl", &corpus);
        let queries = texts("query");
        let queries = queries.iter().filter(|query| !query.trim().is_empty()).enumerate();
        place.write("queries.tsv", &queries.map(|(i, text)| format!("q{i}\t{text}\n")).collect::<String>());
        let documents = texts("document").len();
        let judged = (0..3).flat_map(|query| (0..documents).map(move |document| (query, document)));
        let qrels =
            judged.map(|(query, document)| format!("q{query} 0 d{document} {}\n", (document + query) % 3));
        place.write("qrels.txt", &qrels.collect::<String>());
        place
    }

    /// Bytes with scales, widened: to make bytes of them again rounds nothing.
    fn exact_model(&self) {
        run(["quantize".into(), fixture("gelu-60"), self.path("model")], "").ok();
        widen(&self.folder.path().join("model/model.safetensors"));
    }

    fn eval(&self) -> PathBuf {
        self.folder.path().join("eval")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.eval().join(name), text).unwrap();
    }

    fn verify(&self, model: &str, more: &[&str]) -> Ran {
        let (out, eval) = (self.path("out"), self.path("eval"));
        let args = ["quantize", model, &out, "--verify", &eval];
        run(args.iter().chain(more), "")
    }

    fn written(&self) -> bool {
        self.folder.path().join("out/model.safetensors").exists()
    }

    /// The error of a file of the set, less its path; nothing is written.
    fn refused(&self, name: &str, text: &str) -> String {
        let before = fs::read_to_string(self.eval().join(name)).unwrap();
        self.write(name, text);
        let error = self.verify(&self.path("model"), &[]).error();
        assert!(!self.written(), "{error}");
        self.write(name, &before);
        let path = self.eval().join(name);
        error.strip_prefix(path.to_str().unwrap()).unwrap_or_else(|| panic!("{error}")).to_owned()
    }
}

fn json(stdout: &str) -> Value {
    serde_json::from_str(stdout.strip_suffix('\n').unwrap()).unwrap()
}

#[test]
fn a_model_that_loses_nothing_passes() {
    let place = Place::new();
    let report = json(&place.verify(&place.path("model"), &["--dtype", "f32", "--format", "json"]).ok());
    let fidelity = &report["fidelity"];
    assert_eq!(fidelity["passed"], true, "{report}");
    assert_eq!(fidelity["checks"].as_array().unwrap().len(), 5);
    let figures = &fidelity["figures"];
    assert_eq!(figures["reference"], figures["other"]);
    assert_eq!((&figures["overlap10"], &figures["kendall_tau"]), (&1.0.into(), &1.0.into()));
    assert!(figures["worst_delta"].as_f64().unwrap() < 1e-3, "{report}");
    assert!(figures["logit_sd"].as_f64().unwrap() > 0.0);
    assert_eq!(figures["judged_queries"], 3);
    assert!(report["quantization"]["tensors_i8"].as_u64().unwrap() > 0);
    assert_eq!(report["written_to"], place.path("out"));

    fs::remove_dir_all(place.path("out")).unwrap();
    let text = place.verify(&place.path("model"), &["--dtype", "f32"]).ok();
    for expected in ["tensors in I8:", "nDCG@10 moved by:", "top-10 overlap:    1.0000, at least 0.97: holds"]
    {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
    assert!(text.ends_with("fidelity:          passed\n"), "{text}");
}

#[test]
fn a_model_that_loses_too_much_fails_and_stays() {
    let place = Place::new();
    // Random weights, of which I8 keeps the ranking less well than the limits ask.
    let failed =
        ["gelu-60", "gelu-new-f16", "gelu-tanh-bf16", "no-pooler", "silu-1-layer"].iter().any(|name| {
            let ran = place.verify(&fixture(name), &["--format", "json"]);
            assert!(place.written(), "{name}: {}", ran.stderr);
            fs::remove_dir_all(place.path("out")).unwrap();
            let fidelity = &json(&ran.stdout)["fidelity"];
            let off: Vec<&str> = fidelity["checks"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|check| check["holds"] == false)
                .map(|check| check["figure"].as_str().unwrap())
                .collect();
            assert_eq!(fidelity["passed"], off.is_empty(), "{name}");
            assert_eq!(ran.code, Some(i32::from(!off.is_empty())), "{name}: {}", ran.stderr);
            for figure in &off {
                assert!(ran.stderr.contains(&format!("{figure} is ")), "{name}: {}", ran.stderr);
            }
            let said = ran.stderr.contains("it does not rank as its source does: ");
            assert_eq!(
                said && ran.stderr.ends_with("; it stays where it is\n"),
                !off.is_empty(),
                "{}",
                ran.stderr
            );
            !off.is_empty()
        });
    assert!(failed, "every model passes: the gate is open");
}

#[test]
fn candidates_may_come_from_a_run_and_queries_be_few() {
    let place = Place::new();
    let file = place.path("run.txt");
    fs::write(&file, "q1 Q0 d2 1 0.5 x\nq1 Q0 d4 2 0.75 x\n\nq0 Q0 d0 1 1e3 x\nq0 Q0 d1 7 2 x\n").unwrap();
    let more = ["--dtype", "f32", "--run", &file, "--queries", "2"];
    let model = place.path("model");
    let text = place.verify(&model, &more).ok();
    assert!(text.contains("queries:           the first 2 of "), "{text}");
    assert!(text.contains(&format!("4 pairs, at most 50 a query, by {file}\n")), "{text}");

    fs::remove_dir_all(place.path("out")).unwrap();
    let text = place.verify(&model, &["--dtype", "f32", "--run", &file, "--queries", "3"]).ok();
    assert!(text.contains("; none for 1 of the queries\n"), "{text}");

    fs::remove_dir_all(place.path("out")).unwrap();
    // Of more than 50 the 50 with the highest scores are taken.
    let ids: Vec<String> =
        (0..60).map(|i| format!("{}\n", serde_json::json!({"id": format!("d{i}"), "text": "a"}))).collect();
    let corpus = fs::read_to_string(place.eval().join("corpus.jsonl")).unwrap();
    let known = corpus.lines().count();
    place.write("corpus.jsonl", &(corpus + &ids[known..].concat()));
    place.write("qrels.txt", "q0 0 d0 1\n");
    fs::write(&file, (0..60).map(|i| format!("q0 Q0 d{i} 1 {i} x\n")).collect::<String>()).unwrap();
    let report = json(&place.verify(&model, &[&more[..], &["--format", "json"]].concat()).ok());
    assert_eq!(report["fidelity"]["figures"]["pairs"], 50);
    assert_eq!(report["fidelity"]["figures"]["reference"]["ndcg10"], 0.0, "d0 is not among them");
}

#[test]
fn what_is_wrong_with_a_set_is_named_by_file_line_and_field() {
    let place = Place::new();
    let good = "{\"id\":\"a\",\"text\":\"b\"}\n";
    let corpus = |text: &str| place.refused("corpus.jsonl", text);
    assert_eq!(
        corpus(&format!("{good}\n{{\"id\":\n")),
        ": line 3: expected JSON, found at column 6: EOF while parsing a value"
    );
    assert_eq!(corpus("{\"id\":[],\"text\":\"b\"}"), ": line 1: `id`: expected a string, found an array");
    assert_eq!(corpus("{\"id\":\"a\"}"), ": line 1: expected an object with the key `text`, found `id`");
    assert_eq!(
        corpus(&good.repeat(2)),
        ": line 2: id: expected one that no line before has, found `a`, which line 1 has"
    );
    assert_eq!(corpus("\n"), ": expected lines, found none");

    let queries = |text: &str| place.refused("queries.tsv", text);
    assert_eq!(
        queries("q0 what\n"),
        ": line 1: expected an id, a tab and a text, or a JSON object, found `q0 what`"
    );
    assert_eq!(
        queries("q0\ta\nq0\tb\n"),
        ": line 2: id: expected one that no line before has, found `q0`, which line 1 has"
    );
    assert_eq!(queries(""), ": expected lines, found none");

    let qrels = |text: &str| place.refused("qrels.txt", text);
    let error = qrels("q0 0 d0\n");
    assert!(error.starts_with(": line 1: expected 4 fields (query, 0, document, relevance)"), "{error}");
    assert_eq!(qrels("q0 0 d0 yes\n"), ": line 1: relevance: expected an integer, found `yes`");
    assert_eq!(
        qrels("q0 0 d0 1\nq0 0 d0 0"),
        ": line 2: document: expected one that this query has not yet, found `d0`, which line 1 has"
    );
    assert_eq!(qrels(""), ": expected lines, found none");
    let error = qrels("q0 0 d0 0\nq0 0 d1 -1\n");
    assert!(error.starts_with(": relevance: expected a relevant document for any of "), "{error}");
    assert!(qrels(&"q0 0 \u{1b}[2J 1\n".repeat(2)).contains("`\\u{1b}[2J`"));

    for name in ["corpus.jsonl", "queries.tsv", "qrels.txt"] {
        let path = place.eval().join(name);
        let text = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let error = place.verify(&place.path("model"), &[]).error();
        assert!(error.starts_with(&format!("{}: expected ", place.eval().display())), "{error}");
        assert!(error.contains(name), "{error}");
        fs::write(&path, [&text[..], b"\xff\n"].concat()).unwrap();
        let error = place.verify(&place.path("model"), &[]).error();
        assert!(error.contains(": expected UTF-8, found byte 0xff at column 1"), "{error}");
        fs::write(&path, text).unwrap();
    }
    assert!(!place.written());
}

#[test]
fn what_is_wrong_with_a_run_is_named_by_line_and_field() {
    let place = Place::new();
    let path = place.path("run.txt");
    let good = "q0 Q0 d0 1 2.5 x\n";
    for (text, expected) in [
        (
            "q0 Q0 d0 1 2.5\n".to_owned(),
            "line 1: expected 6 fields (query, Q0, document, rank, score, tag), found 5",
        ),
        (
            good.repeat(2),
            "line 2: document: expected one that this query has not yet, found `d0`, which line 1 has",
        ),
        (good.replace("2.5", "NaN"), "line 1: score: expected a number, found `NaN`"),
    ] {
        fs::write(&path, text).unwrap();
        let error = place.verify(&place.path("model"), &["--run", &path]).error();
        assert_eq!(error, format!("{path}: {expected}"));
    }
    fs::write(&path, "").unwrap();
    let error = place.verify(&place.path("model"), &["--run", &path]).error();
    assert_eq!(error, format!("{path}: expected lines, found none"));
    // Nothing that is there is ranked.
    fs::write(&path, good.replace("q0", "q999") + &good.replace("d0", "d999")).unwrap();
    let ran = place.verify(&place.path("model"), &["--run", &path]);
    let said: Vec<&str> = ran.stderr.lines().collect();
    assert_eq!((ran.code, said.len()), (Some(1), 3), "{said:?}");
    let note = format!("crossrank: note: {path}:");
    assert_eq!(said[0], format!("{note} queries that the set lacks, which do not count: 1"));
    assert_eq!(said[1], format!("{note} documents that the corpus lacks, which are no candidates: 1"));
    assert!(said[2].contains(": expected candidates for any of "), "{said:?}");
    let none = place.path("none");
    let error = place.verify(&place.path("model"), &["--run", &none]).error();
    assert!(error.starts_with(&format!("{none}: ")), "{error}");
    assert!(!place.written());
}

/// Rivers: the relevant document is found third.
const CORPUS: [(&str, &str); 3] = [
    ("d1", "Rivers run to the sea."),
    ("d2", "Where do people run in the morning?"),
    ("d3", "The rivers of Europe run north to the sea."),
];

/// nDCG@10 and MRR@10 of the source, and what stderr says.
fn quality(folder: &Path, out: &Path) -> (f64, f64, String) {
    let [folder, out_path] = [folder, out].map(|path| path.to_str().unwrap());
    let model = fixture("gelu-60");
    let ran = run(["quantize", &model, out_path, "--verify", folder, "--format", "json"], "");
    let reference = &json(&ran.stdout)["fidelity"]["figures"]["reference"];
    fs::remove_dir_all(out).unwrap();
    (reference["ndcg10"].as_f64().unwrap(), reference["mrr10"].as_f64().unwrap(), ran.stderr)
}

#[test]
fn judgements_of_what_is_not_there_count_as_trec_eval_counts_them() {
    let place = tempfile::tempdir().unwrap();
    let (folder, out) = (place.path().join("eval"), place.path().join("out"));
    fs::create_dir(&folder).unwrap();
    let line = |(id, text): (&str, &str)| format!("{}\n", serde_json::json!({"id": id, "text": text}));
    fs::write(folder.join("corpus.jsonl"), CORPUS.map(line).concat()).unwrap();
    fs::write(folder.join("queries.tsv"), "q0\twhere do rivers run\n").unwrap();
    let qrels = folder.join("qrels.txt");
    fs::write(&qrels, "q0 0 d1 1\n").unwrap();
    let (ndcg, mrr, said) = quality(&folder, &out);
    assert!(ndcg == 0.5 && (mrr - 1.0 / 3.0).abs() < 1e-9 && !said.contains("note"), "{ndcg} {mrr} {said}");
    // pytrec_eval's nDCG@10 of the same ranking.
    fs::write(&qrels, "q0 0 d1 1\nq0 0 d999 1\nq999 0 d1 1\n").unwrap();
    let (ndcg, mrr, said) = quality(&folder, &out);
    assert!((ndcg - 0.3066).abs() < 5e-5 && (mrr - 1.0 / 3.0).abs() < 1e-9, "{ndcg} {mrr}");
    let note = format!("crossrank: note: {}:", qrels.display());
    for what in [
        "queries that the set lacks, which do not count: 1",
        "judged documents that the corpus lacks, which count as not found: 1",
    ] {
        assert!(said.contains(&format!("{note} {what}\n")), "{said}");
    }
}

#[test]
fn a_folder_of_beir_is_read_as_it_is() {
    let place = tempfile::tempdir().unwrap();
    let (folder, out) = (place.path().join("eval"), place.path().join("out"));
    fs::create_dir_all(folder.join("qrels")).unwrap();
    // Title and text together are the texts above.
    let line = |(id, text): (&str, &str)| {
        let (title, text) = text.split_once(' ').unwrap();
        format!("{}\n", serde_json::json!({"_id": id, "title": title, "text": text, "metadata": {}}))
    };
    let mut corpus = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut corpus, CORPUS.map(line).concat().as_bytes()).unwrap();
    fs::write(folder.join("corpus.jsonl.gz"), corpus.finish().unwrap()).unwrap();
    fs::write(folder.join("queries.jsonl"), "{\"_id\": 7, \"text\": \"where do rivers run\"}\n").unwrap();
    fs::write(folder.join("qrels/test.tsv"), "query-id\tcorpus-id\tscore\n7\td1\t1\n").unwrap();
    let (ndcg, mrr, said) = quality(&folder, &out);
    assert!(ndcg == 0.5 && (mrr - 1.0 / 3.0).abs() < 1e-9 && !said.contains("note"), "{ndcg} {mrr} {said}");
}

#[test]
fn a_query_that_finds_nothing_counts_and_all_that_find_nothing_are_an_error() {
    let place = Place::new();
    let queries = fs::read_to_string(place.eval().join("queries.tsv")).unwrap();
    let counted = || {
        let report = json(&place.verify(&place.path("model"), &["--dtype", "f32", "--format", "json"]).ok());
        fs::remove_dir_all(place.path("out")).unwrap();
        let figures = &report["fidelity"]["figures"];
        let ndcg = figures["reference"]["ndcg10"].as_f64().unwrap();
        (
            figures["queries_without_candidates"].as_u64().unwrap(),
            figures["judged_queries"].as_u64().unwrap(),
            ndcg,
        )
    };
    let (without, judged, ndcg) = counted();
    assert!(judged == 3 && ndcg > 0.0, "{judged} {ndcg}");
    place.write("queries.tsv", &format!("{queries}none\tqqqqqqq\n"));
    let qrels = fs::read_to_string(place.eval().join("qrels.txt")).unwrap();
    place.write("qrels.txt", &format!("{qrels}none 0 d0 1\n"));
    let (more, also_judged, lower) = counted();
    assert_eq!((more, also_judged), (without + 1, judged + 1));
    assert!((lower - ndcg * 3.0 / 4.0).abs() < 1e-9, "{lower}, before {ndcg}");

    place.write("qrels.txt", "q0 0 d0 1\n");
    place.write("queries.tsv", "q0\tqqqqqqq\nq1\tqqqqqq\nq2\tqqqqq\n");
    let error = place.verify(&place.path("model"), &[]).error();
    assert!(error.ends_with("corpus.jsonl: expected candidates for any of 3 queries, found none"), "{error}");
}

#[test]
fn logits_are_those_of_both_models_and_the_figures_follow_from_them() {
    let place = Place::new();
    let (model, file) = (fixture("gelu-60"), place.path("logits.jsonl"));
    fs::write(&file, "replaced").unwrap();
    let ran = place.verify(&model, &["--logits", &file, "--format", "json"]);
    let figures = json(&ran.stdout)["fidelity"]["figures"].clone();
    let text = fs::read_to_string(&file).unwrap();
    let lines = common::json(&text);
    assert_eq!(figures["pairs"], lines.len());
    let keys: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
    for key in ["query_id", "document_id", "query", "document", "reference", "quantized"] {
        assert!(keys.iter().any(|found| *found == key), "no {key} in {keys:?}");
    }
    // The file is input of `score`, which gives the same logits again.
    for (key, model, dtype) in [("reference", model, "f32"), ("quantized", place.path("out"), "auto")] {
        let scored = run(["score", "--model", &model, "--dtype", dtype, &file], "").json();
        assert_eq!(scored.len(), lines.len());
        for (score, line) in scored.iter().zip(&lines) {
            assert_eq!(score["logits"][0], line[key], "{line}");
        }
    }
    let number = |line: &Value, key: &str| line[key].as_f64().unwrap();
    let deltas = lines.iter().map(|line| (number(line, "reference") - number(line, "quantized")).abs());
    let mean = deltas.clone().sum::<f64>() / lines.len() as f64;
    let sd = figures["logit_sd"].as_f64().unwrap();
    assert!(mean > 0.0 && (mean / sd - figures["mean_delta"].as_f64().unwrap()).abs() < 1e-6, "{figures}");
    let worst = &figures["worst_pair"];
    let line = lines.iter().find(|line| line["query_id"] == worst[0] && line["document_id"] == worst[1]);
    let line = line.unwrap_or_else(|| panic!("no {worst}"));
    let delta = (number(line, "reference") - number(line, "quantized")).abs();
    assert!((delta / sd - figures["worst_delta"].as_f64().unwrap()).abs() < 1e-6, "{line}");
    // Nothing temporary is left.
    let mut left: Vec<_> =
        fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["eval", "logits.jsonl", "model", "out"]);
}

#[cfg(unix)]
#[test]
fn others_may_read_the_logits_as_the_umask_allows() {
    use std::os::unix::fs::PermissionsExt;

    let place = Place::new();
    let (file, plain) = (place.path("logits.jsonl"), place.path("plain"));
    place.verify(&place.path("model"), &["--dtype", "f32", "--logits", &file]).ok();
    fs::write(&plain, "").unwrap();
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&file), mode(&plain));
}

#[test]
fn a_file_that_no_logits_can_be_written_to_is_named_before_anything_is_done() {
    let place = Place::new();
    let folder = place.path("eval");
    let error = place.verify(&place.path("model"), &["--logits", &folder]).error();
    assert_eq!(error, format!("{folder}: expected the name of a file, found a folder"));
    let file = place.path("none/logits.jsonl");
    let error = place.verify(&place.path("model"), &["--logits", &file]).error();
    assert_eq!(
        error,
        format!("{file}: expected a name within a folder that exists, found one that does not")
    );
    for input in ["model/config.json", "eval/../eval/new", "model/model.safetensors"] {
        let error = place.verify(&place.path("model"), &["--logits", &place.path(input)]).error();
        assert!(error.contains("expected a file that is no input, found one of "), "{error}");
    }
    let error = place.verify(&place.path("model"), &["--logits", &place.path("out")]).error();
    assert!(error.contains("expected another name than that of the result"), "{error}");
    #[cfg(unix)]
    {
        let link = place.path("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        let error = place.verify(&place.path("model"), &["--logits", &link]).error();
        assert!(error.starts_with(&format!("{link}: expected a regular file or none")), "{error}");
    }
    assert!(!place.written());
}

#[test]
fn a_model_of_several_labels_is_refused() {
    let place = Place::new();
    let error = place.verify(&fixture("relu-3-labels"), &[]).error();
    assert_eq!(error, "--verify: expected a model with one label, which ranks, found 3");
    assert!(!place.written());
}

#[test]
fn logits_that_are_not_finite_are_a_failure() {
    let place = Place::new();
    let model = place.folder.path().join("broken");
    copy_model("gelu-60", &model);
    change_tensor(&model, "classifier.weight", |bytes| {
        bytes.chunks_exact_mut(4).for_each(|value| value.copy_from_slice(&f32::MAX.to_le_bytes()));
    });
    let ran = place.verify(model.to_str().unwrap(), &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(place.written());
    let start = format!(
        "crossrank: error: {} is written, but not verified: {}: query `q",
        place.path("out"),
        model.display()
    );
    assert!(ran.stderr.starts_with(&start), "{}", ran.stderr);
    assert!(ran.stderr.contains("; the model's weights are broken"), "{}", ran.stderr);
}

#[test]
fn what_belongs_to_the_comparison_needs_it() {
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("out");
    for more in [["--run", "x"], ["--queries", "3"], ["--logits", "x"]] {
        let args = ["quantize", &fixture("gelu-60"), out.to_str().unwrap()];
        assert!(run(args.iter().chain(&more), "").usage_error().contains("--verify"), "{more:?}");
    }
}

#[test]
fn a_report_without_a_comparison_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let args = ["quantize", &fixture("gelu-60"), out.to_str().unwrap(), "--format", "json"];
    let report = json(&run(args, "").ok());
    assert!(report.get("fidelity").is_none(), "{report}");
    let size = |path: &Path| fs::metadata(path.join("model.safetensors")).unwrap().len();
    assert_eq!(report["bytes_before"], size(&fixtures_folder().join("gelu-60")));
    assert_eq!(report["bytes_after"], size(&out));
    assert_eq!(report["worst"]["tensor"].as_str().map(|name| name.ends_with(".weight")), Some(true));
}
