//! Score scaling: the file, and `crossrank fit-scores`, which makes it.

use std::path::Path;

use crossrank::{ModelInfo, Reranker, Scaling};
use serde::{Deserialize, Serialize};

use crate::args::FitScoresArgs;
use crate::failure::{Failure, describe, say};
use crate::input::Lines;
use crate::interrupt::Interrupt;
use crate::out_folder::parent_folder;
use crate::{model, object};

/// Pairs that are scored together.
const TOGETHER: usize = 1024;

/// What the file holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    method: String,
    slope: f64,
    offset: f64,
    /// Number of the label whose logit is scaled.
    label: usize,
    judgements: usize,
    relevant: usize,
    model: Mark,
}

/// By what a model is known again. Its dtype may be another: logits differ little.
#[derive(PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    family: String,
    layers: usize,
    hidden: usize,
    vocab: usize,
    labels: usize,
    max_length: usize,
}

impl Mark {
    fn of(info: &ModelInfo) -> Self {
        let ModelInfo { family, layers, hidden, vocab, labels, max_length, .. } = info;
        let (layers, hidden, vocab, labels) = (*layers, *hidden, *vocab, *labels);
        Self { family: family.clone(), layers, hidden, vocab, labels, max_length: *max_length }
    }

    fn describe(&self) -> String {
        let Self { family, layers, hidden, vocab, labels, max_length } = self;
        format!(
            "{family} of {layers} layers, width {hidden}, {vocab} words, {labels} labels, a window of {max_length}"
        )
    }
}

const METHOD: &str = "platt";

/// The scaling of a file, if it is of this model and label.
pub fn read(path: &Path, reranker: &Reranker, label: Option<&str>) -> Result<Scaling, Failure> {
    let error = |reason: String| Failure::about(path.display(), reason);
    let bytes = std::fs::read(path).map_err(|reason| error(reason.to_string()))?;
    let stored: Stored = serde_json::from_slice(&bytes)
        .map_err(|reason| error(format!("expected what `crossrank fit-scores` writes: {reason}")))?;
    if stored.method != METHOD {
        return Err(error(format!("`method`: expected {METHOD}, found `{}`", stored.method)));
    }
    let here = Mark::of(&reranker.info());
    if stored.model != here {
        let (expected, found) = (here.describe(), stored.model.describe());
        return Err(error(format!("`model`: expected the one in use, {expected}; found {found}")));
    }
    let label = chosen(reranker, label)?;
    if stored.label != label {
        return Err(error(format!("`label`: expected {label}, which ranks, found {}", stored.label)));
    }
    Scaling::new(stored.slope, stored.offset).map_err(|reason| error(describe(&reason)))
}

/// The label that counts: needed where there are several.
fn chosen(reranker: &Reranker, label: Option<&str>) -> Result<usize, Failure> {
    match label {
        Some(label) => Ok(reranker.label(label)?),
        None if reranker.labels() == 1 => Ok(0),
        None => {
            let names = reranker.label_names().join(", ");
            Err(Failure::about("--label", format!("the model has several, expected one of {names}")))
        }
    }
}

/// Runs `fit-scores`.
pub fn fit(args: &FitScoresArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let folder = parent_folder(&args.output)?;
    let found = args.output.symlink_metadata();
    if args.output.file_name().is_none() || found.is_ok_and(|found| !found.is_file()) {
        let reason = "expected the name of a file, found a folder, a link or a device";
        return Err(Failure::about(args.output.display(), reason));
    }
    let reranker = model::load(&args.model, Some(&args.window))?;
    let label = chosen(&reranker, args.label.as_deref())?;
    let (pairs, relevant) = judgements(args)?;
    let mut judged = Vec::with_capacity(pairs.len());
    for (pairs, relevant) in pairs.chunks(TOGETHER).zip(relevant.chunks(TOGETHER)) {
        interrupt.check()?;
        let scores = reranker.score_pairs(pairs).map_err(|error| match error.document() {
            Some(at) => Failure::about(format_args!("judgement {}", judged.len() + at + 1), describe(&error)),
            None => error.into(),
        })?;
        judged.extend(scores.iter().map(|score| score.logits[label]).zip(relevant.iter().copied()));
    }
    let scaling = Scaling::fit(&judged).map_err(|error| match error {
        crossrank::Error::Option { reason, .. } => Failure::about("the judgements", reason),
        error => error.into(),
    })?;
    let stored = Stored {
        method: METHOD.into(),
        slope: scaling.slope(),
        offset: scaling.offset(),
        label,
        judgements: judged.len(),
        relevant: judged.iter().filter(|(_, relevant)| *relevant).count(),
        model: Mark::of(&reranker.info()),
    };
    let failed = |error: std::io::Error| Failure::about(args.output.display(), error);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    serde_json::to_writer_pretty(&mut file, &stored).map_err(|error| failed(error.into()))?;
    file.persist(&args.output).map_err(|error| failed(error.error))?;
    let Stored { slope, offset, judgements, relevant, .. } = stored;
    let what =
        format!("slope {slope:.4}, offset {offset:.4} of {judgements} judgements, {relevant} relevant");
    say("note", &format!("{}: {what}", args.output.display()));
    Ok(())
}

type Judgements = (Vec<(String, String)>, Vec<bool>);

fn judgements(args: &FitScoresArgs) -> Result<Judgements, Failure> {
    let mut lines = Lines::open(args.file.as_deref())?;
    let name = lines.name().to_owned();
    let (mut pairs, mut relevant) = (vec![], vec![]);
    while let Some(line) = lines.next_line()? {
        let at = |reason: String| Failure::about(format_args!("{name}: line {}", line.number), reason);
        let text = line.text.map_err(at)?;
        if text.trim().is_empty() {
            continue;
        }
        let object = object::parse(&text).map_err(at)?;
        let pair = object::string(&object, "query")
            .and_then(|query| Ok((query, object::string(&object, "document")?)));
        pairs.push(pair.map_err(at)?);
        relevant.push(object::relevant(&object, "relevant").map_err(at)?);
    }
    Ok((pairs, relevant))
}
