//! What all tests share: instruction sets, data, poisoned matrices and comparisons.
#![allow(dead_code)] // Each test binary compiles its own copy and uses a part of it.

pub mod approx;
pub mod case;

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crossrank_kernels::{Isa, PackedWeights, PanelDtype, Rows, RowsMut, Stored, StoredMatrix};
use proptest::test_runner::Config;

/// Unit roundoff of f32.
pub const U: f64 = 1.0 / (1 << 24) as f64;

/// What a result below the normal range of f32 may lose on top: half of the smallest denormal number.
pub const TINY: f64 = U * 1.1754943508222875e-38;

/// Names, separated by commas, of instruction sets without which the tests fail.
const REQUIRED: &str = "CROSSRANK_REQUIRE_ISA";

/// Runs `check` on every instruction set of this machine. What the machine lacks is said aloud, once in a binary.
pub fn for_each_isa(mut check: impl FnMut(Isa)) {
    static SAID: Once = Once::new();
    let required = std::env::var(REQUIRED).unwrap_or_default();
    let required: Vec<&str> = required.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    for name in &required {
        assert!(Isa::NAMES.contains(name), "{REQUIRED} names `{name}`, which is no instruction set");
    }
    let mut skipped = Vec::new();
    for name in Isa::NAMES {
        match Isa::by_name(name) {
            Ok(isa) => {
                assert_eq!(isa.in_force(), name, "the kernels run under another instruction set");
                check(isa);
            }
            Err(error) => {
                assert!(!required.contains(&name), "{REQUIRED} names `{name}`: {error}");
                skipped.push(name);
            }
        }
    }
    if !skipped.is_empty() {
        SAID.call_once(|| {
            let binary = std::env::args().next().unwrap_or_default();
            let line = format!("SKIPPED: {} is not on this machine ({binary})\n", skipped.join(", "));
            // libtest captures what the print macros write, not what goes to the handle.
            std::io::stderr().write_all(line.as_bytes()).expect("stderr");
        });
    }
}

/// Few enough cases for every run, and no files left in the tree.
pub fn config() -> Config {
    Config { cases: 64, failure_persistence: None, ..Config::default() }
}

/// SplitMix64: the same data for the same seed on every machine.
pub struct Random(pub u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1.
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 39) as f32 / (1 << 24) as f32 - 1.0
    }

    /// A whole number in -limit..=limit.
    pub fn integer(&mut self, limit: i64) -> f32 {
        ((self.bits() >> 1) as i64 % (2 * limit + 1) - limit) as f32
    }

    /// Signed values of magnitudes from 2^-6 to 2^2.
    pub fn vec(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.signed() * [0.015_625, 0.5, 1.0, 4.0][(self.bits() >> 62) as usize]).collect()
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.bits() >> 56) as u8).collect()
    }
}

/// A NaN that no arithmetic makes.
const POISON: u32 = 0x7fc5_a5a5;

/// Elements before the matrix and after it: an odd number, so that nothing is aligned.
const GUARD: usize = 5;

/// A matrix with poison around it and between its rows.
pub type Grid = Elements<f32>;

/// The same of pairs of bfloat16, an element for two columns.
pub type PairGrid = Elements<u32>;

#[derive(Clone)]
pub struct Elements<T> {
    data: Vec<T>,
    rows: usize,
    /// Elements of a row.
    width: usize,
    stride: usize,
}

impl<T: bytemuck::Pod> Elements<T> {
    /// Holds nothing but poison.
    pub fn poisoned(rows: usize, width: usize, gap: usize) -> Self {
        let stride = width + gap;
        Self { data: vec![bytemuck::cast(POISON); rows * stride + 2 * GUARD], rows, width, stride }
    }

    pub fn of(values: &[T], rows: usize, width: usize, gap: usize) -> Self {
        let mut grid = Self::poisoned(rows, width, gap);
        assert_eq!(values.len(), rows * width);
        for (i, to) in grid.data[GUARD..].chunks_mut((width + gap).max(1)).take(rows).enumerate() {
            to[..width].copy_from_slice(&values[i * width..(i + 1) * width]);
        }
        grid
    }

