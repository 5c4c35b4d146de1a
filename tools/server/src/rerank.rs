//! Requests to rank, from the connection to the answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use crate::app::App;
use crate::ask::{self, Ask, Refused};
use crate::body;
use crate::options::Options;
use crate::problem::{ErrorForm, Kind, Problem};
use crate::reply;
use crate::service::{Answer, answer};

/// Bodies beyond this are parsed where texts are tokenised, so that connections are not kept waiting for it.
const LARGE: usize = 64 << 10;

/// Answers a request by one of the paths of all contracts.
pub(crate) async fn rerank(app: &Arc<App>, request: Request<Body>, open: ErrorForm) -> Response<Body> {
    let began = Instant::now();
    let version = if request.uri().path().contains("/v1/rerank") { "1" } else { "2" };
    let read = move |bytes: &[u8], options: &Options| ask::read(bytes, open, options);
    let (ask, _held) = match receive(app, request, open, read).await {
        Ok(received) => received,
        Err((errors, problem)) => return fail(app, &problem, errors),
    };
    let errors = if open == ErrorForm::Text { open } else { ask.form.errors() };
    app.metrics.came(ask.documents.len());
    let answer = match answer(app, &ask, began).await {
        Ok(answer) => answer,
        Err(problem) => return fail(app, &problem, errors),
    };
    match reply::write(&ask, &answer, app.options.document_form, version) {
        Ok(json) => succeed(app, json, &[(&ask, &answer)]),
        Err(_) => fail(app, &Problem::internal(), errors),
    }
}

/// Answers a request of Vertex AI, which has several of TEI's.
pub(crate) async fn vertex(app: &Arc<App>, request: Request<Body>) -> Response<Body> {
    let began = Instant::now();
    let tei = ErrorForm::Tei;
    let (asks, _held) = match receive(app, request, tei, ask::read_instances).await {
        Ok(received) => received,
        Err((errors, problem)) => return fail(app, &problem, errors),
    };
    let mut answers = vec![];
    for ask in &asks {
        app.metrics.came(ask.documents.len());
        match answer(app, ask, began).await {
            Ok(answer) => answers.push(answer),
            Err(problem) => return fail(app, &problem, tei),
        }
    }
    let pairs: Vec<(&Ask, &Answer)> = asks.iter().zip(&answers).collect();
    let predictions: Vec<_> = pairs.iter().map(|(ask, answer)| reply::tei(ask, answer)).collect();
    match serde_json::to_vec(&std::collections::BTreeMap::from([("predictions", predictions)])) {
        Ok(json) => succeed(app, json, &pairs),
        Err(_) => fail(app, &Problem::internal(), tei),
    }
}

/// The body of a request, read as `read` does, and the body itself, which counts as held as long as it lives. Errors look
/// like `open` until the contract is known.
async fn receive<T: Send + 'static>(
    app: &Arc<App>,
    request: Request<Body>,
    open: ErrorForm,
    read: impl FnOnce(&[u8], &Options) -> Result<T, Refused> + Send + 'static,
) -> Result<(T, body::Whole), Refused> {
    let as_open = |problem| (open, problem);
    let body = body::read(request, &app.held, &app.options).await.map_err(as_open)?;
    let (own, length) = (app.clone(), body.bytes.len());
    let parsed = parse(app, length, move || (read(&body.bytes, &own.options), body)).await;
    let (read, body) = parsed.map_err(as_open)?;
    Ok((read?, body))
}

/// Reads a body here if it is small, else on a thread that tokenises.
async fn parse<T: Send + 'static>(
    app: &App,
    length: usize,
    read: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    if length <= LARGE {
        return Ok(read());
    }
    let (to, from) = tokio::sync::oneshot::channel();
    app.texts.spawn_fifo(move || {
        // A panic there would end the process.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| to.send(read()).is_ok()));
    });
    from.await.map_err(|_| Problem::internal())
}

fn succeed(app: &App, json: Vec<u8>, answers: &[(&Ask, &Answer)]) -> Response<Body> {
    let total = answers.first().map_or(Duration::ZERO, |(_, answer)| answer.times.began.elapsed());
    let sum =
        |time: &dyn Fn(&Answer) -> Duration| answers.iter().map(|(_, answer)| time(answer)).sum::<Duration>();
    let times = [
        sum(&|answer| answer.times.tokenise),
        sum(&|answer| answer.times.queue),
        sum(&|answer| answer.times.compute),
    ];
    for (ask, answer) in answers {
        let times = answer.times;
        app.metrics.answered(ask.documents.len(), total, [times.tokenise, times.queue, times.compute]);
    }
    let mut response = Response::new(Body::from(json));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let characters: usize = answers.iter().map(|(_, answer)| answer.characters).sum();
    let tokens: usize = answers.iter().map(|(_, answer)| answer.tokens).sum();
    // TEI's headers, in milliseconds.
    headers.insert(HeaderName::from_static("x-compute-type"), HeaderValue::from_static("cpu"));
    number(headers, "x-compute-time", (times[0] + times[2]).as_millis());
    number(headers, "x-compute-characters", characters);
    number(headers, "x-compute-tokens", tokens);
    number(headers, "x-total-time", total.as_millis());
    number(headers, "x-tokenization-time", times[0].as_millis());
    number(headers, "x-queue-time", times[1].as_millis());
    number(headers, "x-inference-time", times[2].as_millis());
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let timing = format!(
        "tokenise;dur={:.3}, queue;dur={:.3}, compute;dur={:.3}, total;dur={:.3}",
        ms(times[0]),
        ms(times[1]),
        ms(times[2]),
        ms(total)
    );
    if let Ok(timing) = HeaderValue::from_str(&timing) {
        headers.insert(HeaderName::from_static("server-timing"), timing);
    }
    response
}

fn number(headers: &mut HeaderMap, name: &'static str, value: impl TryInto<u64>) {
    headers.insert(HeaderName::from_static(name), HeaderValue::from(value.try_into().unwrap_or(u64::MAX)));
}

fn fail(app: &App, problem: &Problem, errors: ErrorForm) -> Response<Body> {
    app.metrics.failed(match problem.kind {
        Kind::Overloaded => "overloaded",
        Kind::Internal | Kind::NotFinite => "backend",
        Kind::Unavailable => "unhealthy",
        _ => "validation",
    });
    problem.respond(errors)
}
