//! The one place that maps a file into memory, and the only unsafe code of the engine.
#![allow(unsafe_code)]

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// A file in memory, to be read.
pub(crate) struct Map(Mmap);

impl Map {
    /// Maps a whole file. [`WeightSource::Mmap`](crate::WeightSource::Mmap) says what the caller vouches for.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || {
            let file = File::open(path)?;
            // SAFETY: the map is only read, as bytes, for which every value is valid; that the file neither shrinks nor
            // changes is what `WeightSource::Mmap` asks of the caller, who can choose `WeightSource::Read` instead.
            unsafe { Mmap::map(&file) }
        };
        open().map(Self).map_err(|source| Error::Io { path: path.into(), source })
    }

    /// Gives back the memory of bytes that are not needed for now. They can still be read: they then come from the
    /// file again.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            let range = range.start.min(self.0.len())..range.end.min(self.0.len());
            // It is advice: where it fails nothing is lost but memory.
            // SAFETY: the map is of a file and was never written, so the pages that this drops, and those that are read
            // in their place, hold the file's bytes.
            let _ = unsafe {
                self.0.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
