//! What is downloaded, into which layout, and what happens where the cache has some of it.

#[path = "server/hub.rs"]
mod client;
mod server;

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use client::{Client, names};
use server::{Builder, COMMIT, ID, weights};

#[test]
fn what_the_engine_reads_is_downloaded_and_nothing_else() {
    let server = Builder::model()
        .file("tokenizer_config.json", "{\"b\": 1}")
        .file("special_tokens_map.json", "{\"c\": 1}")
        .file("vocab.txt", "not needed beside tokenizer.json")
        .file("openvino/openvino_model.bin", "x")
        .file("model.safetensors.index.json", "not needed beside model.safetensors")
        .file("code.py", "x")
        .start();
    let client = Client::of(&server);
    let folder = client.ok(&server);
    let expected = [
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    assert_eq!(names(&folder), expected);
    assert_eq!(server.downloads().len(), expected.len());
    for request in server.requests() {
        assert_eq!(request.header("accept-encoding"), Some("identity"), "{request:?}");
        assert_eq!((request.header("authorization"), &*request.method), (None, "GET"));
    }
    let progress = client.progress.lock().unwrap();
    assert_eq!(progress.last().unwrap(), &("model.safetensors".to_owned(), weights().len() as u64));
    assert!(progress.iter().filter(|(file, _)| file == "model.safetensors").count() > 2);
}

#[cfg(unix)]
#[test]
fn the_layout_is_pythons() {
    let server = Builder::model()
        .file("modules.json", "[{\"path\": \"\"}, {\"path\": \"1_Dense\"}]")
        .file("config_sentence_transformers.json", "{\"model_type\": \"CrossEncoder\"}")
        .file("1_Dense/config.json", "{\"d\": 1}")
        .file("1_Dense/model.safetensors", "dense")
        .file("1_Dense/pytorch_model.bin", "x")
        .file("2_Other/config.json", "{\"e\": 1}")
        .start();
    let client = Client::of(&server);
    let folder = client.ok(&server);
    let root = client.folder.path().join("hub");
    let link = |name: &str| fs::read_link(folder.join(name)).unwrap().into_os_string().into_string().unwrap();
    let etag = |name: &str| server::etag(name, server.bytes(name));
    assert_eq!(link("config.json"), format!("../../blobs/{}", etag("config.json")));
    assert_eq!(
        link("1_Dense/model.safetensors"),
        format!("../../../blobs/{}", etag("1_Dense/model.safetensors"))
    );
    assert_eq!(fs::read_to_string(client.model().join("refs/main")).unwrap(), COMMIT);
    assert_eq!(names(&client.model().join("refs")), ["main"]);
    assert_eq!(names(&folder).len(), 7);
    let locks = names(&root.join(".locks/models--org--model"));
    assert_eq!(locks.len(), 7);
    assert!(locks.contains(&format!("{}.lock", etag("model.safetensors"))));
    assert!(root.join("CACHEDIR.TAG").exists());
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(client.blob("config.json", &server)).unwrap().permissions().mode();
    // As any file that is made: what others may read is the umask's business.
    let plain = client.folder.path().join("plain");
    fs::write(&plain, "").unwrap();
    assert_eq!(mode, fs::metadata(plain).unwrap().permissions().mode());
}

#[test]
fn the_second_time_nothing_is_downloaded() {
    let server = Builder::model().start();
    let client = Client::of(&server);
    client.ok(&server);
    server.forget();
    client.ok(&server);
    assert_eq!((server.requests().len(), server.downloads().len()), (1, 0));
    // A commit always means the same: nobody needs to be asked.
    server.forget();
    client.get(&format!("{ID}@{COMMIT}")).unwrap();
    assert_eq!(server.requests().len(), 0);
    // Another name of the same commit.
    client.get(&format!("{ID}@refs/pr/1")).unwrap();
    assert_eq!((server.requests().len(), server.downloads().len()), (1, 0));
    assert_eq!(fs::read_to_string(client.model().join("refs/refs/pr/1")).unwrap(), COMMIT);
}

#[test]
fn shards_and_vocabularies_are_found() {
    let index = "{\"weight_map\": {\"a\": \"model-1.safetensors\", \"b\": \"model-2.safetensors\", \"c\": \"model-1.safetensors\"}}";
    let server = Builder::new()
        .file("config.json", "{}")
        .file("vocab.json", "{\"x\": 1}")
        .file("merges.txt", "#")
        .file("model.safetensors.index.json", index)
        .file("model-1.safetensors", "one")
        .file("model-2.safetensors", "two")
        .file("model-3.safetensors", "three")
        .start();
    let client = Client::of(&server);
    let folder = client.get(ID).unwrap();
    let expected = [
        "config.json",
        "merges.txt",
        "model-1.safetensors",
        "model-2.safetensors",
        "model.safetensors.index.json",
        "vocab.json",
    ];
    assert_eq!(names(&folder), expected);
}

#[test]
fn an_encoder_may_have_a_folder_of_its_own() {
    let server = Builder::new()
        .file("modules.json", "[{\"path\": \"0_Transformer\"}, {\"path\": \"1_Pooling\"}]")
        .file("config_sentence_transformers.json", "{\"model_type\": \"CrossEncoder\"}")
        .file("0_Transformer/config.json", "{\"f\": 1}")
        .file("0_Transformer/tokenizer.json", "{\"g\": 1}")
        .file("0_Transformer/sentence_bert_config.json", "{\"h\": 1}")
        .file("0_Transformer/model.safetensors", "encoder")
        .file("1_Pooling/config.json", "{\"i\": 1}")
        .start();
    let client = Client::of(&server);
    assert_eq!(names(&client.get(ID).unwrap()).len(), 7);
    server.forget();
    client.get(ID).unwrap();
    assert_eq!(server.downloads().len(), 0);
}

#[test]
fn hashes_are_asked_for_where_the_list_has_none() {
    let cdn = Builder::model().start();
    let server = Builder::model().without_hashes().cdn(&cdn).start();
    let client = Client::of(&server);
    client.ok(&server);
    let heads = server.requests().iter().filter(|request| request.method == "HEAD").count();
    assert_eq!((heads, cdn.requests().len()), (3, 1));
}

#[test]
fn without_links_the_files_themselves_are_in_the_snapshot() {
    let server = Builder::model().start();
    let client = Client::of(&server).set("HF_HUB_DISABLE_SYMLINKS", "1");
    let folder = client.ok(&server);
    assert!(!folder.join("config.json").is_symlink());
    assert_eq!(names(&client.model().join("blobs")), [""; 0]);
    server.forget();
    client.ok(&server);
    assert_eq!(server.downloads().len(), 0);
    fs::write(folder.join("config.json"), "[]").unwrap();
    client.get(ID).unwrap();
    assert_eq!((client.warnings().len(), server.downloads().len()), (1, 1));
    client.assert_whole(&folder, &server);
}

#[test]
fn a_poisoned_blob_is_named_and_counts_as_absent() {
    let server = Builder::model().start();
    let weights = weights();
    let mut other = weights.clone();
    other[1_000_000] ^= 1;
    for (name, poison) in [
        ("model.safetensors", &*other),
        ("model.safetensors", &weights[..1000]),
        ("model.safetensors", b"Forbidden"),
        ("config.json", b"[]"),
        ("config.json", b""),
    ] {
        let client = Client::of(&server);
        let (folder, blob) = (client.ok(&server), client.blob(name, &server));
        fs::write(&blob, poison).unwrap();
        server.forget();
        client.get(ID).unwrap();
        let warnings = client.warnings();
        assert!(
            warnings.len() == 1 && warnings[0].contains(blob.file_name().unwrap().to_str().unwrap()),
            "{warnings:?}"
        );
        assert_eq!(server.downloads().len(), 1);
        client.assert_whole(&folder, &server);

        // So it is where nothing leads to the blob yet.
        fs::write(&blob, poison).unwrap();
        fs::remove_file(folder.join(name)).unwrap();
        client.get(ID).unwrap();
        assert_eq!(client.warnings().len(), 1);
        client.assert_whole(&folder, &server);

        // Without the hub, it is missing.
        fs::write(&blob, poison).unwrap();
        let mut offline = client.settings();
        offline.offline = true;
        let hub = crossrank_hub::Hub::new(offline).unwrap();
        let error = hub.snapshot(&crossrank_hub::Model::parse(ID).unwrap()).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("broken"), "{error}");
    }
}

