//! Whole requests, from text to ranking and from ids to logits, by dtype and number of threads.
//!
//!     cargo bench --bench engine
//!
//! With `../shared` beside the checkout these are its four workloads and its model; otherwise the default model and
//! texts of its own. Criterion's "elements" are useful f32 operations: the collapsed last layer counts as what it
//! needs. The share of the peak is taken against register-only products of the same dtype on as many threads in the
//! same run.

mod common;

use std::time::Duration;

use common::{best_time, measuring, model, operations, peak, workloads};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossrank::{Dtype, Reranker};

fn engine(c: &mut Criterion) {
    let measuring = measuring();
    let workloads = workloads();
    let dtypes = [Dtype::F32, Dtype::Bf16, Dtype::Int8];
    for (dtype, threads) in dtypes.into_iter().flat_map(|dtype| [(dtype, 1), (dtype, 2)]) {
        let reranker = Reranker::builder().dtype(dtype).threads(threads).load(model()).unwrap();
        let info = reranker.info();
        let mut group = c.benchmark_group(format!("{} {} {threads} threads", info.dtype, info.isa));
        group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5));
        for workload in &workloads {
            let pairs = reranker.tokenize(&workload.query, &workload.documents).unwrap();
            group.throughput(Throughput::Elements(operations(&info, &pairs)));
            group.bench_function(BenchmarkId::new("text to ranking", &workload.name), |b| {
                b.iter(|| {
                    reranker.rerank(&workload.query, &workload.documents, &Default::default()).unwrap()
                });
            });
            let mut logits = vec![0.0; pairs.len() * reranker.labels()];
            let mut score = || reranker.score_tokenized_into(&pairs, &mut logits).unwrap();
            group.bench_function(BenchmarkId::new("ids to logits", &workload.name), |b| b.iter(&mut score));
            if measuring {
                let rate = operations(&info, &pairs) as f64 / best_time(5, &mut score);
                let peak = peak(&info);
                println!(
                    "{} in {} on {threads} threads: {:.1} G operations/s, {:.0} % of the peak of {:.1}",
                    workload.name,
                    info.dtype,
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
