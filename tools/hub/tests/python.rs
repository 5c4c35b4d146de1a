//! One cache, used by Python's `huggingface_hub` and by this crate by turns. Skipped, aloud, where Python does not have it;
//! `CROSSRANK_PYTHON` names an interpreter that has.

#[path = "server/hub.rs"]
mod client;
mod server;

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use client::{Client, names};
use server::{Builder, COMMIT, Server};

fn python() -> String {
    std::env::var("CROSSRANK_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

/// The version of the package, if there is one.
fn version() -> Option<String> {
    let script = "import huggingface_hub, sys; sys.stdout.write(huggingface_hub.__version__)";
    let output =
        Command::new(python()).args(["-c", script]).output().ok().filter(|output| output.status.success());
    let version = output.map(|output| String::from_utf8(output.stdout).unwrap());
    match &version {
        Some(version) => eprintln!("huggingface_hub {version}"),
        None => {
            eprintln!("SKIPPED: {} has no huggingface_hub; CROSSRANK_PYTHON can name one that has", python())
        }
    }
    version
}

/// Runs a script on a cache, as a process that has no other settings.
fn command(script: &str, home: &Path, endpoint: &str) -> Command {
    let mut command = Command::new(python());
    for (name, _) in std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| name.starts_with("HF_") || name.to_lowercase().ends_with("_proxy"))
    }) {
        command.env_remove(name);
    }
    let imports = "from huggingface_hub import *\nimport os\n";
    command.args(["-W", "ignore", "-c", &format!("{imports}{script}")]);
    command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint).env("HF_HUB_DISABLE_PROGRESS_BARS", "1");
    command.env("HF_HUB_DISABLE_TELEMETRY", "1");
    command
}

