//! BEIR's folder: a corpus, queries and judgements under the names that they have there.
//!
//! A folder may stand wherever a file is expected. The names that `crossrank quantize --verify` has always read, of TSV
//! queries and TREC judgements, are found, too. Of several files the first counts, in the order in which they stand here.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Where a corpus is.
pub const CORPUS: [&str; 2] = ["corpus.jsonl", "corpus.tsv"];
/// Where queries are.
pub const QUERIES: [&str; 2] = ["queries.jsonl", "queries.tsv"];
/// Where judgements are.
pub const JUDGEMENTS: [&str; 2] = ["qrels/test.tsv", "qrels.txt"];
/// A plain file comes before a compressed one of the same name.
const ENDINGS: [&str; 3] = ["", ".gz", ".zst"];

/// The path itself, or the file in the folder that it leads to. `names` is one of the lists of this module.
///
/// # Errors
///
/// [`Error::File`] where a folder has no such file.
pub fn file(path: &Path, names: &[&str]) -> Result<PathBuf> {
    if path == Path::new("-") || !path.is_dir() {
        return Ok(path.to_owned());
    }
    let files = names.iter().flat_map(|name| ENDINGS.map(|ending| path.join(format!("{name}{ending}"))));
    // A link that leads nowhere is there, and the error that it cannot be opened is the better one.
    files.into_iter().find(|file| file.symlink_metadata().is_ok()).ok_or_else(|| {
        let names = names.join(" or ");
        let reason = format!("expected {names} in this folder, plain or with .gz or .zst, found neither");
        Error::file(path.display(), reason)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_folder_stands_for_its_files_and_a_file_for_itself() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let error = file(path, &JUDGEMENTS).unwrap_err().to_string();
        let reason =
            "expected qrels/test.tsv or qrels.txt in this folder, plain or with .gz or .zst, found neither";
        assert_eq!(error, format!("{}: {reason}", path.display()));
        fs::create_dir(path.join("qrels")).unwrap();
        for name in ["qrels.txt", "qrels/test.tsv.zst", "qrels/test.tsv.gz", "qrels/test.tsv"] {
            fs::write(path.join(name), "").unwrap();
            assert_eq!(file(path, &JUDGEMENTS).unwrap(), path.join(name));
        }
        for same in [path.join("qrels.txt"), path.join("absent"), PathBuf::from("-")] {
            assert_eq!(file(&same, &CORPUS).unwrap(), same);
        }
    }
}
