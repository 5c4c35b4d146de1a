//! Rows of a checkpoint, widened: exactly, and from any alignment.

mod common;

use common::{Grid, Random, assert_panics, assert_same_bits, for_each_isa};
use crossrank_kernels::{Isa, LinearScratch, PackedWeights, PanelDtype, Stored, StoredMatrix};

const WIDTHS: [usize; 14] = [0, 1, 2, 7, 8, 9, 12, 15, 16, 17, 33, 60, 384, 768];

fn widen(isa: Isa, matrix: &StoredMatrix<'_>) -> Vec<f32> {
    let mut dst = Grid::poisoned(matrix.rows(), matrix.cols(), 3);
    for i in 0..matrix.rows() {
        matrix.widen_row(isa, i, dst.view_mut().row_mut(i));
    }
    dst.values()
}

/// One row of 65536 or 256 elements.
fn check_all(stored: Stored, bytes: &[u8], scales: &[u8], expected: &[f32]) {
    for_each_isa(|isa| {
        let found = widen(isa, &StoredMatrix::new(stored, bytes, scales, 1, expected.len()));
        assert_same_bits(&format!("{}: {stored:?}", isa.name()), &found, expected);
    });
}

#[test]
fn every_half_is_widened_exactly() {
    let expected: Vec<f32> = (0..=u16::MAX)
        .map(|bits| {
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
            let magnitude = match exponent {
                0 => fraction * 2_f32.powi(-24),
                31 if fraction == 0.0 => f32::INFINITY,
                31 => f32::NAN,
                _ => (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15),
            };
            if bits >> 15 == 1 { -magnitude } else { magnitude }
        })
        .collect();
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    check_all(Stored::F16, &bytes, &[], &expected);
}

#[test]
fn every_bfloat16_is_widened_exactly() {
    let expected: Vec<f32> = (0..=u16::MAX).map(|bits| f32::from_bits(u32::from(bits) << 16)).collect();
    let bytes: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    check_all(Stored::Bf16, &bytes, &[], &expected);
}

#[test]
fn every_signed_byte_is_multiplied_by_its_scale_and_rounded_once() {
    let bytes: Vec<u8> = (0..=u8::MAX).collect();
    for scale in [1.0, 0.012_345_678, -3.7e-5, 1e38, 0.0, f32::NAN, f32::INFINITY] {
        let expected: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte as i8) * scale).collect();
        check_all(Stored::I8, &bytes, &scale.to_le_bytes(), &expected);
    }
}

#[test]
fn an_f32_keeps_its_bits() {
    let values: Vec<f32> = (0..u32::MAX).step_by(65_521).map(f32::from_bits).collect();
    check_all(Stored::F32, &common::to_bytes(&values), &[], &values);
}

/// What each row and element is, said without the kernel.
fn expected(stored: Stored, bytes: &[u8], scales: &[u8], cols: usize) -> Vec<f32> {
    let f32_at = |bytes: &[u8], i: usize| f32::from_le_bytes(bytes[4 * i..4 * i + 4].try_into().unwrap());
    let elements = bytes.chunks(stored.size()).enumerate();
    elements
        .map(|(i, element)| match stored {
            Stored::F32 => f32_at(element, 0),
            Stored::F16 => half::f16::from_le_bytes([element[0], element[1]]).to_f32_const(),
            Stored::Bf16 => f32::from_bits(u32::from(u16::from_le_bytes([element[0], element[1]])) << 16),
            Stored::I8 => f32::from(element[0] as i8) * f32_at(scales, i / cols),
        })
        .collect()
}

