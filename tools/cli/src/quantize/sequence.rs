//! Layers rounded one after another, each for what the rounded ones before it give.
//!
//! The source and the model that becomes the result take the same texts, layer by layer. Where a product of the source
//! reads x, that of the result reads x', which the errors before it have moved. Its weights become W + D before they are
//! rounded: D x' is the linear function of x' that is nearest to what is missing, W (x - x') and the difference of the
//! residuals that are added to the product. Means go into the bias. So a layer makes up for what can be foretold of the
//! errors before it, not for its own alone (as in GPTAQ, Li et al. 2025). D is damped as the rounding is.
//!
//! The score is made of the `[CLS]` row, one of a hundred or two; here it counts as much as some others together, else
//! it is a rare row whose errors, the same in all pairs, move all logits of a domain.
//!
//! Mean |delta logit| of the default model in per cent of the standard deviation of the source's logits, SQuAD /
//! Cranfield, calibrated on 192 SQuAD paragraphs:
//!
//! TABLE

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crossrank::{Dtype, ModelBytes, Reading, Reranker, Tokenized};
use crossrank_kernels::{Isa, Matrix, Rows};

use super::calibrate::Texts;
use super::compensate::{Factor, share_rows};
use super::moments::{Covariance, Moments};
use super::result::{Linear, Quantization};
use super::rows::quantize;
use super::split::Split;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::progress;

/// How often a `[CLS]` row counts for one of another token.
pub const CLS_WEIGHT: u32 = 17;

/// Rounds all Linear weights of `result`, which are still open.
pub fn round(
    source: &Reranker,
    texts: &Texts,
    folder: &Path,
    result: &mut Quantization<'_>,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let isa = Isa::by_name(source.info().isa).unwrap_or_else(|_| Isa::best());
    let layers = source.info().layers;
    let done = AtomicUsize::new(0);
    progress::watch("calibrating", layers, &done, || {
        let rounded = load(folder, result)?;
        let embed = |batch| Ok([source.embed(batch)?, rounded.embed(batch)?]);
        let mut hidden: Vec<[Matrix; 2]> = texts.batches().map(embed).collect::<Result<_, Failure>>()?;
        for layer in 0..layers {
            // One product after another, and then, as there is none left, what enters the next layer.
            for step in 0.. {
                let models = [source, &load(folder, result)?];
                let mut observed = None;
                let mut left = Vec::new();
                for (batch, hidden) in texts.batches().zip(&hidden) {
                    interrupt.check()?;
                    let [(exact, exact_left), (rounded, rounded_left)] =
                        pass(models, layer, step, batch, hidden);
                    if let (Some(exact), Some(rounded)) = (exact, rounded) {
                        let observed = observed.get_or_insert_with(|| Observed::new(isa, &exact));
                        observed.add(batch, result, &exact, &rounded);
                    }
                    left.push([exact_left, rounded_left]);
                }
                match observed {
                    Some(observed) => observed.round(texts, result)?,
                    None => {
                        hidden = left;
                        break;
                    }
                }
            }
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    })
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
    linears: Vec<String>,
    neurons_of: Option<String>,
    rows: Matrix,
    residual: Option<Matrix>,
}

impl Kept {
    fn new(reading: &Reading<'_>) -> Self {
        Self {
            linears: reading.linears.to_vec(),
            neurons_of: reading.neurons_of.map(str::to_owned),
            rows: copy(reading.rows),
            residual: reading.residual.map(copy),
        }
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
    linears: Vec<String>,
    neurons_of: Option<String>,
    /// Whether they read all tokens, not `[CLS]` alone: of that there are too few rows to foretell anything by.
    all_tokens: bool,
    /// Of x', x - x', and the difference of residuals.
    moments: Moments,
}

impl Observed {
    fn new(isa: Isa, kept: &Kept) -> Self {
        let inputs = kept.rows.view().cols();
        let outputs = kept.residual.as_ref().map_or(0, |residual| residual.view().cols());
        Self {
            linears: kept.linears.clone(),
            neurons_of: kept.neurons_of.clone(),
            all_tokens: false,
            moments: Moments::new(isa, inputs, 2 * inputs + outputs),
        }
    }

    fn add(&mut self, batch: &[Tokenized], result: &Quantization<'_>, exact: &Kept, rounded: &Kept) {
        let (x, y) = (exact.rows.view(), rounded.rows.view());
        // In the result columns are smoothed.
        let columns = result.columns(&self.linears[0]);
        let factor = |j| columns.map_or(1.0, |columns: &[f32]| columns[j]);
        let mut starts = Vec::new();
        let tokens = batch.iter().fold(0, |start, pair| {
            starts.push(start);
            start + pair.len()
        });
        self.all_tokens = x.rows() == tokens;
        for i in 0..x.rows() {
            let weight = if self.all_tokens && starts.contains(&i) { CLS_WEIGHT } else { 1 };
            let (x, y) = (x.row(i), y.row(i));
            let missing = x.iter().zip(y).enumerate().map(|(j, (x, y))| x * factor(j) - y);
            let residuals = exact.residual.iter().zip(&rounded.residual);
            let residuals = residuals.flat_map(|(x, y)| x.view().row(i).iter().zip(y.view().row(i)));
            let residuals: Vec<f32> = residuals.map(|(x, y)| x - y).collect();
            self.moments.add(weight, y.iter().copied().chain(missing).chain(residuals));
        }
    }

    /// Rounds the Linear layers.
    fn round(self, texts: &Texts, result: &mut Quantization<'_>) -> Result<(), Failure> {
        let all = self.moments.covariance().ok_or_else(|| {
            texts.failure(format!("`{}` reads NaN or infinities of these texts", self.linears[0]))
        })?;
        let mut split = None;
        if let (Some(neurons), true, [linear]) = (&self.neurons_of, self.all_tokens, &self.linears[..]) {
            let found = Split::choose(&result.linear(linear).weight, &all);
            result.copy_neurons(neurons, &found);
            split = Some(found);
        }
        let own = split.as_ref().map(|split| all.with_inputs(&split.from));
        let own = own.as_ref().unwrap_or(&all);
        let factor = Factor::new(own);
        for name in &self.linears {
            let linear = result.linear(name);
            let mut weight = match &split {
                Some(split) => linear.rows().flat_map(|row| split.share(row)).collect(),
                None => linear.weight.clone(),
            };
            if self.all_tokens {
                correct(&linear, split.as_ref(), &all, own, &factor, &mut weight);
            }
            let quantized = quantize(&weight, own.inputs, Some(&factor));
            let bias = bias(&linear, &all, own, &quantized.values, &quantized.scales);
            result.put_linear(name, quantized, bias);
        }
        Ok(())
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
            row.iter_mut()
                .zip(sums)
                .for_each(|(weight, change)| *weight = (f64::from(*weight) + change) as f32);
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
