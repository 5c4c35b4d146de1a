//! Products with packed weights against f64, and their bits against each other.

mod common;

use std::ops::Range;

use common::case::{Case, changed, multiplied, multiplied_onto};
use common::{
    Grid, Random, TINY, U, assert_close, assert_same_bits, config, for_each_isa, pack_across_as, pack_as,
    to_bytes, wide,
};
use crossrank_kernels::{
    Activation, Epilogue, FineRows, Isa, LayerNorm, LinearScratch, PackedColumns, PackedWeights, PanelDtype,
    Stored, StoredMatrix, linear_parts, max_block_rows, reference, row_blocks,
};
use proptest::prelude::*;

/// A running sum of K products and a bias is an inner product of K + 1 terms, whose error is at most
/// (K + 1) 2^-24 sum|a b| in any order and without terms of higher order (Jeannerod and Rump, SIAM J. Matrix Anal.
/// Appl. 34, 2013); fusing a product with its addition only saves roundings. Products below the normal range lose up
/// to half a denormal each on top. The reference is off by the same with 2^-53.
fn bounds(lhs: &[f64], weights: &[f64], bias: &[f64], m: usize, k: usize) -> Vec<f64> {
    let abs = |values: &[f64]| values.iter().map(|x| x.abs()).collect::<Vec<_>>();
    let terms = (k + 1) as f64;
    let magnitudes = reference::matmul(&abs(lhs), &abs(weights), &abs(bias), m, k);
    magnitudes.iter().map(|sum| terms * ((U + U * U) * sum + TINY)).collect()
}

fn check(case: &Case, gaps: [usize; 2]) {
    let &Case { m, n, k, .. } = case;
    let [lhs, weights, bias] = case.wide();
    let expected = reference::matmul(&lhs, &weights, &bias, m, k);
    let bounds = bounds(&lhs, &weights, &bias, m, k);
    for_each_isa(|isa| {
        let what = format!("{}: {m} x {n} x {k}", isa.name());
        assert_close(&what, &case.run(isa, m, gaps), &expected, &bounds);
    });
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_product_is_that_of_f64(
        m in 0..40_usize,
        n in 0..70_usize,
        k in 0..100_usize,
        gaps in [0..20_usize, 0..20_usize],
        cancelling: bool,
        seed: u64,
    ) {
        let case = if cancelling { Case::cancelling } else { Case::random };
        check(&case(m, n, k, seed), gaps);
    }

    #[test]
    fn an_epilogue_is_the_kernel_it_is_named_after(
        // Beyond two blocks of rows.
        m in 0..180_usize,
        n in 0..70_usize,
        k in 0..100_usize,
        gaps in [0..20_usize, 0..20_usize],
        seed: u64,
    ) {
        let case = Case::random(m, n, k, seed);
        let mut random = Random(!seed);
        let norm = LayerNorm::new(random.vec(n), random.vec(n), 1e-5).with_residual_scale(random.vec(n));
        let residual = Grid::of(&random.vec(m * n), m, n, gaps[1]);
        for_each_isa(|isa| {
            let product = case.run(isa, m, gaps);
            let lhs = Grid::of(&case.lhs, m, k, gaps[0]);
            let packed = case.pack(isa);
            let with = |epilogue| multiplied_onto(residual.clone(), isa, &lhs, &packed, epilogue).values();
            use Activation::{Gelu, GeluTanh, Relu, Silu, Tanh};
            for activation in [Gelu, GeluTanh, Relu, Silu, Tanh] {
                let mut expected = product.clone();
                activation.apply(isa, &mut expected);
                let what = format!("{}: {activation:?}", isa.name());
                assert_same_bits(&what, &with(Epilogue::Activation(activation)), &expected);
            }
            let scale = norm.residual_scale();
            let scaled = residual.values().into_iter().zip(scale.iter().cycle()).map(|(x, scale)| x * scale);
            let sums: Vec<f32> = product.iter().zip(scaled).map(|(x, residual)| x + residual).collect();
            let found = with(Epilogue::Residual(scale));
            assert_same_bits(&format!("{}: Residual", isa.name()), &found, &sums);
            for dtype in [PanelDtype::F32, PanelDtype::Bf16, PanelDtype::Int8, isa.panel_dtype(PanelDtype::F32)] {
                let packed = pack_as(dtype, isa, &case.weights, &case.bias, k);
                let with = |epilogue| multiplied_onto(residual.clone(), isa, &lhs, &packed, epilogue).values();
                let what = format!("{}: PlainResidual in {}", isa.name(), dtype.name());
                let ones = vec![1.0; n];
                assert_same_bits(&what, &with(Epilogue::PlainResidual), &with(Epilogue::Residual(&ones)));
            }
            let mut expected = Grid::of(&sums, m, n, gaps[1]);
            norm.apply(isa, expected.view_mut());
            let found = with(Epilogue::ResidualNorm(&norm));
            assert_same_bits(&format!("{}: ResidualNorm", isa.name()), &found, &expected.values());
        });
    }
}

