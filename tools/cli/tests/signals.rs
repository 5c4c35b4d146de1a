//! Ctrl-C, and readers that go away.
//!
//! A signal is sent once the program is seen to be where it is to meet it: by what it wrote, or by what the system says of
//! the process. Work that must be interrupted is far more than any test run waits for.
#![cfg(unix)]

mod common;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
#[cfg(target_os = "linux")]
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{command, fixture, json, reference};

const PAIR: &str = "{\"query\":\"where do rivers go\",\"document\":\"To the sea.\"}\n";

fn spawn(args: &[&str]) -> Child {
    command().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// Asks again until it is so. Nothing here asks a clock: what never comes about hangs, as a test that fails.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn rest(child: &mut Child) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    (out, err)
}

#[test]
fn ctrl_c_ends_score_between_lines() {
    let mut child = spawn(&["score", "--model", &fixture("gelu-60")]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(PAIR.as_bytes()).unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(json(&line)[0]["index"], 0);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    drop(stdin);
}

#[test]
fn ctrl_c_in_a_busy_score_leaves_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.jsonl");
    fs::write(&path, PAIR.repeat(200_000)).unwrap();
    let mut child = spawn(&["score", "--model", &fixture("gelu-60"), path.to_str().unwrap()]);
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut output = String::new();
    for _ in 0..1000 {
        stdout.read_line(&mut output).unwrap();
    }
    interrupt(&child);
    stdout.read_to_string(&mut output).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let rows = json(&output);
    assert!((1000..200_000).contains(&rows.len()), "{}", rows.len());
    for (i, row) in rows.iter().enumerate() {
        assert_eq!(row["index"], i);
    }
}

#[test]
fn ctrl_c_ends_rerank_without_a_ranking_while_it_reads() {
    let mut child = spawn(&["rerank", "-q", "a", "--model", &fixture("gelu-60")]);
    let mut stdin = child.stdin.take().unwrap();
    // More than a pipe holds: once it is written, the program is reading.
    stdin.write_all(&b"a document\n".repeat(50_000)).unwrap();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(rest(&mut child), (String::new(), String::new()));
}

/// What Linux says of a process.
#[cfg(target_os = "linux")]
mod process {
    use super::*;

    /// The time on CPUs that it has had, in hundredths of a second.
    pub fn cpu_ticks(child: &Child) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        // After the name, in brackets: utime and stime are the 14th and 15th field of all.
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Whether all its threads sleep, so that it waits for something outside.
    pub fn waits(child: &Child) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let mut stats =
            threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        stats.all(|stat| stat.rsplit_once(") ").unwrap().1.starts_with('S'))
    }

    /// Whether it has a thread of this name.
    pub fn has_thread(child: &Child, name: &str) -> bool {
        let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let mut names =
            threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("comm")).ok());
        names.any(|it| it.trim_end() == name)
    }

    /// The arguments of the processes that any of its threads has started.
    pub fn children(child: &Child) -> Vec<String> {
        let threads = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        let lists =
            threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
        let ids: Vec<String> =
            lists.flat_map(|ids| ids.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
        ids.iter().filter_map(|id| fs::read_to_string(format!("/proc/{id}/cmdline")).ok()).collect()
    }
}

/// Ctrl-C within work that takes minutes at least: whoever waited for its end would be seen to hang.
#[cfg(target_os = "linux")]
fn ends_at_once(documents: &str) {
    // Of CPU time, in hundredths of a second: to start and to load the model takes a tenth of it.
    const WELL_WITHIN: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.txt");
    fs::write(&path, documents).unwrap();
    let mut child = spawn(&[
        "rerank",
        "-q",
        "where do rivers go",
        "--dtype",
        "f32",
        "--threads",
        "2",
        path.to_str().unwrap(),
    ]);
    until(|| (process::cpu_ticks(&child) >= WELL_WITHIN).then_some(()));
    assert_eq!(child.try_wait().unwrap(), None, "it had too little to do");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(rest(&mut child), (String::new(), String::new()));
}

#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_ends_rerank_at_once_while_it_scores() {
    // A whole window each: tokenised within seconds, scored in many minutes.
    let text = "the river runs to the sea ".repeat(100);
    ends_at_once(&(0..12_000).map(|i| format!("{i} {text}\n")).collect::<String>());
}

#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_ends_rerank_at_once_while_it_tokenises() {
    // Accents without a letter, which are dropped: the window never fills.
    let text = "\u{301}".repeat(1_000_000);
    ends_at_once(&(0..50).map(|i| format!("{text} river {i}\n")).collect::<String>());
}

