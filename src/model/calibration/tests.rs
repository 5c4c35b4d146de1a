//! What calibration can treat, and models whose layers are replaced.

use std::path::{Path, PathBuf};

use crossrank_kernels::{Isa, PanelDtype};
use safetensors::Dtype;

use super::{NewLinear, check};
use crate::checkpoint::names::{Part, Source};
use crate::model::tests::{load, load_changed};
use crate::model::{ChunkSize, Crew, Model, Scratch};
use crate::tokenized::Tokenized;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn portable() -> Isa {
    Isa::by_name("portable").unwrap()
}

#[test]
fn a_network_whose_layers_have_tensors_of_their_own_can_be_calibrated() {
    for name in ["gelu-60", "no-pooler", "sharded", "silu-1-layer"] {
        assert_eq!(load(&fixture(name), portable(), PanelDtype::F32).check_calibration(), Ok(()), "{name}");
    }
}

/// What is said of `gelu-60` if another tensor, or none, played one of its roles.
fn untreated(role: &str, other: Option<Source>) -> String {
    let model = load(&fixture("gelu-60"), portable(), PanelDtype::F32);
    assert!(model.names.get(role).is_some(), "{role}");
    let source = |asked: &str| if asked == role { other.clone() } else { model.names.get(asked).cloned() };
    check(&model.description, source).unwrap_err().to_string()
}

#[test]
fn forms_that_cannot_be_calibrated_are_named() {
    for (name, role) in
        [("modernbert", "`embeddings.norm`"), ("albert", "`embeddings.norm`"), ("modular-mean", "`head.0`")]
    {
        let error = load(&fixture(name), portable(), PanelDtype::F32).check_calibration().unwrap_err();
        let error = error.to_string();
        assert!(error.starts_with(role) && !error.contains('\n'), "{name}: {error}");
    }
}

#[test]
fn a_layer_without_bias_or_tensors_of_its_own_is_named() {
    for linear in ["layer.1.up", "layer.2.key", "head.0"] {
        let expected = format!("`{linear}`: calibration expects a bias, found none");
        assert_eq!(untreated(&format!("{linear}.bias"), None), expected);
    }
    assert_eq!(
        untreated("embeddings.norm.weight", None),
        "`embeddings.norm`: calibration expects a weight, found none"
    );
    let rows = Source { tensor: "qkv.weight".into(), rows: Some(Part { rows: 60..120, of: 180 }) };
    assert_eq!(
        untreated("layer.0.key.weight", Some(rows)),
        "`layer.0.key`: calibration expects a weight that is a tensor of its own, found rows 60 to 120 of `qkv.weight`"
    );
    let shared = Source { tensor: "bert.encoder.layer.0.output.dense.weight".into(), rows: None };
    assert_eq!(
        untreated("layer.1.down.weight", Some(shared)),
        "`layer.1.down`: calibration expects a weight that is a tensor of its own, found that of `layer.0.down`"
    );
}

/// Bytes that look random.
fn linear(role: &str, outputs: usize, inputs: usize, seed: u32) -> NewLinear {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 as i8
    };
    NewLinear {
        role: role.to_owned(),
        values: (0..outputs * inputs).map(|_| next().max(-127)).collect(),
        scales: (0..outputs).map(|i| 1e-3 + 1e-5 * i as f32).collect(),
        bias: (0..outputs).map(|_| f32::from(next()) / 500.0).collect(),
    }
}

struct Alone(Scratch);

impl Crew for Alone {
    fn gather(&mut self) -> &mut [Scratch] {
        std::slice::from_mut(&mut self.0)
    }
}

fn logits(model: &Model) -> Vec<f32> {
    let chunk = [7, 20].map(|len| Tokenized::new((3..3 + len).collect(), vec![0; len as usize]));
    let mut ws = model.workspace();
    ws.reserve(ChunkSize::of(&chunk));
    let mut logits = vec![0.0; 2 * model.labels()];
    model.forward(&chunk, &mut ws, &mut Alone(model.scratch()), &mut logits);
    logits
}

#[test]
fn a_model_with_new_layers_is_the_one_that_loading_them_gives() {
    let replacements = [
        (0, vec![linear("layer.0.query", 60, 60, 1), linear("layer.0.up", 100, 60, 2)]),
        (2, vec![linear("layer.2.value", 60, 60, 3), linear("layer.2.down", 60, 100, 4)]),
        (2, vec![linear("head.0", 60, 60, 5)]),
    ];
    let folder = fixture("gelu-60");
    let mut replaced = load(&folder, portable(), PanelDtype::F32);
    let mut seen = vec![logits(&replaced)];
    for (layer, linears) in replacements.clone() {
        // What is replaced twice is what it was last.
        let first = linears.iter().map(|new| NewLinear { bias: vec![0.0; new.bias.len()], ..new.clone() });
        replaced.replace(layer, first.collect()).unwrap();
        seen.push(logits(&replaced));
        replaced.replace(layer, linears).unwrap();
        seen.push(logits(&replaced));
    }
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "each has been taken: {seen:?}");

    let loaded = load_changed(&folder, portable(), PanelDtype::F32, |weights, names| {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        for NewLinear { role, values, scales, bias } in
            replacements.into_iter().flat_map(|(_, linears)| linears)
        {
            let [weight, bias_name] =
                ["weight", "bias"].map(|part| names.get(&format!("{role}.{part}")).unwrap().tensor.clone());
            // What a checkpoint in F32 would hold, row by row.
            let inputs = values.len() / scales.len();
            let rows = values.chunks(inputs).zip(&scales);
            let rows = rows.flat_map(|(row, scale)| row.iter().map(move |&byte| f32::from(byte) * scale));
            let rows: Vec<f32> = rows.collect();
            weights.put(&weight, Dtype::F32, vec![scales.len(), inputs], bytes(&rows));
            weights.put(&bias_name, Dtype::F32, vec![bias.len()], bytes(&bias));
        }
    });
    assert_eq!(seen.last(), Some(&logits(&loaded)));
}

#[test]
fn new_layers_that_do_not_fit_are_refused() {
    let refused = |new: NewLinear| {
        let mut model = load(&fixture("gelu-60"), portable(), PanelDtype::F32);
        model.replace(0, vec![new]).unwrap_err().to_string()
    };
    let error = refused(linear("layer.0.up", 60, 60, 1));
    assert!(
        error.ends_with("intermediate.dense.weight`: expected shape [100, 60], found [60, 60]"),
        "{error}"
    );
    let error = refused(NewLinear { bias: vec![0.0; 3], ..linear("layer.0.up", 100, 60, 1) });
    assert!(error.contains("intermediate.dense.bias`: expected "), "{error}");
    let error = refused(linear("layer.7.up", 100, 60, 1));
    assert!(error.contains("`layer.7.up.weight` is missing among the roles"), "{error}");
}
