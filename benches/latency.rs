//! How the latency of one pair is spread, what two callers do to each other, and what a model costs that does nothing.
//!
//!     cargo bench --bench latency
//!
//! From text to score, on the workload `pair`. Percentiles are by nearest rank.

mod common;

use std::fs;
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use common::{Workload, measuring, model, workloads};
use crossrank::Reranker;

/// How much is done.
struct Effort {
    calls: usize,
    /// Of each of two callers.
    calls_each: usize,
    rounds: usize,
    idle: Duration,
}

fn main() {
    let effort = if measuring() {
        Effort { calls: 2000, calls_each: 50, rounds: 3, idle: Duration::from_secs(2) }
    } else {
        Effort { calls: 2, calls_each: 1, rounds: 1, idle: Duration::from_millis(20) }
    };
    let all = workloads();
    let (pair, snippets) = (&all[0], &all[1]);
    for threads in [1, 2] {
        let reranker = Reranker::builder().threads(threads).load(model()).unwrap();
        let info = reranker.info();
        println!("\n{} {} {threads} threads", info.dtype, info.isa);
        distribution(&reranker, pair, effort.calls);
        callers(&reranker, pair, effort.calls_each, effort.rounds);
        if measuring() {
            callers(&reranker, snippets, effort.calls_each.div_ceil(50), effort.rounds);
        }
        idle(&reranker, effort.idle);
    }
}

fn call(reranker: &Reranker, workload: &Workload) {
    black_box(reranker.rerank(&workload.query, &workload.documents, &Default::default()).unwrap());
}

fn seconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64()
}

fn distribution(reranker: &Reranker, workload: &Workload, calls: usize) {
    (0..calls / 20).for_each(|_| call(reranker, workload));
    let mut times: Vec<f64> = (0..calls).map(|_| 1e3 * seconds(|| call(reranker, workload))).collect();
    times.sort_by(f64::total_cmp);
    let percentile = |percent: usize| times[(calls * percent).div_ceil(100) - 1];
    let (p50, p99) = (percentile(50), percentile(99));
    println!(
        "{}: {calls} calls: p50 {p50:.3} ms, p90 {:.3}, p99 {p99:.3}, max {:.3}; p99/p50 {:.3}",
        workload.name,
        percentile(90),
        times[calls - 1],
        p99 / p50
    );
}

/// Two callers, one after the other and at once, by turns; best of the rounds.
fn callers(reranker: &Reranker, workload: &Workload, calls: usize, rounds: usize) {
    let one = || (0..calls).for_each(|_| call(reranker, workload));
    let both = || {
        thread::scope(|scope| {
            scope.spawn(one);
            scope.spawn(one);
        });
    };
    both();
    let (mut in_turn, mut at_once) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..rounds {
        in_turn = in_turn.min(seconds(|| (0..2).for_each(|_| one())));
        at_once = at_once.min(seconds(both));
    }
    println!(
        "{}: two callers of {calls} calls each: {:.1} ms one after the other, {:.1} ms at once, {:.2} of it",
        workload.name,
        1e3 * in_turn,
        1e3 * at_once,
        at_once / in_turn
    );
}

fn idle(reranker: &Reranker, time: Duration) {
    // What the last call leaves behind: workers look for more before they sleep.
    thread::sleep(Duration::from_millis(100).min(time));
    let before = cpu_time();
    thread::sleep(time);
    match (before, cpu_time()) {
        (Some(before), Some(after)) => {
            let used = after.saturating_sub(before);
            println!("idle: {used:?} of CPU time in {time:?} with {} threads", reranker.info().threads);
        }
        _ => println!("idle: not measured; only Linux says what CPU time each thread has used"),
    }
}

/// CPU time that the threads of this process have used so far. (`/proc/self/stat` has it too, in steps of 10 ms.)
fn cpu_time() -> Option<Duration> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    let mut nanoseconds = 0;
    for task in tasks {
        let line = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        nanoseconds += line.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanoseconds))
}
