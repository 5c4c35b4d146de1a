//! Shapes that do not fit panic, in release builds too: behind these checks is unsafe code.

mod common;

use std::sync::Arc;

use common::{Grid, assert_panics, for_each_isa, pack};
use crossrank_kernels::{
    Activation, AttentionScratch, Epilogue, Heads, LayerNorm, LinearScratch, PackedWeights, PanelDtype,
    SharedBytes, Stored, StoredMatrix, attention, cls_attention, linear,
};

fn grid(rows: usize, cols: usize) -> Grid {
    Grid::of(&vec![0.5; rows * cols], rows, cols, 1)
}

#[test]
fn linear_refuses_what_does_not_fit() {
    let (m, n, k) = (3, 17, 5);
    let norm = LayerNorm::new(vec![1.0; n], vec![0.0; n], 1e-5);
    let short_norm = LayerNorm::new(vec![1.0; n - 1], vec![0.0; n - 1], 1e-5);
    for_each_isa(|isa| {
        let weights = pack(isa, &vec![0.5; n * k], &vec![0.5; n], k);
        let run = |lhs: [usize; 2], epilogue: Epilogue<'_>, dst: [usize; 2]| {
            let [lhs, mut dst] = [lhs, dst].map(|[rows, cols]| grid(rows, cols));
            linear(isa, lhs.view(), &weights, epilogue, &mut LinearScratch::default(), dst.view_mut());
        };
        run([m, k], Epilogue::Bias, [m, n]);
        for epilogue in [Epilogue::Bias, Epilogue::Activation(Activation::Relu)] {
            assert_panics("a row more", "rows of lhs and dst", || run([m + 1, k], epilogue, [m, n]));
            assert_panics("a row less", "rows of lhs and dst", || run([m - 1, k], epilogue, [m, n]));
            assert_panics("deeper", "depth of lhs and rhs", || run([m, k + 1], epilogue, [m, n]));
            assert_panics("shallower", "depth of lhs and rhs", || run([m, k - 1], epilogue, [m, n]));
            assert_panics("wider", "columns of rhs, and dst", || run([m, k], epilogue, [m, n + 1]));
            assert_panics("narrower", "columns of rhs, and dst", || run([m, k], epilogue, [m, n - 1]));
        }
        run([m, k], Epilogue::ResidualNorm(&norm), [m, n]);
        for epilogue in [Epilogue::ResidualNorm(&short_norm), Epilogue::Residual(&[1.0; 16])] {
            assert_panics("residual", "residual scale and columns of dst", || run([m, k], epilogue, [m, n]));
        }
    });
}

#[test]
fn packing_refuses_what_does_not_stack() {
    let bytes = [0; 4 * 12];
    let of = |rows, cols| StoredMatrix::new(Stored::F32, &bytes[..4 * rows * cols], &[], rows, cols);
    for_each_isa(|isa| {
        let pack = |parts: &[_]| PackedWeights::pack(isa, PanelDtype::F32, parts);
        assert_panics("depths", "depth of stacked weights", || {
            pack(&[(of(2, 3), &[0.0; 2]), (of(2, 4), &[0.0; 2])])
        });
        assert_panics("bias", "rows of a weight and its bias", || pack(&[(of(2, 3), &[0.0; 3])]));
        assert_panics("nothing", "", || pack(&[]));
        assert_panics("rows", "rows 2..5 of 4", || {
            PackedWeights::pack_transposed(isa, PanelDtype::F32, of(4, 3), 2..5)
        });
        assert_panics("rows", "rows 5..5 of 4", || {
            PackedWeights::pack_transposed(isa, PanelDtype::F32, of(4, 3), 5..5)
        });
    });
}

#[test]
fn columns_begin_and_end_with_panels() {
    for_each_isa(|isa| {
        let weights = pack(isa, &[0.5; 40 * 2], &[0.5; 40], 2);
        for columns in [0..40, 16..32, 32..40, 40..40, 16..16] {
            weights.columns(columns);
        }
        for columns in [0..8, 8..16, 33..40] {
            let what = format!("{columns:?}");
            assert_panics(&what, "are no whole panels", || weights.columns(columns));
        }
        assert_panics("beyond", "columns 32..48 of 40", || weights.columns(32..48));
    });
}

