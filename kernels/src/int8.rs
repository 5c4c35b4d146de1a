//! Products in bytes: the scheme, the algebra of its zero points, and what was tried. (A page, without items.)
//!
//! # The scheme
//! - **Weights** are s8 with an f32 scale for each output, w = s_w q_w: the bytes of an I8 checkpoint as they are, or
//!   rows of any other scaled so that the largest magnitude becomes 127. They are packed once, at load.
//! - **Activations** become u8 at the door of each product, a block of rows at a time while it is in L2, with a scale
//!   and a zero point for each token, x = s_x (q_x - z), over the range of its row and 0. That range is lopsided after
//!   GELU, whose values begin at -0.17: there a scale without a zero point would leave half of the bytes unused.
//! - **`[CLS]` rows** become two bytes, x = s_x (q_x - z + (r_x - 128) / 256): r_x is what rounding to q_x leaves, over
//!   254 steps, so that no end is cut off where both round outwards. The r_x are one more row in front of a block's,
//!   whose products are there when those of q_x are finished; s_x s_w / 256 times their sum is added after bias and
//!   residual. On Zen 5 that is 1 % of 100 passages' time, 2 to 3 of snippets50's and a pair's.
//! - **Sums** are i32 and exact, so they are the same on every instruction set and in any order. Scale and bias follow
//!   in f32 in the tile's epilogue, unfused, for the same reason.
//! - **The last layer** has `[CLS]` rows alone. Their products with keys move the key projection into the queries, whose
//!   weights, transposed, would have scales along k; those are bfloat16.
//! - **In f32** stay the residual stream, LayerNorm, softmax and the head. Products of attention are f32, or of pairs of
//!   bfloat16 where those are fast. GELU is as exact as the bytes it becomes; on AMX its results are pairs of bfloat16
//!   on their way there.
//!
//! # The algebra
//! With c = sum q_w, which is known when the weights are packed,
//!
//! ```text
//! sum x w = s_x s_w sum (q_x - z) q_w = s_x s_w (sum q_x q_w - z c).
//! ```
//!
//! So a tile begins with -z c instead of 0, and the K loop is `vpdpbusd` on what `vfmadd231ps` has in f32: one slot of
//! a panel is four bytes of one output, and panels, tile and prefetching are the same. -z c would be a 32-bit product,
//! two instructions; c is kept as two 16-bit parts, c = low + 128 high, and `vpmaddwd` of (low, high) with (-z, -128 z)
//! is one. A depth of up to 32,768 keeps every sum within an i32 (255 * 128 * 2^15 < 2^31) and both parts within 16
//! bits. Without VNNI bytes are widened to 16 bits (`vpmaddwd`): `vpmaddubsw` would saturate at 255 * 127 * 2.
//!
//! The two extremes of a row are the maxima of its bits as signed and as unsigned integers, which no NaN slips through:
//! a row with NaN or an infinity has NaN for its scale, and so for its results. A row too small for the inverse of its
//! scale counts as zeros.
//!
//! # What was tried
//! Mean |delta logit| against f32, in parts of the standard deviation of f32's logits, on the first 40 queries of SQuAD
//! and of Cranfield, BM25's first 50 (`crossrank quantize --verify`):
//!
//! | weights of the encoder | SQuAD | Cranfield |
//! |---|---|---|
//! | each to its nearest byte | 2.29 % | 2.51 % |
//! | a row's scale at the least squared error instead of its largest weight | more than that | more than that |
//! | each row so that later weights make up for the rounding of earlier ones (`--calibrate`) | 1.74 % | 1.87 % |
//! | the same, with embeddings in F16 instead of bytes: 12 MB more, no better order | 1.57 % | 1.81 % |
//!
//! What was left then was mostly the activations' rounding, about 1.4 points. On all queries of both sets (200 and
//! 113), with attention in bfloat16:
//!
//! | | SQuAD | Cranfield |
//! |---|---|---|
//! | as the last but one above | 1.70 % | 1.93 % |
//! | smoothed: columns of large range shrink, their weights grow | 1.47 % | 1.83 % |
//! | and the two rows of token types kept in F16 | 1.37 % | 1.72 % |
//! | and `[CLS]` rows in two bytes | 1.27 % | 1.56 % |
//! | and layers rounded one after another, outliers split among idle neurons, positions in F16 | 1.03 % | 1.32 % |
//!
//! One row of a hundred has that much to do with the score: simulated on 12 queries of Cranfield, exact activations in
//! all rows took 1.59 % to 1.01, in `[CLS]` rows alone to 1.34 (of which those before query, key and value 1.47), in
//! all rows of the query to 1.16, in `[SEP]` rows to 1.53; all rows before one of the four products to 1.37 (query, key
//! and value), 1.53, 1.51 and 1.44. Words and positions of the source's own instead of bytes: 1.46.
//!
//! Smoothing is the checkpoint's affair (`crossrank quantize`): a LayerNorm's weight and bias take the factors, and the
//! next LayerNorm's residual a scale for each column, one multiplication where a tile adds it. Products of attention in
//! bytes, which could save 6 % of the time at most, were not tried. What GELU leaves in bfloat16 instead of f32 (AMX)
//! is no worse: 1.37 % and 1.72 % after 1.37 % and 1.75 %.
//!
//! # What it gives
//! Shares of `vpdpbusd` in registers (`cargo bench --bench kernels`), quantising included, on shapes of models 384, 768
//! and 1024 wide: 84 to 95 % on Zen 5, with AVX-VNNI as well; of models 384 and 768 wide 82 to 93 % on an Emerald Rapids
//! Xeon, 85 to 95 % on Zen 4, 80 to 89 % with AVX-VNNI. Without VNNI, widened to 16 bits, AVX2 has 94 % of the rate of
//! f32 multiply-adds in registers. On AMX a product with bias and scales is at 40 to 57 % of `tdpbusd` in registers, 30
//! to 50 with quantising, least where weights come from L3 for 64 rows only. Packing takes 0.4 ns a weight from f32 in
//! cache. From ids to logits, on two threads of Zen 5, a lone pair is at 67 % of that peak, 100 passages at 65 %
//! (`benches/records/engine.txt`).
//!
//! Attention in pairs of bfloat16 takes 100 passages on one thread of Zen 4 from 1,439 and 1,449 ms to 1,253 and 1,323
//! (`CROSSRANK_ISA=avx512` against `avx512_bf16`), and moves logits no further on average (1.93 % of Cranfield's
//! against 1.94). The last layer's `[CLS]` products in two bytes instead of bfloat16 take a lone pair on Zen 5 from 1.64
//! to 1.60 ms on one thread and from 0.897 to 0.885 on two (medians of ten), and 2.7 MB less memory; Cranfield's logits
//! move no further on average (1.26 % of a default model as it was then), and of weights that are quantised when they
//! are loaded a little less (1.84 % of SQuAD's instead of 2.07).
//!
//! In a profile of a lone pair on two threads quantising is 8 %, part of it rows that both workers quantise; to share
//! them, one more join a product, was not tried.
