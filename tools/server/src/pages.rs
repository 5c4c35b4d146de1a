//! Pages for people, and the description of the interface for programs.

use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Response};

use crate::openapi;
use crate::probes::json_response;

/// Everything is in the page itself, which asks this server alone.
const POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

fn page(html: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(html));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A query, passages, and their order before and after.
pub(crate) async fn index() -> Response<Body> {
    page(include_str!("index.html"))
}

/// The interface, read from its description.
pub(crate) async fn docs() -> Response<Body> {
    page(include_str!("docs.html"))
}

/// The interface as OpenAPI has it.
pub(crate) async fn openapi() -> Response<Body> {
    json_response(&openapi::document())
}
