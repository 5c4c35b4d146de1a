//! Which of a module's instruction sets multiplies bytes faster here.
//!
//! Where the machine has an instruction for relaxed dot products they are the faster ones, else a browser makes several
//! of each. No page can ask which it is, so both are timed. Integers are the same by either, and so are scores.

use std::time::Duration;

use crossrank::Instant;
use crossrank_kernels::{
    Epilogue, Isa, LinearScratch, Matrix, PackedWeights, PanelDtype, Stored, StoredMatrix, linear,
};

/// Rows, outputs and depth of what is timed: some hundredths of a millisecond.
const SHAPE: [usize; 3] = [16, 64, 384];
/// How long both are timed together: longer than browsers take to compile well what runs often.
const LONG: Duration = Duration::from_millis(50);

/// Its name.
pub(crate) fn fastest() -> &'static str {
    let best = Isa::best();
    let Some(other) = best.without_dot_products() else { return best.name() };
    let mut times = [Duration::MAX; 2];
    let (mut first, mut second) = (Timed::new(best), Timed::new(other));
    // By turns: other work comes and goes.
    let start = Instant::now();
    while start.elapsed() < LONG {
        times[0] = times[0].min(first.once());
        times[1] = times[1].min(second.once());
    }
    if times[1] < times[0] { other.name() } else { best.name() }
}

/// A product that is timed.
struct Timed {
    isa: Isa,
    rows: Matrix,
    weights: PackedWeights,
    scratch: LinearScratch,
    results: Matrix,
}

impl Timed {
    fn new(isa: Isa) -> Self {
        let [m, n, k] = SHAPE;
        let bytes: Vec<u8> = (0..n * k).map(|i| (i % 256) as u8).collect();
        let scales: Vec<u8> = (0..n).flat_map(|_| 1f32.to_le_bytes()).collect();
        let matrix = StoredMatrix::new(Stored::I8, &bytes, &scales, n, k);
        let weights = PackedWeights::pack(isa, PanelDtype::Int8, &[(matrix, &vec![0.0; n])]);
        let (mut rows, mut results) = (Matrix::new(k), Matrix::new(n));
        rows.set_rows(m);
        results.set_rows(m);
        for i in 0..m {
            rows.view_mut().row_mut(i).iter_mut().zip(0u8..).for_each(|(x, j)| *x = f32::from(j));
        }
        Self { isa, rows, weights, scratch: LinearScratch::default(), results }
    }

    fn once(&mut self) -> Duration {
        let start = Instant::now();
        let results = self.results.view_mut();
        linear(self.isa, self.rows.view(), &self.weights, Epilogue::Bias, &mut self.scratch, results);
        start.elapsed()
    }
}
