//! Rotation and gates against f64.

mod common;

use common::approx::Approx;
use common::{Grid, Random, U, assert_close, assert_panics, assert_same_bits, for_each_isa};
use crossrank_kernels::{Activation, RotaryTable, gate, rotate};

#[test]
fn a_rotation_is_that_of_f64() {
    for (heads, head_dim) in [(1, 2), (3, 6), (2, 16), (2, 34), (1, 64), (2, 10)] {
        let frequency = |i: usize| 10_000f64.powf(-2.0 * i as f64 / head_dim as f64) as f32;
        let frequencies: Vec<f32> = (0..head_dim / 2).map(frequency).collect();
        let table = RotaryTable::new(&frequencies, 1.0, 20);
        assert_eq!((table.positions(), table.head_dim()), (20, head_dim));
        let (rows, first, cols) = (7, 13, heads * head_dim);
        let x = Random(head_dim as u64).vec(rows * cols);
        let mut expected = Vec::new();
        for (i, row) in x.chunks(cols).enumerate() {
            for head in row.chunks(head_dim) {
                let (x1, x2) = head.split_at(head_dim / 2);
                let turned: Vec<[Approx; 2]> = (0..head_dim / 2)
                    .map(|c| {
                        let exact = 10_000f64.powf(-((2 * c) as f64) / head_dim as f64);
                        let position = (first + i) as f64;
                        // The frequency is rounded, and the angle.
                        let off = 2.1 * U * position * exact;
                        let of = |value: f64| Approx { value, error: off + U };
                        let (cos, sin) = (of((position * exact).cos()), of((position * exact).sin()));
                        let (a, b) = (Approx::exact(x1[c]), Approx::exact(x2[c]));
                        [a.times(cos).minus(b.times(sin)), b.times(cos).plus(a.times(sin))]
                    })
                    .collect();
                expected
                    .extend([0, 1].into_iter().flat_map(|half| turned.iter().map(move |pair| pair[half])));
            }
        }
        let values: Vec<f64> = expected.iter().map(|x| x.value).collect();
        for_each_isa(|isa| {
            let mut found = Grid::of(&x, rows, cols, 3);
            rotate(isa, &table, first, found.view_mut());
            let what = format!("{}: {heads} x {head_dim}", isa.name());
            assert_close(&what, &found.values(), &values, &Approx::errors(&expected));
            let mut alone = Grid::of(&x[2 * cols..3 * cols], 1, cols, 0);
            rotate(isa, &table, first + 2, alone.view_mut());
            assert_same_bits(&what, &alone.values(), &found.values()[2 * cols..3 * cols]);
            assert_panics("columns", "columns of heads of", || {
                rotate(isa, &table, 0, Grid::poisoned(1, cols + 1, 0).view_mut());
            });
            assert_panics("positions", "7 rows from 14 on of a table of 20", || {
                rotate(isa, &table, 14, Grid::poisoned(rows, cols, 0).view_mut());
            });
        });
    }
}

#[test]
fn a_gate_is_its_activation_times_the_second_half() {
    use Activation::{Gelu, GeluTanh, Relu, Silu, Tanh};
    for (rows, cols) in [(0, 3), (1, 1), (3, 7), (2, 8), (5, 33), (2, 48)] {
        let mut x = Random(cols as u64).vec(rows * 2 * cols);
        if rows > 1 {
            (x[0], x[3 * cols]) = (f32::NAN, f32::NAN);
        }
        for_each_isa(|isa| {
            for activation in [Gelu, GeluTanh, Relu, Silu, Tanh] {
                let mut expected = Vec::new();
                for row in x.chunks(2 * cols) {
                    let mut input = row[..cols].to_vec();
                    activation.apply(isa, &mut input);
                    expected.extend(input.iter().zip(&row[cols..]).map(|(x, factor)| x * factor));
                }
                let (from, mut dst) = (Grid::of(&x, rows, 2 * cols, 1), Grid::poisoned(rows, cols, 2));
                gate(isa, activation, from.view(), dst.view_mut());
                let what = format!("{}: {activation:?}, {rows} x {cols}", isa.name());
                assert_same_bits(&what, &dst.values(), &expected);
            }
            assert_panics("columns", "halves and dst of a gate", || {
                let (from, mut dst) = (Grid::poisoned(2, 9, 0), Grid::poisoned(2, 4, 0));
                gate(isa, Gelu, from.view(), dst.view_mut());
            });
        });
    }
}
