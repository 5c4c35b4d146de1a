//! The bits of logits, by instruction set, dtype and model: what a change to the engine must not move unawares.
//!
//! `tests/bits.jsonl` holds one line for each of them. A change that moves bits on purpose says why, and records them
//! anew, on this machine's sets, by
//!
//!     CROSSRANK_RECORD_BITS=1 cargo test --test bits
//!
//! `portable` and `avx2` compute alike on every CPU. AVX-512 starts from the CPU's own estimates of reciprocals, which
//! differ between makers, so that its lines name the maker. What no line was recorded for is skipped, aloud.
#![cfg(feature = "tokenizers")]

mod common;

use std::collections::BTreeMap;

use common::{fixture, fixtures, for_each_isa, read_pairs, root, skip};
use crossrank::{Dtype, Reranker};
use serde::{Deserialize, Serialize};

const DTYPES: [(&str, Dtype); 3] = [("f32", Dtype::F32), ("bf16", Dtype::Bf16), ("int8", Dtype::Int8)];

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
struct Key {
    model: String,
    isa: String,
    /// The CPU's maker, or `any`.
    maker: String,
    dtype: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    key: Key,
    /// The logits of all pairs, labels side by side, each as its 32 bits in hexadecimal digits.
    bits: String,
}

fn file() -> std::path::PathBuf {
    root().join("tests/bits.jsonl")
}

fn recorded() -> BTreeMap<Key, String> {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Line>(line).unwrap());
    lines.map(|line| (line.key, line.bits)).collect()
}

/// As the system names it; `unknown` where it does not.
fn maker() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let vendor = cpuinfo.lines().find_map(|line| line.strip_prefix("vendor_id")?.split(':').nth(1));
    vendor.map_or("unknown", str::trim).to_owned()
}

/// Every bit that this machine computes: fixtures with their stored pairs, the default model with its first 24.
fn computed() -> BTreeMap<Key, String> {
    let maker = maker();
    let models =
        fixtures().into_iter().map(|name| (fixture(&name), fixture(&name).join("reference.jsonl"), name));
    let default =
        (root().join("models/default"), root().join("tests/fixtures/default-model.jsonl"), "default".into());
    let models: Vec<_> = models.chain([default]).collect();
    let computed = std::cell::RefCell::new(BTreeMap::new());
    for_each_isa(|isa| {
        for (folder, pairs, name) in &models {
            let pairs = read_pairs(pairs);
            assert!(pairs.len() >= 24, "{name} has {} pairs", pairs.len());
            let texts: Vec<_> = pairs[..24].iter().map(|pair| (&*pair.query, &*pair.document)).collect();
            for (dtype, chosen) in DTYPES {
                let reranker = Reranker::builder().isa(isa).dtype(chosen).load(folder).unwrap();
                let logits = reranker.score_pairs(&texts).unwrap().into_iter().flat_map(|score| score.logits);
                let bits: String = logits.map(|logit| format!("{:08x}", logit.to_bits())).collect();
                let maker = if ["portable", "avx2"].contains(&isa) { "any" } else { &maker };
                let key =
                    Key { model: name.clone(), isa: isa.into(), maker: maker.into(), dtype: dtype.into() };
                computed.borrow_mut().insert(key, bits);
            }
        }
    });
    computed.into_inner()
}

#[test]
fn logits_have_the_bits_that_were_recorded() {
    let (mut recorded, computed) = (recorded(), computed());
    if std::env::var_os("CROSSRANK_RECORD_BITS").is_some() {
        recorded.extend(computed);
        let lines = recorded
            .into_iter()
            .map(|(key, bits)| serde_json::to_string(&Line { key, bits }).unwrap() + "\n");
        std::fs::write(file(), lines.collect::<String>()).unwrap();
        return;
    }
    let mut moved = Vec::new();
    for (key, bits) in &computed {
        match recorded.get(key) {
            None => skip(&format!("the bits of {key:?}: none were recorded")),
            Some(expected) => {
                let differ = |at: &usize| bits.get(at * 8..at * 8 + 8) != expected.get(at * 8..at * 8 + 8);
                let count = (0..bits.len().max(expected.len()) / 8).filter(differ).count();
                if count > 0 {
                    moved.push(format!("{key:?}: {count} of {} logits", expected.len() / 8));
                }
            }
        }
    }
    assert!(moved.is_empty(), "bits that moved:\n{}", moved.join("\n"));
    // Every machine has these two sets on x86-64; elsewhere the portable one.
    let compared = computed.keys().filter(|key| recorded.contains_key(key)).count();
    assert!(compared >= DTYPES.len() * 8, "only {compared} were compared");
}