#[test]
#[cfg(target_os = "linux")]
fn ctrl_c_ends_bench_at_once_and_the_process_that_measures_with_it() {
    // Each measurement is an hour.
    let mut child = spawn(&["bench", "--model", &fixture("gelu-60"), "--seconds", "3600", "--threads", "1"]);
    // stderr is handed on: its end is closed once both processes are gone.
    let mut stderr = child.stderr.take().unwrap();
    until(|| process::children(&child).iter().find(|args| args.contains("bench-one")).cloned());
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
#[cfg(target_os = "linux")]
fn a_second_ctrl_c_ends_the_program_when_nobody_reads_its_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.jsonl");
    fs::write(&path, PAIR.repeat(20_000)).unwrap();
    // A pipe with a name, which is never read.
    let fifo = folder.path().join("output");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let output = File::options().read(true).write(true).open(&fifo).unwrap();
    let mut child = command()
        .args(["score", "--model", &fixture("gelu-60"), path.to_str().unwrap()])
        .stdout(output.try_clone().unwrap())
        .spawn()
        .unwrap();
    // Once it is full the program, which has begun to write, waits for ever.
    const NONBLOCKING: i32 = 0o4000;
    until(|| {
        let mut probe = File::options().write(true).custom_flags(NONBLOCKING).open(&fifo).unwrap();
        let full = |error: std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
        (process::waits(&child) && probe.write(b"\n").is_err_and(full)).then_some(())
    });
    interrupt(&child);
    // It is the first that starts this thread, and it waits for what has been begun.
    until(|| process::has_thread(&child, "interrupt").then_some(()));
    assert_eq!(child.try_wait().unwrap(), None, "the first waits for what has been begun");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn ctrl_c_in_quantize_removes_the_temporary_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (texts, parent) = (folder.path().join("texts.jsonl"), folder.path().join("parent"));
    // They go through the model while the folder is there, for seconds.
    let documents: Vec<_> = reference("gelu-60").1.iter().map(|pair| pair["document"].clone()).collect();
    let pair =
        |i: usize| serde_json::json!({ "query": i.to_string(), "document": documents[i % documents.len()] });
    fs::write(&texts, (0..100_000).map(|i| format!("{}\n", pair(i))).collect::<String>()).unwrap();
    fs::create_dir(&parent).unwrap();
    let out = parent.join("i8");
    let [texts, out] = [&texts, &out].map(|path| path.to_str().unwrap());
    let mut child = spawn(&["quantize", &fixture("gelu-60"), out, "--calibrate", texts]);
    until(|| (fs::read_dir(&parent).unwrap().count() > 0).then_some(()));
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130), "it had too little to do");
    assert_eq!(fs::read_dir(&parent).unwrap().count(), 0, "something is left");
    assert_eq!(rest(&mut child), (String::new(), String::new()));
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let model = fixture("gelu-60");
    let mut child = spawn(&["rerank", "-q", "a", "--model", &model, "--format", "jsonl"]);
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"a\nb\nc\n").unwrap();
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(stderr, "");

    let mut child = spawn(&["score", "--model", &model]);
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(PAIR.as_bytes()).unwrap();
    // The input stays open: it ends because nobody reads, not because there is nothing to do.
    assert_eq!(child.wait().unwrap().code(), Some(141));
    drop(stdin);

    for args in [&["inspect"][..], &["bench", "--seconds", "0.01"]] {
        let mut child = spawn(&[args, &["--model", &model]].concat());
        drop(child.stdout.take());
        assert_eq!(child.wait().unwrap().code(), Some(141));
    }
}

#[test]
fn a_reader_of_some_lines_gets_them_whole() {
    let mut child = spawn(&["score", "--model", &fixture("gelu-60")]);
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(PAIR.repeat(20_000).as_bytes());
    });
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = String::new();
    for _ in 0..10 {
        stdout.read_line(&mut lines).unwrap();
    }
    drop(stdout);
    assert_eq!(json(&lines).len(), 10);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    writer.join().unwrap();
}

#[test]
fn a_full_disk_is_an_error() {
    let Ok(full) = File::options().write(true).open("/dev/full") else {
        let _ = writeln!(std::io::stderr(), "SKIPPED a full disk: no /dev/full here");
        return;
    };
    let mut child = command()
        .args(["inspect", "--model", &fixture("gelu-60")])
        .stdout(full)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(stderr.starts_with("crossrank: error: standard output: No space left"), "{stderr}");
}

#[test]
fn closed_stderr_is_no_reason_to_die() {
    let mut child = spawn(&["score", "--model", &fixture("gelu-60")]);
    drop(child.stderr.take());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("[]\n{PAIR}").as_bytes()).unwrap();
    drop(stdin);
    let mut output = String::new();
    child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(json(&output).len(), 2);
}
