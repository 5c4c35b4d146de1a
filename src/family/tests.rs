//! Toy families of random weights against a naive forward pass over the same descriptions, on every instruction set.

mod naive;

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use crossrank_kernels::{Isa, PanelDtype};
use safetensors::tensor::{Dtype, TensorView};

use super::description::{
    Attention, Buckets, Dense, Description, Embeddings, FeedForward, Function, HeadStep, LastForm, Layer,
    Norm, Order, Pooling, PositionTable, Relative, Residual, Rotary, RotaryScaling, TokenTypes,
};
use super::roles::{
    BUCKETS, EMBEDDINGS_NORM, FINAL_NORM, POSITIONS, PROJECTION, SHARED_BUCKETS, TOKEN_TYPES, WORDS,
    head_residual_role, head_role, role,
};
use crate::checkpoint::files::File;
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::model::{ChunkSize, Crew, Model, Packing, Scratch};
use crate::tokenized::Tokenized;
use crate::workers::Threads;
use naive::{Tensor, Tensors};

const WORDS_OF_TOYS: usize = 40;
const MOST_TOKENS: usize = 150;
/// What pads have in tables that do not count them.
const PAD: u32 = 1;

/// Of the logits, which are of size 1; where values of f32 are digits of bytes, too.
const F32_TOLERANCE: f64 = 2e-5;

fn dense(outputs: usize, bias: bool, activation: Option<Function>, residual: Residual) -> HeadStep {
    HeadStep::Dense(Dense { outputs, bias, activation, residual })
}

/// Norms first, gated, no biases, rotary positions, local layers but one, mean pooling.
fn modern(pooling: Pooling, last_is_local: bool, head_dim: usize) -> Description {
    let norm = Norm { eps: 1e-3, bias: false };
    let heads = 3;
    let hidden = heads * head_dim;
    let layer = |i: usize| {
        let local = if i == 2 { last_is_local } else { i.is_multiple_of(2) };
        let (theta, span) = if local { (50.0, Some(9)) } else { (900.0, None) };
        let scaling = if i == 1 { RotaryScaling::Linear { factor: 2.0 } } else { RotaryScaling::None };
        Layer {
            weights: i,
            order: Order::NormFirst,
            attention: Attention {
                heads,
                head_dim,
                scale: 1.3 / (head_dim as f32).sqrt(),
                bias: false,
                output_bias: false,
                positions: Relative::Rotary(Rotary { theta, scaling }),
                span,
            },
            feed_forward: FeedForward {
                intermediate: 37,
                activation: Function::Silu,
                gated: true,
                up_bias: false,
                down_bias: false,
            },
            attention_norm: (i > 0).then_some(norm),
            feed_forward_norm: norm,
        }
    };
    Description {
        family: "toy".into(),
        hidden,
        embeddings: Embeddings {
            width: hidden,
            words: WORDS_OF_TOYS,
            positions: None,
            token_types: None,
            norm: Some(norm),
            projected: false,
        },
        layers: (0..3).map(layer).collect(),
        final_norm: Some(norm),
        pooling,
        head: vec![
            dense(hidden, false, Some(Function::Gelu), Residual::None),
            HeadStep::Norm(Norm { eps: 1e-5, bias: true }),
            dense(2, true, None, Residual::None),
        ],
    }
}

/// Norms last, two groups of shared layers, factorised embeddings, pads that are not counted, biases by bucket.
fn shared(pooling: Pooling, tables_are_shared: bool) -> Description {
    let norm = Norm { eps: 1e-4, bias: true };
    let (heads, head_dim) = (4, 8);
    let hidden = heads * head_dim;
    let layer = |i: usize| Layer {
        weights: if i < 2 { 0 } else { 2 },
        order: Order::NormLast,
        attention: Attention {
            heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            bias: true,
            output_bias: true,
            positions: Relative::Buckets(Buckets {
                rows: 20,
                count: 16,
                max_distance: 30,
                shared: tables_are_shared,
            }),
            span: None,
        },
        feed_forward: FeedForward {
            intermediate: 50,
            activation: Function::GeluTanh,
            gated: false,
            up_bias: true,
            down_bias: true,
        },
        attention_norm: Some(norm),
        feed_forward_norm: norm,
    };
    Description {
        family: "toy".into(),
        hidden,
        embeddings: Embeddings {
            width: 20,
            words: WORDS_OF_TOYS,
            positions: Some(PositionTable { rows: MOST_TOKENS + 2, pad: Some(PAD) }),
            token_types: Some(TokenTypes { rows: 2, first_only: true }),
            norm: Some(norm),
            projected: true,
        },
        layers: (0..4).map(layer).collect(),
        final_norm: None,
        pooling,
        head: vec![
            dense(hidden, true, Some(Function::Tanh), Residual::Plain),
            dense(24, false, Some(Function::Relu), Residual::Projected),
            dense(1, true, None, Residual::None),
        ],
    }
}

