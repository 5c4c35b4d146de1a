//! What it takes to know how well something ranks: the files that retrieval research keeps, and the metrics of `trec_eval`.
//!
//! [`Documents`] and [`Queries`] stream a corpus and its queries as BEIR (JSONL) and MS MARCO (TSV) write them,
//! [`Judgements`] holds TREC's or BEIR's relevance judgements, [`Run`] the rankings of a TREC run. Files may be gzip or
//! zstd, which their first bytes tell, and `-` is standard input. [`RunWriter`] writes a run that every evaluation tool
//! ranks alike.
//!
//! ```no_run
//! # fn main() -> Result<(), crossrank_eval::Error> {
//! use std::path::Path;
//! use crossrank_eval::Documents;
//!
//! for document in Documents::open(Path::new("corpus.jsonl.gz"))?.unique_ids() {
//!     let document = document?;
//!     println!("{}: {} bytes", document.id, document.full_text().len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Input is of unknown origin: what is broken is an [`Error`] that names file, line and field, and a file that was cut
//! short is never taken for a whole one. Nothing is printed, and there is no global state.

mod corpus;
mod decompress;
mod error;
mod evaluation;
mod fields;
pub mod folder;
pub mod json;
mod judgements;
mod lines;
mod metric;
mod pairs;
mod queries;
mod run;
mod run_writer;
pub mod significance;
pub mod text;
mod texts;

pub use corpus::{Document, Documents};
pub use error::{Error, Result};
pub use evaluation::{Evaluation, Mean, QueryFigures};
pub use judgements::{Judged, Judgements};
pub use lines::{Line, Lines, MAX_LINE_BYTES};
pub use metric::{Metric, Outcome};
pub use queries::{Queries, Query};
pub use run::{Ranking, Run};
pub use run_writer::{RunWriteError, RunWriter};
