//! The result as it grows.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Summary;
use super::checkpoint::{self, Tensor};
use super::recipe::{Calibration, Recipe, hex};
use super::rows::{self, Quantized};
use super::smooth::Smoothing;
use super::split::Split;
use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// Ends of the names of a Linear layer's tensors.
const WEIGHT: &str = ".weight";
const WEIGHT_SCALE: &str = ".weight_scale";
const BIAS: &str = ".bias";

/// Tensors, file by file. What calibration is to round is in F32 until it is: by then it is all in memory, while the
/// rest of the source never is.
pub struct Quantization<'a> {
    ignored: &'a [String],
    smoothing: Smoothing,
    /// Linear layers that are rounded when all is there.
    open: BTreeSet<String>,
    tensors: Vec<Tensor>,
    /// Of the source's files.
    digest: Sha256,
    recipe: Recipe,
    /// Names and dtypes.
    left_out: Vec<String>,
    worst: Option<WorstRow>,
}

/// The row that rounding moved most, as a part of its norm.
#[derive(Serialize)]
pub struct WorstRow {
    pub error: f64,
    row: usize,
    tensor: String,
}

impl WorstRow {
    pub fn describe(&self) -> String {
        format!("{:.3}% of the row's norm, row {} of {}", 100.0 * self.error, self.row, self.tensor)
    }
}

/// A Linear layer that is not rounded yet.
pub struct Linear {
    /// Row by row.
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

impl Linear {
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        (0..self.bias.len()).map(|i| self.row(i))
    }

    pub fn row(&self, i: usize) -> &[f32] {
        let width = self.weight.len() / self.bias.len();
        &self.weight[i * width..(i + 1) * width]
    }
}

impl<'a> Quantization<'a> {
    /// Of a source of which some tensors are not used.
    pub fn new(ignored: &'a [String]) -> Self {
        Self {
            ignored,
            smoothing: Smoothing::default(),
            open: BTreeSet::new(),
            tensors: Vec::new(),
            digest: Sha256::new(),
            recipe: Recipe::default(),
            left_out: Vec::new(),
            worst: None,
        }
    }

    /// Smooths what is added from now on, and leaves `linears` to be rounded when all is there.
    pub fn calibrate(&mut self, calibration: Calibration, smoothing: Smoothing, linears: BTreeSet<String>) {
        self.recipe.calibration = Some(calibration);
        (self.smoothing, self.open) = (smoothing, linears);
    }