/// Around the rows of a tile of each instruction set (2, 6, 14, 32) and of a block (84, 128), and the columns of a
/// panel and of two.
#[test]
fn a_product_is_right_at_every_edge_of_tiles_and_panels() {
    const M: [usize; 22] =
        [0, 1, 2, 3, 5, 6, 7, 13, 14, 15, 16, 17, 31, 32, 33, 83, 84, 85, 127, 128, 129, 130];
    let rows = M[M.len() - 1];
    for n in [1, 15, 16, 17, 31, 32, 33, 60, 100] {
        for k in [0, 1, 7, 384, 1536] {
            let case = Case::cancelling(rows, n, k, (n * 10_000 + k) as u64);
            let [lhs, weights, bias] = [wide(&case.lhs), wide(&case.weights), wide(&case.bias)];
            let expected = reference::matmul(&lhs, &weights, &bias, rows, k);
            let bounds = bounds(&lhs, &weights, &bias, rows, k);
            for_each_isa(|isa| {
                let packed = case.pack(isa);
                for m in M {
                    let lhs = Grid::of(&case.lhs[..m * k], m, k, 3);
                    let dst = multiplied(isa, &lhs, &packed, Epilogue::Bias, n, 7);
                    let what = format!("{}: {m} x {n} x {k}", isa.name());
                    assert_close(&what, &dst.values(), &expected[..m * n], &bounds[..m * n]);
                }
            });
        }
    }
}

#[test]
fn a_product_is_right_at_the_shapes_of_a_model() {
    for (k, n) in [(384, 384), (384, 1152), (384, 1536), (1536, 384)] {
        check(&Case::random(31, n, k, 1), [0, 0]);
    }
}

/// Sums of small whole numbers are exact in f32: a term that is lost or taken twice shows, however small its share.
#[test]
fn whole_numbers_are_multiplied_exactly() {
    for (m, n, k) in [(1, 1, 1), (15, 33, 7), (29, 100, 384), (7, 48, 1536)] {
        let mut random = Random(k as u64);
        let mut integers = |len: usize| (0..len).map(|_| random.integer(63)).collect::<Vec<f32>>();
        let case = Case { m, n, k, lhs: integers(m * k), weights: integers(n * k), bias: integers(n) };
        let expected = reference::matmul(&wide(&case.lhs), &wide(&case.weights), &wide(&case.bias), m, k);
        for_each_isa(|isa| {
            let what = format!("{}: {m} x {n} x {k}", isa.name());
            assert_close(&what, &case.run(isa, m, [1, 2]), &expected, &vec![0.0; m * n]);
        });
    }
}

#[test]
fn a_row_has_the_same_bits_whatever_rows_are_beside_it() {
    let (rows, n, k) = (40, 33, 50);
    let case = Case::random(rows, n, k, 7);
    for_each_isa(|isa| {
        let alone: Vec<f32> = (0..rows).flat_map(|i| case.run_rows(isa, i, 1, [0, 0])).collect();
        for m in 1..=rows {
            for start in 0..=rows - m {
                let what = format!("{}: {m} rows from {start} on", isa.name());
                let found = case.run_rows(isa, start, m, [m % 3, start % 2]);
                assert_same_bits(&what, &found, &alone[start * n..][..m * n]);
            }
        }
    });
}

