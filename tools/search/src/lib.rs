//! A first stage: finds the documents of a corpus that share words with a query, best first by BM25.
//!
//! The index is tantivy's: postings, lengths and texts, in memory or in a folder. A result is the same every time, in
//! every process: there is one writer thread, a score is summed in the order of the query's words, and documents with
//! equal scores come in the order of the corpus, also where the count that was asked for parts them.
//!
//! ```
//! use crossrank_search::{Error, Index};
//!
//! let index = Index::in_memory(|writer| {
//!     writer.add("d1", "Bread is baked in an oven.")?;
//!     writer.add("d2", "Rivers run to the sea.")?;
//!     Ok::<_, Error>(())
//! })?;
//! let hits = index.search("where do rivers run", 10)?;
//! assert_eq!(index.document(hits[0].ordinal)?.id, "d2");
//! # Ok::<_, Error>(())
//! ```
//!
//! - [`Words`] says what a word is; [`ANALYSIS`] says it in a line. Nothing is stemmed, no word is left out.
//! - [`Bm25`] has the formula, with k1 and b.
//! - [`IndexFolder`] keeps an index on disk beside a manifest of what it was made of.

mod bm25;
mod error;
mod folder;
mod index;
mod manifest;
mod words;
mod writer;

pub use bm25::Bm25;
pub use error::{Error, Result};
pub use folder::{Event, IndexFolder};
pub use index::{Hit, Index, Stored};
pub use manifest::Source;
pub use words::{ANALYSIS, Words};
pub use writer::{MAX_ID_BYTES, Writer};
