//! Pairs of bfloat16 between kernels: whoever stores or reads them, the bits are those of rounding in between.

mod common;

use common::{Grid, Random, assert_panics, assert_same_bits, for_each_isa, to_bytes};
use crossrank_kernels::{
    Activation, AttentionScratch, Epilogue, FineRows, Heads, Isa, LhsRows, LinearScratch, PackedWeights,
    PanelDtype, Rows, Stored, StoredMatrix, attention, linear,
};

const DTYPES: [PanelDtype; 2] = [PanelDtype::Bf16, PanelDtype::Int8];

/// Rounded, ties to even; two values an element, the first in the low bits.
fn in_pairs(values: &[f32]) -> Vec<f32> {
    let bits = |x: f32| u32::from(half::bf16::from_f32(x).to_bits());
    values.as_chunks().0.iter().map(|&[low, high]| f32::from_bits(bits(low) | bits(high) << 16)).collect()
}

/// Instruction sets without pairs must refuse them, which is all there is to see of those.
fn for_each_isa_with_pairs(dtype: PanelDtype, mut check: impl FnMut(Isa)) {
    for_each_isa(|isa| {
        if isa.stores_pairs(dtype) {
            check(isa);
        } else {
            println!("skipped: {} has no pairs", isa.name());
            let mut dst = Grid::poisoned(2, 16, 0);
            let weights = weights(isa, dtype, 32, 4, 1);
            let lhs = Grid::of(&[0.5; 8], 2, 4, 0);
            assert_panics(isa.name(), "makes no pairs of", || {
                run(isa, lhs.view(), &weights, Epilogue::Bias, &mut dst);
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
fn run(isa: Isa, rows: Rows<'_>, weights: &PackedWeights, epilogue: Epilogue<'_>, dst: &mut Grid) {
    let lhs = LhsRows { rows, fine: FineRows::new(&[0, 5, 40, 41]) };
    linear(isa, lhs, weights, epilogue, &mut LinearScratch::default(), dst.view_mut());
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
                    let [mut values, mut pairs] = [n, n / 2].map(|cols| Grid::poisoned(m, cols, 5));
                    run(isa, lhs.view(), &weights, epilogue, &mut values);
                    run(isa, lhs.view(), &weights, epilogue, &mut pairs);
                    let what = format!("{}: {} {m} x {n} x {k} {epilogue:?}", isa.name(), dtype.name());
                    assert_same_bits(&what, &pairs.values(), &in_pairs(&values.values()));
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
                    let [lhs, pairs] = [Grid::of(&values, m, k, gap), Grid::of(&pairs, m, k / 2, gap)];
                    let [mut expected, mut found] = [(); 2].map(|()| Grid::poisoned(m, 40, 0));
                    run(isa, lhs.view(), &weights, Epilogue::Bias, &mut expected);
                    run(isa, pairs.view(), &weights, Epilogue::Bias, &mut found);
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
                let mut attend = |qkv: [Grid; 3]| {
                    let mut dst = Grid::poisoned(seq_len, cols, 4);
                    let heads = Heads { dim, scale: 0.2, dtype };
                    attention(isa, qkv.each_ref().map(Grid::view), heads, &mut scratch, dst.view_mut());
                    dst.values()
                };
                let expected = attend(values.each_ref().map(|part| Grid::of(part, seq_len, cols, 2)));
                for gap in [0, 24] {
                    let pairs =
                        values.each_ref().map(|part| Grid::of(&in_pairs(part), seq_len, cols / 2, gap));
                    let what = format!("{}: {seq_len} x {heads} x {dim}, gap {gap}", isa.name());
                    assert_same_bits(&what, &attend(pairs), &expected);
                }
            }
        });
    }
}

#[test]
fn what_cannot_be_pairs_is_refused() {
    for_each_isa_with_pairs(PanelDtype::Bf16, |isa| {
        let grid = |rows, cols| Grid::of(&vec![0.5; rows * cols], rows, cols, 0);
        let product = |dtype, n, lhs: [usize; 2], dst: [usize; 2], epilogue: Epilogue<'_>| {
            let lhs = grid(lhs[0], lhs[1]);
            run(isa, lhs.view(), &weights(isa, dtype, n, 8, 1), epilogue, &mut grid(dst[0], dst[1]));
        };
        let (bf16, int8) = (PanelDtype::Bf16, PanelDtype::Int8);
        product(bf16, 32, [3, 4], [3, 16], Epilogue::Bias);
        assert_panics("48 columns", "pairs of what no tile makes whole", || {
            product(bf16, 48, [3, 8], [3, 24], Epilogue::Bias);
        });
        assert_panics("residual", "pairs of what no tile makes whole", || {
            product(bf16, 32, [3, 8], [3, 16], Epilogue::Residual(&[1.0; 16]));
        });
        assert_panics("half of pairs", "depth of lhs and rhs", || {
            product(int8, 32, [3, 2], [3, 32], Epilogue::Bias);
        });
        assert_panics("f32 as pairs", "makes no pairs of f32", || {
            product(PanelDtype::F32, 32, [3, 8], [3, 16], Epilogue::Bias);
        });
        let attend = |dim, q: [usize; 2], kv: [usize; 2], dst: [usize; 2]| {
            let [q, k, v] = [q, kv, kv].map(|[rows, cols]| grid(rows, cols));
            let heads = Heads { dim, scale: 1.0, dtype: bf16 };
            let mut dst = grid(dst[0], dst[1]);
            attention(
                isa,
                [&q, &k, &v].map(Grid::view),
                heads,
                &mut AttentionScratch::default(),
                dst.view_mut(),
            );
        };
        attend(4, [3, 4], [3, 4], [3, 8]);
        assert_panics("odd heads", "pairs of heads of 5", || attend(5, [3, 5], [3, 5], [3, 10]));
        assert_panics("values beside pairs", "columns of keys", || attend(4, [3, 4], [3, 8], [3, 8]));
        assert_panics("pairs beside values", "columns of keys", || attend(4, [3, 8], [3, 4], [3, 8]));
    });
}
