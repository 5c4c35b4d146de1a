//! Products of bytes, bit by bit against the naive one: their sums are exact, and what follows is the same f32
//! operations on every instruction set.

mod common;

use common::{Grid, Random, assert_panics, assert_same_bits, case, config, for_each_isa, pack_as, to_bytes};
use crossrank_kernels::{
    Activation, Epilogue, FineRows, Isa, LayerNorm, LhsRows, LinearScratch, PackedWeights, PanelDtype,
    Stored, StoredMatrix, linear, reference,
};
use proptest::prelude::*;

/// Every instruction set, with its products of bytes and with those of machines that lack them.
fn for_each_way(mut check: impl FnMut(Isa, &str)) {
    for_each_isa(|isa| {
        check(isa, isa.name());
        if let Some(without) = isa.without_dot_products() {
            check(without, &format!("{} without dot products", isa.name()));
        }
    });
}

/// Weights as a checkpoint holds them in bytes.
struct Weights {
    bytes: Vec<i8>,
    scales: Vec<f32>,
    bias: Vec<f32>,
    n: usize,
    k: usize,
}

impl Weights {
    fn random(n: usize, k: usize, random: &mut Random) -> Self {
        let bytes = random.bytes(n * k).into_iter().map(u8::cast_signed).collect();
        let scales = (0..n).map(|_| (random.signed() + 1.5) / 100.0).collect();
        Self { bytes, scales, bias: random.vec(n), n, k }
    }

    /// As [`reference::quantize_weights`] makes them.
    fn quantized(weights: &[f32], bias: Vec<f32>, k: usize) -> Self {
        let n = bias.len();
        let rows = (0..n).map(|i| reference::quantize_weights(&weights[i * k..][..k]));
        let (bytes, scales): (Vec<_>, Vec<_>) = rows.unzip();
        Self { bytes: bytes.concat(), scales, bias, n, k }
    }

    fn pack(&self, isa: Isa) -> PackedWeights {
        let bytes: Vec<u8> = self.bytes.iter().map(|byte| byte.cast_unsigned()).collect();
        let scales = to_bytes(&self.scales);
        let stored = StoredMatrix::new(Stored::I8, &bytes, &scales, self.n, self.k);
        PackedWeights::pack(isa, PanelDtype::Int8, &[(stored, &self.bias)])
    }

    fn reference(&self, lhs: &[f32], m: usize) -> Vec<f32> {
        let [product, _] = self.fine_reference(lhs, m, &[]);
        product
    }

    fn fine_reference(&self, lhs: &[f32], m: usize, fine: &[usize]) -> [Vec<f32>; 2] {
        reference::int8_matmul(lhs, &self.bytes, &self.scales, &self.bias, m, self.k, fine)
    }
}

fn pack_f32(isa: Isa, weights: &[f32], bias: &[f32], k: usize) -> PackedWeights {
    pack_as(PanelDtype::Int8, isa, weights, bias, k)
}

/// A product in memory that was poisoned.
fn multiplied(isa: Isa, lhs: &[f32], m: usize, weights: &PackedWeights, epilogue: Epilogue<'_>) -> Vec<f32> {
    let lhs = Grid::of(lhs, m, weights.k(), 3);
    case::multiplied(isa, &lhs, weights, epilogue, weights.n(), 5).values()
}

/// Around the rows of every tile (2, 4, 6, 12, 14), the columns of one panel and two, and the bytes of a slot, of a
/// vector's part of a row (32, 64) and of a line.
#[test]
fn a_product_has_the_bits_of_the_naive_one_at_every_edge() {
    for n in [1, 15, 16, 17, 31, 32, 33, 100] {
        for k in [0, 1, 3, 4, 5, 31, 32, 33, 63, 64, 65, 127, 384, 1537] {
            let mut random = Random((n * 10_000 + k) as u64);
            let weights = Weights::random(n, k, &mut random);
            let lhs = random.vec(30 * k);
            let expected = weights.reference(&lhs, 30);
            for_each_way(|isa, name| {
                let packed = weights.pack(isa);
                for m in 0..=30 {
                    let found = multiplied(isa, &lhs[..m * k], m, &packed, Epilogue::Bias);
                    assert_same_bits(&format!("{name}: {m} x {n} x {k}"), &found, &expected[..m * n]);
                }
            });
        }
    }
}

