//! The logits of two models, pair by pair, in a file.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use tempfile::NamedTempFile;

use super::set::EvalSet;
use crate::failure::Failure;
use crate::json;
use crate::out_folder::parent_folder;

/// A line: with the texts, so that it is input of `crossrank score`, too.
#[derive(Serialize)]
struct Pair<'a> {
    query_id: &'a str,
    document_id: &'a str,
    query: &'a str,
    document: &'a str,
    reference: f32,
    quantized: f32,
}

/// Refuses what no file can be written to, what `inputs` are or hold, and what is to become the folder `out_dir`,
/// before anything is scored.
pub fn check<'a>(
    path: &Path,
    inputs: impl IntoIterator<Item = &'a PathBuf>,
    out_dir: &Path,
) -> Result<(), Failure> {
    let failed = |reason: &dyn Display| Failure::about(path.display(), reason);
    if path.is_dir() || path.file_name().is_none() {
        return Err(failed(&"expected the name of a file, found a folder"));
    }
    let folder = parent_folder(path)?;
    // It would be put in place of a link or a device, not behind it.
    if path.symlink_metadata().is_ok_and(|found| !found.is_file()) {
        return Err(failed(&"expected a regular file or none, found a link, a pipe or a device"));
    }
    let place = |path: &Path, folder: &Path| {
        // As the system spells it, where it is there.
        let new = || Ok(folder.canonicalize()?.join(path.file_name().unwrap_or_default()));
        path.canonicalize()
            .or_else(|_| new())
            .map_err(|error: io::Error| Failure::about(path.display(), error))
    };
    let place_of_file = place(path, folder)?;
    if place_of_file == place(out_dir, parent_folder(out_dir)?)? {
        return Err(failed(&"expected another name than that of the result, found the same"));
    }
    for input in inputs {
        if input.canonicalize().is_ok_and(|input| place_of_file.starts_with(input)) {
            return Err(failed(&format!(
                "expected a file that is no input, found one of {}",
                input.display()
            )));
        }
    }
    Ok(())
}

/// Writes a line for each candidate of each query, best candidate of BM25 or the run first. The file is there as a
/// whole or not at all; one that was there is replaced.
pub fn write(
    path: &Path,
    set: &EvalSet,
    reference: &[Vec<f32>],
    quantized: &[Vec<f32>],
) -> Result<(), Failure> {
    let folder = parent_folder(path)?;
    let write = || -> io::Result<()> {
        let mut file = BufWriter::new(temporary(folder)?);
        for ((query, reference), quantized) in set.queries.iter().zip(reference).zip(quantized) {
            for ((&document, &reference), &quantized) in query.candidates.iter().zip(reference).zip(quantized)
            {
                let document = &set.documents[document];
                let pair = Pair {
                    query_id: &query.text.id,
                    document_id: &document.id,
                    query: &query.text.text,
                    document: &document.text,
                    reference,
                    quantized,
                };
                writeln!(file, "{}", json::line(&pair)?)?;
            }
        }
        file.into_inner()?.persist(path)?;
        Ok(())
    };
    write().map_err(|error| Failure::about(path.display(), error))
}

/// Beside the file, so that it can be renamed.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".crossrank-logits-");
    // Otherwise nobody else could read the result, whatever the umask allows.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}
