//! Whether a file is what its hash says.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::model::is_lower_hex;

/// Files up to this many bytes are hashed whenever they are used; of larger ones it is noted that they have been.
const HASHED_ALWAYS: u64 = 4 << 20;
/// Bytes that are hashed at a time.
const STEP: usize = 1 << 20;

/// A hash, which is the name of a blob: 64 hexadecimal digits of SHA-256, or 40 of git's SHA-1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Hash(String);

impl Hash {
    /// None where the text is no such hash.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        (matches!(text.len(), 40 | 64) && is_lower_hex(text)).then(|| Self(text.to_owned()))
    }

    /// The name of the blob.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// The same hash of a file of `size` bytes.
    fn of(&self, file: File, size: u64) -> io::Result<String> {
        if self.0.len() == 64 {
            return digest(Sha256::new(), file);
        }
        // Git hashes a header, too.
        digest(Sha1::new_with_prefix(format!("blob {size}\0")), file)
    }
}

fn digest<D: Digest>(mut hasher: D, mut file: File) -> io::Result<String> {
    let mut buffer = vec![0; STEP];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What is at a path.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Found {
    Nothing,
    /// The file that was expected.
    Good,
    /// Something else: what was expected and what was found.
    Other(String),
}

/// Compares files with their hashes, and notes which large ones have been.
pub(crate) struct Checker {
    /// Where notes are, one a hash: size and time of change of the file that had it.
    notes: PathBuf,
}

impl Checker {
    pub(crate) fn new(notes: PathBuf) -> Self {
        Self { notes }
    }

    /// What is at a path, links followed. A link that leads nowhere is nothing.
    pub(crate) fn check(&self, path: &Path, size: Option<u64>, hash: &Hash) -> io::Result<Found> {
        let metadata = match path.metadata() {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Found::Nothing);
            }
            Err(error) => return Err(error),
        };
        if !metadata.is_file() {
            return Ok(Found::Other("expected a file, found a folder or a device".into()));
        }
        if let Some(size) = size.filter(|size| *size != metadata.len()) {
            return Ok(Found::Other(format!("expected {size} bytes, found {}", metadata.len())));
        }
        if metadata.len() > HASHED_ALWAYS && self.is_noted(hash, &metadata) {
            return Ok(Found::Good);
        }
        let found = hash.of(File::open(path)?, metadata.len())?;
        if found != hash.0 {
            return Ok(Found::Other(format!("expected the hash {}, found {found}", hash.0)));
        }
        if metadata.len() > HASHED_ALWAYS {
            self.note(hash, &metadata);
        }
        Ok(Found::Good)
    }

    fn is_noted(&self, hash: &Hash, metadata: &Metadata) -> bool {
        let noted = fs::read_to_string(self.notes.join(&hash.0));
        noted.is_ok_and(|noted| stamp(metadata).is_some_and(|stamp| stamp == noted))
    }

    /// Where there can be no note, as in a cache that is read only, the file is hashed again the next time.
    fn note(&self, hash: &Hash, metadata: &Metadata) {
        if let Some(stamp) = stamp(metadata)
            && fs::create_dir_all(&self.notes).is_ok()
        {
            let _ = fs::write(self.notes.join(&hash.0), stamp);
        }
    }
}

/// Changes when a file does.
fn stamp(metadata: &Metadata) -> Option<String> {
    let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some(format!("{} {}.{:09}", metadata.len(), changed.as_secs(), changed.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Checker, Found, HASHED_ALWAYS, Hash};

    /// As `git hash-object` and `sha256sum` have them.
    const GIT: &str = "ce013625030ba8dba906f756967f9e9ca394464a";
    const SHA: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

    #[test]
    fn a_hash_is_gits_or_sha256() {
        for text in [GIT, SHA] {
            assert_eq!(Hash::parse(text).unwrap().name(), text);
        }
        for text in ["", &GIT[1..], &GIT.to_uppercase(), "../../../../../../../../../etc/passwd12345678901"] {
            assert_eq!(Hash::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_is_compared_by_size_and_hash() {
        let folder = tempfile::tempdir().unwrap();
        let (path, checker) = (folder.path().join("file"), Checker::new(folder.path().join("notes")));
        let check = |size, hash| checker.check(&path, size, &Hash::parse(hash).unwrap()).unwrap();
        assert_eq!(check(Some(6), GIT), Found::Nothing);
        fs::write(&path, "hello\n").unwrap();
        for hash in [GIT, SHA] {
            assert_eq!((check(Some(6), hash), check(None, hash)), (Found::Good, Found::Good));
            assert_eq!(check(Some(7), hash), Found::Other("expected 7 bytes, found 6".into()));
        }
        fs::write(&path, "hellO\n").unwrap();
        for hash in [GIT, SHA] {
            assert!(matches!(check(Some(6), hash), Found::Other(reason) if reason.contains(hash)));
        }
        assert!(!folder.path().join("notes").exists());
        assert!(matches!(
            checker.check(folder.path(), None, &Hash::parse(GIT).unwrap()),
            Ok(Found::Other(_))
        ));
    }

    #[test]
    fn a_large_file_is_hashed_again_when_it_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, notes) = (folder.path().join("file"), folder.path().join("notes"));
        let checker = Checker::new(notes.clone());
        let zeros = vec![0; HASHED_ALWAYS as usize + 1];
        fs::write(&path, &zeros).unwrap();
        let hash = Hash::parse(SHA).unwrap();
        let Found::Other(reason) = checker.check(&path, None, &hash).unwrap() else { panic!() };
        let hash = Hash::parse(reason.rsplit(' ').next().unwrap()).unwrap();
        assert_eq!(checker.check(&path, None, &hash).unwrap(), Found::Good);
        assert!(notes.join(hash.name()).exists());
        assert_eq!(checker.check(&path, None, &hash).unwrap(), Found::Good);
        // The note is believed, and only for this size and time.
        let time = path.metadata().unwrap().modified().unwrap();
        let set = |bytes: &[u8], time| {
            fs::write(&path, bytes).unwrap();
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        let ones = vec![1; zeros.len()];
        set(&ones, time);
        assert_eq!(checker.check(&path, None, &hash).unwrap(), Found::Good);
        set(&ones, time + std::time::Duration::from_secs(1));
        assert!(matches!(checker.check(&path, None, &hash).unwrap(), Found::Other(_)));
    }
}
