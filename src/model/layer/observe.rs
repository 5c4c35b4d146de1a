//! What the products of a layer read, shown to whoever wants to know.
//!
//! A layer runs as it always does; its steps leave most of it in the workspace, and the rest is computed once more. So
//! nothing is paid for it where nobody looks.

use crossrank_kernels::{Epilogue, Isa, LhsRows, LinearScratch, Matrix, Rows, linear};

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
        let context = LhsRows { rows: ws.context.view(), fine: shape.fine_rows(&ws.cu_seqlens) };
        self.tail.observe(isa, context, before, observer);
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
        self.tail.observe(isa, ws.cls.context.view().into(), before, observer);
    }
}

impl Tail {
    fn observe(&self, isa: Isa, context: LhsRows<'_>, mut hidden: Matrix, observer: Observer<'_>) {
        let mut scratch = LinearScratch::default();
        observer(&[OUTPUT], context.rows);
        let epilogue = Epilogue::ResidualNorm(&self.output_norm);
        linear(isa, context, &self.output, epilogue, &mut scratch, hidden.view_mut());
        observer(&[UP], hidden.view());
        let mut inner = Matrix::new(self.up.n());
        inner.set_rows(context.rows.rows());
        let epilogue = Epilogue::Activation(self.hidden_act);
        let rows = LhsRows { rows: hidden.view(), ..context };
        linear(isa, rows, &self.up, epilogue, &mut scratch, inner.view_mut());
        observer(&[DOWN], inner.view());
    }
}
