//! A file that is not finished: `blobs/<hash>.<unique>.crossrank-part`.
//!
//! A process writes into a name of its own, whatever locks are worth. What a process that has ended left behind is
//! continued under a new name of this process; beside it lies what the server called the version of the file, for
//! `If-Range`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::check::Hash;

const ENDING: &str = ".crossrank-part";
const ETAG_ENDING: &str = ".crossrank-etag";

/// One of them, open.
pub(crate) struct Part {
    folder: PathBuf,
    name: String,
    path: PathBuf,
    /// Locked while this process writes it.
    file: File,
    written: u64,
    etag: Option<String>,
}

impl Part {
    /// Continues the longest that nobody writes any more, and removes the others; begins one where there is none.
    pub(crate) fn open(folder: &Path, hash: &Hash) -> io::Result<Self> {
        let (mut best, name): (Option<(u64, PathBuf, File)>, _) = (None, hash.name());
        for entry in folder.read_dir()? {
            let path = entry?.path();
            let is_part = |file: &str| file.starts_with(&format!("{name}.")) && file.ends_with(ENDING);
            if !path.file_name().is_some_and(|file| file.to_str().is_some_and(is_part)) {
                continue;
            }
            let Ok(file) = File::options().append(true).open(&path) else { continue };
            // Whoever writes it has the lock, until it ends.
            if file.try_lock().is_err() {
                continue;
            }
            let length = file.metadata()?.len();
            let is_best = best.as_ref().is_none_or(|(longest, ..)| *longest < length);
            let found = (length, path, file);
            if let Some((_, path, _)) = if is_best { best.replace(found) } else { Some(found) } {
                remove(&path);
            }
        }
        let mut part = Self::begin(folder, name)?;
        if let Some((written, path, file)) = best
            // Over the empty one, so that its name is this process's in any case.
            && fs::rename(&path, &part.path).is_ok()
        {
            let etag = path.with_extension(&ETAG_ENDING[1..]);
            part.etag = fs::read_to_string(&etag).ok().filter(|etag| is_strong(etag));
            let _ = fs::remove_file(&etag);
            if let Some(etag) = part.etag.take() {
                part.set_etag(Some(&etag));
            }
            (part.file, part.written) = (file, written);
        }
        Ok(part)
    }

    fn begin(folder: &Path, name: &str) -> io::Result<Self> {
        loop {
            let path = folder.join(format!("{name}.{}{ENDING}", unique()));
            match File::options().append(true).create_new(true).open(&path) {
                Ok(file) => {
                    // Where there are no locks, another process may take it away; then this one begins anew.
                    let _ = file.try_lock();
                    return Ok(Self {
                        folder: folder.to_owned(),
                        name: name.to_owned(),
                        path,
                        file,
                        written: 0,
                        etag: None,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Begins anew, in a new file: another process may have the old one.
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        if self.written > 0 || self.etag.is_some() {
            let new = Self::begin(&self.folder, &self.name)?;
            std::mem::replace(self, new).discard();
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that it has.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// What the server calls the version that this is the beginning of.
    pub(crate) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Only a strong one says that bytes are the same. Without one the hash must do, at the end.
    pub(crate) fn set_etag(&mut self, etag: Option<&str>) {
        self.etag = etag.filter(|etag| is_strong(etag)).map(str::to_owned);
        if let Some(etag) = &self.etag {
            let _ = fs::write(self.path.with_extension(&ETAG_ENDING[1..]), etag);
        }
    }

    /// Writes all of it to the disk, so that no crash can undo what is compared from here on.
    pub(crate) fn settle(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Gives it the name of a blob, which it replaces.
    pub(crate) fn finish(self, blob: &Path) -> io::Result<()> {
        let _ = fs::remove_file(self.path.with_extension(&ETAG_ENDING[1..]));
        fs::rename(&self.path, blob)
    }

    pub(crate) fn discard(self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path.with_extension(&ETAG_ENDING[1..]));
    let _ = fs::remove_file(path);
}

fn is_strong(etag: &str) -> bool {
    let inner = etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"'));
    inner.is_some_and(|inner| inner.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'))
}

/// Differs between processes, and within one.
pub(crate) fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
    format!("{:x}-{:x}-{time:x}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Part;
    use crate::check::Hash;

    fn hash() -> Hash {
        Hash::parse(&"0a".repeat(20)).unwrap()
    }

    fn names(folder: &std::path::Path) -> Vec<String> {
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn what_is_left_behind_is_continued_under_a_new_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Part::open(folder.path(), &hash()).unwrap();
        first.append(b"hel").unwrap();
        first.set_etag(Some("\"v1\""));
        let old = first.path().to_owned();
        drop(first);
        let mut second = Part::open(folder.path(), &hash()).unwrap();
        assert_eq!((second.written(), second.etag()), (3, Some("\"v1\"")));
        assert!(second.path() != old && !old.exists());
        second.append(b"lo").unwrap();
        let blob = folder.path().join("blob");
        second.finish(&blob).unwrap();
        assert_eq!(
            (fs::read_to_string(blob).unwrap(), names(folder.path())),
            ("hello".into(), vec!["blob".into()])
        );
    }

    #[test]
    fn what_somebody_writes_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Part::open(folder.path(), &hash()).unwrap();
        first.append(b"first").unwrap();
        let mut second = Part::open(folder.path(), &hash()).unwrap();
        assert_eq!(second.written(), 0);
        second.append(b"second").unwrap();
        assert_eq!(fs::read(first.path()).unwrap(), b"first");
        // Of those that ended the longest is taken, and no other is kept.
        drop((first, second));
        let third = Part::open(folder.path(), &hash()).unwrap();
        assert_eq!((third.written(), names(folder.path()).len()), (6, 1));
    }

    #[test]
    fn to_begin_anew_is_to_begin_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut part = Part::open(folder.path(), &hash()).unwrap();
        part.append(b"wrong").unwrap();
        part.set_etag(Some("\"v1\""));
        let old = part.path().to_owned();
        part.restart().unwrap();
        assert!(part.path() != old && part.written() == 0 && part.etag().is_none());
        assert_eq!(names(folder.path()).len(), 1);
        part.discard();
        assert_eq!(names(folder.path()).len(), 0);
    }

    #[test]
    fn parts_of_python_and_of_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let others = [format!("{}.1234abcd.incomplete", hash().name()), "b.1.crossrank-part".to_owned()];
        for name in &others {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        let part = Part::open(folder.path(), &hash()).unwrap();
        assert_eq!((part.written(), names(folder.path()).len()), (0, 3));
    }

    #[test]
    fn only_strong_versions_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut part = Part::open(folder.path(), &hash()).unwrap();
        for (etag, kept) in
            [("\"a\"", true), ("W/\"a\"", false), ("a", false), ("\"a b\"", false), ("\"", false)]
        {
            part.set_etag(Some(etag));
            assert_eq!(part.etag().is_some(), kept, "{etag}");
        }
    }
}
