//! A client of the server, with a cache of its own.
#![allow(dead_code)]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use crossrank_hub::{Error, Event, Hub, Model, Settings};
use tempfile::TempDir;

use super::server::{COMMIT, ID, Server};

/// A cache and what was said of it.
pub struct Client {
    pub folder: TempDir,
    endpoint: String,
    variables: Vec<(&'static str, String)>,
    pub warnings: Mutex<Vec<String>>,
    /// File, bytes.
    pub progress: Mutex<Vec<(String, u64)>>,
    pub waited: Mutex<Vec<String>>,
}

impl Client {
    pub fn of(server: &Server) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            endpoint: server.url.clone(),
            variables: Vec::new(),
            warnings: Mutex::default(),
            progress: Mutex::default(),
            waited: Mutex::default(),
        }
    }

    /// Asks another server from now on.
    pub fn turn_to(&mut self, server: &Server) {
        self.endpoint = server.url.clone();
    }

    pub fn set(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    pub fn settings(&self) -> Settings {
        let own = [("HF_HOME", self.folder.path().to_str().unwrap()), ("HF_ENDPOINT", &*self.endpoint)];
        let mut settings = Settings::from_env(|name| {
            let set = self.variables.iter().map(|(key, value)| (*key, &**value));
            set.chain(own).find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        })
        .unwrap();
        settings.pause = Duration::ZERO;
        settings
    }

    pub fn get(&self, model: &str) -> Result<PathBuf, Error> {
        let hub = Hub::new(self.settings()).unwrap().watched_by(|event| match event {
            Event::Warning { message } => self.warnings.lock().unwrap().push(message.to_owned()),
            Event::Progress { file, done, .. } => self.progress.lock().unwrap().push((file.to_owned(), done)),
            Event::Waiting { file } => self.waited.lock().unwrap().push(file.to_owned()),
            _ => {}
        });
        hub.snapshot(&Model::parse(model)?)
    }

    /// The folder of the model, which must be whole, and nothing odd may have been said.
    #[track_caller]
    pub fn ok(&self, server: &Server) -> PathBuf {
        let folder = self.get(ID).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(self.warnings(), [""; 0]);
        self.assert_whole(&folder, server);
        folder
    }

    #[track_caller]
    pub fn assert_whole(&self, folder: &Path, server: &Server) {
        assert_eq!(folder, self.model().join("snapshots").join(COMMIT));
        for name in names(folder) {
            assert!(std::fs::read(folder.join(&name)).unwrap() == server.bytes(&name), "{name}");
        }
        assert!(folder.join("model.safetensors").exists());
        assert_eq!(self.unfinished(), [""; 0]);
    }

    #[track_caller]
    pub fn error(&self) -> String {
        let error = self.get(ID).expect_err("it went well");
        assert!(!self.model().join("refs").exists() || self.model().join("snapshots").exists());
        error.to_string()
    }

    pub fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock().unwrap())
    }

    /// The model's folder in the cache.
    pub fn model(&self) -> PathBuf {
        self.folder.path().join("hub/models--org--model")
    }

    pub fn blob(&self, name: &str, server: &Server) -> PathBuf {
        self.model().join("blobs").join(super::server::etag(name, server.bytes(name)))
    }

    /// Files in `blobs/` that are no blobs.
    pub fn unfinished(&self) -> Vec<String> {
        let mut names = names(&self.model().join("blobs"));
        names.retain(|name| name.contains('.'));
        names
    }
}

/// The files in a folder and in those within it, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in folder.read_dir().into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() && !path.is_symlink() {
            names.extend(self::names(&path).into_iter().map(|inner| format!("{name}/{inner}")));
        } else {
            names.push(name);
        }
    }
    names.sort();
    names
}
