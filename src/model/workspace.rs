//! The memory of a forward pass: grows to the largest chunk and stays.

use crossrank_kernels::{AttentionScratch, Matrix};

use crate::config::Config;

/// What a chunk needs room for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct ChunkSize {
    pub(crate) tokens: usize,
    pub(crate) sequences: usize,
    /// Tokens of the longest sequence.
    pub(crate) longest: usize,
}

/// Activations of one chunk. T tokens, S sequences, H hidden, I intermediate, A heads.
pub(crate) struct Workspace {
    heads: usize,
    head_dim: usize,
    intermediate: usize,
    /// Where each sequence begins, and the end of the last: S + 1 numbers.
    pub(super) cu_seqlens: Vec<usize>,
    /// T x H: what enters and leaves a layer.
    pub(super) hidden: Matrix,
    /// T x 3H: queries, keys and values side by side.
    pub(super) qkv: Matrix,
    /// T x H: what attention gathered.
    pub(super) context: Matrix,
    /// T x H: after attention's residual and norm.
    pub(super) attended: Matrix,
    pub(super) cls: ClsWorkspace,
    /// One for each worker that shares the chunk.
    pub(super) scratches: Vec<Scratch>,
}

/// What one worker needs for itself.
pub(super) struct Scratch {
    /// A block of rows x I: inside the feed-forward network.
    pub(super) inner: Matrix,
    pub(super) attention: AttentionScratch,
}

/// What the last layer and the head work in: one row a sequence.
pub(crate) struct ClsWorkspace {
    /// S x H: what enters and leaves the last layer.
    pub(super) hidden: Matrix,
    /// S x H
    pub(super) query: Matrix,
    /// S x (A * H): queries with the key projection moved into them, head by head.
    pub(super) folded: Matrix,
    /// S x (A * H): what they gathered of the layer's input.
    pub(super) gathered: Matrix,
    /// S x H
    pub(super) context: Matrix,
    /// S x H
    pub(super) attended: Matrix,
    /// S x H: what the classifier reads.
    pub(super) pooled: Matrix,
    /// S x labels
    pub(super) logits: Matrix,
}

impl ClsWorkspace {
    fn matrices(&mut self) -> [&mut Matrix; 8] {
        [
            &mut self.hidden,
            &mut self.query,
            &mut self.folded,
            &mut self.gathered,
            &mut self.context,
            &mut self.attended,
            &mut self.pooled,
            &mut self.logits,
        ]
    }

    /// A row a sequence in all of them.
    pub(super) fn set_sequences(&mut self, sequences: usize) {
        self.matrices().into_iter().for_each(|matrix| matrix.set_rows(sequences));
    }
}

/// The feed-forward network goes by blocks of this many bytes of its inner activations, so that what the first
/// product writes is still near when the second reads it.
const INNER_BYTES: usize = 256 * 1024;

/// Rows of such a block.
pub(super) fn inner_rows(intermediate: usize) -> usize {
    (INNER_BYTES / size_of::<f32>() / intermediate).max(1)
}

impl Workspace {
    pub(crate) fn new(config: &Config, labels: usize) -> Self {
        let empty = |cols| Matrix::with_capacity(0, cols);
        let hidden = || empty(config.hidden);
        Self {
            heads: config.heads,
            head_dim: config.head_dim(),
            intermediate: config.intermediate,
            cu_seqlens: Vec::new(),
            hidden: hidden(),
            qkv: empty(3 * config.hidden),
            context: hidden(),
            attended: hidden(),
            cls: ClsWorkspace {
                hidden: hidden(),
                query: hidden(),
                folded: empty(config.heads * config.hidden),
                gathered: empty(config.heads * config.hidden),
                context: hidden(),
                attended: hidden(),
                pooled: hidden(),
                logits: empty(labels),
            },
            scratches: Vec::new(),
        }
    }

    /// Grows to a size, so that no chunk within it allocates, and to the number of workers that share a chunk.
    pub(crate) fn reserve(&mut self, size: ChunkSize, workers: usize) {
        let missing = (size.sequences + 1).saturating_sub(self.cu_seqlens.len());
        self.cu_seqlens.reserve(missing);
        self.set_tokens(size.tokens);
        for matrix in self.cls.matrices() {
            matrix.set_rows(size.sequences);
        }
        self.scratches.reserve(workers.saturating_sub(self.scratches.len()));
        while self.scratches.len() < workers {
            let inner = Matrix::with_capacity(0, self.intermediate);
            self.scratches.push(Scratch { inner, attention: AttentionScratch::default() });
        }
        for scratch in &mut self.scratches {
            scratch.inner.set_rows(inner_rows(self.intermediate).min(size.tokens));
            scratch.attention.reserve(size.longest, self.heads, self.head_dim);
        }
    }

    /// A row a token in all matrices that have one.
    pub(super) fn set_tokens(&mut self, tokens: usize) {
        for matrix in [&mut self.hidden, &mut self.qkv, &mut self.context, &mut self.attended] {
            matrix.set_rows(tokens);
        }
    }
}
