//! What the Linear layers of the encoder read, for tools that decide how their weights are rounded.
//!
//! A layer runs as it always does; its steps leave most of it in the workspace, and the rest is computed once more. So
//! nothing is paid for it where nobody looks.

use crossrank_kernels::{Epilogue, Isa, LayerNorm, LhsRows, LinearScratch, Matrix, Rows, linear};

use super::attention::HeadShape;
use super::encoder::Last;
use super::feed_forward::FeedForward;
use super::feed_forward::residual;
use super::last_layer::{FirstToken, copy_cls_rows};
use super::layer::Layer;
use super::{ChunkSize, Model, Scratch, Workspace};
use crate::family::roles::{
    ATTENTION_NORM, ATTENTION_OUTPUT, DOWN, EMBEDDINGS_NORM, FEED_FORWARD_NORM, KEY, QUERY, UP, VALUE,
    head_role, role,
};
use crate::tokenized::Tokenized;

/// What Linear layers read.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Names of all that read it, without `.weight`.
    pub linears: &'a [String],
    /// A row a token, or a row a pair: its `[CLS]`.
    pub rows: Rows<'a>,
    /// Where false, the rows are those of `[CLS]`.
    pub all_tokens: bool,
    /// What is added to the product of each row before the norm that follows, if one does.
    pub residual: Option<Rows<'a>>,
    /// Where each column is what the activation makes of an output of another Linear layer, that one.
    pub neurons_of: Option<&'a str>,
    /// Where a dtype rounds the rows, the norm that they come from and the norm whose residual they are: nothing else
    /// has them.
    pub norms: Option<&'a [String; 2]>,
}

impl Model {
    /// What enters the first layer of one chunk.
    pub(crate) fn embed_pairs(&self, chunk: &[Tokenized]) -> Matrix {
        let mut ws = self.workspace();
        self.embed(chunk, &mut ws, &mut [self.scratch()]);
        ws.hidden
    }

    /// What the file calls the Linear layer or norm of a role.
    fn module(&self, role: &str) -> String {
        format!("{}{}", self.weights.wrappers(), self.names.module(role))
    }