#[test]
fn weights_of_no_depth_leave_the_bias() {
    for_each_way(|isa, name| {
        for n in [1, 16, 17] {
            let bias = vec![0.5; n];
            let packed = pack_f32(isa, &[], &bias, 0);
            assert_same_bits(name, &multiplied(isa, &[], 3, &packed, Epilogue::Bias), &vec![0.5; 3 * n]);
        }
    });
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn weights_of_f32_are_quantised_as_the_naive_way_does(
        m in 0..100_usize,
        n in 0..70_usize,
        k in 0..200_usize,
        shift in -2.0..2.0_f32,
        seed: u64,
    ) {
        let mut random = Random(seed);
        let lhs: Vec<f32> = random.vec(m * k).iter().map(|x| x + shift).collect();
        let (values, bias) = (random.vec(n * k), random.vec(n));
        let expected = Weights::quantized(&values, bias.clone(), k).reference(&lhs, m);
        for_each_way(|isa, name| {
            let packed = pack_f32(isa, &values, &bias, k);
            assert_same_bits(name, &multiplied(isa, &lhs, m, &packed, Epilogue::Bias), &expected);
        });
    }

    #[test]
    fn a_product_is_near_that_of_f64(m in 1..20_usize, n in 1..40_usize, k in 1..300_usize, seed: u64) {
        let mut random = Random(seed);
        let (lhs, values, bias) = (random.vec(m * k), random.vec(n * k), random.vec(n));
        let wide = common::wide;
        let expected = reference::matmul(&wide(&lhs), &wide(&values), &wide(&bias), m, k);
        // Each factor is off by half a step: of 255 over the range of its row, of 127 over the largest weight.
        let largest = |row: &[f32]| row.iter().fold(0.0, |max: f64, x| max.max(f64::from(x.abs())));
        let mut bounds = Vec::new();
        for row in lhs.chunks(k) {
            let range = 2.0 * largest(row);
            for weights in values.chunks(k) {
                let (step, weight_step) = (range / 255.0 * 0.51, largest(weights) / 127.0 * 0.51);
                let sum = |values: &[f32]| values.iter().map(|x| f64::from(x.abs())).sum::<f64>();
                let bound = step * sum(weights) + weight_step * sum(row) + k as f64 * step * weight_step;
                bounds.push(bound * 1.001 + 1e-5);
            }
        }
        for_each_way(|isa, name| {
            let found = multiplied(isa, &lhs, m, &pack_f32(isa, &values, &bias, k), Epilogue::Bias);
            common::assert_close(name, &found, &expected, &bounds);
        });
    }

    #[test]
    fn an_epilogue_is_the_kernel_it_is_named_after(m in 0..180_usize, n in 0..70_usize, k in 0..100_usize, seed: u64) {
        let mut random = Random(seed);
        let weights = Weights::random(n, k, &mut random);
        let lhs = random.vec(m * k);
        let product = weights.reference(&lhs, m);
        let residual = Grid::of(&random.vec(m * n), m, n, 1);
        let norm = LayerNorm::new(random.vec(n), random.vec(n), 1e-5).with_residual_scale(random.vec(n));
        for_each_way(|isa, name| {
            let packed = weights.pack(isa);
            let lhs = Grid::of(&lhs, m, k, 3);
            let with = |epilogue| case::multiplied_onto(residual.clone(), isa, &lhs, &packed, epilogue).values();
            let mut expected = product.clone();
            Activation::Silu.apply(isa, &mut expected);
            assert_same_bits(&format!("{name}: Silu"), &with(Epilogue::Activation(Activation::Silu)), &expected);
            let scale = norm.residual_scale();
            let scaled = residual.values().into_iter().zip(scale.iter().cycle()).map(|(x, scale)| x * scale);
            let sums: Vec<f32> = product.iter().zip(scaled).map(|(x, residual)| x + residual).collect();
            let found = with(Epilogue::Residual(scale));
            assert_same_bits(&format!("{name}: Residual"), &found, &sums);
            let mut expected = Grid::of(&sums, m, n, 0);
            norm.apply(isa, expected.view_mut());
            let found = with(Epilogue::ResidualNorm(&norm));
            assert_same_bits(&format!("{name}: ResidualNorm"), &found, &expected.values());
        });
    }
}

