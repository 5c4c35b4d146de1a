//! Which path does what, and what all requests have in common.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::app::App;
use crate::problem::{ErrorForm, Kind, Problem};
use crate::{pages, probes, rerank};

/// Paths of requests to rank. Clients append theirs to a base that has one already, so that some come twice.
pub(crate) const RERANK: &[&str] = &[
    "/rerank",
    "/invocations",
    "/reranking",
    "/v1/rerank",
    "/v1/reranking",
    "/v2/rerank",
    "/v1/v1/rerank",
    "/v1/v2/rerank",
    "/ranking",
    "/v1/ranking",
    "/score",
    "/v1/score",
];

/// The header that names a request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A name that a client gives may be no longer.
const MAX_REQUEST_ID: usize = 128;

/// How errors on a path look as long as the contract is not known.
fn errors_of(path: &str) -> ErrorForm {
    match path.strip_suffix('/').unwrap_or(path) {
        "" | "/rerank" | "/invocations" => ErrorForm::Open,
        "/vertex" | "/info" | "/health" | "/metrics" => ErrorForm::Tei,
        "/ranking" | "/v1/ranking" | "/meta" => ErrorForm::Text,
        _ => ErrorForm::Merged,
    }
}

/// Whether a path is open to clients without a key: what says whether the server lives, and pages without any data.
fn is_public(method: &Method, path: &str) -> bool {
    let probe = path.starts_with("/.well-known/") || path.starts_with("/v1/health");
    let page = matches!(path, "/" | "/docs" | "/openapi.json" | "/health" | "/ping" | "/meta");
    (method == Method::GET || method == Method::HEAD || method == Method::OPTIONS) && (probe || page)
}

/// All routes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut router = Router::new();
    let mut add = |path: &str, method: MethodRouter<Arc<App>>| {
        let all = std::mem::take(&mut router);
        let all = if path == "/" { all } else { all.route(&format!("{path}/"), method.clone()) };
        router = all.route(path, method);
    };
    for path in RERANK {
        add(path, post(ranking));
    }
    add("/", get(pages::index).post(ranking));
    add("/vertex", post(vertex));
    add("/health", get(probes::ready));
    add("/ping", get(probes::ready));
    add("/v1/health", get(probes::ready));
    add("/v1/health/ready", get(probes::ready));
    add("/v1/health/live", get(probes::live));
    add("/.well-known/ready", get(probes::weaviate_ready));
    add("/.well-known/live", get(probes::weaviate_live));
    add("/meta", get(probes::meta));
    add("/info", get(probes::info));
    add("/v1/models", get(probes::models));
    add("/models", get(probes::models));
    add("/metrics", get(probes::metrics));
    add("/openapi.json", get(pages::openapi));
    add("/docs", get(pages::docs));
    let router = router
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn_with_state(app.clone(), around))
        .layer(CatchPanicLayer::custom(panicked));
    let router = match app.options.cors_origins.is_empty() {
        true => router,
        false => router.layer(cors(&app.options.cors_origins)),
    };
    router.with_state(app.clone())
}

async fn ranking(State(app): State<Arc<App>>, request: Request<Body>) -> Response<Body> {
    let errors = errors_of(request.uri().path());
    rerank::rerank(&app, request, errors).await
}

async fn vertex(State(app): State<Arc<App>>, request: Request<Body>) -> Response<Body> {
    rerank::vertex(&app, request).await
}

async fn no_route(uri: Uri) -> Response<Body> {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(Kind::Route, format!("there is no route {path}")).respond(errors_of(uri.path()))
}

async fn no_method(method: Method, uri: Uri) -> Response<Body> {
    Problem::new(Kind::Method, format!("this route does not take {method}")).respond(errors_of(uri.path()))
}

/// Checks the key, names the request, and says in the log what came of it.
async fn around(State(app): State<Arc<App>>, request: Request<Body>, next: Next) -> Response<Body> {
    let start = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let own = request.headers().get(&REQUEST_ID).filter(|id| {
        let bytes = id.as_bytes();
        bytes.len() <= MAX_REQUEST_ID && !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic)
    });
    let id = own.cloned().unwrap_or_else(|| {
        let id = uuid::Uuid::new_v4().to_string();
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static(""))
    });
    let allowed = if is_public(&method, &path) { Ok(()) } else { app.keys.check(request.headers()) };
    let mut response = match allowed {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.respond(errors_of(&path)),
    };
    let status = response.status();
    let ms = start.elapsed().as_secs_f64() * 1e3;
    let (name, path) = (id.to_str().unwrap_or_default(), path.chars().take(200).collect::<String>());
    if status.is_server_error() {
        tracing::warn!(id = name, %method, path, status = status.as_u16(), ms, "request");
    } else {
        tracing::debug!(id = name, %method, path, status = status.as_u16(), ms, "request");
    }
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response<Body> {
    tracing::error!("a handler panicked");
    Problem::internal().respond(ErrorForm::Open)
}

fn cors(origins: &[String]) -> CorsLayer {
    let any = origins.iter().any(|origin| origin == "*");
    let list = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let allowed = if any { AllowOrigin::any() } else { AllowOrigin::list(list) };
    let headers = [CONTENT_TYPE, axum::http::header::AUTHORIZATION, REQUEST_ID];
    CorsLayer::new().allow_origin(allowed).allow_methods([Method::GET, Method::POST]).allow_headers(headers)
}
