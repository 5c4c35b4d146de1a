//! What benches share. Each uses some of it.
#![allow(dead_code)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossrank::{ModelInfo, Tokenized};
use crossrank_kernels::{Isa, Matrix, PanelDtype, RowFormat, peak};

/// Whether this is `cargo bench`: `cargo test` runs everything once, unmeasured. As criterion tells it.
pub fn measuring() -> bool {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    has("--bench") && !has("--test")
}

/// The checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The model beside the checkout, or the default one.
pub fn model() -> PathBuf {
    let shared = root().join("../shared/models/minilm-l6");
    if shared.is_dir() { shared } else { root().join("models/default") }
}

/// A request.
pub struct Workload {
    pub name: String,
    pub query: String,
    pub documents: Vec<String>,
}

/// pair, snippets50, passages100, long16: those beside the checkout, or texts of about their size.
pub fn workloads() -> Vec<Workload> {
    let order = ["pair", "snippets50", "passages100", "long16"];
    if let Ok(json) = std::fs::read(root().join("../shared/data/workloads.json")) {
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        return order
            .iter()
            .map(|&name| Workload {
                name: name.to_owned(),
                query: text(&json[name]["query"]),
                documents: json[name]["docs"].as_array().unwrap().iter().map(text).collect(),
            })
            .collect();
    }
    let sentence = "The river rises in the hills, turns a dozen mills on its way and reaches the sea by the old harbour. ";
    [(1, 3), (50, 3), (100, 9), (16, 40)]
        .iter()
        .zip(order)
        .map(|(&(documents, sentences), name)| Workload {
            name: name.to_owned(),
            query: "Where does the river reach the sea?".to_owned(),
            documents: vec![sentence.repeat(sentences); documents],
        })
        .collect()
}

/// Operations that the network needs for all of them.
pub fn operations(info: &ModelInfo, pairs: &[Tokenized]) -> u64 {
    pairs.iter().map(|pair| info.operations(pair.len())).sum()
}

/// A pair of so many tokens, all of them words that the vocabulary has.
pub fn pair(info: &ModelInfo, tokens: usize) -> Tokenized {
    let ids = (0..tokens).map(|i| (i * 7919 % info.vocab) as u32).collect();
    Tokenized::new(ids, vec![0; tokens])
}

/// Seconds, best of so many runs, and when measuring of as many more as a second has: a core can be slow for a while.
pub fn best_time(runs: usize, mut run: impl FnMut()) -> f64 {
    let least = if measuring() { 1.0 } else { 0.0 };
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    let mut done = 0;
    while done < runs || begin.elapsed().as_secs_f64() < least {
        let start = Instant::now();
        run();
        best = f64::min(best, start.elapsed().as_secs_f64());
        done += 1;
    }
    best
}

/// Operations a second that `threads` threads reach with registers alone, in products of the dtype of a model.
pub fn peak(info: &ModelInfo) -> f64 {
    let isa = Isa::by_name(info.isa).unwrap();
    let dtype = isa.panel_dtype(PanelDtype::by_name(info.dtype).unwrap());
    let rounds = 3_000_000;
    let operations = AtomicU64::new(0);
    let time = best_time(5, || {
        operations.store(0, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 0..info.threads {
                scope.spawn(|| {
                    let (done, result) = peak::products(isa, dtype, rounds);
                    black_box(result);
                    operations.fetch_add(done, Ordering::Relaxed);
                });
            }
        });
    });
    operations.into_inner() as f64 / time
}

/// Values cut to pairs of bfloat16, as layers leave them where `Isa::stores_pairs` says so.
pub fn pairs(values: &Matrix) -> Matrix {
    let values = values.view();
    let mut pairs = Matrix::in_format(RowFormat::Bf16Pairs, values.cols());
    pairs.set_rows(values.rows());
    for i in 0..values.rows() {
        let from = values.row(i).as_chunks().0.iter();
        for (pair, [low, high]) in pairs.view_mut().pair_row_mut(i).iter_mut().zip(from) {
            *pair = low.to_bits() >> 16 | high.to_bits() & 0xffff_0000;
        }
    }
    pairs
}

/// Signed numbers that do not cancel to nothing and never grow: a fixed sequence.
pub fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect()
}

/// A matrix of such.
pub fn matrix(rows: usize, cols: usize) -> Matrix {
    let mut matrix = Matrix::new(cols);
    matrix.set_rows(rows);
    for (i, row) in values(rows * cols).chunks_exact(cols).enumerate() {
        matrix.view_mut().row_mut(i).copy_from_slice(row);
    }
    matrix
}
