//! The interface as OpenAPI 3.1 describes it, made of the tables that requests are read by.

use serde_json::{Map, Value, json};

use crate::ask::FIELDS;
use crate::routes::RERANK;

/// The whole description.
pub(crate) fn document() -> Value {
    let mut paths = Map::new();
    for path in RERANK.iter().chain(&["/"]) {
        paths.insert((*path).to_owned(), json!({ "post": ranking() }));
    }
    for (path, about) in [
        ("/health", "200 when requests can be answered, else 503."),
        ("/v1/health/ready", "The same, as NIM calls it."),
        ("/.well-known/ready", "The same with 204, as Weaviate calls it."),
        ("/.well-known/live", "204: the process lives."),
        ("/meta", "Weaviate's facts about the model."),
        ("/info", "TEI's facts about the server."),
        ("/v1/models", "The models that are served."),
        ("/metrics", "For Prometheus."),
    ] {
        paths.insert(
            path.to_owned(),
            json!({ "get": { "summary": about, "responses": { "200": { "description": "" } } } }),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "crossrank",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Ranks documents by how well they answer a query. Every rerank path takes the bodies of all \
                            contracts: the fields that a body has say which it is, and how the answer looks.",
        },
        "paths": paths,
        "components": {
            "schemas": { "Request": request() },
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
        },
        "security": [{}, { "key": [] }],
    })
}

fn ranking() -> Value {
    let error = |about: &str| json!({ "description": about });
    json!({
        "summary": "Ranks documents",
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Request" } } },
        },
        "responses": {
            "200": error("`texts`: an array of {index, score}; `documents`: {id, model, results, usage, meta}; \
                          `passages`: {rankings}; `property`: {query, scores}; `text_1`: {data}"),
            "400": error("No JSON, nothing to rank, or (Cohere's contract) a field that is wrong"),
            "401": error("No key, or a wrong one"),
            "413": error("The body is too large"),
            "415": error("Another type than JSON, or a compressed body"),
            "422": error("A field that is wrong (TEI's contract and others)"),
            "429": error("Too much work is waiting; `Retry-After` says when to come again"),
            "503": error("The model is being loaded, or the server is about to end"),
        },
    })
}

fn request() -> Value {
    let mut properties = Map::new();
    for field in FIELDS {
        let mut schema = json!({ "type": [field.kind, "null"], "description": field.about });
        if field.kind == "array" {
            schema["items"] = json!({});
        }
        properties.insert(field.name.to_owned(), schema);
    }
    json!({ "type": "object", "properties": properties })
}
