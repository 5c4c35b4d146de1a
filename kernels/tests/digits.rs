//! Products of digits against f64, and their bits against each other.

mod common;

use common::case::{Case, changed, multiplied, multiplied_onto};
use common::{Grid, U, assert_close, assert_panics, assert_same_bits, for_each_isa, pack_across_as, pack_as};
use crossrank_kernels::{Epilogue, Isa, PackedWeights, PanelDtype, reference};

/// Instruction sets that multiply no digits must refuse them, which is all there is to see of those.
fn for_each_isa_of_digits(mut check: impl FnMut(Isa)) {
    for_each_isa(|isa| {
        if isa.panel_dtype(PanelDtype::F32) == PanelDtype::Digits {
            return check(isa);
        }
        println!("skipped: {} multiplies no digits", isa.name());
        assert_ne!(isa.name(), "amx");
        let packed = pack_as(PanelDtype::Digits, isa, &[0.5; 4], &[0.5], 4);
        assert_panics(isa.name(), "weights in digits", || {
            multiplied(isa, &Grid::of(&[0.5; 4], 1, 4, 0), &packed, Epilogue::Bias, 1, 0)
        });
    });
}

fn in_digits(isa: Isa, case: &Case) -> PackedWeights {
    pack_as(PanelDtype::Digits, isa, &case.weights, &case.bias, case.k)
}

/// Either side is off by 2^-24 of the largest of its row or output, and a little: 2^-24 of 128 / 127. Products of
/// digits that are left out are two of up to 128^2 2^-24 and one of 2^-8 of that, in units of the largest of both over
/// 127, and the sums of digits are rounded when they are added up.
fn bounds(case: &Case) -> Vec<f64> {
    let &Case { m, n, k, .. } = case;
    let [lhs, weights, bias] = case.wide();
    let abs = |values: &[f64]| values.iter().map(|x| x.abs()).collect::<Vec<_>>();
    let largest = |values: &[f64]| values.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let (lhs, weights) = (abs(&lhs), abs(&weights));
    let magnitudes = reference::matmul(&lhs, &weights, &abs(&bias), m, k);
    let bound = |at: usize| {
        let (row, output) = (&lhs[at / n * k..][..k], &weights[at % n * k..][..k]);
        let (x, w) = (largest(row), largest(output));
        let rounded = x * output.iter().sum::<f64>() + w * row.iter().sum::<f64>();
        let left_out = k as f64 * x * w / f64::from(127 * 127) * (2.0 + 1.0 / 256.0) / f64::from(1 << 10);
        1.01 / f64::from(1 << 24) * rounded + left_out + 6.0 * U * magnitudes[at]
    };
    (0..m * n).map(bound).collect()
}

/// Each row also against its own bits in company, and columns against all of them.
#[test]
fn products_are_near_those_of_f64() {
    for (n, k) in [(1, 1), (1, 64), (16, 63), (33, 130), (60, 384), (48, 1536), (33, 0)] {
        let rows = 70;
        let case = Case::cancelling(rows, n, k, (n * 1000 + k) as u64);
        let [lhs, weights, bias] = case.wide();
        let expected = reference::matmul(&lhs, &weights, &bias, rows, k);
        let bounds = bounds(&case);
        for_each_isa_of_digits(|isa| {
            let packed = in_digits(isa, &case);
            let outputs = n.next_multiple_of(16);
            assert_eq!(packed.bytes(), outputs * (k.next_multiple_of(64) * 3 + 4 + 4), "digits, scale, bias");
            let run = |first: usize, m: usize| {
                let lhs = Grid::of(&case.lhs[first * k..][..m * k], m, k, 3);
                multiplied(isa, &lhs, &packed, Epilogue::Bias, n, 5).values()
            };
            let all = run(0, rows);
            assert_close(&format!("{}: {rows} x {n} x {k}", isa.name()), &all, &expected, &bounds);
            for (first, m) in [(0, 1), (69, 1), (3, 15), (2, 16), (5, 17), (7, 33), (0, 0)] {
                let what = format!("{}: rows {first} and {m} more, n {n}, k {k}", isa.name());
                assert_same_bits(&what, &run(first, m), &all[first * n..][..m * n]);
            }
            for (start, end) in [(0, n.min(16)), (16.min(n), n)] {
                let lhs = Grid::of(&case.lhs, rows, k, 0);
                let dst = multiplied(isa, &lhs, packed.columns(start..end), Epilogue::Bias, end - start, 0);
                let expected: Vec<f32> = all.chunks(n).flat_map(|row| row[start..end].to_vec()).collect();
                assert_same_bits(&format!("{start}..{end} of {n}"), &dst.values(), &expected);
            }
        });
    }
}

