//! Values that `trec_eval` 9.0.8 and `pytrec_eval-terrier` 0.5.11 gave when they were run on the same lines.
//!
//! Cases of theirs that are about options which we have not are left out: `-M`, `-l` and `-J`; and `gm_map`. Where they
//! take a broken line for something and we refuse it, the case is here as an error.

use crossrank_eval::{Evaluation, Judgements, Lines, Mean, Metric, Run};

fn lines(name: &str, contents: String) -> Lines {
    Lines::of(name.to_owned(), contents.into_bytes())
}

/// "b 1, q2: a 2" as lines; the query is `q` where none is named.
fn pairs(text: &str, line: impl Fn(&str, &str, &str) -> String) -> String {
    let line = |pair: &str| {
        let (query, pair) = pair.split_once(": ").unwrap_or(("q", pair));
        let (document, value) = pair.split_once(' ').unwrap();
        line(query, document, value)
    };
    text.split(", ").map(line).collect()
}

fn judgements(text: &str) -> Judgements {
    let contents = pairs(text, |query, document, grade| format!("{query} 0 {document} {grade}\n"));
    Judgements::read(lines("qrels", contents)).unwrap()
}

fn run(text: &str) -> Result<Run, String> {
    let contents = pairs(text, |query, document, score| format!("{query} Q0 {document} 1 {score} t\n"));
    Run::read(lines("run", contents)).map_err(|error| error.to_string())
}

fn means(qrels: &str, text: &str, names: &[&str], over: Mean) -> Vec<f64> {
    let metrics: Vec<Metric> = names.iter().map(|name| name.parse().unwrap()).collect();
    Evaluation::new(&judgements(qrels), &run(text).unwrap(), &metrics, None).unwrap().means(over)
}

#[track_caller]
fn check(qrels: &str, run: &str, expected: &[(&str, f64)]) {
    let names: Vec<&str> = expected.iter().map(|(name, _)| *name).collect();
    for (found, (name, expected)) in means(qrels, run, &names, Mean::Judged).iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{name}: {found}, expected {expected} ({qrels}; {run})");
    }
}

#[test]
fn equal_scores_are_ranked_by_id_downwards_in_bytes() {
    check("b 1", "a 1.0, b 1.0", &[("mrr", 1.0), ("ndcg@10", 1.0), ("p@1", 1.0)]);
    check("a 1", "a 1.0, b 1.0", &[("mrr", 0.5), ("ndcg@10", 0.630_930), ("p@1", 0.0)]);
    // ir-measures 0.4.3 says 0.5 and 1 for RR@10, and 0 for Judged@1: it has another rule there. Ours is one for all.
    check("b 1", "a 1.0, b 1.0", &[("mrr@10", 1.0), ("judged@1", 1.0)]);
    check("a 1", "a 1.0, b 1.0", &[("mrr@10", 0.5), ("mrr@1", 0.0)]);
    check("doc10 1", "doc9 1, doc10 1", &[("mrr", 0.5)]);
    check("a 1", "Z 1, a 1", &[("mrr", 1.0)]);
    check("é 1", "z 1, é 1", &[("mrr", 1.0)]);
    let twenty: Vec<String> = (0..20).map(|i| format!("d{i:02} 1")).collect();
    check("d05 1", &twenty.join(", "), &[("mrr", 1.0 / 15.0), ("mrr@10", 0.0), ("ndcg@10", 0.0)]);
}

#[test]
fn scores_are_32_bit_floats() {
    check("a 1", "a .500000001, z .5", &[("mrr", 0.5)]);
    check("a 1", "a 8.6071425, z 8.6071420", &[("mrr", 0.5)]);
    check("a 1", "a 8.607142, z 8.607141", &[("mrr", 1.0)]);
    check("a 1", "a 1e40, z 1e39", &[("mrr", 0.5)]);
    check("a 1", "a 1e-46, z 1e-47", &[("mrr", 0.5)]);
    check("a 1", "a 0.0, b -0.0", &[("mrr", 0.5)]);
    check("a 1", "a inf, b 1, c -inf", &[("mrr", 1.0)]);
}

#[test]
fn the_stated_rank_counts_for_nothing() {
    let contents = "q Q0 a 2 9 t\nq Q0 b 1 1 t\n".to_owned();
    let run = Run::read(lines("run", contents)).unwrap();
    let found = Evaluation::new(&judgements("a 1"), &run, &[Metric::Mrr(None)], None).unwrap();
    assert_eq!(found.means(Mean::Judged), [1.0]);
}

