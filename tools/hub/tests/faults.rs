//! Servers that break connections, lie about lengths, or send other bytes.

#[path = "server/hub.rs"]
mod client;
mod server;

use std::fs;
use std::io::Write;

use client::Client;
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
