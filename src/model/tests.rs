//! Every layer's hidden states against PyTorch's: where a wrong logit would come from.

use std::io::Write;
use std::path::{Path, PathBuf};

use crossrank_kernels::{Isa, Matrix, PanelDtype, Rows};
use safetensors::SafeTensors;

use super::{ChunkSize, Model, Packing, Workspace};
use crate::checkpoint::files::{Files, WeightSource};
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::config::Config;
use crate::tokenized::Tokenized;
use crate::workers::Threads;

const TOLERANCE: f32 = 1e-4;

pub(super) fn load(folder: &Path, isa: Isa, panels: PanelDtype) -> Model {
    load_changed(folder, isa, panels, |_, _| ())
}

/// Loads weights that have been changed in memory.
pub(super) fn load_changed(
    folder: &Path,
    isa: Isa,
    panels: PanelDtype,
    change: impl FnOnce(&mut Weights, &Names),
) -> Model {
    let files = Files::open(folder, WeightSource::Mmap).unwrap();
    let config = Config::parse(&files).unwrap();
    let mut weights = Weights::parse(files.weights, files.shard_index).unwrap();
    weights.add_modules(files.head).unwrap();
    let (description, names) = config.family.describe(&weights).unwrap();
    change(&mut weights, &names);
    let most = config.max_positions();
    Model::load((description, names), weights, Packing { isa, panels }, most, &Threads::Caller).unwrap()
}

