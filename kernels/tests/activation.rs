//! Activations against f64 over the whole range of f32, and the errors that their documentation states.

mod common;

use std::collections::BTreeMap;

use common::{Grid, Random, assert_same_bits, for_each_isa};
use crossrank_kernels::{
    Activation, Epilogue, Isa, LinearScratch, PackedWeights, PanelDtype, Stored, StoredMatrix, linear,
    reference,
};

const ALL: [Activation; 5] =
    [Activation::Gelu, Activation::GeluTanh, Activation::Relu, Activation::Silu, Activation::Tanh];

/// Bit patterns of positive f32: every 61st from 2^-20 to 128, where the functions bend, and every 8191st elsewhere.
/// The steps are odd, so that all low bits occur. With every single one the maxima are those that the documentation
/// states.
fn sweep() -> impl Iterator<Item = u32> {
    let bends = 0x3580_0000..0x4300_0000_u32;
    let tiny = (0..bends.start).step_by(8191);
    let huge = (bends.end..0x7f80_0000).step_by(8191);
    tiny.chain(bends.step_by(61)).chain(huge).chain([0x7f7f_ffff])
}

/// Calls `check` with runs of that sweep, of both signs.
fn for_each_run(mut check: impl FnMut(&[f32])) {
    let mut bits = sweep().peekable();
    while bits.peek().is_some() {
        let run: Vec<f32> = bits.by_ref().take(1 << 15).map(f32::from_bits).flat_map(|x| [x, -x]).collect();
        check(&run);
    }
}

/// The maximal error of `activation`, in units of `unit(x)`, is under `stated`.
fn measure(activation: Activation, expected: fn(f64) -> f64, unit: fn(f64) -> f64, stated: f64) {
    let apply = |isa, values: &mut [f32]| activation.apply(isa, values);
    measure_as(&format!("{activation:?}"), apply, expected, unit, stated);
}

/// The same of any function.
fn measure_as(
    what: &str,
    apply: impl Fn(Isa, &mut [f32]),
    expected: fn(f64) -> f64,
    unit: fn(f64) -> f64,
    stated: f64,
) {
    let mut worst = BTreeMap::new();
    for_each_run(|xs| {
        let xs64 = xs.iter().map(|&x| f64::from(x));
        let expected: Vec<(f64, f64)> = xs64.map(|x| (expected(x), unit(x))).collect();
        for_each_isa(|isa| {
            let mut found = xs.to_vec();
            apply(isa, &mut found);
            let worst = worst.entry(isa.name()).or_insert((0.0, 0.0));
            for ((&x, &(expected, unit)), &found) in xs.iter().zip(&expected).zip(&found) {
                let error = (f64::from(found) - expected).abs() / unit;
                assert!(error < stated, "{}: {what}({x}) = {found}: {error:e}", isa.name());
                if error > worst.0 {
                    *worst = (error, x);
                }
            }
        });
    });
    for (name, (error, x)) in worst {
        println!("{name}: {what}: maximal error {error:.4e} at {x}");
    }
}

/// The unit of those that grow with x.
fn at_least_1(x: f64) -> f64 {
    x.abs().max(1.0)
}

#[test]
fn gelu_errs_no_more_than_stated() {
    measure(Activation::Gelu, reference::gelu, at_least_1, 2.7e-7);
}

/// As the epilogue of a product of weights that are all zeros, which leaves the bias.
fn gelu_of_biases(dtype: PanelDtype, isa: Isa, values: &mut [f32]) {
    let n = values.len();
    let zeros = vec![0; 4 * n];
    let weights =
        PackedWeights::pack(isa, dtype, &[(StoredMatrix::new(Stored::F32, &zeros, &[], n, 1), values)]);
    let lhs = Grid::of(&[1.0], 1, 1, 0);
    let mut dst = Grid::poisoned(1, n, 0);
    let epilogue = Epilogue::Activation(Activation::Gelu);
    linear(isa, lhs.view(), &weights, epilogue, &mut LinearScratch::default(), dst.view_mut());
    values.copy_from_slice(&dst.values());
}

