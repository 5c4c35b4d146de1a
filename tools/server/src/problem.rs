//! What goes wrong with a request, and how each contract says it.
//!
//! TEI's routes have `{"error", "error_type"}`; Cohere's, Jina's and llama.cpp's share an object that all their clients
//! read; Weaviate and NIM want `error` as a string. Where the contract is not known yet, because `/rerank` belongs to
//! several, the answer has TEI's keys and `message`.

use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use crossrank_eval::text::printable;
use serde_json::json;

/// An error of a hostile request may quote as much of it as it likes; this much is enough.
const MAX_CHARS: usize = 500;

/// Seconds: Cohere's client waits no longer, whatever it is told.
const MAX_RETRY_AFTER: u64 = 60;

/// What went wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// The body is no JSON.
    Json,
    /// The body has not the fields that it should.
    Shape,
    /// Nothing to rank, or nothing to rank by.
    Empty,
    /// More documents than are allowed.
    Batch,
    /// A text is longer than is allowed.
    TooLong,
    /// The body is larger than is allowed.
    TooLarge,
    /// The body took too long to come.
    Slow,
    /// A type or an encoding of the body that is not read.
    MediaType,
    /// No key, or a wrong one.
    Key,
    /// No such route.
    Route,
    /// No such model.
    Model,
    /// Not by this method.
    Method,
    /// More work is waiting than can be done in time.
    Overloaded,
    /// The model is being loaded, or the server is about to end.
    Unavailable,
    /// A fault of this program, or of a model.
    Internal,
    /// A logit that is no finite number.
    NotFinite,
}

/// An answer that is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// Seconds after which it is worth trying again.
    retry_after: Option<u64>,
}

/// How the errors of a contract look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ErrorForm {
    /// TEI's.
    Tei,
    /// That of `/rerank` and `/` while it is not known whose request it is: TEI's, and `message`.
    Open,
    /// That of Cohere, Jina and llama.cpp in one.
    Merged,
    /// `error` is a string: Weaviate, NIM.
    Text,
}

impl Problem {
    pub(crate) fn new(kind: Kind, message: impl AsRef<str>) -> Self {
        Self { kind, message: printable(message.as_ref(), MAX_CHARS), retry_after: None }
    }

    /// Work that would wait for too long; `seconds` is when there may be room.
    pub(crate) fn overloaded(seconds: f64) -> Self {
        let seconds = seconds.ceil().clamp(1.0, MAX_RETRY_AFTER as f64) as u64;
        Self { retry_after: Some(seconds), ..Self::new(Kind::Overloaded, "Model is overloaded") }
    }

    /// Not now, but soon.
    pub(crate) fn unavailable(message: &str) -> Self {
        Self { retry_after: Some(1), ..Self::new(Kind::Unavailable, message) }
    }

    pub(crate) fn internal() -> Self {
        Self::new(Kind::Internal, "the request could not be scored, by a fault of this server")
    }

    fn status(&self, form: ErrorForm) -> StatusCode {
        match self.kind {
            Kind::Json | Kind::Empty => StatusCode::BAD_REQUEST,
            Kind::Shape | Kind::Batch | Kind::TooLong => match form {
                ErrorForm::Merged => StatusCode::BAD_REQUEST,
                ErrorForm::Tei | ErrorForm::Open | ErrorForm::Text => StatusCode::UNPROCESSABLE_ENTITY,
            },
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::Slow => StatusCode::REQUEST_TIMEOUT,
            Kind::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Kind::Key => StatusCode::UNAUTHORIZED,
            Kind::Route | Kind::Model => StatusCode::NOT_FOUND,
            Kind::Method => StatusCode::METHOD_NOT_ALLOWED,
            Kind::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::NotFinite if form == ErrorForm::Merged => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::NotFinite => StatusCode::FAILED_DEPENDENCY,
        }
    }

    /// TEI's word for it.
    fn tei_type(&self) -> &'static str {
        match self.kind {
            Kind::Empty => "Empty",
            Kind::Overloaded => "Overloaded",
            Kind::Unavailable => "Unhealthy",
            Kind::Internal | Kind::NotFinite => "Backend",
            _ => "Validation",
        }
    }

    /// llama.cpp's word for it, which is also OpenAI's.
    fn openai_type(&self) -> &'static str {
        match self.kind {
            Kind::Key => "authentication_error",
            Kind::Route | Kind::Model => "not_found_error",
            Kind::Overloaded => "rate_limit_error",
            Kind::Unavailable => "unavailable_error",
            Kind::Internal | Kind::NotFinite => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The whole answer.
    pub(crate) fn respond(&self, form: ErrorForm) -> Response<Body> {
        let status = self.status(form);
        let message = &self.message;
        let tei = self.tei_type();
        let body = match form {
            // A wrong key gets no body there.
            ErrorForm::Tei | ErrorForm::Open if self.kind == Kind::Key => None,
            ErrorForm::Tei => Some(json!({ "error": message, "error_type": tei })),
            ErrorForm::Open => Some(json!({ "error": message, "error_type": tei, "message": message })),
            ErrorForm::Text => Some(json!({ "error": message, "message": message })),
            ErrorForm::Merged => {
                let error =
                    json!({ "code": status.as_u16(), "message": message, "type": self.openai_type() });
                Some(json!({ "message": message, "error": error }))
            }
        };
        let mut response =
            Response::new(body.as_ref().map_or_else(Body::empty, |body| body.to_string().into()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(seconds * 1000));
        }
        match self.kind {
            Kind::MediaType => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            Kind::Key => {
                let scheme = HeaderValue::from_static("Bearer");
                headers.insert(axum::http::header::WWW_AUTHENTICATE, scheme);
            }
            _ => {}
        }
        response.extensions_mut().insert(self.kind);
        response
    }
}