/// ALiBi, norms first with biases, segments, a gate, and a span on the last layer.
fn sloped(order: Order) -> Description {
    let norm = Norm { eps: 1e-5, bias: true };
    let (heads, head_dim) = (4, 16);
    let hidden = heads * head_dim;
    let layer = |i: usize| Layer {
        weights: i,
        order,
        attention: Attention {
            heads,
            head_dim,
            scale: 1.0 / (head_dim as f32).sqrt(),
            bias: true,
            output_bias: true,
            positions: Relative::Alibi,
            span: (i == 1).then_some(40),
        },
        feed_forward: FeedForward {
            intermediate: 64,
            activation: Function::Gelu,
            gated: true,
            up_bias: true,
            down_bias: true,
        },
        attention_norm: Some(norm),
        feed_forward_norm: norm,
    };
    Description {
        family: "toy".into(),
        hidden,
        embeddings: Embeddings {
            width: hidden,
            words: WORDS_OF_TOYS,
            positions: None,
            token_types: Some(TokenTypes { rows: 2, first_only: false }),
            norm: None,
            projected: false,
        },
        layers: (0..2).map(layer).collect(),
        final_norm: None,
        pooling: Pooling::First,
        head: vec![dense(1, false, None, Residual::None)],
    }
}

fn toys() -> Vec<(&'static str, Description, LastForm)> {
    let modern_of = |pooling, local| modern(pooling, local, 10);
    vec![
        ("modern, mean", modern_of(Pooling::Mean, false), LastForm::Ordinary),
        ("modern, first", modern_of(Pooling::First, false), LastForm::ValuesOnly),
        ("modern, first, local", modern_of(Pooling::First, true), LastForm::ValuesOnly),
        // Heads of whole panels, so that workers share them.
        ("modern, first, panels", modern(Pooling::First, true, 16), LastForm::ValuesOnly),
        ("modern, mean, panels", modern(Pooling::Mean, true, 16), LastForm::Ordinary),
        ("shared, first", shared(Pooling::First, true), LastForm::Collapsed),
        ("shared, first, own tables", shared(Pooling::First, false), LastForm::Collapsed),
        ("shared, mean", shared(Pooling::Mean, true), LastForm::Ordinary),
        ("sloped, norms first", sloped(Order::NormFirst), LastForm::Collapsed),
        ("sloped, norms last", sloped(Order::NormLast), LastForm::Collapsed),
    ]
}

/// Random tensors for all roles of a description.
fn tensors(description: &Description, seed: u64) -> Tensors {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut tensors = Tensors::new();
    let mut add = |role: String, shape: &[usize], centre: f32, size: f32| {
        let count = shape.iter().product();
        let values = (0..count).map(|_| centre + size * (2.0 * random.f32() - 1.0)).collect();
        tensors.insert(role, Tensor { shape: shape.to_vec(), values });
    };
    let hidden = description.hidden;
    let embeddings = description.embeddings;
    let table = 0.3;
    add(WORDS.into(), &[embeddings.words, embeddings.width], 0.0, table);
    if let Some(positions) = embeddings.positions {
        add(POSITIONS.into(), &[positions.rows, embeddings.width], 0.0, table);
    }
    if let Some(types) = embeddings.token_types {
        add(TOKEN_TYPES.into(), &[types.rows, embeddings.width], 0.0, table);
    }
    let mut norms: Vec<(String, Norm, usize)> = Vec::new();
    norms.extend(embeddings.norm.map(|norm| (EMBEDDINGS_NORM.to_owned(), norm, embeddings.width)));
    norms.extend(description.final_norm.map(|norm| (FINAL_NORM.to_owned(), norm, hidden)));
    let mut linears: Vec<(String, [usize; 2], bool)> = Vec::new();
    if embeddings.projected {
        linears.push((PROJECTION.into(), [hidden, embeddings.width], true));
    }
    for (i, layer) in description.own_layers() {
        let intermediate = layer.feed_forward.intermediate;
        for (part, bias) in layer.linears() {
            let shape = match part {
                "up" | "gate" => [intermediate, hidden],
                "down" => [hidden, intermediate],
                _ => [hidden, hidden],
            };
            linears.push((role(i, part), shape, bias));
        }
        norms.extend(layer.norms().map(|(part, norm)| (role(i, part), norm, hidden)));
        if let Relative::Buckets(buckets) = layer.attention.positions {
            let table = if buckets.shared { SHARED_BUCKETS.to_owned() } else { role(i, BUCKETS) };
            add(table, &[buckets.rows, layer.attention.heads], 0.0, 2.0);
        }
    }
    let mut width = hidden;
    for (i, step) in description.head.iter().enumerate() {
        match step {
            HeadStep::Norm(norm) => norms.push((head_role(i), *norm, width)),
            HeadStep::Dense(dense) => {
                linears.push((head_role(i), [dense.outputs, width], dense.bias));
                if dense.residual == Residual::Projected {
                    linears.push((head_residual_role(i), [dense.outputs, width], false));
                }
                width = dense.outputs;
            }
        }
    }
    for (role, [n, k], bias) in linears {
        // Of a size that keeps that of the states, and tells tokens apart.
        add(format!("{role}.weight"), &[n, k], 0.0, 2.5 / (k as f32).sqrt());
        if bias {
            add(format!("{role}.bias"), &[n], 0.0, 0.3);
        }
    }
    for (role, norm, width) in norms {
        add(format!("{role}.weight"), &[width], 1.0, 0.3);
        if norm.bias {
            add(format!("{role}.bias"), &[width], 0.0, 0.3);
        }
    }
    tensors
}