/// The same with second bytes, onto what dst holds.
fn fine_multiplied(
    isa: Isa,
    [lhs, dst]: [&[f32]; 2],
    weights: &PackedWeights,
    fine: &[usize],
    epilogue: Epilogue<'_>,
) -> Vec<f32> {
    let m = lhs.len() / weights.k();
    let (lhs, mut dst) = (Grid::of(lhs, m, weights.k(), 3), Grid::of(dst, m, weights.n(), 5));
    let lhs = LhsRows { rows: lhs.view(), fine: FineRows::new(fine) };
    linear(isa, lhs, weights, epilogue, &mut LinearScratch::default(), dst.view_mut());
    dst.values()
}

/// Around the edges of tiles and of blocks, few rows and all of them, the columns of one panel and two.
#[test]
fn fine_rows_have_the_bits_of_the_naive_ones_and_leave_the_others_as_they_are() {
    for (m, k, every) in
        [(1, 5, 1), (13, 64, 13), (14, 63, 5), (33, 33, 1), (34, 384, 40), (200, 20, 7), (150, 9, 1)]
    {
        for n in [1, 17, 32, 48, 50, 64] {
            let mut random = Random((m * 10_000 + n) as u64);
            let weights = Weights::random(n, k, &mut random);
            let (mut lhs, residual) = (random.vec(m * k), random.vec(m * n));
            if m > 1 {
                lhs[..k].fill(0.0);
                // With 255 steps both ends would round outwards.
                lhs[(m - 1) * k..].fill(99.5);
                lhs[(m - 1) * k] = -155.5;
            }
            let norm = LayerNorm::new(random.vec(n), random.vec(n), 1e-5).with_residual_scale(random.vec(n));
            for offset in [0, 3] {
                let fine: Vec<_> = (offset..m).step_by(every).collect();
                let [product, seconds] = weights.fine_reference(&lhs, m, &fine);
                let with = |values: Vec<f32>| -> Vec<f32> {
                    let sums = values.into_iter().zip(&seconds).enumerate();
                    sums.map(|(i, (x, second))| if fine.contains(&(i / n)) { x + second } else { x })
                        .collect()
                };
                let scaled =
                    residual.iter().zip(norm.residual_scale().iter().cycle()).map(|(x, scale)| x * scale);
                let sums = with(product.iter().zip(scaled).map(|(x, residual)| x + residual).collect());
                let product = with(product);
                for_each_way(|isa, name| {
                    let packed = weights.pack(isa);
                    let of = |epilogue| fine_multiplied(isa, [&lhs, &residual], &packed, &fine, epilogue);
                    let what = format!("{name}: {m} x {n} x {k}, every {every} from {offset}");
                    assert_same_bits(&what, &of(Epilogue::Bias), &product);
                    let mut expected = product.clone();
                    Activation::Silu.apply(isa, &mut expected);
                    assert_same_bits(&what, &of(Epilogue::Activation(Activation::Silu)), &expected);
                    assert_same_bits(&what, &of(Epilogue::Residual(norm.residual_scale())), &sums);
                    let mut expected = Grid::of(&sums, m, n, 0);
                    norm.apply(isa, expected.view_mut());
                    assert_same_bits(&what, &of(Epilogue::ResidualNorm(&norm)), &expected.values());
                });
            }
        }
    }
}

