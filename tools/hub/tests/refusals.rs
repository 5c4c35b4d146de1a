//! Servers that refuse, are busy or are not there, and repositories that are no models.

#[path = "server/hub.rs"]
mod client;
mod server;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use client::{Client, names};
use server::{Builder, COMMIT, ID, Reply, Request, Server};

const WEIGHTS: &str = "model.safetensors";

/// Which of a server's answers fail.
#[derive(Clone, Copy, PartialEq, Debug)]
enum At {
    List,
    Head,
    Get,
    Store,
}

/// Servers whose answers fail with a status, some times or always, and how often the answer in question was asked for.
fn failing(
    at: At,
    status: u16,
    headers: &'static [(&str, &str)],
    times: usize,
) -> (Server, Option<Server>, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let hook = move |request: &Request, reply: &mut Reply| {
        let here = match at {
            At::List => request.is_api(),
            At::Head => request.method == "HEAD",
            At::Get | At::Store => {
                request.is_get() && request.path.contains("config.json") || request.path.contains("/cdn/")
            }
        };
        if here && count.fetch_add(1, Ordering::SeqCst) < times {
            *reply = headers
                .iter()
                .fold(Reply::new(status, "an error"), |reply, (name, value)| reply.with(name, *value));
        }
    };
    if at == At::Store {
        let store = Builder::model().hook(hook).start();
        return (Builder::model().without_hashes().cdn(&store).start(), Some(store), asked);
    }
    let hub = if at == At::List { Builder::model() } else { Builder::model().without_hashes() };
    (hub.hook(hook).start(), None, asked)
}

#[test]
fn every_status_is_looked_at_also_of_the_get_after_a_good_head() {
    for at in [At::List, At::Head, At::Get, At::Store] {
        for status in [400, 401, 403, 404, 410, 429, 500, 502, 503, 204, 206, 304] {
            if matches!((at, status), (At::List | At::Head, 204 | 206 | 304)) {
                continue;
            }
            let (server, _store, asked) = failing(at, status, &[], usize::MAX);
            let client = Client::of(&server);
            let error = client.error();
            // A store's word on who may read is no more than that a link has run out.
            let passing = matches!(status, 429 | 500..)
                || (at == At::Store && status == 403)
                || matches!(status, 204 | 206);
            let expected = if passing { 5 } else { 1 };
            let expected = if (at, status) == (At::List, 404) { 2 } else { expected };
            assert_eq!(asked.load(Ordering::SeqCst), expected, "{at:?} {status}: {error}");
            assert!(
                !names(&client.model().join("blobs")).iter().any(|name| name.contains("crossrank")),
                "{at:?} {status}"
            );
            if status != 404 {
                assert!(error.contains(&status.to_string()), "{at:?} {status}: {error}");
            }
            let file = if at == At::Store { WEIGHTS } else { "config.json" };
            assert!(!client.blob(file, &server).exists(), "{at:?} {status}");
        }
    }
}