/// A checkpoint whose tensors have names of their own; query, key and value are rows of one tensor, and so are the gate
/// and `up`, in this order.
fn checkpoint(description: &Description, tensors: &Tensors) -> (Weights, Names) {
    let mut stored: Vec<(String, Tensor)> = Vec::new();
    let mut names = Names::new("block.", "only what toys have");
    let mut left: HashMap<&str, &Tensor> = tensors.iter().map(|(role, tensor)| (&**role, tensor)).collect();
    for (i, layer) in description.own_layers() {
        for (together, parts) in [("in", &["key", "query", "value"][..]), ("wide", &["gate", "up"])] {
            if together == "wide" && !layer.feed_forward.gated {
                continue;
            }
            for kind in ["weight", "bias"] {
                let roles: Vec<String> =
                    parts.iter().map(|part| format!("{}.{kind}", role(i, part))).collect();
                let Some(parts) = roles.iter().map(|role| left.remove(&**role)).collect::<Option<Vec<_>>>()
                else {
                    continue;
                };
                let name = format!("block.{i}.{together}.{kind}");
                let mut whole = Tensor { shape: parts[0].shape.clone(), values: Vec::new() };
                whole.shape[0] = 0;
                let count = parts.len();
                for (n, (role, part)) in roles.into_iter().zip(parts).enumerate() {
                    whole.shape[0] += part.shape[0];
                    whole.values.extend(&part.values);
                    names.insert_part(role, &name, [n, count], part.shape[0]);
                }
                stored.push((name, whole));
            }
        }
    }
    for (n, (role, tensor)) in left.into_iter().enumerate() {
        let name = match role.strip_prefix("layer.") {
            Some(part) => format!("block.{part}"),
            None => format!("other_{n}.tensor"),
        };
        names.insert(role, &name);
        stored.push((name, tensor.clone()));
    }
    let bytes: Vec<Vec<u8>> = stored
        .iter()
        .map(|(_, tensor)| tensor.values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = stored.iter().zip(&bytes).map(|((name, tensor), bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).unwrap())
    });
    let file = safetensors::serialize(views, None).unwrap();
    let file = File { name: "toy.safetensors".into(), bytes: Arc::new(file), map: None };
    (Weights::parse(vec![file], None).unwrap(), names)
}

fn load(description: &Description, tensors: &Tensors, isa: Isa, panels: PanelDtype) -> Model {
    let (weights, names) = checkpoint(description, tensors);
    let packing = Packing { isa, panels };
    Model::load((description.clone(), names), weights, packing, MOST_TOKENS, &Threads::Caller).unwrap()
}

/// So many workers share every layer.
struct Fixed(Vec<Scratch>);

impl Crew for Fixed {
    fn gather(&mut self) -> &mut [Scratch] {
        &mut self.0
    }
}

fn score(model: &Model, chunk: &[Tokenized], workers: usize) -> Vec<f32> {
    let mut ws = model.workspace();
    ws.reserve(ChunkSize::of(chunk));
    let mut crew = Fixed((0..workers).map(|_| model.scratch()).collect());
    let mut logits = vec![f32::NAN; chunk.len() * model.labels()];
    // More than one worker forks, which is only done on a thread of a pool.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| model.forward(chunk, &mut ws, &mut crew, &mut logits));
    logits
}

