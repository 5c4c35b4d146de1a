//! What the products of a layer read, shown to whoever wants to know.
//!
//! A layer runs as it always does; its steps leave most of it in the workspace, and the rest is computed once more. So
//! nothing is paid for it where nobody looks.

use crossrank_kernels::{Epilogue, Isa, LinearScratch, Matrix, PackedWeights, Rows, linear};

use super::{DOWN, HeadShape, LastLayer, Layer, OUTPUT, QUERY, Tail, UP, copy_cls_rows};
use crate::model::workspace::Workspace;

/// Linear layers by their names within a layer, and the rows that each of them reads.
pub(crate) type Observer<'a> = &'a mut dyn FnMut(&[&str], Rows<'_>);

const KEY: &str = "attention.self.key";
const VALUE: &str = "attention.self.value";

impl Layer {
    /// [`Layer::forward`] by one worker, observed.
    pub(crate) fn observe(&self, isa: Isa, shape: HeadShape, ws: &mut Workspace, observer: Observer<'_>) {
        let before = ws.hidden.clone();
        observer(&[QUERY, KEY, VALUE], before.view());
        self.forward(isa, shape, ws, 1);
        self.tail.observe(isa, ws.context.view(), before.view(), observer);
    }
}

impl LastLayer {
    /// [`LastLayer::forward`] by one worker, observed.
    pub(crate) fn observe(&self, isa: Isa, shape: HeadShape, ws: &mut Workspace, observer: Observer<'_>) {
        self.forward(isa, shape, ws, 1);
        // What entered the layer; its rows of the workspace now hold what leaves it.
        let mut before = ws.cls.hidden.clone();
        copy_cls_rows(ws.hidden.view(), &ws.cu_seqlens, before.view_mut());
        observer(&[QUERY], before.view());
        observer(&[KEY, VALUE], ws.hidden.view());
        self.tail.observe(isa, ws.cls.context.view(), before.view(), observer);
    }
}

impl Tail {
    fn observe(&self, isa: Isa, context: Rows<'_>, hidden: Rows<'_>, observer: Observer<'_>) {
        let mut scratch = LinearScratch::default();
        let mut product = |lhs: Rows<'_>, weights: &PackedWeights, epilogue: Epilogue<'_>| {
            let mut dst = Matrix::new(weights.n());
            dst.set_rows(lhs.rows());
            linear(isa, lhs, weights, epilogue, &mut scratch, dst.view_mut());
            dst
        };
        observer(&[OUTPUT], context);
        let epilogue = Epilogue::ResidualNorm { residual: hidden, norm: &self.output_norm };
        let attended = product(context, &self.output, epilogue);
        observer(&[UP], attended.view());
        let inner = product(attended.view(), &self.up, Epilogue::Activation(self.hidden_act));
        observer(&[DOWN], inner.view());
    }
}