#[test]
fn what_passes_is_waited_for() {
    for at in [At::List, At::Head, At::Get, At::Store] {
        for status in [408, 429, 500, 503] {
            let (server, _store, asked) = failing(at, status, &[("Retry-After", "1")], 4);
            Client::of(&server).ok(&server);
            assert!(asked.load(Ordering::SeqCst) >= 5, "{at:?} {status}");
        }
    }
    // Not for long.
    let (server, _, asked) = failing(At::List, 429, &[("Retry-After", "3600")], usize::MAX);
    let error = Client::of(&server).error();
    assert!(error.contains("try again in 3600 seconds") && error.contains("HF_TOKEN"), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn refusals_say_what_to_do() {
    let error = |status, headers: &'static [(&str, &str)], token: bool| {
        let (server, ..) = failing(At::List, status, headers, usize::MAX);
        let client = Client::of(&server);
        let client = if token { client.set("HF_TOKEN", "hf_secret") } else { client };
        let error = client.get(ID).unwrap_err();
        let message = error.to_string();
        assert!(!format!("{error:?}{message}").contains("secret"), "{message}");
        message
    };
    let gated: &[_] = &[("X-Error-Code", "GatedRepo")];
    let text = error(401, gated, false);
    assert!(
        text.contains("gated") && text.contains("/org/model") && text.contains("then set HF_TOKEN"),
        "{text}"
    );
    let text = error(403, gated, true);
    assert!(text.contains("gated") && text.contains("with the account of the token"), "{text}");
    let missing: &[_] = &[("X-Error-Code", "RepoNotFound")];
    let text = error(401, missing, false);
    assert!(
        text.contains("no repository `org/model`") && text.contains("If it is private, set HF_TOKEN"),
        "{text}"
    );
    assert!(error(404, missing, true).contains("that this token may see"));
    let text = error(404, &[("X-Error-Code", "RevisionNotFound")], false);
    assert!(text.contains("no revision `main`"), "{text}");
    let wrong: &[_] = &[
        ("X-Error-Message", "Invalid credentials in Authorization header"),
        ("X-Error-Code", "RepoNotFound"),
    ];
    let text = error(401, wrong, true);
    assert!(text.contains("401") && text.contains("is refused"), "{text}");
    assert!(error(401, &[], false).contains("a token is wanted"));
    let text = error(410, &[("X-Error-Message", "gone for good")], false);
    assert!(text.contains("410: gone for good"), "{text}");
}

#[test]
fn a_hub_without_codes_is_asked_which_of_the_two_is_missing() {
    let server = Builder::model()
        .hook(|_, reply| {
            if reply.status == 404 {
                reply.set(404, "nothing");
            }
        })
        .start();
    let client = Client::of(&server);
    let error = |model| client.get(model).unwrap_err().to_string();
    assert!(error("org/model@v9").contains("`org/model` has no revision `v9`"));
    assert!(error("org/other").contains("no repository `org/other`"));
}

#[test]
fn another_commit_than_was_asked_for_is_not_taken() {
    let server = Builder::model().start();
    let other = "f".repeat(40);
    let moved = Builder::model()
        .hook(move |request, reply| {
            if request.is_api() {
                let text = String::from_utf8(reply.body.clone()).unwrap();
                reply.set(200, &text.replace(COMMIT, &"f".repeat(40)));
            }
        })
        .start();
    assert!(Client::of(&server).get(&format!("{ID}@{COMMIT}")).is_ok());
    let error = Client::of(&moved).get(&format!("{ID}@{COMMIT}")).unwrap_err().to_string();
    assert!(error.contains(&format!("found the commit `{other}`")), "{error}");
}

#[test]
fn nobody_there_is_said() {
    let server = Builder::model().start();
    let client = Client::of(&server);
    let url = server.url.clone();
    drop(server);
    let error = client.error();
    assert!(error.contains(&url) && error.contains("no answer"), "{error}");
}

#[test]
fn a_server_that_goes_silent_is_left() {
    // The body never comes: the connection is held open.
    let held = Arc::new(Mutex::new(()));
    let guard = held.lock().unwrap();
    let hold = held.clone();
    let server = Builder::model()
        .hook(move |request, _| {
            if request.is_for("config.json") {
                drop(hold.lock());
            }
        })
        .start();
    let client = Client::of(&server).set("HF_HUB_DOWNLOAD_TIMEOUT", "1").set("HF_HUB_ETAG_TIMEOUT", "1");
    let mut settings = client.settings();
    settings.retries = 0;
    let hub = crossrank_hub::Hub::new(settings).unwrap();
    let error = hub.snapshot(&crossrank_hub::Model::parse(ID).unwrap()).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("timeout"), "{error}");
    drop(guard);
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["../evil", "a/../../evil", "/evil", "a//b", "./config.json"] {
        let server = Builder::model().file(name, "evil").start();
        let client = Client::of(&server);
        let error = client.error();
        assert!(error.contains("leads out of the model's folder") && error.contains(name), "{error}");
        assert_eq!(server.downloads().len(), 0);
    }
    // What Windows would take for such a name does no harm where it is not needed.
    let server = Builder::model().file("..\\evil", "evil").file("C:evil", "evil").start();
    Client::of(&server).ok(&server);
    for shard in ["../evil", "/evil", "a/b.safetensors", "..", "..\\\\evil", "C:evil"] {
        let index = format!("{{\"weight_map\": {{\"a\": \"{shard}\"}}}}");
        let server = Builder::model().without(WEIGHTS).file("model.safetensors.index.json", index).start();
        let client = Client::of(&server);
        let error = client.error();
        assert!(error.contains("leads out"), "{shard}: {error}");
        assert!(names(client.folder.path()).iter().all(|name| !name.contains("evil")));
    }
    for path in ["../evil", "/evil", "1_Dense/../../evil", "..\\\\evil"] {
        let modules = format!("[{{\"path\": \"\"}}, {{\"path\": \"{path}\"}}]");
        let server = Builder::model()
            .file("modules.json", modules)
            .file("config_sentence_transformers.json", "{\"model_type\": \"CrossEncoder\"}")
            .start();
        let error = Client::of(&server).error();
        assert!(error.contains("leads out"), "{path}: {error}");
    }
}

