//! Every target over its seeds, and over mutations of them that are the same in each run.

#[path = "../../../tests/common/counting.rs"]
mod counting;
mod mutate;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crossrank_fuzz::{TARGETS, Target, packed_seeds};
use mutate::Mutator;

/// Mutations of each target, all seeds together, unless `CROSSRANK_FUZZ_ROUNDS` says how many.
const ROUNDS: usize = 2000;
/// Inputs are a few kB. What the largest tables of small vocabularies take is below this, and what a size out of a
/// hostile file would take is far above.
const MAX_MEMORY: usize = 64 << 20;

fn folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target)
}

/// Name and contents, by name.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<_> = fs::read_dir(folder(target))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 2, "{target} has no seeds");
    seeds
}

/// Runs a target. Where it fails the input is kept for whoever looks into it.
fn run(target: Target, name: &str, bytes: &[u8]) {
    // Memory is counted for all threads together.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut failure = None;
    let peak = counting::peak(|| {
        failure = catch_unwind(AssertUnwindSafe(|| _ = target(bytes))).err();
    });
    if failure.is_some() || peak > MAX_MEMORY {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", name.replace(' ', "-")));
        fs::write(&kept, bytes).unwrap();
        panic!("{name}: see {}; {peak} bytes of memory at the most", kept.display());
    }
}

fn replay(name: &str) {
    let (_, target) = TARGETS.into_iter().find(|(other, _)| *other == name).unwrap();
    let rounds = std::env::var("CROSSRANK_FUZZ_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let seeds = seeds(name);
    for (seed, bytes) in &seeds {
        run(target, &format!("{name} {seed}"), bytes);
    }
    for round in 0..rounds {
        let (seed, bytes) = &seeds[round % seeds.len()];
        let mutated = Mutator::new(round as u64).mutate(bytes);
        run(target, &format!("{name} {seed} {round}"), &mutated);
    }
}

#[test]
fn config() {
    replay("config");
}

#[test]
fn jsonl() {
    replay("jsonl");
}

#[test]
fn neighbours() {
    replay("neighbours");
}

#[test]
fn packed() {
    replay("packed");
}

#[test]
fn shard_index() {
    replay("shard_index");
}

#[test]
fn tokenizer() {
    replay("tokenizer");
}

#[test]
fn weights() {
    replay("weights");
}

/// Seeds are only worth something as long as they are what is read today. `CROSSRANK_RENEW_SEEDS=1` writes those that the
/// engine makes.
#[test]
fn valid_seeds_are_valid() {
    if std::env::var_os("CROSSRANK_RENEW_SEEDS").is_some() {
        for (name, bytes) in packed_seeds().unwrap() {
            fs::write(folder("packed").join(name), bytes).unwrap();
        }
    }
    for (target, accepts) in TARGETS {
        for (seed, bytes) in seeds(target) {
            assert!(!seed.starts_with("valid") || accepts(&bytes), "{target} refuses {seed}");
        }
    }
}

#[test]
fn a_broken_promise_is_found() {
    let found = catch_unwind(|| run(|bytes| bytes[4] == 0, "too-short", b"four"));
    assert!(found.is_err(), "a target that panics");
    let found = catch_unwind(|| run(|_| vec![1u8; MAX_MEMORY + 1].is_empty(), "too-large", b""));
    assert!(found.is_err(), "a target that takes too much memory");
}
