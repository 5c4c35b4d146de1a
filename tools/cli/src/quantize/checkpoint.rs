//! The files of a checkpoint: found, and written.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::{Deserialize, Serialize};

use super::sources::Sources;
use crate::failure::Failure;

pub const WEIGHTS: &str = "model.safetensors";
const SHARD_INDEX: &str = "model.safetensors.index.json";

/// The weights of a folder that the engine has loaded, so that shards are known to be files within it.
pub struct Weights {
    pub files: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// One file, or shards.
    pub fn find(folder: &Path) -> Result<Self, Failure> {
        let single = folder.join(WEIGHTS);
        if single.exists() {
            return Ok(Self { files: vec![single] });
        }
        let path = folder.join(SHARD_INDEX);
        let json = fs::read(&path).map_err(|error| Failure::about(path.display(), error))?;
        let index: ShardIndex =
            serde_json::from_slice(&json).map_err(|error| Failure::about(path.display(), error))?;
        let shards: BTreeSet<String> = index.weight_map.into_values().collect();
        Ok(Self { files: shards.into_iter().map(|shard| folder.join(shard)).collect() })
    }

    /// Fails where a tensor that the engine uses is quantized already.
    pub fn refuse_quantized(&self, sources: &Sources) -> Result<(), Failure> {
        for file in &self.files {
            let name = file.display();
            let metadata = read_header(file).map_err(|error| Failure::about(&name, error))?;
            let is_quantized = |(tensor, info): &(String, &TensorInfo)| {
                info.dtype == Dtype::I8 && sources.use_of(file, tensor).is_some()
            };
            let quantized =
                metadata.tensors().into_iter().filter(is_quantized).map(|(tensor, _)| tensor).min();
            if let Some(tensor) = quantized {
                let reason = "expected F32, F16 or BF16, found I8: it is quantized already";
                return Err(Failure::about(format_args!("{name}: tensor `{tensor}`"), reason));
            }
        }
        Ok(())
    }

    /// What they take together.
    pub fn bytes(&self) -> Result<usize, Failure> {
        let size = |file: &PathBuf| match file.metadata() {
            Ok(metadata) => Ok(metadata.len() as usize),
            Err(error) => Err(Failure::about(file.display(), error)),
        };
        self.files.iter().map(size).sum()
    }
}

/// What a file says of its tensors, which the engine has found to be so.
fn read_header(file: &Path) -> io::Result<Metadata> {
    let (mut file, mut len) = (File::open(file)?, [0; 8]);
    file.read_exact(&mut len)?;
    Ok(serde_json::from_reader(BufReader::new(file.take(u64::from_le_bytes(len))))?)
}

/// A tensor to be written.
pub struct Tensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

impl Tensor {
    pub fn f32(name: String, shape: Vec<usize>, values: impl IntoIterator<Item = f32>) -> Self {
        let data = values.into_iter().flat_map(f32::to_le_bytes).collect();
        Self { name, dtype: Dtype::F32, shape, data }
    }
}

#[derive(Serialize)]
struct Header<'a> {
    #[serde(rename = "__metadata__")]
    metadata: BTreeMap<&'a str, &'a str>,
    #[serde(flatten)]
    tensors: IndexMap<&'a str, TensorInfo>,
}

/// Writes a safetensors file with metadata.
pub fn write<'a>(
    path: &Path,
    metadata: &[(String, String)],
    tensors: impl Iterator<Item = &'a Tensor>,
) -> Result<(), Failure> {
    let write = move || -> io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        write_to(&mut file, metadata, tensors)?;
        file.into_inner()?.sync_all()
    };
    write().map_err(|error| Failure::about(path.display(), error))
}

/// What such a file holds. The `safetensors` crate writes tensors and metadata in the order of a hash map, another in
/// each run; here the same tensors give the same bytes.
pub fn write_to<'a>(
    out: &mut impl Write,
    metadata: &[(String, String)],
    tensors: impl Iterator<Item = &'a Tensor>,
) -> io::Result<()> {
    let mut tensors: Vec<&Tensor> = tensors.collect();
    // Widest first, as the crate does, which aligns every tensor.
    tensors.sort_by(|a, b| (Reverse(a.dtype), &a.name).cmp(&(Reverse(b.dtype), &b.name)));
    let mut metadata: BTreeMap<&str, &str> =
        metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    // What the hub's libraries ask for.
    metadata.insert("format", "pt");
    let mut header = Header { metadata, tensors: IndexMap::new() };
    let mut start = 0;
    for tensor in &tensors {
        let end = start + tensor.data.len();
        let info =
            TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone(), data_offsets: (start, end) };
        header.tensors.insert(&tensor.name, info);
        start = end;
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tensors.into_iter().try_for_each(|tensor| out.write_all(&tensor.data))
}
