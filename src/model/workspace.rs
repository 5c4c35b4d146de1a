//! The memory of a forward pass: grows to the largest chunk and stays.

use crossrank_kernels::{AttentionScratch, LinearScratch, Matrix, max_block_rows};

use super::linear::Packing;
use crate::family::{Description, HeadStep, Layer};
use crate::tokenized::Tokenized;

/// What a chunk needs room for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct ChunkSize {
    pub(crate) tokens: usize,
    pub(crate) sequences: usize,
    /// Tokens of the longest sequence.
    pub(crate) longest: usize,
}

impl ChunkSize {
    /// What some sequences need together.
    pub(crate) fn of(sequences: &[Tokenized]) -> Self {
        Self {
            tokens: sequences.iter().map(Tokenized::len).sum(),
            sequences: sequences.len(),
            longest: sequences.iter().map(Tokenized::len).max().unwrap_or(0),
        }
    }

    /// Room for both.
    #[must_use]
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            tokens: self.tokens.max(other.tokens),
            sequences: self.sequences.max(other.sequences),
            longest: self.longest.max(other.longest),
        }
    }
}

/// Activations of one chunk. T tokens, S sequences, H hidden, I intermediate, A heads.
pub(crate) struct Workspace {
    widths: Widths,
    /// Where each sequence begins, and the end of the last: S + 1 numbers.
    pub(super) cu_seqlens: Vec<usize>,
    /// T x H: what enters and leaves a layer.
    pub(super) hidden: Matrix,
    /// T x 3H, or half of it in pairs: queries, keys and values side by side.
    pub(super) qkv: Matrix,
    /// T x H: what attention gathers.
    pub(super) context: Matrix,
    pub(super) cls: ClsWorkspace,
    /// One for each worker that shares the chunk.
    pub(super) scratches: Vec<Scratch>,
}

/// What one worker needs for itself.
pub(crate) struct Scratch {
    /// A block of rows x I, or half of it in pairs: inside the feed-forward network.
    pub(super) inner: Matrix,
    pub(super) attention: AttentionScratch,
    pub(super) linear: LinearScratch,
}

/// Sizes of the model that workers need room for.
#[derive(Clone, Copy)]
pub(crate) struct Widths {
    heads: usize,
    head_dim: usize,
    intermediate: usize,
    packing: Packing,
}

impl Widths {
    pub(super) fn new(description: &Description, packing: Packing) -> Self {
        let most = |size: fn(&Layer) -> usize| description.layers.iter().map(size).max().unwrap_or(0);
        Self {
            heads: most(|layer| layer.attention.heads),
            head_dim: most(|layer| layer.attention.head_dim),
            intermediate: most(|layer| layer.feed_forward.intermediate),
            packing,
        }
    }
}

impl Scratch {
    pub(super) fn new(widths: Widths) -> Self {
        Self {
            inner: Matrix::new(widths.intermediate / widths.packing.slot_values(widths.intermediate)),
            attention: AttentionScratch::default(),
            linear: LinearScratch::default(),
        }
    }

    pub(super) fn reserve(&mut self, size: ChunkSize, widths: Widths) {
        let Widths { heads, head_dim, intermediate, packing } = widths;
        self.inner.set_rows(size.tokens.min(max_block_rows(packing.isa)));
        self.attention.reserve(size.longest, heads, head_dim);
        let transposed = packing.transposed();
        self.linear.reserve(packing.isa, packing.panels, intermediate.max(heads * head_dim));
        self.linear.reserve(transposed.isa, transposed.panels, head_dim);
    }
}

/// What the last layer and the head work in: one row a sequence.
pub(crate) struct ClsWorkspace {
    /// 0..S, at least: the numbers of all rows.
    pub(super) numbers: Vec<usize>,
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
    /// S x the outputs of each step of the head but the last.
    pub(super) pooled: Vec<Matrix>,
    /// S x labels
    pub(super) logits: Matrix,
}

impl ClsWorkspace {
    fn matrices(&mut self) -> impl Iterator<Item = &mut Matrix> {
        let own = [
            &mut self.hidden,
            &mut self.query,
            &mut self.folded,
            &mut self.gathered,
            &mut self.context,
            &mut self.logits,
        ];
        own.into_iter().chain(&mut self.pooled)
    }

    /// A row a sequence in all of them.
    pub(super) fn set_sequences(&mut self, sequences: usize) {
        self.matrices().for_each(|matrix| matrix.set_rows(sequences));
        self.numbers.extend(self.numbers.len()..sequences);
    }
}

impl Workspace {
    pub(super) fn new(description: &Description, widths: Widths) -> Self {
        let width = description.hidden;
        let hidden = || Matrix::new(width);
        let cls_hidden = || Matrix::unpadded(width);
        let steps = &description.head[..description.head.len() - 1];
        Self {
            widths,
            cu_seqlens: Vec::new(),
            hidden: hidden(),
            qkv: Matrix::new(3 * width / widths.packing.slot_values(widths.head_dim)),
            context: hidden(),
            cls: ClsWorkspace {
                numbers: Vec::new(),
                hidden: cls_hidden(),
                query: cls_hidden(),
                folded: Matrix::unpadded(widths.heads * width),
                gathered: Matrix::unpadded(widths.heads * width),
                context: cls_hidden(),
                pooled: steps
                    .iter()
                    .map(|HeadStep::Dense { outputs, .. }| Matrix::unpadded(*outputs))
                    .collect(),
                logits: Matrix::unpadded(description.labels()),
            },
            scratches: Vec::new(),
        }
    }

    /// Grows to a size, so that no chunk within it allocates, and to the number of workers that share a chunk.
    pub(crate) fn reserve(&mut self, size: ChunkSize, workers: usize) {
        let missing = (size.sequences + 1).saturating_sub(self.cu_seqlens.len());
        self.cu_seqlens.reserve(missing);
        self.set_tokens(size.tokens);
        self.cls.set_sequences(size.sequences);
        self.scratches.reserve(workers.saturating_sub(self.scratches.len()));
        while self.scratches.len() < workers {
            self.scratches.push(Scratch::new(self.widths));
        }
        for scratch in &mut self.scratches {
            scratch.reserve(size, self.widths);
        }
    }

    /// How many workers it is ready for.
    pub(crate) fn workers(&self) -> usize {
        self.scratches.len()
    }

    /// Takes what is spare, up to what `workers` need.
    pub(crate) fn take_scratches(&mut self, spare: &mut Vec<Scratch>, workers: usize) {
        let missing = workers.saturating_sub(self.scratches.len()).min(spare.len());
        self.scratches.extend(spare.drain(spare.len() - missing..));
    }

    /// Leaves what `workers` need and gives the others to `spare`.
    pub(crate) fn give_scratches(&mut self, spare: &mut Vec<Scratch>, workers: usize) {
        spare.extend(self.scratches.drain(workers.min(self.scratches.len())..));
    }

    /// Where each sequence begins, and a row for each of their tokens.
    pub(super) fn set_sequences(&mut self, sequences: &[Tokenized]) {
        self.cu_seqlens.clear();
        self.cu_seqlens.push(0);
        let mut tokens = 0;
        for sequence in sequences {
            tokens += sequence.len();
            self.cu_seqlens.push(tokens);
        }
        self.set_tokens(tokens);
    }

    /// A row a token in all matrices that have one.
    fn set_tokens(&mut self, tokens: usize) {
        for matrix in [&mut self.hidden, &mut self.qkv, &mut self.context] {
            matrix.set_rows(tokens);
        }
    }
}
