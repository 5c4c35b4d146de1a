//! The arithmetic of `crossrank`, on slices: products with packed weights, attention, layer normalisation,
//! activations and embedding gathers, for each instruction set of the machine.
//!
//! This crate knows nothing of models, files or threads: it writes what it is told to write, on the caller's thread.
//!
//! # Terms
//! A product is `dst = lhs * rhs`: `lhs` are activations (m x k, row-major), `rhs` weights, n outputs of depth k. A
//! *panel* is [`PANEL`] outputs side by side, packed so that a product reads them in order; a *tile* is the part of
//! dst that is held in registers; an [`Epilogue`] is what happens to it before it leaves the cache. `row_stride` is the
//! number of elements from one row to the next.
//!
//! # How it is built
//! - [`Isa`]: an instruction set that can only be had by passing the CPU's check. Every kernel takes one.
//! - Kernels are written once against a small vector trait (`simd.rs`); a file under `arch/` holds the primitives of
//!   one instruction set and the shape of its tile, and nothing else.
//! - [`reference`](mod@reference) holds naive f64 versions that anyone can check by eye, for tests and benches.
//!
//! # Bits
//! The order of every sum follows from the instruction set and the shape of one row's work: never from the number of
//! rows beside it. The same row gives the same bits in any company. NaN is never swallowed.
//!
//! # Unsafe code
//! It is in `arch/` (intrinsics), `matmul.rs` (the tile), `view.rs` (views that split by columns), `matrix.rs`
//! (aligned memory) and `storage.rs` (panels that lie in a file). Shapes are checked with real asserts at the door of each kernel.

mod activation;
mod arch;
mod attention;
mod embedding;
mod isa;
mod layer_norm;
mod linear;
mod math;
mod matmul;
mod matrix;
mod pack;
#[doc(hidden)]
pub mod peak;
#[doc(hidden)]
pub mod reference;
mod simd;
mod softmax;
mod storage;
mod stored;
mod view;

pub use activation::Activation;
pub use attention::{AttentionScratch, attention, cls_attention};
pub use embedding::{EmbeddingTables, embed};
pub use isa::{Isa, UnavailableIsa};
pub use layer_norm::LayerNorm;
pub use linear::{Epilogue, LinearScratch, MAX_BLOCK_ROWS, linear, row_blocks};
pub use matrix::Matrix;
pub use pack::{PackedColumns, PackedWeights, PanelDtype};
pub use softmax::softmax;
pub use storage::SharedBytes;
pub use stored::{Stored, StoredMatrix};
pub use view::{Rows, RowsMut};

/// Outputs in a panel of packed weights.
pub const PANEL: usize = 16;
