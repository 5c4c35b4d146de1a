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
//! # Why it is fast
//! Figures are from an Intel Emerald Rapids guest (family 6, model 207: 2 cores, AVX-512, 2 MiB L2 a core), for a
//! 384-wide model of six layers unless they say otherwise; "Zen 4" is an AMD EPYC guest (family 25, model 17: 2 cores,
//! 1 MiB L2 a core). `cargo bench --bench kernels` measures each kernel against
//! multiply-adds in registers by turns; `cargo bench --bench engine` whole requests.
//!
//! - **Tile.** 14 rows x 2 vectors (6 x 2 on AVX2; AMX has its own): 28 sums in registers, two for the weights, one for
//!   a broadcast activation, so that 16 loads feed 28 multiply-adds. A tile keeps its sums for all of k. Its rows are
//!   unrolled by a macro: of a loop over an array LLVM kept the sums of some tiles in memory, at a third of the speed.
//!   Rows are reached by odd strides times powers of two: with a pointer each, some builds spilled them, a third
//!   slower.
//! - **Packing.** Weights lie in panels of 16 outputs, in the order of k, one layout for all instruction sets: a tile
//!   reads two streams. Square blocks are transposed in registers, which packs 43 MB in about 20 ms on two threads.
//! - **Blocking.** Up to 84 rows go through all panels together: the rows stay in L2, each panel is read once for six
//!   tiles. Blocks are even: 256 rows as 84 + 84 + 84 + 4 took 1 to 2 % more of a whole request.
//! - **Asking ahead.** The tiles of one group of panels together ask the cache for the next group. Without, the first
//!   of them waited for L3 or memory while the others read L2: snippets50 took 3 % more, a pair of a 1024-wide model of
//!   24 layers, whose 1.2 GB stream from memory, 10 %.
//! - **Few rows.** A pair shared among workers is cut by the columns of the weights, not by rows, where those are large
//!   beside the rows, so that each worker streams its part only: on a 1024-wide model of 24 layers 180 to 148 ms, on a
//!   768-wide one of 12 layers 43 to 39. At 384 it makes no difference in f32 (3.69 ms by columns, 3.80 by rows, on
//!   AMX); int8, whose weights are small, is faster by rows, of which each worker then quantises its own: 1.63 to 1.27
//!   ms on AMX, 1.99 to 1.69 on VNNI. Query, key and value of a worker's columns are made of rows that are prepared
//!   once ([`linear_parts`]): a pair in f32 on AMX 3.12 to 3.07 ms.
//! - **Epilogues.** Bias, residual and activation are applied to a tile while it is in L1, LayerNorm to a block of rows
//!   while it is in L2. The feed-forward network takes a block through both of its products.
//! - **bf16.** Two values a slot. Where the CPU multiplies pairs fast (AMD's; the instruction set `avx512_bf16`), a
//!   block of rows is rounded at the door of the product, and the tile is that of f32 with `vdpbf16ps` for the
//!   multiply-add. Attention rounds keys and values before it packs them, and the exponentials as it makes them. Zen 4,
//!   100 passages on one thread: 3,900 and 4,097 ms widened, 2,105 and 2,048 in pairs.
//!   Intel's `vdpbf16ps` is slower than f32 multiply-adds: there, and without it, a group of panels is widened into
//!   scratch once for a block of rows. Widening inside the tile, two products a step, was 2.5 times slower than f32.
//! - **AMX.** A line of 16 slots is a line of a tile register, so panels and rounded or quantised rows are its operands
//!   as they lie; a tile is two registers of rows by two of columns. Blocks have up to 128 rows (64, 96 and 256: no
//!   difference beyond the noise; nor chunks of 160 and 224 tokens). 100 passages on one thread, `amx` against `avx512`
//!   by turns, least of four, before all that follows: bf16 840 against 3,123 ms, int8 578 against 1,073. A core makes
//!   4.6 T operations/s in registers with int8, half of that with bf16, on numbers; on zeros 5.8 T, for it clocks down
//!   for what draws more power. Products reach up to 50 % of that in bytes, 56 % in bf16 and 58 % in f32, quantising
//!   and the like included (`benches/records/kernels-amx.txt`). Of a step of a tile (32 rows, 32 outputs, 64 bytes
//!   deep) in a prototype, its four products are 28 ns, beside which loads hide from L1; from L2 they add 2; that sums
//!   leave the registers 5.5 at a depth of 384, which nothing hides; finishing them between the products 2.6; that the
//!   lines of dst come from L2 and go back there 9. Each core of that machine was at times slower for seconds, tile
//!   loads by four and tile products by two, whatever the code and the other core did; figures are the least of runs by
//!   turns.
//!   What is made of a tile's sums is made between the products of the next tile (`arch/amx/pending.rs`), since no core
//!   looks far enough ahead to find those behind it: GELU hides there for the most part (128 x 1536 x 384 in f32 with
//!   GELU 501 to 425 us, without 398). Rows are an odd number of lines apart, or the rows of a tile of dst meet in few
//!   sets of L1 (the same in int8, before: 159 to 122 us). Both together, least of six, one thread, int8 / bf16 / f32:
//!   100 passages 584 to 549, 780 to 750, 1,671 to 1,580 ms; snippets50 86.8 to 80.1, 116 to 109, 239 to 243. With it,
//!   asking for the lines of dst first, which had helped, cost 3 to 9 % of a product, and is gone. Asking for panels
//!   makes no difference in int8, whose weights are near, 4 % of 100 passages in bf16, and more in f32 (snippets50 130
//!   against 165 ms on two threads). Storing rows tile by tile in a prototype, instead of as they are, made no
//!   difference.
//! - **Pairs.** On AMX a product whose values the next step rounds stores them rounded: queries, keys and values, and
//!   the inside of the feed-forward network. That is half the memory, of which a block has more than fits in L2 beside
//!   the weights, and between products of bfloat16 one pass less: one thread, least of all runs, 100 passages int8 530
//!   to 491 ms (queries, keys and values alone), bf16 661 to 635. Inside the network of int8 rounding takes what half
//!   the memory saves at 384, where the block nearly fits; of wider models 128 x 3072 x 768 went from 297 to 249 us,
//!   and 128 x 4096 x 1024 from 497 to 439.
//! - **What stays in L1.** A tile's 32 rows and 32 columns of depth 384 are 24 KiB each in bfloat16, together all of
//!   L1. Rows are loaded with the hint that they stream (`tileloaddt1`), and the panels stay: 128 x 1536 x 384 in bf16
//!   154 to 121 us, 100 passages 635 to 588 ms. In bytes both fit (no difference); in digits it is the panels that
//!   stream (2 to 3 % of a product). Depth 1536 fits in no case.
//! - **f32 on AMX** is three digits of a byte a value, of whose nine products six are summed, exactly, and a seventh
//!   where a residual is added (`digits.rs`). The 244 reference pairs of a trained model are off by 2.4e-5 at worst,
//!   the fixtures by 1.2e-5 (with f32 multiply-adds 9.5e-6 and 5.4e-6). Eight everywhere were off by 9.1e-6 and 9.1e-6;
//!   six everywhere by 4.4e-5 and 1.3e-5, nearly all of which comes from the second product of the feed-forward
//!   network; three of two bfloat16 each were by 1.04e-4 on a fixture; six of three bfloat16 (8.3e-6, simulated) are
//!   twice as many operations as six of digits. Products are what a tile of digits waits for: a step of eight takes 56
//!   ns from L1, of six 42, the loads beside them no more. One thread, least of all runs, from eight to six and seven:
//!   100 passages 1,529 to 1,418 ms, 16 long texts 743 to 705; while products were slow, snippets50 564 to 465.
//! - **int8.** A slot holds four bytes of one output; panels, tile and prefetching are those of f32 with `vpdpbusd` for
//!   the multiply-add. [`int8`] has the scheme, its algebra and its figures.
//! - **Softmax** takes powers of two, with log2(e) in the scale: one polynomial of degree 5, whose argument is reduced
//!   by `vreduceps` and whose result is scaled by `vscalefps`, instead of exponentials with Cody and Waite's reduction.
//!   Where they are about to be rounded to bfloat16 degree 3 is enough (AMX, one thread, 16 texts of 512 tokens in
//!   int8: 278 to 268 ms). Its results must not be subnormal numbers: with them 100 passages took 680 ms instead of
//!   520.
//! - **LayerNorm and softmax** wait for the sum or the maximum of a row; four rows at once wait once: 59 to 38 ns a row
//!   of 384 in L1; attention 7 to 9 % faster up to 68 tokens, no different from 128 tokens on.
//! - **GELU** divides by one Newton step from a 14-bit reciprocal: 0.5 % of snippets50 less than the division unit.
//!   After products of rounded operands it is one polynomial, off by less than rounding its result again will be: on
//!   Zen 4, one thread, 1 to 2 % of int8 and bf16. Its argument is clamped, which takes three steps a vector less than
//!   choosing between inside and outside (AMX, 128 x 1536 x 384 in int8: 111 to 107 us).
//! - **Views are inlined**: calls out of a kernel, each clearing the vector registers, were 3 % of snippets50.
//!
//! Tried and dropped, within the noise or worse: blocks of up to 98, 126 and 252 rows, huge pages, GELU by a polynomial
//! without the division (4 % faster on AVX-512, 20 % slower on AVX2), exp by polynomials in even and odd halves,
//! aligned LayerNorm weights, asking for no panels in later blocks where all of them fit in L2 (int8 on AMX), a fifth
//! sum for digits, so that no sum waits for itself, and digits of 32 rows by one panel at once, for half the traffic
//! (neither different), blocks of 16 rows of scores on AMX, which fit in L1 where 32 do not (3 to 5 % of 100 passages
//! and of 16 long texts), copying queries into L1 before their products, blocks of 192 rows on AMX, chunks of 512 to
//! 1,024 tokens (int8, Zen 4), the last layer of four chunks at once, asking for every other line and leaving its
//! neighbour to the hardware (AMX).
//!
//! # Bits
//! The order of every sum follows from the instruction set and the shape of one row's work: never from the number of
//! rows beside it. The same row gives the same bits in any company. NaN is never swallowed. A product in int8 with its
//! bias and residual gives the same bits on every instruction set.
//!
//! # Unsafe code
//! It is in `arch/` (intrinsics, and assembly for AMX), `simd.rs` and `product.rs` (what those offer kernels),
//! `matmul.rs`, `tile.rs` and `output.rs` (the tile), `view.rs` (views that split by columns), `matrix.rs` (aligned
//! memory), `storage.rs` (panels in shared bytes) and `slot.rs` (that slots are plain bits). Shapes are checked with
//! real asserts at the door of each kernel.
// Digits and pairs of bfloat16 are for instructions that only x86-64 has.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

