//! A hub on the loopback interface, for tests: one repository, and whatever a test makes of its answers.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::json;
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// The repository.
pub const ID: &str = "org/model";
/// Its commit.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in small letters.
    pub headers: BTreeMap<String, String>,
    /// How often the same method and path were asked for before.
    pub before: usize,
}

impl Request {
    pub fn is_for(&self, file: &str) -> bool {
        self.path.split('?').next().is_some_and(|path| path.ends_with(&format!("/{file}")))
    }

    pub fn is_api(&self) -> bool {
        self.path.starts_with("/api/")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub fn is_get(&self) -> bool {
        self.method == "GET"
    }
}

/// An answer, and how it goes wrong.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// `Content-Length`, where it is not the body's.
    pub length: Option<usize>,
    /// In chunks, without a length.
    pub chunked: bool,
    /// The connection ends after so many bytes of the body.
    pub cut: Option<usize>,
    /// The connection does not end.
    pub stays_open: bool,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
            length: None,
            chunked: false,
            cut: None,
            stays_open: false,
        }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub fn set(&mut self, status: u16, body: &str) {
        *self = Self::new(status, body);
    }
}

/// Changes an answer before it is sent.
type Hook = Box<dyn Fn(&Request, &mut Reply) + Send + Sync>;

struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// Whether the list has sizes and hashes.
    hashes: bool,
    /// Where files that git does not hold are.
    cdn: Option<String>,
    hook: Hook,
    log: Mutex<Vec<Request>>,
    closed: AtomicBool,
}

pub struct Server {
    pub url: String,
    state: Arc<State>,
}

/// What a server is made of.
pub struct Builder {
    files: BTreeMap<String, Vec<u8>>,
    hashes: bool,
    cdn: Option<String>,
    hook: Hook,
}

impl Builder {
    pub fn new() -> Self {
        Self { files: BTreeMap::new(), hashes: true, cdn: None, hook: Box::new(|_, _| {}) }
    }

    /// The smallest repository that is a model by its names.
    pub fn model() -> Self {
        Self::new()
            .file("config.json", "{}")
            .file("tokenizer.json", "{\"a\": 1}")
            .file("model.safetensors", weights())
            .file("README.md", "# not needed")
            .file("pytorch_model.bin", vec![1; 100])
            .file("onnx/model.onnx", vec![2; 100])
    }

    pub fn file(mut self, name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        self.files.insert(name.to_owned(), bytes.into());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.files.remove(name).unwrap();
        self
    }

    /// The files of a folder, those of folders in it too.
    pub fn folder(mut self, folder: &std::path::Path, prefix: &str) -> Self {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
            self = if path.is_dir() {
                self.folder(&path, &format!("{name}/"))
            } else {
                self.file(&name, std::fs::read(path).unwrap())
            };
        }
        self
    }

    /// The list has names alone.
    pub fn without_hashes(mut self) -> Self {
        self.hashes = false;
        self
    }

    pub fn cdn(mut self, server: &Server) -> Self {
        self.cdn = Some(server.url.clone());
        self
    }

    pub fn hook(mut self, hook: impl Fn(&Request, &mut Reply) + Send + Sync + 'static) -> Self {
        self.hook = Box::new(hook);
        self
    }

    pub fn start(self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let Self { files, hashes, cdn, hook } = self;
        let (log, closed) = (Mutex::default(), AtomicBool::new(false));
        let state = Arc::new(State { files, hashes, cdn, hook, log, closed });
        let server = Server { url, state: state.clone() };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if state.closed.load(Ordering::SeqCst) {
                    break;
                }
                let state = state.clone();
                thread::spawn(move || stream.map(|stream| state.serve(&stream)));
            }
        });
        server
    }
}

