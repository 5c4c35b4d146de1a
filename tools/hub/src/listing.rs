//! What a repository has at a revision, by the hub's word.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;

use crate::check::Hash;
use crate::error::{Error, Result};
use crate::http::{About, Client, Want, escaped, shown};
use crate::model::{Model, is_commit};

/// Bytes that tell what a file is.
const BEGINNING: u64 = 64;

/// The files of a commit.
pub(crate) struct Listing {
    pub(crate) commit: String,
    files: BTreeMap<String, Option<Facts>>,
}

/// What is known of a file before it is downloaded.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) size: Option<u64>,
    pub(crate) hash: Hash,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    #[serde(rename = "blobId")]
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

/// A file that is kept apart from git: git has a pointer to it.
#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

impl Listing {
    /// Asks the hub.
    pub(crate) fn ask(client: &Client, model: &Model) -> Result<Self> {
        let about = About { id: model.id(), revision: model.revision() };
        let endpoint = &client.settings().endpoint;
        let url =
            format!("{endpoint}/api/models/{}/revision/{}", model.id(), escaped(model.revision(), false));
        let answer = match client.ask(Want::Body, &format!("{url}?blobs=true"), about, &[]) {
            // Not every hub says which of the two it does not have.
            Err(Error::Status { status: 404, .. }) => return Err(not_there(client, model)),
            answer => answer?,
        };
        let expected = "what a hub says of a repository, with `sha` and `siblings`";
        let url = answer.url.clone();
        let bytes = answer.whole()?;
        let not_a_hub = |found| Error::NotAHub { url: url.clone(), expected, found };
        let info: Info = serde_json::from_slice(&bytes).map_err(|error| {
            not_a_hub(stand_in(&bytes).map_or_else(|| format!("JSON without it: {error}"), str::to_owned))
        })?;
        if !is_commit(&info.sha) || model.commit().is_some_and(|commit| commit != info.sha) {
            return Err(not_a_hub(format!("the commit `{}`", info.sha.escape_debug())));
        }
        let unsafe_name = |name: &str| Error::UnsafeName { id: model.id().to_owned(), name: name.to_owned() };
        let mut files = BTreeMap::new();
        for file in info.siblings {
            // Git has no such names: somebody has made them.
            if !is_relative(&file.rfilename) {
                return Err(unsafe_name(&file.rfilename));
            }
            let facts = file.facts();
            files.insert(file.rfilename, facts);
        }
        Ok(Self { commit: info.sha, files })
    }

    pub(crate) fn names(&self) -> BTreeSet<String> {
        self.files.keys().cloned().collect()
    }

    /// Size and hash of a file; asks for them where the list has none. None where there is no such file.
    pub(crate) fn facts(&self, client: &Client, model: &Model, name: &str) -> Result<Option<Facts>> {
        match self.files.get(name) {
            None => Ok(None),
            Some(Some(facts)) => Ok(Some(facts.clone())),
            Some(None) => client.retrying(0, || self.ask_facts(client, model, name)).map(Some),
        }
    }

    fn ask_facts(&self, client: &Client, model: &Model, name: &str) -> Result<Facts> {
        let about = About { id: model.id(), revision: model.revision() };
        let url = file_url(client, model, &self.commit, name);
        let answer = client.ask(Want::Head, &url, about, &[])?;
        let redirected = answer.status.is_redirection();
        let etag = answer.header("x-linked-etag").or_else(|| answer.header("etag"));
        let hash = etag.and_then(|etag| Hash::parse(etag.trim_start_matches("W/").trim_matches('"')));
        let own = answer.header("content-length").filter(|_| !redirected);
        let size = answer.header("x-linked-size").or(own).and_then(|size| size.parse().ok());
        let expected = "a hash in `X-Linked-Etag` or `ETag`";
        let found = || etag.map_or("none".to_owned(), |etag| format!("`{}`", etag.escape_debug()));
        hash.map(|hash| Facts { size, hash }).ok_or_else(|| Error::NotAHub {
            url: answer.url.clone(),
            expected,
            found: found(),
        })
    }
}

impl Sibling {
    fn facts(&self) -> Option<Facts> {
        let (size, hash) = match &self.lfs {
            Some(lfs) => (lfs.size, lfs.sha256.as_deref()),
            None => (self.size, self.blob_id.as_deref()),
        };
        Some(Facts { size: Some(size?), hash: Hash::parse(hash?)? })
    }
}

/// Where a file can be downloaded.
pub(crate) fn file_url(client: &Client, model: &Model, commit: &str, name: &str) -> String {
    format!("{}/{}/resolve/{commit}/{}", client.settings().endpoint, model.id(), escaped(name, true))
}

/// Whether it is the repository or the revision that there is not.
fn not_there(client: &Client, model: &Model) -> Error {
    let (id, endpoint) = (model.id().to_owned(), &client.settings().endpoint);
    let about = About { id: &id, revision: model.revision() };
    match client.ask(Want::Body, &format!("{endpoint}/api/models/{id}"), about, &[]) {
        Ok(_) => Error::NoRevision { revision: model.revision().to_owned(), id },
        Err(Error::Status { status: 404, .. }) => {
            Error::NoRepository { endpoint: shown(endpoint), id, token: client.settings().token.is_some() }
        }
        Err(error) => error,
    }
}

/// Whether a name stays within a folder.
fn is_relative(name: &str) -> bool {
    name.split('/').all(|part| !matches!(part, "" | "." | "..")) && !name.contains('\0')
}

/// Whether a name is one file or folder within a folder on any system.
pub(crate) fn is_safe(name: &str) -> bool {
    is_relative(name) && !name.contains(['\\', ':']) && !name.chars().any(char::is_control)
}

/// The first bytes of a file, enough to tell what it is.
pub(crate) fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BEGINNING).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Says what text stands in the place of a file.
pub(crate) fn stand_in(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii_start();
    let begins = |with: &[u8]| text.get(..with.len()).is_some_and(|text| text.eq_ignore_ascii_case(with));
    if begins(b"version https://git-lfs.github.com/spec/") {
        Some("a Git LFS pointer, not the file")
    } else if begins(b"<!doctype html") || begins(b"<html") {
        Some("an HTML page")
    } else if text.is_empty() {
        Some("nothing")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{is_relative, is_safe, stand_in};

    #[test]
    fn names_that_lead_elsewhere_are_known() {
        for name in ["", "/etc/passwd", "../a", "a/../b", "a//b", "a/", ".", "./a", "a\0"] {
            assert!(!is_relative(name) && !is_safe(name), "{name}");
        }
        for name in ["..\\a", "C:\\a", "a:b", "a\nb"] {
            assert!(is_relative(name) && !is_safe(name), "{name}");
        }
        for name in ["a", "a/b.c", "..a", "a..b/...", "é"] {
            assert!(is_safe(name), "{name}");
        }
    }

    #[test]
    fn what_stands_in_a_files_place_is_known() {
        assert_eq!(stand_in(b"\n<!DOCTYPE html><p>"), Some("an HTML page"));
        assert_eq!(
            stand_in(b"version https://git-lfs.github.com/spec/v1\noid"),
            Some("a Git LFS pointer, not the file")
        );
        assert_eq!(stand_in(b" "), Some("nothing"));
        assert_eq!(stand_in(b"{}"), None);
    }
}
