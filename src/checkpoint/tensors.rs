//! Tensors by name: where each lies, checked before any view of it is made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use crossrank_kernels::{Isa, LayerNorm, PanelDtype, SharedBytes, Stored, StoredMatrix};
pub(crate) use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensorError, SafeTensors, TensorInfo};

use super::files::{File, ShardIndex};
use super::packed;
use super::stand_in;
use crate::error::{Error, Result};
use crate::lock::lock;

/// Metadata that an I8 checkpoint carries, so that no other scheme is taken for this one: value = int8 * scale of
/// its row.
pub(crate) const QUANTIZATION: (&str, &str) = ("quantization", "crossrank-int8-rowwise-symmetric");
pub(crate) const QUANTIZATION_VERSION: (&str, &str) = ("quantization_version", "1");

/// What training wrappers leave in the names of an adapter's tensors, and of those that it changes.
const ADAPTER_PARTS: [&str; 3] = ["base_layer", "modules_to_save", "original_module"];
const ADAPTER_PREFIX: &str = "lora_";

/// What the encoder is called within a model, which is part of its tensors' names and never a wrapper of them all.
const ENCODERS: [&str; 7] = ["albert", "bert", "deberta", "distilbert", "electra", "mpnet", "roberta"];

/// The tensors of a checkpoint, in one file or several shards.
pub(crate) struct Weights {
    pub(super) shards: Vec<Shard>,
    pub(super) tensors: BTreeMap<String, Entry>,
    /// What errors call the whole: the file, or the index of the shards.
    pub(super) name: String,
    pub(super) used: Mutex<BTreeSet<String>>,
    /// What the file puts before the name of each tensor: the wrappers of the model that was saved.
    wrappers: String,
    /// Tensors whose index says that another copy counts, each with its file.
    passed_over: Vec<String>,
    /// Those that have been packed, which nothing reads again.
    pub(super) packed_away: Mutex<BTreeSet<String>>,
    /// How the panels hold their values, if the checkpoint has been packed.
    pub(super) packed: Option<PanelDtype>,
}

pub(super) struct Shard {
    pub(super) file: File,
    /// Where the header ends.
    pub(super) data: usize,
    pub(super) metadata: HashMap<String, String>,
}

pub(super) struct Entry {
    pub(super) shard: usize,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// Within the shard's bytes.
    pub(super) range: Range<usize>,
}

/// A matrix whose dtype and shape have been checked; `Weights::matrix` makes views of it.
#[derive(Clone, Debug)]
pub(crate) struct MatrixTensor {
    shard: usize,
    stored: Stored,
    rows: usize,
    cols: usize,
    bytes: Range<usize>,
    scales: (usize, Range<usize>),
}

impl Weights {
    pub(crate) fn parse(files: Vec<File>, index: Option<ShardIndex>) -> Result<Self> {
        let packed = files.iter().any(|file| packed::looks_packed((*file.bytes).as_ref()));
        let parsed = Self::parse_files(files, index);
        if packed { parsed.map_err(Error::of_packed) } else { parsed }
    }

