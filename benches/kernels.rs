//! Kernels by instruction set on the shapes of 384-, 768- and 1024-wide models, one thread.
//!
//!     cargo bench --bench kernels
//!
//! Criterion's "elements" are f32 operations (a multiply-add counts two). The share of the peak is taken against
//! register-only multiply-adds, for bf16 and int8 register-only products of their kind, measured in the same run.
//! Products round, quantise or split their rows; what they reach without that stands beside.

mod common;

use std::hint::black_box;
use std::time::Instant;

use common::{matrix, measuring, pairs, values};
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

fn weights(isa: Isa, dtype: PanelDtype, n: usize, k: usize) -> PackedWeights {
    let bytes: Vec<u8> = values(n * k).iter().flat_map(|value| (value * 0.05).to_le_bytes()).collect();
    PackedWeights::pack(isa, dtype, &[(StoredMatrix::new(Stored::F32, &bytes, &[], n, k), &values(n))])
}

/// Seconds of the best of many runs of each, by turns: what the machine can, not what it did on average, and all in the
/// same minute. A core can be slow for a while.
fn best_times<const N: usize>(mut runs: [&mut dyn FnMut(); N]) -> [f64; N] {
    const LEAST_ROUNDS: usize = 16;
    const SECONDS: f64 = 0.3;
    let mut best = [f64::INFINITY; N];
    let begin = Instant::now();
    for round in 0.. {
        if round >= LEAST_ROUNDS && begin.elapsed().as_secs_f64() >= SECONDS {
            break;
        }
        for (run, best) in runs.iter_mut().zip(&mut best) {
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

/// A kernel, and how many operations it is.
struct Bench<'a> {
    isa: Isa,
    dtype: PanelDtype,
    name: &'a str,
    operations: u64,
}

impl Bench<'_> {
    /// Measures it, and its share of the peak of its dtype unless criterion only tests.
    fn run(&self, c: &mut Criterion, mut run: impl FnMut()) {
        if self.ran(c, &mut run) {
            let [peak, time] = best_times([&mut || self.peak(), &mut run]);
            println!("{}", self.shares(peak, time));
        }
    }

    /// The same for a product, beside the part of it that makes the rows what products read, which goes with each block
    /// of rows and not with their product.
    fn run_product(&self, c: &mut Criterion, mut run: impl FnMut(), mut make_rows: impl FnMut()) {
        if self.ran(c, &mut run) {
            let [peak, time, made] = best_times([&mut || self.peak(), &mut run, &mut make_rows]);
            let alone = 100.0 * self.rate(time - made) / self.peak_rate(peak);
            println!(
                "{}, {alone:.0} % without making its rows ({:.1} us)",
                self.shares(peak, time),
                made * 1e6
            );
        }
    }

    /// Whether criterion measured it. A kernel that the command line left out is not measured here either.
    fn ran(&self, c: &mut Criterion, run: &mut impl FnMut()) -> bool {
        let mut group = c.benchmark_group(self.isa.name());
        group.throughput(Throughput::Elements(self.operations));
        let mut ran = false;
        group.bench_function(BenchmarkId::from_parameter(self.name), |b| {
            b.iter(&mut *run);
            ran = true;
        });
        group.finish();
        ran && measuring()
    }

    fn shares(&self, peak: f64, time: f64) -> String {
        let Self { isa, name, .. } = self;
        let [rate, peak] = [self.rate(time), self.peak_rate(peak)];
        let share = 100.0 * rate / peak;
        format!("{} {name}: {rate:.1} G operations/s, {share:.0} % of the peak of {peak:.1}", isa.name())
    }

    fn peak(&self) {
        black_box(peak::products(self.isa, self.dtype, PEAK_ROUNDS));
    }

    fn peak_rate(&self, time: f64) -> f64 {
        peak::products(self.isa, self.dtype, PEAK_ROUNDS).0 as f64 / time / 1e9
    }

    fn rate(&self, time: f64) -> f64 {
        self.operations as f64 / time / 1e9
    }
}

/// Of products in registers.
const PEAK_ROUNDS: usize = 50_000;

fn kernels(c: &mut Criterion) {
    for isa in Isa::available() {
        let mut scratch = LinearScratch::default();
        let f32_panels = isa.panel_dtype(PanelDtype::F32);
        for dtype in [f32_panels, PanelDtype::Bf16, PanelDtype::Int8] {
            for (n, k) in SHAPES {
                let weights = weights(isa, dtype, n, k);
                for m in [64, 128, 256] {
                    // Outputs of more columns are those that layers leave in pairs, where there are such.
                    let (lhs, mut dst) = (matrix(m, k), matrix(m, n));
                    if n > k && isa.stores_pairs(dtype) {
                        dst = pairs(&dst);
                    }
                    let (name, operations) =
                        (format!("matmul {} m={m} n={n} k={k}", dtype.name()), (2 * m * n * k) as u64);
                    let bench = Bench { isa, dtype, name: &name, operations };
                    let run = || {
                        linear(isa, lhs.view(), &weights, Epilogue::Bias, &mut scratch, dst.view_mut());
                    };
                    if dtype == PanelDtype::F32 {
                        bench.run(c, run);
                        continue;
                    }
                    let (mut scratch, mut nothing) = (LinearScratch::default(), Matrix::new(0));
                    nothing.set_rows(m);
                    bench.run_product(c, run, || {
                        let (lhs, none) = (lhs.view(), weights.columns(0..0));
                        linear(isa, lhs, none, Epilogue::Bias, &mut scratch, nothing.view_mut());
                    });
                }
            }
        }
        let (m, hidden, inner) = (64, 384, 1536);
        let weights = |n, k| weights(isa, f32_panels, n, k);
        let operations = (2 * m * hidden * inner) as u64;
        let (up, x, mut y) = (weights(inner, hidden), matrix(m, hidden), matrix(m, inner));
        Bench { isa, dtype: f32_panels, name: "matmul + gelu m=64 n=1536 k=384", operations }.run(c, || {
            let epilogue = Epilogue::Activation(Activation::Gelu);
            linear(isa, x.view(), &up, epilogue, &mut scratch, y.view_mut());
        });
        let norm = LayerNorm::new(values(hidden), values(hidden), 1e-12);
        let (down, mut z) = (weights(hidden, inner), matrix(m, hidden));
        Bench { isa, dtype: f32_panels, name: "matmul + residual + norm m=64 n=384 k=1536", operations }.run(
            c,
            || {
                let epilogue = Epilogue::ResidualNorm(&norm);
                linear(isa, y.view(), &down, epilogue, &mut scratch, z.view_mut());
            },
        );
        for seq_len in [68, 200, 512] {
            let [x, mut dst] = [(); 2].map(|()| matrix(seq_len, hidden));
            let mut scratch = AttentionScratch::default();
            let operations = (4 * seq_len * seq_len * hidden) as u64;
            // Attention in f32 takes no digits: there it is that of another set.
            let of_other = usize::from(f32_panels == PanelDtype::Digits);
            for dtype in [PanelDtype::F32, PanelDtype::Bf16].into_iter().skip(of_other) {
                let name = format!("attention {} 12x32 seq_len={seq_len}", dtype.name());
                // As the layers around leave them.
                let x = if isa.stores_pairs(dtype) { pairs(&x) } else { x.clone() };
                Bench { isa, dtype, name: &name, operations }.run(c, || {
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
    group.bench_function("norm of 64 x 384", |b| b.iter(|| norm.apply(isa, rows.view_mut())));
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
