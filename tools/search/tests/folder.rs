//! An index on disk: kept, used again, built anew, refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank_search::{Error, Event, Index, IndexFolder, Source};
use tempfile::TempDir;

struct Case {
    folder: TempDir,
    corpus: PathBuf,
}

/// What opening did.
#[derive(Debug, PartialEq)]
enum Did {
    Opened,
    Built(Option<String>),
}

impl Case {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let corpus = folder.path().join("corpus");
        fs::write(&corpus, "rivers run\nbread bakes\n").unwrap();
        Self { folder, corpus }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("index")
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn open(&self) -> Result<(Index, Did), Error> {
        open(&self.path(), &self.corpus)
    }

    fn data(&self) -> PathBuf {
        self.path().join(self.names().into_iter().find(|name| name.starts_with("data-")).unwrap())
    }
}

fn open(path: &Path, corpus: &Path) -> Result<(Index, Did), Error> {
    let source = Source::of(corpus)?;
    let mut did = Did::Opened;
    let tell = |event| match event {
        Event::Building(why) => did = Did::Built(why),
        Event::Waiting => {}
        event => panic!("{event:?}"),
    };
    let index = IndexFolder::new(path).open_or_build(&source, tell, |writer| {
        for (number, line) in fs::read_to_string(corpus).unwrap().lines().enumerate() {
            writer.add(&format!("d{number}"), line)?;
        }
        Ok::<_, Error>(())
    })?;
    Ok((index, did))
}

fn rivers(index: &Index) -> Vec<u64> {
    index.search("rivers", 10).unwrap().iter().map(|hit| hit.ordinal).collect()
}

fn error(result: Result<(Index, Did), Error>) -> String {
    result.map(|(_, did)| did).unwrap_err().to_string()
}

#[test]
fn an_index_is_built_once_and_used_again() {
    let case = Case::new();
    let (index, did) = case.open().unwrap();
    assert_eq!((rivers(&index), did), (vec![0], Did::Built(None)));
    let names = case.names();
    assert_eq!(names.len(), 3);
    assert!(
        names[0] == "crossrank-index.json" && names[1].starts_with("data-") && names[2] == "lock",
        "{names:?}"
    );
    let (again, did) = case.open().unwrap();
    assert_eq!(
        (rivers(&again), again.document(1).unwrap().text, did),
        (vec![0], "bread bakes".into(), Did::Opened)
    );
    // A corpus that has moved is the same.
    let moved = case.folder.path().join("moved");
    fs::rename(&case.corpus, &moved).unwrap();
    assert_eq!(open(&case.path(), &moved).unwrap().1, Did::Opened);
    assert_eq!(case.names(), names);
    // In memory it is the same, too.
    let memory = Index::in_memory(|writer| {
        writer.add("d0", "rivers run")?;
        writer.add("d1", "bread bakes")?;
        Ok::<_, Error>(())
    });
    assert_eq!(
        memory.unwrap().search("run bread rivers", 9).unwrap(),
        again.search("run bread rivers", 9).unwrap()
    );
}

#[test]
fn an_empty_folder_will_do_and_one_within_none_will_not() {
    let case = Case::new();
    fs::create_dir(case.path()).unwrap();
    assert_eq!(case.open().unwrap().1, Did::Built(None));
    let nowhere = case.folder.path().join("no").join("index");
    assert!(error(open(&nowhere, &case.corpus)).starts_with(nowhere.to_str().unwrap()));
    assert!(error(open(&case.corpus, &case.corpus)).starts_with(case.corpus.to_str().unwrap()));
}

#[test]
fn another_corpus_is_indexed_anew_and_the_reason_is_given() {
    let case = Case::new();
    let (old, _) = case.open().unwrap();
    fs::write(&case.corpus, "rivers ran\nbread bakes\n").unwrap();
    let (_, did) = case.open().unwrap();
    assert_eq!(did, Did::Built(Some("the corpus has changed".into())));
    fs::write(&case.corpus, "bread\nrivers\n").unwrap();
    let (index, did) = case.open().unwrap();
    assert_eq!(did, Did::Built(Some("the corpus has 13 bytes, that of the index had 23".into())));
    assert_eq!(rivers(&index), [1]);
    assert_eq!(case.names().len(), 3, "the old data is gone");
    // Whoever has the old one open goes on with it.
    if cfg!(unix) {
        assert_eq!((rivers(&old), old.document(0).unwrap().text), (vec![0], "rivers run".into()));
    }
}

