//! The locks of the cache, which Python's `huggingface_hub` takes, too.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How often a lock is tried that another process has.
const POLL: Duration = Duration::from_millis(50);

/// A lock that is held until it is dropped.
pub(crate) struct Lock {
    _file: Option<File>,
}

impl Lock {
    /// Waits for a lock; `waiting` is called once if another process has it.
    ///
    /// Where there can be none, as on some file systems, work goes on without: files that are not finished have names of
    /// their own, so that all that a lock saves is to download a file twice.
    pub(crate) fn take(path: &Path, waiting: impl FnOnce()) -> Self {
        let mut waiting = Some(waiting);
        loop {
            let Some(file) = open(path) else { return Self { _file: None } };
            match file.try_lock() {
                // Whoever removes the file of a lock, as a cleaner may, takes the lock away from it.
                Ok(()) if is_at(&file, path) => return Self { _file: Some(file) },
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    if let Some(waiting) = waiting.take() {
                        waiting();
                    }
                    thread::sleep(POLL);
                }
                Err(TryLockError::Error(_)) => return Self { _file: None },
            }
        }
    }
}

fn open(path: &Path) -> Option<File> {
    fs::create_dir_all(path.parent()?).ok()?;
    let mut options = File::options();
    options.create(true).truncate(false).write(true).read(true);
    // As Python: others of the group may wait for it.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o664);
    options.open(path).ok()
}

#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |a: &fs::Metadata, b: &fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    matches!((file.metadata(), path.metadata()), (Ok(a), Ok(b)) if same(&a, &b))
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    // An open file cannot be removed.
    true
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::Lock;

    #[test]
    fn one_has_it_at_a_time_and_the_other_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".locks/x/y.lock");
        let (inside, told) = (AtomicBool::new(false), AtomicUsize::new(0));
        let held = Lock::take(&path, || panic!("nobody has it"));
        thread::scope(|scope| {
            scope.spawn(|| {
                let _lock = Lock::take(&path, || {
                    told.fetch_add(1, Ordering::SeqCst);
                });
                assert!(!inside.load(Ordering::SeqCst));
            });
            inside.store(true, Ordering::SeqCst);
            while told.load(Ordering::SeqCst) == 0 {
                thread::sleep(Duration::from_millis(5));
            }
            inside.store(false, Ordering::SeqCst);
            drop(held);
        });
        assert_eq!(told.load(Ordering::SeqCst), 1);
        // It stays, as Python's does: who waits for it must find the same file.
        assert!(path.exists());
    }

    #[test]
    fn where_there_can_be_none_work_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let lock = Lock::take(&folder.path().join("file/y.lock"), || panic!("nobody has it"));
        assert!(lock._file.is_none());
    }
}