mod activation;
mod arch;
mod arithmetic;
mod attention;
mod digits;
mod embedding;
mod fine;
mod gate;
pub mod int8;
mod isa;
mod layer_norm;
mod linear;
mod math;
mod matmul;
mod matrix;
mod operand;
mod output;
mod pack;
mod panels;
#[doc(hidden)]
pub mod peak;
mod pooling;
mod positions;
mod product;
mod quantize;
#[doc(hidden)]
pub mod reference;
mod rotary;
mod simd;
mod slot;
mod softmax;
mod storage;
mod stored;
mod tile;
mod view;

pub use activation::Activation;
pub use arithmetic::Arithmetic;
pub use attention::{
    AttentionScratch, Heads, attention, cls_attention, cls_attention_over_keys, positional_attention,
    positional_cls_attention,
};
pub use embedding::{TableRows, embed};
pub use fine::{FineRows, LhsRows};
pub use gate::gate;
pub use isa::{Isa, UnavailableIsa};
pub use layer_norm::LayerNorm;
pub use linear::{Epilogue, LinearScratch, linear, linear_parts, max_block_rows, row_blocks};
pub use matrix::Matrix;
pub use pack::{PackedColumns, PackedWeights, PanelDtype};
pub use pooling::mean;
pub use positions::{PositionBias, Positions};
pub use rotary::{RotaryTable, rotate};
pub use softmax::softmax;
pub use storage::SharedBytes;
pub use stored::{Stored, StoredMatrix};
pub use view::{RowFormat, Rows, RowsMut};

/// Outputs in a panel of packed weights.
pub const PANEL: usize = 16;