    pub fn add_file(
        &mut self,
        file: &Path,
        done: &AtomicUsize,
        interrupt: &Interrupt,
    ) -> Result<(), Failure> {
        let name = file.display();
        let bytes = fs::read(file).map_err(|error| Failure::about(&name, error))?;
        self.digest.update(&bytes);
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| Failure::about(&name, error))?;
        let mut tensors = tensors.tensors();
        tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (tensor, view) in tensors {
            interrupt.check()?;
            let (dtype, shape, data) = (view.dtype(), view.shape().to_vec(), view.data());
            let failed = |reason| Failure::about(format_args!("{name}: tensor `{tensor}`"), reason);
            if self.ignored.contains(&tensor) {
                self.left_out.push(format!("`{tensor}` ({dtype:?})"));
            } else if is_quantized(&tensor, &shape) {
                let columns = self.smoothing.columns.get(&tensor).map(|columns| &**columns);
                let rows = rows::read(dtype, data, shape[1], columns).map_err(failed)?;
                if self.open.contains(tensor.strip_suffix(WEIGHT).unwrap_or(&tensor)) {
                    self.tensors.push(Tensor::f32(tensor, shape, rows));
                } else {
                    let quantized = rows::quantize(&rows, shape[1], None);
                    self.put(tensor, shape, quantized);
                }
            } else {
                rows::check_finite(dtype, data).map_err(failed)?;
                if let Some(elements) = self.smoothing.elements.get(&tensor) {
                    let values = rows::widen(dtype, data).zip(elements).map(|(value, factor)| value * factor);
                    self.tensors.push(Tensor::f32(tensor, shape, values));
                    self.recipe.tensors_f32 += 1;
                } else {
                    self.tensors.push(Tensor { name: tensor, dtype, shape, data: data.to_vec() });
                    self.recipe.tensors_kept += 1;
                }
            }
            done.fetch_add(data.len(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Adds the scales of residuals that the source has none for.
    pub fn add_residual_scales(&mut self) {
        for (name, scales) in self.smoothing.residual_scales() {
            if !self.tensors.iter().any(|tensor| tensor.name == *name) {
                let shape = vec![scales.len()];
                self.tensors.push(Tensor::f32(name.clone(), shape, scales.iter().copied()));
                self.recipe.tensors_f32 += 1;
            }
        }
    }

    /// By what the columns are divided that a Linear layer reads.
    pub fn columns(&self, linear: &str) -> Option<&[f32]> {
        self.smoothing.columns.get(&format!("{linear}{WEIGHT}")).map(|columns| &**columns)
    }

    /// A Linear layer that is still open.
    pub fn linear(&mut self, name: &str) -> Linear {
        let [weight, bias] = [WEIGHT, BIAS].map(|part| {
            let tensor = self.tensor(&format!("{name}{part}"));
            rows::widen(tensor.dtype, &tensor.data).collect()
        });
        Linear { weight, bias }
    }

    /// Puts a rounded Linear layer in the place of an open one.
    pub fn put_linear(&mut self, name: &str, quantized: Quantized, bias: Vec<f32>) {
        let tensor = format!("{name}{WEIGHT}");
        let at = self.position(&tensor);
        let shape = self.tensors.remove(at).shape;
        self.put(tensor, shape, quantized);
        let tensor = self.tensor(&format!("{name}{BIAS}"));
        *tensor = Tensor::f32(tensor.name.clone(), tensor.shape.clone(), bias);
        self.recipe.tensors_kept -= 1;
        self.recipe.tensors_f32 += 1;
    }

    /// Lets the outputs of a rounded Linear layer give way to copies of others.
    pub fn copy_neurons(&mut self, linear: &str, split: &Split) {
        for part in [WEIGHT, WEIGHT_SCALE, BIAS] {
            let tensor = self.tensor(&format!("{linear}{part}"));
            let size = tensor.data.len() / split.from.len();
            let row = |&from: &usize| &tensor.data[from * size..(from + 1) * size];
            tensor.data = split.from.iter().flat_map(row).copied().collect();
        }
        self.recipe.neurons_replaced += split.replaced().count();
    }

    fn position(&self, name: &str) -> usize {
        let found = self.tensors.iter().position(|tensor| tensor.name == name);
        found.expect("the engine has found all that its Linear layers need")
    }

    fn tensor(&mut self, name: &str) -> &mut Tensor {
        let at = self.position(name);
        &mut self.tensors[at]
    }

    /// Adds a matrix in I8.
    fn put(&mut self, name: String, shape: Vec<usize>, quantized: Quantized) {
        let Quantized { values, scales, worst_error: error, worst_row: row } = quantized;
        if error > self.worst.as_ref().map_or(-1.0, |worst| worst.error) {
            self.worst = Some(WorstRow { error, row, tensor: name.clone() });
        }
        self.tensors.push(Tensor::f32(format!("{name}_scale"), vec![shape[0]], scales));
        let data = values.into_iter().map(|byte| byte as u8).collect();
        self.tensors.push(Tensor { name, dtype: Dtype::I8, shape, data });
        self.recipe.tensors_i8 += 1;
    }

    /// The checkpoint as it is so far.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        checkpoint::write_to(&mut bytes, &self.recipe.metadata(), &self.tensors)?;
        Ok(bytes)
    }

    /// Writes the checkpoint.
    pub fn write(mut self, path: &Path) -> Result<Summary, Failure> {
        self.recipe.source_sha256 = hex(self.digest);
        checkpoint::write(path, &self.recipe.metadata(), &self.tensors)?;
        Ok(Summary { recipe: self.recipe, left_out: self.left_out, worst: self.worst })
    }
}

/// Embeddings of words and the Linear weights of encoder and pooler. The classifier is small, and every score goes
/// through it; so are the two rows of token types, one of which is added to every token: in I8 they were most of what
/// all embeddings moved logits by (0.63 of 0.74 % of the standard deviation; of their elements one is 15 times as large
/// as the norm of the row). Those of positions, 1 % of the default model, are common to all texts as well.
fn is_quantized(name: &str, shape: &[usize]) -> bool {
    let kept = |part| ["classifier", "token_type_embeddings", "position_embeddings"].contains(&part);
    shape.len() == 2 && name.ends_with(WEIGHT) && !name.split('.').any(kept)
}
