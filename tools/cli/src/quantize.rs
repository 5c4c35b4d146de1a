//! `crossrank quantize`: a checkpoint in I8, with an F32 scale for each row.

mod calibrate;
mod checkpoint;
mod compensate;
mod moments;
mod recipe;
mod rows;
mod smooth;
mod verify;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::Reranker;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::args::{QuantizeArgs, ReportFormat};
use crate::failure::{Failure, say};
use crate::interrupt::Interrupt;
use crate::out_folder::{OutFolder, copy_neighbours, load_result};
use crate::output::{Output, megabytes};
use crate::progress;
use calibrate::Texts;
use checkpoint::{Tensor, Weights};
use compensate::Factor;
use recipe::{Recipe, hex};
use smooth::Smoothing;
use verify::Verdict;

/// The most that a row may be off after calibration, as a part of its norm. With texts that say something of all
/// columns 0.12 to 0.15 were seen (192 and 12 paragraphs); where most columns are always the same, rows become
/// anything.
const MOST_ERROR: f64 = 0.5;

/// Runs the command.
pub fn run(args: &QuantizeArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let out = OutFolder::check(&args.out_dir)?;
    // The engine's own errors for a broken model, and its word on which tensors matter. It is in f32: what it would run
    // in int8 is refused below.
    let source = Reranker::load(&args.model_dir)?;
    let info = source.info();
    if info.packed_checkpoint {
        return Err(Failure::about(
            args.model_dir.display(),
            "expected a checkpoint that is not packed, found one that is packed already",
        ));
    }
    let eval_set = verify::prepare(args, &source)?;
    let texts = args.calibrate.as_ref().map(|path| Texts::read(path, &source)).transpose()?;

    // From here on Ctrl-C is looked for where it is safe, so that the temporary folder is removed.
    let held = interrupt.hold();
    let folder = out.temporary("quantize")?;
    let weights = Weights::find(&args.model_dir)?;
    weights.refuse_quantized(&info.ignored)?;
    let before = weights.bytes()?;
    let (factors, smoothing) = match &texts {
        Some(texts) => texts.observe(&source, &weights, interrupt)?,
        None => Default::default(),
    };
    let calibration = texts.as_ref().map(|texts| texts.calibration(&source));
    let done = AtomicUsize::new(0);
    let summary = progress::watch("quantizing", before, &done, || {
        let mut result = Quantization {
            ignored: &info.ignored,
            factors: &factors,
            smoothing: &smoothing,
            shifts: Vec::new(),
            tensors: Vec::new(),
            digest: Sha256::new(),
            summary: Summary { recipe: Recipe::new(calibration), left_out: Vec::new(), worst: None },
        };
        for file in &weights.files {
            result.add_file(file, &done, interrupt)?;
        }
        result.shift_biases();
        result.add_residual_scales();
        result.summary.recipe.source_sha256 = hex(result.digest);
        let metadata = result.summary.recipe.metadata();
        checkpoint::write(&folder.path().join(checkpoint::WEIGHTS), &metadata, &result.tensors)?;
        Ok::<_, Failure>(result.summary)
    })?;
    if let (Some(texts), Some(worst)) =
        (&texts, summary.worst.as_ref().filter(|worst| worst.error > MOST_ERROR))
    {
        return Err(texts.too_alike(&worst.describe()));
    }
    copy_neighbours(&args.model_dir, folder.path(), interrupt)?;
    load_result(folder.path())?;
    let after = Weights::find(folder.path())?.bytes()?;
    interrupt.check()?;
    out.put(folder)?;

    drop(held);

    for tensor in &summary.left_out {
        say("note", &format!("left out tensor {tensor}: the engine does not use it"));
    }
    let mut output = Output::new();
    if args.format == ReportFormat::Text {
        output.facts(&summary.facts(before, after, &args.out_dir))?;
        output.flush()?;
    }
    let verdict = match &eval_set {
        Some(set) => Some(
            verify::verify(args, &source, set)
                .map_err(|failure| verify::unverified(&args.out_dir, failure))?,
        ),
        None => None,
    };
    // Output that has begun is written to its end.
    let _held = interrupt.hold();
    interrupt.check()?;
    match (args.format, &verdict) {
        (ReportFormat::Json, fidelity) => {
            let written_to = args.out_dir.display().to_string();
            let (bytes_before, bytes_after) = (before, after);
            output.json(&Report { summary: &summary, bytes_before, bytes_after, written_to, fidelity })?;
        }
        (ReportFormat::Text, Some(verdict)) => output.facts(&verdict.facts(args))?,
        (ReportFormat::Text, None) => {}
    }
    output.flush()?;
    if let (Some(verdict), Some(set)) = (&verdict, &eval_set) {
        verdict.write_logits(args, set)?;
    }
    verdict.map_or(Ok(()), |verdict| verdict.check(&args.out_dir))
}

/// A line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    bytes_before: usize,
    bytes_after: usize,
    written_to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fidelity: &'a Option<Verdict>,
}

/// What is said of the result.
#[derive(Serialize)]
struct Summary {
    #[serde(rename = "quantization")]
    recipe: Recipe,
    /// Names and dtypes.
    left_out: Vec<String>,
    worst: Option<WorstRow>,
}

#[derive(Serialize)]
struct WorstRow {
    error: f64,
    row: usize,
    tensor: String,
}

impl WorstRow {
    fn describe(&self) -> String {
        format!("{:.3}% of the row's norm, row {} of {}", 100.0 * self.error, self.row, self.tensor)
    }
}

