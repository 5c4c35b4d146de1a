//! Layer normalisation against f64.

mod common;

use common::approx::Approx;
use common::{Grid, Random, U, assert_close, assert_same_bits, config, for_each_isa, wide};
use crossrank_kernels::{Isa, LayerNorm, reference};
use proptest::prelude::*;

const WIDTHS: [usize; 13] = [1, 2, 7, 8, 9, 12, 15, 16, 17, 33, 60, 384, 768];

/// Bounds by running error analysis of what `layer_norm.rs` does; see `common/approx.rs`.
fn check(rows: usize, width: usize, gap: usize, offset: f32, eps: f32, seed: u64) {
    let mut random = Random(seed);
    let x: Vec<f32> = random.vec(rows * width).iter().map(|x| x + offset).collect();
    let (weight, bias) = (random.vec(width), random.vec(width));
    let (mut expected, mut bounds) = (Vec::new(), Vec::new());
    for x in x.chunks(width) {
        expected.extend(reference::layer_norm(&wide(x), &wide(&weight), &wide(&bias), f64::from(eps)));
        bounds.extend(Approx::errors(&Approx::layer_norm(&Approx::all(x), &weight, &bias, eps)));
    }
    let norm = LayerNorm::new(weight, bias, eps);
    for_each_isa(|isa| {
        let mut dst = Grid::of(&x, rows, width, gap);
        norm.apply(isa, dst.view_mut());
        let what = format!("{}: {rows} x {width}", isa.name());
        assert_close(&what, &dst.values(), &expected, &bounds);
        assert_same_bits(&what, &apply_to(&norm, isa, &x, rows, width, gap), &dst.values());
    });
}

/// Out of place, after a check that the source is as it was.
fn apply_to(norm: &LayerNorm, isa: Isa, x: &[f32], rows: usize, width: usize, gap: usize) -> Vec<f32> {
    let (src, mut dst) = (Grid::of(x, rows, width, gap + 3), Grid::poisoned(rows, width, gap));
    norm.apply_to(isa, src.view(), dst.view_mut());
    assert_same_bits("the source", &src.values(), x);
    dst.values()
}

#[test]
fn without_a_bias_nothing_is_added() {
    for width in WIDTHS {
        let mut random = Random(width as u64);
        let (x, weight) = (random.vec(5 * width), random.vec(width));
        let (mut expected, mut bounds) = (Vec::new(), Vec::new());
        for x in x.chunks(width) {
            expected.extend(reference::layer_norm(&wide(x), &wide(&weight), &vec![0.0; width], 1e-3));
            let errors = Approx::layer_norm(&Approx::all(x), &weight, &vec![0.0; width], 1e-3);
            bounds.extend(Approx::errors(&errors));
        }
        let norm = LayerNorm::without_bias(weight, 1e-3);
        for_each_isa(|isa| {
            let mut dst = Grid::of(&x, 5, width, 1);
            norm.apply(isa, dst.view_mut());
            let what = format!("{}: {width}", isa.name());
            assert_close(&what, &dst.values(), &expected, &bounds);
            assert_same_bits(&what, &apply_to(&norm, isa, &x, 5, width, 2), &dst.values());
        });
    }
}

#[test]
fn every_width_is_that_of_f64() {
    for width in WIDTHS {
        check(3, width, 5, 0.0, 1e-3, width as u64);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_matrix_is_that_of_f64(
        rows in 0..6_usize,
        width in 1..100_usize,
        gap in 0..20_usize,
        offset in -3.0..3.0_f32,
        seed: u64,
    ) {
        // Large enough that the bound stays finite where all of a short row are nearly equal.
        check(rows, width, gap, offset, 1e-3, seed);
    }
}

/// Sums and means are exact here, so that only the root, the division and the product round. A variance taken as
/// E(x^2) - E(x)^2 would be lost beside 2^20.
#[test]
fn a_large_mean_leaves_the_variance_alone() {
    for width in [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] {
        let mean = (1 << 23) as f32 / width as f32;
        let x: Vec<f32> = (0..width).map(|i| mean + if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let norm = LayerNorm::new(vec![1.0; width], vec![0.0; width], 1e-12);
        for_each_isa(|isa| {
            let mut dst = Grid::of(&x, 1, width, 0);
            norm.apply(isa, dst.view_mut());
            let expected: Vec<f64> = (0..width).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
            let bounds = vec![4.0 * U; width];
            assert_close(
                &format!("{}: {width} around {mean}", isa.name()),
                &dst.values(),
                &expected,
                &bounds,
            );
        });
    }
}

#[test]
fn equal_values_give_the_bias() {
    for width in WIDTHS {
        let bias = Random(9).vec(width);
        let norm = LayerNorm::new(vec![2.0; width], bias.clone(), 1e-12);
        for_each_isa(|isa| {
            // A power of two, so that the mean is exact at every width.
            let mut dst = Grid::of(&vec![0.5; width], 1, width, 0);
            norm.apply(isa, dst.view_mut());
            assert_same_bits(&format!("{}: {width}", isa.name()), &dst.values(), &bias);
        });
    }
}

#[test]
fn nan_makes_its_row_nan_and_no_other() {
    for width in WIDTHS {
        let mut random = Random(width as u64);
        let x = random.vec(3 * width);
        let norm = LayerNorm::new(vec![1.0; width], vec![0.0; width], 1e-5);
        for_each_isa(|isa| {
            let apply = |x: &[f32]| {
                let mut dst = Grid::of(x, 3, width, 1);
                norm.apply(isa, dst.view_mut());
                dst.values()
            };
            let clean = apply(&x);
            for at in width..2 * width {
                let mut x = x.clone();
                x[at] = f32::NAN;
                let mut expected = clean.clone();
                expected[width..2 * width].fill(f32::NAN);
                assert_same_bits(&format!("{}: {width}, NaN at {at}", isa.name()), &apply(&x), &expected);
            }
        });
    }
}

/// Rows are worked on in groups; a NaN is in the third of seven.
#[test]
fn a_row_has_the_bits_that_it_has_alone() {
    for width in WIDTHS {
        let mut random = Random(width as u64);
        let mut x = random.vec(7 * width);
        x[2 * width] = f32::NAN;
        let norm = LayerNorm::new(random.vec(width), random.vec(width), 1e-5);
        for_each_isa(|isa| {
            let apply = |x: &[f32], rows: usize| {
                let mut dst = Grid::of(x, rows, width, 1);
                norm.apply(isa, dst.view_mut());
                dst.values()
            };
            let together = apply(&x, 7);
            for (i, row) in x.chunks(width).enumerate() {
                let found = &together[i * width..][..width];
                if i == 2 {
                    assert!(found.iter().all(|x| x.is_nan()), "{}: {width}", isa.name());
                } else {
                    assert_same_bits(&format!("{}: row {i} of {width}", isa.name()), found, &apply(row, 1));
                }
            }
        });
    }
}