/// More than one read of a socket gives.
pub fn weights() -> Vec<u8> {
    (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

pub fn git_hash(bytes: &[u8]) -> String {
    hex(Sha1::new_with_prefix(format!("blob {}\0", bytes.len())).chain_update(bytes).finalize())
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file is kept apart from git.
fn is_lfs(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin") || name.ends_with(".onnx")
}

pub fn etag(name: &str, bytes: &[u8]) -> String {
    if is_lfs(name) { sha256(bytes) } else { git_hash(bytes) }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::SeqCst);
        // It waits for a connection to look at that.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

impl Server {
    pub fn requests(&self) -> Vec<Request> {
        self.state.log.lock().unwrap().clone()
    }

    pub fn forget(&self) {
        self.state.log.lock().unwrap().clear();
    }

    /// Files that were asked for, not the questions of the API.
    pub fn downloads(&self) -> Vec<Request> {
        self.requests().into_iter().filter(|request| !request.is_api()).collect()
    }

    pub fn bytes(&self, name: &str) -> &[u8] {
        &self.state.files[name]
    }
}

impl State {
    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        if reader.read_line(&mut line).is_err() || line.is_empty() {
            return;
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let request = {
            let mut log = self.log.lock().unwrap();
            let same = |other: &&Request| (&other.method, &other.path) == (&method, &path);
            let before = log.iter().filter(same).count();
            log.push(Request { method, path, headers, before });
            log.last().unwrap().clone()
        };
        let mut reply = self.reply(&request);
        (self.hook)(&request, &mut reply);
        // Who has gone needs no answer.
        let _ = send(stream, &request, &reply);
        while reply.stays_open && !self.closed.load(Ordering::SeqCst) {
            thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = stream.shutdown(Shutdown::Both);
    }

    fn reply(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap();
        let json = |value: serde_json::Value| {
            Reply::new(200, value.to_string()).with("Content-Type", "application/json")
        };
        let not_found = |code: &str| Reply::new(404, "not here").with("X-Error-Code", code);
        if let Some(rest) = path.strip_prefix("/api/models/") {
            let Some(rest) = rest.strip_prefix(ID) else { return not_found("RepoNotFound") };
            return match rest.split('/').collect::<Vec<_>>()[..] {
                [""] | ["", "revision", "main" | "refs%2Fpr%2F1" | COMMIT] => {
                    json(self.info(request.path.contains("blobs=")))
                }
                ["", "tree", COMMIT] => json(self.tree()),
                _ => not_found("RevisionNotFound"),
            };
        }
        if let Some(name) = path.strip_prefix("/cdn/") {
            return self.file(request, name, false);
        }
        let prefix = format!("/{ID}/resolve/{COMMIT}/");
        let main = format!("/{ID}/resolve/main/");
        match path.strip_prefix(&prefix).or_else(|| path.strip_prefix(&main)) {
            Some(name) => self.file(request, name, true),
            None => not_found("EntryNotFound"),
        }
    }

    fn info(&self, blobs: bool) -> serde_json::Value {
        let facts = |(name, bytes): (&String, &Vec<u8>)| {
            let mut file = json!({"rfilename": name});
            if blobs && self.hashes {
                file["size"] = bytes.len().into();
                file["blobId"] = git_hash(bytes).into();
                if is_lfs(name) {
                    file["lfs"] = json!({"sha256": sha256(bytes), "size": bytes.len(), "pointerSize": 130});
                }
            }
            file
        };
        let siblings: Vec<_> = self.files.iter().map(facts).collect();
        json!({"id": ID, "modelId": ID, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0})
    }

    fn tree(&self) -> serde_json::Value {
        let facts = |(name, bytes): (&String, &Vec<u8>)| {
            let mut file = json!({"type": "file", "path": name, "size": bytes.len(), "oid": git_hash(bytes)});
            if is_lfs(name) {
                file["lfs"] = json!({"oid": sha256(bytes), "size": bytes.len(), "pointerSize": 130});
            }
            file
        };
        self.files.iter().map(facts).collect()
    }

    fn file(&self, request: &Request, name: &str, is_hub: bool) -> Reply {
        let Some(bytes) = self.files.get(name) else {
            return Reply::new(404, "not here").with("X-Error-Code", "EntryNotFound");
        };
        let etag = etag(name, bytes);
        if let Some(cdn) = self.cdn.as_ref().filter(|_| is_hub && is_lfs(name)) {
            return Reply::new(302, "elsewhere")
                .with("Location", format!("{cdn}/cdn/{name}?Signature=secret"))
                .with("X-Repo-Commit", COMMIT)
                .with("X-Linked-Etag", format!("\"{etag}\""))
                .with("X-Linked-Size", bytes.len().to_string());
        }
        // A store of files has versions of its own.
        let version = if is_hub { format!("\"{etag}\"") } else { "\"cdn-1\"".to_owned() };
        let range = request
            .header("range")
            .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        let fresh = request.header("if-range").is_none_or(|asked| asked == version);
        let reply = match range.filter(|_| fresh) {
            Some(from) if from >= bytes.len() => {
                Reply::new(416, "").with("Content-Range", format!("bytes */{}", bytes.len()))
            }
            Some(from) => Reply::new(206, &bytes[from..])
                .with("Content-Range", format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
            None => Reply::new(200, bytes.clone()),
        };
        reply.with("ETag", version).with("X-Repo-Commit", COMMIT).with("Accept-Ranges", "bytes")
    }
}

fn send(mut stream: &TcpStream, request: &Request, reply: &Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if reply.chunked {
        head.push_str("Transfer-Encoding: chunked\r\n");
    } else {
        head.push_str(&format!("Content-Length: {}\r\n", reply.length.unwrap_or(reply.body.len())));
    }
    stream.write_all(format!("{head}\r\n").as_bytes())?;
    if request.method == "HEAD" {
        return Ok(());
    }
    let body = &reply.body[..reply.cut.unwrap_or(usize::MAX).min(reply.body.len())];
    if !reply.chunked {
        return stream.write_all(body);
    }
    for chunk in body.chunks(1000) {
        stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
        stream.write_all(chunk)?;
        stream.write_all(b"\r\n")?;
    }
    if reply.cut.is_none() {
        stream.write_all(b"0\r\n\r\n")?;
    }
    Ok(())
}
