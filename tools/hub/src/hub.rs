//! The folder of a model, out of the cache or out of the hub.

use std::path::{Path, PathBuf};

use crate::cache::Cache;
use crate::check::{Checker, Found, Hash};
use crate::download::Download;
use crate::error::{Error, Result};
use crate::http::{About, Client};
use crate::listing::{Facts, Listing, beginning, file_url, is_safe, stand_in};
use crate::lock::Lock;
use crate::model::Model;
use crate::needed::Needs;
use crate::settings::Settings;

/// What happens on the way to a folder.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Bytes of a file have come in. `done` falls where a server begins anew.
    Progress {
        /// The file's name in the repository.
        file: &'a str,
        /// Bytes that are here, those of earlier times included.
        done: u64,
        /// Bytes that it has, where that is known.
        total: Option<u64>,
    },
    /// Another process is downloading a file; it is waited for.
    Waiting {
        /// The file's name in the repository.
        file: &'a str,
    },
    /// Something is not as it should be, and there was a way around it.
    Warning {
        /// What, in a sentence.
        message: &'a str,
    },
}

/// Who is told of events, from the thread that has called.
type Watcher<'a> = Box<dyn Fn(Event<'_>) + Send + Sync + 'a>;

/// Models from a hub, kept in a cache.
///
/// Any number of these may work on one cache at once, in one process or in several, Python's among them.
pub struct Hub<'a> {
    client: Client,
    watcher: Watcher<'a>,
}

impl<'a> Hub<'a> {
    /// Asks nothing yet.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] or [`Error::Io`] where the proxy or the file of certificates cannot be used.
    pub fn new(settings: Settings) -> Result<Self> {
        Ok(Self { client: Client::new(settings)?, watcher: Box::new(|_| {}) })
    }

    /// Has events told to a function.
    pub fn watched_by(mut self, watcher: impl Fn(Event<'_>) + Send + Sync + 'a) -> Self {
        self.watcher = Box::new(watcher);
        self
    }

    /// The folder of a model, with all files that the engine reads; downloads those that the cache lacks.
    ///
    /// The hub is asked what the revision means today. It is not asked where the revision is a commit that the cache has,
    /// and where it cannot be asked, what the cache has of the revision is used, with a warning.
    ///
    /// # Errors
    ///
    /// Any [`Error`]. What has been downloaded by then stays, and is not downloaded again.
    pub fn snapshot(&self, model: &Model) -> Result<PathBuf> {
        let settings = self.client.settings();
        let cache = Cache::new(&settings.cache, model.id(), settings.symlinks);
        let here = Here { hub: self, model, checker: Checker::new(cache.notes()), cache };
        if settings.offline {
            return here.cached();
        }
        if model.commit().is_some()
            && let Ok(folder) = here.cached()
        {
            return Ok(folder);
        }
        let listing = match Listing::ask(&self.client, model) {
            Ok(listing) => listing,
            Err(error) if error.is_about_the_way() => match here.cached() {
                Ok(folder) => {
                    self.warn(&format!("{model} is used as the cache has it: {error}"));
                    return Ok(folder);
                }
                Err(_) if error.is_passing() && self.client.pause(0, &error) => {
                    self.client.retrying(1, || Listing::ask(&self.client, model))?
                }
                Err(_) => return Err(error),
            },
            Err(error) => return Err(error),
        };
        here.download(&listing)
    }

    fn warn(&self, message: &str) {
        (self.watcher)(Event::Warning { message });
    }
}

/// One model and its part of the cache.
struct Here<'a> {
    hub: &'a Hub<'a>,
    model: &'a Model,
    cache: Cache,
    checker: Checker,
}