/// Their activations are off by a 256th of a step at most; weights of whole numbers are exact.
#[test]
fn fine_rows_are_nearer_to_f64() {
    let (m, n, k) = (20, 40, 300);
    let mut random = Random(13);
    let mut weights = Weights::random(n, k, &mut random);
    weights.scales.fill(1.0);
    let lhs: Vec<f32> = random.vec(m * k).iter().map(|x| x + 0.3).collect();
    let wide = common::wide;
    let values: Vec<f64> = weights.bytes.iter().map(|&byte| f64::from(byte)).collect();
    let expected = reference::matmul(&wide(&lhs), &values, &wide(&weights.bias), m, k);
    let bounds: Vec<f64> = (0..m * n)
        .map(|at| {
            let (row, weights) = (&lhs[at / n * k..][..k], &values[at % n * k..][..k]);
            let range = f64::from(row.iter().fold(0.0, |max, &x| f32::max(max, x)))
                - f64::from(row.iter().fold(0.0, |min, &x| f32::min(min, x)));
            // One in 256 of what is left is beyond the byte.
            let step = range / 254.0 / 256.0;
            step * weights.iter().map(|x| x.abs()).sum::<f64>() * 1.001 + expected[at].abs() * 1e-6
        })
        .collect();
    let fine: Vec<_> = (0..m).collect();
    for_each_way(|isa, name| {
        let dst = vec![f32::NAN; m * n];
        let found = fine_multiplied(isa, [&lhs, &dst], &weights.pack(isa), &fine, Epilogue::Bias);
        common::assert_close(name, &found, &expected, &bounds);
    });
}

#[test]
fn fine_rows_that_are_not_finite_are_nan_and_harm_no_others() {
    let (m, n, k) = (30, 33, 21);
    let mut random = Random(14);
    let weights = Weights::random(n, k, &mut random);
    let clean = random.vec(m * k);
    let fine = [0, 8, 29];
    for_each_way(|isa, name| {
        let packed = weights.pack(isa);
        let of = |lhs: &[f32]| fine_multiplied(isa, [lhs, &vec![0.0; m * n]], &packed, &fine, Epilogue::Bias);
        let unharmed = of(&clean);
        for poison in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut lhs = clean.clone();
            lhs[8 * k + 20] = poison;
            let mut expected = unharmed.clone();
            expected[8 * n..9 * n].fill(f32::NAN);
            assert_same_bits(&format!("{name}: {poison}"), &of(&lhs), &expected);
        }
    });
}

#[test]
fn fine_rows_out_of_order_are_refused() {
    for numbers in [&[1, 0][..], &[2, 2]] {
        assert_panics(&format!("{numbers:?}"), "ascending order", || _ = FineRows::new(numbers));
    }
}

/// What would saturate 16 bits: 255 * 127 + 255 * 127, or -128. Scales of 1 show the sums themselves, those of the
/// deepest product rounded once.
#[test]
fn sums_of_extreme_bytes_are_exact() {
    for k in [4, 64, 255, 3072, 32_768] {
        for pattern in
            [[127_i8, 127, 127, 127], [-128, -128, -128, -128], [127, -128, 127, -128], [-128, 127, 1, 0]]
        {
            let n = 17;
            let bytes = pattern.iter().copied().cycle().take(n * k).collect();
            let weights = Weights { bytes, scales: vec![1.0; n], bias: vec![0.0; n], n, k };
            // Rows of all 255; of both ends; all 0 but one.
            let ends = (0..k).map(|i| if i % 2 == 0 { 255.0 } else { 0.0 });
            let signed = (0..k).map(|i| if i % 2 == 0 { 200.0 } else { -55.0 });
            let lhs: Vec<f32> = std::iter::repeat_n(255.0, k).chain(ends).chain(signed).collect();
            let expected = weights.reference(&lhs, 3);
            let by_hand: i64 = pattern.iter().cycle().take(k).map(|&w| 255 * i64::from(w)).sum();
            assert_eq!(expected[0], by_hand as f32);
            for_each_way(|isa, name| {
                let found = multiplied(isa, &lhs, 3, &weights.pack(isa), Epilogue::Bias);
                assert_same_bits(&format!("{name}: {pattern:?}, depth {k}"), &found, &expected);
            });
        }
    }
}

