//! Kernels by instruction set on the shapes of 384-, 768- and 1024-wide models, one thread.
//!
//!     cargo bench --bench kernels
//!
//! Criterion's "elements" are f32 operations (a multiply-add counts two). The share of the peak is taken against
//! register-only multiply-adds, for bf16 and int8 register-only products of their kind, measured in the same run.

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::{measuring, pairs};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossrank_kernels::{
    Activation, AttentionScratch, Epilogue, Heads, Isa, LayerNorm, LinearScratch, Matrix, PackedWeights,
    PanelDtype, Stored, StoredMatrix, attention, linear, peak, softmax,
};

/// Outputs and depths of the Linear layers of 384-, 768- and 1024-wide models.
const SHAPES: [(usize, usize); 10] = [
    (384, 384),
    (1152, 384),
    (1536, 384),
    (384, 1536),
    (768, 768),
    (3072, 768),
    (768, 3072),
    (1024, 1024),
    (4096, 1024),
    (1024, 4096),
];

/// Signed numbers that do not cancel to nothing and never grow: a fixed sequence.
fn values(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 2003) as f32 / 1001.5 - 1.0).collect()
}

fn matrix(rows: usize, cols: usize) -> Matrix {
    let mut matrix = Matrix::new(cols);
    matrix.set_rows(rows);
    let values = values(rows * cols);
    for (i, row) in values.chunks_exact(cols).enumerate() {
        matrix.view_mut().row_mut(i).copy_from_slice(row);
    }
    matrix
}

fn weights(isa: Isa, dtype: PanelDtype, n: usize, k: usize) -> PackedWeights {
    let bytes: Vec<u8> = values(n * k).iter().flat_map(|value| (value * 0.05).to_le_bytes()).collect();
    PackedWeights::pack(isa, dtype, &[(StoredMatrix::new(Stored::F32, &bytes, &[], n, k), &values(n))])
}

/// Seconds of the best of several runs of each, by turns: what the machine can, not what it did on average, and both in
/// the same minute.
fn best_times(mut a: impl FnMut(), mut b: impl FnMut()) -> [f64; 2] {
    let mut best = [f64::INFINITY; 2];
    for round in 0..16 {
        for (run, best) in [&mut a as &mut dyn FnMut(), &mut b].into_iter().zip(&mut best) {
            let start = Instant::now();
            run();
            // The first round warms up.
            if round > 0 {
                *best = best.min(start.elapsed().as_secs_f64());
            }
        }
    }
    best
}

/// Measures one kernel, and its share of the peak of `dtype` unless criterion only tests.
fn bench(dtype: PanelDtype, c: &mut Criterion, isa: Isa, name: &str, operations: u64, mut run: impl FnMut()) {
    let mut group = c.benchmark_group(isa.name());
    group.throughput(Throughput::Elements(operations));
    let mut ran = false;
    group.bench_function(BenchmarkId::from_parameter(name), |b| {
        b.iter(&mut run);
        ran = true;
    });
    group.finish();
    // A kernel that the command line left out is not measured here either.
    if ran && measuring() {
        let (peak_operations, _) = peak::products(isa, dtype, 200_000);
        let [peak, time] = best_times(|| _ = black_box(peak::products(isa, dtype, 200_000)), run);
        let [peak, rate] = [peak_operations as f64 / peak, operations as f64 / time].map(|rate| rate / 1e9);
        let share = 100.0 * rate / peak;
        println!("{} {name}: {rate:.1} G operations/s, {share:.0} % of the peak of {peak:.1}", isa.name());
    }
}

fn kernels(c: &mut Criterion) {
    for isa in Isa::available() {
        let mut scratch = LinearScratch::default();
        let f32_panels = isa.panels(PanelDtype::F32);
        for dtype in [f32_panels, PanelDtype::Bf16, PanelDtype::Int8] {
            for (n, k) in SHAPES {
                let weights = weights(isa, dtype, n, k);
                for m in [64, 256] {
                    let (lhs, mut dst) = (matrix(m, k), matrix(m, n));
                    let (name, operations) =
                        (format!("matmul {} m={m} n={n} k={k}", dtype.name()), (2 * m * n * k) as u64);
                    bench(dtype, c, isa, &name, operations, || {
                        linear(isa, lhs.view(), &weights, Epilogue::Bias, &mut scratch, dst.view_mut());
                    });
                }
            }
        }
        let (m, hidden, inner) = (64, 384, 1536);
        let weights = |n, k| weights(isa, f32_panels, n, k);
        let operations = (2 * m * hidden * inner) as u64;
        let (up, x, mut y) = (weights(inner, hidden), matrix(m, hidden), matrix(m, inner));
        bench(f32_panels, c, isa, "matmul + gelu m=64 n=1536 k=384", operations, || {
            let epilogue = Epilogue::Activation(Activation::Gelu);
            linear(isa, x.view(), &up, epilogue, &mut scratch, y.view_mut());
        });
        let norm = LayerNorm::new(values(hidden), values(hidden), 1e-12);
        let (down, mut z) = (weights(hidden, inner), matrix(m, hidden));
        bench(f32_panels, c, isa, "matmul + residual + norm m=64 n=384 k=1536", operations, || {
            let epilogue = Epilogue::ResidualNorm { residual: x.view(), norm: &norm };
            linear(isa, y.view(), &down, epilogue, &mut scratch, z.view_mut());
        });
        for seq_len in [68, 200, 512] {
            let [x, mut dst] = [(); 2].map(|()| matrix(seq_len, hidden));
            let mut scratch = AttentionScratch::default();
            let operations = (4 * seq_len * seq_len * hidden) as u64;
            // Attention in f32 takes no digits: there it is that of another set.
            let of_other = usize::from(f32_panels == PanelDtype::Digits);
            for dtype in [PanelDtype::F32, PanelDtype::Bf16].into_iter().skip(of_other) {
                let name = format!("attention {} 12x32 seq_len={seq_len}", dtype.name());
                // As the layers around leave them.
                let x = if isa.pairs(dtype) { pairs(&x) } else { x.clone() };
                bench(dtype, c, isa, &name, operations, || {
                    let heads = Heads { dim: 32, scale: 0.177, dtype };
                    attention(isa, [x.view(); 3], heads, &mut scratch, dst.view_mut());
                });
            }
        }
        elementwise(c, isa);
    }
}

/// Criterion's "elements" are values here.
fn elementwise(c: &mut Criterion, isa: Isa) {
    const HIDDEN: usize = 384;
    let mut group = c.benchmark_group(isa.name());
    let mut row = values(4 * HIDDEN);
    group.throughput(Throughput::Elements(row.len() as u64));
    for activation in [Activation::Gelu, Activation::GeluTanh, Activation::Silu] {
        group.bench_function(format!("{activation:?} of 1536"), |b| {
            b.iter(|| activation.apply(isa, &mut row))
        });
    }
    group.bench_function("softmax of 1536", |b| b.iter(|| softmax(isa, 0.1, &mut row)));
    let norm = LayerNorm::new(values(HIDDEN), values(HIDDEN), 1e-12);
    let mut rows = matrix(64, HIDDEN);
    group.throughput(Throughput::Elements(64 * HIDDEN as u64));
    group.bench_function("norm of 64 x 384", |b| b.iter(|| norm.apply(isa, None, rows.view_mut())));
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
