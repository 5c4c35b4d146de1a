//! What is refused and how it is said; keys, models and facts.

use crossrank::{RerankOptions, Reranker, ScoreMode};
use serde_json::json;

use crate::common::{QUERY, Reply, Running, fixture, options, post, source};
use crate::{TEXTS, keys, scores};

#[test]
fn errors_have_the_form_of_their_contract() {
    let mut own = options();
    own.max_documents = 3;
    own.max_document_chars = Some(500);
    own.max_body_bytes = 5000;
    let server = Running::one(own);
    let long = "sea ".repeat(100);
    for (path, body, status, needle) in [
        // TEI: {"error", "error_type"}.
        (
            "/rerank",
            r#"{"query":"q","texts":[]}"#.to_owned(),
            400,
            "\"error\":\"`texts` cannot be empty\",\"error_type\":\"Empty\"",
        ),
        ("/rerank", r#"{"query":"","texts":["a"]}"#.to_owned(), 400, "`inputs` cannot be empty"),
        (
            "/rerank",
            r#"{"query":"q","texts":["a","b","c","d"]}"#.to_owned(),
            422,
            "batch size 4 > maximum allowed batch size 3",
        ),
        (
            "/rerank",
            format!(r#"{{"query":"q","texts":["{long}"],"truncate":false}}"#),
            422,
            "must have less than 64 tokens. Given: document 0",
        ),
        (
            "/rerank",
            format!(r#"{{"query":"q","texts":["a","{long}"],"truncation_direction":"Left"}}"#),
            422,
            "document 1",
        ),
        (
            "/rerank",
            format!(r#"{{"query":"q","texts":["{long}{long}"]}}"#),
            422,
            "must have less than 501 characters. Given: 800",
        ),
        ("/rerank", r#"{"query":"q"}"#.to_owned(), 422, "missing field `texts`"),
        ("/rerank", r#"["q",["a"]]"#.to_owned(), 422, "expected a JSON object, found an array"),
        ("/rerank", r#"{"query":"q","texts":["a"],"truncate":"maybe"}"#.to_owned(), 422, "`truncate`"),
        (
            "/rerank",
            r#"{"query":"q","texts":["a", 7]}"#.to_owned(),
            422,
            "`texts[1]`: expected a string, found a number",
        ),
        (
            "/rerank",
            r#"{"query":"q","texts":["a"],"top_n":-1}"#.to_owned(),
            422,
            "`top_n`: expected an integer of at least 0, found -1",
        ),
        ("/rerank", r#"{"query":"q","texts":["a"],"top_n":1.5}"#.to_owned(), 422, "found 1.5"),
        ("/rerank", r#"{"query":"q","texts":["a"],"query":"r"}"#.to_owned(), 422, "duplicate field `query`"),
        ("/rerank", r#"{"query":"q","texts":["a"],"budget_ms":5}"#.to_owned(), 422, "`budget_ms`"),
        ("/rerank", r#"{"query":"q","texts":["#.to_owned(), 400, "Failed to parse the request body as JSON"),
        (
            "/rerank",
            r#"{"query":"q","texts":[NaN]}"#.to_owned(),
            400,
            "Failed to parse the request body as JSON",
        ),
        ("/rerank", String::new(), 400, "Failed to parse the request body as JSON"),
        (
            "/rerank",
            format!(r#"{{"query":"q","texts":["{}"]}}"#, "a".repeat(5000)),
            413,
            "length limit exceeded",
        ),
        // Cohere, Jina, llama.cpp: {"message", "error": {...}}.
        (
            "/v2/rerank",
            r#"{"query":"q","documents":[]}"#.to_owned(),
            400,
            "\"message\":\"invalid request: list of documents must not be empty\"",
        ),
        (
            "/v1/rerank",
            r#"{"query":" ","documents":["a"]}"#.to_owned(),
            400,
            "query must not be empty or be only whitespace",
        ),
        ("/v1/rerank", r#"{"documents":["a"]}"#.to_owned(), 400, "\\\"query\\\" must be provided"),
        ("/v1/rerank", r#"{"query":7,"documents":["a"]}"#.to_owned(), 400, "\\\"query\\\" must be a string"),
        (
            "/v1/rerank",
            r#"{"query":"q","documents":null}"#.to_owned(),
            400,
            "\\\"documents\\\" must be a non-empty string array",
        ),
        (
            "/v1/rerank",
            r#"{"query":"q"}"#.to_owned(),
            400,
            "\\\"documents\\\" must be a non-empty string array",
        ),
        (
            "/v1/rerank",
            r#"{"query":"q","documents":["a","b","c","d"]}"#.to_owned(),
            400,
            "4 documents, but the most are 3",
        ),
        ("/v1/rerank", r#"{"query":"q","documents":["a"],"top_n":"x"}"#.to_owned(), 400, "`top_n`"),
        (
            "/v1/rerank",
            r#"{"query":"q","documents":[{"image":"x"}]}"#.to_owned(),
            400,
            "expected a string or an object with `text`",
        ),
        ("/v1/rerank", "{".to_owned(), 400, "\"type\":\"invalid_request_error\""),
        (
            "/v1/rerank",
            format!(r#"{{"query":"q","documents":["{}"]}}"#, "a".repeat(5000)),
            413,
            "\"message\"",
        ),
        ("/v1/rerank", r#"{"query":"q","documents":["a"],"fuse":2}"#.to_owned(), 400, "`fuse`"),
        (
            "/v1/rerank",
            r#"{"query":"q","documents":["a"],"fuse":0.5}"#.to_owned(),
            400,
            "first stage's scores",
        ),
        (
            "/v1/rerank",
            r#"{"query":"q","documents":["a"],"long":"max","stride":1000}"#.to_owned(),
            400,
            "`stride`",
        ),
        ("/v1/nothing", String::new(), 404, "\"message\":\"there is no route /v1/nothing\""),
        // NIM.
        (
            "/v1/ranking",
            r#"{"query":{"text":"q"},"passages":[]}"#.to_owned(),
            400,
            "\"error\":\"`passages` cannot be empty\"",
        ),
        ("/v1/ranking", r#"{"query":{"text":"q"}}"#.to_owned(), 422, "missing field `passages`"),
    ] {
        let reply = server.post(path, &body);
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.text());
        assert!(reply.text().contains(needle), "{path} {body}: {}", reply.text());
        let error = reply.json();
        match path {
            "/rerank" => assert!(error["error"].is_string() && error["error_type"].is_string(), "{error}"),
            "/v1/ranking" => assert!(error["error"].is_string()),
            _ => {
                assert!(error["message"].is_string());
                assert_eq!(error["error"]["code"], status);
            }
        }
        assert!(reply.body.len() < 2000);
    }
    // A blank query is an error, an empty document is none.
    assert_eq!(
        server.post("/v1/rerank", r#"{"query":"q","documents":["",""]}"#).ok()["results"][1]["index"],
        1
    );
    // A long message is cut.
    let body = format!(r#"{{"query":"q","documents":["a"],"model":"m","fuse":"{}"}}"#, "x".repeat(3000));
    assert!(server.post("/v1/rerank", body).body.len() < 1500);
}

#[test]
fn methods_types_and_encodings_are_refused_by_name() {
    let server = Running::one(options());
    let reply = server.get("/rerank");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    let reply = server.get("/v1/rerank");
    assert_eq!(reply.status, 405);
    assert!(reply.json()["message"].is_string());
    let body = format!(r#"{{"query":"{QUERY}","documents":["a"]}}"#);
    for (header, status) in [
        ("Content-Type: text/plain", 415),
        ("Content-Type: application/x-www-form-urlencoded", 415),
        ("Content-Encoding: gzip", 415),
        ("Content-Type: application/json; charset=utf-8", 200),
        ("Content-Type: application/problem+json", 200),
        // None at all.
        ("X-Other: 1", 200),
    ] {
        let reply = server.send(post("/v1/rerank", &[header], &body));
        assert_eq!(reply.status, status, "{header}");
        assert_eq!(reply.header("accept-encoding").is_some(), status == 415);
        assert!(reply.json().is_object());
    }
}

#[test]
fn keys_open_what_they_should() {
    let mut own = options();
    own.api_keys = vec!["one".into(), "two".into()];
    let server = Running::one(own);
    let body = format!(r#"{{"query":"{QUERY}","documents":["a"]}}"#);
    let with = |path: &str, header: &str| {
        server.send(post(path, &["Content-Type: application/json", header], &body))
    };
    assert_eq!(with("/v1/rerank", "Authorization: Bearer two").status, 200);
    assert_eq!(with("/v1/rerank", "authorization: bearer one").status, 200);
    for header in ["X: y", "Authorization:", "Authorization: Bearer None", "Authorization: one"] {
        // TEI has an empty body there; Cohere's client can only read JSON.
        let reply = with("/rerank", header);
        assert_eq!((reply.status, reply.body.len()), (401, 0));
        let reply = with("/v2/rerank", header);
        assert_eq!(reply.status, 401);
        assert!(reply.json()["message"].is_string());
    }
    for path in [
        "/health",
        "/.well-known/live",
        "/.well-known/ready",
        "/v1/health/ready",
        "/",
        "/docs",
        "/openapi.json",
    ] {
        assert!(server.get(path).status < 300, "{path}");
    }
    for path in ["/info", "/metrics", "/v1/models"] {
        assert_eq!(server.get(path).status, 401, "{path}");
    }
    // Without keys any header is passed over.
    let open = Running::one(options());
    for header in ["Authorization:", "Authorization: Bearer ", "Authorization: Bearer None"] {
        assert_eq!(
            open.send(post("/v1/rerank", &["Content-Type: application/json", header], &body)).status,
            200
        );
    }
}

#[test]
fn models_are_told_by_name_and_loaded_when_asked_for() {
    let models = || vec![source("a", fixture("gelu-60")), source("b", fixture("silu-1-layer"))];
    let server = Running::start(options(), models());
    let ask = |model: &str| {
        server.post("/v1/rerank", json!({ "query": QUERY, "documents": TEXTS, "model": model }).to_string())
    };
    let state = || server.get("/v1/models").ok()["data"][1]["status"].clone();
    assert_eq!(ask("a").ok()["model"], "a");
    assert_eq!(state(), "not loaded");
    let answer = ask("b").ok();
    assert_eq!((&answer["model"], state()), (&json!("b"), json!("loaded")));
    let other = Reranker::load(fixture("silu-1-layer")).unwrap();
    let options_of = RerankOptions::default().score(ScoreMode::Sigmoid);
    let expected: Vec<(usize, f32)> = other
        .rerank(QUERY, &TEXTS, &options_of)
        .unwrap()
        .iter()
        .map(|ranked| (ranked.index, ranked.score))
        .collect();
    assert_eq!(scores(&answer["results"], "relevance_score"), expected);
    let reply = ask("c");
    assert_eq!(reply.status, 404);
    assert!(reply.json()["message"].as_str().unwrap().contains("a, b"));
    assert_eq!(server.get("/v1/models").ok()["data"][0]["id"], "a");

    // One model answers to any name, unless it is not to.
    let body = json!({ "query": QUERY, "documents": TEXTS, "model": "jina-reranker-v2-base-multilingual" })
        .to_string();
    assert_eq!(Running::one(options()).post("/rerank", &body).status, 200);
    let mut own = options();
    own.strict_model = true;
    assert_eq!(Running::one(own).post("/rerank", &body).status, 404);
}

#[test]
fn facts_and_pages() {
    let server = Running::one(options());
    // The model is loaded once this is answered.
    server.post("/rerank", r#"{"query":"q","texts":["a"]}"#).ok();
    let info = server.get("/info").ok();
    // Dify looks at the first key.
    assert_eq!(keys(&info["model_type"]), ["reranker"]);
    assert_eq!((&info["max_input_length"], &info["auto_truncate"]), (&json!(64), &json!(true)));
    assert_eq!(server.get("/health").status, 200);
    for path in ["/", "/docs"] {
        let page = server.get(path);
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        assert!(
            !page.text().contains("http://") && !page.text().contains("https://"),
            "a page asks this server alone"
        );
    }
    let openapi = server.get("/openapi.json").ok();
    assert!(openapi["paths"]["/v1/rerank"]["post"].is_object());
    assert!(openapi["components"]["schemas"]["Request"]["properties"]["top_n"]["description"].is_string());
    for name in ["te_request_count{method=\"single\"}", "te_request_success{method=\"single\"}"] {
        assert_eq!(server.metric(name), 1.0, "{name}");
    }
    let text = server.get("/metrics").text();
    for name in [
        "te_request_duration_bucket",
        "te_request_tokenization_duration_sum",
        "te_request_queue_duration_sum",
        "te_request_inference_duration_sum",
        "te_request_input_length_count 1",
        "te_predict_count 1",
        "te_predict_success 1",
        "te_predict_inference_duration_count 1",
        "te_batch_next_size_count",
        "te_batch_next_tokens_sum",
        "te_queue_size 0",
        "crossrank_queue_tokens 0",
        "crossrank_documents_total 1",
        "crossrank_score_count 1",
    ] {
        assert!(text.contains(name), "{name}: {text}");
    }
    // A name that a client gives a request comes back, one that is no name does not.
    let reply = server.send("GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: a-7\r\n\r\n");
    assert_eq!(reply.header("x-request-id"), Some("a-7"));
    let reply: Reply = server.send("GET /health HTTP/1.1\r\nHost: x\r\nX-Request-Id: a b\r\n\r\n");
    assert_ne!(reply.header("x-request-id"), Some("a b"));
}