impl Here<'_> {
    fn download(&self, listing: &Listing) -> Result<PathBuf> {
        let client = &self.hub.client;
        let names = listing.names();
        let get = |name: &str| {
            let lacks = || Error::Unusable {
                id: self.model.id().to_owned(),
                reason: format!("it has no file {name}"),
            };
            let facts = listing.facts(client, self.model, name)?.ok_or_else(lacks)?;
            let path = self.fetch(&listing.commit, name, &facts)?;
            self.look(name, &path)?;
            Ok(Some(path))
        };
        Needs { id: self.model.id(), names: &names, whole: true, get }.all()?;
        // Only now: what it means must be there as a whole.
        self.cache.set_commit_of(self.model.revision(), &listing.commit);
        Ok(self.cache.snapshot(&listing.commit))
    }

    /// The path of a file, after it has been downloaded if it must be.
    fn fetch(&self, commit: &str, name: &str, facts: &Facts) -> Result<PathBuf> {
        let (hub, cache) = (self.hub, &self.cache);
        let pointer = cache.pointer(commit, name);
        if self.find(&pointer, facts)? {
            return Ok(pointer);
        }
        cache.prepare(&pointer)?;
        let waiting = || (hub.watcher)(Event::Waiting { file: name });
        let _lock = Lock::take(&cache.lock(&facts.hash), waiting);
        // Another process may have been faster. It said what it found.
        if matches!(self.checker.check(&pointer, facts.size, &facts.hash), Ok(Found::Good)) {
            return Ok(pointer);
        }
        let blob = cache.blob(&facts.hash);
        // Without a link to it, nobody has said yet what it is.
        let is_linked = pointer
            .canonicalize()
            .ok()
            .is_some_and(|path| blob.canonicalize().is_ok_and(|blob| blob == path));
        let is_there = if is_linked { false } else { self.find(&blob, facts)? };
        if !is_there {
            let progress = |done| (hub.watcher)(Event::Progress { file: name, done, total: facts.size });
            let download = Download {
                client: &hub.client,
                cache,
                checker: &self.checker,
                about: About { id: self.model.id(), revision: self.model.revision() },
                url: file_url(&hub.client, self.model, commit, name),
                facts,
                progress: &progress,
            };
            download.run()?;
        }
        cache.link(&facts.hash, name, &pointer)?;
        Ok(pointer)
    }

    /// Whether the right file is at a path. What else is there is named, and counts as nothing.
    fn find(&self, path: &Path, facts: &Facts) -> Result<bool> {
        match self.checker.check(path, facts.size, &facts.hash).map_err(Error::io(path))? {
            Found::Good => Ok(true),
            Found::Nothing => Ok(false),
            Found::Other(reason) => {
                self.hub.warn(&format!("{}: {reason}; it is downloaded anew", at_its_end(path).display()));
                Ok(false)
            }
        }
    }

    /// Says of a file that the repository has it, and that it is not what its name says.
    fn look(&self, name: &str, path: &Path) -> Result<()> {
        let start = beginning(path).map_err(Error::io(path))?;
        let what = stand_in(&start).filter(|_| !start.is_empty());
        what.map_or(Ok(()), |what| {
            let reason = format!("its {name} is {what}, in this revision: another one may have it");
            Err(Error::Unusable { id: self.model.id().to_owned(), reason })
        })
    }

    /// The folder, if the cache has all of it.
    fn cached(&self) -> Result<PathBuf> {
        let offline = |what: String| Error::Offline {
            cache: self.cache.root().to_owned(),
            model: self.model.to_string(),
            what,
        };
        let revision = self.model.revision();
        let commit = match self.model.commit() {
            Some(commit) => Some(commit.to_owned()),
            None => self.cache.commit_of(revision)?,
        };
        let commit = commit.filter(|commit| self.cache.snapshot(commit).is_dir());
        let commit =
            commit.ok_or_else(|| offline(format!("it has no snapshot of the revision `{revision}`")))?;
        let tree = self.cache.tree(&commit);
        let names = tree.clone().unwrap_or_else(|| self.cache.names(&commit));
        let mut missing = Vec::new();
        let get = |name: &str| {
            let path = self.cache.pointer(&commit, name);
            let problem = if is_safe(name) { self.problem(&path)? } else { Some("is refused".to_owned()) };
            Ok(match problem {
                None => {
                    self.look(name, &path)?;
                    Some(path)
                }
                Some(problem) => {
                    missing.push(format!("{name} {problem}"));
                    None
                }
            })
        };
        Needs { id: self.model.id(), names: &names, whole: tree.is_some(), get }.all()?;
        if missing.is_empty() {
            return Ok(self.cache.snapshot(&commit));
        }
        Err(offline(missing.join(", ")))
    }

    /// What is wrong with a file of a snapshot, by the name of the blob that it leads to.
    fn problem(&self, path: &Path) -> Result<Option<String>> {
        let target = path.read_link().ok();
        let hash = target.as_deref().and_then(Path::file_name).and_then(|name| Hash::parse(name.to_str()?));
        let Some(hash) = hash else {
            // A file of its own, as where there are no links: nothing says what it should be.
            return Ok((!path.is_file()).then(|| "is missing".to_owned()));
        };
        Ok(match self.checker.check(path, None, &hash).map_err(Error::io(path))? {
            Found::Good => None,
            Found::Nothing => Some("is missing".to_owned()),
            Found::Other(reason) => Some(format!("is broken ({}: {reason})", at_its_end(path).display())),
        })
    }
}

/// Where a link leads.
fn at_its_end(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}
