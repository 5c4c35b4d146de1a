//! `crossrank serve`: a reranking server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossrank_server::{DocumentForm, ModelSource, Options, Server, Truncate};

use crate::args::{self, LoadArgs, ModelArgs, ServeArgs, WindowArgs};
use crate::failure::{Failure, say};
use crate::interrupt::Interrupt;
use crate::model;
use crate::output::Output;

/// What requests call the model inside this program.
const BUILT_IN: &str = "default";
/// The keys, with commas between them.
const KEYS: &str = "CROSSRANK_API_KEYS";

/// Runs the command.
pub fn run(args: &ServeArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let options = options(args)?;
    if !options.address.ip().is_loopback() && options.api_keys.is_empty() {
        say("note", "other machines may reach this server, and no key is asked for: see --api-key-file");
    }
    let models = match args.models.is_empty() {
        true => vec![source(args, BUILT_IN.to_owned(), None)],
        false => args.models.iter().map(|model| named(args, model)).collect::<Result<_, _>>()?,
    };
    // Ctrl-C is the server's: it answers what it has accepted.
    let _held = interrupt.hold();
    let server = Server::start(options, models).map_err(failed)?;
    #[cfg(unix)]
    server.end_on_signals().map_err(failed)?;
    let mut output = Output::new();
    output.line(format!("listening on http://{}", server.address()))?;
    output.flush()?;
    drop(output);
    server.wait().map_err(failed)
}

fn failed(error: crossrank_server::Error) -> Failure {
    Failure::Message(error.to_string())
}

fn options(args: &ServeArgs) -> Result<Options, Failure> {
    let mut options = Options::default();
    options.address = SocketAddr::new(args.host, args.port);
    options.api_keys = keys(args.api_key_file.as_deref())?;
    options.max_documents = args.max_documents;
    options.max_body_bytes = args.max_body_bytes;
    options.max_held_bytes = args.max_body_bytes.saturating_mul(8);
    options.max_document_chars = args.max_document_chars;
    options.max_queue = Duration::from_millis(args.max_queue_ms);
    options.document_form = match args.document_form {
        args::DocumentForm::Object => DocumentForm::Object,
        args::DocumentForm::String => DocumentForm::Text,
    };
    options.truncate = match args.truncate {
        args::Truncate::Request => Truncate::Request,
        args::Truncate::Always => Truncate::Always,
    };
    options.strict_model = args.strict_model;
    options.label.clone_from(&args.label);
    options.cors_origins.clone_from(&args.cors_origins);
    options.max_connections = args.max_connections;
    options.threads = args.load.threads;
    Ok(options)
}

/// The keys of the file, else of the variable. One that is there and has none is an error: it was meant to close.
fn keys(file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let (text, separator, of) = match (file, std::env::var(KEYS)) {
        (Some(file), _) => {
            let about = |error: std::io::Error| Failure::about(file.display(), error);
            (std::fs::read_to_string(file).map_err(about)?, '\n', file.display().to_string())
        }
        (None, Ok(text)) => (text, ',', KEYS.to_owned()),
        (None, Err(std::env::VarError::NotPresent)) => return Ok(vec![]),
        (None, Err(error)) => return Err(Failure::about(KEYS, error)),
    };
    let keys: Vec<String> =
        text.split(separator).map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect();
    if keys.is_empty() {
        return Err(Failure::about(of, "expected at least one key, found none"));
    }
    Ok(keys)
}

/// A model by its argument: `NAME=DIR`, or what is a model anywhere else.
fn named(args: &ServeArgs, argument: &Path) -> Result<ModelSource, Failure> {
    if !argument.exists()
        && let Some((name, model)) = argument.to_str().and_then(|text| text.split_once('='))
    {
        if name.is_empty() || model.is_empty() {
            return Err(Failure::about("--model", "expected NAME=DIR, both with something in them"));
        }
        return Ok(source(args, name.to_owned(), Some(model.into())));
    }
    let name = if argument.exists() { argument.canonicalize().ok() } else { Some(argument.to_owned()) };
    let name = name.as_deref().map(|path| match argument.exists() {
        // The folder's own name says less of the machine than its path.
        true => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        false => path.to_string_lossy().into_owned(),
    });
    Ok(source(args, name.unwrap_or_default(), Some(argument.to_owned())))
}

fn source(args: &ServeArgs, name: String, model: Option<PathBuf>) -> ModelSource {
    let WindowArgs { max_length, truncation } = args.window;
    // The server's pool has the threads.
    let load_args = LoadArgs { threads: None, ..args.load };
    let load = move |builder: crossrank::Builder| {
        let folder = model.as_deref().map(model::folder).transpose();
        let loaded = folder.and_then(|model| {
            let model = ModelArgs { model, load: load_args };
            model::load_by(builder, &model, Some(&WindowArgs { max_length, truncation }))
        });
        loaded.map_err(|failure| match failure {
            Failure::Message(message) => message,
            other => format!("{other:?}"),
        })
    };
    ModelSource { name, load: Arc::new(load) }
}
