//! Clients that are broken, slow, many or hostile.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use common::{QUERY, Reply, Running, fixture, options, post, source};
use serde_json::json;

const JSON: &str = "Content-Type: application/json";

fn body() -> String {
    json!({ "query": QUERY, "texts": ["To the sea."] }).to_string()
}

/// That the server still answers.
fn lives(server: &Running) {
    assert_eq!(server.post("/rerank", body()).ok().as_array().unwrap().len(), 1);
}

#[test]
fn a_body_that_breaks_off_harms_nobody() {
    let server = Running::one(options());
    let whole = post("/rerank", &[JSON], body());
    for end in [1, 20, whole.len() / 2, whole.len() - 1] {
        let mut stream = server.connect();
        stream.write_all(&whole[..end]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        // Whatever is said, the connection ends.
        let mut rest = vec![];
        let _ = stream.read_to_end(&mut rest);
        assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
    }
    lives(&server);
}

#[test]
fn who_is_too_slow_is_told_so() {
    let mut own = options();
    own.body_timeout = Duration::from_millis(100);
    own.head_timeout = Duration::from_millis(100);
    let server = Running::one(own);
    let whole = post("/v1/rerank", &[JSON], body());
    let mut stream = server.connect();
    stream.write_all(&whole[..whole.len() - 1]).unwrap();
    let reply = Reply::read(&mut stream).unwrap();
    assert_eq!(reply.status, 408);
    assert!(reply.json()["message"].is_string());
    let mut stream = server.connect();
    stream.write_all(b"POST /rerank HTT").unwrap();
    let mut rest = vec![];
    let _ = stream.read_to_end(&mut rest);
    assert!(!String::from_utf8_lossy(&rest).contains(" 200 "));
    lives(&server);
}

#[test]
fn who_reads_nothing_holds_no_worker() {
    let mut own = options();
    own.write_timeout = Duration::from_millis(100);
    let server = Running::one(own);
    // An answer that no buffer of the system holds.
    let text = "sea ".repeat(4 << 20);
    let large = json!({ "query": QUERY, "texts": [text], "return_text": true }).to_string();
    let mut streams: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut streams {
        stream.write_all(&post("/rerank", &[JSON], &large)).unwrap();
    }
    lives(&server);
    // In the end they are cut, and their places are free.
    while server.metric("crossrank_connections") > 1.0 {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn bodies_come_in_chunks_after_a_hundred_continue_and_one_after_another() {
    let server = Running::one(options());
    let body = body();
    let (left, right) = body.split_at(10);
    let chunked = format!(
        "POST /rerank HTTP/1.1\r\nHost: x\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{left}\r\n{:x}\r\n{right}\r\n0\r\n\r\n",
        left.len(),
        right.len()
    );
    let alone = server.post("/rerank", &body).ok();
    assert_eq!(server.send(chunked).ok(), alone);

    let mut stream = server.connect();
    let head = format!(
        "POST /rerank HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = [0; 25];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    assert_eq!(Reply::read(&mut stream).unwrap().ok(), alone);

    // Pipelined, on the same connection.
    let twice =
        [post("/rerank", &[JSON], &body), post("/nowhere", &[JSON], &body), post("/rerank", &[JSON], &body)];
    stream.write_all(&twice.concat()).unwrap();
    let replies: Vec<u16> = (0..3).map(|_| Reply::read(&mut stream).unwrap().status).collect();
    assert_eq!(replies, [200, 404, 200]);
}

#[test]
fn bytes_that_are_no_text_are_refused_or_repaired() {
    let server = Running::one(options());
    let reply = server.post("/rerank", b"{\"query\":\"q\",\"texts\":[\"a\xff\"]}");
    assert_eq!(reply.status, 400);
    assert!(reply.text().contains("expected UTF-8, found another byte at 24"), "{}", reply.text());
    let alone = server.post("/rerank", body()).ok();
    assert_eq!(server.post("/rerank", format!("\u{feff}{}", body())).ok(), alone);
    // Half of an emoji, which Node and Python send for a text that was cut in the middle.
    let repaired = json!({ "query": "q \u{fffd}", "texts": ["cut \u{fffd}", "whole 😀"] }).to_string();
    let broken =
        r#"{"query":"q \udc00","texts":["cut \ud83d","whole \ud83d\ude00"],"\ud83d":{"x":"\ud83d"}}"#;
    assert_eq!(server.post("/rerank", broken).ok(), server.post("/rerank", repaired).ok());
    // A key may be written with escapes.
    assert_eq!(server.post("/rerank", body().replace("query", "qu\\u0065ry")).ok(), alone);
    // What is not known may be anything.
    let deep = format!("{{\"x\":{}1{},\"y\":1e999,", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(server.post("/rerank", body().replacen('{', &deep, 1)).ok(), alone);
    // Where nesting means something, it is refused.
    let deep = format!(r#"{{"query":"q","texts":[{}"a"{}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(server.post("/rerank", deep).status, 422);
    for body in [
        r#"{"query":"q","texts":["a"],"top_n":1e400}"#,
        r#"{"query":"q","texts":["a"],"top_n":123456789012345678901234567890}"#,
        r#"{"query":"q","texts":["a"],"model":null,"stride":null,"min_score":null,"fuse":null,"long":null}"#,
    ] {
        server.post("/rerank", body).ok();
    }
}

#[test]
fn bodies_are_bounded_all_together() {
    let mut own = options();
    own.max_held_bytes = 1000;
    let server = Running::one(own);
    // One that is alone may be larger.
    let large = json!({ "query": QUERY, "texts": ["sea ".repeat(500)] }).to_string();
    server.post("/rerank", &large).ok();
    let mut half = server.connect();
    let whole = post("/rerank", &[JSON], &large);
    half.write_all(&whole[..whole.len() - 10]).unwrap();
    while server.metric("crossrank_held_bytes") != (large.len() - 10) as f64 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let refused = server.post("/rerank", &large);
    assert_eq!(refused.status, 429);
    assert!(refused.header("retry-after").is_some());
    half.write_all(&whole[whole.len() - 10..]).unwrap();
    assert_eq!(Reply::read(&mut half).unwrap().status, 200);
    while server.metric("crossrank_held_bytes") != 0.0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    server.post("/rerank", &large).ok();
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let mut own = options();
    own.max_connections = Some(2);
    let server = Running::one(own);
    let bytes = post("/rerank", &[JSON], body());
    let mut open: Vec<_> = (0..2).map(|_| server.connect()).collect();
    for stream in &mut open {
        stream.write_all(&bytes).unwrap();
        assert_eq!(Reply::read(stream).unwrap().status, 200);
    }
    let mut third = server.connect();
    third.write_all(&bytes).unwrap();
    third.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    third.peek(&mut [0]).unwrap_err();
    third.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    drop(open);
    assert_eq!(Reply::read(&mut third).unwrap().status, 200);
}

#[test]
fn many_idle_connections_cost_nothing_but_their_places() {
    let server = Running::one(options());
    let idle: Vec<_> = (0..300).map(|_| server.connect()).collect();
    lives(&server);
    drop(idle);
    lives(&server);
}

#[test]
fn pages_of_other_origins_may_ask_only_where_they_are_named() {
    let preflight = "OPTIONS /v1/rerank HTTP/1.1\r\nHost: x\r\nOrigin: https://a.example\r\n\
                     Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n";
    let allowed = |reply: &Reply| reply.header("access-control-allow-origin").map(str::to_owned);
    assert_eq!(allowed(&Running::one(options()).send(preflight)), None);
    let mut own = options();
    own.cors_origins = vec!["https://a.example".into()];
    own.api_keys = vec!["key".into()];
    let server = Running::one(own);
    let reply = server.send(preflight);
    assert_eq!((reply.status, allowed(&reply).as_deref()), (200, Some("https://a.example")));
    let other = server.send(preflight.replace("a.example", "b.example"));
    assert_eq!(allowed(&other), None);
}

/// A copy of a model in which the embedding of one word is NaN.
fn ill(word: u32) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(fixture("gelu-60")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let path = copy.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let words = &header["bert.embeddings.word_embeddings.weight"];
    let row = words["shape"][1].as_u64().unwrap() as usize * size_of::<f32>();
    let at = 8 + length + words["data_offsets"][0].as_u64().unwrap() as usize + word as usize * row;
    bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
    copy
}

#[test]
fn a_score_that_is_no_number_is_an_error_that_names_the_document() {
    let healthy = crossrank::Reranker::load(fixture("gelu-60")).unwrap();
    let ids = |text: &str| healthy.tokenize("x", &[text]).unwrap()[0].ids().to_vec();
    let (chess, water) = (ids("chess"), ids("water"));
    let word = *chess.iter().find(|id| !water.contains(id)).expect("a word of its own");
    let model = ill(word);
    let server = Running::start(options(), vec![source("ill", model.path().to_owned())]);
    // Equal texts are scored once: the first of them is named.
    let documents = json!(["water", "water", "the chess", "water", "the chess"]);
    let body = json!({ "query": "water", "documents": documents }).to_string();
    let reply = server.send(post("/v1/rerank", &[JSON], &body));
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert!(reply.text().contains("document 2: score is NaN"), "{}", reply.text());
    // Whoever asks for others gets them.
    let body = json!({ "query": "water", "documents": ["water"] }).to_string();
    assert_eq!(server.send(post("/v1/rerank", &[JSON], &body)).status, 200);
}
