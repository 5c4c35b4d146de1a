//! Each contract: what its clients send, byte by byte, and what they read of the answer.

#[path = "../common/mod.rs"]
mod common;
mod refusals;

use common::{QUERY, Running, fixture, options};
use crossrank::{RerankOptions, Reranker, ScoreMode};
use crossrank_server::{DocumentForm, Truncate};
use serde_json::{Value, json};

const TEXTS: [&str; 3] = ["Bread is baked in an oven.", "To the sea.", "A river runs to the sea."];

/// What the library says, best first.
fn library(mode: ScoreMode) -> Vec<(usize, f32)> {
    let reranker = Reranker::load(fixture("gelu-60")).unwrap();
    let ranking = reranker.rerank(QUERY, &TEXTS, &RerankOptions::default().score(mode)).unwrap();
    ranking.iter().map(|ranked| (ranked.index, ranked.score)).collect()
}

/// Index and score of a list, as they are written: an f32 that is read from what was written is the same f32.
fn scores(list: &Value, key: &str) -> Vec<(usize, f32)> {
    let score = |item: &Value| {
        let text = item[key].to_string();
        (item["index"].as_u64().unwrap() as usize, text.parse::<f32>().unwrap())
    };
    list.as_array().unwrap_or_else(|| panic!("{list}")).iter().map(score).collect()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(object) => object.values().any(has_null),
        _ => false,
    }
}

