//! What follows attention, row by row: its output projection and the feed-forward network, each with its residual and
//! norm.

use std::slice::from_ref;

use crossrank_kernels::{
    Activation, Epilogue, FineRows, Isa, LayerNorm, LhsRows, Matrix, PackedWeights, Rows, RowsMut, gate,
    max_block_rows, row_blocks,
};

use super::linear::{Packing, linear_by_columns};
use super::loading::Loading;
use super::product::stacked;
use super::workspace::Scratch;
use crate::error::Result;
use crate::family::Description;
use crate::family::description::Order;
use crate::family::roles::{
    ATTENTION_NORM, ATTENTION_OUTPUT, DOWN, FEED_FORWARD_NORM, GATE, UP, UP_GATE, role,
};
use crate::workers::fork::fork_rows;

/// What every kind of layer does after attention.
pub(super) struct FeedForward {
    pub(super) output: PackedWeights,
    /// Behind the residual of attention, where norms come last.
    pub(super) output_norm: Option<LayerNorm>,
    /// In front of `up`, where norms come first.
    pub(super) up_norm: Option<LayerNorm>,
    /// With the gate's outputs behind its own, if it is gated.
    pub(super) up: PackedWeights,
    pub(super) gated: bool,
    pub(super) activation: Activation,
    pub(super) down: PackedWeights,
    /// Behind the residual of the network, where norms come last.
    pub(super) down_norm: Option<LayerNorm>,
}

/// What a block of rows is inside the network, for one worker.
#[derive(Default)]
pub(super) struct Inner {
    /// A block of rows x H, where norms come first.
    normed: Matrix,
    /// A block of rows x I, where products allow it in pairs; x 2 I where there is a gate.
    up: Matrix,
    /// A block of rows x I, where there is a gate.
    gated: Matrix,
}

impl Inner {
    /// Without room for a row yet.
    pub(super) fn new(description: &Description, packing: Packing) -> Self {
        // All layers have these in common.
        let layer = &description.layers[0];
        let intermediate = layer.feed_forward.intermediate;
        let (up, gated) = match layer.feed_forward.gated {
            // What the gate is multiplied with must not have been rounded.
            true => (Matrix::new(2 * intermediate), intermediate),
            false => (Matrix::in_format(packing.between(intermediate), intermediate), 0),
        };
        let normed = if layer.order == Order::NormFirst { description.hidden } else { 0 };
        Self { normed: Matrix::new(normed), up, gated: Matrix::new(gated) }
    }

    /// Makes room for the largest block of so many rows.
    pub(super) fn reserve(&mut self, isa: Isa, rows: usize) {
        self.set_rows(rows.min(max_block_rows(isa)));
    }

    fn set_rows(&mut self, rows: usize) {
        for matrix in [&mut self.normed, &mut self.up, &mut self.gated] {
            matrix.set_rows(rows);
        }
    }
}

impl FeedForward {
    /// That of layer `i`, which has weights of its own.
    pub(super) fn load(loading: Loading<'_>, i: usize) -> Result<Self> {
        let (hidden, layer) = (loading.description.hidden, loading.layer(i));
        let (attention, feed_forward) = (layer.attention, layer.feed_forward);
        let intermediate = feed_forward.intermediate;
        let load =
            |part, shape, bias| loading.linear(i, part, shape, bias)?.load(loading, (i, part), shape[1]);
        let (wide, narrow) = ([intermediate, hidden], [hidden, intermediate]);
        let up = match feed_forward.gated {
            false => load(UP, wide, feed_forward.up_bias)?,
            true => {
                let find = |part| loading.linear(i, part, wide, feed_forward.up_bias);
                stacked(loading, (i, UP_GATE), hidden, &[&find(UP)?, &find(GATE)?])?
            }
        };
        let norm = |part, norm| loading.norm(&role(i, part), hidden, norm).map(Some);
        let [output_norm, up_norm, down_norm] = match (layer.order, layer.attention_norm) {
            (Order::NormLast, Some(attention_norm)) => [
                norm(ATTENTION_NORM, attention_norm)?,
                None,
                norm(FEED_FORWARD_NORM, layer.feed_forward_norm)?,
            ],
            _ => [None, norm(FEED_FORWARD_NORM, layer.feed_forward_norm)?, None],
        };
        Ok(Self {
            output: load(ATTENTION_OUTPUT, [hidden; 2], attention.output_bias)?,
            output_norm,
            up_norm,
            up,
            gated: feed_forward.gated,
            activation: feed_forward.activation.kernel(),
            down: load(DOWN, narrow, feed_forward.down_bias)?,
            down_norm,
        })
    }

    /// hidden += output(context), then hidden += down(inside(up(hidden))), each normalised where norms come last, block
    /// by block of rows, the same of which are fine all the way. Where norms come first, `up` reads norm(hidden). Each
    /// of `scratches` is a worker with its own columns of the weights.
    pub(super) fn forward(
        &self,
        isa: Isa,
        context: LhsRows<'_>,
        mut hidden: RowsMut<'_>,
        scratches: &mut [Scratch],
    ) {
        // All write it, so it is taken out of the scratches that are shared out among them.
        let mut inner = std::mem::take(&mut scratches[0].inner);
        for block in row_blocks(isa, context.rows.rows(), context.fine) {
            inner.set_rows(block.len());
            let mut hidden = hidden.row_range(block.clone());
            let context = context.row_range(block);
            let fine = context.fine;
            let epilogue = residual(self.output_norm.as_ref());
            linear_by_columns(isa, context, &self.output, epilogue, scratches, hidden.reborrow());
            let rows = self.inside(isa, (hidden.as_rows(), fine), &mut inner, scratches);
            let epilogue = residual(self.down_norm.as_ref());
            linear_by_columns(isa, rows, &self.down, epilogue, scratches, hidden);
        }
        scratches[0].inner = inner;
    }

    /// What `down` reads.
    fn inside<'a>(
        &self,
        isa: Isa,
        (hidden, fine): (Rows<'_>, FineRows<'a>),
        inner: &'a mut Inner,
        scratches: &mut [Scratch],
    ) -> LhsRows<'a> {
        let Inner { normed, up, gated } = inner;
        let (all, mut read) = (0..hidden.rows(), hidden);
        if let Some(norm) = &self.up_norm {
            fork_rows(all.clone(), [normed.view_mut()], scratches, &|rows, [dst], _| {
                norm.apply_to(isa, hidden.row_range(rows), dst);
            });
            read = normed.view();
        }
        let epilogue = if self.gated { Epilogue::Bias } else { Epilogue::Activation(self.activation) };
        linear_by_columns(isa, LhsRows { rows: read, fine }, &self.up, epilogue, scratches, up.view_mut());
        if !self.gated {
            return LhsRows { rows: up.view(), fine };
        }
        let halves = up.view();
        fork_rows(all, [gated.view_mut()], scratches, &|rows, [dst], _| {
            gate(isa, self.activation, halves.row_range(rows), dst);
        });
        LhsRows { rows: gated.view(), fine }
    }

    /// All products, by the part that they play in a layer.
    pub(super) fn products(&self) -> Vec<(&'static str, &[PackedWeights])> {
        let up = if self.gated { UP_GATE } else { UP };
        [(ATTENTION_OUTPUT, &self.output), (up, &self.up), (DOWN, &self.down)]
            .map(|(part, one)| (part, from_ref(one)))
            .into()
    }
}

/// Bias and residual, and the norm behind it if there is one.
pub(super) fn residual(norm: Option<&LayerNorm>) -> Epilogue<'_> {
    norm.map_or(Epilogue::PlainResidual, Epilogue::ResidualNorm)
}
