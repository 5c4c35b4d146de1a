//! The options of `rerank`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Dtype, InputFormat, ModelArgs, OutputFormat, ScoreArg, WindowArgs, from_1, number};

const EXAMPLES: &str = "\
Examples:
  crossrank rerank -q 'where do rivers go' passages.txt
  crossrank rerank -q 'where do rivers go' --format jsonl --text-field title,text passages.jsonl
  crossrank rerank -q 'where do rivers go' --long max --stride 32 reports.jsonl
  crossrank rerank -q 'where do rivers go' --cascade :int8=16,:f32=10 --model my-model passages.txt
  crossrank rerank -q 'where do rivers go' --budget-ms 50 --fallback first-stage --fuse rrf passages.txt";

/// Rank documents by how well they answer a query, best first.
///
/// Documents are lines of text (a blank line is a document), or JSON objects, one a line, with the key `text` (blank
/// lines are skipped), or with those that `--text-field` names. Other keys of the objects come back with `--format
/// jsonl`, after ours; those that have the names of ours (rank, index, score, logit, tokens, truncated, passage, stage, fused, not_scored, input; error
/// with `--on-bad-document last`; text where it is not what was scored) come back within an object `input`. Escapes of
/// half a surrogate pair are read as U+FFFD, and a note says so.
///
/// Input is UTF-8, a line at most 4 MiB; CRLF is a newline. One bad document is an error that names it, and nothing is
/// ranked, unless `--on-bad-document` says otherwise: then each is named by a note on stderr, their number by another,
/// and the exit code is 0 as long as some document could be ranked, or there was none.
///
/// With `--long max` or `mean` a row has `passage`, the best of its document: its number from 0, where it lies in the text
/// in bytes, and what it says. With `--cascade` it has `stage`, the number of the model that scored it last, from 0; with
/// `--fuse` it has `fused`, by which it stands. A document that was not scored has `not_scored` instead of a score.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct RerankArgs {
    /// What the documents are to answer
    #[arg(short, long, allow_hyphen_values = true)]
    pub query: String,
    /// The documents; `-` or none is stdin
    pub file: Option<PathBuf>,
    /// How the documents are written
    #[arg(long, value_enum, default_value_t)]
    pub input: InputFormat,
    /// The keys of a JSON document that hold its text. Of several the texts are joined by a space: those that are missing,
    /// null or empty are left out, but one must be there. Input is then JSONL, whatever it looks like
    #[arg(long, value_name = "KEY,...", value_delimiter = ',', default_value = "text")]
    pub text_field: Vec<String>,
    /// What a document does that cannot be scored: a line that is no UTF-8, no JSON or too long, a text that is missing,
    /// null or no string, or a pair that does not fit where `--truncation` cuts nothing
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    pub on_bad_document: OnBadDocument,
    /// Keep the best N only
    #[arg(long, value_name = "N", value_parser = from_1(u64::MAX))]
    pub top_k: Option<usize>,
    /// How the ranking is written
    #[arg(long, value_enum, default_value_t)]
    pub format: OutputFormat,
    /// The key of a JSON document that holds the first stage's score, a number
    #[arg(long, value_name = "KEY", default_value = "first_score")]
    pub first_score_field: String,
    #[command(flatten)]
    pub rank: RankArgs,
}

/// How documents are ranked, wherever they come from.
#[derive(Args)]
pub struct RankArgs {
    /// Keep documents with at least this score only
    #[arg(long, value_name = "X", value_parser = number, allow_hyphen_values = true)]
    pub min_score: Option<f32>,
    /// The label that ranks, by its name or by its number from 0; needed when the model has several
    #[arg(long, value_name = "NAME|N")]
    pub label: Option<String>,
    #[command(flatten)]
    pub score: ScoreArg,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub window: WindowArgs,
    #[command(flatten)]
    pub long: LongArgs,
    #[command(flatten)]
    pub stages: StageArgs,
    /// Make scores of logits by the two numbers that `crossrank fit-scores` wrote
    #[arg(long, value_name = "FILE", conflicts_with = "score_mode")]
    pub scaling: Option<PathBuf>,
}

/// Documents that are longer than the window.
#[derive(Args)]
pub struct LongArgs {
    /// What counts of a document that does not fit beside the query
    #[arg(long, value_enum, default_value_t)]
    pub long: Long,
    /// Tokens that a passage may share with the one before it, in whole sentences
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub stride: usize,
}