#[test]
fn a_large_blob_that_has_been_compared_is_compared_again_when_it_has_changed() {
    let server = Builder::model().file("model.safetensors", vec![7; 5_000_000]).start();
    let client = Client::of(&server);
    let (folder, blob) = (client.ok(&server), client.blob("model.safetensors", &server));
    client.ok(&server);
    let noted = blob.metadata().unwrap().modified().unwrap();
    fs::write(&blob, vec![8; 5_000_000]).unwrap();
    fs::File::options()
        .write(true)
        .open(&blob)
        .unwrap()
        .set_modified(noted + Duration::from_millis(1))
        .unwrap();
    server.forget();
    client.get(ID).unwrap();
    assert_eq!((client.warnings().len(), server.downloads().len()), (1, 1));
    client.assert_whole(&folder, &server);
}

#[test]
fn links_that_lead_nowhere_or_elsewhere_are_made_anew() {
    let server = Builder::model().start();
    let client = Client::of(&server);
    let folder = client.ok(&server);
    fs::remove_file(client.blob("config.json", &server)).unwrap();
    server.forget();
    client.ok(&server);
    assert_eq!(server.downloads().len(), 1);
    // A file of the right size and another's bytes.
    let pointer = folder.join("tokenizer.json");
    fs::remove_file(&pointer).unwrap();
    fs::write(&pointer, "{\"a\": 2}").unwrap();
    server.forget();
    client.get(ID).unwrap();
    assert_eq!((client.warnings().len(), server.downloads().len()), (1, 0));
    client.assert_whole(&folder, &server);
}