/// Of several lengths, beyond every span and every bucket, with pads between the others.
fn sequences() -> Vec<Tokenized> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut sequence = |len: usize| {
        let ids = (0..len).map(|_| random.u32(0..WORDS_OF_TOYS as u32)).collect();
        Tokenized::new(ids, (0..len).map(|i| u32::from(i > len / 3)).collect())
    };
    [1, 2, 33, 150, 9, 70].map(&mut sequence).into()
}

fn for_each_isa(mut check: impl FnMut(Isa)) {
    for name in Isa::NAMES {
        match Isa::by_name(name) {
            Ok(isa) => check(isa),
            Err(_) => {
                std::io::stderr().write_all(format!("SKIPPED toy families on {name}\n").as_bytes()).unwrap()
            }
        }
    }
}

#[test]
fn toys_take_the_last_layer_that_their_description_allows() {
    for (toy, description, form) in toys() {
        description.check().unwrap_or_else(|error| panic!("{toy}: {error:?}"));
        assert_eq!(description.last_form(), form, "{toy}");
        let json = serde_json::to_string(&description).unwrap();
        assert_eq!(serde_json::from_str::<Description>(&json).unwrap(), description, "{toy}");
    }
}

#[test]
fn toys_agree_with_the_naive_forward_pass_on_every_instruction_set() {
    let sequences = sequences();
    for (n, (toy, description, _)) in toys().into_iter().enumerate() {
        let tensors = tensors(&description, n as u64);
        let expected: Vec<f64> =
            sequences.iter().flat_map(|sequence| naive::logits(&description, &tensors, sequence)).collect();
        let mean = expected.iter().sum::<f64>() / expected.len() as f64;
        let spread = expected.iter().map(|logit| (logit - mean).abs()).fold(0.0, f64::max);
        assert!(spread > 0.3, "{toy}: logits that hardly differ: {expected:?}");
        for_each_isa(|isa| {
            let model = load(&description, &tensors, isa, isa.panel_dtype(PanelDtype::F32));
            let alone: Vec<f32> = sequences
                .iter()
                .flat_map(|sequence| score(&model, std::slice::from_ref(sequence), 1))
                .collect();
            let mut worst = 0.0;
            for (i, (found, expected)) in alone.iter().zip(&expected).enumerate() {
                let off = (f64::from(*found) - expected).abs();
                worst = f64::max(worst, off / spread.max(1.0));
                assert!(
                    off <= F32_TOLERANCE * spread.max(1.0),
                    "{toy} on {}: logit {i}: expected {expected}, found {found}",
                    isa.name()
                );
            }
            println!("{toy} on {}: worst {worst:.1e}", isa.name());
        });
    }
}

/// In every dtype, in any company, in either order, shared by any number of workers.
#[test]
fn logits_of_toys_do_not_depend_on_company() {
    let sequences = sequences();
    for (n, (toy, description, _)) in toys().into_iter().enumerate() {
        let tensors = tensors(&description, n as u64);
        for_each_isa(|isa| {
            let mut f32_logits = Vec::new();
            for dtype in [PanelDtype::F32, PanelDtype::Bf16, PanelDtype::Int8] {
                let model = load(&description, &tensors, isa, isa.panel_dtype(dtype));
                let alone: Vec<f32> = sequences
                    .iter()
                    .flat_map(|sequence| score(&model, std::slice::from_ref(sequence), 1))
                    .collect();
                let what = format!("{toy} on {} in {}", isa.name(), dtype.name());
                for workers in [1, 2, 3] {
                    assert_eq!(score(&model, &sequences, workers), alone, "{what}, {workers} workers");
                }
                let backwards: Vec<Tokenized> = sequences.iter().rev().cloned().collect();
                let labels = model.labels();
                let found = score(&model, &backwards, 2);
                let found: Vec<f32> = found.rchunks(labels).flatten().copied().collect();
                assert_eq!(found, alone, "{what}, backwards");
                if dtype == PanelDtype::F32 {
                    f32_logits = alone;
                    continue;
                }
                // Random weights of these sizes are far more sensitive than trained ones.
                let spread = f32_logits.iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
                let worst =
                    alone.iter().zip(&f32_logits).fold(0.0_f32, |most, (a, b)| most.max((a - b).abs()));
                assert!(worst < 0.5 * spread, "{what}: {worst} of {spread} away from f32");
            }
        });
    }
}
