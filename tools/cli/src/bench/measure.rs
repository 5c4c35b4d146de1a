//! One workload, dtype and thread count, in a process of its own.
//!
//! Peak memory is a property of a process, and what an allocator keeps of an earlier model would count as the next
//! one's. So each measurement begins with an empty process, and the model's load is part of its peak. (The peak is not
//! asked of `getrusage`: that one is inherited from the parent.)

use std::hint::black_box;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crossrank::{Error, RerankOptions, Reranker};
use crossrank_kernels::{Isa, PanelDtype, peak};
use serde::{Deserialize, Serialize};

use super::workload::Workload;
use crate::args::{BenchOneArgs, ModelArgs};
use crate::failure::{Failure, INTERRUPTED, describe};
use crate::model;
use crate::output::Output;

/// However long one takes.
const LEAST_RUNS: usize = 3;
/// Part of the time that is spent before anything counts.
const WARM_UP: f64 = 0.1;

/// What is found out.
#[derive(Serialize, Deserialize)]
pub struct Measured {
    pub dtype: String,
    pub isa: String,
    pub threads: usize,
    pub tokens: usize,
    /// Useful f32 operations of a run.
    pub operations: u64,
    /// Milliseconds from text to ranking, sorted.
    pub from_text: Vec<f64>,
    /// Milliseconds from ids to logits, sorted.
    pub from_ids: Vec<f64>,
    /// Of the process, in bytes, where the system tells.
    pub peak_rss: Option<u64>,
    /// f32 operations a second of as many threads on registers alone.
    pub peak_rate: Option<f64>,
}

/// What the process answers.
#[derive(Serialize, Deserialize)]
enum Answer {
    Measured(Measured),
    /// The model, or how it was to run, is at fault.
    Model(String),
    /// A text is.
    Workload(String),
}

/// Why there is nothing measured: something about the workload, which the caller names, or something else.
pub enum Unmeasured {
    Workload(String),
    Other(Failure),
}

/// Measures in a process of its own.
pub fn in_child(model: &ModelArgs, seconds: f64, workload: &Workload) -> Result<Measured, Unmeasured> {
    let failed = |reason: &dyn std::fmt::Display| {
        Unmeasured::Other(Failure::about("the process that measures", reason))
    };
    let mut command = std::env::current_exe().map(Command::new).map_err(|error| failed(&error))?;
    command.args(["bench-one", "--seconds", &seconds.to_string()]).args(model.to_args());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| failed(&format_args!("cannot be started: {error}")))?;
    // Its stdin stays open as long as this process wants the answer. What is not read is seen by the answer.
    let stdin = child.stdin.take();
    if let Some(mut stdin) = stdin.as_ref() {
        let _ = serde_json::to_writer(&mut io::BufWriter::new(&mut stdin), workload);
        let _ = io::Write::write_all(&mut stdin, b"\n");
    }
    let mut answer = String::new();
    let read = child.stdout.take().map(|mut stdout| stdout.read_to_string(&mut answer)).transpose();
    let status = child.wait().map_err(|error| failed(&error))?;
    drop(stdin);
    read.map_err(|error| failed(&error))?;
    match serde_json::from_str(&answer) {
        Ok(Answer::Measured(measured)) => Ok(measured),
        Ok(Answer::Model(reason)) => Err(Unmeasured::Other(Failure::Message(reason))),
        Ok(Answer::Workload(reason)) => Err(Unmeasured::Workload(reason)),
        Err(_) if interrupted(status) => Err(Unmeasured::Other(Failure::Interrupted)),
        Err(_) => Err(failed(&format_args!("ended without a result: {status}"))),
    }
}

/// Ctrl-C on a terminal goes to both processes, and this one may be the later to hear of it.
fn interrupted(status: ExitStatus) -> bool {
    status.code() == Some(INTERRUPTED.into())
}

