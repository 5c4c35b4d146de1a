//! What says whether the server lives, what it serves, and how it fares. All of it is cheap, and answers while a model is
//! being loaded.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

use crate::app::App;
use crate::problem::{ErrorForm, Problem};

/// A JSON answer.
pub(crate) fn json_response(value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn unready(app: &App) -> Option<Problem> {
    match (app.is_ready(), app.draining.load(Ordering::Relaxed)) {
        (true, _) => None,
        (_, true) => Some(Problem::unavailable("the server is about to end")),
        (_, false) => Some(Problem::unavailable("the model is being loaded")),
    }
}

/// Whether requests can be answered: TEI's and others' word for it, an empty 200.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response<Body> {
    match unready(&app) {
        None => status(StatusCode::OK),
        Some(_) => Problem::unavailable("unhealthy").respond(ErrorForm::Tei),
    }
}

/// That the process lives.
pub(crate) async fn live() -> Response<Body> {
    status(StatusCode::OK)
}

/// Weaviate's word for it: 204.
pub(crate) async fn weaviate_live() -> Response<Body> {
    status(StatusCode::NO_CONTENT)
}

/// Weaviate's word for it: 204.
pub(crate) async fn weaviate_ready(State(app): State<Arc<App>>) -> Response<Body> {
    unready(&app).map_or_else(|| status(StatusCode::NO_CONTENT), |problem| problem.respond(ErrorForm::Text))
}

/// Weaviate's facts about the model.
pub(crate) async fn meta(State(app): State<Arc<App>>) -> Response<Body> {
    let Some(model) = app.models.loaded(0) else {
        return Problem::unavailable("the model is being loaded").respond(ErrorForm::Text);
    };
    let info = model.reranker.info();
    json_response(&json!({
        "model": model.name,
        "model_type": info.family,
        "max_length": info.max_length,
        "num_labels": model.reranker.labels(),
    }))
}

/// TEI's facts about the server.
pub(crate) async fn info(State(app): State<Arc<App>>) -> Response<Body> {
    let Some(model) = app.models.loaded(0) else {
        return Problem::unavailable("unhealthy").respond(ErrorForm::Tei);
    };
    let info = model.reranker.info();
    let labels = model.reranker.label_names();
    let id2label: serde_json::Map<_, _> =
        labels.iter().enumerate().map(|(id, name)| (id.to_string(), json!(name))).collect();
    let label2id: serde_json::Map<_, _> =
        labels.iter().enumerate().map(|(id, name)| (name.clone(), json!(id))).collect();
    json_response(&json!({
        "model_id": model.name,
        "served_model_name": model.name,
        "model_dtype": info.dtype,
        "model_type": { "reranker": { "id2label": id2label, "label2id": label2id } },
        "max_concurrent_requests": app.options.max_connections.unwrap_or_else(crate::connections::most),
        "max_input_length": info.max_length,
        "max_batch_tokens": app.dispatcher.batch_tokens(),
        "max_client_batch_size": app.options.max_documents,
        "auto_truncate": true,
        "tokenization_workers": app.texts.current_num_threads(),
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// OpenAI's list of models.
pub(crate) async fn models(State(app): State<Arc<App>>) -> Response<Body> {
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let model = |(number, name): (usize, &str)| {
        let state = match (app.models.loaded(number), app.models.failed(number)) {
            (Some(_), _) => "loaded",
            (None, true) => "failed",
            (None, false) => "not loaded",
        };
        json!({ "id": name, "object": "model", "created": created, "owned_by": "crossrank", "status": state })
    };
    let data: Vec<Value> = app.models.names().enumerate().map(model).collect();
    json_response(&json!({ "object": "list", "data": data }))
}

/// For Prometheus.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let mut response = Response::new(Body::from(app.metrics.text(&app.dispatcher.load(), app.held.bytes())));
    let text = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}
