//! An index on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tantivy::directory::MmapDirectory;

use crate::error::{Error, Result};
use crate::index::Index;
use crate::manifest::{Manifest, Source};
use crate::writer::Writer;

const MANIFEST: &str = "crossrank-index.json";
const LOCK: &str = "lock";
/// Names of folders with tantivy's files begin so.
const DATA: &str = "data-";
/// Names of manifests that are being written begin so.
const NEW_MANIFEST: &str = "new-manifest-";
/// How often an index that is replaced under our hands is looked for anew.
const TRIES: usize = 10;

/// What happens to an index that does not simply serve.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Another process builds there: its end is waited for.
    Waiting,
    /// The index is built, with the reason where there was one before.
    Building(Option<String>),
}

/// The folder of an index: a manifest, `crossrank-index.json`, and tantivy's files in a folder that it names.
///
/// A new index is built beside the one that is there, and takes its place when the manifest is renamed: whoever opens
/// the folder has the one or the other as a whole. Those who build take turns by a lock on the file `lock`; those who
/// search need none. A folder that holds anything else is refused, and only what an index consists of is ever removed.
#[derive(Clone, Debug)]
pub struct IndexFolder {
    path: PathBuf,
}

enum Found {
    Index(Index),
    /// Nothing that serves, with the reason unless there is nothing at all.
    None(Option<String>),
}