    fn parse_files(files: Vec<File>, index: Option<ShardIndex>) -> Result<Self> {
        let mut shards = Vec::new();
        let mut packed = None;
        let mut tensors: BTreeMap<String, Entry> = BTreeMap::new();
        let mut passed_over = Vec::new();
        for file in files {
            let bytes = (*file.bytes).as_ref();
            let (header_len, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| {
                let file = file.name.clone();
                match stand_in::of_safetensors(bytes) {
                    Some(reason) => Error::NotTheFile { file, reason },
                    None => Error::Safetensors { file, reason: describe(error, bytes) },
                }
            })?;
            // The parser has checked that the length of the header and all offsets stay within the bytes.
            let data = 8 + header_len;
            for (name, info) in metadata.tensors() {
                let (start, end) = info.data_offsets;
                let range = data + start..data + end;
                let entry =
                    Entry { shard: shards.len(), dtype: info.dtype, shape: info.shape.clone(), range };
                let Some(other) = tensors.get(&name) else {
                    tensors.insert(name, entry);
                    continue;
                };
                let other: &Shard = &shards[other.shard];
                // Of two copies that one counts which the index names.
                let chosen = index.as_ref().and_then(|index| index.weight_map.get(&name));
                let is_chosen =
                    |file: &File| chosen.is_some_and(|chosen| Path::new(&file.name).ends_with(chosen));
                let ignored = match chosen {
                    Some(_) if is_chosen(&file) => &other.file,
                    Some(_) => &file,
                    None => {
                        let reason = format!("tensor `{name}` is also in {}", other.file.name);
                        return Err(Error::Safetensors { file: file.name.clone(), reason });
                    }
                };
                let shown = Path::new(&ignored.name).file_name().unwrap_or_default().display();
                passed_over.push(format!("`{name}` in {shown}"));
                if is_chosen(&file) {
                    tensors.insert(name, entry);
                }
            }
            let metadata = user_metadata(&metadata);
            let dtype = packed::recognise(&file.name, &metadata)?;
            if !shards.is_empty() && dtype != packed {
                let reason = "it is packed otherwise than the shards before it".to_owned();
                return Err(Error::Safetensors { file: file.name.clone(), reason });
            }
            packed = dtype;
            shards.push(Shard { metadata, data, file });
        }
        // The parser gives tensors in no order.
        passed_over.sort();
        let name = match &index {
            Some(index) => index.name.clone(),
            None => shards.first().map(|shard| shard.file.name.clone()).unwrap_or_default(),
        };
        let used = Mutex::default();
        let (packed_away, wrappers) = (Mutex::default(), String::new());
        let mut weights = Self { shards, tensors, name, used, wrappers, passed_over, packed_away, packed };
        if let Some(index) = index {
            weights.check_index(&index)?;
        }
        weights.check_adapter()?;
        weights.unwrap();
        Ok(weights)
    }

    /// Fails when a tensor is part of an adapter, or of what one changes: alone neither gives the scores that it was
    /// trained for.
    fn check_adapter(&self) -> Result<()> {
        let is_adapters = |part: &str| ADAPTER_PARTS.contains(&part) || part.starts_with(ADAPTER_PREFIX);
        match self.tensors.iter().find(|(name, _)| name.split('.').any(is_adapters)) {
            Some((name, entry)) => Err(Error::Adapter {
                file: self.shards[entry.shard].file.name.clone(),
                what: format!("a model with an adapter beside its weights (tensor `{name}`)"),
            }),
            None => Ok(()),
        }
    }

    /// Takes off what stands before the names of all tensors: saving a model within a wrapper puts it there.
    fn unwrap(&mut self) {
        let names = || self.tensors.keys().map(String::as_str);
        let Some(first) = names().next() else { return };
        let mut len = 0;
        while let Some((wrapper, _)) = first[len..].split_once('.') {
            let longer = len + wrapper.len() + 1;
            if ENCODERS.contains(&wrapper) || !names().all(|name| name.starts_with(&first[..longer])) {
                break;
            }
            len = longer;
        }
        // A name that is nothing but wrappers is none.
        if len == 0 || names().any(|name| name.len() == len) {
            return;
        }
        self.wrappers = first[..len].to_owned();
        let tensors = std::mem::take(&mut self.tensors);
        self.tensors = tensors.into_iter().map(|(name, entry)| (name[len..].to_owned(), entry)).collect();
    }

    /// What the file puts before the name of each tensor; often nothing.
    pub(crate) fn wrappers(&self) -> &str {
        &self.wrappers
    }

