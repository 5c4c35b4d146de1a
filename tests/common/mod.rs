//! What the engine's tests share. Each test file uses some of it.
#![allow(dead_code)]

pub mod copy;

use std::io::Write;
use std::path::{Path, PathBuf};

use crossrank_kernels::Isa;
use serde::Deserialize;

/// One stored pair: texts, and what `transformers` made of them.
#[derive(Clone, Deserialize)]
pub struct Pair {
    pub query: String,
    pub document: String,
    pub ids: Vec<u32>,
    pub type_ids: Vec<u32>,
    pub logits: Vec<f32>,
}

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub fn fixture(name: &str) -> PathBuf {
    root().join("tests/fixtures").join(name)
}

/// Every fixture that is a model, by name.
pub fn fixtures() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(root().join("tests/fixtures"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("config.json").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.len() >= 7, "fixtures are missing: {names:?}");
    names
}

pub fn read_pairs(path: &Path) -> Vec<Pair> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The read-only help beside the checkout, where there is one.
pub fn shared() -> Option<PathBuf> {
    Some(root().join("../shared")).filter(|path| path.is_dir())
}

/// Says what was not tested, in a plain `cargo test` too: the harness captures `eprintln!`, not the handle.
pub fn skip(what: &str) {
    std::io::stderr().write_all(format!("SKIPPED {what}\n").as_bytes()).unwrap();
}

/// Calls `test` with each instruction set of the machine; one that it lacks is skipped aloud, or fails where
/// `CROSSRANK_REQUIRE_ISA`, a list with commas, names it.
pub fn for_each_isa(test: impl Fn(&'static str)) {
    let required = std::env::var("CROSSRANK_REQUIRE_ISA").unwrap_or_default();
    let required: Vec<&str> = required.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    for name in &required {
        assert!(
            Isa::NAMES.contains(name),
            "CROSSRANK_REQUIRE_ISA names `{name}`, which is none of {:?}",
            Isa::NAMES
        );
    }
    for name in Isa::NAMES {
        match Isa::by_name(name) {
            Ok(isa) => {
                assert_eq!(isa.in_force(), name);
                test(name);
            }
            Err(error) => {
                assert!(!required.contains(&name), "{error}");
                skip(&error.to_string());
            }
        }
    }
}
