//! `crossrank`: reranks text, scores pairs, inspects, quantizes and packs models, measures them.
//!
//! Data goes to stdout, everything else to stderr. Exit codes are in [`failure`].

mod args;
mod bench;
mod documents;
mod eval;
#[cfg(feature = "hub")]
mod hub;
mod inspect;
mod interrupt;
mod model;
mod out_folder;
mod output;
mod pack;
mod progress;
mod quantize;
mod rerank;
mod score;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use crossrank_cli::{failure, input, json, object, text};

use args::{Cli, Command};
use interrupt::Interrupt;

fn main() -> ExitCode {
    let start = Instant::now();
    let mut cli = Cli::parse();
    let interrupt = Interrupt::install();
    let result = model::resolve(&mut cli.command).and_then(|()| match &cli.command {
        Command::Rerank(args) => rerank::run(args, &interrupt),
        Command::Score(args) => score::run(args, &interrupt),
        Command::Inspect(args) => inspect::run(args, start),
        Command::Quantize(args) => quantize::run(args, &interrupt),
        Command::Pack(args) => pack::run(args, &interrupt),
        Command::Bench(args) => bench::run(args, &interrupt),
        Command::BenchOne(args) => bench::run_one(args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
