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

#[test]
fn benches_that_the_readme_names_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let mut benches = 0;
    for line in readme.lines() {
        if let Some(name) = line.trim().strip_prefix("cargo bench --bench ") {
            let name = name.split_whitespace().next().unwrap();
            assert!(root().join(format!("benches/{name}.rs")).exists(), "README.md names the bench `{name}`");
            benches += 1;
        }
    }
    assert_eq!(benches, 5);
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
