//! The one place that maps a file into memory, and the only unsafe code of the engine.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use memmap2::{Mmap, MmapMut};

use super::files::{cannot_open, open_regular};
use crate::error::Result;

/// A file in memory, to be read.
pub(crate) struct MappedFile {
    map: Mmap,
    /// The same file, for what is better read than mapped.
    file: File,
}

impl MappedFile {
    /// Maps a whole file. [`WeightSource::Mmap`](crate::WeightSource::Mmap) says what the caller vouches for.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || {
            let file = open_regular(path)?;
            // SAFETY: the map is only read, as bytes and as f32, for which every value is valid; that the file neither
            // shrinks nor changes is what `WeightSource::Mmap` asks of the caller, who can choose `WeightSource::Read`.
            let map = unsafe { Mmap::map(&file) }?;
            Ok(Self { map, file })
        };
        open().map_err(|source| cannot_open(path, source))
    }

    /// Reads a whole file into memory of its own, which begins on a page as a map does.
    pub(crate) fn read(path: &Path) -> Result<Mmap> {
        let read = || {
            let mut file = open_regular(path)?;
            let len = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
            let mut memory = MmapMut::map_anon(len)?;
            file.read_exact(&mut memory)?;
            memory.make_read_only()
        };
        read().map_err(|source| cannot_open(path, source))
    }

    /// Reads some bytes of the file into `dst`, so that nothing more of the map becomes resident. False where the system
    /// cannot, or the file no longer has them.
    pub(crate) fn read_at(&self, offset: usize, dst: &mut [u8]) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::FileExt;
            self.file.read_exact_at(dst, offset as u64).is_ok()
        }
        #[cfg(not(unix))]
        {
            let found = self.map.get(offset..offset.saturating_add(dst.len()));
            found.map(|bytes| dst.copy_from_slice(bytes)).is_some()
        }
    }

    /// Gives back the memory of bytes that are not needed for now, and of what shares a page with them. All can still
    /// be read: it then comes from the file again.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            let range = range.start.min(self.map.len())..range.end.min(self.map.len());
            // It is advice: where it fails nothing is lost but memory.
            // SAFETY: the line above keeps to the map. `MappedFile` is made by `open` alone, so it is of a file and never
            // written: whoever holds a view of pages that this drops reads the same bytes of the file in their place.
            let _ = unsafe {
                self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len())
            };
        }
        #[cfg(not(unix))]
        let _ = (range, &self.file);
    }
}

impl AsRef<[u8]> for MappedFile {
    fn as_ref(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::MappedFile;

    /// What is resident of the maps of a file, in KiB.
    fn resident(name: &str) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let of_file = maps.lines().skip_while(|line| !line.contains(name));
        let line = of_file.into_iter().find(|line| line.starts_with("Rss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn what_is_released_leaves_memory_and_can_be_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..4_000_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(file.path(), &bytes).unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap();
        let map = MappedFile::open(file.path()).unwrap();
        assert!(map.as_ref() == bytes);
        let before = resident(name);
        map.release(1_000_001..3_000_001);
        let after = resident(name);
        assert!(before >= 3900 && after <= before - 1900, "{before} KiB, then {after}");
        assert!(map.as_ref() == bytes, "other bytes than before");
        map.release(3_999_999..usize::MAX);
    }
}