#[test]
fn what_is_no_model_is_named_before_anything_is_downloaded() {
    let error = |builder: Builder| {
        let server = builder.start();
        let client = Client::of(&server);
        let error = client.error();
        assert_eq!(
            (server.downloads().len(), client.folder.path().join("hub").exists()),
            (0, false),
            "{error}"
        );
        error
    };
    let text = error(Builder::model().without(WEIGHTS));
    for part in ["`pytorch_model.bin`", "`onnx/model.onnx`", "save_pretrained", "@refs/pr/N"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = error(Builder::model().without(WEIGHTS).without("pytorch_model.bin"));
    assert!(text.contains("found `onnx/model.onnx`. Give the repository"), "{text}");
    let gguf = (0..9).fold(Builder::new(), |builder, n| builder.file(&format!("q{n}.gguf"), "x"));
    let text = error(gguf);
    assert!(text.contains("`q4.gguf`, 4 more"), "{text}");
    assert!(error(Builder::new().file("README.md", "x")).contains("no weights at all: is it a model?"));
    for builder in [Builder::model(), Builder::new().file("adapter_model.safetensors", "x")] {
        let text = error(builder.file("adapter_config.json", "{}"));
        assert!(text.contains("an adapter") && text.contains("merge_and_unload"), "{text}");
    }
    // Weights of something else.
    assert!(
        error(Builder::new().file("other/model.safetensors", "x"))
            .contains("found `other/model.safetensors`")
    );
}

#[test]
fn what_a_model_lacks_is_named() {
    let error = |builder: Builder| {
        let server = builder.start();
        Client::of(&server).error()
    };
    assert!(error(Builder::model().without("config.json")).contains("it has no file config.json"));
    assert!(error(Builder::model().without("tokenizer.json")).contains("tokenizer.json or a vocabulary"));
    let modular = |modules: &str| {
        Builder::model()
            .file("modules.json", modules)
            .file("config_sentence_transformers.json", "{\"model_type\": \"CrossEncoder\"}")
    };
    let dense = modular("[{\"path\": \"\"}, {\"path\": \"1_Dense\"}]");
    assert!(error(dense).contains("no file 1_Dense/config.json"));
    let dense = modular("[{\"path\": \"\"}, {\"path\": \"1_Dense\"}]")
        .file("1_Dense/config.json", "{}")
        .file("1_Dense/pytorch_model.bin", "x");
    let text = error(dense);
    assert!(
        text.contains("expected 1_Dense/model.safetensors") && text.contains("1_Dense/pytorch_model.bin"),
        "{text}"
    );
    assert!(error(modular("{")).contains("its modules.json is broken"));
    let shards = Builder::model()
        .without(WEIGHTS)
        .file("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"m-1.safetensors\"}}");
    assert!(error(shards).contains("no file m-1.safetensors"));
}