impl Summary {
    /// For people.
    fn facts(&self, before: usize, after: usize, out_dir: &Path) -> Vec<(&'static str, String)> {
        let mut facts = self.recipe.facts();
        facts.extend([("weights before", megabytes(before)), ("weights after", megabytes(after))]);
        if let Some(worst) = &self.worst {
            facts.push(("worst row error", worst.describe()));
        }
        facts.push(("written to", out_dir.display().to_string()));
        facts
    }
}

/// The result as it grows, file by file: the source is never in memory as a whole, the result is.
struct Quantization<'a> {
    ignored: &'a [String],
    /// By the name of a weight.
    factors: &'a BTreeMap<String, Rc<Factor>>,
    smoothing: &'a Smoothing,
    /// Biases, and what goes off them.
    shifts: Vec<(String, Vec<f64>)>,
    tensors: Vec<Tensor>,
    /// Of the source's files.
    digest: Sha256,
    summary: Summary,
}

impl Quantization<'_> {
    fn add_file(&mut self, file: &Path, done: &AtomicUsize, interrupt: &Interrupt) -> Result<(), Failure> {
        let name = file.display();
        let bytes = fs::read(file).map_err(|error| Failure::about(&name, error))?;
        self.digest.update(&bytes);
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| Failure::about(&name, error))?;
        let mut tensors = tensors.tensors();
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (tensor, view) in tensors {
            interrupt.check()?;
            let (dtype, shape, data) = (view.dtype(), view.shape(), view.data());
            let failed = |reason| Failure::about(format_args!("{name}: tensor `{tensor}`"), reason);
            if self.ignored.contains(&tensor) {
                self.summary.left_out.push(format!("`{tensor}` ({dtype:?})"));
            } else if is_quantized(&tensor, shape) {
                let factor = self.factors.get(&tensor).map(|factor| &**factor);
                let columns = self.smoothing.columns.get(&tensor).map(|columns| &**columns);
                let quantized = rows::quantize(dtype, data, shape[1], columns, factor).map_err(failed)?;
                if let Some(shifts) = quantized.shifts {
                    let layer = tensor.strip_suffix(".weight").unwrap_or(&tensor);
                    self.shifts.push((format!("{layer}.bias"), shifts));
                }
                let worst = self.summary.worst.as_ref().map_or(-1.0, |worst| worst.error);
                if quantized.worst_error > worst {
                    let (error, row) = (quantized.worst_error, quantized.worst_row);
                    self.summary.worst = Some(WorstRow { error, row, tensor: tensor.clone() });
                }
                self.tensors.push(Tensor {
                    name: format!("{tensor}_scale"),
                    dtype: Dtype::F32,
                    shape: vec![shape[0]],
                    data: quantized.scales,
                });
                self.tensors.push(Tensor {
                    name: tensor,
                    dtype: Dtype::I8,
                    shape: shape.to_vec(),
                    data: quantized.values,
                });
                self.summary.recipe.tensors_i8 += 1;
            } else {
                rows::check_finite(dtype, data).map_err(failed)?;
                let (shape, elements) = (shape.to_vec(), self.smoothing.elements.get(&tensor));
                if let Some(elements) = elements {
                    let values = rows::widen(dtype, data).zip(elements).map(|(value, factor)| value * factor);
                    self.tensors.push(f32_tensor(tensor, shape, values));
                    self.summary.recipe.tensors_f32 += 1;
                } else {
                    self.tensors.push(Tensor { name: tensor, dtype, shape, data: data.to_vec() });
                    self.summary.recipe.tensors_kept += 1;
                }
            }
            done.fetch_add(data.len(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes off each bias what rounding adds to its product. The difference is small beside a bias: such are F32.
    fn shift_biases(&mut self) {
        let recipe = &mut self.summary.recipe;
        for (name, shifts) in &self.shifts {
            let Some(bias) = self.tensors.iter_mut().find(|tensor| tensor.name == *name) else { continue };
            let values = rows::widen(bias.dtype, &bias.data).zip(shifts);
            let shifted: Vec<f32> = values.map(|(value, shift)| (f64::from(value) - shift) as f32).collect();
            *bias = f32_tensor(name.clone(), bias.shape.clone(), shifted.into_iter());
            recipe.tensors_kept -= 1;
            recipe.tensors_f32 += 1;
        }
    }

    /// Adds the scales of residuals that the source has none for.
    fn add_residual_scales(&mut self) {
        for (name, scales) in self.smoothing.residual_scales() {
            if !self.tensors.iter().any(|tensor| tensor.name == *name) {
                let shape = vec![scales.len()];
                self.tensors.push(f32_tensor(name.clone(), shape, scales.iter().copied()));
                self.summary.recipe.tensors_f32 += 1;
            }
        }
    }
}

fn f32_tensor(name: String, shape: Vec<usize>, values: impl Iterator<Item = f32>) -> Tensor {
    Tensor { name, dtype: Dtype::F32, shape, data: values.flat_map(f32::to_le_bytes).collect() }
}

/// Embeddings and the Linear weights of encoder and pooler. The classifier is small, and every score goes through it;
/// so are the two rows of token types, one of which is added to every token: in I8 they were most of what all
/// embeddings moved logits by (0.63 of 0.74 % of the standard deviation; of their elements one is 15 times as large as
/// the norm of the row).
fn is_quantized(name: &str, shape: &[usize]) -> bool {
    let small = |part| ["classifier", "token_type_embeddings"].contains(&part);
    shape.len() == 2 && name.ends_with(".weight") && !name.split('.').any(small)
}
