//! Whole requests, from text to ranking and from ids to logits, by number of threads.
//!
//!     cargo bench --bench engine
//!
//! With `../shared` beside the checkout these are its four workloads and its model; otherwise the default model and
//! texts of its own. Criterion's "elements" are useful f32 operations: the collapsed last layer counts as what it
//! needs. The share of the peak is taken against register-only multiply-adds on as many threads in the same run.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossrank::{ModelInfo, Reranker, Tokenized};
use crossrank_kernels::{Isa, peak};

struct Workload {
    name: String,
    query: String,
    documents: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn model() -> PathBuf {
    let shared = root().join("../shared/models/minilm-l6");
    if shared.is_dir() { shared } else { root().join("models/default") }
}

fn workloads() -> Vec<Workload> {
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

/// Operations that the network needs: all layers but the last for every token, the last for `[CLS]`.
fn useful_operations(info: &ModelInfo, pairs: &[Tokenized]) -> u64 {
    let (h, i) = (info.hidden, info.intermediate);
    let dense = 2 * (4 * h * h + 2 * h * i);
    let operations = pairs.iter().map(|pair| {
        let len = pair.len();
        let layer = len * (dense + 4 * len * h);
        (info.layers - 1) * layer + 4 * info.heads * h * len + dense
    });
    operations.sum::<usize>() as u64
}

/// Seconds, best of several runs.
fn best_time(mut run: impl FnMut()) -> f64 {
    let times = (0..5).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

/// f32 operations a second that `threads` threads reach with registers alone.
fn peak(isa: &str, threads: usize) -> f64 {
    let isa = Isa::by_name(isa).unwrap();
    let rounds = 3_000_000;
    let operations = AtomicU64::new(0);
    let time = best_time(|| {
        operations.store(0, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let (done, result) = peak::multiply_adds(isa, rounds);
                    black_box(result);
                    operations.fetch_add(done, Ordering::Relaxed);
                });
            }
        });
    });
    operations.into_inner() as f64 / time
}

fn engine(c: &mut Criterion) {
    // As criterion tells it: `cargo test` runs everything once, unmeasured.
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let measuring = has("--bench") && !has("--test");
    let workloads = workloads();
    for threads in [1, 2] {
        let reranker = Reranker::builder().threads(threads).load(model()).unwrap();
        let info = reranker.info();
        let mut group = c.benchmark_group(format!("{} {} {threads} threads", info.dtype, info.isa));
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
        for workload in &workloads {
            let pairs = reranker.tokenize(&workload.query, &workload.documents).unwrap();
            group.throughput(Throughput::Elements(useful_operations(&info, &pairs)));
            group.bench_function(BenchmarkId::new("text to ranking", &workload.name), |b| {
                b.iter(|| {
                    reranker.rerank(&workload.query, &workload.documents, &Default::default()).unwrap()
                });
            });
            let mut logits = vec![0.0; pairs.len() * reranker.labels()];
            let mut score = || reranker.score_tokenized_into(&pairs, &mut logits).unwrap();
            group.bench_function(BenchmarkId::new("ids to logits", &workload.name), |b| b.iter(&mut score));
            if measuring {
                let rate = useful_operations(&info, &pairs) as f64 / best_time(&mut score);
                let peak = peak(info.isa, threads);
                println!(
                    "{} on {threads} threads: {:.1} GFLOP/s, {:.0} % of the peak of {:.1}",
                    workload.name,
                    rate / 1e9,
                    100.0 * rate / peak,
                    peak / 1e9
                );
            }
        }
        group.finish();
    }
}

criterion_group!(benches, engine);
criterion_main!(benches);
