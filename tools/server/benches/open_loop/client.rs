//! Connections that are kept, and what an answer was.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
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

/// One connection that is kept, in a thread that waits: next to nothing of this program is in its times.
pub struct Direct {
    stream: BufReader<TcpStream>,
    head: String,
}

impl Direct {
    pub fn new(url: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let url: hyper::Uri = url.parse()?;
        let authority = url.authority().ok_or("expected http://HOST:PORT/PATH")?.as_str();
        let stream = TcpStream::connect(authority)?;
        stream.set_nodelay(true)?;
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\n",
            url.path()
        );
        Ok(Self { stream: BufReader::new(stream), head })
    }

    /// The body of the answer, which must be one of 200 with its length.
    pub fn send(&mut self, body: &Bytes) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let mut request = format!("{}content-length: {}\r\n\r\n", self.head, body.len()).into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request)?;
        let (mut length, mut first) = (0, String::new());
        self.stream.read_line(&mut first)?;
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse()?
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        if first.split(' ').nth(1) == Some("200") { Ok(answer) } else { Err(first.into()) }
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
