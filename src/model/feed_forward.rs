//! What follows attention, row by row: its output projection and the feed-forward network, each with its residual and
//! norm.

use std::slice::from_ref;

use crossrank_kernels::{Activation, Epilogue, Isa, LayerNorm, LhsRows, PackedWeights, RowsMut, row_blocks};

use super::linear::{Packing, linear_by_columns};
use super::product::EncoderLinear;
use super::workspace::Scratch;
use crate::checkpoint::roles::Roles;
use crate::error::Result;
use crate::family::{ATTENTION_NORM, ATTENTION_OUTPUT, DOWN, Description, FEED_FORWARD_NORM, UP, role};

/// What both kinds of layer do after attention.
pub(super) struct FeedForward {
    pub(super) output: PackedWeights,
    pub(super) output_norm: LayerNorm,
    pub(super) up: PackedWeights,
    pub(super) activation: Activation,
    pub(super) down: PackedWeights,
    pub(super) down_norm: LayerNorm,
}

impl FeedForward {
    pub(super) fn load(
        roles: Roles<'_>,
        description: &Description,
        packing: Packing,
        i: usize,
    ) -> Result<Self> {
        let (hidden, layer) = (description.hidden, &description.layers[i]);
        let intermediate = layer.feed_forward.intermediate;
        let load =
            |part, n, k| EncoderLinear::find(roles, packing, role(i, part), n, k)?.load(roles, packing, k);
        let norm = |part, eps| roles.norm(packing.isa, &role(i, part), hidden, eps);
        Ok(Self {
            output: load(ATTENTION_OUTPUT, hidden, hidden)?,
            output_norm: norm(ATTENTION_NORM, layer.attention_norm.eps)?,
            up: load(UP, intermediate, hidden)?,
            activation: layer.feed_forward.activation.kernel(),
            down: load(DOWN, hidden, intermediate)?,
            down_norm: norm(FEED_FORWARD_NORM, layer.feed_forward_norm.eps)?,
        })
    }

    /// hidden = norm(output(context) + hidden), then hidden = norm(down(act(up(hidden))) + hidden), block by block of
    /// rows, the same of which are fine all the way. Each of `scratches` is a worker with its own columns of the
    /// weights.
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
            let epilogue = Epilogue::ResidualNorm(&self.output_norm);
            linear_by_columns(isa, context, &self.output, epilogue, scratches, hidden.reborrow());
            let epilogue = Epilogue::Activation(self.activation);
            linear_by_columns(
                isa,
                LhsRows { rows: hidden.as_rows(), fine },
                &self.up,
                epilogue,
                scratches,
                inner.view_mut(),
            );
            let epilogue = Epilogue::ResidualNorm(&self.down_norm);
            linear_by_columns(
                isa,
                LhsRows { rows: inner.view(), fine },
                &self.down,
                epilogue,
                scratches,
                hidden,
            );
        }
        scratches[0].inner = inner;
    }

    /// All products, by the part that they play in a layer.
    pub(super) fn products(&self) -> Vec<(&'static str, &[PackedWeights])> {
        [(ATTENTION_OUTPUT, &self.output), (UP, &self.up), (DOWN, &self.down)]
            .map(|(part, one)| (part, from_ref(one)))
            .into()
    }
}