    /// The elements, after a check that everything around them still is poison.
    pub fn values(&self) -> Vec<T> {
        let mut values = Vec::with_capacity(self.rows * self.width);
        for (at, &x) in self.data.iter().enumerate() {
            let inside = at
                .checked_sub(GUARD)
                .is_some_and(|at| at < self.rows * self.stride && at % self.stride < self.width);
            if inside {
                values.push(x);
            } else {
                let bits: u32 = bytemuck::cast(x);
                assert_eq!(bits, POISON, "element {at} is outside and was written");
            }
        }
        assert_eq!(values.len(), self.rows * self.width);
        values
    }
}

impl Grid {
    pub fn view(&self) -> Rows<'_> {
        Rows::new(&self.data[GUARD..], self.rows, self.width, self.stride)
    }

    pub fn view_mut(&mut self) -> RowsMut<'_> {
        RowsMut::new(&mut self.data[GUARD..], self.rows, self.width, self.stride)
    }
}

impl PairGrid {
    pub fn view(&self) -> Rows<'_> {
        Rows::pairs(&self.data[GUARD..], self.rows, 2 * self.width, self.stride)
    }

    pub fn view_mut(&mut self) -> RowsMut<'_> {
        RowsMut::pairs(&mut self.data[GUARD..], self.rows, 2 * self.width, self.stride)
    }
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

pub fn to_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// In f32, as many outputs as there are values of the bias.
pub fn pack(isa: Isa, weights: &[f32], bias: &[f32], k: usize) -> PackedWeights {
    pack_as(PanelDtype::F32, isa, weights, bias, k)
}

pub fn pack_as(dtype: PanelDtype, isa: Isa, weights: &[f32], bias: &[f32], k: usize) -> PackedWeights {
    let bytes = to_bytes(weights);
    PackedWeights::pack(isa, dtype, &[(StoredMatrix::new(Stored::F32, &bytes, &[], bias.len(), k), bias)])
}

/// The same weights out of their transpose, k x n, and without a bias.
pub fn pack_across_as(dtype: PanelDtype, isa: Isa, weights: &[f32], n: usize, k: usize) -> PackedWeights {
    let across: Vec<f32> = (0..k).flat_map(|l| (0..n).map(move |j| weights[j * k + l])).collect();
    let bytes = to_bytes(&across);
    PackedWeights::pack_transposed(isa, dtype, StoredMatrix::new(Stored::F32, &bytes, &[], k, n), 0..k)
}

/// Every element is within its bound of what is expected, and NaN where NaN is expected.
#[track_caller]
pub fn assert_close(what: &str, found: &[f32], expected: &[f64], bounds: &[f64]) {
    assert_eq!((found.len(), found.len()), (expected.len(), bounds.len()), "{what}: lengths");
    let mut failures = 0;
    let mut worst = (0.0, 0);
    for (i, (&found, (&expected, &bound))) in found.iter().zip(expected.iter().zip(bounds)).enumerate() {
        assert!(expected.is_nan() || bound.is_finite(), "{what}: a bound of {bound} at {i} cannot fail");
        let distance = (f64::from(found) - expected).abs();
        let close = if expected.is_nan() { found.is_nan() } else { distance <= bound };
        if !close {
            failures += 1;
            let ratio = if distance.is_nan() { f64::INFINITY } else { distance / bound };
            if failures == 1 || ratio > worst.0 {
                worst = (ratio, i);
            }
        }
    }
    let i = worst.1;
    assert!(
        failures == 0,
        "{what}: {failures} of {} are off; worst at {i}: expected {}, found {}, bound {}",
        found.len(),
        expected[i],
        found[i],
        bounds[i]
    );
}

/// The same bits; any NaN equals any other.
#[track_caller]
pub fn assert_same_bits(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}: lengths");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
        assert!(same, "{what}: at {i}: expected {expected:?}, found {found:?}");
    }
}

/// `call` panics with a message that contains `message`.
#[track_caller]
pub fn assert_panics<R>(what: &str, message: &str, call: impl FnOnce() -> R) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(call)) else { panic!("{what}: no panic") };
    let said = panic.downcast_ref::<String>().cloned();
    let said =
        said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned())).unwrap_or_default();
    assert!(said.contains(message), "{what}: panicked with `{said}`, which does not contain `{message}`");
}
