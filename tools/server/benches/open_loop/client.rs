//! Connections that are kept, and what an answer was.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy::{self, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Runtime;

/// Longer than any answer that counts.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came of a request.
pub struct Answer {
    /// Since it was due.
    pub latency: Duration,
    /// None: no whole answer came.
    pub status: Option<StatusCode>,
    pub body: Bytes,
}

impl Answer {
    pub fn ok(&self) -> bool {
        self.status == Some(StatusCode::OK)
    }
}

/// Sends requests to one address.
pub struct Client {
    pub runtime: Runtime,
    sender: Sender,
}

/// What tasks share.
#[derive(Clone)]
pub struct Sender {
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
    url: String,
}

impl Client {
    pub fn new(url: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let inner = legacy::Client::builder(TokioExecutor::new()).build(connector);
        url.parse::<hyper::Uri>()?;
        Ok(Self { runtime, sender: Sender { inner, url: url.to_owned() } })
    }

    pub fn sender(&self) -> Sender {
        self.sender.clone()
    }

    /// Sends one and waits for its answer.
    pub fn send(&self, body: &Bytes) -> Answer {
        self.runtime.block_on(self.sender().send(body.clone(), Instant::now()))
    }
}

impl Sender {
    pub async fn send(self, body: Bytes, due: Instant) -> Answer {
        let (status, body) = match tokio::time::timeout(PATIENCE, self.exchange(body)).await {
            Ok(Ok((status, body))) => (Some(status), body),
            Ok(Err(error)) => (None, error.to_string().into()),
            Err(_) => (None, Bytes::from_static(b"no answer")),
        };
        Answer { latency: due.elapsed(), status, body }
    }

    async fn exchange(
        &self,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let response = self.inner.request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }
}
