//! Which of a module's instruction sets multiplies bytes faster here.
//!
//! Where the machine has an instruction for relaxed dot products they are the faster ones, else a browser makes several
//! of each. No page can ask which it is, so both are timed. Integers are the same by either, and so are scores.

use std::time::Duration;

use crossrank::Instant;
use crossrank_kernels::peak::products;
use crossrank_kernels::{Isa, PanelDtype};

/// Each takes some tenths of a millisecond.
const ROUNDS: usize = 20_000;

/// Its name.
pub(crate) fn fastest() -> &'static str {
    let best = Isa::best();
    let Some(other) = best.without_dot_products() else { return best.name() };
    // The first round compiles.
    let time = |isa| (0..3).map(|_| once(isa)).min();
    if time(other) < time(best) { other.name() } else { best.name() }
}

fn once(isa: Isa) -> Duration {
    let start = Instant::now();
    std::hint::black_box(products(isa, PanelDtype::Int8, ROUNDS));
    start.elapsed()
}