#[test]
fn bytes_of_a_checkpoint_stay_as_they_are() {
    let (n, k) = (19, 13);
    let mut random = Random(5);
    let mut weights = Weights::random(n, k, &mut random);
    weights.bytes[0] = -128;
    for_each_way(|isa, name| {
        let bytes = weights.pack(isa).panel_bytes();
        let panel = (k.div_ceil(4) + 2) * 64;
        assert_eq!(bytes.len(), 2 * panel, "{name}");
        assert_eq!(Some(bytes.len()), PanelDtype::Int8.panels_len(n, k));
        for j in 0..n {
            let panel = &bytes[j / 16 * panel..][..panel];
            for l in 0..k {
                let found = panel[64 * (1 + l / 4) + 4 * (j % 16) + l % 4].cast_signed();
                assert_eq!(found, weights.bytes[j * k + l], "{name}: output {j}, {l}");
            }
            let scale = &panel[panel.len() - 64 + 4 * (j % 16)..][..4];
            assert_eq!(scale, weights.scales[j].to_le_bytes(), "{name}: scale {j}");
        }
    });
}

#[test]
fn panels_that_were_packed_before_are_the_same_weights() {
    let (m, n, k) = (5, 33, 70);
    let mut random = Random(6);
    let weights = Weights::random(n, k, &mut random);
    let lhs = random.vec(m * k);
    for_each_way(|isa, name| {
        let packed = weights.pack(isa);
        let bytes = packed.panel_bytes();
        let len = bytes.len();
        let shared: crossrank_kernels::SharedBytes = std::sync::Arc::new(bytes);
        let again = PackedWeights::from_panels(PanelDtype::Int8, [n, k], &weights.bias, &shared, 0..len);
        let [found, expected] =
            [&again, &packed].map(|packed| multiplied(isa, &lhs, m, packed, Epilogue::Bias));
        assert_same_bits(name, &found, &expected);
    });
}

#[test]
fn a_row_has_the_same_bits_in_any_company_and_in_any_cut_of_the_columns() {
    let (m, n, k) = (200, 70, 50);
    let mut random = Random(7);
    let weights = Weights::random(n, k, &mut random);
    let lhs = random.vec(m * k);
    for_each_way(|isa, name| {
        let packed = weights.pack(isa);
        let all = multiplied(isa, &lhs, m, &packed, Epilogue::Bias);
        for i in 0..m {
            let alone = multiplied(isa, &lhs[i * k..][..k], 1, &packed, Epilogue::Bias);
            assert_same_bits(&format!("{name}: row {i}"), &alone, &all[i * n..][..n]);
        }
        let bounds = [0, 16, 32, 48, 64, n];
        for (i, &start) in bounds.iter().enumerate() {
            for &end in &bounds[i..] {
                let view = Grid::of(&lhs, m, k, 0);
                let mut dst = Grid::poisoned(m, end - start, 2);
                let columns = packed.columns(start..end);
                let mut scratch = LinearScratch::default();
                linear(isa, view.view(), columns, Epilogue::Bias, &mut scratch, dst.view_mut());
                let expected: Vec<f32> = all.chunks(n).flat_map(|row| row[start..end].to_vec()).collect();
                assert_same_bits(&format!("{name}: {start}..{end}"), &dst.values(), &expected);
            }
        }
    });
}