#[test]
fn gelu_after_products_of_rounded_operands_errs_no_more_than_stated() {
    for dtype in [PanelDtype::Bf16, PanelDtype::Int8] {
        let what = format!("Gelu in {}", dtype.name());
        let apply = |isa, values: &mut [f32]| gelu_of_biases(dtype, isa, values);
        measure_as(&what, apply, reference::gelu, at_least_1, 9.5e-5);
        for_each_isa(|isa| {
            let mut values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e9, -1e9];
            gelu_of_biases(dtype, isa, &mut values);
            let [nan, infinite, also_nan, ..] = values;
            assert!(nan.is_nan() && infinite == f32::INFINITY && also_nan.is_nan(), "{}", isa.name());
            assert_eq!(values[3..], [0.0, 0.0, 1e9, 0.0], "{}", isa.name());
        });
    }
}

#[test]
fn gelu_tanh_errs_no_more_than_stated() {
    measure(Activation::GeluTanh, reference::gelu_tanh, at_least_1, 1.4e-7);
}

#[test]
fn silu_errs_no_more_than_stated() {
    measure(Activation::Silu, reference::silu, at_least_1, 1.5e-7);
}

#[test]
fn tanh_errs_no_more_than_stated() {
    measure(Activation::Tanh, reference::tanh, |_| 1.0, 9.4e-8);
}

#[test]
fn relu_is_exact() {
    for_each_run(|xs| {
        for_each_isa(|isa| {
            let mut found = xs.to_vec();
            Activation::Relu.apply(isa, &mut found);
            for (&x, &found) in xs.iter().zip(&found) {
                assert_eq!(f64::from(found), reference::relu(f64::from(x)), "{}: Relu({x})", isa.name());
            }
        });
    });
}

#[test]
fn nan_stays_nan_in_every_lane() {
    let nans = [f32::NAN, -f32::NAN, f32::from_bits(0x7f80_0001), f32::from_bits(0xffff_ffff)];
    for_each_isa(|isa| {
        for activation in ALL {
            for nan in nans {
                for at in 0..40 {
                    let mut values = [0.5; 40];
                    values[at] = nan;
                    activation.apply(isa, &mut values);
                    let harmed: Vec<usize> = (0..40).filter(|&i| values[i].is_nan()).collect();
                    assert_eq!(harmed, [at], "{}: {activation:?}", isa.name());
                }
            }
        }
    });
}

/// What PyTorch gives: x Phi(x) and x / (1 + e^-x) are -inf * 0 and -inf / inf at -inf.
#[test]
fn infinities_give_what_pytorch_gives() {
    for_each_isa(|isa| {
        for activation in ALL {
            let mut values = [f32::INFINITY, f32::NEG_INFINITY];
            activation.apply(isa, &mut values);
            let what = format!("{}: {activation:?}: {values:?}", isa.name());
            match activation {
                Activation::Tanh => assert_eq!(values, [1.0, -1.0], "{what}"),
                Activation::Relu => assert_eq!(values, [f32::INFINITY, 0.0], "{what}"),
                _ => assert!(values[0] == f32::INFINITY && values[1].is_nan(), "{what}"),
            }
        }
    });
}

#[test]
fn zeros_stay_zeros() {
    for_each_isa(|isa| {
        for activation in ALL {
            let mut values = [0.0, -0.0];
            activation.apply(isa, &mut values);
            assert_eq!(values, [0.0, 0.0], "{}: {activation:?}", isa.name());
        }
    });
}

/// Their result must be as small as they are: an absolute bound of 1e-7 would say nothing.
#[test]
fn denormals_stay_below_the_normal_range() {
    let denormals: Vec<f32> =
        (1..0x0080_0000).step_by(9973).map(f32::from_bits).flat_map(|x| [x, -x]).collect();
    for_each_isa(|isa| {
        for activation in ALL {
            let mut values = denormals.clone();
            activation.apply(isa, &mut values);
            for (x, y) in denormals.iter().zip(values) {
                assert!(y.abs() <= x.abs() && y * x >= 0.0, "{}: {activation:?}({x:e}) = {y:e}", isa.name());
            }
        }
    });
}

#[test]
fn every_length_gives_the_bits_of_a_long_slice() {
    let values = Random(1).vec(48);
    for_each_isa(|isa| {
        for activation in ALL {
            let mut expected = values.clone();
            activation.apply(isa, &mut expected);
            for len in 0..=40 {
                let mut found = Grid::of(&values[..len], 1, len, 3);
                activation.apply(isa, found.view_mut().row_mut(0));
                let what = format!("{}: {activation:?} of {len}", isa.name());
                assert_same_bits(&what, &found.values(), &expected[..len]);
            }
        }
    });
}