#[test]
fn tei_has_a_bare_array_best_first() {
    let server = Running::one(options());
    let texts = json!(TEXTS).to_string();
    for (path, body) in [
        // RAGFlow, Haystack, LlamaIndex, Milvus, Dify's huggingface_tei.
        ("/rerank", format!(r#"{{"query":"{QUERY}","texts":{texts},"raw_scores":false,"truncate":true}}"#)),
        ("/rerank/", format!(r#"{{"query":"{QUERY}","texts":{texts}}}"#)),
        ("/", format!(r#"{{"query":"{QUERY}","texts":{texts}}}"#)),
        ("/invocations", format!(r#"{{"query":"{QUERY}","texts":{texts}}}"#)),
        // LiteLLM's huggingface: texts as objects, top_n.
        (
            "/rerank",
            format!(
                r#"{{"query":"{QUERY}","texts":[{{"text":"{}"}},"{}",{{"content":[{{"type":"text","text":"{}"}}]}}],"raw_scores":false,"truncate":null,"truncation_direction":"Right","return_text":null,"top_n":null}}"#,
                TEXTS[0], TEXTS[1], TEXTS[2]
            ),
        ),
        // rerankers.
        (
            "/rerank",
            format!(r#"{{"model":"m","top_n":0,"query":"{QUERY}","texts":{texts},"return_text":false}}"#),
        ),
        ("/reranking", format!(r#"{{"query":"{QUERY}","texts":{texts}}}"#)),
    ] {
        let reply = server.post(path, &body);
        let answer = reply.ok();
        assert_eq!(scores(&answer, "score"), library(ScoreMode::Sigmoid), "{path} {body}");
        assert!(answer.as_array().unwrap().iter().all(|item| keys(item) == ["index", "score"]), "{answer}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
        for name in ["time", "characters", "tokens"]
            .map(|name| format!("x-compute-{name}"))
            .iter()
            .map(String::as_str)
            .chain(["x-total-time", "x-tokenization-time", "x-queue-time", "x-inference-time"])
        {
            reply.header(name).unwrap_or_else(|| panic!("{name}")).parse::<u64>().unwrap();
        }
        let characters: usize = TEXTS.iter().map(|text| text.len() + QUERY.len()).sum();
        assert_eq!(reply.header("x-compute-characters"), Some(&*characters.to_string()));
    }
    // Elasticsearch's hugging_face: TEI's form honours top_n.
    let body = format!(r#"{{"texts":{texts},"query":"{QUERY}","return_text":true,"top_n":2}}"#);
    let answer = server.post("/rerank", body).ok();
    assert_eq!(scores(&answer, "score"), library(ScoreMode::Sigmoid)[..2]);
    for item in answer.as_array().unwrap() {
        assert_eq!(item["text"], TEXTS[item["index"].as_u64().unwrap() as usize]);
    }
    let body = format!(r#"{{"query":"{QUERY}","texts":{texts},"raw_scores":true}}"#);
    assert_eq!(scores(&server.post("/rerank", body).ok(), "score"), library(ScoreMode::Raw));
    // Vertex AI wraps it.
    let body = format!(
        r#"{{"instances":[{{"query":"{QUERY}","texts":{texts}}},{{"query":"{QUERY}","texts":["x"]}}]}}"#
    );
    let answer = server.post("/vertex", body).ok();
    assert_eq!(scores(&answer["predictions"][0], "score"), library(ScoreMode::Sigmoid));
    assert_eq!(answer["predictions"][1].as_array().unwrap().len(), 1);
}

#[test]
fn cohere_jina_and_their_kin_have_results_best_first() {
    let server = Running::one(options());
    let texts = json!(TEXTS).to_string();
    let bodies = [
        // cohere 7: v1, v2; langchain-cohere: null for what is not set.
        format!(r#"{{"query":"{QUERY}","documents":{texts}}}"#),
        format!(r#"{{"model":"rerank-v3.5","query":"{QUERY}","documents":{texts},"top_n":3}}"#),
        format!(
            r#"{{"model":"m","query":"{QUERY}","documents":{texts},"top_n":null,"max_tokens_per_doc":null}}"#
        ),
        format!(
            r#"{{"model":"m","query":"{QUERY}","documents":{texts},"max_tokens_per_doc":4096,"priority":0}}"#
        ),
        format!(r#"{{"query":"{QUERY}","documents":{texts},"max_chunks_per_doc":10,"rank_fields":null}}"#),
        // open-webui, Dify, Cherry Studio; integers as others write them.
        format!(r#"{{"model":"m","query":"{QUERY}","documents":{texts},"top_n":0}}"#),
        format!(r#"{{"model":"m","query":"{QUERY}","documents":{texts},"top_n":3.0}}"#),
        format!(r#"{{"model":"m","query":"{QUERY}","documents":{texts},"top_n":"3"}}"#),
        format!(r#"{{"model":"m","query":"{QUERY}","documents":{texts},"top_n":99999999999999999999}}"#),
        // RAGFlow's Xinference: booleans as strings.
        format!(
            r#"{{"model":"m","query":"{QUERY}","documents":{texts},"return_documents":"false","return_len":"true"}}"#
        ),
        // llama.cpp's own tests: `texts` that is no array.
        format!(r#"{{"query":"{QUERY}","documents":{texts},"texts":true}}"#),
        // Dify's multimodal plugins.
        format!(
            r#"{{"query":"{QUERY}","documents":[{{"text":"{}"}},{{"content":[{{"type":"text","text":"{}"}}]}},"{}"]}}"#,
            TEXTS[0], TEXTS[1], TEXTS[2]
        ),
    ];
    let paths = [
        "/rerank",
        "/v1/rerank",
        "/v2/rerank",
        "/v1/v1/rerank",
        "/v1/v2/rerank",
        "/reranking",
        "/v1/reranking",
        "/v1/rerank/",
    ];
    for (i, body) in bodies.iter().enumerate() {
        for path in paths {
            let answer = server.post(path, body).ok();
            assert_eq!(
                scores(&answer["results"], "relevance_score"),
                library(ScoreMode::Sigmoid),
                "{path} {body}"
            );
            // Neither `object` nor null: infinity-client and LiteLLM fail on them.
            assert_eq!(keys(&answer), ["id", "meta", "model", "results", "usage"], "{body}");
            assert!(!has_null(&answer), "{answer}");
            assert!(answer["id"].is_string() && answer["model"] == "gelu-60");
            assert_eq!(answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]);
            assert_eq!(answer["meta"]["tokens"]["input_tokens"], answer["usage"]["total_tokens"]);
            assert_eq!(answer["meta"]["billed_units"]["search_units"], 1);
            let version = if path.contains("/v1/rerank") { "1" } else { "2" };
            assert_eq!(answer["meta"]["api_version"]["version"], version, "{path}");
            if i > 0 {
                break;
            }
        }
    }
    // Voyage and mixedbread, as `rerankers` sends them.
    let body =
        format!(r#"{{"model":"m","query":"{QUERY}","documents":{texts},"top_k":2,"return_documents":true}}"#);
    let answer = server.post("/v1/rerank", body).ok();
    assert_eq!(scores(&answer["data"], "relevance_score"), library(ScoreMode::Sigmoid)[..2]);
    let body = format!(r#"{{"model":"m","query":"{QUERY}","input":{texts},"top_k":2,"return_input":true}}"#);
    let answer = server.post("/v1/reranking", body).ok();
    assert_eq!(scores(&answer["data"], "score"), library(ScoreMode::Sigmoid)[..2]);
    let body = format!(r#"{{"query":"{QUERY}","documents":{texts},"raw_scores":true}}"#);
    let answer = server.post("/rerank", body).ok();
    assert_eq!(scores(&answer["results"], "relevance_score"), library(ScoreMode::Raw));
}

#[test]
fn documents_come_back_where_they_are_asked_for() {
    let server = Running::one(options());
    // LibreChat, LiteLLM, rerankers, Dify: as an object. Other keys of an object come with it, and half of an emoji not.
    let documents =
        r#"["To the sea.",{"id":7,"text":"a","more":[1e999]},{"text":"cut \ud83d","x":"\udc00"}]"#;
    let body = format!(r#"{{"query":"{QUERY}","documents":{documents},"return_documents":"true"}}"#);
    let reply = server.post("/v1/rerank", &body);
    let document = |index: usize| {
        let text = reply.text();
        let from = text.find(&format!("{{\"index\":{index},")).unwrap();
        let from = from + text[from..].find("\"document\":").unwrap() + "\"document\":".len();
        text[from..].to_owned()
    };
    assert!(document(0).starts_with(r#"{"text":"To the sea."}"#));
    assert!(document(1).starts_with(r#"{"id":7,"text":"a","more":[1e999]}"#));
    assert!(document(2).starts_with(r#"{"text":"cut \ufffd","x":"\ufffd"}"#));

    let mut own = options();
    own.document_form = DocumentForm::Text;
    let answer = Running::one(own).post("/rerank", &body).ok();
    assert!(answer["results"].as_array().unwrap().iter().any(|result| result["document"] == "cut \u{fffd}"));

    // Cohere v1's rank_fields.
    let body = format!(
        r#"{{"query":"{QUERY}","documents":[{{"title":"To","body":"the sea.","id":null}}],"rank_fields":["title","body","id"],"return_documents":true}}"#
    );
    let answer = server.post("/v1/rerank", &body).ok();
    let plain =
        server.post("/v1/rerank", format!(r#"{{"query":"{QUERY}","documents":["To the sea."]}}"#)).ok();
    assert_eq!(answer["results"][0]["relevance_score"], plain["results"][0]["relevance_score"]);
    assert_eq!(answer["results"][0]["document"], json!({ "text": "To the sea." }));
}

#[test]
fn weaviate_has_scores_in_the_order_of_the_documents() {
    let server = Running::one(options());
    let documents = json!(TEXTS).to_string();
    let reply =
        server.post("/rerank", format!(r#"{{"query":"{QUERY}","documents":{documents},"property":""}}"#));
    let answer = reply.ok();
    assert_eq!(answer["query"], QUERY);
    let texts: Vec<&Value> =
        answer["scores"].as_array().unwrap().iter().map(|score| &score["document"]).collect();
    assert_eq!(texts, TEXTS);
    for (index, score) in library(ScoreMode::Sigmoid) {
        assert_eq!(answer["scores"][index]["score"].to_string().parse::<f32>().unwrap(), score);
    }
    let answer = server.post("/rerank", format!(r#"{{"query":"{QUERY}","property":"To the sea."}}"#)).ok();
    let alone = library(ScoreMode::Sigmoid).iter().find(|(index, _)| *index == 1).unwrap().1;
    assert_eq!(answer["score"].to_string().parse::<f32>().unwrap(), alone);
    // Its client cannot read an object there.
    let reply = server.post("/rerank", r#"{"query":7,"documents":["a"],"property":""}"#);
    assert_eq!(reply.status, 422);
    assert!(reply.json()["error"].is_string());
    for (path, status) in [("/.well-known/live", 204), ("/.well-known/ready", 204)] {
        assert_eq!((server.get(path).status, server.get(path).body.len()), (status, 0));
    }
    assert_eq!(server.get("/meta").ok()["model_type"], "bert");
}

#[test]
fn nim_has_rankings_by_logits() {
    let server = Running::one(options());
    let passages: Vec<Value> = TEXTS.iter().map(|text| json!({ "text": text })).collect();
    let body =
        json!({ "model": "nvidia/x", "query": { "text": QUERY }, "passages": passages, "truncate": "END" });
    let answer = server.post("/v1/ranking", body.to_string()).ok();
    assert_eq!(scores(&answer["rankings"], "logit"), library(ScoreMode::Raw));
    assert!(answer["usage"]["total_tokens"].is_u64());
    let body = json!({ "query": { "text": QUERY }, "passages": [{ "text": "sea ".repeat(500) }], "truncate": "NONE" });
    let reply = server.post("/v1/ranking", body.to_string());
    assert_eq!(reply.status, 422);
    assert!(reply.json()["error"].is_string());
    assert_eq!(server.get("/v1/health/ready").status, 200);
}

#[test]
fn vllm_scores_pairs_in_their_order() {
    let server = Running::one(options());
    let body = json!({ "model": "m", "text_1": QUERY, "text_2": TEXTS });
    let answer = server.post("/score", body.to_string()).ok();
    let mut expected = library(ScoreMode::Sigmoid);
    expected.sort_by_key(|(index, _)| *index);
    assert_eq!(scores(&answer["data"], "score"), expected);
    let body = json!({ "text_1": [QUERY, "other"], "text_2": [TEXTS[0], TEXTS[1]] });
    let answer = server.post("/v1/score", body.to_string()).ok();
    assert_eq!(scores(&answer["data"], "score")[0], expected[0]);
    assert_eq!(server.post("/score", r#"{"text_1":["a","b"],"text_2":["c"]}"#).status, 400);
}

#[test]
fn extras_act_where_they_are_asked_for() {
    let server = Running::one(options());
    let ask = |extra: Value| {
        let mut body = json!({ "query": QUERY, "documents": TEXTS });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        server.post("/v1/rerank", body.to_string()).ok()
    };
    let all = library(ScoreMode::Sigmoid);
    let least = all[1].1;
    let answer = ask(json!({ "min_score": least }));
    assert_eq!(scores(&answer["results"], "relevance_score"), all[..2]);
    assert!(ask(json!({ "return_tokens": true }))["results"][0]["tokens"].as_u64().unwrap() > 3);

    // Fusion and passages as the library has them.
    let reranker = Reranker::load(fixture("gelu-60")).unwrap();
    let fused = RerankOptions::default().score(ScoreMode::Sigmoid).fusion(crossrank::Fusion::Rrf);
    let expected: Vec<usize> =
        reranker.rerank(QUERY, &TEXTS, &fused).unwrap().iter().map(|ranked| ranked.index).collect();
    let found: Vec<usize> =
        scores(&ask(json!({ "fuse": "rrf" }))["results"], "relevance_score").iter().map(|it| it.0).collect();
    assert_eq!(found, expected);

    let long = [
        "The river is long. ".repeat(30) + "It ends in the sea. " + &"Bread is baked. ".repeat(40),
        TEXTS[1].into(),
    ];
    for (name, mode) in [("max", crossrank::Long::Max), ("mean", crossrank::Long::Mean)] {
        let mut own = RerankOptions::default().score(ScoreMode::Sigmoid).long(mode);
        own.stride = 8;
        let expected = reranker.rerank(QUERY, &long, &own).unwrap();
        let body =
            json!({ "query": QUERY, "documents": long, "long": name, "stride": 8, "return_tokens": true });
        let answer = server.post("/v1/rerank", body.to_string()).ok();
        let pairs: Vec<(usize, f32)> = expected.iter().map(|ranked| (ranked.index, ranked.score)).collect();
        assert_eq!(scores(&answer["results"], "relevance_score"), pairs, "{name}");
        for (result, ranked) in answer["results"].as_array().unwrap().iter().zip(&expected) {
            let passage = ranked.passage.as_ref().unwrap();
            assert_eq!(result["passage"]["index"], passage.index);
            assert_eq!(result["passage"]["count"], passage.count);
            assert_eq!(result["passage"]["text"], passage.text(&long[ranked.index]));
            assert_eq!(result["tokens"], ranked.tokens);
        }
    }
    // What was cut is said to be.
    let cut = json!({ "query": QUERY, "documents": ["sea ".repeat(500), "sea"] });
    let answer = server.post("/v1/rerank", cut.to_string()).ok();
    for result in answer["results"].as_array().unwrap() {
        assert_eq!(result.get("truncated").is_some(), result["index"] == 0, "{result}");
    }
    let short = json!({ "query": QUERY, "documents": ["sea river bread"], "max_tokens_per_doc": 1, "return_tokens": true });
    let answer = server.post("/v2/rerank", short.to_string()).ok();
    let one = json!({ "query": QUERY, "documents": ["sea"], "return_tokens": true });
    let expected = server.post("/v2/rerank", one.to_string()).ok();
    assert_eq!(answer["results"][0]["relevance_score"], expected["results"][0]["relevance_score"]);
    assert_eq!(answer["results"][0]["truncated"], true);

    // LiteLLM always sends truncate: false.
    let mut own = options();
    own.truncate = Truncate::Always;
    let body = json!({ "query": QUERY, "texts": ["sea ".repeat(500)], "truncate": false });
    assert_eq!(Running::one(own).post("/rerank", body.to_string()).ok()[0]["truncated"], true);
}

#[test]
fn equal_documents_are_each_answered() {
    let server = Running::one(options());
    let body = json!({ "query": QUERY, "texts": ["sea", "river", "sea", "sea"] });
    let answer = server.post("/rerank", body.to_string()).ok();
    let mut all = scores(&answer, "score");
    let equal: Vec<usize> = all.iter().filter(|(index, _)| *index != 1).map(|(index, _)| *index).collect();
    assert_eq!(equal, [0, 2, 3], "equal scores stand in the order of the documents");
    all.sort_by_key(|(index, _)| *index);
    assert!(all[0].1 == all[2].1 && all[2].1 == all[3].1);
}
