//! Servers that break connections, lie about lengths, send other bytes, refuse or are busy.

#[path = "server/hub.rs"]
mod client;
mod server;

use std::fs;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use client::{Client, names};
use flate2::Compression;
use flate2::write::GzEncoder;
use server::{Builder, COMMIT, ID, Reply, Request, Server, weights};

const WEIGHTS: &str = "model.safetensors";

/// What was asked for of the weights: `Range` and `If-Range`.
fn ranges(server: &Server) -> Vec<(Option<String>, Option<String>)> {
    let header = |request: &Request, name| request.header(name).map(str::to_owned);
    let requests =
        server.downloads().into_iter().filter(|request| request.is_for(WEIGHTS) && request.is_get());
    requests.map(|request| (header(&request, "range"), header(&request, "if-range"))).collect()
}

/// A server that does `wrong` to its first answers with the weights, `times` of them.
fn wrong(times: usize, wrong: impl Fn(&mut Reply) + Send + Sync + 'static) -> Builder {
    Builder::model().hook(move |request, reply| {
        if request.is_for(WEIGHTS) && request.is_get() && request.before < times {
            wrong(reply);
        }
    })
}

#[test]
fn a_broken_connection_is_resumed_where_it_broke() {
    let server = wrong(2, |reply| reply.cut = Some(1_000_000)).start();
    let client = Client::of(&server);
    client.ok(&server);
    let ranges = ranges(&server);
    assert_eq!((ranges.len(), &ranges[0]), (3, &(None, None)));
    let version = format!("\"{}\"", server::sha256(&weights()));
    assert_eq!(ranges[1], (Some("bytes=1000000-".into()), Some(version.clone())));
    assert_eq!(ranges[2], (Some("bytes=2000000-".into()), Some(version)));
}

#[test]
fn what_a_process_leaves_is_resumed_by_the_next() {
    let server = wrong(usize::MAX, |reply| reply.cut = Some(100_000)).start();
    let mut client = Client::of(&server);
    let error = client.error();
    assert!(error.contains(WEIGHTS) && error.contains("broke"), "{error}");
    // Its five attempts went on one after another.
    let left = client.unfinished();
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(left[0].ends_with(".crossrank-etag") && left[1].ends_with(".crossrank-part"));
    // No reference leads to what is not whole.
    assert!(!client.model().join("refs/main").exists());

    let next = Builder::model().start();
    client.turn_to(&next);
    client.ok(&next);
    let version = format!("\"{}\"", server::sha256(&weights()));
    assert_eq!(ranges(&next), [(Some("bytes=500000-".into()), Some(version))]);
    assert_eq!(next.downloads().len(), 1);
    assert!(client.progress.lock().unwrap().contains(&(WEIGHTS.into(), 500_000)));
}

#[test]
fn a_store_is_asked_for_ranges_of_its_own_version_and_without_the_token() {
    let cdn = wrong(1, |reply| reply.cut = Some(1_000_000)).start();
    let server = Builder::model().cdn(&cdn).start();
    let client = Client::of(&server).set("HF_TOKEN", "hf_secret");
    client.ok(&server);
    assert_eq!(ranges(&cdn), [(None, None), (Some("bytes=1000000-".into()), Some("\"cdn-1\"".into()))]);
    for request in cdn.requests() {
        assert_eq!(request.header("authorization"), None);
        assert!(request.path.contains("Signature=secret"));
    }
    for request in server.requests() {
        assert_eq!(request.header("authorization"), Some("Bearer hf_secret"));
    }
}

#[test]
fn the_token_goes_to_no_other_host_whatever_is_redirected() {
    let other = Builder::model().start();
    let target = other.url.clone();
    // The list, the question for a hash and the file.
    let server = Builder::model()
        .without_hashes()
        .hook(move |request, reply| {
            *reply = Reply::new(307, "").with("Location", format!("{target}{}", request.path));
        })
        .start();
    let client = Client::of(&server).set("HF_TOKEN", "hf_secret");
    client.get(ID).unwrap();
    assert!(
        server.requests().iter().all(|request| request.header("authorization") == Some("Bearer hf_secret"))
    );
    assert!(!other.requests().is_empty());
    assert!(other.requests().iter().all(|request| request.header("authorization").is_none()));
}

#[test]
fn a_redirect_within_the_hub_is_followed_with_the_token() {
    let server = Builder::model()
        .hook(|request, reply| {
            if request.path == format!("/api/models/{ID}/revision/main?blobs=true") {
                *reply = Reply::new(307, "")
                    .with("Location", format!("/api/models/{ID}/revision/{COMMIT}?blobs=true"));
            }
        })
        .start();
    let client = Client::of(&server).set("HF_TOKEN", "hf_secret");
    client.ok(&server);
    assert_eq!(server.requests()[1].header("authorization"), Some("Bearer hf_secret"));
}

