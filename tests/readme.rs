//! What the README names is there.
#![cfg(feature = "tokenizers")]

mod common;

use common::root;

#[test]
fn paths_that_the_readme_names_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.lines().count() < 150, "the README has grown");
    let quoted = readme.split('`').skip(1).step_by(2);
    let paths: Vec<&str> = quoted
        .filter(|text| {
            ["src/", "kernels/", "tools/", "models/", "tests/"].iter().any(|start| text.starts_with(start))
        })
        .collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        assert!(root().join(path).exists(), "README.md names `{path}`");
    }
}

/// The README has one command with a bench's name, and the other names behind it: `NAME     # or NAME, NAME: what`.
#[test]
fn the_readme_names_every_bench() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let line = readme.lines().find_map(|line| line.trim().strip_prefix("cargo bench --bench ")).unwrap();
    let names = line.split(':').next().unwrap().replace("# or", ",");
    let mut named: Vec<&str> = names.split(',').map(str::trim).collect();
    named.sort_unstable();
    let files = std::fs::read_dir(root().join("benches")).unwrap();
    let mut there: Vec<String> = files
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".rs").map(str::to_owned))
        .collect();
    there.sort_unstable();
    assert_eq!(named, there);
}

/// The README's library example, kept in step by being written here too.
#[test]
fn the_readmes_example_runs() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let example = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let this = std::fs::read_to_string(root().join("tests/readme.rs")).unwrap();
    for line in example.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(this.contains(line), "not in tests/readme.rs: {line}");
    }
    run_example().unwrap();
}

#[rustfmt::skip]
fn run_example() -> crossrank::Result<()> {
    use crossrank::{RerankOptions, Reranker};

    let reranker = Reranker::load("models/default")?; // or any checkpoint folder
    let passages = ["Bread is baked in an oven.", "Rivers run to the sea."];
    let options = RerankOptions::default().top_k(10);
    for ranked in reranker.rerank("where do rivers go", &passages, &options)? {
        println!("{:.3}  {}", ranked.score, passages[ranked.index]);
    }
    Ok(())
}
