//! Lines of a file or of stdin.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use crossrank_eval::{Line, Lines};

use crate::failure::Failure;

/// The bytes that a file, or stdin where it is `-`, holds, with its name for errors.
pub fn read(path: &Path) -> Result<(String, Vec<u8>), Failure> {
    let mut contents = Vec::new();
    let (name, read) = if path == Path::new("-") {
        ("<stdin>".to_owned(), io::stdin().read_to_end(&mut contents))
    } else {
        let read = File::open(path).and_then(|mut file| file.read_to_end(&mut contents));
        (path.display().to_string(), read)
    };
    read.map_err(|error| Failure::about(&name, error))?;
    Ok((name, contents))
}
