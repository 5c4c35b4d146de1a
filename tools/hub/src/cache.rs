//! Where things are in the cache, as Python's `huggingface_hub` has them:
//!
//! ```text
//! models--org--name/blobs/HASH             files
//! models--org--name/snapshots/COMMIT/NAME  links to them
//! models--org--name/refs/REVISION          a commit
//! models--org--name/trees/COMMIT.json      the list of a commit's files, by Python
//! .locks/models--org--name/HASH.lock       locks
//! models--org--name/.crossrank/HASH        notes of ours: this blob has been compared with its hash
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::check::Hash;
use crate::error::{Error, Result};
use crate::model::is_commit;
use crate::part::unique;

/// What tells backup programs to leave a folder out.
const CACHE_TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file is a cache directory tag created by crossrank.\n\
    # For information about cache directory tags, see:\n\
    #\thttps://bford.info/cachedir/\n";
/// Folders within folders: no model has as many.
const MAX_DEPTH: usize = 8;

/// One repository's part of the cache.
pub(crate) struct Cache {
    root: PathBuf,
    folder: PathBuf,
    locks: PathBuf,
    symlinks: bool,
}

impl Cache {
    /// `id` has been checked.
    pub(crate) fn new(root: &Path, id: &str, symlinks: bool) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self {
            root: root.to_owned(),
            folder: root.join(&name),
            locks: root.join(".locks").join(name),
            symlinks,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn notes(&self) -> PathBuf {
        self.folder.join(".crossrank")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    pub(crate) fn blob(&self, hash: &Hash) -> PathBuf {
        self.blobs().join(hash.name())
    }

    pub(crate) fn lock(&self, hash: &Hash) -> PathBuf {
        self.locks.join(format!("{}.lock", hash.name()))
    }

    pub(crate) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Where a file of a snapshot is; `name` has been checked.
    pub(crate) fn pointer(&self, commit: &str, name: &str) -> PathBuf {
        name.split('/').fold(self.snapshot(commit), |path, part| path.join(part))
    }

    /// Makes the folders that a file of a snapshot needs.
    pub(crate) fn prepare(&self, pointer: &Path) -> Result<()> {
        for folder in [Some(&*self.blobs()), pointer.parent()].into_iter().flatten() {
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
        }
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            let _ = fs::write(tag, CACHE_TAG);
        }
        Ok(())
    }

    /// Makes a file of a snapshot lead to its blob, in place of whatever was there.
    pub(crate) fn link(&self, hash: &Hash, name: &str, pointer: &Path) -> Result<()> {
        let blob = self.blob(hash);
        if self.symlinks {
            let up = "../".repeat(2 + name.matches('/').count());
            // Beside the blobs: in the snapshot Python would take it for a file of the model.
            let temporary = self.blobs().join(format!("{}.{}.crossrank-link", hash.name(), unique()));
            if symlink(Path::new(&format!("{up}blobs/{}", hash.name())), &temporary).is_ok() {
                return fs::rename(&temporary, pointer).map_err(|source| {
                    let _ = fs::remove_file(&temporary);
                    Error::Io { path: pointer.to_owned(), source }
                });
            }
        }
        // As Python does: the file itself is in the snapshot, and there is no blob.
        fs::rename(&blob, pointer).map_err(Error::io(pointer))
    }

    /// The commit that a revision meant when it was last asked for.
    pub(crate) fn commit_of(&self, revision: &str) -> Result<Option<String>> {
        let path = self.reference(revision);
        match fs::read_to_string(&path) {
            // What is no commit could lead anywhere.
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| is_commit(text))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(source) => Err(Error::Io { path, source }),
        }
    }

    /// Notes the commit that a revision means. The cache may be read only, and its files are as good without.
    pub(crate) fn set_commit_of(&self, revision: &str, commit: &str) {
        if revision == commit || self.commit_of(revision).is_ok_and(|noted| noted.as_deref() == Some(commit))
        {
            return;
        }
        let path = self.reference(revision);
        if path.parent().is_none_or(|folder| fs::create_dir_all(folder).is_err()) {
            return;
        }
        // Beside the blobs: Python takes every file here for a reference.
        let temporary = self.blobs().join(format!("{}.crossrank-ref", unique()));
        if fs::write(&temporary, commit).is_err() || fs::rename(&temporary, &path).is_err() {
            let _ = fs::remove_file(&temporary);
        }
    }

    fn reference(&self, revision: &str) -> PathBuf {
        revision.split('/').fold(self.folder.join("refs"), |path, part| path.join(part))
    }

    /// The names of a commit's files, as Python has noted them, if it has.
    pub(crate) fn tree(&self, commit: &str) -> Option<BTreeSet<String>> {
        #[derive(Deserialize)]
        struct Tree {
            format_version: u32,
            files: std::collections::BTreeMap<String, serde_json::Value>,
        }
        let bytes = fs::read(self.folder.join("trees").join(format!("{commit}.json"))).ok()?;
        let tree: Tree = serde_json::from_slice(&bytes).ok()?;
        (tree.format_version == 1).then(|| tree.files.into_keys().collect())
    }

    /// The names of the files in a snapshot; those of links that lead nowhere, too.
    pub(crate) fn names(&self, commit: &str) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        collect(&self.snapshot(commit), "", MAX_DEPTH, &mut names);
        names
    }
}

fn collect(folder: &Path, prefix: &str, depth: usize, names: &mut BTreeSet<String>) {
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let name = format!("{prefix}{name}");
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => {
                collect(&entry.path(), &format!("{name}/"), depth - 1, names)
            }
            Ok(kind) if !kind.is_dir() => {
                names.insert(name);
            }
            _ => {}
        }
    }
}

#[cfg(unix)]
fn symlink(target: &Path, at: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(windows)]
fn symlink(target: &Path, at: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, at)
}

#[cfg(not(any(unix, windows)))]
fn symlink(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
