//! `crossrank quantize`: a checkpoint in I8, with an F32 scale for each row.

mod checkpoint;
mod rows;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::Reranker;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

use crate::args::QuantizeArgs;
use crate::failure::{Failure, describe, say};
use crate::interrupt::Interrupt;
use crate::output::{Output, megabytes};
use crate::progress;
use checkpoint::{Tensor, Weights};

/// What a model folder holds beside its weights. Only the first two must be there, which loading has shown.
const COPIED: [&str; 4] =
    ["config.json", "tokenizer.json", "tokenizer_config.json", "config_sentence_transformers.json"];

/// Runs the command.
pub fn run(args: &QuantizeArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let out = OutFolder::check(&args.out_dir)?;
    // The engine's own errors for a broken model, and its word on which tensors matter.
    let ignored = Reranker::load(&args.model_dir)?.info().ignored;

    // From here on Ctrl-C is looked for where it is safe, so that the temporary folder is removed.
    let _held = interrupt.hold();
    let folder = out.temporary()?;
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
    for name in COPIED {
        copy(&args.model_dir.join(name), &folder.path().join(name))?;
        interrupt.check()?;
    }
    if let Err(error) = Reranker::load(folder.path()) {
        return Err(Failure::about("the result cannot be loaded", describe(&error)));
    }
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

/// Copies what a file holds, not its permissions or links: hub folders are links into a read-only cache.
fn copy(from: &Path, to: &Path) -> Result<(), Failure> {
    let bytes = match fs::read(from) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::about(from.display(), error)),
    };
    fs::write(to, bytes).map_err(|error| Failure::about(to.display(), error))
}

/// Where the result goes, all at once.
struct OutFolder {
    path: PathBuf,
    parent: PathBuf,
}

impl OutFolder {
    /// A folder that does not exist, or an empty one.
    fn check(path: &Path) -> Result<Self, Failure> {
        let failed = |reason: &dyn std::fmt::Display| Failure::about(path.display(), reason);
        let path = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
            Err(error) => return Err(failed(&error)),
            Ok(_) => {
                let mut entries = fs::read_dir(path).map_err(|error| failed(&error))?;
                if entries.next().is_some() {
                    return Err(failed(
                        &"expected a folder that does not exist or is empty, found one with files",
                    ));
                }
                path.canonicalize().map_err(|error| failed(&error))?
            }
        };
        let parent = match path.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => return Err(failed(&"expected the name of a folder")),
        };
        if !parent.is_dir() {
            return Err(failed(&"expected a name within a folder that exists, found one that does not"));
        }
        Ok(Self { path, parent })
    }

    /// A folder beside it, so that it can be renamed; removed again unless `put`.
    fn temporary(&self) -> Result<TempDir, Failure> {
        let folder = tempfile::Builder::new().prefix(".crossrank-quantize-").tempdir_in(&self.parent);
        folder.map_err(|error| Failure::about(self.parent.display(), error))
    }

    fn put(self, folder: TempDir) -> Result<(), Failure> {
        let failed = |error| Failure::about(self.path.display(), error);
        // Windows renames over no folder, not even an empty one.
        if cfg!(windows) && self.path.is_dir() {
            fs::remove_dir(&self.path).map_err(failed)?;
        }
        fs::rename(folder.path(), &self.path).map_err(failed)?;
        let _ = folder.keep();
        Ok(())
    }
}
