//! `crossrank quantize`: a checkpoint in I8, with an F32 scale for each row.

mod checkpoint;
mod rows;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::Reranker;
use safetensors::{Dtype, SafeTensors};

use crate::args::QuantizeArgs;
use crate::failure::{Failure, say};
use crate::interrupt::Interrupt;
use crate::out_folder::{OutFolder, copy_neighbours, load_result};
use crate::output::{Output, megabytes};
use crate::progress;
use checkpoint::{Tensor, Weights};

/// Runs the command.
pub fn run(args: &QuantizeArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let out = OutFolder::check(&args.out_dir)?;
    // The engine's own errors for a broken model, and its word on which tensors matter.
    let ignored = Reranker::load(&args.model_dir)?.info().ignored;

    // From here on Ctrl-C is looked for where it is safe, so that the temporary folder is removed.
    let _held = interrupt.hold();
    let folder = out.temporary("quantize")?;
    let weights = Weights::find(&args.model_dir)?;
    let before = weights.bytes()?;
    let done = AtomicUsize::new(0);
    let summary = progress::watch("quantizing", before, &done, || {
        let mut result = Quantization { ignored: &ignored, tensors: Vec::new(), summary: Summary::default() };
        for file in &weights.files {
            result.add_file(file, &done, interrupt)?;
        }
        checkpoint::write(&folder.path().join(checkpoint::WEIGHTS), &result.tensors)?;
        Ok::<_, Failure>(result.summary)
    })?;
    copy_neighbours(&args.model_dir, folder.path(), interrupt)?;
    load_result(folder.path())?;
    let after = Weights::find(folder.path())?.bytes()?;
    interrupt.check()?;
    out.put(folder)?;

    for tensor in &summary.left_out {
        say("note", &format!("left out tensor {tensor}: the engine does not use it"));
    }
    let mut facts = vec![
        ("tensors in I8", summary.quantized.to_string()),
        ("tensors as they were", summary.kept.to_string()),
        ("weights before", megabytes(before)),
        ("weights after", megabytes(after)),
    ];
    if let Some(worst) = summary.worst {
        let error =
            format!("{:.3}% of the row's norm, row {} of {}", 100.0 * worst.error, worst.row, worst.tensor);
        facts.push(("worst row error", error));
    }
    facts.push(("written to", args.out_dir.display().to_string()));
    let mut output = Output::new();
    output.facts(&facts)?;
    output.flush()
}

/// What is said of the result.
#[derive(Default)]
struct Summary {
    quantized: usize,
    kept: usize,
    /// Names and dtypes.
    left_out: Vec<String>,
    worst: Option<WorstRow>,
}

struct WorstRow {
    error: f64,
    row: usize,
    tensor: String,
}

/// The result as it grows, file by file: the source is never in memory as a whole, the result is.
struct Quantization<'a> {
    ignored: &'a [String],
    tensors: Vec<Tensor>,
    summary: Summary,
}

impl Quantization<'_> {
    fn add_file(&mut self, file: &Path, done: &AtomicUsize, interrupt: &Interrupt) -> Result<(), Failure> {
        let name = file.display();
        let bytes = fs::read(file).map_err(|error| Failure::about(&name, error))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| Failure::about(&name, error))?;
        let mut tensors = tensors.tensors();
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (tensor, view) in tensors {
            interrupt.check()?;
            let (dtype, shape, data) = (view.dtype(), view.shape(), view.data());
            let failed = |reason| Failure::about(format_args!("{name}: tensor `{tensor}`"), reason);
            if dtype == Dtype::I8 {
                return Err(failed(
                    "expected F32, F16 or BF16, found I8: it is quantized already".to_owned(),
                ));
            } else if self.ignored.contains(&tensor) {
                self.summary.left_out.push(format!("`{tensor}` ({dtype:?})"));
            } else if is_quantized(&tensor, shape) {
                let quantized = rows::quantize(dtype, data, shape[1]).map_err(failed)?;
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
                self.summary.quantized += 1;
            } else {
                rows::check_finite(dtype, data).map_err(failed)?;
                self.tensors.push(Tensor { name: tensor, dtype, shape: shape.to_vec(), data: data.to_vec() });
                self.summary.kept += 1;
            }
            done.fetch_add(data.len(), Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Embeddings and the Linear weights of encoder and pooler. The classifier is small, and every score goes through it.
fn is_quantized(name: &str, shape: &[usize]) -> bool {
    shape.len() == 2 && name.ends_with(".weight") && !name.split('.').any(|part| part == "classifier")
}
