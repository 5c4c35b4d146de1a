//! Many requests at once: who goes first, who is refused, who is dropped, and what goes wrong. Batches wait at a gate
//! until a test lets them pass, so that nothing depends on time.

mod common;

use std::collections::HashSet;
use std::io::Write;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use common::{QUERY, Reply, Running, fixture, options, post, source};
use crossrank::{RerankOptions, Reranker, ScoreMode, Tokenized};
use crossrank_server::Options;
use serde_json::{Value, json};

/// Where batches wait. It records the number of tokens of each pair of each batch.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    batches: Vec<Vec<usize>>,
    open: bool,
}

impl Gate {
    /// A server whose batches wait.
    fn server(mut options: Options) -> (Arc<Self>, Running) {
        let gate = Arc::new(Self::default());
        let own = gate.clone();
        options.before_batch = Some(Arc::new(move |pairs: &[Tokenized]| own.pass(pairs)));
        (gate, Running::one(options))
    }

    fn pass(&self, pairs: &[Tokenized]) {
        let mut state = self.state.lock().unwrap();
        state.batches.push(pairs.iter().map(Tokenized::len).collect());
        self.changed.notify_all();
        let _open = self.changed.wait_while(state, |state| !state.open).unwrap();
    }

    /// Waits until so many batches have come.
    fn wait_for(&self, batches: usize) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| state.batches.len() < batches).unwrap());
    }

    fn open(&self) {
        self.state.lock().unwrap().open = true;
        self.changed.notify_all();
    }

    fn batches(&self) -> Vec<Vec<usize>> {
        self.state.lock().unwrap().batches.clone()
    }
}

/// Asks again until it is so. What never comes about hangs, as a test that fails.
fn until(mut is: impl FnMut() -> bool) {
    while !is() {
        thread::sleep(std::time::Duration::from_millis(2));
    }
}

fn waits(server: &Running, jobs: f64) {
    until(|| server.metric("te_queue_size") == jobs);
}

fn body(documents: &[String]) -> String {
    json!({ "query": QUERY, "texts": documents }).to_string()
}

fn documents(count: usize, word: &str) -> Vec<String> {
    (0..count).map(|i| format!("{word} {i}: a river runs to the sea.")).collect()
}

/// Sends a request without waiting for its answer.
fn begin(server: &Running, body: &str) -> TcpStream {
    let mut stream = server.connect();
    stream.write_all(&post("/rerank", &["Content-Type: application/json"], body)).unwrap();
    stream
}

fn answer(mut stream: TcpStream) -> Reply {
    Reply::read(&mut stream).expect("an answer")
}

fn expected(reranker: &Reranker, documents: &[String]) -> Vec<(u64, String)> {
    let options = RerankOptions::default().score(ScoreMode::Sigmoid);
    let ranking = reranker.rerank(QUERY, documents, &options).unwrap();
    ranking.iter().map(|ranked| (ranked.index as u64, json!(ranked.score).to_string())).collect()
}

fn found(reply: &Reply) -> Vec<(u64, String)> {
    let item = |item: &Value| {
        // Through f32, which is what was written.
        let score: f32 = item["score"].to_string().parse().unwrap();
        (item["index"].as_u64().unwrap(), json!(score).to_string())
    };
    reply.ok().as_array().unwrap().iter().map(item).collect()
}

#[test]
fn scores_have_the_same_bits_in_any_company() {
    let server = Running::one(options());
    let reranker = Reranker::load(fixture("gelu-60")).unwrap();
    thread::scope(|scope| {
        for client in 0..6 {
            let (server, reranker) = (&server, &reranker);
            scope.spawn(move || {
                let mut stream = server.connect();
                for round in 0..8 {
                    let documents =
                        documents(1 + (client * 7 + round * 3) % 60, &"x ".repeat(client + round));
                    let bytes = post("/rerank", &["Content-Type: application/json"], body(&documents));
                    stream.write_all(&bytes).unwrap();
                    let reply = Reply::read(&mut stream).unwrap();
                    assert_eq!(found(&reply), expected(reranker, &documents));
                }
            });
        }
    });
    assert_eq!(server.metric("te_queue_size"), 0.0);
    assert_eq!(server.metric("crossrank_queue_tokens"), 0.0);
}

