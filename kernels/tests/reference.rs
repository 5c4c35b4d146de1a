//! The references themselves, against values computed with mpmath to 40 digits.

use crossrank_kernels::reference::{self, erf, gelu, gelu_tanh, silu, tanh};

#[test]
fn the_error_function_is_that_of_the_tables() {
    for (x, expected) in [
        (0.0, 0.0),
        (0.001, 0.001_128_378_790_969_236_4),
        (0.1, 0.112_462_916_018_284_9),
        (0.5, 0.520_499_877_813_046_5),
        (1.0, 0.842_700_792_949_714_9),
        (1.5, 0.966_105_146_475_310_7),
        (2.0, 0.995_322_265_018_952_7),
        (3.0, 0.999_977_909_503_001_4),
        (4.0, 0.999_999_984_582_742_1),
        (5.0, 0.999_999_999_998_462_5),
        (5.9, 0.999_999_999_999_999_9),
    ] {
        for (x, expected) in [(x, expected), (-x, -expected)] {
            assert!((erf(x) - expected).abs() <= 2e-15, "erf({x}) = {}, not {expected}", erf(x));
        }
    }
    assert!(erf(f64::NAN).is_nan());
    assert_eq!((erf(f64::INFINITY), erf(f64::NEG_INFINITY)), (1.0, -1.0));
}

#[test]
fn the_activations_are_those_of_the_tables() {
    let close = |found: f64, expected: f64| (found - expected).abs() <= 2e-15 * (1.0 + expected.abs());
    for (x, expected) in [
        (0.5, 0.345_731_230_637_006_55),
        (-2.0, -0.045_500_263_896_358_41),
        (-4.0, -1.266_849_673_324_797e-4),
    ] {
        assert!(close(gelu(x), expected), "gelu({x}) = {}", gelu(x));
    }
    for (x, expected) in
        [(0.5, 0.345_714_009_825_143_92), (-1.0, -0.158_808_009_391_723_3), (2.0, 1.954_597_694_087_775)]
    {
        assert!(close(gelu_tanh(x), expected), "gelu_tanh({x}) = {}", gelu_tanh(x));
    }
    for (x, expected) in [(-5.0, -0.033_464_254_621_424_28), (2.0, 1.761_594_155_955_764_9)] {
        assert!(close(silu(x), expected), "silu({x}) = {}", silu(x));
    }
    assert!(close(tanh(0.5), 0.462_117_157_260_009_76));
}

#[test]
fn products_and_rows_are_what_one_finds_by_hand() {
    let product = reference::matmul(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0], &[10.0, 20.0], 2, 2);
    assert_eq!(product, [27.0, 43.0, 49.0, 73.0]);
    assert_eq!(reference::softmax(1.0, &[2.0, 2.0]), [0.5, 0.5]);
    assert!((reference::softmax(2.0, &[0.0, 1.0])[1] - 1.0 / (1.0 + (-2_f64).exp())).abs() < 1e-15);
    assert_eq!(reference::layer_norm(&[1.0, 3.0], &[1.0, 2.0], &[0.5, 0.0], 0.0), [-0.5, 2.0]);
    assert_eq!(
        reference::embed([&[1.0, 0.0], &[-1.0, 1.0], &[1.0, 2.0]], &[1.0, 2.0], &[0.5, 0.0], 0.0),
        [-0.5, 2.0]
    );
}

#[test]
fn attention_of_equal_keys_is_the_mean_of_the_values() {
    // Two heads of 2; the keys of head 0 are equal, those of head 1 pick the second token.
    let q = [1.0, 1.0, 1.0, 0.0, 2.0, -1.0, 1.0, 0.0];
    let k = [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1000.0, 0.0];
    let v = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let found = reference::attention([&q, &k, &v], 2, 2, 2, 1.0);
    assert_eq!(found, [3.0, 4.0, 7.0, 8.0, 3.0, 4.0, 7.0, 8.0]);
}
