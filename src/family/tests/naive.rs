//! A forward pass over a description in f64, written to be checked by eye: what every family must agree with.

use std::collections::HashMap;

use crossrank_kernels::reference;

use super::super::description::{
    Attention, Buckets, Dense, Description, Function, HeadStep, Layer, Norm, Order, Pooling, Relative,
    Residual, Rotary, RotaryScaling,
};
use super::super::roles::{
    ATTENTION_NORM, ATTENTION_OUTPUT, BUCKETS, DOWN, EMBEDDINGS_NORM, FEED_FORWARD_NORM, FINAL_NORM, GATE,
    KEY, POSITIONS, PROJECTION, QUERY, SHARED_BUCKETS, TOKEN_TYPES, UP, VALUE, WORDS, head_residual_role,
    head_role, role,
};
use crate::tokenized::Tokenized;

/// A tensor by its shape, row-major.
#[derive(Clone)]
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f32>,
}

/// Tensors by their roles.
pub(super) type Tensors = HashMap<String, Tensor>;

type Row = Vec<f64>;

struct Network<'a> {
    description: &'a Description,
    tensors: &'a Tensors,
}

/// The logits of one sequence.
pub(super) fn logits(description: &Description, tensors: &Tensors, sequence: &Tokenized) -> Row {
    let network = Network { description, tensors };
    let mut states = network.embed(sequence);
    for layer in &description.layers {
        states = network.layer(layer, states);
    }
    if let Some(norm) = description.final_norm {
        states = states.iter().map(|state| network.norm(FINAL_NORM, norm, state)).collect();
    }
    let pooled = match description.pooling {
        Pooling::First => states[0].clone(),
        Pooling::Mean => {
            let sums = (0..description.hidden).map(|d| states.iter().map(|state| state[d]).sum::<f64>());
            sums.map(|sum| sum / states.len() as f64).collect()
        }
    };
    network.head(pooled)
}

