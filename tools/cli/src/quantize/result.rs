//! The result as it grows.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::{NewLinear, TensorUse};
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Summary;
use super::checkpoint::{self, Tensor};
use super::recipe::{Calibration, Recipe, hex};
use super::rows::{self, Quantized};
use super::smooth::Smoothing;
use super::sources::Sources;
use super::split::Split;
use crate::failure::Failure;
use crate::interrupt::Interrupt;

/// Parts of a Linear layer.
const WEIGHT: &str = "weight";
const BIAS: &str = "bias";

const PRESENT: &str = "all tensors that the engine uses have been added";

/// Tensors, file by file. What calibration is to round is in F32 until it is: by then it is all in memory, while the
/// rest of the source never is.
pub struct Quantization<'a> {
    sources: &'a Sources<'a>,
    smoothing: Smoothing,
    /// Weights of Linear layers that are rounded when all is there, by name.
    open: BTreeSet<String>,
    /// By name.
    tensors: BTreeMap<String, Tensor>,
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
    /// Of a source whose tensors are used so.
    pub fn new(sources: &'a Sources<'a>) -> Self {
        Self {
            sources,
            smoothing: Smoothing::default(),
            open: BTreeSet::new(),
            tensors: BTreeMap::new(),
            digest: Sha256::new(),
            recipe: Recipe::default(),
            left_out: Vec::new(),
            worst: None,
        }
    }

    /// Smooths what is added from now on, and leaves the weights `open` to be rounded when all is there.
    pub fn calibrate(&mut self, calibration: Calibration, smoothing: Smoothing, open: BTreeSet<String>) {
        self.recipe.calibration = Some(calibration);
        (self.smoothing, self.open) = (smoothing, open);
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
            let Some(used_for) = self.sources.use_of(file, &tensor) else {
                self.left_out.push(format!("`{tensor}` ({dtype:?})"));
                done.fetch_add(data.len(), Ordering::Relaxed);
                continue;
            };
            if is_quantized(used_for) {
                let columns = self.smoothing.columns.get(&tensor).map(|columns| &**columns);
                let rows = rows::read(dtype, data, shape[1], columns).map_err(failed)?;
                if self.open.contains(&tensor) {
                    self.add(Tensor::f32(tensor, shape, rows));
                } else {
                    let quantized = rows::quantize(&rows, shape[1], None);
                    self.put(tensor, shape, quantized);
                }
            } else {
                rows::check_finite(dtype, data).map_err(failed)?;
                if let Some(elements) = self.smoothing.elements.get(&tensor) {
                    let values = rows::widen(dtype, data).zip(elements).map(|(value, factor)| value * factor);
                    self.add(Tensor::f32(tensor, shape, values));
                    self.recipe.tensors_f32 += 1;
                } else {
                    self.add(Tensor { name: tensor, dtype, shape, data: data.to_vec() });
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
            if let Entry::Vacant(place) = self.tensors.entry(name.clone()) {
                let shape = vec![scales.len()];
                place.insert(Tensor::f32(name.clone(), shape, scales.iter().copied()));
                self.recipe.tensors_f32 += 1;
            }
        }
    }

    /// By what the columns are divided that a Linear layer reads.
    pub fn columns(&self, linear: &str) -> Option<&[f32]> {
        self.smoothing.columns.get(&self.sources.name(linear, WEIGHT)).map(|columns| &**columns)
    }

    /// A Linear layer that is still open, by its role.
    pub fn linear(&self, role: &str) -> Linear {
        let [weight, bias] = [WEIGHT, BIAS].map(|part| {
            let tensor = self.tensor(&self.sources.name(role, part));
            rows::widen(tensor.dtype, &tensor.data).collect()
        });
        Linear { weight, bias }
    }

    /// A Linear layer that has been rounded, by its role.
    pub fn rounded(&self, role: &str) -> NewLinear {
        let (weight, bias) = (self.sources.name(role, WEIGHT), self.sources.name(role, BIAS));
        let f32s = |name: &str| rows::widen(Dtype::F32, &self.tensor(name).data).collect();
        NewLinear {
            role: role.to_owned(),
            values: self.tensor(&weight).data.iter().map(|&byte| byte as i8).collect(),
            scales: f32s(&scale_of(&weight)),
            bias: f32s(&bias),
        }
    }

    /// Puts a rounded Linear layer in the place of an open one.
    pub fn put_linear(&mut self, role: &str, quantized: Quantized, bias: Vec<f32>) {
        let weight = self.sources.name(role, WEIGHT);
        let shape = self.tensor(&weight).shape.clone();
        self.put(weight, shape, quantized);
        let name = self.sources.name(role, BIAS);
        let shape = self.tensor(&name).shape.clone();
        self.add(Tensor::f32(name, shape, bias));
        self.recipe.tensors_kept -= 1;
        self.recipe.tensors_f32 += 1;
    }

    /// Lets the outputs of a rounded Linear layer give way to copies of others.
    pub fn copy_neurons(&mut self, role: &str, split: &Split) {
        let (weight, bias) = (self.sources.name(role, WEIGHT), self.sources.name(role, BIAS));
        for name in [scale_of(&weight), weight, bias] {
            let tensor = self.tensors.get_mut(&name).expect(PRESENT);
            let size = tensor.data.len() / split.from.len();
            let row = |&from: &usize| &tensor.data[from * size..(from + 1) * size];
            tensor.data = split.from.iter().flat_map(row).copied().collect();
        }
        self.recipe.neurons_replaced += split.replaced().count();
    }

    fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).expect(PRESENT)
    }

    fn add(&mut self, tensor: Tensor) {
        self.tensors.insert(tensor.name.clone(), tensor);
    }

    /// Adds a matrix in I8.
    fn put(&mut self, name: String, shape: Vec<usize>, quantized: Quantized) {
        let Quantized { values, scales, worst_error: error, worst_row: row } = quantized;
        if error > self.worst.as_ref().map_or(-1.0, |worst| worst.error) {
            self.worst = Some(WorstRow { error, row, tensor: name.clone() });
        }
        self.add(Tensor::f32(scale_of(&name), vec![shape[0]], scales));
        let data = values.into_iter().map(|byte| byte as u8).collect();
        self.add(Tensor { name, dtype: Dtype::I8, shape, data });
        self.recipe.tensors_i8 += 1;
    }

    /// The checkpoint as it is so far.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        checkpoint::write_to(&mut bytes, &self.recipe.metadata(), self.tensors.values())?;
        Ok(bytes)
    }

    /// Writes the checkpoint.
    pub fn write(mut self, path: &Path) -> Result<Summary, Failure> {
        self.recipe.source_sha256 = hex(self.digest);
        checkpoint::write(path, &self.recipe.metadata(), self.tensors.values())?;
        Ok(Summary { recipe: self.recipe, left_out: self.left_out, worst: self.worst })
    }
}

/// The name of the scales of a matrix in I8.
fn scale_of(weight: &str) -> String {
    format!("{weight}_scale")
}

/// Embeddings of words and the Linear weights of encoder and head, but for those that make the logits. These are few,
/// and every score goes through them; so are the two rows of token types, one of which is added to every token: in I8
/// they were most of what all embeddings moved logits by (0.63 of 0.74 % of the standard deviation; of their elements one
/// is 15 times as large as the norm of the row). Those of positions, 1 % of the default model, are common to all texts as
/// well.
fn is_quantized(used_for: TensorUse) -> bool {
    matches!(used_for, TensorUse::Words | TensorUse::LinearWeight)
}
