//! Pairs of bfloat16 between kernels: whoever stores or reads them, the bits are those of rounding in between.

mod common;

use common::{Grid, PairGrid, Random, assert_panics, assert_same_bits, for_each_isa, to_bytes};
use crossrank_kernels::{
    Activation, AttentionScratch, Epilogue, FineRows, Heads, Isa, LhsRows, LinearScratch, PackedWeights,
    PanelDtype, Rows, RowsMut, Stored, StoredMatrix, attention, linear,
};

const DTYPES: [PanelDtype; 2] = [PanelDtype::Bf16, PanelDtype::Int8];

/// Rounded, ties to even; two values an element, the first in the low bits.
fn in_pairs(values: &[f32]) -> Vec<u32> {
    let bits = |x: f32| u32::from(half::bf16::from_f32(x).to_bits());
    values.as_chunks().0.iter().map(|&[low, high]| bits(low) | bits(high) << 16).collect()
}

/// Instruction sets without pairs must refuse them, which is all there is to see of those.
fn for_each_isa_with_pairs(dtype: PanelDtype, mut check: impl FnMut(Isa)) {
    for_each_isa(|isa| {
        if isa.stores_pairs(dtype) {
            check(isa);
        } else {
            println!("skipped: {} has no pairs", isa.name());
            let weights = weights(isa, dtype, 32, 4, 1);
            let (floats, pairs) = (Grid::of(&[0.5; 8], 2, 4, 0), PairGrid::of(&[0; 4], 2, 2, 0));
            let (mut to_pairs, mut to_floats) = (PairGrid::poisoned(2, 16, 0), Grid::poisoned(2, 32, 0));
            assert_panics(isa.name(), "takes no pairs beside", || {
                run(isa, floats.view(), &weights, Epilogue::Bias, to_pairs.view_mut());
            });
            assert_panics(isa.name(), "takes no pairs beside", || {
                run(isa, pairs.view(), &weights, Epilogue::Bias, to_floats.view_mut());
            });
        }
    });
}

fn weights(isa: Isa, dtype: PanelDtype, n: usize, k: usize, seed: u64) -> PackedWeights {
    let mut random = Random(seed);
    let (values, bias) = (to_bytes(&random.vec(n * k)), random.vec(n));
    PackedWeights::pack(isa, dtype, &[(StoredMatrix::new(Stored::F32, &values, &[], n, k), &bias)])
}

/// Some rows are fine, where that counts.
fn run(isa: Isa, rows: Rows<'_>, weights: &PackedWeights, epilogue: Epilogue<'_>, dst: RowsMut<'_>) {
    let lhs = LhsRows { rows, fine: FineRows::new(&[0, 5, 40, 41]) };
    linear(isa, lhs, weights, epilogue, &mut LinearScratch::default(), dst);
}

#[test]
fn a_product_stores_pairs_of_its_values() {
    for dtype in DTYPES {
        for_each_isa_with_pairs(dtype, |isa| {
            for (m, n, k) in [1, 2, 15, 16, 17, 31, 32, 33, 68, 130]
                .into_iter()
                .flat_map(|m| [(32, 1), (64, 33), (96, 64), (32, 100), (192, 384)].map(|(n, k)| (m, n, k)))
            {
                let lhs = Grid::of(&Random(m as u64).vec(m * k), m, k, 3);
                let weights = weights(isa, dtype, n, k, n as u64);
                for epilogue in [Epilogue::Bias, Epilogue::Activation(Activation::Gelu)] {
                    let (mut values, mut pairs) = (Grid::poisoned(m, n, 5), PairGrid::poisoned(m, n / 2, 5));
                    run(isa, lhs.view(), &weights, epilogue, values.view_mut());
                    run(isa, lhs.view(), &weights, epilogue, pairs.view_mut());
                    let what = format!("{}: {} {m} x {n} x {k} {epilogue:?}", isa.name(), dtype.name());
                    assert!(pairs.values() == in_pairs(&values.values()), "{what}");
                }
            }
        });
    }
}

#[test]
fn a_product_reads_pairs_as_what_they_are() {
    for dtype in DTYPES {
        for_each_isa_with_pairs(dtype, |isa| {
            for (m, k) in [1, 2, 15, 16, 17, 33, 128, 130]
                .into_iter()
                .flat_map(|m| [2, 6, 32, 34, 64, 100, 126, 128, 130, 384].map(|k| (m, k)))
            {
                let mut values = Random(m as u64).vec(m * k);
                let pairs = in_pairs(&values);
                if dtype == PanelDtype::Int8 {
                    // One of bfloat16 rounds them itself.
                    values.iter_mut().for_each(|x| *x = half::bf16::from_f32(*x).to_f32());
                }
                let weights = weights(isa, dtype, 40, k, k as u64);
                // With and without memory that may be read beyond the last row.
                for gap in [0, 5] {
                    let (lhs, pairs) = (Grid::of(&values, m, k, gap), PairGrid::of(&pairs, m, k / 2, gap));
                    let [mut expected, mut found] = [(); 2].map(|()| Grid::poisoned(m, 40, 0));
                    run(isa, lhs.view(), &weights, Epilogue::Bias, expected.view_mut());
                    run(isa, pairs.view(), &weights, Epilogue::Bias, found.view_mut());
                    let what = format!("{}: {} {m} x {k}", isa.name(), dtype.name());
                    assert_same_bits(&what, &found.values(), &expected.values());
                }
            }
        });
    }
}

