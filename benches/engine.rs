//! Whole requests, from text to ranking: documents a second and time, by number of threads.
//!
//!     cargo bench --bench engine
//!
//! With `../shared` beside the checkout these are its four workloads and its model; otherwise the default model and
//! texts of its own. Useful work counts the collapsed last layer as what it needs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossrank::{ModelInfo, Reranker, Tokenized};

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

fn engine(c: &mut Criterion) {
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
            group.bench_function(BenchmarkId::new("ids to logits", &workload.name), |b| {
                b.iter(|| reranker.score_tokenized_into(&pairs, &mut logits).unwrap());
            });
        }
        group.finish();
    }
}

criterion_group!(benches, engine);
criterion_main!(benches);
