//! `crossrank`: reranks text, scores pairs, inspects, quantizes and packs models, measures them.
//!
//! Data goes to stdout, everything else to stderr. Exit codes are in [`failure`].

mod args;
mod bench;
mod documents;
#[cfg(feature = "search")]
mod eval;
mod fidelity;
#[cfg(feature = "hub")]
mod hub;
mod inspect;
mod interrupt;
mod log;
mod model;
mod out_folder;
mod output;
mod pack;
mod progress;
mod quantize;
mod rerank;
mod scaling;
mod score;
#[cfg(feature = "search")]
mod search;
#[cfg(feature = "serve")]
mod serve;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use clap::FromArgMatches;
use crossrank_cli::{failure, input, json, object, text};

use args::{Cli, Command};
use failure::Failure;
use interrupt::Interrupt;
use output::Output;

fn main() -> ExitCode {
    let start = Instant::now();
    let matches = args::command().get_matches();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    // A server's log is written to its end when this is dropped.
    #[cfg(feature = "serve")]
    let _log = match &cli.command {
        Command::Serve(args) => Some(log::show_served(cli.verbose, args.log_format)),
        _ => None,
    };
    if !is_server(&cli.command) {
        log::show(cli.verbose);
    }
    let interrupt = Interrupt::install();
    let result = model::resolve(&mut cli.command).and_then(|()| match &cli.command {
        Command::Rerank(args) => rerank::run(args, &interrupt),
        #[cfg(feature = "search")]
        Command::Search(args) => search::run(args, &interrupt),
        Command::Score(args) => score::run(args, &interrupt),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args, &interrupt),
        Command::FitScores(args) => scaling::fit(args, &interrupt),
        Command::Inspect(args) => inspect::run(args, start),
        #[cfg(feature = "search")]
        Command::Eval(args) => eval::run(args, &interrupt),
        Command::Quantize(args) => quantize::run(args, &interrupt),
        Command::Pack(args) => pack::run(args, &interrupt),
        Command::Bench(args) => bench::run(args, &interrupt),
        Command::Completions(args) => completions(args.shell),
        Command::BenchOne(args) => bench::run_one(args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Whether a command has a log of its own.
fn is_server(command: &Command) -> bool {
    match command {
        #[cfg(feature = "serve")]
        Command::Serve(_) => true,
        _ => false,
    }
}

/// Writes the script of a shell.
fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "crossrank", &mut script);
    let mut output = Output::new();
    output.text(&script)?;
    output.flush()
}
