//! What the results of a run follow from, so that only the same run goes on with them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;

use crossrank_eval::folder;
use crossrank_search::Source;

use super::corpus::{Corpus, told};
use crate::args::{ModelArgs, SearchArgs};
use crate::failure::Failure;
use crate::rerank::ranker::Ranker;

/// By name, everything that results follow from. Of a model these are names, sizes and times of its files.
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    pub fn of(args: &SearchArgs, corpus: &Corpus, ranker: Option<&Ranker<'_>>) -> Result<Self, Failure> {
        let mut all = BTreeMap::new();
        let mut set = |name: &str, value: String| {
            all.insert(name.to_owned(), value);
        };
        set("version", env!("CARGO_PKG_VERSION").into());
        set(
            "corpus",
            match &corpus.source {
                Some(source) => described(source),
                None => hash(&args.corpus, args.resume)?,
            },
        );
        if let Some(queries) = &args.queries {
            let path = folder::file(queries, &folder::QUERIES).map_err(told)?;
            set("queries", hash(&path, args.resume)?);
        }
        set("query", format!("{:?}", args.query));
        set("run", args.run.as_deref().map(|run| hash(run, args.resume)).transpose()?.unwrap_or_default());
        set("candidates", args.candidates.to_string());
        set("top-k", args.top_k.to_string());
        set("format", format!("{:?}", args.format));
        set("no-rerank", args.no_rerank.to_string());
        let rank = &args.rank;
        if let Some(ranker) = ranker {
            for (number, (model, keep)) in ranker.stages().enumerate() {
                set(&format!("model {}", number + 1), format!("{}, keeps {keep}", files(model)?));
            }
            let info = ranker.last().info();
            set("arithmetic", format!("{}, {}", info.isa, info.products));
            set("score", format!("{:?}", rank.score.mode));
            set("min-score", format!("{:?}", rank.min_score));
            set("label", format!("{:?}", rank.label));
            set("long", format!("{:?}, stride {}", rank.long.long, rank.long.stride));
            set("window", format!("{:?}, {:?}", rank.window.max_length, rank.window.truncation));
            set("fuse", format!("{:?}", rank.stages.fuse));
            set(
                "scaling",
                rank.scaling.as_deref().map(|file| hash(file, args.resume)).transpose()?.unwrap_or_default(),
            );
        }
        Ok(Self(all))
    }

    /// Whether a file that is not whole was made with the same.
    pub fn check(&self, path: &Path, partial: &Path) -> Result<(), Failure> {
        let failed = |reason: String| Failure::about(path.display(), reason);
        let bytes = fs::read(path).map_err(|error| {
            failed(format!(
                "{error}: it says what {} was made with, which cannot be resumed without",
                partial.display()
            ))
        })?;
        let theirs: BTreeMap<String, String> = serde_json::from_slice(&bytes)
            .map_err(|error| failed(format!("expected settings as JSON: {error}")))?;
        let names = self.0.keys().chain(theirs.keys());
        let none = "nothing".to_owned();
        for name in names {
            let (ours, before) = (self.0.get(name).unwrap_or(&none), theirs.get(name).unwrap_or(&none));
            if ours != before {
                let reason = format!("it was made with other settings: {name}: now {ours}, then {before}");
                return Err(Failure::about(partial.display(), reason));
            }
        }
        Ok(())
    }

    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let json =
            serde_json::to_vec_pretty(&self.0).map_err(|error| Failure::about(path.display(), error))?;
        fs::write(path, json).map_err(|error| Failure::about(path.display(), error))
    }
}

fn described(source: &Source) -> String {
    format!("{} bytes, sha256 {}", source.bytes, source.sha256)
}

/// What a file holds; of one that can only be read once there is nothing to compare.
fn hash(path: &Path, resume: bool) -> Result<String, Failure> {
    if path == Path::new("-") {
        return if resume {
            Err(Failure::about(
                "--resume",
                "expected files, which can be compared with those of the first time, found stdin",
            ))
        } else {
            Ok("stdin".into())
        };
    }
    Source::of(path).map(|source| described(&source)).map_err(told)
}

/// A model's files, as far as they can be told without reading them.
fn files(model: &ModelArgs) -> Result<String, Failure> {
    let mut all = vec![crate::model::name(model)];
    if let Some(folder) = &model.model {
        let failed = |error: std::io::Error| Failure::about(folder.display(), error);
        let mut names = vec![];
        for entry in fs::read_dir(folder).map_err(failed)? {
            // Of a link, the file that it leads to.
            let path = entry.map_err(failed)?.path();
            let Ok(metadata) = path.metadata() else { continue };
            let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            names.push(format!("{name} {} {}", metadata.len(), modified.map_or(0, |time| time.as_nanos())));
        }
        names.sort_unstable();
        all.extend(names);
    }
    all.push(format!("{:?}, tokenizer {:?}", model.load.dtype, model.load.tokenizer_rules));
    Ok(all.join("; "))
}
