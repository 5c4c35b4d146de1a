//! Scoring for callers who bring ids: what is left without the feature `tokenizers`.

mod common;

use common::{fixture, fixtures, for_each_isa, read_pairs};
use crossrank::{Reranker, Tokenized};

#[test]
fn ids_give_pytorchs_logits() {
    for_each_isa(|isa| {
        for name in fixtures() {
            let folder = fixture(&name);
            let reranker = Reranker::builder().isa(isa).load(&folder).unwrap();
            let pairs = read_pairs(&folder.join("reference.jsonl"));
            let tokenized: Vec<Tokenized> =
                pairs.iter().map(|pair| Tokenized::new(pair.ids.clone(), pair.type_ids.clone())).collect();
            for (i, (score, pair)) in
                reranker.score_tokenized(&tokenized).unwrap().iter().zip(&pairs).enumerate()
            {
                assert_eq!((score.tokens, score.logits.len()), (pair.ids.len(), pair.logits.len()));
                for (found, expected) in score.logits.iter().zip(&pair.logits) {
                    assert!(
                        (found - expected).abs() <= 1e-4,
                        "{name}, pair {i}: expected {expected}, found {found}"
                    );
                }
            }
        }
    });
}

/// Loads under whatever `CROSSRANK_ISA` says, when the test below runs this one in a process of its own.
#[test]
fn child_of_the_next_test() {
    if std::env::var_os("CROSSRANK_TEST_CHILD").is_some() {
        match Reranker::load(fixture("gelu-60")) {
            Ok(reranker) => println!("loaded on {}", reranker.info().isa),
            Err(error) => println!("refused: {error}"),
        }
    }
}

#[test]
fn the_environment_caps_the_instruction_set() {
    let load = |isa: &str| {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_of_the_next_test", "--nocapture"])
            .env("CROSSRANK_TEST_CHILD", "1")
            .env("CROSSRANK_ISA", isa)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for name in crossrank_kernels::Isa::NAMES {
        match crossrank_kernels::Isa::by_name(name) {
            Ok(_) => assert!(load(name).contains(&format!("loaded on {name}")), "{}", load(name)),
            Err(_) => {
                assert!(load(name).contains(&format!("refused: instruction set `{name}` is not available")))
            }
        }
    }
    let unknown = load("avx9000");
    assert!(
        unknown.contains("`avx9000` is unknown")
            && unknown.contains("available on this machine are portable")
    );
}
