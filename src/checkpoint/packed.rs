//! Packed checkpoints: safetensors files whose encoder weights are panels, as they lie in memory.
//!
//! Panels come first, each a multiple of 64 bytes, behind a header that is filled up to one. So a map of the file,
//! which begins on a page, has them where the kernels want them. All other tensors are those of the source, as they
//! were.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::ops::Range;

use crossrank_kernels::{PANEL, PackedWeights, PanelDtype};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::names::Part;
use super::roles::Roles;
use super::tensors::{Entry, Shard, Weights};
use crate::error::{Error, Result};

const FORMAT: (&str, &str) = ("crossrank_packing", "panels");
/// Rises with the layout of panels, and with what the engine stacks in them.
const VERSION: (&str, &str) = ("crossrank_packing_version", "4");
/// The order of bytes in numbers.
const BYTE_ORDER: (&str, &str) =
    ("crossrank_byte_order", if cfg!(target_endian = "little") { "little" } else { "big" });
const DTYPE: &str = "crossrank_packing_dtype";
/// What the network is made of, as JSON. Keys are written in the order of their names, and this one is long: it comes
/// after those by which a packed file is told from others.
pub(crate) const DESCRIPTION: &str = "network_description";
const SOURCE: &str = "source_sha256";
const DATA: &str = "data_sha256";

/// Data begins at a multiple of so many bytes.
const ALIGN: usize = 64;
/// The mark of a packed file comes first in what is written here: within so many bytes.
const MARK: usize = 1024;

/// The name of a product's panels.
pub(crate) fn panels_name(product: &str) -> String {
    format!("{product}.panels")
}

/// dtype and shape of `count` products of n outputs and depth k.
pub(super) fn layout(dtype: PanelDtype, count: usize, [n, k]: [usize; 2]) -> (Dtype, Vec<usize>) {
    let lines = vec![count, n.div_ceil(PANEL), dtype.lines(k), PANEL];
    match dtype {
        PanelDtype::F32 => (Dtype::F32, lines),
        PanelDtype::Bf16 => (Dtype::BF16, [lines, vec![2]].concat()),
        PanelDtype::Digits | PanelDtype::Int8 => (Dtype::I8, [lines, vec![4]].concat()),
    }
}

/// How a file's panels hold their values; none where it has no panels.
pub(super) fn recognise(file: &str, metadata: &HashMap<String, String>) -> Result<Option<PanelDtype>> {
    let Some(format) = metadata.get(FORMAT.0) else { return Ok(None) };
    let error = |field: &str, expected: &str| Error::Config {
        file: file.to_owned(),
        field: field.to_owned(),
        expected: expected.to_owned(),
        found: metadata.get(field).map_or("none".to_owned(), |found| format!("`{found}`")),
    };
    if format != FORMAT.1 {
        return Err(error(FORMAT.0, FORMAT.1));
    }
    for (field, expected) in [VERSION, BYTE_ORDER] {
        if metadata.get(field).map(String::as_str) != Some(expected) {
            return Err(error(field, expected));
        }
    }
    if !metadata.contains_key(DESCRIPTION) {
        return Err(error(DESCRIPTION, "the description of a network"));
    }
    let dtype = metadata.get(DTYPE).and_then(|name| PanelDtype::by_name(name));
    dtype.map(Some).ok_or_else(|| error(DTYPE, "f32, bf16, digits or int8"))
}

impl Weights {
    /// That the panels are of another dtype than what was expected.
    pub(crate) fn packed_otherwise(&self, expected: String) -> Error {
        let found = self.packed.map_or("none".to_owned(), |dtype| format!("`{}`", dtype.name()));
        Error::Config { file: self.name.clone(), field: DTYPE.to_owned(), expected, found }
    }
}

/// Whether a file that does not parse was a packed one.
pub(super) fn looks_packed(bytes: &[u8]) -> bool {
    let mark = FORMAT.0.as_bytes();
    bytes[..bytes.len().min(MARK)].windows(mark.len()).any(|window| window == mark)
}

/// Compares the checksum of the data with the one that the file carries. False when it is not packed and has none.
pub(crate) fn verify(weights: &Weights) -> Result<bool> {
    if weights.packed.is_none() {
        return Ok(false);
    }
    for shard in &weights.shards {
        let found = hex(&Sha256::digest(&shard.bytes()[shard.data..]));
        if shard.metadata.get(DATA) != Some(&found) {
            let expected = shard.metadata.get(DATA).map_or("none", String::as_str);
            let reason = format!("`{DATA}` is {expected}, but that of the data is {found}");
            return Err(Error::Safetensors { file: shard.file.name.clone(), reason }.of_packed());
        }
    }
    Ok(true)
}

