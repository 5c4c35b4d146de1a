//! Kernels by instruction set on the shapes of a 384-wide and a 768-wide model, one thread.
//!
//!     cargo bench --bench kernels
//!
//! Criterion's "elements" are f32 operations (a multiply-add counts two). The share of the peak is taken against
//! register-only multiply-adds measured in the same run.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossrank_kernels::{
    Activation, AttentionScratch, Epilogue, Isa, LayerNorm, LinearScratch, Matrix, PackedWeights, PanelDtype,
    Stored, StoredMatrix, attention, linear, peak,
};

/// Signed numbers that do not cancel to nothing and never grow: a fixed sequence.
fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn matrix(rows: usize, cols: usize) -> Matrix {
    let mut matrix = Matrix::with_capacity(rows, cols);
    matrix.set_rows(rows);
    let values = values(rows * cols);
    for (i, row) in values.chunks_exact(cols).enumerate() {
        matrix.view_mut().row_mut(i).copy_from_slice(row);
    }
    matrix
}

fn weights(isa: Isa, n: usize, k: usize) -> PackedWeights {
    let bytes: Vec<u8> = values(n * k).iter().flat_map(|value| (value * 0.05).to_le_bytes()).collect();
    PackedWeights::pack(
        isa,
        PanelDtype::F32,
        &[(StoredMatrix::new(Stored::F32, &bytes, &[], n, k), &values(n))],
    )
}

/// f32 operations a second, best of several runs: what the machine can, not what it did on average.
fn rate(operations: u64, mut run: impl FnMut()) -> f64 {
    run();
    let times = (0..15).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed().as_secs_f64()
    });
    operations as f64 / times.fold(f64::INFINITY, f64::min)
}

/// Measures one kernel, and prints its share of the peak unless criterion only tests.
fn bench(c: &mut Criterion, isa: Isa, peak: Option<f64>, name: &str, operations: u64, mut run: impl FnMut()) {
    let mut group = c.benchmark_group(isa.name());
    group.throughput(Throughput::Elements(operations));
    group.bench_function(BenchmarkId::from_parameter(name), |b| b.iter(&mut run));
    group.finish();
    if let Some(peak) = peak {
        let rate = rate(operations, run);
        println!(
            "{} {name}: {:.1} GFLOP/s, {:.0} % of the peak",
            isa.name(),
            rate / 1e9,
            100.0 * rate / peak
        );
    }
}

fn kernels(c: &mut Criterion) {
    // As criterion tells it: `cargo test` runs everything once, unmeasured.
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let measuring = has("--bench") && !has("--test");
    for isa in Isa::available() {
        let peak = measuring.then(|| {
            let (operations, _) = peak::multiply_adds(isa, 1_000_000);
            let peak = rate(operations, || {
                black_box(peak::multiply_adds(isa, 1_000_000));
            });
            println!("\n{} peak, registers only, one thread: {:.1} GFLOP/s", isa.name(), peak / 1e9);
            peak
        });
        for (n, k) in
            [(384, 384), (1152, 384), (1536, 384), (384, 1536), (768, 768), (3072, 768), (768, 3072)]
        {
            let weights = weights(isa, n, k);
            for m in [64, 256] {
                let (lhs, mut dst) = (matrix(m, k), matrix(m, n));
                bench(c, isa, peak, &format!("matmul m={m} n={n} k={k}"), (2 * m * n * k) as u64, || {
                    linear(
                        isa,
                        lhs.view(),
                        &weights,
                        Epilogue::Bias,
                        &mut LinearScratch::default(),
                        dst.view_mut(),
                    );
                });
            }
        }
        let (m, hidden, inner) = (64, 384, 1536);
        let operations = (2 * m * hidden * inner) as u64;
        let (up, x, mut y) = (weights(isa, inner, hidden), matrix(m, hidden), matrix(m, inner));
        bench(c, isa, peak, "matmul + gelu m=64 n=1536 k=384", operations, || {
            linear(
                isa,
                x.view(),
                &up,
                Epilogue::Activation(Activation::Gelu),
                &mut LinearScratch::default(),
                y.view_mut(),
            );
        });
        let norm = LayerNorm::new(values(hidden), values(hidden), 1e-12);
        let (down, mut z) = (weights(isa, hidden, inner), matrix(m, hidden));
        bench(c, isa, peak, "matmul + residual + norm m=64 n=384 k=1536", operations, || {
            let epilogue = Epilogue::ResidualNorm { residual: x.view(), norm: &norm };
            linear(isa, y.view(), &down, epilogue, &mut LinearScratch::default(), z.view_mut());
        });
        for seq_len in [68, 200, 512] {
            let [q, k, v] = [0, 1, 2].map(|_| matrix(seq_len, hidden));
            let (mut dst, mut scratch) = (matrix(seq_len, hidden), AttentionScratch::default());
            let operations = (4 * seq_len * seq_len * hidden) as u64;
            bench(c, isa, peak, &format!("attention 12x32 seq_len={seq_len}"), operations, || {
                attention(isa, [q.view(), k.view(), v.view()], 32, 0.177, &mut scratch, dst.view_mut());
            });
        }
        let mut row = values(1536);
        let mut group = c.benchmark_group(isa.name());
        group.throughput(Throughput::Elements(row.len() as u64));
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
            group.bench_function(format!("{activation:?} of 1536"), |b| {
                b.iter(|| activation.apply(isa, &mut row))
            });
        }
        group.finish();
    }
}

criterion_group!(benches, kernels);
criterion_main!(benches);
