//! From a folder to a model that can score, and to its first score.
//!
//!     cargo bench --bench load

use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use crossrank::{Reranker, WeightSource};

fn load(c: &mut Criterion) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let mut group = c.benchmark_group("load");
    group.sample_size(10);
    for source in [WeightSource::Mmap, WeightSource::Read] {
        group.bench_function(format!("{source:?}"), |b| {
            b.iter(|| Reranker::builder().weight_source(source).load(&model).unwrap());
        });
    }
    group.bench_function("Mmap and one score", |b| {
        b.iter(|| {
            Reranker::load(&model).unwrap().rerank("a question", &["an answer"], &Default::default()).unwrap()
        });
    });
    let packed = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(model.join(name), packed.path().join(name)).unwrap();
    }
    let file = std::fs::File::create(packed.path().join("model.safetensors")).unwrap();
    Reranker::load(&model).unwrap().write_packed(file).unwrap();
    group.bench_function("packed, and one score", |b| {
        b.iter(|| {
            let reranker = Reranker::load(packed.path()).unwrap();
            reranker.rerank("a question", &["an answer"], &Default::default()).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, load);
criterion_main!(benches);