/// Each row by hand: what a naive quantisation could turn into an infinity, a NaN or a number out of nothing.
#[test]
fn odd_rows_have_defined_results() {
    let (n, k) = (18, 21);
    let mut random = Random(8);
    let weights = Weights::random(n, k, &mut random);
    let with = |at: usize, x: f32| {
        let mut row = vec![0.5; k];
        row[at] = x;
        row
    };
    let finite = [
        vec![0.0; k],
        vec![-0.0; k],
        vec![3.0; k],
        vec![-3.0; k],
        vec![f32::from_bits(1); k],
        with(3, 1e-40),
        vec![f32::MIN_POSITIVE; k],
        with(7, 3e38),
        (0..k).map(|i| if i % 2 == 0 { f32::MAX } else { f32::MIN }).collect(),
        // Ties: with 0 and 255 in the row the scale is 1.
        [0.5, 1.5, 2.5, 254.5, 0.0, 255.0].repeat(4)[..k].to_vec(),
        [-0.5, -1.5, -127.5, 127.5, -128.0, 127.0].repeat(4)[..k].to_vec(),
        // Both ends round up.
        [-154.5, 100.5, -153.5, 101.5].repeat(6)[..k].to_vec(),
    ];
    let lhs = finite.concat();
    let expected = weights.reference(&lhs, finite.len());
    for (row, expected) in finite.iter().zip(expected.chunks(n)) {
        let huge = row.iter().any(|x| x.abs() > 1e38);
        assert!(huge || expected.iter().all(|x| x.is_finite()), "{row:?}: {expected:?}");
    }
    assert_eq!(expected[..n], weights.bias, "zeros give the bias");
    assert_eq!(expected[4 * n..5 * n], weights.bias, "so does what is almost zero");
    for_each_way(|isa, name| {
        let packed = weights.pack(isa);
        let found = multiplied(isa, &lhs, finite.len(), &packed, Epilogue::Bias);
        assert_same_bits(name, &found, &expected);
        let clean: Vec<f32> = Random(9).vec(20 * k);
        let unharmed = multiplied(isa, &clean, 20, &packed, Epilogue::Bias);
        for poison in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::from_bits(0xff80_0001)] {
            for at in [0, 15, 16, k - 1] {
                let mut lhs = clean.clone();
                lhs[8 * k + at] = poison;
                let found = multiplied(isa, &lhs, 20, &packed, Epilogue::Bias);
                let mut expected = unharmed.clone();
                expected[8 * n..9 * n].fill(f32::NAN);
                assert_same_bits(&format!("{name}: {poison} at {at}"), &found, &expected);
            }
        }
    });
}

#[test]
fn odd_weights_have_defined_results() {
    let (m, k) = (3, 10);
    let row = |x: f32| {
        let mut row: Vec<f32> = Random(10).vec(k);
        row[4] = x;
        row
    };
    let rows = [
        vec![0.0; k],
        vec![f32::from_bits(7); k],
        vec![-1e-39; k],
        row(1e30),
        row(-1e30),
        vec![2.0; k],
        row(f32::NAN),
        row(-f32::NAN),
        row(f32::INFINITY),
        row(f32::NEG_INFINITY),
    ];
    let bias = vec![0.25; rows.len()];
    let weights = rows.concat();
    let lhs = Random(11).vec(m * k);
    let expected = Weights::quantized(&weights, bias.clone(), k).reference(&lhs, m);
    for row in expected.chunks(rows.len()) {
        assert_eq!(row[..3], [0.25; 3]);
        assert!(row[3..6].iter().all(|x| x.is_finite()) && row[6..].iter().all(|x| x.is_nan()), "{row:?}");
    }
    for_each_way(|isa, name| {
        let packed = pack_f32(isa, &weights, &bias, k);
        assert_same_bits(name, &multiplied(isa, &lhs, m, &packed, Epilogue::Bias), &expected);
    });
}

#[test]
fn another_depth_is_refused() {
    let weights = Weights::random(17, 8, &mut Random(12));
    for_each_way(|isa, name| {
        let packed = weights.pack(isa);
        // 5 to 8 take as many slots.
        for k in [7, 9] {
            let (lhs, mut dst) = (Grid::of(&vec![0.5; 3 * k], 3, k, 0), Grid::poisoned(3, 17, 0));
            let mut scratch = LinearScratch::default();
            assert_panics(name, "depth of lhs and rhs", || {
                linear(isa, lhs.view(), &packed, Epilogue::Bias, &mut scratch, dst.view_mut());
            });
        }
    });
}

#[test]
fn a_depth_whose_sums_could_overflow_is_refused() {
    let bytes = vec![0; 32_769];
    let stored = StoredMatrix::new(Stored::I8, &bytes, &[0; 4], 1, 32_769);
    let what = "depth 32,769";
    assert_panics(what, "32769", || PackedWeights::pack(Isa::best(), PanelDtype::Int8, &[(stored, &[0.0])]));
}
