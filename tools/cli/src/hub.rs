//! Models that are named, not given as a folder: they come from the Hugging Face hub.

use std::env;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use crossrank_hub::{Event, Hub, Model, Settings};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::failure::{Failure, say};

/// What asks for the hub even where a folder of that name is there.
pub const FORCES: &str = "hf:";

/// The folder of a model in the cache, with what it lacked.
///
/// Files that come in are shown on stderr, if that is a terminal; otherwise nothing is said as long as all goes well.
pub fn folder(name: &Path) -> Result<PathBuf, Failure> {
    let shown = name.display();
    let text = name.to_str().unwrap_or_default();
    let forced = text.starts_with(FORCES);
    // Both readings: a name with a slash may be a folder that is not there.
    let failed = |reason: &dyn std::fmt::Display| match forced {
        true => Failure::about(&shown, reason),
        false => Failure::about(&shown, format!("there is no folder of that name, and on the hub: {reason}")),
    };
    let model = Model::parse(text).map_err(|error| failed(&error))?;
    let settings = Settings::from_env(|name| env::var_os(name)).map_err(|error| failed(&error))?;
    let bar = bar();
    let hub = Hub::new(settings).map_err(|error| failed(&error))?.watched_by(|event| match event {
        Event::Progress { file, done, total } => {
            bar.set_message(file.to_owned());
            if let Some(total) = total {
                bar.set_length(total);
            }
            bar.set_position(done);
        }
        Event::Waiting { file } => bar.set_message(format!("{file}: another process is downloading it")),
        Event::Warning { message } => bar.suspend(|| say("note", message)),
        _ => {}
    });
    let folder = hub.snapshot(&model);
    bar.finish_and_clear();
    folder.map_err(|error| failed(&error))
}

/// Of the file that is coming in.
fn bar() -> ProgressBar {
    // As Python's: any of these is true.
    let off = env::var("HF_HUB_DISABLE_PROGRESS_BARS")
        .is_ok_and(|value| matches!(&*value.to_uppercase(), "1" | "ON" | "YES" | "TRUE"));
    let hidden = off || !io::stderr().is_terminal();
    let target = if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) =
        ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta:>4}")
    {
        bar.set_style(style);
    }
    bar
}