    fn check_index(&self, index: &ShardIndex) -> Result<()> {
        for (tensor, shard) in &index.weight_map {
            let found = self.tensors.get(tensor).map(|entry| &self.shards[entry.shard].file.name);
            if !found.is_some_and(|found| Path::new(found).ends_with(shard)) {
                let reason = format!("tensor `{tensor}` is not in `{shard}`");
                return Err(Error::ShardIndex { file: index.name.clone(), reason });
            }
        }
        Ok(())
    }

    /// What errors call the whole.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How the panels hold their values, if the checkpoint has been packed.
    pub(crate) fn packed(&self) -> Option<PanelDtype> {
        self.packed
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Name, dtype and shape of every tensor, in the order of names.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (&str, Dtype, &[usize])> {
        self.tensors.iter().map(|(name, entry)| (&**name, entry.dtype, &*entry.shape))
    }

    /// Metadata on how the checkpoint was quantised: `quantization`, and keys that begin with `quantization_`. Of
    /// shards that disagree the first counts.
    pub(crate) fn quantization(&self) -> BTreeMap<&str, &str> {
        let mut found = BTreeMap::new();
        for (key, value) in self.shards.iter().flat_map(|shard| &shard.metadata) {
            let rest = key.strip_prefix(QUANTIZATION.0);
            if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_')) {
                found.entry(key.as_str()).or_insert(value.as_str());
            }
        }
        found
    }

    /// Names of the tensors that nothing has asked for, and copies, each with its file, that the index passes over.
    pub(crate) fn unused(&self) -> Vec<String> {
        let used = lock(&self.used);
        let unused = self.tensors.keys().filter(|name| !used.contains(*name));
        unused.chain(&self.passed_over).cloned().collect()
    }

    fn find(&self, name: &str, hint: &'static str) -> Result<&Entry> {
        let entry = self.tensors.get(name).ok_or_else(|| Error::MissingTensor {
            file: self.name.clone(),
            tensor: name.to_owned(),
            hint,
        })?;
        lock(&self.used).insert(name.to_owned());
        Ok(entry)
    }