#[test]
fn attention_reads_pairs_as_what_it_rounds_itself() {
    for dtype in DTYPES {
        for_each_isa_with_pairs(dtype, |isa| {
            let mut scratch = AttentionScratch::default();
            for (seq_len, heads, dim) in [
                (1, 1, 2),
                (2, 3, 12),
                (16, 2, 32),
                (17, 2, 20),
                (33, 1, 64),
                (68, 3, 32),
                (129, 2, 32),
                (300, 1, 40),
            ] {
                let cols = heads * dim;
                let values = [0, 1, 2].map(|part| Random(seq_len as u64 + part).vec(seq_len * cols));
                let mut attend = |qkv: [Rows<'_>; 3]| {
                    let mut dst = Grid::poisoned(seq_len, cols, 4);
                    let heads = Heads { dim, scale: 0.2, dtype };
                    attention(isa, qkv, heads, &mut scratch, dst.view_mut());
                    dst.values()
                };
                let floats = values.each_ref().map(|part| Grid::of(part, seq_len, cols, 2));
                let expected = attend(floats.each_ref().map(Grid::view));
                for gap in [0, 24] {
                    let pairs =
                        values.each_ref().map(|part| PairGrid::of(&in_pairs(part), seq_len, cols / 2, gap));
                    let what = format!("{}: {seq_len} x {heads} x {dim}, gap {gap}", isa.name());
                    assert_same_bits(&what, &attend(pairs.each_ref().map(PairGrid::view)), &expected);
                }
            }
        });
    }
}

#[test]
fn what_cannot_be_pairs_is_refused() {
    for_each_isa_with_pairs(PanelDtype::Bf16, |isa| {
        let floats = |rows, cols| Grid::of(&vec![0.5; rows * cols], rows, cols, 0);
        let pairs = |rows, cols| PairGrid::of(&vec![0; rows * cols / 2], rows, cols / 2, 0);
        let product = |dtype, n, lhs: Rows<'_>, dst: RowsMut<'_>, epilogue: Epilogue<'_>| {
            run(isa, lhs, &weights(isa, dtype, n, 8, 1), epilogue, dst);
        };
        let (bf16, int8) = (PanelDtype::Bf16, PanelDtype::Int8);
        product(bf16, 32, pairs(3, 8).view(), pairs(3, 32).view_mut(), Epilogue::Bias);
        assert_panics("48 columns", "pairs of what no tile makes whole", || {
            product(bf16, 48, floats(3, 8).view(), pairs(3, 48).view_mut(), Epilogue::Bias);
        });
        assert_panics("residual", "pairs of what no tile makes whole", || {
            product(bf16, 32, floats(3, 8).view(), pairs(3, 32).view_mut(), Epilogue::Residual(&[1.0; 32]));
        });
        assert_panics("half of the columns", "columns of rhs, and dst", || {
            product(bf16, 32, floats(3, 8).view(), floats(3, 16).view_mut(), Epilogue::Bias);
        });
        assert_panics("half of pairs", "depth of lhs and rhs", || {
            product(int8, 32, pairs(3, 4).view(), floats(3, 32).view_mut(), Epilogue::Bias);
        });
        assert_panics("f32 as pairs", "takes no pairs beside f32", || {
            product(PanelDtype::F32, 32, floats(3, 8).view(), pairs(3, 32).view_mut(), Epilogue::Bias);
        });
        assert_panics("pairs as f32", "takes no pairs beside f32", || {
            product(PanelDtype::F32, 32, pairs(3, 8).view(), floats(3, 32).view_mut(), Epilogue::Bias);
        });
        let attend = |dim, dtype, qkv: [Rows<'_>; 3], dst: RowsMut<'_>| {
            attention(isa, qkv, Heads { dim, scale: 1.0, dtype }, &mut AttentionScratch::default(), dst);
        };
        let (of_floats, of_pairs) = (floats(3, 8), pairs(3, 8));
        let (values, rounded) = (of_floats.view(), of_pairs.view());
        attend(4, bf16, [rounded; 3], floats(3, 8).view_mut());
        assert_panics("odd heads", "pairs of heads of 5", || {
            attend(5, bf16, [pairs(3, 10).view(); 3], floats(3, 10).view_mut());
        });
        assert_panics("values beside pairs", "formats of queries, keys", || {
            attend(4, bf16, [rounded, values, values], floats(3, 8).view_mut());
        });
        assert_panics("pairs beside values", "formats of queries, keys", || {
            attend(4, bf16, [values, rounded, rounded], floats(3, 8).view_mut());
        });
        assert_panics("pairs out of attention", "what attention writes", || {
            attend(4, bf16, [rounded; 3], pairs(3, 8).view_mut());
        });
        assert_panics("pairs beside f32", "pairs of bfloat16 for a product of f32", || {
            attend(4, PanelDtype::F32, [rounded; 3], floats(3, 8).view_mut());
        });
    });
}
