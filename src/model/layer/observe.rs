//! What the products of a layer read, shown to whoever wants to know.
//!
//! A layer runs as it always does; its steps leave most of it in the workspace, and the rest is computed once more. So
//! nothing is paid for it where nobody looks.

use crossrank_kernels::{Epilogue, Isa, LayerNorm, LhsRows, LinearScratch, Matrix, Rows, linear};

use super::{DOWN, HeadShape, KEY, LastLayer, Layer, OUTPUT, QUERY, Tail, UP, copy_cls_rows};
use crate::model::workspace::Workspace;

/// Linear layers by their names within a layer, the rows that each of them reads, and the residual that is added to
/// what it makes of them, as it is added.
pub(crate) type Observer<'a> = &'a mut dyn FnMut(&[&str], Rows<'_>, Option<Rows<'_>>);

const VALUE: &str = "attention.self.value";

impl Layer {
    /// [`Layer::forward`] by one worker, observed.
    pub(crate) fn observe(&self, isa: Isa, shape: HeadShape, ws: &mut Workspace, observer: Observer<'_>) {
        let before = ws.hidden.clone();
        observer(&[QUERY, KEY, VALUE], before.view(), None);
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
        observer(&[QUERY], before.view(), None);
        observer(&[KEY, VALUE], ws.hidden.view(), None);
        let fine = shape.fine_cls(&ws.cls.numbers[..before.view().rows()]);
        let context = LhsRows { rows: ws.cls.context.view(), fine };
        self.tail.observe(isa, context, before, observer);
    }
}

impl Tail {
    fn observe(&self, isa: Isa, context: LhsRows<'_>, mut hidden: Matrix, observer: Observer<'_>) {
        let mut scratch = LinearScratch::default();
        observer(&[OUTPUT], context.rows, Some(scaled(&hidden, &self.output_norm).view()));
        let epilogue = Epilogue::ResidualNorm(&self.output_norm);
        linear(isa, context, &self.output, epilogue, &mut scratch, hidden.view_mut());
        observer(&[UP], hidden.view(), None);
        let mut inner = Matrix::new(self.up.n());
        inner.set_rows(context.rows.rows());
        let epilogue = Epilogue::Activation(self.hidden_act);
        let rows = LhsRows { rows: hidden.view(), ..context };
        linear(isa, rows, &self.up, epilogue, &mut scratch, inner.view_mut());
        observer(&[DOWN], inner.view(), Some(scaled(&hidden, &self.down_norm).view()));
    }
}

/// What a norm adds of a residual.
fn scaled(residual: &Matrix, norm: &LayerNorm) -> Matrix {
    let mut scaled = residual.clone();
    for i in 0..residual.view().rows() {
        scaled.view_mut().row_mut(i).iter_mut().zip(norm.residual_scale()).for_each(|(x, scale)| *x *= scale);
    }
    scaled
}