    fn error(
        &self,
        name: &str,
        entry: &Entry,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Error {
        Error::Tensor {
            file: self.shards[entry.shard].file.name.clone(),
            tensor: format!("{}{name}", self.wrappers),
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// Fails when there is no such tensor.
    pub(crate) fn require(&self, name: &str) -> Result<()> {
        self.find(name, "").map(drop)
    }

    /// How many rows a matrix has.
    pub(crate) fn rows_of(&self, name: &str, hint: &'static str) -> Result<usize> {
        let entry = self.find(name, hint)?;
        match entry.shape[..] {
            [rows, _] => Ok(rows),
            _ => Err(self.error(name, entry, "a matrix", format!("shape {:?}", entry.shape))),
        }
    }

    /// Finds a matrix and checks its dtype and shape; one in I8 needs the scales of its rows beside it.
    pub(crate) fn find_matrix(&self, name: &str, rows: usize, cols: usize) -> Result<MatrixTensor> {
        let entry = self.find(name, "")?;
        if entry.shape != [rows, cols] {
            return Err(self.error(
                name,
                entry,
                format!("shape [{rows}, {cols}]"),
                format!("{:?}", entry.shape),
            ));
        }
        let stored = stored(entry.dtype)
            .ok_or_else(|| self.error(name, entry, "F32, F16, BF16 or I8", format!("{:?}", entry.dtype)))?;
        let scales =
            if stored == Stored::I8 { self.find_scales(name, entry, rows)? } else { (entry.shard, 0..0) };
        Ok(MatrixTensor { shard: entry.shard, stored, rows, cols, bytes: entry.range.clone(), scales })
    }

    fn find_scales(&self, name: &str, entry: &Entry, rows: usize) -> Result<(usize, Range<usize>)> {
        for (key, expected) in [QUANTIZATION, QUANTIZATION_VERSION] {
            let found = self.shards[entry.shard].metadata.get(key);
            if found.map(String::as_str) != Some(expected) {
                let found = found.map_or("none".to_owned(), |found| format!("`{found}`"));
                let expected = format!("I8 with metadata `{key}` = `{expected}`");
                return Err(self.error(name, entry, expected, found));
            }
        }
        let zero_point = format!("{name}_zero_point");
        if let Some(other) = self.tensors.get(&zero_point) {
            return Err(self.error(&zero_point, other, "none: the scheme is symmetric", "one"));
        }
        let scale_name = format!("{name}_scale");
        let scale = self.find(&scale_name, ": an I8 tensor needs the F32 scale of each row")?;
        if scale.dtype != Dtype::F32 || (scale.shape != [rows] && scale.shape != [rows, 1]) {
            let found = format!("{:?} of shape {:?}", scale.dtype, scale.shape);
            return Err(self.error(
                &scale_name,
                scale,
                format!("F32 of shape [{rows}] or [{rows}, 1]"),
                found,
            ));
        }
        Ok((scale.shard, scale.range.clone()))
    }

    /// Finds the panels of `count` products of n outputs and depth k.
    pub(crate) fn find_panels(
        &self,
        name: &str,
        dtype: PanelDtype,
        count: usize,
        shape: [usize; 2],
    ) -> Result<(&SharedBytes, Range<usize>)> {
        let entry = self.find(name, "")?;
        let (dtype, shape) = packed::layout(dtype, count, shape);
        if entry.dtype != dtype || entry.shape != shape {
            let found = format!("{:?} of shape {:?}", entry.dtype, entry.shape);
            return Err(self.error(name, entry, format!("{dtype:?} of shape {shape:?}"), found));
        }
        Ok((&self.shards[entry.shard].file.bytes, entry.range.clone()))
    }

    /// Gives back the memory of a matrix, and of its scales, that has been packed.
    pub(crate) fn pack_away(&self, name: &str) {
        let mut packed_away = lock(&self.packed_away);
        for name in [name.to_owned(), format!("{name}_scale")] {
            let Some(entry) = self.tensors.get(&name) else { continue };
            self.release(entry);
            packed_away.insert(name);
        }
    }

    /// Gives that memory back once more: reading what lies beside it may have mapped it again, for the system maps
    /// whole blocks of a file.
    pub(crate) fn release_packed_away(&self) {
        let packed_away = lock(&self.packed_away);
        packed_away.iter().filter_map(|name| self.tensors.get(name)).for_each(|entry| self.release(entry));
    }

    fn release(&self, entry: &Entry) {
        if let Some(map) = &self.shards[entry.shard].file.map {
            map.release(entry.range.clone());
        }
    }

    pub(super) fn bytes(&self, shard: usize, range: &Range<usize>) -> &[u8] {
        &(*self.shards[shard].file.bytes).as_ref()[range.clone()]
    }

    /// A view of a matrix where it lies.
    pub(crate) fn matrix(&self, tensor: &MatrixTensor) -> StoredMatrix<'_> {
        StoredMatrix::new(
            tensor.stored,
            self.bytes(tensor.shard, &tensor.bytes),
            self.bytes(tensor.scales.0, &tensor.scales.1),
            tensor.rows,
            tensor.cols,
        )
    }

    /// A vector of `len`, widened to f32.
    pub(crate) fn vector(&self, isa: Isa, name: &str, len: usize) -> Result<Vec<f32>> {
        let entry = self.find(name, "")?;
        let found =
            |what: String| self.error(name, entry, format!("F32, F16 or BF16 of shape [{len}]"), what);
        if entry.shape != [len] {
            return Err(found(format!("shape {:?}", entry.shape)));
        }
        let stored = stored(entry.dtype)
            .filter(|&stored| stored != Stored::I8)
            .ok_or_else(|| found(format!("{:?}", entry.dtype)))?;
        let bytes = self.bytes(entry.shard, &entry.range);
        let mut values = vec![0.0; len];
        StoredMatrix::new(stored, bytes, &[], 1, len).widen_row(isa, 0, &mut values);
        Ok(values)
    }

    /// A LayerNorm under either of the two names that its tensors go by.
    pub(crate) fn layer_norm(&self, isa: Isa, prefix: &str, hidden: usize, eps: f32) -> Result<LayerNorm> {
        let old = self.contains(&format!("{prefix}.gamma"));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let weight = self.vector(isa, &format!("{prefix}.{weight}"), hidden)?;
        let bias = self.vector(isa, &format!("{prefix}.{bias}"), hidden)?;
        Ok(LayerNorm::new(weight, bias, eps))
    }

    /// The same of what has a residual added, with its scale where there is one: `crossrank quantize` writes it.
    pub(crate) fn residual_norm(&self, isa: Isa, prefix: &str, hidden: usize, eps: f32) -> Result<LayerNorm> {
        let norm = self.layer_norm(isa, prefix, hidden, eps)?;
        let scale = format!("{prefix}.residual_scale");
        if !self.contains(&scale) {
            return Ok(norm);
        }
        Ok(norm.with_residual_scale(self.vector(isa, &scale, hidden)?))
    }
}

/// How the kernels read a dtype, if they do.
fn stored(dtype: Dtype) -> Option<Stored> {
    match dtype {
        Dtype::F32 => Some(Stored::F32),
        Dtype::F16 => Some(Stored::F16),
        Dtype::BF16 => Some(Stored::Bf16),
        Dtype::I8 => Some(Stored::I8),
        _ => None,
    }
}

fn user_metadata(metadata: &Metadata) -> HashMap<String, String> {
    metadata.metadata().clone().unwrap_or_default()
}

/// The parser's word, with what it leaves out: the tensor, or what was expected and found.
fn describe(error: SafeTensorError, bytes: &[u8]) -> String {
    let found = bytes.len();
    let facts = match error {
        SafeTensorError::HeaderTooSmall => Some(format!("expected 8 bytes of its length, found {found}")),
        SafeTensorError::HeaderTooLarge => header_len(bytes).map(|len| format!("found {len} bytes of it")),
        SafeTensorError::InvalidHeaderLength => header_len(bytes)
            .map(|len| format!("expected {len} bytes of it, found {}", found.saturating_sub(8))),
        SafeTensorError::MetadataIncompleteBuffer => {
            header_len(bytes).zip(infos(bytes)).map(|(len, infos)| {
                let data = infos.into_iter().map(|(_, info)| info.data_offsets.1).max().unwrap_or(0);
                format!(
                    "expected {} bytes, of which its tensors have {data}, found {found}",
                    (8 + len).saturating_add(data as u64)
                )
            })
        }
        SafeTensorError::TensorInvalidInfo | SafeTensorError::ValidationOverflow => culprit(bytes)
            .map(|tensor| format!("tensor `{tensor}`: its shape and dtype do not fit its data offsets")),
        _ => None,
    };
    facts.map_or_else(|| error.to_string(), |facts| format!("{error}: {facts}"))
}

/// Bytes of the header, as the first eight say.
fn header_len(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.first_chunk()?))
}

/// What the header says of each tensor.
fn infos(bytes: &[u8]) -> Option<Vec<(String, TensorInfo)>> {
    let header = bytes.get(8..)?.get(..usize::try_from(header_len(bytes)?).ok()?)?;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).ok()?;
    let info = |(name, value)| Some((name, serde_json::from_value(value).ok()?));
    Some(header.into_iter().filter_map(info).collect())
}

/// The first tensor whose shape does not need the bytes that its offsets give it.
fn culprit(bytes: &[u8]) -> Option<String> {
    infos(bytes)?.into_iter().find_map(|(name, info)| {
        let bits = info.shape.iter().try_fold(info.dtype.bitsize(), |bits, &n| bits.checked_mul(n));
        let given = info.data_offsets.1.checked_sub(info.data_offsets.0)?.checked_mul(8);
        (bits != given).then_some(name)
    })
}