    /// Takes `hidden` of one chunk through a layer by one worker; shows what each of its Linear layers reads, and after
    /// the last what the pooler does.
    pub(crate) fn observe(
        &self,
        layer: usize,
        chunk: &[Tokenized],
        hidden: &mut Matrix,
        observer: &mut dyn FnMut(Reading<'_>),
    ) {
        let mut ws = self.workspace();
        let (size, mut scratch) = (ChunkSize::of(chunk), [self.scratch()]);
        ws.reserve(size);
        self.reserve_scratch(&mut scratch[0], size);
        ws.set_sequences(chunk);
        assert_eq!(ws.cu_seqlens.last(), Some(&hidden.view().rows()), "a row a token");
        std::mem::swap(&mut ws.hidden, hidden);
        let shape = self.heads(layer);
        let mut observe = |parts: &[&str], rows: Rows<'_>, residual: Option<Rows<'_>>| {
            let module = |i, part| self.module(&role(i, part));
            let linears: Vec<String> = parts.iter().map(|part| module(layer, part)).collect();
            let norms = match parts {
                _ if layer == self.encoder.layers.len() => None,
                [QUERY, ..] if layer == 0 => Some([self.module(EMBEDDINGS_NORM), module(0, ATTENTION_NORM)]),
                [QUERY, ..] => Some([module(layer - 1, FEED_FORWARD_NORM), module(layer, ATTENTION_NORM)]),
                [UP] => Some([ATTENTION_NORM, FEED_FORWARD_NORM].map(|part| module(layer, part))),
                _ => None,
            };
            let neurons_of = (parts == [DOWN]).then(|| module(layer, UP));
            let (neurons_of, norms) = (neurons_of.as_deref(), norms.as_ref());
            let all_tokens = layer < self.encoder.layers.len() || parts.contains(&KEY);
            observer(Reading { linears: &linears, rows, all_tokens, residual, neurons_of, norms });
        };
        if let Some(layer) = self.encoder.layers.get(layer) {
            layer.observe(self.isa, shape, &mut ws, &mut scratch, &mut observe);
            *hidden = ws.hidden;
            return;
        }
        assert_eq!(layer, self.encoder.layers.len(), "no such layer");
        let Last::First(last) = &self.encoder.last else { return };
        last.observe(self.isa, shape, &mut ws, &mut scratch, &mut observe);
        if self.description.head.len() > 1 {
            let (linears, rows) = (&[self.module(&head_role(0))], ws.cls.hidden.view());
            let (all_tokens, residual, neurons_of, norms) = (false, None, None, None);
            observer(Reading { linears, rows, all_tokens, residual, neurons_of, norms });
        }
        *hidden = ws.cls.hidden;
    }
}

/// Linear layers by their names within a layer, the rows that each of them reads, and the residual that is added to
/// what it makes of them, as it is added.
pub(crate) type Observer<'a> = &'a mut dyn FnMut(&[&str], Rows<'_>, Option<Rows<'_>>);

impl Layer {
    /// [`Layer::forward`] by one worker, observed.
    pub(crate) fn observe(
        &self,
        isa: Isa,
        shape: HeadShape<'_>,
        ws: &mut Workspace,
        scratches: &mut [Scratch],
        observer: Observer<'_>,
    ) {
        let before = ws.hidden.clone();
        observer(&[QUERY, KEY, VALUE], before.view(), None);
        self.forward(isa, shape, ws, scratches);
        let context = LhsRows { rows: ws.context.view(), fine: shape.fine_rows(&ws.cu_seqlens) };
        self.feed_forward.observe(isa, context, before, observer);
    }
}

impl FirstToken {
    /// [`FirstToken::forward`] by one worker, observed.
    pub(crate) fn observe(
        &self,
        isa: Isa,
        shape: HeadShape<'_>,
        ws: &mut Workspace,
        scratches: &mut [Scratch],
        observer: Observer<'_>,
    ) {
        self.forward(isa, shape, ws, scratches);
        // What entered the layer; its rows of the workspace now hold what leaves it.
        let mut before = ws.cls.hidden.clone();
        copy_cls_rows(ws.hidden.view(), &ws.cu_seqlens, before.view_mut());
        observer(&[QUERY], before.view(), None);
        observer(&[KEY, VALUE], ws.hidden.view(), None);
        let fine = shape.fine_cls(&ws.cls.numbers[..before.view().rows()]);
        let context = LhsRows { rows: ws.cls.context.view(), fine };
        self.feed_forward.observe(isa, context, before, observer);
    }
}

impl FeedForward {
    fn observe(&self, isa: Isa, context: LhsRows<'_>, mut hidden: Matrix, observer: Observer<'_>) {
        let mut scratch = LinearScratch::default();
        observer(&[ATTENTION_OUTPUT], context.rows, Some(scaled(&hidden, self.output_norm.as_ref()).view()));
        let epilogue = residual(self.output_norm.as_ref());
        linear(isa, context, &self.output, epilogue, &mut scratch, hidden.view_mut());
        observer(&[UP], hidden.view(), None);
        let mut inner = Matrix::new(self.up.n());
        inner.set_rows(context.rows.rows());
        let epilogue = Epilogue::Activation(self.activation);
        let rows = LhsRows { rows: hidden.view(), ..context };
        linear(isa, rows, &self.up, epilogue, &mut scratch, inner.view_mut());
        observer(&[DOWN], inner.view(), Some(scaled(&hidden, self.down_norm.as_ref()).view()));
    }
}

/// What a norm adds of a residual.
fn scaled(residual: &Matrix, norm: Option<&LayerNorm>) -> Matrix {
    let mut scaled = residual.clone();
    let Some(norm) = norm else { return scaled };
    for i in 0..residual.view().rows() {
        scaled.view_mut().row_mut(i).iter_mut().zip(norm.residual_scale()).for_each(|(x, scale)| *x *= scale);
    }
    scaled
}