#[test]
fn rows_of_any_width_are_found_at_any_alignment() {
    let rows = 3;
    for stored in [Stored::F32, Stored::F16, Stored::Bf16, Stored::I8] {
        for cols in WIDTHS {
            let scale_bytes = if stored == Stored::I8 { 4 * rows } else { 0 };
            let bytes = Random(cols as u64).bytes(rows * cols * stored.size());
            let scales = common::to_bytes(&Random(2).vec(rows))[..scale_bytes].to_vec();
            let expected = expected(stored, &bytes, &scales, cols);
            for offset in 0..=3 {
                // A neighbour behind shows when more is taken than the row.
                let shifted = |bytes: &[u8]| [&[0xff; 3][..offset], bytes, &[0xff; 8]].concat();
                let (shifted_bytes, shifted_scales) = (shifted(&bytes), shifted(&scales));
                let matrix = StoredMatrix::new(
                    stored,
                    &shifted_bytes[offset..][..bytes.len()],
                    &shifted_scales[offset..][..scales.len()],
                    rows,
                    cols,
                );
                assert_eq!((matrix.rows(), matrix.cols()), (rows, cols));
                for_each_isa(|isa| {
                    let what = format!("{}: {stored:?}, {cols} columns, offset {offset}", isa.name());
                    assert_same_bits(&what, &widen(isa, &matrix), &expected);
                });
            }
        }
    }
}

#[test]
fn weights_of_every_type_are_packed_as_their_f32() {
    let (n, k) = (19, 21);
    for stored in [Stored::F32, Stored::F16, Stored::Bf16, Stored::I8] {
        // Small exponents only, so that products stay finite.
        let mut bytes = Random(5).bytes(n * k * stored.size());
        bytes.iter_mut().skip(stored.size() - 1).step_by(stored.size()).for_each(|high| *high &= 0xbf);
        let scales = if stored == Stored::I8 { common::to_bytes(&Random(6).vec(n)) } else { Vec::new() };
        let matrix = StoredMatrix::new(stored, &bytes, &scales, n, k);
        let weights = expected(stored, &bytes, &scales, k);
        let bias = Random(7).vec(n);
        let lhs = Grid::of(&Random(8).vec(4 * k), 4, k, 0);
        for_each_isa(|isa| {
            let run = |packed: &PackedWeights| {
                let mut dst = Grid::poisoned(4, n, 0);
                let epilogue = crossrank_kernels::Epilogue::Bias;
                crossrank_kernels::linear(
                    isa,
                    lhs.view(),
                    packed,
                    epilogue,
                    &mut LinearScratch::default(),
                    dst.view_mut(),
                );
                dst.values()
            };
            let found = run(&PackedWeights::pack(isa, PanelDtype::F32, &[(matrix, &bias)]));
            assert!(found.iter().all(|x| x.is_finite()));
            let what = format!("{}: {stored:?}", isa.name());
            assert_same_bits(&what, &found, &run(&common::pack(isa, &weights, &bias, k)));
        });
    }
}

#[test]
fn bytes_that_do_not_fit_panic() {
    let bytes = [0; 24];
    for (stored, rows, cols) in
        [(Stored::F32, 2, 4), (Stored::F16, 3, 5), (Stored::Bf16, 2, 5), (Stored::I8, 5, 5)]
    {
        assert_panics("bytes", "bytes of a", || StoredMatrix::new(stored, &bytes, &[], rows, cols));
    }
    assert_panics("overflow", "bytes of a", || StoredMatrix::new(Stored::F32, &bytes, &[], usize::MAX, 2));
    assert_panics("no scales", "scales", || StoredMatrix::new(Stored::I8, &bytes, &[], 6, 4));
    assert_panics("scales", "scales", || StoredMatrix::new(Stored::F32, &bytes, &bytes[..8], 2, 3));
    let matrix = StoredMatrix::new(Stored::F32, &bytes, &[], 2, 3);
    for_each_isa(|isa| {
        assert_panics("row", "row 2 of 2", || matrix.widen_row(isa, 2, &mut [0.0; 3]));
        assert_panics("long", "columns", || matrix.widen_row(isa, 1, &mut [0.0; 4]));
        assert_panics("short", "columns", || matrix.widen_row(isa, 1, &mut [0.0; 2]));
    });
}
