//! The one place that maps a file into memory, and the only unsafe code of the engine.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// Maps a whole file to read. [`WeightSource::Mmap`](crate::WeightSource::Mmap) says what the caller vouches for.
pub(crate) fn map(path: &Path) -> Result<Mmap> {
    let open = || {
        let file = File::open(path)?;
        // SAFETY: the map is only read, as bytes, for which every value is valid; that the file neither shrinks nor
        // changes is what `WeightSource::Mmap` asks of the caller, who can choose `WeightSource::Read` instead.
        unsafe { Mmap::map(&file) }
    };
    open().map_err(|source| Error::Io { path: path.into(), source })
}
