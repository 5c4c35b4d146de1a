//! The body of a request: read within bounds of size and time before anything else is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;

use crate::options::Options;
use crate::problem::{Kind, Problem};

/// Bytes that are held of all bodies together.
#[derive(Clone, Default)]
pub(crate) struct Held(Arc<AtomicUsize>);

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body, whose bytes count as held as long as it lives.
pub(crate) struct Whole {
    pub(crate) bytes: Vec<u8>,
    _share: Share,
}

/// Some of the bytes that are held.
struct Share {
    all: Held,
    bytes: usize,
}

impl Share {
    fn grow(&mut self, bytes: usize, most: usize) -> Result<(), Problem> {
        self.bytes += bytes;
        let before = self.all.0.fetch_add(bytes, Ordering::Relaxed);
        // A body that is alone is bounded by its own limit.
        if before + bytes > most && before + bytes > self.bytes {
            return Err(Problem::overloaded(1.0));
        }
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads a body that should be JSON.
///
/// # Errors
/// When its type or encoding is not read, or it is too large, too slow, or broken off.
pub(crate) async fn read(request: Request<Body>, held: &Held, options: &Options) -> Result<Whole, Problem> {
    let (parts, body) = request.into_parts();
    check_type(&parts.headers)?;
    let most = options.max_body_bytes;
    let too_large = || {
        let reason = format!("Failed to buffer the request body: length limit exceeded ({most} bytes)");
        Problem::new(Kind::TooLarge, reason)
    };
    let length = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    if length.is_some_and(|length| length > most) {
        return Err(too_large());
    }
    let read = async {
        let mut whole = Whole { bytes: vec![], _share: Share { all: held.clone(), bytes: 0 } };
        let mut body = body;
        while let Some(frame) = body.frame().await {
            let broken = |_| Problem::new(Kind::Json, "Failed to buffer the request body: it broke off");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if whole.bytes.len() + data.len() > most {
                return Err(too_large());
            }
            whole._share.grow(data.len(), options.max_held_bytes)?;
            whole.bytes.extend_from_slice(&data);
        }
        Ok(whole)
    };
    let late = |_| {
        let seconds = options.body_timeout.as_secs_f64();
        Problem::new(Kind::Slow, format!("the request body did not come within {seconds} s"))
    };
    tokio::time::timeout(options.body_timeout, read).await.map_err(late)?
}

/// JSON that is not compressed. A missing type is taken for JSON: no page of a browser can send that across origins.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|value| value.as_bytes() != b"identity") {
        let found = String::from_utf8_lossy(encoding.as_bytes()).into_owned();
        return Err(Problem::new(
            Kind::MediaType,
            format!("`Content-Encoding`: expected identity, found {found}"),
        ));
    }
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if matches!(essence, "" | "application/json" | "text/json") || essence.ends_with("+json") {
        return Ok(());
    }
    Err(Problem::new(Kind::MediaType, "Expected request with `Content-Type: application/json`"))
}