#[test]
fn grades_are_gains_and_those_below_0_are_0() {
    check(
        "a 2, b 1, c 0, d -1, e -2",
        "e 5, d 4, a 3",
        &[
            ("ndcg@10", 0.380_094),
            ("mrr", 0.333_333),
            ("map", 0.166_667),
            ("p@3", 0.333_333),
            // num_rel is 2.
            ("recall@3", 0.5),
            // ir-measures': documents with a grade below 0 were judged.
            ("judged@10", 1.0),
        ],
    );
    check("a 3, b 2, c 1", "a 5, x 4, b 3", &[("ndcg@10", 0.840_008)]);
}

#[test]
fn a_list_that_is_shorter_than_the_cutoff() {
    check(
        "a 1, b 1, c 1",
        "a 1",
        &[
            ("p@10", 0.1),
            ("recall@10", 0.333_333),
            ("ndcg@1", 1.0),
            ("ndcg@3", 0.469_279),
            ("ndcg@10", 0.469_279),
            ("map", 0.333_333),
        ],
    );
}

#[test]
fn a_query_without_relevant_documents_counts_as_0() {
    let names = ["mrr", "map", "ndcg", "p@1"];
    for over in [Mean::Judged, Mean::Answered] {
        assert_eq!(means("q: a 0, p: a 1", "q: a 5, p: a 5", &names, over), [0.5; 4]);
    }
}

#[test]
fn a_query_without_results_counts_as_0_or_not_at_all() {
    let (qrels, text) = ("q1: a 1, q2: m 1", "q1: a 1, q3: a 1");
    // trec_eval -c, and without.
    assert_eq!(means(qrels, text, &["mrr"], Mean::Judged), [0.5]);
    assert_eq!(means(qrels, text, &["mrr"], Mean::Answered), [1.0]);
    let found = Evaluation::new(&judgements(qrels), &run(text).unwrap(), &[Metric::Map], None).unwrap();
    assert_eq!((found.queries.len(), found.answered, found.missing(), found.unjudged), (2, 1, 1, 1));
}

#[test]
fn runs_that_answer_no_judged_query_are_an_error() {
    let error = Evaluation::new(&judgements("q: a 1"), &run("p: a 3").unwrap(), &[], None).unwrap_err();
    assert_eq!(error.to_string(), "run: expected a query that qrels judges, found none among 1, as `p`");
}

#[test]
fn queries_come_in_the_order_of_their_bytes() {
    let found = judgements("2: a 1, 10: a 1, 1: a 1");
    assert_eq!(found.queries().collect::<Vec<_>>(), ["1", "10", "2"]);
}

#[test]
fn what_others_take_for_something_is_refused() {
    let score = "run: line 1: score: expected a number, found";
    let twice = "document: expected one that this query has not yet, found `a`, which line";
    for (text, expected) in [
        ("b 3, a 2, a 1", format!("run: line 3: {twice} 2 has")),
        ("p: a 2, p: a 1", format!("run: line 2: {twice} 1 has")),
        ("a nan, b 1, c 2", format!("{score} `nan`")),
        ("a x, b -1", format!("{score} `x`")),
        ("a 1,9", format!("{score} `1,9`")),
    ] {
        assert_eq!(run(text).err(), Some(expected));
    }
    let qrels =
        |contents: &str| Judgements::read(lines("qrels", contents.to_owned())).err().unwrap().to_string();
    assert_eq!(qrels("q 0 a 1\nq 0 a 0\n"), format!("qrels: line 2: {twice} 1 has"));
    assert_eq!(qrels("q 0 a 1.9\n"), "qrels: line 1: relevance: expected an integer, found `1.9`");
}

#[test]
fn white_space_and_more_columns_are_as_there() {
    let odd = "q\tQ0\ta  1 2 t and more\r\n\n# q Q0 a 1 9 t\nq Q0 b 2 1 t".to_owned();
    let run = Run::read(lines("run", odd)).unwrap();
    let found = Evaluation::new(&judgements("a 1"), &run, &[Metric::Mrr(None)], None).unwrap();
    assert_eq!((found.means(Mean::Judged), run.comments()), (vec![1.0], 1));
}

#[test]
fn a_tie_across_a_cutoff_is_counted() {
    let metrics = ["ndcg@1", "p@2", "p@3", "map"].map(|name| name.parse().unwrap());
    let run = run("q: a 3, q: b 2, q: c 2, p: a 1, p: b 1").unwrap();
    let judgements = judgements("q: a 1, p: a 1");
    let found = Evaluation::new(&judgements, &run, &metrics, None).unwrap();
    assert_eq!(found.ties.iter().map(|(&k, &v)| (k, v)).collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 0)]);
    // A ranking that ends at 1 is not cut at 2.
    let found = Evaluation::new(&judgements, &run, &metrics, Some(1)).unwrap();
    assert_eq!(found.ties.iter().map(|(&k, &v)| (k, v)).collect::<Vec<_>>(), [(1, 1)]);
    // q has a, p has b.
    assert_eq!(found.means(Mean::Judged)[1], 0.25);
}
