//! Softmax against f64, and the power of two within it.

mod common;

use common::approx::{Approx, EXP_DROPPED, EXP2_ERROR};
use common::{Grid, Random, U, assert_close, config, for_each_isa, wide};
use crossrank_kernels::{Isa, reference, softmax};
use proptest::prelude::*;

fn run(isa: Isa, scale: f32, row: &[f32]) -> Vec<f32> {
    let mut grid = Grid::of(row, 1, row.len(), 2);
    softmax(isa, scale, grid.view_mut().row_mut(0));
    grid.values()
}

/// By running error analysis of what `softmax.rs` does; see `common/approx.rs`.
fn bounds(scale: f32, row: &[f32]) -> Vec<f64> {
    let (e, sum) = Approx::exponentials(scale, &Approx::all(row));
    let factor = sum.inverse();
    e.iter().map(|e| e.times(factor).error).collect()
}

fn check(scale: f32, row: &[f32]) {
    let expected = reference::softmax(f64::from(scale), &wide(row));
    let bounds = bounds(scale, row);
    for_each_isa(|isa| {
        let found = run(isa, scale, row);
        let what = format!("{}: {} values, scale {scale}", isa.name(), row.len());
        assert_close(&what, &found, &expected, &bounds);
        let sum: f64 = wide(&found).iter().sum();
        assert!((sum - 1.0).abs() <= bounds.iter().sum(), "{what}: the sum is {sum}");
    });
}

#[test]
fn every_length_is_that_of_f64() {
    for len in (1..=70).chain([127, 128, 129, 255, 256, 500, 511, 512]) {
        let row: Vec<f32> = Random(len as u64).vec(len).iter().map(|x| x * 4.0).collect();
        for scale in [1.0, 0.125, 0.288_675_13, 3.0] {
            check(scale, &row);
        }
    }
    for_each_isa(|isa| assert!(run(isa, 1.0, &[]).is_empty(), "{}", isa.name()));
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_row_is_that_of_f64(
        row in prop::collection::vec(-300.0..300.0_f32, 1..70),
        scale in 0.01..2.0_f32,
    ) {
        check(scale, &row);
    }
}

/// A scale by which softmax takes powers of two: times log2 e it is 1.
const POWERS: f32 = std::f32::consts::LN_2;

/// 2^x in itself: for x < -25 the sum of 2^0 and 2^x rounds to 1, so that softmax gives the bits of the power. Above it
/// is divided by what the other element shows, at the price of one more rounding.
#[test]
fn the_power_of_two_errs_no_more_than_stated() {
    assert_eq!(POWERS * std::f32::consts::LOG2_E, 1.0);
    let bits = (-1e-6_f32).to_bits()..(-126.0_f32).to_bits();
    let xs: Vec<f32> = bits.step_by(61).map(f32::from_bits).collect();
    for_each_isa(|isa| {
        let mut worst = (0.0_f64, 0.0);
        for &x in &xs {
            let mut row = [0.0, x];
            softmax(isa, POWERS, &mut row);
            let expected = f64::from(x).exp2();
            let found = f64::from(row[1]) / f64::from(row[0]);
            let error = (found / expected - 1.0).abs();
            if x < -25.0 {
                assert_eq!(row[0], 1.0);
                if error > worst.0 {
                    worst = (error, x);
                }
            }
            let bound = EXP2_ERROR + if x < -25.0 { 0.0 } else { U };
            assert!(error < bound, "{}: 2^{x} = {found}, not {expected}: {error:e}", isa.name());
        }
        println!("{}: 2^x: maximal relative error {:.3e} at {}", isa.name(), worst.0, worst.1);
        for x in [-126.001_f32, -127.0, -150.0, -1e4, f32::MIN] {
            let mut row = [0.0, x];
            softmax(isa, POWERS, &mut row);
            assert_eq!(row, [1.0, 0.0], "{}: 2^{x}", isa.name());
            assert!(f64::from(x).exp2() < EXP_DROPPED);
        }
    });
}

#[test]
fn equal_values_share_equally() {
    for_each_isa(|isa| {
        for len in 1..=70 {
            for value in [0.0, -3e38, 3e38, 1e-40, -7.5] {
                let row = run(isa, 1.0, &vec![value; len]);
                // The sum is a whole number: what is left is the rounding of 1 / len.
                assert_eq!(row, vec![1.0 / len as f32; len], "{}: {value}", isa.name());
            }
        }
    });
}

#[test]
fn minus_infinity_and_huge_negative_values_weigh_nothing() {
    for_each_isa(|isa| {
        for len in 2..=40 {
            for lost in [f32::NEG_INFINITY, f32::MIN, -1e30] {
                for at in 0..len {
                    let mut row = vec![lost; len];
                    row[at] = 1.5;
                    let mut expected = vec![0.0; len];
                    expected[at] = 1.0;
                    assert_eq!(run(isa, 1.0, &row), expected, "{}: {lost}", isa.name());
                }
            }
        }
    });
}

/// In every lane and in the tail, with a value in every other place that the maximum of a lane forgets when the NaN
/// follows: its exponent then is out of range.
#[test]
fn nan_anywhere_makes_the_whole_row_nan() {
    for_each_isa(|isa| {
        for len in 1..=40 {
            for other in [0.25, 1e30, f32::NEG_INFINITY] {
                for (at, nan) in (0..len).flat_map(|at| (0..len).map(move |nan| (at, nan))) {
                    let mut row = vec![1.0; len];
                    row[at] = other;
                    row[nan] = f32::NAN;
                    softmax(isa, 1.0, &mut row);
                    assert!(
                        row.iter().all(|x| x.is_nan()),
                        "{}: {other} at {at}, NaN at {nan}: {row:?}",
                        isa.name()
                    );
                }
            }
        }
    });
}

#[test]
fn an_infinite_maximum_makes_the_whole_row_nan() {
    for_each_isa(|isa| {
        for len in 1..=40 {
            let mut row = vec![f32::NEG_INFINITY; len];
            assert!(run(isa, 1.0, &row).iter().all(|x| x.is_nan()), "{}: {row:?}", isa.name());
            row[len / 2] = f32::INFINITY;
            assert!(run(isa, 1.0, &row).iter().all(|x| x.is_nan()), "{}: {row:?}", isa.name());
        }
    });
}