/// A second digit by a third one, both as large as they can be and of one sign, many times: left out, unless there is a
/// residual and the third one is that of the weights.
#[test]
fn products_with_a_residual_are_closer() {
    let k = 384;
    // In units of the last digit; the first value makes the scale that of the unit.
    let units = |value: f32| {
        let mut values = vec![value; k];
        values[0] = 127.0 * 65536.0;
        values
    };
    let (second, third) = (units(127.0 * 256.0), units(127.0));
    let largest = (127.0 * 65536.0_f64).powi(2);
    let others = (k - 1) as f64 * 127.0 * 256.0 * 127.0;
    for_each_isa_of_digits(|isa| {
        for (lhs, weights, kept) in [(&second, &third, others), (&third, &second, 0.0)] {
            let packed = pack_as(PanelDtype::Digits, isa, weights, &[0.0], k);
            let lhs = Grid::of(lhs, 1, k, 0);
            for (epilogue, kept) in [(Epilogue::Bias, 0.0), (Epilogue::Residual(&[1.0]), kept)] {
                let nothing = Grid::of(&[0.0], 1, 1, 0);
                let found = f64::from(multiplied_onto(nothing, isa, &lhs, &packed, epilogue).values()[0]);
                let off = (found - largest - kept).abs();
                assert!(off <= 4.0 * U * largest, "{}: {found}, not {}", isa.name(), largest + kept);
            }
        }
    });
}

/// Values whose every digit is at its end, ties, rows of zeros, and what is too small to be told from them.
#[test]
fn digits_reach_from_end_to_end() {
    let (rows, n, k) = (5, 4, 192);
    let mut case = Case::random(rows, n, k, 7);
    case.bias = vec![0.0; n];
    // In units of the last digit, below the largest of 127 * 2^16.
    let units =
        [127.0 * 65536.0, -127.0 * 65536.0, 0.5, -0.5, 1.5, 127.0, 128.0, -128.0, -129.0, 32639.0, 32640.0];
    for i in 0..k {
        case.lhs[i] = units[i % units.len()];
        case.weights[i] = units[(i / 3 + 1) % units.len()];
    }
    case.lhs[k..2 * k].fill(0.0);
    case.weights[k..2 * k].fill(0.0);
    for (lhs, weight) in case.lhs[2 * k..3 * k].iter_mut().zip(&mut case.weights[2 * k..3 * k]) {
        (*lhs, *weight) = (*lhs * 1e-34, *weight * 1e-29);
    }
    case.lhs[3 * k..4 * k].iter_mut().for_each(|x| *x *= 1e30);
    let [lhs, weights, bias] = case.wide();
    let mut expected = reference::matmul(&lhs, &weights, &bias, rows, k);
    let bounds = bounds(&case);
    expected[2 * n..3 * n].fill(0.0);
    for_each_isa_of_digits(|isa| {
        let lhs = Grid::of(&case.lhs, rows, k, 0);
        let dst = multiplied(isa, &lhs, &in_digits(isa, &case), Epilogue::Bias, n, 0).values();
        assert_close(isa.name(), &dst, &expected, &bounds);
        assert_eq!(dst[n..3 * n], vec![0.0; 2 * n]);
    });
}

/// NaN and infinity reach their row or their column, as NaN.
#[test]
fn products_hide_nothing() {
    let (rows, n, k) = (20, 33, 72);
    let case = Case::random(rows, n, k, 9);
    for_each_isa_of_digits(|isa| {
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let run = |lhs: &[f32], weights: &[f32]| {
                let packed = pack_as(PanelDtype::Digits, isa, weights, &case.bias, k);
                multiplied(isa, &Grid::of(lhs, rows, k, 0), &packed, Epilogue::Bias, n, 0).values()
            };
            let in_row = run(&changed(&case.lhs, 8 * k + 40, bad), &case.weights);
            let in_column = run(&case.lhs, &changed(&case.weights, 32 * k + 70, bad));
            for (i, (row, column)) in in_row.iter().zip(&in_column).enumerate() {
                assert_eq!(row.is_nan(), i / n == 8, "{bad} in row 8 at {i}");
                assert_eq!(column.is_nan(), i % n == 32, "{bad} in output 32 at {i}");
            }
        }
    });
}

/// Out of rows, out of columns, out of panels of f32: the same bytes, on every instruction set.
#[test]
fn digits_are_the_same_whatever_they_are_made_of() {
    for (n, k) in [(1, 1), (17, 63), (32, 64), (60, 100), (7, 0)] {
        let case = Case::random(0, n, k, (n * 1000 + k) as u64);
        let expected = in_digits(Isa::by_name("portable").unwrap(), &case).panel_bytes();
        for_each_isa(|isa| {
            let what = format!("{}: {n} x {k}", isa.name());
            assert_eq!(in_digits(isa, &case).panel_bytes(), expected, "{what}");
            assert_eq!(case.pack(isa).to_digits(isa).panel_bytes(), expected, "{what}, out of panels");
            let across = pack_across_as(PanelDtype::Digits, isa, &case.weights, n, k);
            assert_eq!(across.panel_bytes(), expected, "{what}, out of columns");
        });
    }
}