impl IndexFolder {
    /// A folder that need not exist yet, in one that does.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Opens the index of a corpus; builds it of what `fill` adds if the folder has none, or that of another corpus, of
    /// another state of it, or of another version of this crate.
    ///
    /// # Errors
    /// When the folder holds something else, the index is damaged or cannot be written, or `fill` fails: what was
    /// there then stays as it was.
    pub fn open_or_build<E: From<Error>>(
        &self,
        corpus: &Source,
        mut tell: impl FnMut(Event),
        fill: impl FnOnce(&mut Writer) -> Result<(), E>,
    ) -> Result<Index, E> {
        if let Found::Index(index) = self.look(corpus)? {
            return Ok(index);
        }
        match fs::create_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io(&self.path)(error).into());
            }
            _ => {}
        }
        let _lock = self.lock(&mut tell)?;
        // Somebody else may have built it meanwhile.
        let why = match self.look(corpus)? {
            Found::Index(index) => return Ok(index),
            Found::None(why) => why,
        };
        tell(Event::Building(why));
        let old = self.manifest()?.and_then(|manifest| manifest.ok()).map(|manifest| manifest.data);
        self.remove_data(|name| Some(name) != old.as_deref());

        let data = tempfile::Builder::new().prefix(DATA).tempdir_in(&self.path);
        let data = data.map_err(Error::io(&self.path))?;
        let mut writer = Writer::new(Box::new(directory(data.path())?) as Box<dyn tantivy::Directory>)?;
        fill(&mut writer)?;
        let index = writer.finish()?;
        self.write(&Manifest::new(corpus, index.documents(), data.path())?)?;
        let data = data.keep();
        // Where the old one is still being read it may be that it cannot be removed, which the next time makes up for.
        self.remove_data(|name| Path::new(name) != data.file_name().unwrap_or_default());
        Ok(index)
    }

    /// The index, if it serves.
    fn look(&self, corpus: &Source) -> Result<Found> {
        let mut before = None;
        for _ in 0..TRIES {
            let manifest = match self.manifest()? {
                Some(Ok(manifest)) => manifest,
                Some(Err(why)) => return Ok(Found::None(Some(why))),
                None => return self.without_manifest(),
            };
            if let Some(why) = manifest.stale(corpus) {
                return Ok(Found::None(Some(why)));
            }
            match self.open(&manifest) {
                Ok(index) => return Ok(Found::Index(index)),
                // It has been replaced since, unless the manifest is still the same.
                Err(_) if before.as_ref() != Some(&manifest.data) => before = Some(manifest.data),
                Err(error) => return Err(error),
            }
        }
        Err(Error::broken(&self.path, "it is replaced again and again while it is being opened"))
    }

    fn open(&self, manifest: &Manifest) -> Result<Index> {
        // A name of ours, and nothing that leads elsewhere.
        let is_name = manifest.data.starts_with(DATA) && !manifest.data.contains(['/', '\\']);
        if !is_name {
            return Err(Error::broken(
                &self.path,
                format!("{MANIFEST}: `data`: expected a name that begins with {DATA}"),
            ));
        }
        let data = self.path.join(&manifest.data);
        if let Some(reason) = manifest.damage(&data)? {
            return Err(Error::broken(&self.path, reason));
        }
        let index = tantivy::Index::open(directory(&data)?).map_err(Error::from);
        index
            .and_then(|index| Index::open(&index))
            .map_err(|error| Error::broken(&self.path, error.to_string()))
    }

    /// What the manifest says; `Err` in it is why it does not serve.
    fn manifest(&self) -> Result<Option<std::result::Result<Manifest, String>>> {
        let path = self.path.join(MANIFEST);
        match fs::read(&path) {
            Ok(bytes) => {
                let manifest = Manifest::parse(&bytes);
                manifest.map(Some).map_err(|error| Error::broken(&self.path, format!("{MANIFEST}: {error}")))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }

    /// Nothing is there, or an index that was never finished; anything else is refused.
    fn without_manifest(&self) -> Result<Found> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::None(None)),
            Err(error) => return Err(Error::io(&self.path)(error)),
        };
        let mut unfinished = false;
        let mut names = vec![];
        for entry in entries {
            names.push(entry.map_err(Error::io(&self.path))?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        for name in names {
            match &*name {
                // Written since we looked.
                LOCK | MANIFEST => {}
                name if name.starts_with(DATA) || name.starts_with(NEW_MANIFEST) => unfinished = true,
                _ => return Err(Error::Foreign { folder: self.path.clone(), found: name }),
            }
        }
        Ok(Found::None(unfinished.then(|| "it was never finished".into())))
    }

    /// Held by whoever builds. Ends with the process, however that ends.
    fn lock(&self, tell: &mut impl FnMut(Event)) -> Result<Option<File>> {
        let path = self.path.join(LOCK);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io(&path))?;
        let locked = match file.try_lock() {
            Ok(()) => Ok(()),
            Err(fs::TryLockError::WouldBlock) => {
                tell(Event::Waiting);
                file.lock()
            }
            Err(fs::TryLockError::Error(error)) => Err(error),
        };
        match locked {
            Ok(()) => Ok(Some(file)),
            // A file system without locks: what is renamed is whole all the same.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(Error::io(&path)(error)),
        }
    }

    fn write(&self, manifest: &Manifest) -> Result<()> {
        let path = self.path.join(MANIFEST);
        let mut json = serde_json::to_vec_pretty(manifest).map_err(|error| Error::io(&path)(error.into()))?;
        json.push(b'\n');
        let write = || {
            let mut file = tempfile::Builder::new().prefix(NEW_MANIFEST).tempfile_in(&self.path)?;
            file.write_all(&json)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            Ok(())
        };
        write().map_err(Error::io(&path))
    }

    /// Removes data of ours, by its name.
    fn remove_data(&self, which: impl Fn(&str) -> bool) {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| which(name)) else { continue };
            // What cannot be removed stays, and does no harm.
            let _ = match () {
                () if name.starts_with(DATA) => fs::remove_dir_all(entry.path()),
                () if name.starts_with(NEW_MANIFEST) => fs::remove_file(entry.path()),
                () => Ok(()),
            };
        }
    }
}

fn directory(path: &Path) -> Result<MmapDirectory> {
    MmapDirectory::open(path).map_err(|error| Error::from(tantivy::TantivyError::from(error)))
}