/// What comes before and beside the model.
#[derive(Args)]
pub struct StageArgs {
    /// Several models, one after another: each scores what the one before it kept, and keeps the best KEEP; the last one
    /// orders. Without MODEL it is that of `--model`, without DTYPE that of `--dtype`
    #[arg(long, value_name = "[MODEL][:DTYPE]=KEEP,...", value_delimiter = ',', value_parser = cascade_stage)]
    pub cascade: Vec<CascadeStage>,
    /// Score as much as may be begun within N milliseconds, from when model and documents are there; what is not scored
    /// follows in its own order, and is said to be so
    #[arg(long, value_name = "N")]
    pub budget_ms: Option<u64>,
    /// What is written when nothing can be ranked
    #[arg(long, value_enum, value_name = "WHAT", default_value_t)]
    pub fallback: Fallback,
    /// How much the first stage counts, in whose order documents are expected: none; rrf, reciprocal ranks with k = 60;
    /// weight=W, W times the logit and 1 - W times the first stage's score, each scaled to 0 to 1 within the query
    #[arg(long, value_name = "none|rrf|weight=W", value_parser = fuse, default_value = "none")]
    pub fuse: Fuse,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum OnBadDocument {
    /// It ends the command: nothing is ranked
    #[default]
    Error,
    /// It is left out
    Skip,
    /// It comes after all that have a score, with the key `error` in place of score and text; not with `--min-score`
    Last,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Long {
    /// Its beginning: what does not fit is cut off
    #[default]
    Truncate,
    /// Its best passage, of as many whole sentences as fit
    Max,
    /// The mean of its passages' logits
    Mean,
}

impl From<Long> for crossrank::Long {
    fn from(long: Long) -> Self {
        match long {
            Long::Truncate => Self::Truncate,
            Long::Max => Self::Max,
            Long::Mean => Self::Mean,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Fallback {
    /// The error alone
    #[default]
    Error,
    /// The documents as they came, each said not to be scored, with a note that says why
    FirstStage,
}

/// How the first stage counts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Fuse(pub crossrank::Fusion);

fn fuse(text: &str) -> Result<Fuse, String> {
    let weight = |text: &str| number(text).ok().filter(|weight| (0.0..=1.0).contains(weight));
    match (text, text.strip_prefix("weight=").map(weight)) {
        ("none", _) => Ok(Fuse(crossrank::Fusion::None)),
        ("rrf", _) => Ok(Fuse(crossrank::Fusion::Rrf)),
        (_, Some(Some(weight))) => Ok(Fuse(crossrank::Fusion::Weight(weight))),
        (_, Some(None)) => Err("expected a weight from 0 to 1".into()),
        _ => Err("expected none, rrf or weight=W".into()),
    }
}

/// One model of a cascade.
#[derive(Clone, PartialEq, Debug)]
pub struct CascadeStage {
    /// None is that of `--model`.
    pub model: Option<PathBuf>,
    /// None is that of `--dtype`.
    pub dtype: Option<Dtype>,
    /// How many documents it keeps, at least 1.
    pub keep: usize,
}

fn cascade_stage(text: &str) -> Result<CascadeStage, String> {
    let expected = || "expected [MODEL][:DTYPE]=KEEP, such as models/small:int8=16".to_owned();
    let (model, keep) = text.rsplit_once('=').ok_or_else(expected)?;
    let keep = keep.parse().ok().filter(|keep| *keep > 0);
    let keep = keep.ok_or("expected KEEP to be a number from 1 on")?;
    // What follows the last colon may be part of a folder's name.
    let (model, dtype) = match model.rsplit_once(':') {
        Some((before, name)) => match Dtype::from_str(name, false) {
            Ok(dtype) => (before, Some(dtype)),
            Err(_) if before.is_empty() => {
                return Err(format!("expected a dtype after the colon, found `{name}`"));
            }
            Err(_) => (model, None),
        },
        None => (model, None),
    };
    let model = (!model.is_empty()).then(|| model.into());
    Ok(CascadeStage { model, dtype, keep })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_a_model_a_dtype_and_how_many_it_keeps() {
        let stage = |text| cascade_stage(text).map(|stage| (stage.model, stage.dtype, stage.keep));
        let model = |name: &str| Some(PathBuf::from(name));
        assert_eq!(stage("m=3").unwrap(), (model("m"), None, 3));
        assert_eq!(stage(":int8=16").unwrap(), (None, Some(Dtype::Int8), 16));
        assert_eq!(stage("=16").unwrap(), (None, None, 16));
        assert_eq!(stage("a=b:c/d:bf16=1").unwrap(), (model("a=b:c/d"), Some(Dtype::Bf16), 1));
        assert_eq!(stage("hf:org/name=2").unwrap(), (model("hf:org/name"), None, 2));
        for bad in ["", "m", "m=0", "m=-1", "m=x", ":int9=3"] {
            stage(bad).unwrap_err();
        }
    }

    #[test]
    fn a_fusion_is_a_word_or_a_weight() {
        assert_eq!(fuse("rrf").unwrap(), Fuse(crossrank::Fusion::Rrf));
        assert_eq!(fuse("weight=0.25").unwrap(), Fuse(crossrank::Fusion::Weight(0.25)));
        for bad in ["", "weight", "weight=", "weight=2", "weight=nan", "RRF"] {
            fuse(bad).unwrap_err();
        }
    }
}
