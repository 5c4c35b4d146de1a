//! The memory of a forward pass: grows to the largest chunk and stays.

use crossrank_kernels::{AttentionScratch, Matrix};

use crate::config::Config;

/// Activations of one chunk. T tokens, S sequences, H hidden, I intermediate, A heads.
pub(crate) struct Workspace {
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
    /// A block of rows x I: inside the feed-forward network.
    pub(super) inner: Matrix,
    pub(super) cls: ClsWorkspace,
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

impl Workspace {
    pub(crate) fn new(config: &Config, labels: usize) -> Self {
        let empty = |cols| Matrix::with_capacity(0, cols);
        let hidden = || empty(config.hidden);
        Self {
            cu_seqlens: Vec::new(),
            hidden: hidden(),
            qkv: empty(3 * config.hidden),
            context: hidden(),
            attended: hidden(),
            inner: empty(config.intermediate),
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
            attention: AttentionScratch::default(),
        }
    }

    /// Memory held, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let cls = &self.cls;
        let matrices = [
            &self.hidden,
            &self.qkv,
            &self.context,
            &self.attended,
            &self.inner,
            &cls.hidden,
            &cls.query,
            &cls.folded,
            &cls.gathered,
            &cls.context,
            &cls.attended,
            &cls.pooled,
            &cls.logits,
        ];
        matrices.iter().map(|matrix| matrix.bytes()).sum::<usize>()
            + self.attention.bytes()
            + self.cu_seqlens.capacity() * size_of::<usize>()
    }
}
