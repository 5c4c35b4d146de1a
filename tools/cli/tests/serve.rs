//! `crossrank serve` as a process: how it begins and ends, and what the system may lack.
#![cfg(feature = "serve")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use common::{command, fixture, run};

const BODY: &str = r#"{"query":"where do rivers go","texts":["To the sea."]}"#;

/// A server that is killed when it is dropped.
struct Serving {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: String,
}

impl Serving {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address =
            line.trim_end().strip_prefix("listening on http://").unwrap_or_else(|| panic!("{line}"));
        Self { child, stdout, address: address.to_owned() }
    }

    /// With a small model on a free port.
    fn small(args: &[&str]) -> Self {
        let mut command = command();
        command
            .args(["serve", "--port", "0", "--model", &fixture("gelu-60")])
            .args(args)
            .stderr(Stdio::piped());
        Self::start(command)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// The exit code, and what else it wrote to stdout.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(stream: &mut TcpStream, header: &str) {
    let length = BODY.len();
    let head = format!(
        "POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{header}Content-Length: {length}\r\n\r\n"
    );
    stream.write_all(format!("{head}{BODY}").as_bytes()).unwrap();
}

/// The status of the answer that comes next.
fn status(stream: &mut TcpStream) -> String {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn ask(server: &Serving, header: &str) -> String {
    let mut stream = server.connect();
    send(&mut stream, header);
    status(&mut stream)
}

#[test]
fn it_says_where_it_listens_and_ends_on_sigterm() {
    let server = Serving::small(&[]);
    assert!(server.address.starts_with("127.0.0.1:"), "{}", server.address);
    assert_eq!(ask(&server, ""), "200");
    // A request whose body has not come whole when the signal does.
    let mut stream = server.connect();
    let head = format!(
        "POST /rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        BODY.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut line = [0; 25];
    stream.read_exact(&mut line).unwrap();
    server.signal("-TERM");
    while TcpStream::connect(&server.address).is_ok() {
        std::thread::sleep(Duration::from_millis(2));
    }
    stream.write_all(BODY.as_bytes()).unwrap();
    assert_eq!(status(&mut stream), "200");
    assert_eq!(server.end(), (Some(0), String::new()));
}

#[test]
fn keys_come_from_a_file_or_a_variable() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "one\n\n  two  \n").unwrap();
    let server = Serving::small(&["--api-key-file", file.path().to_str().unwrap()]);
    assert_eq!(ask(&server, ""), "401");
    assert_eq!(ask(&server, "Authorization: Bearer two\r\n"), "200");

    let mut by_variable = command();
    by_variable.env("CROSSRANK_API_KEYS", "three,four").args([
        "serve",
        "--port",
        "0",
        "--model",
        &fixture("gelu-60"),
    ]);
    let server = Serving::start(by_variable);
    assert_eq!(ask(&server, "Authorization: Bearer two\r\n"), "401");
    assert_eq!(ask(&server, "Authorization: Bearer four\r\n"), "200");

    std::fs::write(file.path(), "\n").unwrap();
    let path = file.path().to_str().unwrap();
    let error = run(["serve", "--port", "0", "--api-key-file", path], "").error();
    assert_eq!(error, format!("{path}: expected at least one key, found none"));
}

#[test]
fn what_cannot_be_served_is_said_by_name() {
    let server = Serving::small(&[]);
    let port = server.address.rsplit(':').next().unwrap();
    let error = run(["serve", "--port", port, "--model", &fixture("gelu-60")], "").error();
    assert!(error.contains(&server.address), "{error}");
    for models in [vec!["--model", "=x"], vec!["--model", "a=x", "--model", "a=y"]] {
        let ran = run([vec!["serve", "--port", "0"], models].concat(), "");
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    }
    // The first model is loaded at once.
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("config.json"), "{}").unwrap();
    let ran = run(["serve", "--port", "0", "--model", folder.path().to_str().unwrap()], "");
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("model.safetensors"), "{}", ran.stderr);
}

#[test]
#[cfg(target_os = "linux")]
fn logs_that_nobody_takes_hold_nothing() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut to_full = command();
    to_full
        .args(["-v", "serve", "--port", "0", "--log-format", "json", "--model", &fixture("gelu-60")])
        .stderr(full);
    let server = Serving::start(to_full);
    for _ in 0..3 {
        assert_eq!(ask(&server, ""), "200");
    }
    // A pipe that nobody reads: more lines than it holds.
    let server = Serving::small(&["-v"]);
    let mut stream = server.connect();
    for _ in 0..1500 {
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
    }
    assert_eq!(ask(&server, ""), "200");
}

#[test]
fn logs_in_json_have_a_line_for_each_request_and_no_key() {
    let mut command = command();
    command.env("CROSSRANK_API_KEYS", "secret-key").stderr(Stdio::piped());
    command.args(["-v", "serve", "--port", "0", "--log-format", "json", "--model", &fixture("gelu-60")]);
    let mut server = Serving::start(command);
    assert_eq!(ask(&server, "Authorization: Bearer secret-key\r\nX-Request-Id: name-7\r\n"), "200");
    server.signal("-TERM");
    let mut stderr = String::new();
    server.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let lines = common::json(&stderr);
    let line = lines.iter().find(|line| line["id"] == "name-7").unwrap_or_else(|| panic!("{stderr}"));
    assert_eq!((line["path"].as_str(), line["status"].as_u64()), (Some("/rerank"), Some(200)));
    assert!(!stderr.contains("secret-key"));
    assert_eq!(server.end().0, Some(0));
}

#[test]
#[cfg(target_os = "linux")]
fn without_descriptors_it_waits_and_goes_on() {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 60; exec \"$0\" serve --port 0 --max-connections 1000 --model \"$1\""]);
    limited.args([env!("CARGO_BIN_EXE_crossrank"), &fixture("gelu-60")]).stderr(Stdio::null());
    let server = Serving::start(limited);
    assert_eq!(ask(&server, ""), "200");
    // More than there are descriptors: the last of them wait in the system's queue.
    let open: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", server.child.id())).unwrap().count();
    while descriptors() < 60 {
        std::thread::sleep(Duration::from_millis(2));
    }
    drop(open);
    assert_eq!(ask(&server, ""), "200");
}
