//! `crossrank quantize`: a checkpoint in I8, with an F32 scale for each row.

mod calibrate;
mod checkpoint;
mod compensate;
mod moments;
mod recipe;
mod result;
mod rows;
mod sequence;
mod smooth;
mod sources;
mod split;
mod verify;

use std::path::Path;
use std::sync::atomic::AtomicUsize;

use crossrank::Reranker;
use serde::Serialize;

use crate::args::{QuantizeArgs, ReportFormat};
use crate::failure::{Failure, say};
use crate::interrupt::Interrupt;
use crate::out_folder::{OutFolder, copy_neighbours, load_result};
use crate::output::{Output, megabytes};
use crate::progress;
use calibrate::Texts;
use checkpoint::Weights;
use recipe::Recipe;
use result::{Quantization, WorstRow};
use sources::Sources;
use verify::Verdict;

/// Runs the command.
pub fn run(args: &QuantizeArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let out = OutFolder::check(&args.out_dir)?;
    // The engine's own errors for a broken model, and its word on which tensors matter. It is in f32: what it would run
    // in int8 is refused below.
    let source = Reranker::load(&args.model_dir)?;
    let info = source.info();
    if info.packed_checkpoint {
        return Err(Failure::about(
            args.model_dir.display(),
            "expected a checkpoint that is not packed, found one that is packed already",
        ));
    }
    if args.calibrate.is_some() {
        source.check_calibration().map_err(|reason| Failure::about(args.model_dir.display(), reason))?;
    }
    let eval_set = verify::prepare(args, &source)?;
    let texts = args.calibrate.as_ref().map(|path| Texts::read(path, &source)).transpose()?;

    // From here on Ctrl-C is looked for where it is safe, so that the temporary folder is removed.
    let held = interrupt.hold();
    let folder = out.temporary("quantize")?;
    let weights = Weights::find(&args.model_dir)?;
    let sources = Sources::of(&source);
    weights.refuse_quantized(&sources)?;
    let before = weights.bytes()?;
    let mut result = Quantization::new(&sources);
    if let Some(texts) = &texts {
        let (smoothing, open) = texts.smooth(&source, &weights, &sources, interrupt)?;
        result.calibrate(texts.calibration(&source), smoothing, open);
    }
    let done = AtomicUsize::new(0);
    progress::watch("quantizing", before, &done, || {
        weights.files.iter().try_for_each(|file| result.add_file(file, &done, interrupt))
    })?;
    if let Some(texts) = &texts {
        result.add_residual_scales();
        sequence::round(&source, texts, &args.model_dir, &mut result, interrupt)?;
    }
    let summary = result.write(&folder.path().join(checkpoint::WEIGHTS))?;
    copy_neighbours(&args.model_dir, folder.path(), true, interrupt)?;
    load_result(folder.path())?;
    let after = Weights::find(folder.path())?.bytes()?;
    interrupt.check()?;
    out.put(folder)?;

    drop(held);

    for tensor in &summary.left_out {
        say("note", &format!("left out tensor {tensor}: the engine does not use it"));
    }
    let mut output = Output::new();
    if args.format == ReportFormat::Text {
        output.facts(&summary.facts(before, after, &args.out_dir))?;
        output.flush()?;
    }
    let verdict = match &eval_set {
        Some(set) => Some(
            verify::verify(args, &source, set)
                .map_err(|failure| verify::unverified(&args.out_dir, failure))?,
        ),
        None => None,
    };
    // Output that has begun is written to its end.
    let _held = interrupt.hold();
    interrupt.check()?;
    match (args.format, &verdict) {
        (ReportFormat::Json, fidelity) => {
            let written_to = args.out_dir.display().to_string();
            let (bytes_before, bytes_after) = (before, after);
            output.json(&Report { summary: &summary, bytes_before, bytes_after, written_to, fidelity })?;
        }
        (ReportFormat::Text, Some(verdict)) => output.facts(&verdict.facts(args))?,
        (ReportFormat::Text, None) => {}
    }
    output.flush()?;
    if let (Some(verdict), Some(set)) = (&verdict, &eval_set) {
        verdict.write_logits(args, set)?;
    }
    verdict.map_or(Ok(()), |verdict| verdict.check(&args.out_dir))
}

/// A line of JSON.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    summary: &'a Summary,
    bytes_before: usize,
    bytes_after: usize,
    written_to: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fidelity: &'a Option<Verdict>,
}

/// What is said of the result.
#[derive(Serialize)]
struct Summary {
    #[serde(rename = "quantization")]
    recipe: Recipe,
    /// Names and dtypes.
    left_out: Vec<String>,
    worst: Option<WorstRow>,
}

impl Summary {
    /// For people.
    fn facts(&self, before: usize, after: usize, out_dir: &Path) -> Vec<(&'static str, String)> {
        let mut facts = self.recipe.facts();
        facts.extend([("weights before", megabytes(before)), ("weights after", megabytes(after))]);
        if let Some(worst) = &self.worst {
            facts.push(("worst row error", worst.describe()));
        }
        facts.push(("written to", out_dir.display().to_string()));
        facts
    }
}