#[test]
fn a_row_has_the_same_bits_in_every_block() {
    let (m, n, k) = (200, 20, 30);
    let case = Case::random(m, n, k, 8);
    for_each_isa(|isa| {
        let alone: Vec<f32> = (0..m).flat_map(|i| case.run_rows(isa, i, 1, [0, 0])).collect();
        assert_same_bits(isa.name(), &case.run(isa, m, [0, 0]), &alone);
    });
}

#[test]
fn stacked_parts_are_their_products_side_by_side() {
    let (m, k) = (9, 21);
    for sizes in [[5, 12, 20], [16, 16, 16], [60, 60, 60], [1, 0, 1]] {
        let parts: Vec<Case> =
            sizes.iter().enumerate().map(|(i, &n)| Case::random(m, n, k, 100 + i as u64)).collect();
        let lhs = Grid::of(&parts[0].lhs, m, k, 0);
        let bytes: Vec<Vec<u8>> = parts.iter().map(|part| to_bytes(&part.weights)).collect();
        let stored: Vec<(StoredMatrix<'_>, &[f32])> = parts
            .iter()
            .zip(&bytes)
            .map(|(part, bytes)| (StoredMatrix::new(Stored::F32, bytes, &[], part.n, k), &part.bias[..]))
            .collect();
        for_each_isa(|isa| {
            let packed = PackedWeights::pack(isa, PanelDtype::F32, &stored);
            let n = sizes.iter().sum();
            assert_eq!((packed.n(), packed.k()), (n, k));
            let dst = multiplied(isa, &lhs, &packed, Epilogue::Bias, n, 0);
            let mut first = 0;
            for part in &parts {
                let expected = multiplied(isa, &lhs, &part.pack(isa), Epilogue::Bias, part.n, 0);
                let columns = dst.view().column_range(first..first + part.n);
                let found: Vec<f32> = (0..m).flat_map(|i| columns.row(i).to_vec()).collect();
                assert_same_bits(isa.name(), &found, &expected.values());
                first += part.n;
            }
        });
    }
}

/// In every dtype, with and without what else is added, over two blocks of rows.
#[test]
fn products_of_the_same_rows_are_those_of_each() {
    let (m, k) = (150, 70);
    let cases: Vec<_> = [33, 64, 1].map(|n| Case::random(m, n, k, n as u64)).into();
    let residual = Grid::of(&Random(5).vec(m * 64), m, 64, 0);
    for_each_isa(|isa| {
        for dtype in [isa.panel_dtype(PanelDtype::F32), PanelDtype::F32, PanelDtype::Bf16, PanelDtype::Int8] {
            let packed: Vec<_> =
                cases.iter().map(|case| pack_as(dtype, isa, &case.weights, &case.bias, k)).collect();
            let lhs = Grid::of(&cases[0].lhs, m, k, 3);
            let twice = [&packed[1], &packed[1]];
            for (weights, epilogue) in [
                (packed.iter().collect::<Vec<_>>(), Epilogue::Activation(Activation::Gelu)),
                (twice.to_vec(), Epilogue::Residual(&[0.5; 64])),
            ] {
                let before = |part: &PackedWeights| match epilogue {
                    Epilogue::Residual(_) => residual.clone(),
                    _ => Grid::poisoned(m, part.n(), 2),
                };
                let mut all: Vec<_> = weights.iter().map(|&part| before(part)).collect();
                let mut parts: Vec<_> = weights
                    .iter()
                    .zip(&mut all)
                    .map(|(&part, dst)| (PackedColumns::from(part), dst.view_mut()))
                    .collect();
                linear_parts(isa, lhs.view(), &mut parts, epilogue, &mut LinearScratch::default());
                for (part, dst) in weights.into_iter().zip(&all) {
                    let expected = multiplied_onto(before(part), isa, &lhs, part, epilogue).values();
                    let what = format!("{}: {}, {} outputs", isa.name(), dtype.name(), part.n());
                    assert_same_bits(&what, &dst.values(), &expected);
                }
            }
        }
    });
}

#[test]
fn some_columns_of_the_weights_give_those_of_the_product() {
    let m = 20;
    for (n, k) in [(16, 3), (37, 384), (100, 21)] {
        let case = Case::random(m, n, k, n as u64);
        let bytes = to_bytes(&case.weights);
        let matrix = StoredMatrix::new(Stored::F32, &bytes, &[], n, k);
        let lhs = Grid::of(&case.lhs, m, k, 0);
        for_each_isa(|isa| {
            for dtype in [PanelDtype::F32, PanelDtype::Bf16] {
                let packed = PackedWeights::pack(isa, dtype, &[(matrix, &case.bias)]);
                let all = multiplied(isa, &lhs, &packed, Epilogue::Bias, n, 0);
                let bounds = (0..n).step_by(16).chain([n]).collect::<Vec<_>>();
                for (i, &start) in bounds.iter().enumerate() {
                    for &end in &bounds[i..] {
                        let dst =
                            multiplied(isa, &lhs, packed.columns(start..end), Epilogue::Bias, end - start, 3);
                        let expected = all.view().column_range(start..end);
                        let expected: Vec<f32> = (0..m).flat_map(|i| expected.row(i).to_vec()).collect();
                        let what = format!("{}: {dtype:?}, {start}..{end} of {n}", isa.name());
                        assert_same_bits(&what, &dst.values(), &expected);
                    }
                }
            }
        });
    }
}

#[test]
fn blocks_of_rows_are_even_and_cover_all() {
    for_each_isa(|isa| {
        for rows in 0..2000 {
            let blocks: Vec<_> = row_blocks(isa, rows, FineRows::default()).collect();
            assert!(blocks.iter().flat_map(Clone::clone).eq(0..rows), "{rows}: {blocks:?}");
            assert!(blocks.iter().all(|block| block.len() <= max_block_rows(isa)), "{rows}: {blocks:?}");
            let [most, least] =
                [blocks.iter().max_by_key(|b| b.len()), blocks.iter().min_by_key(|b| b.len())]
                    .map(|block| block.map_or(0, ExactSizeIterator::len));
            // A tile, and one that is not full.
            assert!(most - least < 64, "{rows}: {blocks:?}");
        }
    });
}

#[test]
fn blocks_have_the_room_of_two_for_each_row_that_is_fine() {
    for_each_isa(|isa| {
        for rows in (0..300).chain((300..2000).step_by(17)) {
            for every in [1, 2, 3, 10, 100] {
                let numbers: Vec<_> = (rows / 5..rows).step_by(every).collect();
                let fine = FineRows::new(&numbers);
                let blocks: Vec<_> = row_blocks(isa, rows, fine).collect();
                assert!(blocks.iter().flat_map(Clone::clone).eq(0..rows), "{rows}: {blocks:?}");
                let room = |block: &Range<usize>| {
                    block.len() + numbers.iter().filter(|number| block.contains(number)).count()
                };
                let rooms: Vec<_> = blocks.iter().map(room).collect();
                let most = max_block_rows(isa);
                assert!(rooms.iter().all(|room| (1..=most).contains(room)), "{rows}: {blocks:?}");
                // One more where cuts meet fine rows.
                let least = (rows + numbers.len()).div_ceil(most);
                assert!(blocks.len() <= least + 1, "{rows}: {blocks:?}");
            }
        }
    });
}

#[test]
fn rows_packed_transposed_are_the_right_hand_side_itself() {
    let (m, rows, n) = (9, 24, 37);
    let mut random = Random(3);
    let matrix = random.vec(rows * n);
    let bytes = to_bytes(&matrix);
    let stored = StoredMatrix::new(Stored::F32, &bytes, &[], rows, n);
    for range in [0..24, 8..20, 23..24, 5..5] {
        let k = range.len();
        let transposed =
            (0..n).flat_map(|j| range.clone().map(move |i| (i, j))).map(|(i, j)| matrix[i * n + j]);
        let case =
            Case { m, n, k, lhs: random.vec(m * k), weights: transposed.collect(), bias: vec![0.0; n] };
        for_each_isa(|isa| {
            let packed = PackedWeights::pack_transposed(isa, PanelDtype::F32, stored, range.clone());
            assert_eq!((packed.n(), packed.k()), (n, k));
            let lhs = Grid::of(&case.lhs, m, k, 1);
            let dst = multiplied(isa, &lhs, &packed, Epilogue::Bias, n, 1);
            assert_same_bits(isa.name(), &dst.values(), &case.run(isa, m, [0, 0]));
        });
    }
}

/// Where zeros fill the last panel, an infinity in lhs makes NaN: it must stay there.
#[test]
fn nan_and_infinity_reach_what_depends_on_them_and_nothing_else() {
    let (m, n, k) = (15, 37, 20);
    for poison in [f32::NAN, f32::INFINITY] {
        let clean = Case::random(m, n, k, 11);
        let in_lhs = Case { lhs: changed(&clean.lhs, 8 * k + 3, poison), ..Case::random(m, n, k, 11) };
        let in_weights =
            Case { weights: changed(&clean.weights, 36 * k + 19, poison), ..Case::random(m, n, k, 11) };
        let in_bias = Case { bias: changed(&clean.bias, 16, poison), ..Case::random(m, n, k, 11) };
        for_each_isa(|isa| {
            let unharmed = clean.run(isa, m, [0, 0]);
            assert!(unharmed.iter().all(|x| x.is_finite()));
            let check = |case: &Case, depends: &dyn Fn(usize, usize) -> bool| {
                for (at, (x, unharmed)) in case.run(isa, m, [0, 0]).iter().zip(&unharmed).enumerate() {
                    if depends(at / n, at % n) {
                        let same = if poison.is_nan() { x.is_nan() } else { x.is_infinite() };
                        assert!(same, "{}: {x} at {at} for {poison}", isa.name());
                    } else {
                        assert_eq!(x.to_bits(), unharmed.to_bits(), "{}: at {at}", isa.name());
                    }
                }
            };
            check(&in_lhs, &|row, _| row == 8);
            check(&in_weights, &|_, column| column == 36);
            check(&in_bias, &|_, column| column == 16);
        });
    }
}

/// Where products round the other side to bfloat16, too.
fn multiplies_pairs(isa: Isa) -> bool {
    ["avx512_bf16", "amx"].contains(&isa.name())
}

fn to_bf16(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&x| half::bf16::from_f32(x).to_f32()).collect()
}

