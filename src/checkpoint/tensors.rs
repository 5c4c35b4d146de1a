//! Tensors by name: where each lies, checked before any view of it is made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crossrank_kernels::{PanelDtype, Stored, StoredMatrix};
pub(crate) use safetensors::Dtype;
use safetensors::tensor::{Metadata, SafeTensorError, SafeTensors, TensorInfo};

use super::files::{File, ShardIndex};
use super::modules::ModuleFiles;
use super::names::Names;
use super::packed;
use super::stand_in;
use crate::error::{Error, Result};

/// Metadata that an I8 checkpoint carries, so that no other scheme is taken for this one: value = int8 * scale of
/// its row.
pub(crate) const QUANTIZATION: (&str, &str) = ("quantization", "crossrank-int8-rowwise-symmetric");
pub(crate) const QUANTIZATION_VERSION: (&str, &str) = ("quantization_version", "1");

/// What training wrappers leave in the names of an adapter's tensors, and of those that it changes.
const ADAPTER_PARTS: [&str; 3] = ["base_layer", "modules_to_save", "original_module"];
const ADAPTER_PREFIX: &str = "lora_";

/// What the encoder is called within a model, which is part of its tensors' names and never a wrapper of them all.
const ENCODERS: [&str; 7] = ["albert", "bert", "deberta", "distilbert", "electra", "mpnet", "roberta"];

/// Matrices of more bytes are large.
const LARGE: usize = 64 << 20;

/// Room for rows that are read from a file.
#[derive(Default)]
pub(crate) struct RowBytes {
    bytes: Vec<u8>,
    scales: Vec<u8>,
}

