//! Layers rounded one after another, each for what the rounded ones before it give.
//!
//! The source and the model that becomes the result take the same texts, layer by layer. Where a product of the source
//! reads x, that of the result reads x', which the errors before it have moved. Its weights become W + D before they
//! are rounded: D x' is the linear function of x' that is nearest to what is missing, W (x - x') and the difference of
//! the residuals that are added to the product. Means go into the bias. So a layer makes up for what can be foretold of
//! the errors before it, not for its own alone (as in GPTAQ, Li et al. 2025). D is damped as the rounding is.
//!
//! The score is made of the `[CLS]` row, one of a hundred or two; here it counts as much as some others together, else
//! it is a rare row whose errors, the same in all pairs, move all logits of a domain.
//!
//! Mean |delta logit| of the default model in int8, in per cent of the standard deviation of the source's logits, SQuAD
//! / Cranfield (all queries, `avx512_bf16`), calibrated on 192 SQuAD paragraphs; all but the first and the last row are
//! of a prototype in PyTorch that wrote checkpoints for this engine:
//!
//! | | as it runs |
//! |---|---|
//! | layers by themselves, all rows alike, positions in bytes | 1.27 / 1.56 |
//! | `[CLS]` rows count 17, positions as they were | 1.23 / 1.50 |
//! | and outliers split (`split.rs`) | 1.11 / 1.45 |
//! | instead of that, one layer after another | 1.17 / 1.54 |
//! | both | 1.03 / 1.32 |
//!
//! Of that all logits of Cranfield being moved alike was 0.59 of 1.56, 0.02 of 1.32. No better (prototype; both: 1.03 /
//! 1.28): `[CLS]` rows counting 65 (1.05 / 1.27), the result run in int8 as it is calibrated (1.12 / 1.33), residuals
//! left as they are (1.05 / 1.33), twice as many paragraphs (1.02 / 1.32). What is left is mostly the rounding of
//! activations: in f32 the prototype's weights were off by 0.81 on Cranfield.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossrank::{Dtype, Input, ModelBytes, Reading, Reranker, Tokenized};
use crossrank_kernels::{Isa, Matrix, Rows};

use super::calibrate::Texts;
use super::compensate::{Factor, share_rows};
use super::moments::{Covariance, Moments};
use super::result::{Linear, Quantization};
use super::rows::{norm, quantize};
use super::split::Split;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::progress;

/// How often a `[CLS]` row counts for one of another token.
pub const CLS_WEIGHT: u32 = 17;

/// The most that a row of weights may change before it is rounded, as a part of its norm; else it stays as it is: it is
/// next to nothing beside the residual, or the texts say too little. 0.08 and 0.15 were seen (192 and 12 paragraphs).
const MOST_CHANGE: f64 = 0.5;