/// Products of pairs against f64 of what both sides are rounded to, and each row against its own bits in company.
#[test]
fn products_of_pairs_are_those_of_rounded_operands() {
    for (n, k) in [(1, 1), (16, 2), (17, 3), (33, 7), (60, 60), (100, 384), (48, 385), (32, 1536), (7, 0)] {
        let rows = 31;
        let case = Case::random(rows, n, k, (n * 1000 + k) as u64);
        let rounded = Case { lhs: to_bf16(&case.lhs), weights: to_bf16(&case.weights), ..case.clone() };
        let [lhs, weights, bias] = rounded.wide();
        let expected = reference::matmul(&lhs, &weights, &bias, rows, k);
        let bounds = bounds(&lhs, &weights, &bias, rows, k);
        let bytes = to_bytes(&case.weights);
        let matrix = StoredMatrix::new(Stored::F32, &bytes, &[], n, k);
        for_each_isa(|isa| {
            if !multiplies_pairs(isa) {
                return;
            }
            let packed = PackedWeights::pack(isa, PanelDtype::Bf16, &[(matrix, &case.bias)]);
            let run = |first: usize, m: usize| {
                let lhs = Grid::of(&case.lhs[first * k..][..m * k], m, k, 3);
                multiplied(isa, &lhs, &packed, Epilogue::Bias, n, 5).values()
            };
            let all = run(0, rows);
            assert_close(&format!("{}: {rows} x {n} x {k}", isa.name()), &all, &expected, &bounds);
            for (first, m) in [(0, 1), (30, 1), (3, 13), (2, 14), (5, 15), (0, 0)] {
                let what = format!("{}: rows {first} and {m} more, n {n}, k {k}", isa.name());
                assert_same_bits(&what, &run(first, m), &all[first * n..][..m * n]);
            }
        });
    }
}

