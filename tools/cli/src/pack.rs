//! `crossrank pack`: a checkpoint whose weights lie as the engine reads them.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::Error;

use crate::args::{LoadArgs, ModelArgs, PackArgs};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::model;
use crate::out_folder::{OutFolder, copy_neighbours, load_result};
use crate::output::{Output, megabytes};
use crate::progress;

const WEIGHTS: &str = "model.safetensors";

/// Runs the command.
pub fn run(args: &PackArgs, interrupt: &Interrupt) -> Result<(), Failure> {
    let out = OutFolder::check(&args.out_dir)?;
    let load = LoadArgs { dtype: args.dtype, ..LoadArgs::default() };
    let model = ModelArgs { model: Some(args.model_dir.clone()), load };
    let reranker = model::load(&model, None)?;

    // From here on Ctrl-C is looked for where it is safe, so that the temporary folder is removed.
    let _held = interrupt.hold();
    let folder = out.temporary("pack")?;
    let path = folder.path().join(WEIGHTS);
    let failed = |error: io::Error| Failure::about(path.display(), error);
    let file = File::create(&path).map_err(failed)?;
    let done = AtomicUsize::new(0);
    // Most of it: what is not packed is small, embeddings aside, and written last.
    progress::watch("packing", reranker.info().packed_bytes, &done, || {
        let mut writer = Writer { file: BufWriter::new(file), done: &done, interrupt };
        match reranker.write_packed(&mut writer) {
            Ok(()) => writer
                .file
                .into_inner()
                .map_err(|error| failed(error.into_error()))?
                .sync_all()
                .map_err(failed),
            Err(Error::Write { source }) => {
                interrupt.check()?;
                Err(failed(source))
            }
            Err(error) => Err(error.into()),
        }
    })?;
    copy_neighbours(&args.model_dir, folder.path(), false, interrupt)?;
    let result = load_result(folder.path())?;
    result.verify()?;
    let (info, size) = (result.info(), path.metadata().map_err(failed)?.len() as usize);
    // A folder whose files are mapped cannot be renamed on every system.
    drop(result);
    interrupt.check()?;
    out.put(folder)?;

    let mut output = Output::new();
    output.facts(&[
        ("dtype", info.dtype.to_owned()),
        ("packed weights", megabytes(info.packed_bytes)),
        ("checkpoint", megabytes(size)),
        ("written to", args.out_dir.display().to_string()),
    ])?;
    output.flush()
}

/// Counts what is written, and stops on Ctrl-C.
struct Writer<'a> {
    file: BufWriter<File>,
    done: &'a AtomicUsize,
    interrupt: &'a Interrupt,
}

impl Write for Writer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.interrupt.check().is_err() {
            return Err(io::Error::other("interrupted"));
        }
        let written = self.file.write(bytes)?;
        self.done.fetch_add(written, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