#[test]
fn a_small_request_passes_a_large_one_that_is_under_way() {
    let (gate, server) = Gate::server(options());
    let large = documents(50, "large");
    let first = begin(&server, &body(&large));
    gate.wait_for(1);
    assert_eq!(gate.batches()[0].len(), 50, "what is alone goes whole");
    let small = vec!["sea".to_owned()];
    let second = begin(&server, &body(&small));
    waits(&server, 2.0);
    gate.open();
    let reranker = Reranker::load(fixture("gelu-60")).unwrap();
    assert_eq!(found(&answer(second)), expected(&reranker, &small));
    assert_eq!(found(&answer(first)), expected(&reranker, &large));
    let batches = gate.batches();
    let tokens = reranker.tokenize(QUERY, &small).unwrap()[0].len();
    assert_eq!(batches[1][0], tokens, "the small one is first in the next batch: {batches:?}");
    assert!(batches[1].len() > 1, "and has company");
}

#[test]
fn who_would_wait_too_long_is_refused_before_any_work() {
    let mut own = options();
    own.max_queue = std::time::Duration::ZERO;
    let (gate, server) = Gate::server(own);
    // While the first model is loaded nobody may wait here.
    until(|| server.get("/health").status == 200);
    let first = begin(&server, &body(&documents(50, "first")));
    gate.wait_for(1);
    // What runs is expected to have ended at some time, so that one more may be let in; what waits stays.
    let second = begin(&server, &body(&documents(50, "second")));
    let refused = || server.get("/metrics").text().contains("te_request_failure{err=\"overloaded\"}");
    until(|| refused() || server.metric("te_queue_size") == 2.0);
    let (second, third) = match refused() {
        true => (None, second),
        false => (Some(second), begin(&server, &body(&documents(50, "third")))),
    };
    let reply = answer(third);
    assert_eq!(reply.status, 429);
    assert_eq!(reply.json(), json!({ "error": "Model is overloaded", "error_type": "Overloaded" }));
    let seconds: u64 = reply.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(reply.header("retry-after-ms"), Some(&*(seconds * 1000).to_string()));
    assert_eq!(gate.batches().len(), 1);
    gate.open();
    assert_eq!(answer(first).status, 200);
    assert!(second.is_none_or(|second| answer(second).status == 200));
}

#[test]
fn who_hangs_up_is_dropped() {
    let (gate, server) = Gate::server(options());
    let first = begin(&server, &body(&documents(3, "first")));
    gate.wait_for(1);
    let second = begin(&server, &body(&documents(40, "second and longer")));
    waits(&server, 2.0);
    drop(second);
    waits(&server, 1.0);
    // One whose pairs are being scored.
    drop(first);
    waits(&server, 0.0);
    assert_eq!(server.metric("crossrank_queue_tokens"), 0.0);
    gate.open();
    assert_eq!(server.post("/rerank", body(&documents(2, "third"))).status, 200);
    let batches = gate.batches();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2], "nothing of the second was scored");
}

#[test]
fn a_budget_of_time_gives_what_there_is() {
    let (gate, server) = Gate::server(options());
    let body = json!({ "query": QUERY, "documents": documents(5, "x"), "budget_ms": 20 });
    // The gate is closed: nothing is scored, and the answer comes all the same.
    let answer = server.post("/v1/rerank", body.to_string()).ok();
    assert_eq!((&answer["results"], &answer["not_scored"]), (&json!([]), &json!([0, 1, 2, 3, 4])));
    gate.open();
    let body = json!({ "query": QUERY, "documents": documents(5, "x"), "budget_ms": 1_000_000 });
    let answer = server.post("/v1/rerank", body.to_string()).ok();
    assert_eq!(answer["results"].as_array().unwrap().len(), 5);
    assert!(answer.get("not_scored").is_none());
}