#[test]
fn redirects_without_end_end() {
    let server = Builder::model()
        .hook(|request, reply| *reply = Reply::new(302, "").with("Location", &*request.path))
        .start();
    let client = Client::of(&server);
    assert!(client.error().contains("too many redirects"));
    assert_eq!(server.requests().len(), 11);
}

#[test]
fn a_whole_file_in_answer_to_a_range_begins_anew() {
    let server = Builder::model()
        .hook(|request, reply| match (request.is_for(WEIGHTS), request.before) {
            (true, 0) => reply.cut = Some(1_000_000),
            (true, 1) => *reply = Reply::new(200, weights()).with("ETag", "\"other\""),
            _ => {}
        })
        .start();
    let client = Client::of(&server);
    client.ok(&server);
    assert_eq!(ranges(&server).len(), 2);
    let progress = client.progress.lock().unwrap();
    let bytes: Vec<u64> =
        progress.iter().filter(|(file, _)| file == WEIGHTS).map(|(_, done)| *done).collect();
    assert!(bytes.windows(2).any(|pair| pair[1] < pair[0]), "it never began anew");
}

#[test]
fn another_range_than_was_asked_for_is_not_taken() {
    for range in ["bytes 5-9/3000000", "bytes 1000000-2999999/3000001", "bytes */3000000", "1000000", ""] {
        let server = Builder::model()
            .hook(move |request, reply| match (request.is_for(WEIGHTS), request.before) {
                (true, 0) => reply.cut = Some(1_000_000),
                (true, 1) => *reply = reply.clone().with("Content-Range", range),
                _ => {}
            })
            .start();
        Client::of(&server).ok(&server);
        assert_eq!(ranges(&server)[2], (None, None), "{range}");
    }
}

#[test]
fn a_range_that_cannot_be_had_begins_anew() {
    let server = Builder::model()
        .hook(|request, reply| match (request.is_for(WEIGHTS), request.before) {
            (true, 0) => reply.cut = Some(1_000_000),
            (true, 1) => *reply = Reply::new(416, "").with("Content-Range", "bytes */10"),
            _ => {}
        })
        .start();
    Client::of(&server).ok(&server);
    assert_eq!(ranges(&server)[2], (None, None));
}

#[test]
fn more_than_the_file_left_behind_is_not_resumed() {
    let server = Builder::model().start();
    let client = Client::of(&server);
    let blob = client.blob(WEIGHTS, &server);
    fs::create_dir_all(blob.parent().unwrap()).unwrap();
    let part = format!("{}.1-2-3.crossrank-part", blob.file_name().unwrap().to_str().unwrap());
    fs::write(blob.with_file_name(&part), vec![0; weights().len() + 1]).unwrap();
    client.ok(&server);
    assert_eq!(ranges(&server), [(None, None)]);
    // As long as the file, and other bytes: they are compared, and thrown away.
    let client = Client::of(&server);
    fs::create_dir_all(client.model().join("blobs")).unwrap();
    fs::write(client.model().join("blobs").join(&part), vec![0; weights().len()]).unwrap();
    server.forget();
    client.ok(&server);
    assert_eq!(ranges(&server), [(None, None)]);
    // A beginning of other bytes is only known at the end.
    let client = Client::of(&server);
    fs::create_dir_all(client.model().join("blobs")).unwrap();
    fs::write(client.model().join("blobs").join(&part), vec![0; 1000]).unwrap();
    server.forget();
    client.ok(&server);
    assert_eq!(ranges(&server), [(Some("bytes=1000-".into()), None), (None, None)]);
}

#[test]
fn a_wrong_length_is_tried_again_and_then_told() {
    for length in [10, weights().len() - 1, weights().len() + 1] {
        let server = wrong(2, move |reply| reply.length = Some(length)).start();
        Client::of(&server).ok(&server);
        let server = wrong(usize::MAX, move |reply| reply.length = Some(length)).start();
        let client = Client::of(&server);
        let error = client.error();
        assert!(error.contains("3000000") && error.contains(&length.to_string()), "{error}");
        assert_eq!((ranges(&server).len(), client.blob(WEIGHTS, &server).exists()), (5, false));
    }
}