/// The tensors of a checkpoint, in one file or several shards.
pub(crate) struct Weights {
    pub(super) shards: Vec<Shard>,
    pub(super) tensors: BTreeMap<String, Entry>,
    /// What errors call the whole: the file, or the index of the shards.
    pub(super) name: String,
    /// What the file puts before the name of each tensor: the wrappers of the model that was saved.
    wrappers: String,
    /// Tensors whose index says that another copy counts, each with its file.
    passed_over: Vec<String>,
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
    pub(super) shard: usize,
    pub(super) stored: Stored,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) bytes: Range<usize>,
    pub(super) scales: (usize, Range<usize>),
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
        let wrappers = String::new();
        let mut weights = Self { shards, tensors, name, wrappers, passed_over, packed };
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

    /// Adds the tensors of the modules behind the encoder, which a packed checkpoint has already.
    pub(crate) fn add_modules(&mut self, modules: Vec<ModuleFiles>) -> Result<()> {
        if self.packed.is_some() {
            return Ok(());
        }
        for ModuleFiles { module, weights, .. } in modules {
            let Some(file) = weights else { continue };
            let own = Self::parse_files(vec![file], None)?;
            let (shards, prefix) = (self.shards.len(), module.prefix());
            let prefixed = |(name, entry): (String, Entry)| {
                (format!("{prefix}{}{name}", own.wrappers), Entry { shard: shards + entry.shard, ..entry })
            };
            self.tensors.extend(own.tensors.into_iter().map(prefixed));
            self.shards.extend(own.shards);
        }
        Ok(())
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

    /// The description that a packed checkpoint carries.
    pub(crate) fn description(&self) -> Option<&str> {
        self.packed?;
        self.shards.iter().find_map(|shard| shard.metadata.get(packed::DESCRIPTION)).map(String::as_str)
    }

    /// Names of the tensors that play none of the roles that were given out, the scales of those that do aside, and
    /// copies, each with its file, that the index passes over.
    pub(crate) fn ignored(&self, names: &Names) -> Vec<String> {
        let used: BTreeSet<&str> = names.iter().map(|(_, source)| &*source.tensor).collect();
        let is_used = |name: &str| {
            let scaled = name.strip_suffix("_scale").and_then(|of| self.tensors.get_key_value(of));
            let scaled = scaled.filter(|(_, entry)| entry.dtype == Dtype::I8);
            used.contains(name) || scaled.is_some_and(|(of, _)| used.contains(&**of))
        };
        let ignored = self.tensors.keys().filter(|name| !is_used(name));
        ignored.chain(&self.passed_over).cloned().collect()
    }

    /// The file that holds a tensor, as errors name it.
    pub(crate) fn file_of(&self, name: &str) -> Option<&str> {
        self.tensors.get(name).map(|entry| &*self.shards[entry.shard].file.name)
    }

    /// Puts a tensor that is no file's in the place of the one of this name, if there is one. I8 is of the scheme that
    /// this engine reads.
    pub(crate) fn put(&mut self, name: &str, dtype: Dtype, shape: Vec<usize>, bytes: Vec<u8>) {
        let range = 0..bytes.len();
        let file = File { name: format!("a new {name}"), bytes: Arc::new(bytes), map: None };
        let metadata =
            [QUANTIZATION, QUANTIZATION_VERSION].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let shard = Shard { file, data: 0, metadata: metadata.into() };
        // A file's tensors lie behind its header.
        let before =
            self.tensors.get(name).map(|entry| entry.shard).filter(|&shard| self.shards[shard].data == 0);
        let at = before.unwrap_or(self.shards.len());
        match self.shards.get_mut(at) {
            Some(place) => *place = shard,
            None => self.shards.push(shard),
        }
        self.tensors.insert(name.to_owned(), Entry { shard: at, dtype, shape, range });
    }

    pub(super) fn find(&self, name: &str, hint: &'static str) -> Result<&Entry> {
        self.tensors.get(name).ok_or_else(|| Error::MissingTensor {
            file: self.name.clone(),
            tensor: name.to_owned(),
            hint,
        })
    }

    pub(super) fn error(
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

    pub(super) fn release(&self, entry: &Entry) {
        if let Some(map) = &self.shards[entry.shard].file.map {
            map.release(entry.range.clone());
        }
    }

    pub(super) fn bytes(&self, shard: usize, range: &Range<usize>) -> &[u8] {
        &(*self.shards[shard].file.bytes).as_ref()[range.clone()]
    }

    /// Whether rows of a matrix are better read from its file than through the map: with a warm page cache the system
    /// maps whole blocks of the file around each row that is touched.
    pub(crate) fn is_large(&self, tensor: &MatrixTensor) -> bool {
        tensor.bytes.len() > LARGE && self.shards[tensor.shard].file.map.is_some()
    }

    /// Copies rows of a [large](Self::is_large) matrix, one after the other, into `room`, and makes a matrix of the
    /// copies. A row that the file no longer has becomes NaN, which no score is made of.
    pub(crate) fn read_rows<'a>(
        &self,
        tensor: &MatrixTensor,
        rows: &[u32],
        room: &'a mut RowBytes,
    ) -> StoredMatrix<'a> {
        let RowBytes { bytes, scales } = room;
        let width = tensor.cols * tensor.stored.size();
        bytes.clear();
        bytes.resize(rows.len() * width, 0);
        scales.clear();
        let read = |shard: usize, offset: usize, dst: &mut [u8]| match &self.shards[shard].file.map {
            Some(map) => map.read_at(offset, dst),
            None => {
                dst.copy_from_slice(self.bytes(shard, &(offset..offset + dst.len())));
                true
            }
        };
        if tensor.stored == Stored::I8 {
            scales.resize(rows.len() * size_of::<f32>(), 0);
        }
        for (i, &row) in rows.iter().enumerate() {
            let row = row as usize;
            assert!(row < tensor.rows, "row {row} of {}", tensor.rows);
            let dst = &mut bytes[i * width..(i + 1) * width];
            let mut there = read(tensor.shard, tensor.bytes.start + row * width, dst);
            if tensor.stored == Stored::I8 {
                const SCALE: usize = size_of::<f32>();
                let (shard, range) = &tensor.scales;
                let dst = &mut scales[i * SCALE..(i + 1) * SCALE];
                there &= read(*shard, range.start + row * SCALE, dst);
                if !there {
                    dst.copy_from_slice(&f32::NAN.to_le_bytes());
                }
            } else if !there {
                // All bits set are a NaN in every format of floats.
                dst.fill(0xff);
            }
        }
        StoredMatrix::new(tensor.stored, bytes, scales, rows.len(), tensor.cols)
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
}

/// How the kernels read a dtype, if they do.
pub(super) fn stored(dtype: Dtype) -> Option<Stored> {
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