#[track_caller]
fn run(script: &str, client: &Client, server: &Server) -> String {
    let output = command(script, client.folder.path(), &server.url).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{stderr}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn modular() -> Builder {
    Builder::model()
        .file("modules.json", "[{\"path\": \"\"}, {\"path\": \"1_Dense\"}]")
        .file("config_sentence_transformers.json", "{\"model_type\": \"CrossEncoder\"}")
        .file("1_Dense/config.json", "{\"d\": 1}")
        // Large enough for a note that it has been compared.
        .file("1_Dense/model.safetensors", vec![7; 5_000_000])
}

#[test]
fn what_python_has_downloaded_is_not_downloaded_again() {
    if version().is_none() {
        return;
    }
    for store in [false, true] {
        let cdn = modular().start();
        let server = if store { modular().cdn(&cdn).start() } else { modular().start() };
        let client = Client::of(&server);
        let folder = run("print(snapshot_download('org/model'))", &client, &server);
        server.forget();
        assert_eq!(client.ok(&server).to_str().unwrap(), folder);
        assert_eq!((server.requests().len(), server.downloads().len()), (1, 0));
        // Without the hub, too, where the list of files is Python's.
        let offline = client.set("HF_HUB_OFFLINE", "1");
        assert!(offline.model().join("trees").join(format!("{COMMIT}.json")).exists());
        assert_eq!(offline.ok(&server).to_str().unwrap(), folder);
        std::fs::remove_file(Path::new(&folder).join("1_Dense/config.json")).unwrap();
        assert!(offline.error().contains("1_Dense/config.json is missing"));
    }
}

#[test]
fn files_that_python_has_downloaded_one_by_one_are_not_downloaded_again() {
    if version().is_none() {
        return;
    }
    let server = Builder::model().start();
    let client = Client::of(&server);
    run(
        "hf_hub_download('org/model', 'config.json')\nhf_hub_download('org/model', 'tokenizer.json')",
        &client,
        &server,
    );
    server.forget();
    client.ok(&server);
    assert_eq!(server.downloads().len(), 1);
}

#[test]
fn what_this_crate_has_downloaded_python_finds() {
    if version().is_none() {
        return;
    }
    let server = modular().start();
    let client = Client::of(&server);
    let folder = client.ok(&server);
    server.forget();
    let found = run("print(snapshot_download('org/model', local_files_only=True))", &client, &server);
    assert_eq!(found, folder.to_str().unwrap());
    for name in names(&folder) {
        for revision in ["main", COMMIT] {
            let script = format!(
                "print(hf_hub_download('org/model', '{name}', revision='{revision}', local_files_only=True))"
            );
            if name.contains('/') && revision == "main" {
                continue; // Each run starts Python anew.
            }
            assert_eq!(run(&script, &client, &server), folder.join(&name).to_str().unwrap());
        }
    }
    let scan = "info = scan_cache_dir()\nprint([str(w) for w in info.warnings])\n\
                [repo] = info.repos\n[revision] = repo.revisions\n\
                print(repo.repo_id, repo.repo_type, sorted(revision.refs), revision.commit_hash, repo.nb_files, repo.size_on_disk)";
    assert_eq!(names(&client.model().join(".crossrank")).len(), 1);
    let size: usize = names(&folder).iter().map(|name| server.bytes(name).len()).sum();
    let expected = format!("[]\norg/model model ['main'] {COMMIT} {} {size}", names(&folder).len());
    assert_eq!(run(scan, &client, &server), expected);
    // huggingface_hub 2.4.0 asks for this whenever it starts, `local_files_only` or not.
    let asked = server.requests().into_iter().map(|request| request.path);
    let asked: Vec<_> = asked.filter(|path| path != "/api/agent-harnesses").collect();
    assert!(asked.is_empty(), "{asked:?}");
    // Online, it only asks; then it adds what this crate has left out.
    run("hf_hub_download('org/model', 'model.safetensors')", &client, &server);
    assert!(server.downloads().iter().all(|request| !request.is_get()));
    server.forget();
    run("snapshot_download('org/model')", &client, &server);
    let gets: Vec<_> =
        server.downloads().into_iter().filter(|request| request.is_get()).map(|r| r.path).collect();
    assert_eq!(gets.len(), 3, "{gets:?}");
    client.ok(&server);
}

#[test]
fn what_is_not_finished_does_not_disturb_python() {
    if version().is_none() {
        return;
    }
    let broken = Builder::model()
        .hook(|request, reply| {
            if request.is_for("model.safetensors") {
                reply.cut = Some(100_000);
            }
        })
        .start();
    let mut client = Client::of(&broken);
    client.error();
    assert_eq!(client.unfinished().len(), 2);
    let server = Builder::model().start();
    assert_eq!(run("print([str(w) for w in scan_cache_dir().warnings])", &client, &server), "[]");
    let folder = run("print(snapshot_download('org/model'))", &client, &server);
    client.turn_to(&server);
    server.forget();
    assert_eq!(client.get("org/model").unwrap().to_str().unwrap(), folder);
    assert_eq!(server.downloads().len(), 0);
}

#[test]
fn both_wait_for_the_same_lock() {
    if version().is_none() {
        return;
    }
    // A file is sent when the test lets it, so that whoever asks first has the lock meanwhile.
    static OPEN: AtomicBool = AtomicBool::new(false);
    let slow = || {
        Builder::model().hook(|request, _| {
            while request.is_get() && request.is_for("model.safetensors") && !OPEN.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
        })
    };
    let gets = |server: &Server| {
        server.downloads().iter().filter(|r| r.is_get() && r.is_for("model.safetensors")).count()
    };
    let wait_for = |what: &dyn Fn() -> bool| {
        while !what() {
            thread::sleep(Duration::from_millis(20))
        }
    };
    let script = "hf_hub_download('org/model', 'model.safetensors')";

    // Python first.
    let server = slow().start();
    let client = Client::of(&server);
    let mut child = command(script, client.folder.path(), &server.url).spawn().unwrap();
    wait_for(&|| gets(&server) == 1);
    thread::scope(|scope| {
        scope.spawn(|| client.ok(&server));
        wait_for(&|| !client.waited.lock().unwrap().is_empty());
        OPEN.store(true, Ordering::SeqCst);
    });
    assert!(child.wait().unwrap().success());
    assert_eq!(gets(&server), 1);

    // Python second.
    OPEN.store(false, Ordering::SeqCst);
    let server = slow().start();
    let client = Client::of(&server);
    thread::scope(|scope| {
        scope.spawn(|| client.get("org/model").unwrap());
        wait_for(&|| gets(&server) == 1);
        let mut child = command(script, client.folder.path(), &server.url).spawn().unwrap();
        wait_for(&|| server.requests().iter().any(|request| request.method == "HEAD"));
        // It has asked, and now waits.
        thread::sleep(Duration::from_millis(700));
        assert!(child.try_wait().unwrap().is_none());
        OPEN.store(true, Ordering::SeqCst);
        assert!(child.wait().unwrap().success());
    });
    assert_eq!(gets(&server), 1);
    client.ok(&server);
}