/// NaN on either side of a pair reaches its row or its column, infinity times zero is NaN, a zero that fills up an odd
/// depth is neither.
#[test]
fn products_of_pairs_hide_nothing() {
    for k in [1, 2, 5, 40, 63] {
        let (rows, n) = (16, 33);
        let case = Case::random(rows, n, k, k as u64);
        for_each_isa(|isa| {
            let run = |lhs: &[f32], weights: &[f32]| {
                let bytes = to_bytes(weights);
                let matrix = StoredMatrix::new(Stored::F32, &bytes, &[], n, k);
                let packed = PackedWeights::pack(isa, PanelDtype::Bf16, &[(matrix, &case.bias)]);
                multiplied(isa, &Grid::of(lhs, rows, k, 0), &packed, Epilogue::Bias, n, 0).values()
            };
            for bad in [f32::NAN, f32::INFINITY] {
                let at = k - 1;
                let in_row = run(&changed(&case.lhs, 8 * k + at, bad), &case.weights);
                let in_column = run(&case.lhs, &changed(&case.weights, 32 * k + at, bad));
                for (i, (row, column)) in in_row.iter().zip(&in_column).enumerate() {
                    assert_eq!(row.is_finite(), i / n != 8, "{}: {bad} in row 8 at {i}", isa.name());
                    assert_eq!(column.is_finite(), i % n != 32, "{}: {bad} in output 32 at {i}", isa.name());
                }
            }
            let zeros = changed(&case.weights, 32 * k, 0.0);
            let product = run(&changed(&case.lhs, 8 * k, f32::INFINITY), &zeros)[8 * n + 32];
            assert!(product.is_nan(), "{}: infinity times zero gave {product}", isa.name());
        });
    }
}

