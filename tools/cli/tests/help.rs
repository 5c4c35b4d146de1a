//! What the program says of itself.

mod common;

use common::{command, fixture, run};

const COMMANDS: [&str; 8] =
    ["rerank", "score", "fit-scores", "inspect", "quantize", "pack", "bench", "completions"];
/// Commands of the feature `search`.
const SEARCH: &[&str] = if cfg!(feature = "search") { &["eval", "search"] } else { &[] };
/// The command of the feature `serve`.
const SERVE: &[&str] = if cfg!(feature = "serve") { &["serve"] } else { &[] };

#[test]
fn every_command_has_an_example_in_its_help() {
    for name in COMMANDS.iter().chain(SEARCH).chain(SERVE) {
        let help = run([*name, "--help"], "").ok();
        assert!(help.contains(&format!("crossrank {name}")) && help.contains("Example"), "{help}");
    }
}

#[test]
fn the_version_names_the_instruction_set() {
    let version = run(["--version"], "").ok();
    let capped = command().arg("--version").env("CROSSRANK_ISA", "portable").output().unwrap();
    let capped = String::from_utf8(capped.stdout).unwrap();
    assert!(capped.starts_with("crossrank ") && capped.ends_with(" (portable)\n"), "{capped}");
    assert!(version.starts_with(capped.split(" (").next().unwrap()), "{version}");
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = run(["completions", shell], "").ok();
        assert!(COMMANDS.iter().chain(SEARCH).chain(SERVE).all(|name| script.contains(*name)), "{shell}");
    }
    run(["completions", "cmd"], "").usage_error();
}

#[test]
fn verbose_runs_say_what_was_done_without_colour_in_a_pipe() {
    let model = fixture("gelu-60");
    let args = ["rerank", "-q", "a", "--model", &model, "--threads", "1"];
    let quiet = run(args, "b\nc");
    let loud = run([&args[..], &["-v"]].concat(), "b\nc");
    assert_eq!(loud.stdout, quiet.ok());
    assert!(loud.stderr.contains("loaded") && loud.stderr.contains("threads=1"), "{}", loud.stderr);
    assert!(loud.stderr.contains("documents=2") && !loud.stderr.contains('\u{1b}'), "{}", loud.stderr);
    let louder = run([&args[..], &["-vv"]].concat(), "b");
    assert!(louder.stderr.len() > loud.stderr.len());
}
