//! A layer that is computed for all tokens: attention, then what follows it.

use std::slice::{from_mut, from_ref};
use std::sync::Arc;

use crossrank_kernels::{Isa, LhsRows, PackedWeights};

use super::attention::{Attention, HeadShape};
use super::feed_forward::FeedForward;
use super::workspace::{Scratch, Workspace};
use crate::family::roles::QKV;
use crate::workers::fork::fork_rows;

/// What follows attention is shared by the columns of its weights while they have more than so many bytes an output for
/// each row of a worker: what each then need not read of them outweighs what it reads of the others' columns.
const BYTES_FOR_A_ROW: usize = 24;

/// The same for attention and what it reads, where the price is less: all rows are prepared for the products by each.
const HEADS_BYTES_FOR_A_ROW: usize = 6;

/// A layer that is computed for all tokens. Layers may have the same weights.
pub(crate) struct Layer {
    pub(super) attention: Arc<Attention>,
    pub(super) feed_forward: Arc<FeedForward>,
}

impl Layer {
    /// `ws.hidden` in, `ws.hidden` out, for all tokens of the chunk, by as many workers as it is given.
    ///
    /// Attention needs the keys and values of a whole sequence; all else goes row by row. So there are two steps, and
    /// in each a worker keeps its rows. With few rows the weights are most of what a core must read, and a worker had
    /// better read its own columns of them only. For what follows attention that takes more steps, as each needs whole
    /// rows of the one before.
    pub(crate) fn forward(
        &self,
        isa: Isa,
        shape: HeadShape<'_>,
        ws: &mut Workspace,
        scratches: &mut [Scratch],
    ) {
        let workers = scratches.len();
        let output_bytes = self.attention.qkv.bytes() / self.attention.qkv.n();
        let rows = ws.hidden.view().rows();
        let few = |bytes_for_a_row| workers > 1 && rows * bytes_for_a_row < workers * output_bytes;
        let panel_heads = shape.panel_heads().filter(|_| few(HEADS_BYTES_FOR_A_ROW));
        match panel_heads {
            Some(panel_heads) => self.attention.attend_by_heads(isa, shape, panel_heads, ws, scratches),
            None => self.attention.project_by_rows(isa, shape, ws, scratches),
        }
        let Workspace { cu_seqlens, hidden, qkv, context, .. } = ws;
        let fine = shape.fine_rows(cu_seqlens);
        if panel_heads.is_some() && few(BYTES_FOR_A_ROW) {
            let context = LhsRows { rows: context.view(), fine };
            return self.feed_forward.forward(isa, context, hidden.view_mut(), scratches);
        }
        let width = shape.width();
        let [q, k, v] = [0, 1, 2].map(|part| qkv.view().column_range(part * width..(part + 1) * width));
        let dst = [context.view_mut(), hidden.view_mut()];
        fork_rows(0..rows, dst, scratches, &|rows, [mut context, hidden], scratch| {
            if panel_heads.is_none() {
                let qkv = [q.row_range(rows.clone()), k, v];
                let (all, scratch) = (rows.clone(), &mut scratch.attention);
                shape.attend(isa, qkv, cu_seqlens, all, 0, scratch, context.reborrow());
            }
            let context = LhsRows { rows: context.as_rows(), fine: fine.row_range(rows) };
            self.feed_forward.forward(isa, context, hidden, from_mut(scratch));
        });
    }

    /// The products of attention, by the part that they play.
    pub(crate) fn own_products(&self) -> Vec<(&'static str, &[PackedWeights])> {
        vec![(QKV, from_ref(&self.attention.qkv))]
    }
}
