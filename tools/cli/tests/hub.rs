//! Models by name: from a hub on the loopback interface to scores.
#![cfg(feature = "hub")]

mod common;
#[path = "../../hub/tests/server/mod.rs"]
mod server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Ran, command, copy_model, fixture, fixtures_folder, reference, run};
use server::{Builder, COMMIT, Reply, Server};
use tempfile::TempDir;

/// A place for a cache, and what asks a server.
struct Home {
    folder: TempDir,
    endpoint: String,
}

impl Home {
    fn of(server: &Server) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), endpoint: server.url.clone() }
    }

    /// The program with no other settings of the hub than these.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = command();
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("HF_") || name.to_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command.env("HF_ENDPOINT", &self.endpoint).env("HF_HOME", self.folder.path());
        command.current_dir(self.folder.path()).args(args).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        ran(&mut self.command(args))
    }

    fn offline(&self, args: &[&str]) -> Ran {
        ran(self.command(args).env("HF_HUB_OFFLINE", "1"))
    }

    fn snapshot(&self) -> PathBuf {
        self.folder.path().join("hub/models--org--model/snapshots").join(COMMIT)
    }
}

fn ran(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn gelu() -> Builder {
    Builder::new().folder(&fixtures_folder().join("gelu-60"), "").file("pytorch_model.bin", vec![0; 1000])
}

#[test]
fn a_model_is_downloaded_once_and_scores_as_its_folder_does() {
    let server = gelu().start();
    let home = Home::of(&server);
    let (pairs, _) = reference("gelu-60");
    let file = home.folder.path().join("pairs.jsonl");
    std::fs::write(&file, &pairs).unwrap();
    let file = file.to_str().unwrap();
    let expected = run(["score", "--model", &fixture("gelu-60"), file], "").ok();
    // In a pipe nothing is said of what comes in.
    assert_eq!(home.run(&["score", "--model", "org/model", file]).ok(), expected);
    let mut downloads: Vec<_> = server
        .downloads()
        .iter()
        .map(|request| request.path.rsplit('/').next().unwrap().to_owned())
        .collect();
    downloads.sort();
    assert_eq!(downloads, ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);

    server.forget();
    for model in ["org/model", "hf:org/model", "org/model@main", &format!("org/model@{COMMIT}")] {
        assert_eq!(home.run(&["score", "--model", model, file]).ok(), expected, "{model}");
    }
    assert_eq!((server.requests().len(), server.downloads().len()), (3, 0));

    drop(server);
    assert_eq!(home.offline(&["score", "--model", "org/model", file]).ok(), expected);
    let error = home.offline(&["score", "--model", "org/model@dev", file]).error();
    assert!(error.contains("no snapshot of the revision `dev`"), "{error}");
    // Without being told that there is no hub, it finds out.
    let ran = home.run(&["score", "--model", "org/model", file]);
    assert_eq!((ran.code, ran.stdout), (Some(0), expected));
    assert!(
        ran.stderr.starts_with("crossrank: note: org/model is used as the cache has it"),
        "{}",
        ran.stderr
    );
}

#[test]
fn every_command_that_takes_a_model_takes_its_name() {
    let server = gelu().start();
    let home = Home::of(&server);
    let out = |name: &str| home.folder.path().join(name).into_os_string().into_string().unwrap();
    let inspected = home.run(&["inspect", "--model", "org/model"]).ok();
    assert!(inspected.contains(home.snapshot().to_str().unwrap()), "{inspected}");
    home.run(&["rerank", "-q", "a", "--model", "org/model"]).ok();
    home.run(&["pack", "org/model", &out("packed")]).ok();
    home.run(&["quantize", "org/model", &out("quantized")]).ok();
    let workload = out("workload.json");
    std::fs::write(&workload, "{\"w\": {\"query\": \"a\", \"docs\": [\"b\"]}}").unwrap();
    let bench =
        ["bench", "--model", "org/model", "--workload", &workload, "--seconds", "0.01", "--format", "json"];
    home.run(&bench).json();
    assert_eq!(server.downloads().len(), 4);
    for name in ["packed", "quantized"] {
        assert!(Path::new(&out(name)).join("model.safetensors").is_file());
    }
}

#[test]
fn modules_and_shards_come_with_their_folders() {
    for name in ["modular", "sharded", "xlmr"] {
        let server = Builder::new().folder(&fixtures_folder().join(name), "").start();
        let home = Home::of(&server);
        let (pairs, _) = reference(name);
        let file = home.folder.path().join("pairs.jsonl");
        std::fs::write(&file, &pairs).unwrap();
        let file = file.to_str().unwrap();
        let expected = run(["score", "--model", &fixture(name), file], "").ok();
        assert_eq!(home.run(&["score", "--model", "org/model", file]).ok(), expected, "{name}");
    }
}

#[test]
fn a_folder_of_that_name_comes_first() {
    let server = gelu().start();
    let home = Home::of(&server);
    copy_model("relu-3-labels", &home.folder.path().join("org/model"));
    let labels = |model: &str| {
        let text = home.run(&["inspect", "--model", model]).ok();
        text.lines().find_map(|line| line.strip_prefix("labels:")).unwrap().trim().to_owned()
    };
    assert!(labels("org/model").starts_with("3:"));
    assert_eq!(server.requests().len(), 0);
    assert_eq!(labels("hf:org/model"), "1");
    // A file is no folder, and no model on the hub either.
    std::fs::write(home.folder.path().join("org/file"), "").unwrap();
    let error = home.run(&["inspect", "--model", "org/file"]).error();
    assert!(error.contains("org/file") && !error.contains("hub"), "{error}");
}

#[test]
fn what_is_neither_a_folder_nor_a_model_says_so() {
    let server = gelu().start();
    let home = Home::of(&server);
    for (name, expected) in [
        ("no-such-model", "expected a repository, `org/name`"),
        ("./org/model", "expected a repository"),
        ("org/other", "no repository `org/other`"),
        ("org/model@v9", "`org/model` has no revision `v9`"),
        ("../org", "expected a repository"),
        ("org/model@../x", "which git allows as no name"),
    ] {
        let error = home.run(&["inspect", "--model", name]).error();
        assert!(
            error.starts_with(&format!("{name}: there is no folder of that name, and on the hub: ")),
            "{error}"
        );
        assert!(error.contains(expected), "{error}");
        let forced = home.run(&["inspect", "--model", &format!("hf:{name}")]).error();
        assert!(forced.contains(expected) && !forced.contains("folder of that name"), "{forced}");
    }
}

#[test]
fn refusals_are_one_line_without_the_token() {
    let server = Builder::model()
        .hook(|_, reply| *reply = Reply::new(403, "").with("X-Error-Code", "GatedRepo"))
        .start();
    let home = Home::of(&server);
    let error = ran(home.command(&["inspect", "--model", "org/model"]).env("HF_TOKEN", "hf_secret")).error();
    assert!(error.contains("is gated: agree to its terms at") && !error.contains("secret"), "{error}");
    assert_eq!(server.requests()[0].header("authorization"), Some("Bearer hf_secret"));
    // What a server says is not for a terminal to act on.
    let server = Builder::model()
        .hook(|_, reply| *reply = Reply::new(410, "").with("X-Error-Message", "\u{1b}[31mred"))
        .start();
    let error = Home::of(&server).run(&["inspect", "--model", "org/model"]).error();
    assert!(!error.contains('\u{1b}'), "{error}");
}

#[test]
fn two_processes_at_once_and_one_that_was_killed() {
    let server = gelu()
        .hook(|request, reply| {
            // The first answer with the weights never ends.
            if request.is_for("model.safetensors") && request.before == 0 {
                let body = reply.body[..300_000].to_vec();
                reply.length = Some(reply.body.len());
                reply.body = body;
                reply.stays_open = true;
            }
        })
        .start();
    let home = Home::of(&server);
    let mut killed =
        home.command(&["inspect", "--model", "org/model"]).stdout(Stdio::null()).spawn().unwrap();
    let blobs = home.folder.path().join("hub/models--org--model/blobs");
    let part = || {
        let entries = blobs.read_dir().into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_string_lossy().ends_with("-part"))
            .find_map(|entry| entry.metadata().ok())
    };
    while part().is_none_or(|part| part.len() < 300_000) {
        assert!(killed.try_wait().unwrap().is_none());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    let mut both = [0, 1].map(|_| {
        home.command(&["inspect", "--model", "org/model"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    for child in &mut both {
        assert!(child.wait().unwrap().success());
    }
    let ranges: Vec<_> =
        server.downloads().into_iter().filter(|request| request.is_for("model.safetensors")).collect();
    assert_eq!(ranges.len(), 2);
    assert_eq!(ranges[1].header("range"), Some("bytes=300000-"));
}