/// Writes a packed checkpoint: `products`, by role, into which the encoder's Linear layers `linears` have been made, and
/// the other tensors by their roles.
pub(crate) fn write(
    roles: Roles<'_>,
    description: &str,
    linears: &BTreeSet<String>,
    dtype: PanelDtype,
    products: &[(String, &[PackedWeights])],
    out: &mut dyn Write,
) -> io::Result<()> {
    let weights = roles.weights;
    let kept = kept(roles, linears);
    let mut tensors = Map::new();
    let (mut digest, mut start) = (Sha256::new(), 0);
    let mut add = |name: &str, (dtype, shape): (Dtype, Vec<usize>), end: usize| {
        let info = TensorInfo { dtype, shape, data_offsets: (start, end) };
        start = end;
        serde_json::to_value(info).map(|info| tensors.insert(name.to_owned(), info))
    };
    let mut end = 0;
    for (name, packed) in products {
        for weights in *packed {
            let bytes = weights.panel_bytes();
            digest.update(&bytes);
            end += bytes.len();
        }
        let Some(one) = packed.first() else { continue };
        add(&panels_name(name), layout(one.dtype(), packed.len(), [one.n(), one.k()]), end)?;
    }
    for Kept { role, dtype, shape, shard, range } in &kept {
        digest.update(weights.bytes(*shard, range));
        end += range.len();
        add(role, (*dtype, shape.clone()), end)?;
    }

    let own = [FORMAT, VERSION, BYTE_ORDER, (DTYPE, dtype.name()), (DESCRIPTION, description)];
    let sums = [(SOURCE, source_checksum(weights)), (DATA, hex(&digest.finalize()))];
    let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sums = sums.map(|(key, value)| (key.to_owned(), value));
    let mut all: Map<String, Value> = own.into_iter().chain(sums).map(|(k, v)| (k, json!(v))).collect();
    // Of the source's metadata only what says how the tensors are read that are still there, and how they were made.
    all.extend(weights.quantization().into_iter().map(|(key, value)| (key.to_owned(), json!(value))));

    // In front, whatever the tensors are called.
    let mut header = format!("{{\"__metadata__\":{},", Value::Object(all)).into_bytes();
    header.extend_from_slice(&Value::Object(tensors).to_string().as_bytes()[1..]);
    header.resize((8 + header.len()).next_multiple_of(ALIGN) - 8, b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for packed in products.iter().flat_map(|(_, packed)| *packed) {
        out.write_all(&packed.panel_bytes())?;
    }
    for Kept { shard, range, .. } in &kept {
        out.write_all(weights.bytes(*shard, range))?;
    }
    Ok(())
}

/// A tensor that a packed checkpoint holds as its source does.
struct Kept {
    role: String,
    dtype: Dtype,
    shape: Vec<usize>,
    shard: usize,
    /// Within the shard's bytes.
    range: Range<usize>,
}

/// Tensors that the model reads from the checkpoint itself, by role, widest first, which aligns each to its elements.
fn kept(roles: Roles<'_>, linears: &BTreeSet<String>) -> Vec<Kept> {
    let tensors = &roles.weights.tensors;
    let mut kept = Vec::new();
    for (role, source) in roles.names.iter() {
        let Some(entry) = tensors.get(&source.tensor) else { continue };
        if role.strip_suffix(".weight").is_some_and(|linear| linears.contains(linear)) {
            continue;
        }
        let mut keep = |role: String, entry: &Entry| {
            let (mut shape, mut range) = (entry.shape.clone(), entry.range.clone());
            if let (Some(Part { rows, .. }), Some(all)) = (&source.rows, shape.first_mut()) {
                let row_bytes = range.len().checked_div(*all).unwrap_or(0);
                range = range.start + rows.start * row_bytes..range.start + rows.end * row_bytes;
                *all = rows.len();
            }
            kept.push(Kept { role, dtype: entry.dtype, shape, shard: entry.shard, range });
        };
        keep(role.to_owned(), entry);
        if entry.dtype == Dtype::I8
            && let Some(scale) = tensors.get(&format!("{}_scale", source.tensor))
        {
            keep(format!("{role}_scale"), scale);
        }
    }
    kept.sort_by(|a, b| b.dtype.bitsize().cmp(&a.dtype.bitsize()).then_with(|| a.role.cmp(&b.role)));
    kept
}

/// Of the files' bytes, one after the other.
fn source_checksum(weights: &Weights) -> String {
    let mut digest = Sha256::new();
    weights.shards.iter().for_each(|shard| digest.update(shard.bytes()));
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Shard {
    fn bytes(&self) -> &[u8] {
        (*self.file.bytes).as_ref()
    }
}
