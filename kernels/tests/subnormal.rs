//! Weights below the normal range are packed as 0, and nothing else is changed.

mod common;

use common::{Random, for_each_isa, pack_across_as, pack_as};
use crossrank_kernels::{PackedWeights, PanelDtype, Stored, StoredMatrix};

const FLOATS: [PanelDtype; 3] = [PanelDtype::F32, PanelDtype::Bf16, PanelDtype::Digits];

#[test]
fn subnormal_weights_are_packed_as_zeros() {
    let (n, k) = (19, 21);
    let mut weights = Random(1).vec(n * k);
    let mut zeros = weights.clone();
    let below = f32::from_bits(f32::MIN_POSITIVE.to_bits() - 1);
    for (i, x) in [1e-40, -1e-40, below, -below].into_iter().enumerate() {
        for at in [i, 37 + i, n * k - 1 - i] {
            (weights[at], zeros[at]) = (x, 0.0);
        }
    }
    for_each_isa(|isa| {
        for dtype in FLOATS {
            let pack = |weights: &[f32]| pack_as(dtype, isa, weights, &[0.0; 19], k).panel_bytes();
            assert_eq!(pack(&weights), pack(&zeros), "{}: {}", isa.name(), dtype.name());
            let across = |weights: &[f32]| pack_across_as(dtype, isa, weights, n, k).panel_bytes();
            assert_eq!(across(&weights), across(&zeros), "{}: {} across", isa.name(), dtype.name());
        }
    });
}

#[test]
fn subnormal_weights_of_every_storage_are_packed_as_zeros() {
    let (bf16, i8) = (half::bf16::from_bits(3).to_le_bytes(), 1e-40f32.to_le_bytes());
    let cases: [(Stored, &[u8], &[u8]); 2] = [(Stored::Bf16, &bf16, &[]), (Stored::I8, &[9], &i8)];
    for_each_isa(|isa| {
        for (dtype, (stored, bytes, scales)) in
            FLOATS.into_iter().flat_map(|dtype| cases.map(|case| (dtype, case)))
        {
            let weight = StoredMatrix::new(stored, bytes, scales, 1, 1);
            let packed = PackedWeights::pack(isa, dtype, &[(weight, &[0.0])]).panel_bytes();
            let zeros = pack_as(dtype, isa, &[0.0], &[0.0], 1).panel_bytes();
            assert_eq!(packed, zeros, "{}: {stored:?} as {}", isa.name(), dtype.name());
        }
    });
}

#[test]
fn other_weights_keep_their_bits() {
    let smallest = f32::MIN_POSITIVE;
    let weights =
        [smallest, -smallest, -0.0, 0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-37, f32::MAX];
    for_each_isa(|isa| {
        let panel = pack_as(PanelDtype::F32, isa, &weights, &[0.0], weights.len()).panel_bytes();
        for (line, weight) in panel.chunks(64).zip(weights) {
            assert_eq!(line[..4], weight.to_le_bytes(), "{}: {weight}", isa.name());
        }
        // The smallest of half precision is a normal number here.
        let bytes = half::f16::from_bits(1).to_le_bytes();
        let weight = StoredMatrix::new(Stored::F16, &bytes, &[], 1, 1);
        let panel = PackedWeights::pack(isa, PanelDtype::F32, &[(weight, &[0.0])]).panel_bytes();
        assert_eq!(panel[..4], (1.0f32 / (1 << 24) as f32).to_le_bytes(), "{}", isa.name());
    });
}