impl Network<'_> {
    fn row(&self, tensor: &str, i: usize) -> Row {
        let Tensor { shape, values } = &self.tensors[tensor];
        let width = shape[1..].iter().product::<usize>();
        values[i * width..(i + 1) * width].iter().map(|&x| f64::from(x)).collect()
    }

    fn vector(&self, tensor: &str) -> Row {
        self.tensors[tensor].values.iter().map(|&x| f64::from(x)).collect()
    }

    /// weight x + bias
    fn linear(&self, role: &str, bias: bool, x: &[f64]) -> Row {
        let weight = format!("{role}.weight");
        let outputs = self.tensors[&weight].shape[0];
        let bias = if bias { self.vector(&format!("{role}.bias")) } else { vec![0.0; outputs] };
        (0..outputs).map(|i| dot(&self.row(&weight, i), x) + bias[i]).collect()
    }

    fn norm(&self, role: &str, Norm { eps, bias }: Norm, x: &[f64]) -> Row {
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let weight = self.vector(&format!("{role}.weight"));
        let bias = if bias { self.vector(&format!("{role}.bias")) } else { vec![0.0; x.len()] };
        let scaled = x.iter().map(|x| (x - mean) / (variance + f64::from(eps)).sqrt());
        scaled.zip(weight).zip(bias).map(|((x, weight), bias)| x * weight + bias).collect()
    }

    fn embed(&self, sequence: &Tokenized) -> Vec<Row> {
        let embeddings = self.description.embeddings;
        let mut counted = 0;
        let mut embed = |(&id, &segment): (&u32, &u32)| {
            let mut sum = self.row(WORDS, id as usize);
            if let Some(types) = embeddings.token_types {
                let segment = if types.first_only { 0 } else { segment as usize };
                sum = add(&sum, &self.row(TOKEN_TYPES, segment));
            }
            if let Some(table) = embeddings.positions {
                let place = match table.pad {
                    Some(pad) if pad == id => pad as usize,
                    pad => {
                        counted += 1;
                        counted - 1 + pad.map_or(0, |pad| pad as usize + 1)
                    }
                };
                sum = add(&sum, &self.row(POSITIONS, place));
            }
            let normed = embeddings.norm.map_or(sum.clone(), |norm| self.norm(EMBEDDINGS_NORM, norm, &sum));
            if embeddings.projected { self.linear(PROJECTION, true, &normed) } else { normed }
        };
        sequence.ids.iter().zip(&sequence.type_ids).map(&mut embed).collect()
    }

    fn layer(&self, layer: &Layer, states: Vec<Row>) -> Vec<Row> {
        let of = |part: &str| role(layer.weights, part);
        let normed = |part: &str, norm: Option<Norm>, when: Order, x: Row| match norm {
            Some(norm) if layer.order == when => self.norm(&of(part), norm, &x),
            _ => x,
        };
        let first = |part, norm, x: &Row| normed(part, norm, Order::NormFirst, x.clone());
        let last = |part, norm, x: Row| normed(part, norm, Order::NormLast, x);
        let read: Vec<Row> = states.iter().map(|x| first(ATTENTION_NORM, layer.attention_norm, x)).collect();
        let gathered = self.attend(layer, &read);
        let states = states.iter().zip(gathered).map(|(x, gathered)| {
            let bias = layer.attention.output_bias;
            let sum = add(x, &self.linear(&of(ATTENTION_OUTPUT), bias, &gathered));
            last(ATTENTION_NORM, layer.attention_norm, sum)
        });
        let feed_forward = layer.feed_forward;
        let states = states.map(|x| {
            let norm = Some(layer.feed_forward_norm);
            let read = first(FEED_FORWARD_NORM, norm, &x);
            let up = self.linear(&of(UP), feed_forward.up_bias, &read);
            let mut inner: Row = up.into_iter().map(|x| apply(feed_forward.activation, x)).collect();
            if feed_forward.gated {
                let gate = self.linear(&of(GATE), feed_forward.up_bias, &read);
                inner.iter_mut().zip(gate).for_each(|(x, gate)| *x *= gate);
            }
            let sum = add(&x, &self.linear(&of(DOWN), feed_forward.down_bias, &inner));
            last(FEED_FORWARD_NORM, norm, sum)
        });
        states.collect()
    }

    /// What each token gathers of all that it sees.
    fn attend(&self, layer: &Layer, states: &[Row]) -> Vec<Row> {
        let Attention { heads, head_dim, scale, bias, positions, span, .. } = layer.attention;
        let project = |part: &str| -> Vec<Row> {
            states.iter().map(|x| self.linear(&role(layer.weights, part), bias, x)).collect()
        };
        let [mut queries, mut keys, values] = [project(QUERY), project(KEY), project(VALUE)];
        if let Relative::Rotary(rotary) = positions {
            for rows in [&mut queries, &mut keys] {
                for (i, row) in rows.iter_mut().enumerate() {
                    row.chunks_mut(head_dim).for_each(|head| turn(rotary, i, head));
                }
            }
        }
        let score = |i: usize, j: usize, h: usize| {
            let own = h * head_dim..(h + 1) * head_dim;
            let product = dot(&queries[i][own.clone()], &keys[j][own]) * f64::from(scale);
            match positions {
                _ if span.is_some_and(|span| i.abs_diff(j) > span) => f64::NEG_INFINITY,
                Relative::None | Relative::Rotary(_) => product,
                Relative::Alibi => product - alibi(heads, h) * i.abs_diff(j) as f64,
                Relative::Buckets(buckets) => {
                    let table =
                        if buckets.shared { SHARED_BUCKETS.to_owned() } else { role(layer.weights, BUCKETS) };
                    product + self.row(&table, bucket(buckets, j as f64 - i as f64))[h]
                }
            }
        };
        let gather = |i: usize| {
            let mut gathered = vec![0.0; heads * head_dim];
            for h in 0..heads {
                let scores: Row = (0..states.len()).map(|j| score(i, j, h)).collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
                for (score, value) in scores.iter().zip(&values) {
                    for d in h * head_dim..(h + 1) * head_dim {
                        gathered[d] += (score - most).exp() / sum * value[d];
                    }
                }
            }
            gathered
        };
        (0..states.len()).map(gather).collect()
    }

    fn head(&self, pooled: Row) -> Row {
        let step = |x: Row, (i, step): (usize, &HeadStep)| match *step {
            HeadStep::Norm(norm) => self.norm(&head_role(i), norm, &x),
            HeadStep::Dense(Dense { bias, activation, residual, .. }) => {
                let sums = self.linear(&head_role(i), bias, &x).into_iter();
                let made: Row = sums.map(|x| activation.map_or(x, |function| apply(function, x))).collect();
                match residual {
                    Residual::None => made,
                    Residual::Plain => add(&made, &x),
                    Residual::Projected => add(&made, &self.linear(&head_residual_role(i), false, &x)),
                }
            }
        };
        self.description.head.iter().enumerate().fold(pooled, step)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(a: &[f64], b: &[f64]) -> Row {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

fn apply(function: Function, x: f64) -> f64 {
    match function {
        Function::Gelu => reference::gelu(x),
        Function::GeluTanh => reference::gelu_tanh(x),
        Function::Relu => reference::relu(x),
        Function::Silu => reference::silu(x),
        Function::Tanh => reference::tanh(x),
    }
}

/// Column d of the first half of a head and column d of the second are the two coordinates of a point.
fn turn(Rotary { theta, scaling }: Rotary, position: usize, head: &mut [f64]) {
    let (dim, half) = (head.len(), head.len() / 2);
    for d in 0..half {
        let frequency = theta.powf(-2.0 * d as f64 / dim as f64);
        let angle = position as f64
            * match scaling {
                RotaryScaling::None => frequency,
                RotaryScaling::Linear { factor } => frequency / factor,
                RotaryScaling::Yarn { .. } => unreachable!("no toy has it"),
            };
        let (x, y) = (head[d], head[d + half]);
        head[d] = x * angle.cos() - y * angle.sin();
        head[d + half] = y * angle.cos() + x * angle.sin();
    }
}

/// For a power of two of heads: 1/2, 1/4 ... for 8 of them.
fn alibi(heads: usize, h: usize) -> f64 {
    assert!(heads.is_power_of_two());
    2f64.powf(-8.0 * (h + 1) as f64 / heads as f64)
}

/// Half of the buckets are for keys that are ahead; of each half, half for one distance each.
fn bucket(Buckets { count, max_distance, .. }: Buckets, ahead: f64) -> usize {
    let (half, exact) = (count / 2, count / 4);
    let own = if ahead > 0.0 { half } else { 0 };
    let distance = ahead.abs();
    if distance < exact as f64 {
        return own + distance as usize;
    }
    let share = (distance / exact as f64).ln() / (max_distance as f64 / exact as f64).ln();
    own + (exact + (share * (half - exact) as f64) as usize).min(half - 1)
}