#[test]
fn what_another_version_made_is_made_anew() {
    let case = Case::new();
    case.open().unwrap();
    let manifest = case.path().join("crossrank-index.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    for (from, to, why) in [
        (&*version, "\"version\": \"0.0.9\"", "it was made by version 0.0.9, this is"),
        ("\"format\": 1", "\"format\": 99", "it was made by version"),
        ("lower case", "upper case", "it was made with another analysis of texts"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        fs::write(&manifest, changed).unwrap();
        let Did::Built(Some(reason)) = case.open().unwrap().1 else { panic!("{from}") };
        assert!(reason.starts_with(why), "{reason}");
        assert_eq!(case.open().unwrap().1, Did::Opened);
        assert_eq!(case.names().len(), 3);
    }
}

#[test]
fn a_folder_of_something_else_is_not_touched() {
    let case = Case::new();
    fs::create_dir(case.path()).unwrap();
    fs::write(case.path().join("thesis.tex"), "years of work").unwrap();
    fs::create_dir(case.path().join("data-of-mine")).unwrap();
    let message = error(case.open());
    assert!(message.contains("found `thesis.tex` in it: this folder is not touched"), "{message}");
    assert_eq!(case.names(), ["data-of-mine", "thesis.tex"]);
}

#[test]
fn an_index_that_was_never_finished_is_built_anew() {
    let case = Case::new();
    fs::create_dir_all(case.path().join("data-abc")).unwrap();
    fs::write(case.path().join("data-abc").join("meta.json"), "{").unwrap();
    fs::write(case.path().join("new-manifest-abc"), "{").unwrap();
    fs::write(case.path().join("lock"), "").unwrap();
    assert_eq!(case.open().unwrap().1, Did::Built(Some("it was never finished".into())));
    assert_eq!(case.names().len(), 3);
    // Beside one that serves, too, as soon as anything is built.
    fs::create_dir(case.path().join("data-left")).unwrap();
    assert_eq!(case.open().unwrap().1, Did::Opened);
    fs::write(&case.corpus, "rivers\n").unwrap();
    case.open().unwrap();
    assert_eq!(case.names().len(), 3);
}

#[test]
fn what_fails_leaves_what_was_there() {
    let case = Case::new();
    case.open().unwrap();
    let other = case.folder.path().join("other");
    fs::write(&other, "x\n").unwrap();
    let failing = IndexFolder::new(case.path()).open_or_build(
        &Source::of(&other).unwrap(),
        |_| {},
        |writer| {
            writer.add("a", "b")?;
            Err::<(), Box<dyn std::error::Error>>("no more".into())
        },
    );
    assert_eq!(failing.map(|_| ()).unwrap_err().to_string(), "no more");
    let (index, did) = case.open().unwrap();
    assert_eq!((rivers(&index), did, case.names().len()), (vec![0], Did::Opened, 3));
}

#[test]
fn damage_is_named() {
    let case = Case::new();
    case.open().unwrap();
    let manifest = case.path().join("crossrank-index.json");
    let text = fs::read_to_string(&manifest).unwrap();

    let mut files = fs::read_dir(case.data()).unwrap().map(|entry| entry.unwrap().path());
    let store = files.find(|path| path.extension().is_some_and(|it| it == "store")).unwrap();
    let bytes = fs::read(&store).unwrap();
    fs::write(&store, &bytes[..bytes.len() - 1]).unwrap();
    let name = store.file_name().unwrap().to_str().unwrap();
    let expected = format!("`{name}`: expected {} bytes, found {}; `rm -r` it", bytes.len(), bytes.len() - 1);
    let message = error(case.open());
    assert!(message.contains(&expected), "{message}");
    fs::remove_file(&store).unwrap();
    assert!(
        error(case.open()).contains(&format!("`{name}`: expected {} bytes, found no such file", bytes.len()))
    );
    fs::write(&store, &bytes).unwrap();
    assert_eq!(case.open().unwrap().1, Did::Opened);

    for (broken, reason) in [
        ("{".to_owned(), "crossrank-index.json: EOF while parsing"),
        (text.replace("\"data\"", "\"date\""), "crossrank-index.json: missing field `data`"),
        (text.replace("\"data\": \"data-", "\"data\": \"../data-"), "`data`: expected a name"),
        (text.replace("\"data\": \"data-", "\"data\": \"data-/../"), "`data`: expected a name"),
        (text.replace("\"data\": \"data-", "\"data\": \"data-not"), "index/data-not"),
    ] {
        fs::write(&manifest, broken).unwrap();
        let message = error(case.open());
        assert!(message.contains(reason), "{message}");
    }
}

/// Opens the index that the variable names, in a process of its own.
#[test]
#[ignore = "run by the test below"]
fn open_one() {
    let folder = PathBuf::from(std::env::var_os("CROSSRANK_TEST_FOLDER").unwrap());
    let corpora = [folder.join("a"), folder.join("b")];
    let found = AtomicUsize::new(0);
    for round in 0..20 {
        let corpus = &corpora[(round + std::process::id() as usize) % 2];
        let (index, _) = open(&folder.join("index"), corpus).unwrap();
        let expected = if corpus.ends_with("a") { 0 } else { 1 };
        assert_eq!(rivers(&index), [expected]);
        found.fetch_add(1, Ordering::Relaxed);
    }
    assert_eq!(found.into_inner(), 20);
}

#[test]
fn processes_that_want_different_things_of_one_folder_each_get_their_own() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "rivers\nbread\n").unwrap();
    fs::write(folder.path().join("b"), "bread\nrivers\n").unwrap();
    let this = std::env::current_exe().unwrap();
    let spawn = |_| {
        Command::new(&this)
            .args(["--exact", "open_one", "--ignored"])
            .env("CROSSRANK_TEST_FOLDER", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    for child in (0..3).map(spawn).collect::<Vec<_>>() {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let names = fs::read_dir(folder.path().join("index")).unwrap().count();
    assert_eq!(names, 3);
}