#[test]
fn a_chunked_body_that_is_short_is_resumed_and_one_that_is_long_is_refused() {
    // It ends as if it were whole.
    let short = |reply: &mut Reply| {
        reply.chunked = true;
        reply.body.truncate(1_000_000);
    };
    let server = wrong(1, short).start();
    Client::of(&server).ok(&server);
    assert_eq!(ranges(&server)[1].0.as_deref(), Some("bytes=1000000-"));
    // It breaks.
    let server = wrong(1, |reply| (reply.chunked, reply.cut) = (true, Some(1_000_000))).start();
    Client::of(&server).ok(&server);
    assert_eq!(ranges(&server)[1].0.as_deref(), Some("bytes=1000000-"));
    // All of it.
    let server = wrong(usize::MAX, |reply| reply.chunked = true).start();
    Client::of(&server).ok(&server);
    let long = |reply: &mut Reply| {
        reply.chunked = true;
        reply.body.push(0);
    };
    let server = wrong(usize::MAX, long).start();
    let client = Client::of(&server);
    let error = client.error();
    assert!(error.contains("found more than 3000000"), "{error}");
    assert_eq!(client.unfinished(), [""; 0]);
}

#[test]
fn gzip_without_a_length_is_undone_and_other_codings_are_refused() {
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let coded = move |reply: &mut Reply| {
        reply.body = gzip(&reply.body);
        reply.chunked = true;
        reply.headers.push(("Content-Encoding".into(), "gzip".into()));
    };
    let all = coded;
    let server = Builder::model().hook(move |_, reply| all(reply)).start();
    Client::of(&server).ok(&server);
    // It breaks, and the range comes in gzip, too: there is no use for that.
    let both = move |reply: &mut Reply| {
        coded(reply);
        if reply.status == 200 {
            reply.cut = Some(reply.body.len() / 2);
        }
    };
    let server = wrong(1, both).start();
    Client::of(&server).ok(&server);
    let server = Builder::model()
        .hook(move |request, reply| {
            if request.is_for(WEIGHTS) && request.before < 2 {
                both(reply);
            }
        })
        .start();
    Client::of(&server).ok(&server);
    let server =
        wrong(usize::MAX, |reply| reply.headers.push(("Content-Encoding".into(), "br".into()))).start();
    let error = Client::of(&server).error();
    assert!(error.contains("`br`"), "{error}");
}

#[test]
fn other_bytes_are_never_kept() {
    for name in [WEIGHTS, "config.json", "tokenizer.json"] {
        let server = Builder::model()
            .hook(move |request, reply| {
                if request.is_for(name) {
                    reply.body[0] ^= 1;
                }
            })
            .start();
        let client = Client::of(&server);
        let error = client.error();
        let hash = server::etag(name, server.bytes(name));
        assert!(error.contains(name) && error.contains(&hash), "{error}");
        assert!(!client.blob(name, &server).exists() && client.unfinished().is_empty());
        assert_eq!(server.downloads().iter().filter(|request| request.is_for(name)).count(), 1);
    }
}

#[test]
fn a_page_in_place_of_a_file_is_named() {
    for (page, what) in [
        ("<!DOCTYPE html><title>Log in</title>", "an HTML page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3000000\n", "a Git LFS pointer"),
    ] {
        let server = Builder::model()
            .hook(move |request, reply| {
                if request.is_for(WEIGHTS) {
                    *reply = Reply::new(200, page);
                    reply.chunked = true;
                }
            })
            .start();
        let client = Client::of(&server);
        let error = client.error();
        assert!(error.contains(what) && error.contains(WEIGHTS), "{error}");
        assert_eq!(client.unfinished(), [""; 0]);
    }
    // The repository itself has one.
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3000000\n";
    let server = Builder::model().file(WEIGHTS, pointer).start();
    let error = Client::of(&server).error();
    assert!(error.contains("its model.safetensors is a Git LFS pointer"), "{error}");
    // The list is one.
    let server = Builder::model().hook(|_, reply| reply.set(200, "<html>Log in")).start();
    let error = Client::of(&server).error();
    assert!(error.contains("an HTML page") && error.contains("HF_ENDPOINT"), "{error}");
    for list in [
        "",
        "{}",
        "[]",
        "{\"sha\": \"../x\", \"siblings\": []}",
        "{\"sha\": 1, \"siblings\": []}",
        "not JSON",
    ] {
        let server = Builder::model().hook(move |_, reply| reply.set(200, list)).start();
        let error = Client::of(&server).error();
        assert!(error.contains("HF_ENDPOINT"), "{list}: {error}");
    }
}

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
            if !matches!((at, status), (_, 404) | (At::Store, 403)) {
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
