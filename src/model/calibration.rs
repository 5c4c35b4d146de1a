//! What the Linear layers of the encoder read, for tools that decide how their weights are rounded.
//!
//! A layer runs as it always does; its steps leave most of it in the workspace, and the rest is computed once more. So
//! nothing is paid for it where nobody looks.

mod inputs;
mod replace;
mod sources;
#[cfg(test)]
mod tests;

use crossrank_kernels::{Epilogue, Isa, LayerNorm, LhsRows, LinearScratch, Matrix, Rows, linear};

pub use inputs::{Input, Untreated};
pub use replace::NewLinear;
pub use sources::{SourceTensor, TensorUse};

use super::attention::HeadShape;
use super::encoder::Last;
use super::feed_forward::{FeedForward, residual};
use super::last_layer::{FirstToken, copy_cls_rows};
use super::layer::Layer;
use super::{ChunkSize, Model, Scratch, Workspace};
use crate::family::roles::{ATTENTION_OUTPUT, DOWN, KEY, QUERY, UP, VALUE, head_role, role};
use crate::tokenized::Tokenized;
pub(crate) use inputs::check;
use inputs::inputs;

/// What Linear layers read of some texts.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Which layers do, and how they hang together with others.
    pub input: &'a Input,
    /// A row a token, or a row a pair: its `[CLS]`.
    pub rows: Rows<'a>,
    /// What is added to the product of each row before the norm that follows, if one does.
    pub residual: Option<Rows<'a>>,
}

impl Model {
    /// What enters the first layer of one chunk.
    pub(crate) fn embed_pairs(&self, chunk: &[Tokenized]) -> Matrix {
        let mut ws = self.workspace();
        self.embed(chunk, &mut ws, &mut [self.scratch()]);
        ws.hidden
    }

    /// Takes `hidden` of one chunk through a layer by one worker; shows what each of its Linear layers reads, and after
    /// the last what the pooler does: [`inputs`], in their order.
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
        let inputs = inputs(&self.description, layer);
        let mut show = |linears: &[String], rows: Rows<'_>, residual: Option<Rows<'_>>| {
            let input = inputs.iter().find(|input| input.linears == linears);
            observer(Reading { input: input.expect("all inputs are described"), rows, residual });
        };
        let mut observe = |parts: &[&str], rows: Rows<'_>, residual: Option<Rows<'_>>| {
            let linears: Vec<String> = parts.iter().map(|part| role(layer, part)).collect();
            show(&linears, rows, residual);
        };
        if let Some(layer) = self.encoder.layers.get(layer) {
            layer.observe(self.isa, shape, &mut ws, &mut scratch, &mut observe);
            *hidden = ws.hidden;
            return;
        }
        assert_eq!(layer, self.encoder.layers.len(), "no such layer");
        // Of a network that has another form nothing can be calibrated.
        let Last::First(last) = &self.encoder.last else { return };
        last.observe(self.isa, shape, &mut ws, &mut scratch, &mut observe);
        if self.description.head.len() > 1 {
            show(&[head_role(0)], ws.cls.hidden.view(), None);
        }
        *hidden = ws.cls.hidden;
    }
}

/// Linear layers by the parts that they play in a layer, the rows that each of them reads, and the residual that is added to
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