/// Rounds all Linear weights of `result`, which are still open.
pub fn round(
    source: &Reranker,
    texts: &Texts,
    folder: &Path,
    result: &mut Quantization<'_>,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let isa = Isa::by_name(source.info().isa).expect("what a model runs on is there");
    let layers = source.info().layers;
    let done = AtomicUsize::new(0);
    progress::watch("calibrating", layers, &done, || {
        let mut rounded = load(folder, result)?;
        let mut hidden = embed([source, &rounded], texts)?;
        for layer in 0..layers {
            // One product after another, and then, as there is none left, what enters the next layer.
            for step in 0.. {
                let models = [source, &rounded];
                let mut observed = None;
                for (batch, hidden) in texts.batches().zip(&mut hidden) {
                    interrupt.check()?;
                    match pass(models, layer, step, batch, hidden) {
                        [(Some(exact), _), (Some(rounded), _)] => {
                            let observed = observed.get_or_insert_with(|| Observed::new(isa, &exact));
                            let columns = result.columns(&exact.input.linears[0]);
                            observed.add(batch, columns, &exact, &rounded);
                        }
                        [(_, exact), (_, rounded)] => *hidden = [exact, rounded],
                    }
                }
                match observed {
                    Some(observed) => {
                        let changed = observed.round(texts, result)?;
                        rounded.replace(layer, changed.iter().map(|role| result.rounded(role)).collect())?;
                    }
                    None => break,
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
}

/// What enters the first layer of both models, batch by batch.
fn embed(models: [&Reranker; 2], texts: &Texts) -> Result<Vec<[Matrix; 2]>, Failure> {
    let [source, rounded] = models;
    texts.batches().map(|batch| Ok([source.embed(batch)?, rounded.embed(batch)?])).collect()
}

/// The result as it is so far, in f32.
fn load(folder: &Path, result: &Quantization<'_>) -> Result<Reranker, Failure> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| Failure::about(path.display(), error))
    };
    let weights = result.bytes().map_err(|error| Failure::about(folder.display(), error))?;
    let bytes = ModelBytes::new(read("config.json")?, weights).tokenizer(read("tokenizer.json")?);
    Ok(Reranker::builder().dtype(Dtype::F32).from_bytes(bytes)?)
}

/// Takes both models through a layer; gives the `step`th of its readings, and what leaves it.
fn pass(
    models: [&Reranker; 2],
    layer: usize,
    step: usize,
    batch: &[Tokenized],
    hidden: &[Matrix; 2],
) -> [(Option<Kept>, Matrix); 2] {
    let one = |i: usize| {
        let (mut hidden, mut kept, mut steps) = (hidden[i].clone(), None, 0..);
        models[i].observe(layer, batch, &mut hidden, &mut |reading| {
            if steps.next() == Some(step) {
                kept = Some(Kept::new(&reading));
            }
        });
        (kept, hidden)
    };
    thread::scope(|scope| {
        let exact = scope.spawn(|| one(0));
        let rounded = one(1);
        match exact.join() {
            Ok(exact) => [exact, rounded],
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// A copy of a reading.
struct Kept {
    input: Input,
    rows: Matrix,
    residual: Option<Matrix>,
}

impl Kept {
    fn new(reading: &Reading<'_>) -> Self {
        Self { input: reading.input.clone(), rows: copy(reading.rows), residual: reading.residual.map(copy) }
    }
}

fn copy(rows: Rows<'_>) -> Matrix {
    let mut copy = Matrix::unpadded(rows.cols());
    copy.set_rows(rows.rows());
    (0..rows.rows()).for_each(|i| copy.view_mut().row_mut(i).copy_from_slice(rows.row(i)));
    copy
}

/// What some Linear layers of both models read of all texts.
struct Observed {
    /// Where it has only the rows of `[CLS]`, these are too few to foretell anything by.
    input: Input,
    /// Of x', x - x', and the difference of residuals.
    moments: Moments,
}

impl Observed {
    fn new(isa: Isa, kept: &Kept) -> Self {
        let inputs = kept.rows.view().cols();
        let outputs = kept.residual.as_ref().map_or(0, |residual| residual.view().cols());
        Self { input: kept.input.clone(), moments: Moments::new(isa, inputs, 2 * inputs + outputs) }
    }

    /// In the result `columns` are smoothed.
    fn add(&mut self, batch: &[Tokenized], columns: Option<&[f32]>, exact: &Kept, rounded: &Kept) {
        let (x, y) = (exact.rows.view(), rounded.rows.view());
        let factor = |j| columns.map_or(1.0, |columns| columns[j]);
        let mut next = 0;
        let mut starts = Vec::new();
        for pair in batch {
            starts.push(next);
            next += pair.len();
        }
        for i in 0..x.rows() {
            let weight = if self.input.all_tokens && starts.contains(&i) { CLS_WEIGHT } else { 1 };
            let (x, y) = (x.row(i), y.row(i));
            let missing = x.iter().zip(y).enumerate().map(|(j, (x, y))| x * factor(j) - y);
            let residuals = exact.residual.iter().zip(&rounded.residual);
            let residuals = residuals.flat_map(|(x, y)| x.view().row(i).iter().zip(y.view().row(i)));
            let residuals: Vec<f32> = residuals.map(|(x, y)| x - y).collect();
            self.moments.add(weight, y.iter().copied().chain(missing).chain(residuals));
        }
    }

    /// Rounds the Linear layers; gives the roles of all that have changed.
    fn round(self, texts: &Texts, result: &mut Quantization<'_>) -> Result<Vec<String>, Failure> {
        let Input { linears, all_tokens, activation_of, .. } = self.input;
        let all = self.moments.covariance().ok_or_else(|| {
            texts.failure(format!("`{}` reads NaN or what has no square in f32 of these texts", linears[0]))
        })?;
        let (mut split, mut changed) = (None, linears.clone());
        if let (Some(neurons), true, [linear]) = (activation_of, all_tokens, &linears[..]) {
            let found = Split::choose(&result.linear(linear).weight, &all);
            if found.replaced().next().is_some() {
                result.copy_neurons(&neurons, &found);
                changed.push(neurons);
                split = Some(found);
            }
        }
        let own = split.as_ref().map(|split| all.with_inputs(&split.from));
        let own = own.as_ref().unwrap_or(&all);
        let factor = Factor::new(own);
        for role in &linears {
            let linear = result.linear(role);
            let mut weight: Vec<f32> = match &split {
                Some(split) => linear.rows().flat_map(|row| split.share(row)).collect(),
                None => linear.weight.clone(),
            };
            if let (true, Some(factor)) = (all_tokens, &factor) {
                correct(&linear, split.as_ref(), &all, own, factor, &mut weight);
            }
            let quantized = quantize(&weight, own.inputs, factor.as_ref());
            let bias = bias(&linear, &all, own, &quantized.values, &quantized.scales);
            result.put_linear(role, quantized, bias);
        }
        Ok(changed)
    }
}

/// Adds to weights what gives, of what the result reads, as much as can be of what is missing.
fn correct(
    linear: &Linear,
    split: Option<&Split>,
    all: &Covariance,
    own: &Covariance,
    factor: &Factor,
    weight: &mut [f32],
) {
    let inputs = own.inputs;
    let add = |sums: &mut [f64], times: f32, column: usize| {
        let times = f64::from(times);
        let row = &own.matrix[column * inputs..(column + 1) * inputs];
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += times * value);
    };
    share_rows(weight, inputs, |first, rows| {
        for (i, row) in rows.chunks_exact_mut(inputs).enumerate() {
            let source = linear.row(first + i);
            let mut sums = vec![0.0; inputs];
            source.iter().enumerate().for_each(|(j, &weight)| add(&mut sums, weight, inputs + j));
            if own.means.len() > 2 * inputs {
                add(&mut sums, 1.0, 2 * inputs + first + i);
            }
            // What neurons gave whose places copies have taken.
            if let Some(split) = split {
                for place in split.replaced() {
                    let weight = f64::from(source[place]);
                    let with = split.from.iter().map(|&from| weight * all.at(place, from));
                    sums.iter_mut().zip(with).for_each(|(sum, value)| *sum += value);
                }
            }
            factor.solve(&mut sums);
            let before = norm(row.iter().copied().map(f64::from));
            if norm(sums.iter().copied()) <= MOST_CHANGE * before {
                row.iter_mut()
                    .zip(sums)
                    .for_each(|(weight, change)| *weight = (f64::from(*weight) + change) as f32);
            }
        }
    });
}

/// What makes the mean of the rounded product that of the source's.
fn bias(linear: &Linear, all: &Covariance, own: &Covariance, values: &[i8], scales: &[f32]) -> Vec<f32> {
    let inputs = own.inputs;
    let rounded = values.chunks_exact(inputs).zip(scales);
    let outputs = linear.bias.iter().enumerate().zip(rounded);
    let mean = |((i, &bias), (bytes, &scale)): ((usize, &f32), (&[i8], &f32))| {
        let row = linear.row(i).iter().zip(all.means.iter().zip(&all.means[inputs..]));
        let source: f64 = row.map(|(&weight, (mean, missing))| f64::from(weight) * (mean + missing)).sum();
        let residual = all.means.get(2 * inputs + i).unwrap_or(&0.0);
        let sum: f64 = bytes.iter().zip(&own.means).map(|(&byte, mean)| f64::from(byte) * mean).sum();
        (f64::from(bias) + source + residual - f64::from(scale) * sum) as f32
    };
    outputs.map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: usize = 6;
    const OUTPUTS: usize = 4;

    /// Numbers in -1..1 that look random.
    fn matrix(rows: usize, cols: usize, seed: u64) -> Matrix {
        let mut state = seed;
        let mut matrix = Matrix::unpadded(cols);
        matrix.set_rows(rows);
        for i in 0..rows {
            for value in matrix.view_mut().row_mut(i) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *value = (state >> 40) as f32 / (1_u64 << 23) as f32 - 1.0;
            }
        }
        matrix
    }

    fn kept(rows: Matrix, residual: Option<Matrix>) -> Kept {
        let input = Input {
            linears: vec!["linear".into()],
            all_tokens: true,
            in_one_byte: true,
            norm: None,
            residual_of: None,
            adds_to: None,
            activation_of: None,
        };
        Kept { input, rows, residual }
    }

    fn pairs(lens: &[usize]) -> Vec<Tokenized> {
        lens.iter().map(|&len| Tokenized::new(vec![1; len], vec![0; len])).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// What is seen of a pair of 250 tokens and one of 150.
    fn covariance(columns: Option<&[f32]>, exact: &Kept, rounded: &Kept) -> Covariance {
        let mut observed = Observed::new(Isa::best(), exact);
        observed.add(&pairs(&[250, 150]), columns, exact, rounded);
        observed.moments.covariance().unwrap()
    }

    #[test]
    fn smoothed_inputs_are_not_missing() {
        let factors = [0.5, 2.0, 1.0, 4.0, 0.25, 8.0];
        let exact = matrix(400, INPUTS, 1);
        let mut smoothed = exact.clone();
        for i in 0..400 {
            smoothed
                .view_mut()
                .row_mut(i)
                .iter_mut()
                .zip(factors)
                .for_each(|(value, factor)| *value *= factor);
        }
        let [exact, rounded] = [exact, smoothed].map(|rows| kept(rows, None));
        let all = covariance(Some(&factors), &exact, &rounded);
        let weight: Vec<f32> = (0..OUTPUTS * INPUTS).map(|i| 0.1 * i as f32 - 1.0).collect();
        let linear = Linear { weight: weight.clone(), bias: vec![0.0; OUTPUTS] };
        let mut corrected = weight.clone();
        correct(&linear, None, &all, &all, &Factor::new(&all).unwrap(), &mut corrected);
        assert_eq!(corrected, weight);
    }

    #[test]
    fn what_replaced_neurons_gave_is_left_to_others() {
        let mut rows = matrix(400, INPUTS, 1);
        for i in 0..400 {
            let mut rows = rows.view_mut();
            let row = rows.row_mut(i);
            row[2] = 0.5 * row[0] - row[3];
        }
        let mut weight: Vec<f32> = vec![1.0; OUTPUTS * INPUTS];
        weight.chunks_mut(INPUTS).for_each(|row| row[2] = 0.1);
        weight[1] = 64.0;
        let linear = Linear { weight: weight.clone(), bias: vec![0.0; OUTPUTS] };
        let [exact, rounded] = [&rows, &rows].map(|rows| kept(rows.clone(), None));
        let all = covariance(None, &exact, &rounded);
        let split = Split::choose(&weight, &all);
        assert_eq!(split.from, [0, 1, 1, 3, 4, 5]);
        let own = all.with_inputs(&split.from);
        let shared: Vec<f32> = linear.rows().flat_map(|row| split.share(row)).collect();
        let mut corrected = shared.clone();
        correct(&linear, Some(&split), &all, &own, &Factor::new(&own).unwrap(), &mut corrected);
        let error = |weight: &[f32], output: usize| -> f32 {
            let outputs = output * INPUTS..(output + 1) * INPUTS;
            let error = |i| {
                let rows = rows.view();
                let row = rows.row(i);
                let copied: Vec<f32> = split.from.iter().map(|&from| row[from]).collect();
                (dot(linear.row(output), row) - dot(&weight[outputs.clone()], &copied)).abs()
            };
            (0..400).map(error).sum()
        };
        for output in 0..OUTPUTS {
            let (before, after) = (error(&shared, output), error(&corrected, output));
            assert!(after < 0.1 * before, "output {output}: {after}, {before} as it was shared out");
        }
    }

    #[test]
    fn what_can_be_foretold_of_what_is_missing_is_made_up_for() {
        // The rounded model's inputs and residuals are off by something linear in its inputs, and by a constant.
        let (rounded, off, off_residual) =
            (matrix(400, INPUTS, 1), matrix(INPUTS, INPUTS, 2), matrix(OUTPUTS, INPUTS, 3));
        let mut exact = rounded.clone();
        let (residual, mut exact_residual) = (matrix(400, OUTPUTS, 4), matrix(400, OUTPUTS, 4));
        for i in 0..400 {
            let row = rounded.view().row(i);
            for (j, value) in exact.view_mut().row_mut(i).iter_mut().enumerate() {
                *value += 0.1 * dot(row, off.view().row(j)) + 0.05;
            }
            for (j, value) in exact_residual.view_mut().row_mut(i).iter_mut().enumerate() {
                *value += 0.1 * dot(row, off_residual.view().row(j)) - 0.02;
            }
        }
        let weight: Vec<f32> =
            (0..OUTPUTS).flat_map(|i| matrix(OUTPUTS, INPUTS, 5).view().row(i).to_vec()).collect();
        let linear = Linear { weight: weight.clone(), bias: vec![0.5; OUTPUTS] };
        let [exact, rounded] = [kept(exact, Some(exact_residual)), kept(rounded, Some(residual))];
        let all = covariance(None, &exact, &rounded);
        let mut corrected = weight;
        correct(&linear, None, &all, &all, &Factor::new(&all).unwrap(), &mut corrected);
        // Bytes that are fine enough to be none.
        let values: Vec<i8> = corrected.iter().map(|weight| (weight / 0.02).round() as i8).collect();
        let bias = bias(&linear, &all, &all, &values, &[0.02; OUTPUTS]);

        let residuals = [&exact, &rounded].map(|kept| kept.residual.as_ref().unwrap().view());
        for j in 0..OUTPUTS {
            let outputs = j * INPUTS..(j + 1) * INPUTS;
            let bytes: Vec<f32> =
                values[outputs.clone()].iter().map(|&byte| f32::from(byte) * 0.02).collect();
            let errors = |weight: &[f32], bias: f32| -> Vec<f32> {
                let error = |i: usize| {
                    let expected =
                        dot(linear.row(j), exact.rows.view().row(i)) + 0.5 + residuals[0].row(i)[j];
                    dot(weight, rounded.rows.view().row(i)) + bias + residuals[1].row(i)[j] - expected
                };
                (0..400).map(error).collect()
            };
            let spread = |errors: &[f32]| {
                let mean = errors.iter().sum::<f32>() / 400.0;
                errors.iter().map(|error| (error - mean).abs()).sum::<f32>()
            };
            let (before, after) =
                (spread(&errors(linear.row(j), 0.5)), spread(&errors(&corrected[outputs], 0.5)));
            assert!(after < 0.03 * before, "output {j}: {after}, {before} as it was");
            // As often as each counts.
            let count = |i| if [0, 250].contains(&i) { CLS_WEIGHT as f32 } else { 1.0 };
            let errors = errors(&bytes, bias[j]);
            let sum: f32 = errors.iter().enumerate().map(|(i, error)| count(i) * error).sum();
            assert!(sum.abs() < 1e-3, "output {j}: {sum}");
        }
    }
}