/// The process itself: a workload on stdin, an answer on stdout.
pub fn run(args: &BenchOneArgs) -> Result<(), Failure> {
    let mut stdin = BufReader::new(io::stdin());
    let mut line = String::new();
    stdin.read_line(&mut line).map_err(|error| Failure::about("<stdin>", error))?;
    let workload = serde_json::from_str(&line).map_err(|error| Failure::about("<stdin>", error))?;
    drop(line);
    // When the caller ends, however it ends, nobody is left to measure for.
    let watch = move || {
        let _ = io::copy(&mut stdin, &mut io::sink());
        std::process::exit(INTERRUPTED.into());
    };
    let watcher = thread::Builder::new().name("watcher".into()).spawn(watch);
    watcher.map_err(|error| Failure::about("cannot start the watching thread", error))?;

    let answer = match model::load(&args.model, None) {
        Ok(reranker) => match measure(&reranker, &workload, args.seconds) {
            Ok(measured) => Answer::Measured(measured),
            Err(error) => Answer::Workload(match error.document() {
                Some(i) => format!("`docs[{i}]`: {}", describe(&error)),
                None => describe(&error),
            }),
        },
        Err(Failure::Message(reason)) => Answer::Model(reason),
        Err(failure) => return Err(failure),
    };
    let mut output = Output::new();
    output.json(&answer)?;
    output.flush()
}

fn measure(reranker: &Reranker, workload: &Workload, seconds: f64) -> Result<Measured, Error> {
    let info = reranker.info();
    let pairs = reranker.tokenize(&workload.query, &workload.docs)?;
    let mut logits = vec![0.0; pairs.len() * reranker.labels()];
    // Which label ranks changes nothing that is measured, but models with several want one.
    let options = RerankOptions::default().label(0);
    let mut once = || {
        let (start, query, docs) = (Instant::now(), &workload.query, &workload.docs);
        black_box(reranker.rerank(query, docs, &options)?);
        let between = Instant::now();
        reranker.score_tokenized_into(&pairs, black_box(&mut logits))?;
        Ok::<_, Error>((between - start, between.elapsed()))
    };

    let start = Instant::now();
    loop {
        once()?;
        if start.elapsed().as_secs_f64() >= WARM_UP * seconds {
            break;
        }
    }
    let (mut from_text, mut from_ids) = (Vec::new(), Vec::new());
    let start = Instant::now();
    // The two take turns, so that a machine that slows down or speeds up does so for both.
    while from_text.len() < LEAST_RUNS || start.elapsed().as_secs_f64() < seconds {
        let (text, ids) = once()?;
        from_text.push(milliseconds(text));
        from_ids.push(milliseconds(ids));
    }
    from_text.sort_by(f64::total_cmp);
    from_ids.sort_by(f64::total_cmp);
    Ok(Measured {
        dtype: info.dtype.to_owned(),
        isa: info.isa.to_owned(),
        threads: info.threads,
        tokens: pairs.iter().map(|pair| pair.len()).sum(),
        operations: pairs.iter().map(|pair| info.operations(pair.len())).sum(),
        from_text,
        from_ids,
        peak_rss: peak_rss(),
        peak_rate: Isa::by_name(info.isa)
            .ok()
            .zip(PanelDtype::by_name(info.dtype))
            .map(|(isa, dtype)| peak_rate(isa, isa.panel_dtype(dtype), info.threads)),
    })
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The most memory that the process has had resident, as Linux tells it; elsewhere there is no such file.
fn peak_rss() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

/// Best of several short tries: what the machine allows.
fn peak_rate(isa: Isa, panels: PanelDtype, threads: usize) -> f64 {
    const TRIES: usize = 5;
    const ROUNDS: usize = 2_000_000;
    let rates = (0..TRIES).map(|_| {
        let done = AtomicU64::new(0);
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let (operations, result) = peak::products(isa, panels, ROUNDS);
                    black_box(result);
                    done.fetch_add(operations, Ordering::Relaxed);
                });
            }
        });
        done.into_inner() as f64 / start.elapsed().as_secs_f64()
    });
    rates.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells_the_peak_of_resident_memory() {
        let before = super::peak_rss().unwrap();
        let memory = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = super::peak_rss().unwrap();
        assert!(after > 64 << 20 && after >= before, "{before} {after} {}", memory.len());
    }
}
