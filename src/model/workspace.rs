//! The memory of a forward pass: grows to the largest chunk and stays.

use crossrank_kernels::{AttentionScratch, LinearScratch, Matrix};

use super::attention::qkv_format;
use super::feed_forward::Inner;
use super::linear::Packing;
use crate::checkpoint::tensors::RowBytes;
use crate::family::Description;
use crate::family::description::Order;
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
    /// Where each sequence begins, and the end of the last: S + 1 numbers.
    pub(super) cu_seqlens: Vec<usize>,
    pub(super) places: Places,
    /// T x H: what enters and leaves a layer.
    pub(super) hidden: Matrix,
    /// T x H: what attention reads, where norms come first.
    pub(super) normed: Matrix,
    /// T x 3H, where products allow it in pairs: queries, keys and values side by side.
    pub(super) qkv: Matrix,
    /// T x H: what attention gathers.
    pub(super) context: Matrix,
    pub(super) cls: ClsWorkspace,
}

/// Which rows of the embeddings' tables the tokens of one sequence take, and their sums where those are projected.
pub(super) struct Places {
    pub(super) types: Vec<u32>,
    pub(super) positions: Vec<u32>,
    /// 0, 1, 2 ...: the rows of words that were read from a large table, and the bytes of those.
    pub(super) numbers: Vec<u32>,
    pub(super) rows: RowBytes,
    /// The longest sequence x the tables' width.
    pub(super) sums: Matrix,
}

/// What one worker needs for itself.
pub(crate) struct Scratch {
    pub(super) inner: Inner,
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
        // All layers have these in common.
        let layer = &description.layers[0];
        Self {
            heads: layer.attention.heads,
            head_dim: layer.attention.head_dim,
            intermediate: layer.feed_forward.intermediate,
            packing,
        }
    }
}

impl Scratch {
    pub(super) fn new(description: &Description, packing: Packing) -> Self {
        Self {
            inner: Inner::new(description, packing),
            attention: AttentionScratch::default(),
            linear: LinearScratch::default(),
        }
    }

    pub(super) fn reserve(&mut self, size: ChunkSize, widths: Widths) {
        let Widths { heads, head_dim, intermediate, packing } = widths;
        self.inner.reserve(packing.isa, size.tokens);
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
    /// S x H: the same normalised, where norms come first.
    pub(super) normed: Matrix,
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
            &mut self.normed,
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
    pub(super) fn new(description: &Description, packing: Packing) -> Self {
        let width = description.hidden;
        let cls_hidden = || Matrix::unpadded(width);
        let heads = description.layers[0].attention.heads;
        let qkv = qkv_format(description.layers.iter().map(|layer| &layer.attention), packing);
        let norm_first = description.layers[0].order == Order::NormFirst;
        let [normed, cls_normed] = if norm_first { [width; 2] } else { [0; 2] };
        let mut steps: Vec<usize> = description.head_widths().collect();
        steps.pop();
        let sums = if description.embeddings.projected { description.embeddings.width } else { 0 };
        Self {
            cu_seqlens: Vec::new(),
            places: Places {
                types: Vec::new(),
                positions: Vec::new(),
                numbers: Vec::new(),
                rows: RowBytes::default(),
                sums: Matrix::new(sums),
            },
            hidden: Matrix::new(width),
            normed: Matrix::new(normed),
            qkv: Matrix::in_format(qkv, 3 * width),
            context: Matrix::new(width),
            cls: ClsWorkspace {
                numbers: Vec::new(),
                hidden: cls_hidden(),
                normed: Matrix::unpadded(cls_normed),
                query: cls_hidden(),
                folded: Matrix::unpadded(heads * width),
                gathered: Matrix::unpadded(heads * width),
                context: cls_hidden(),
                pooled: steps.into_iter().map(Matrix::unpadded).collect(),
                logits: Matrix::unpadded(description.labels()),
            },
        }
    }

    /// Grows to a size, so that no chunk within it allocates.
    pub(crate) fn reserve(&mut self, size: ChunkSize) {
        let missing = (size.sequences + 1).saturating_sub(self.cu_seqlens.len());
        self.cu_seqlens.reserve(missing);
        for places in [&mut self.places.types, &mut self.places.positions] {
            places.reserve(size.longest.saturating_sub(places.len()));
        }
        self.places.sums.set_rows(size.longest);
        self.set_tokens(size.tokens);
        self.cls.set_sequences(size.sequences);
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
        for matrix in [&mut self.hidden, &mut self.normed, &mut self.qkv, &mut self.context] {
            matrix.set_rows(tokens);
        }
    }
}