#[test]
fn without_the_hub_the_cache_must_do() {
    let server = Builder::model().start();
    let client = Client::of(&server).set("HF_HUB_OFFLINE", "1");
    let error = client.error();
    assert!(
        error.contains("no snapshot of the revision `main`") && error.contains("HF_HUB_OFFLINE"),
        "{error}"
    );
    assert_eq!(server.requests().len(), 0);

    let mut online = client.settings();
    online.offline = false;
    crossrank_hub::Hub::new(online).unwrap().snapshot(&crossrank_hub::Model::parse(ID).unwrap()).unwrap();
    server.forget();
    let folder = client.ok(&server);
    client.get(&format!("{ID}@{COMMIT}")).unwrap();
    assert!(client.get(&format!("{ID}@refs/pr/1")).is_err());
    fs::remove_file(folder.join("model.safetensors")).unwrap();
    fs::remove_file(client.blob("tokenizer.json", &server)).unwrap();
    let error = client.error();
    assert!(
        error.contains("model.safetensors is missing") && error.contains("tokenizer.json is missing"),
        "{error}"
    );
    assert_eq!(server.requests().len(), 0);
}

#[test]
fn where_the_hub_does_not_answer_the_cache_is_used_and_it_is_said() {
    let server = Builder::model().start();
    let mut client = Client::of(&server);
    let folder = client.ok(&server);
    for status in [401, 403, 404, 429, 500, 503] {
        let broken = Builder::model().hook(move |_, reply| reply.set(status, "")).start();
        client.turn_to(&broken);
        assert_eq!(client.get(ID).unwrap(), folder, "{status}");
        let warnings = client.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains(ID), "{status} {warnings:?}");
    }
    drop(server);
    let gone = Builder::model().start();
    client.turn_to(&gone);
    drop(gone);
    assert_eq!(client.get(ID).unwrap(), folder);
    assert_eq!(client.warnings().len(), 1);
    // A revision that the hub does not have is not there, whatever the cache has.
    let other = Builder::model().start();
    client.turn_to(&other);
    fs::write(client.model().join("refs/gone"), COMMIT).unwrap();
    assert!(client.get(&format!("{ID}@gone")).unwrap_err().to_string().contains("no revision `gone`"));
}

#[test]
fn a_reference_that_is_no_commit_leads_nowhere() {
    let server = Builder::model().start();
    let client = Client::of(&server).set("HF_HUB_OFFLINE", "1");
    fs::create_dir_all(client.model().join("refs")).unwrap();
    fs::create_dir_all(client.model().join("snapshots/x")).unwrap();
    fs::write(client.model().join("refs/main"), "../snapshots/x").unwrap();
    assert!(client.error().contains("no snapshot"));
}

#[test]
fn a_cache_that_is_whole_is_not_written() {
    let server = Builder::model().start();
    let client = Client::of(&server);
    let folder = client.ok(&server);
    let folders = || {
        ["blobs", "refs", "snapshots", ""]
            .map(|name| client.model().join(name))
            .into_iter()
            .chain([folder.clone()])
    };
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    folders().for_each(|path| fs::File::open(path).unwrap().set_modified(long_ago).unwrap());
    client.ok(&server);
    for path in folders() {
        assert_eq!(path.metadata().unwrap().modified().unwrap(), long_ago, "{}", path.display());
    }
}

#[test]
fn two_at_once_do_not_hurt_each_other() {
    let server = Builder::model()
        .hook(|request, _| {
            if request.is_for("model.safetensors") {
                thread::sleep(Duration::from_millis(300));
            }
        })
        .start();
    let client = Client::of(&server);
    let done = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                client.assert_whole(&client.get(ID).unwrap(), &server);
                done.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    assert_eq!((done.into_inner(), client.warnings()), (4, vec![]));
    // Each file once: the others waited, and were told so.
    assert_eq!(server.downloads().len(), 3);
    assert_eq!(client.waited.lock().unwrap().iter().filter(|file| *file == "model.safetensors").count(), 3);
}

#[test]
fn without_locks_two_at_once_do_not_hurt_each_other_either() {
    let server = Builder::model().hook(|_, _| thread::sleep(Duration::from_millis(50))).start();
    let client = Client::of(&server);
    // A file where their folder should be.
    fs::create_dir_all(client.folder.path().join("hub")).unwrap();
    fs::write(client.folder.path().join("hub/.locks"), "").unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| client.get(ID).unwrap());
        }
    });
    client.ok(&server);
}
