//! The options of `eval --against-first-stage`.

use std::path::PathBuf;

use clap::{Args, Command};

use super::RankArgs;

/// Heads those options in the help.
const HEADING: &str = "With --against-first-stage";

/// Those of `rank` that change no order, or leave documents out.
pub const NOT_HERE: [&str; 5] = ["min_score", "score_mode", "scaling", "budget_ms", "fallback"];

/// What is ranked, and how.
#[derive(Args)]
#[command(next_help_heading = HEADING)]
pub struct GainArgs {
    /// The documents: BEIR's JSONL, MS MARCO's TSV, or a BEIR folder
    #[arg(long, value_name = "FILE")]
    pub corpus: Option<PathBuf>,
    /// Keep the index in this folder, and use the one that is there if it is of this corpus
    #[arg(long, value_name = "DIR")]
    pub index: Option<PathBuf>,
    /// The queries, JSONL or TSV; those that no judgement names are passed over
    #[arg(long, value_name = "FILE")]
    pub queries: Option<PathBuf>,
    /// Take the candidates from a TREC run in place of BM25
    #[arg(long, value_name = "FILE")]
    pub run: Option<PathBuf>,
    /// Draw the first of the metrics against depth and against time, as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub plot: Option<PathBuf>,
    #[command(flatten)]
    pub rank: RankArgs,
}

/// Has the options above refused without `--against-first-stage`, and hides those that it refuses itself.
pub fn belong_together(cli: Command) -> Command {
    cli.mut_subcommand("eval", |eval| {
        eval.mut_args(|arg| {
            if arg.get_help_heading() != Some(HEADING) {
                return arg;
            }
            let hidden = NOT_HERE.contains(&arg.get_id().as_str());
            arg.requires("against_first_stage").hide(hidden)
        })
    })
}
