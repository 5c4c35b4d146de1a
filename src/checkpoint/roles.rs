//! Tensors by the roles that they play, checked before any view of them is made.

use std::ops::Range;

use crossrank_kernels::{Isa, PanelDtype, SharedBytes, Stored, StoredMatrix};
use safetensors::Dtype;

use super::names::{Names, Source};
use super::packed;
use super::tensors::{Entry, MatrixTensor, QUANTIZATION, QUANTIZATION_VERSION, Weights, stored};
use crate::error::Result;

/// The tensors of a checkpoint, by role. Errors call them by their own names.
#[derive(Clone, Copy)]
pub(crate) struct Roles<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) names: &'a Names,
}

impl<'a> Roles<'a> {
    fn source(self, role: &str) -> Source {
        let named = self.names.get(role).cloned();
        named.unwrap_or_else(|| Source { tensor: role.to_owned(), rows: None })
    }

    /// Whether something plays that role.
    pub(crate) fn contains(self, role: &str) -> bool {
        self.names.get(role).is_some_and(|source| self.weights.contains(&source.tensor))
    }

    /// What a tensor holds that plays that role, if one does.
    pub(crate) fn dtype(self, role: &str) -> Option<Dtype> {
        let source = self.names.get(role)?;
        Some(self.weights.tensors.get(&source.tensor)?.dtype)
    }

    /// Finds a matrix and checks its dtype and shape; one in I8 needs the scales of its rows beside it.
    pub(crate) fn find_matrix(self, role: &str, rows: usize, cols: usize) -> Result<MatrixTensor> {
        let Source { tensor, rows: own } = self.source(role);
        let entry = self.weights.find(&tensor, "")?;
        let error = |expected: String, found: String| self.weights.error(&tensor, entry, expected, found);
        let all = own.as_ref().map_or(rows, |part| part.of);
        if entry.shape != [all, cols] {
            return Err(error(format!("shape [{all}, {cols}]"), format!("{:?}", entry.shape)));
        }
        let stored = stored(entry.dtype)
            .ok_or_else(|| error("F32, F16, BF16 or I8".into(), format!("{:?}", entry.dtype)))?;
        let own = own.map_or(0..all, |part| part.rows);
        let scales = match stored {
            Stored::I8 => {
                let (shard, scales) = self.find_scales(&tensor, entry, all)?;
                (
                    shard,
                    scales.start + own.start * size_of::<f32>()..scales.start + own.end * size_of::<f32>(),
                )
            }
            _ => (entry.shard, 0..0),
        };
        let row_bytes = entry.range.len().checked_div(all).unwrap_or(0);
        let start = entry.range.start;
        let bytes = start + own.start * row_bytes..start + own.end * row_bytes;
        Ok(MatrixTensor { shard: entry.shard, stored, rows, cols, bytes, scales })
    }

    fn find_scales(self, name: &str, entry: &Entry, rows: usize) -> Result<(usize, Range<usize>)> {
        let weights = self.weights;
        for (key, expected) in [QUANTIZATION, QUANTIZATION_VERSION] {
            let found = weights.shards[entry.shard].metadata.get(key);
            if found.map(String::as_str) != Some(expected) {
                let found = found.map_or("none".to_owned(), |found| format!("`{found}`"));
                let expected = format!("I8 with metadata `{key}` = `{expected}`");
                return Err(weights.error(name, entry, expected, found));
            }
        }
        let zero_point = format!("{name}_zero_point");
        if let Some(other) = weights.tensors.get(&zero_point) {
            return Err(weights.error(&zero_point, other, "none: the scheme is symmetric", "one"));
        }
        let scale_name = format!("{name}_scale");
        let scale = weights.find(&scale_name, ": an I8 tensor needs the F32 scale of each row")?;
        if scale.dtype != Dtype::F32 || (scale.shape != [rows] && scale.shape != [rows, 1]) {
            let expected = format!("F32 of shape [{rows}] or [{rows}, 1]");
            let found = format!("{:?} of shape {:?}", scale.dtype, scale.shape);
            return Err(weights.error(&scale_name, scale, expected, found));
        }
        Ok((scale.shard, scale.range.clone()))
    }

    /// Finds the panels of `count` products of n outputs and depth k.
    pub(crate) fn find_panels(
        self,
        role: &str,
        dtype: PanelDtype,
        count: usize,
        shape: [usize; 2],
    ) -> Result<(&'a SharedBytes, Range<usize>)> {
        let name = packed::panels_name(role);
        let entry = self.weights.find(&name, "")?;
        let (dtype, shape) = packed::layout(dtype, count, shape);
        if entry.dtype != dtype || entry.shape != shape {
            let found = format!("{:?} of shape {:?}", entry.dtype, entry.shape);
            return Err(self.weights.error(&name, entry, format!("{dtype:?} of shape {shape:?}"), found));
        }
        Ok((&self.weights.shards[entry.shard].file.bytes, entry.range.clone()))
    }

    /// Gives back the memory of what plays a role, scales included: it has been packed. Reading what lies beside it may
    /// map it again, for the system maps whole blocks of a file.
    pub(crate) fn release(self, role: &str) {
        let name = self.source(role).tensor;
        let of_name = [self.weights.tensors.get(&name), self.weights.tensors.get(&format!("{name}_scale"))];
        of_name.into_iter().flatten().for_each(|entry| self.weights.release(entry));
    }

    /// A vector of `len`, widened to f32.
    pub(crate) fn vector(self, isa: Isa, role: &str, len: usize) -> Result<Vec<f32>> {
        let Source { tensor, rows } = self.source(role);
        let entry = self.weights.find(&tensor, "")?;
        let all = rows.as_ref().map_or(len, |part| part.of);
        let found = |what: String| {
            self.weights.error(&tensor, entry, format!("F32, F16 or BF16 of shape [{all}]"), what)
        };
        let own = rows.map_or(0..len, |part| part.rows);
        if entry.shape != [all] {
            return Err(found(format!("shape {:?}", entry.shape)));
        }
        let stored = stored(entry.dtype)
            .filter(|&stored| stored != Stored::I8)
            .ok_or_else(|| found(format!("{:?}", entry.dtype)))?;
        let width = entry.dtype.bitsize() / 8;
        let start = entry.range.start;
        let bytes = self.weights.bytes(entry.shard, &(start + own.start * width..start + own.end * width));
        let mut values = vec![0.0; len];
        StoredMatrix::new(stored, bytes, &[], 1, len).widen_row(isa, 0, &mut values);
        Ok(values)
    }
}