/// Data in F32.
fn f32s(data: &[u8]) -> Vec<f32> {
    data.chunks_exact(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// Compares states with the stored tensor `name`, when there is one.
fn compare(stored: &SafeTensors<'_>, name: &str, states: Rows<'_>) -> bool {
    let Ok(tensor) = stored.tensor(name) else { return false };
    assert_eq!(tensor.shape(), [states.rows(), states.cols()], "{name}");
    for (i, row) in f32s(tensor.data()).chunks_exact(states.cols()).enumerate() {
        for (j, (&found, &expected)) in states.row(i).iter().zip(row).enumerate() {
            assert!(
                (found - expected).abs() <= TOLERANCE,
                "{name} [{i}, {j}]: expected {expected}, found {found}"
            );
        }
    }
    true
}

/// Fixtures that hold hidden states: one of each family.
fn fixtures_with_states() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folders = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = folders.filter(|path| path.join("hidden.safetensors").exists()).collect();
    folders.sort();
    assert!(folders.len() >= 7, "{folders:?}");
    folders
}

#[test]
fn hidden_states_of_every_layer_are_pytorchs() {
    for folder in fixtures_with_states() {
        check_states(&folder);
    }
}

fn check_states(folder: &Path) {
    let bytes = std::fs::read(folder.join("hidden.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let pairs = std::fs::read_to_string(folder.join("reference.jsonl")).unwrap();
    for name in Isa::NAMES {
        let Ok(isa) = Isa::by_name(name) else {
            std::io::stderr().write_all(format!("SKIPPED hidden states on {name}\n").as_bytes()).unwrap();
            continue;
        };
        assert_eq!(isa.in_force(), name);
        let model = load(folder, isa, PanelDtype::F32);
        let layers = model.description.layers.len();
        let mut compared = 0;
        for (p, line) in pairs.lines().enumerate() {
            let pair: serde_json::Value = serde_json::from_str(line).unwrap();
            let numbers = |key: &str| {
                let values = pair[key].as_array().unwrap();
                values.iter().map(|id| id.as_u64().unwrap() as u32).collect()
            };
            // Beside another sequence and shared by two workers, so that a mix-up would show.
            let other = Tokenized::new(vec![1; 7], vec![0; 7]);
            let sequence = Tokenized::new(numbers("ids"), numbers("type_ids"));
            let chunk = [other, sequence];
            let mut ws = model.workspace();
            ws.reserve(ChunkSize::of(&chunk));
            let mut scratches = [model.scratch(), model.scratch()];
            model.embed(&chunk, &mut ws, &mut scratches);
            for l in 0..layers {
                let states = ws.hidden.view().row_range(7..7 + chunk[1].len());
                compared += usize::from(compare(&stored, &format!("pair.{p}.layer.{l}"), states));
                if l + 1 < layers {
                    model.layer(l, &mut ws, &mut scratches);
                }
            }
            model.finish(&mut ws, &mut scratches);
            let last = format!("pair.{p}.layer.{layers}");
            if model.description.final_norm.is_some() {
                // What is stored is not normalised yet, and what is here is.
                compared += usize::from(stored.tensor(&last).is_ok());
                continue;
            }
            let states = ws.cls.hidden.view().row_range(1..2);
            compared += usize::from(compare(&stored, &last, states));
        }
        let what = format!("stored tensors of {} that were compared on {}", folder.display(), isa.name());
        assert_eq!(compared, stored.len(), "{what}");
    }
}

#[test]
fn what_is_observed_is_what_the_forward_pass_computes() {
    for (folder, residuals_are_scaled) in [("tests/fixtures/gelu-60", false), ("models/default", true)] {
        check_observed(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), residuals_are_scaled);
    }
}

fn check_observed(folder: &Path, residuals_are_scaled: bool) {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let stored = SafeTensors::deserialize(&bytes).unwrap();
    let scales = stored.iter().filter(|(name, _)| name.ends_with(".residual_scale"));
    let scales = scales.filter(|(_, scale)| f32s(scale.data()).iter().any(|&factor| factor != 1.0));
    assert_eq!(scales.count() > 0, residuals_are_scaled);
    let scaled = |norm: &str, mut states: Vec<Vec<f32>>| {
        if let Ok(scale) = stored.tensor(&format!("bert.encoder.{norm}.residual_scale")) {
            let scale = f32s(scale.data());
            states.iter_mut().for_each(|row| row.iter_mut().zip(&scale).for_each(|(x, scale)| *x *= scale));
        }
        states
    };
    let model = load(folder, Isa::by_name("portable").unwrap(), PanelDtype::F32);
    let chunk = [7, 20].map(|len| Tokenized::new((3..3 + len).collect(), vec![0; len as usize]));
    let mut ws = model.workspace();
    let mut scratch = [model.scratch()];
    ws.reserve(ChunkSize::of(&chunk));
    model.embed(&chunk, &mut ws, &mut scratch);
    let mut hidden = model.embed_pairs(&chunk);
    let states = |rows: Rows<'_>| (0..rows.rows()).map(|i| rows.row(i).to_vec()).collect::<Vec<_>>();
    let layers = model.description.layers.len();
    for layer in 0..layers {
        assert_eq!(states(hidden.view()), states(ws.hidden.view()), "what enters layer {layer}");
        let (before, mut seen, mut up) = (states(hidden.view()), Vec::new(), Vec::new());
        model.observe(layer, &chunk, &mut hidden, &mut |reading| {
            let input = reading.input;
            let residual = reading.residual.map(states);
            let own = |part: &str| Some(format!("layer.{layer}.{part}"));
            let part = input.linears[0].rsplit('.').next().unwrap();
            match part {
                "up" => up = states(reading.rows),
                "down" => {
                    assert_eq!(
                        residual,
                        Some(scaled(&format!("layer.{layer}.output.LayerNorm"), up.clone()))
                    );
                    assert_eq!(
                        (&input.adds_to, &input.activation_of),
                        (&own("feed_forward_norm"), &own("up"))
                    );
                }
                "attention_output" => {
                    let rows = if layer + 1 == layers { vec![0, 7] } else { (0..27).collect() };
                    let rows = rows.into_iter().map(|i: usize| before[i].clone()).collect();
                    let norm = format!("layer.{layer}.attention.output.LayerNorm");
                    assert_eq!(residual, Some(scaled(&norm, rows)));
                    assert_eq!(input.adds_to, own("attention_norm"));
                }
                _ => assert_eq!((residual, &input.adds_to), (None, &None), "{part}"),
            }
            let norms = match part {
                "query" | "key" if layer == 0 => [Some("embeddings.norm".to_owned()), own("attention_norm")],
                "query" | "key" => {
                    [Some(format!("layer.{}.feed_forward_norm", layer - 1)), own("attention_norm")]
                }
                "up" => [own("attention_norm"), own("feed_forward_norm")],
                _ => [None, None],
            };
            assert_eq!([input.norm.clone(), input.residual_of.clone()], norms, "{part}");
            assert_eq!(input.activation_of.is_some(), part == "down");
            assert_eq!(input.all_tokens, reading.rows.rows() == 27);
            assert_eq!(input.in_one_byte, layer + 1 < layers);
            seen.push((input.linears.len(), reading.rows.rows()));
        });
        if layer + 1 < layers {
            assert_eq!(seen, [(3, 27), (1, 27), (1, 27), (1, 27)]);
            model.layer(layer, &mut ws, &mut scratch);
        } else {
            // Query; key and value; the three that follow attention; the pooler.
            assert_eq!(seen, [(1, 2), (2, 27), (1, 2), (1, 2), (1, 2), (1, 2)]);
            model.finish(&mut ws, &mut scratch);
        }
    }
    assert_eq!(states(hidden.view()), states(ws.cls.hidden.view()));
}

/// What `layer` leaves of the embeddings of two texts, 7 and 20 tokens long, in f32 and in int8. The default model's
/// weights are bytes either way, so that all the difference is the rounding of activations.
fn exact_and_rounded(layer: impl Fn(&Model, &mut Workspace) -> Matrix) -> [Matrix; 2] {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let isa = Isa::by_name("portable").unwrap();
    let chunk = [7, 20].map(|len| Tokenized::new((1000..1000 + len).collect(), vec![0; len as usize]));
    [PanelDtype::F32, PanelDtype::Int8].map(|panels| {
        let model = load(&folder, isa, panels);
        let mut ws = model.workspace();
        ws.reserve(ChunkSize::of(&chunk));
        model.embed(&chunk, &mut ws, &mut [model.scratch()]);
        layer(&model, &mut ws)
    })
}

#[test]
fn int8_takes_cls_rows_in_two_bytes_and_no_others() {
    let [exact, rounded] = exact_and_rounded(|model, ws| {
        model.layer(0, ws, &mut [model.scratch()]);
        ws.qkv.clone()
    });
    let error = |i: usize| {
        let pairs = exact.view().row(i).iter().zip(rounded.view().row(i));
        pairs.fold(0.0, |max, (a, b)| f32::max(max, (a - b).abs()))
    };
    let least = (0..27).filter(|i| ![0, 7].contains(i)).map(error).fold(f32::INFINITY, f32::min);
    for cls in [0, 7] {
        assert!(error(cls) < least / 50.0, "{} of row {cls}, {least} of the best other row", error(cls));
    }
}

/// In one byte each they would be 1.4 % of their size away.
#[test]
fn int8_takes_all_rows_of_the_last_layer_in_two_bytes() {
    let [exact, rounded] = exact_and_rounded(|model, ws| {
        model.finish(ws, &mut [model.scratch()]);
        ws.cls.hidden.clone()
    });
    for cls in [0, 1] {
        let (exact, rounded) = (exact.view().row(cls), rounded.view().row(cls));
        let size = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
        let difference: Vec<f32> = exact.iter().zip(rounded).map(|(a, b)| a - b).collect();
        let error = size(&difference) / size(exact);
        assert!(error < 0.001, "{error} of row {cls}");
    }
}