#[test]
fn packed_panels_refuse_bytes_of_another_length() {
    let bytes: SharedBytes = Arc::new(vec![0u8; 2 * 3 * 16 * 4]);
    let from = |n, bias: &[f32], range| {
        PackedWeights::from_panels(PanelDtype::F32, [n, 3], bias, &bytes, range);
    };
    from(20, &[1.0; 20], 0..384);
    assert_panics("too few", "bytes of panels of n 20 and depth 3", || from(20, &[], 0..380));
    assert_panics("too many", "bytes of panels of n 16 and depth 3", || from(16, &[], 0..384));
    assert_panics("beyond the end", "out of range", || from(20, &[], 4..388));
    assert_panics("bias", "21 biases of 20 outputs", || from(20, &[1.0; 21], 0..384));
    assert_eq!(PanelDtype::F32.panels_len(usize::MAX / 2, 3), None);
    assert_eq!(PanelDtype::Bf16.panels_len(17, 3), Some(2 * 2 * 16 * 4));
}

#[test]
fn layer_norm_refuses_what_does_not_fit() {
    assert_panics("weights", "LayerNorm weight and bias", || {
        LayerNorm::new(vec![1.0; 3], vec![0.0; 2], 1e-5)
    });
    assert_panics("residual scale", "LayerNorm weight and residual scale", || {
        LayerNorm::new(vec![1.0; 3], vec![0.0; 3], 1e-5).with_residual_scale(vec![1.0; 2])
    });
    let norm = LayerNorm::new(vec![1.0; 9], vec![0.0; 9], 1e-5);
    for_each_isa(|isa| {
        let run = |cols| norm.apply(isa, grid(2, cols).view_mut());
        run(9);
        assert_panics("dst", "columns and LayerNorm weights", || run(8));
        assert_panics("dst", "columns and LayerNorm weights", || run(10));
        let run = |src: [usize; 2], dst: [usize; 2]| {
            let [src, mut dst] = [src, dst].map(|[rows, cols]| grid(rows, cols));
            norm.apply_to(isa, src.view(), dst.view_mut());
        };
        run([6, 9], [6, 9]);
        assert_panics("rows", "src and dst of a LayerNorm", || run([6, 9], [5, 9]));
        assert_panics("columns", "src and dst of a LayerNorm", || run([6, 8], [6, 9]));
        assert_panics("columns", "columns and LayerNorm weights", || run([6, 8], [6, 8]));
    });
}

#[test]
fn attention_refuses_what_does_not_fit() {
    for_each_isa(|isa| {
        let run = |shapes: [[usize; 2]; 4], dim| {
            let [q, k, v, mut dst] = shapes.map(|[rows, cols]| grid(rows, cols));
            let heads = Heads { dim, scale: 1.0, dtype: PanelDtype::F32 };
            let qkv = [&q, &k, &v].map(Grid::view);
            attention(isa, qkv, heads, &mut AttentionScratch::default(), dst.view_mut());
        };
        run([[3, 8]; 4], 4);
        // Some rows of the queries may stand alone.
        run([[2, 8], [3, 8], [3, 8], [2, 8]], 4);
        let parts = [
            ("queries and dst", "queries and dst"),
            ("keys and values", "columns of keys"),
            ("keys and values", "columns of keys"),
            ("queries and dst", "queries and dst"),
        ];
        for (part, (rows, columns)) in parts.into_iter().enumerate() {
            for (wrong, message) in [([2, 8], rows), ([4, 8], rows), ([3, 4], columns), ([3, 12], columns)] {
                let mut shapes = [[3, 8]; 4];
                shapes[part] = wrong;
                assert_panics("shapes", message, || run(shapes, 4));
            }
        }
        assert_panics("heads", "8 columns of heads of 3", || run([[3, 8]; 4], 3));
        assert_panics("heads", "8 columns of heads of 0", || run([[3, 8]; 4], 0));
    });
}

#[test]
fn cls_attention_refuses_what_does_not_fit() {
    for_each_isa(|isa| {
        let run = |shapes: [[usize; 2]; 3]| {
            let [queries, x, mut dst] = shapes.map(|[rows, cols]| grid(rows, cols));
            let mut scratch = AttentionScratch::default();
            cls_attention(isa, queries.view(), x.view(), 1.0, &mut scratch, dst.view_mut());
        };
        run([[2, 8], [3, 8], [2, 8]]);
        assert_panics("x", "columns of queries and x", || run([[2, 8], [3, 9], [2, 8]]));
        assert_panics("x", "columns of queries and x", || run([[2, 8], [3, 7], [2, 8]]));
        assert_panics("dst", "queries and dst", || run([[2, 8], [3, 8], [3, 8]]));
        assert_panics("dst", "queries and dst", || run([[2, 8], [3, 8], [1, 8]]));
        assert_panics("dst", "queries and dst", || run([[2, 8], [3, 8], [2, 9]]));
        assert_panics("dst", "queries and dst", || run([[2, 8], [3, 8], [2, 7]]));
    });
}