/// Where products widen bfloat16, which is exact, they give the bits of the rounded weights in f32, at every edge.
#[test]
fn bf16_panels_give_the_bits_of_their_rounded_weights() {
    for (n, k) in [(1, 1), (16, 2), (17, 3), (33, 7), (60, 60), (100, 384), (48, 385), (7, 0)] {
        let rows = 31;
        let mut case = Case::random(rows, n, k, (n * 1000 + k) as u64);
        if k > 2 {
            // Ties to even on both sides, a carry into the exponent, and what no arithmetic may hide.
            for (at, bits) in [0x3f80_8000, 0x3f81_8000, 0x3f7f_ffff].into_iter().enumerate() {
                case.weights[at] = f32::from_bits(bits);
            }
            case.weights[(n - 1) * k] = f32::NAN;
        }
        let bytes = to_bytes(&case.weights);
        let matrix = StoredMatrix::new(Stored::F32, &bytes, &[], n, k);
        let rounded = Case { weights: to_bf16(&case.weights), ..case.clone() };
        for_each_isa(|isa| {
            let packed = PackedWeights::pack(isa, PanelDtype::Bf16, &[(matrix, &case.bias)]);
            let packed_bytes = n.next_multiple_of(16) * (k.div_ceil(2) * 4 + 4);
            assert_eq!(packed.bytes(), packed_bytes, "half of f32, and the bias");
            // The transpose of the transpose.
            let transposed = pack_across_as(PanelDtype::Bf16, isa, &case.weights, n, k);
            assert_eq!(transposed.panel_bytes(), packed.panel_bytes(), "{}", isa.name());
            if multiplies_pairs(isa) {
                return;
            }
            for m in [0, 1, 5, 13, 14, 15, rows] {
                let lhs = Grid::of(&case.lhs[..m * k], m, k, 3);
                let dst = multiplied(isa, &lhs, &packed, Epilogue::Bias, n, 5);
                let what = format!("{}: {m} x {n} x {k}", isa.name());
                assert_same_bits(&what, &dst.values(), &rounded.run(isa, m, [3, 5]));
            }
            let lhs = Grid::of(&case.lhs, rows, k, 0);
            let dst = multiplied(isa, &lhs, &transposed, Epilogue::Bias, n, 0);
            let no_bias = Case {
                bias: vec![0.0; n],
                lhs: case.lhs.clone(),
                weights: rounded.weights.clone(),
                ..rounded
            };
            assert_same_bits(isa.name(), &dst.values(), &no_bias.run(isa, rows, [0, 0]));
        });
    }
}