#[test]
fn a_panic_is_the_error_of_its_request_alone() {
    let reranker = Reranker::load(fixture("gelu-60")).unwrap();
    let poison = vec!["a b c d e f g h i j k l m n o p q r s t u v w x y z".to_owned()];
    let length = reranker.tokenize(QUERY, &poison).unwrap()[0].len();
    let good = documents(4, "good");
    assert!(reranker.tokenize(QUERY, &good).unwrap().iter().all(|pair| pair.len() != length));
    let mut own = options();
    let (gate, seen) = (Arc::new(Gate::default()), Arc::new(Mutex::new(HashSet::new())));
    let (at, record) = (gate.clone(), seen.clone());
    own.before_batch = Some(Arc::new(move |pairs: &[Tokenized]| {
        record.lock().unwrap().insert(pairs.len());
        at.pass(pairs);
        assert!(pairs.iter().all(|pair| pair.len() != length), "a fault of a worker");
    }));
    let server = Running::one(own);
    let first = begin(&server, &body(&documents(1, "first")));
    gate.wait_for(1);
    let (bad, other) = (begin(&server, &body(&poison)), begin(&server, &body(&good)));
    waits(&server, 3.0);
    gate.open();
    assert_eq!(answer(first).status, 200);
    let reply = answer(bad);
    assert_eq!(reply.status, 500);
    assert_eq!(reply.json()["error_type"], "Backend");
    assert_eq!(found(&answer(other)), expected(&reranker, &good));
    assert!(seen.lock().unwrap().contains(&5) || seen.lock().unwrap().contains(&6), "they were in one batch");
    assert_eq!(found(&server.post("/rerank", body(&good))), expected(&reranker, &good));
}

#[test]
fn what_was_accepted_is_answered_when_the_server_ends() {
    let (gate, server) = Gate::server(options());
    let streams: Vec<TcpStream> =
        (0..4).map(|i| begin(&server, &body(&documents(10 + i, "under way")))).collect();
    let idle = server.connect();
    waits(&server, 4.0);
    server.server().end();
    // Who comes now is not let in.
    until(|| TcpStream::connect(server.address).is_err());
    gate.open();
    for stream in streams {
        assert_eq!(answer(stream).status, 200);
    }
    // Who asks nothing does not keep the server.
    server.wait().unwrap();
    drop(idle);
}

#[test]
fn a_model_that_cannot_be_loaded_says_no_paths_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let models = vec![source("a", fixture("gelu-60")), source("b", model.clone())];
    let server = Running::start(options(), models);
    let ask =
        || server.post("/v1/rerank", json!({ "query": QUERY, "documents": ["a"], "model": "b" }).to_string());
    let reply = ask();
    assert_eq!(reply.status, 500);
    assert!(!reply.text().contains(folder.path().to_str().unwrap()), "{}", reply.text());
    assert_eq!(server.get("/v1/models").ok()["data"][1]["status"], "failed");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(fixture("gelu-60")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let before = ask().ok();
    // What is loaded stays, whatever becomes of its folder.
    std::fs::remove_dir_all(&model).unwrap();
    assert_eq!(ask().ok()["results"], before["results"]);
    std::fs::create_dir(&model).unwrap();
    std::fs::write(model.join("config.json"), "{}").unwrap();
    assert_eq!(ask().ok()["results"], before["results"]);
}

#[test]
fn the_first_model_must_load() {
    let folder = tempfile::tempdir().unwrap();
    let server = Running::start(options(), vec![source("gone", folder.path().join("gone"))]);
    let error = server.wait().unwrap_err().to_string();
    assert!(error.contains("gone"), "{error}");
    let two = vec![source("a", fixture("gelu-60")), source("a", fixture("gelu-60"))];
    assert!(crossrank_server::Server::start(options(), two).is_err());
    assert!(crossrank_server::Server::start(options(), vec![]).is_err());
}
