//! The encoder layers: attention and feed-forward, each followed by its residual and norm.

mod observe;

use std::ops::Range;
use std::slice::{from_mut, from_ref};

use crossrank_kernels::{
    Activation, AttentionScratch, Epilogue, FineRows, Heads, Isa, LayerNorm, LhsRows, PANEL, PackedWeights,
    PanelDtype, Rows, RowsMut, StoredMatrix, attention, cls_attention, linear, linear_parts, row_blocks,
};

use super::linear::{Packing, linear_by_columns};
use super::names::Names;
use super::product::{EncoderLinear, Product, one};
use super::workspace::{Scratch, Workspace};
use crate::checkpoint::tensors::Weights;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::schedule::fork::{fork_columns, fork_rows};

/// Products by the names that packed checkpoints give them, within a layer.
const QKV: &str = "attention.self.qkv";
pub(super) const QUERY: &str = "attention.self.query";
pub(super) const KEY: &str = "attention.self.key";
const FOLD: &str = "attention.self.key.fold";
const VALUES: &str = "attention.self.value.heads";
const OUTPUT: &str = "attention.output.dense";
pub(super) const UP: &str = "intermediate.dense";
pub(super) const DOWN: &str = "output.dense";

/// What follows attention, and what follows the feed-forward part: norms of residuals.
pub(super) const OUTPUT_NORM: &str = "attention.output.LayerNorm";
pub(super) const DOWN_NORM: &str = "output.LayerNorm";

/// What follows attention is shared by the columns of its weights while they have more than so many bytes an output for
/// each row of a worker: what each then need not read of them outweighs what it reads of the others' columns.
const BYTES_FOR_A_ROW: usize = 24;

/// The same for attention and what it reads, where the price is less: all rows are prepared for the products by each.
const HEADS_BYTES_FOR_A_ROW: usize = 6;

/// A layer that is computed for all tokens.
pub(crate) struct Layer {
    qkv: PackedWeights,
    tail: Tail,
}

/// The last layer, of which only the `[CLS]` row is wanted: see [`cls_attention`] for the algebra.
pub(crate) struct LastLayer {
    query: PackedWeights,
    /// For each head, W_k,h as a right-hand side: it turns a query of head_dim into one of hidden.
    fold: Vec<PackedWeights>,
    /// For each head, W_v,h and b_v,h.
    values: Vec<PackedWeights>,
    tail: Tail,
}

/// What both kinds of layer do after attention, row by row.
struct Tail {
    output: PackedWeights,
    output_norm: LayerNorm,
    up: PackedWeights,
    hidden_act: Activation,
    down: PackedWeights,
    down_norm: LayerNorm,
}

/// The heads of attention.
#[derive(Clone, Copy)]
pub(crate) struct HeadShape {
    count: usize,
    heads: Heads,
    /// Values in an element of queries, keys and values: two are a pair.
    slot_values: usize,
}

impl HeadShape {
    pub(crate) fn new(config: &Config, packing: Packing) -> Self {
        let dim = config.head_dim();
        let heads = Heads { dim, scale: 1.0 / (dim as f32).sqrt(), dtype: packing.panels };
        Self { count: config.heads, heads, slot_values: packing.slot_values(dim) }
    }

    /// Columns of all heads.
    fn width(self) -> usize {
        self.count * self.heads.dim
    }

    /// The fewest heads whose columns are whole panels, if all heads can be cut so.
    fn panel_heads(self) -> Option<usize> {
        let whole = |heads: &usize| (heads * self.heads.dim).is_multiple_of(PANEL);
        (1..=self.count).find(whole).filter(|&heads| self.count.is_multiple_of(heads))
    }

    /// The `[CLS]` tokens, whose rounding to bytes shows in the score as much as that of all others together.
    fn fine_rows(self, cu_seqlens: &[usize]) -> FineRows<'_> {
        self.fine_cls(&cu_seqlens[..cu_seqlens.len() - 1])
    }

    /// These rows, where products are in bytes; elsewhere none is finer than others.
    fn fine_cls(self, rows: &[usize]) -> FineRows<'_> {
        FineRows::new(if self.heads.dtype == PanelDtype::Int8 { rows } else { &[] })
    }

    /// Attention of the tokens `rows`, which are those of `q` and `dst`; keys and values are those of all tokens.
    fn attend(
        self,
        isa: Isa,
        [q, k, v]: [Rows<'_>; 3],
        cu_seqlens: &[usize],
        rows: Range<usize>,
        scratch: &mut AttentionScratch,
        mut dst: RowsMut<'_>,
    ) {
        for bounds in cu_seqlens.windows(2) {
            let own = bounds[0].max(rows.start)..bounds[1].min(rows.end);
            if own.is_empty() {
                continue;
            }
            let [k, v] = [k, v].map(|all| all.row_range(bounds[0]..bounds[1]));
            let own = own.start - rows.start..own.end - rows.start;
            attention(isa, [q.row_range(own.clone()), k, v], self.heads, scratch, dst.row_range(own));
        }
    }
}

/// Query, key and value projections of a layer.
fn find_qkv(
    weights: &Weights,
    names: &Names,
    config: &Config,
    isa: Isa,
    i: usize,
) -> Result<[EncoderLinear; 3]> {
    let find = |part| {
        let prefix = names.layer(i, &format!("attention.self.{part}"));
        EncoderLinear::find(weights, isa, prefix, config.hidden, config.hidden)
    };
    Ok([find("query")?, find("key")?, find("value")?])
}

impl Layer {
    pub(crate) fn load(
        weights: &Weights,
        names: &Names,
        config: &Config,
        packing: Packing,
        i: usize,
    ) -> Result<Self> {
        let Packing { isa, panels } = packing;
        let qkv = find_qkv(weights, names, config, isa, i)?;
        let parts = qkv.each_ref();
        let bias = parts.map(|part| &*part.bias).concat();
        let product = Product {
            name: &names.layer(i, QKV),
            shape: [bias.len(), config.hidden],
            parts: &parts,
            biases: &[&bias],
        };
        let pack = |matrices: &[StoredMatrix<'_>]| {
            let parts: Vec<_> =
                matrices.iter().zip(parts).map(|(&matrix, part)| (matrix, &*part.bias)).collect();
            vec![PackedWeights::pack(isa, panels, &parts)]
        };
        Ok(Self {
            qkv: one(product.load(weights, packing, pack)?),
            tail: Tail::load(weights, names, config, packing, i)?,
        })
    }

    /// `ws.hidden` in, `ws.hidden` out, for all tokens of the chunk, by as many workers as it is given.
    ///
    /// Attention needs the keys and values of a whole sequence; all else goes row by row. So there are two steps, and
    /// in each a worker keeps its rows. With few rows the weights are most of what a core must read, and a worker had
    /// better read its own columns of them only. For what follows attention that takes more steps, as each needs whole
    /// rows of the one before.
    pub(crate) fn forward(&self, isa: Isa, shape: HeadShape, ws: &mut Workspace, workers: usize) {
        let output_bytes = self.qkv.bytes() / self.qkv.n();
        let rows = ws.hidden.view().rows();
        let few = |bytes_for_a_row| workers > 1 && rows * bytes_for_a_row < workers * output_bytes;
        let panel_heads = shape.panel_heads().filter(|_| few(HEADS_BYTES_FOR_A_ROW));
        match panel_heads {
            Some(panel_heads) => self.attend_by_heads(isa, shape, panel_heads, ws, workers),
            None => self.project_by_rows(isa, shape, ws, workers),
        }
        let Workspace { cu_seqlens, hidden, qkv, context, scratches, .. } = ws;
        let scratches = &mut scratches[..workers];
        let fine = shape.fine_rows(cu_seqlens);
        if panel_heads.is_some() && few(BYTES_FOR_A_ROW) {
            let context = LhsRows { rows: context.view(), fine };
            return self.tail.forward(isa, context, hidden.view_mut(), scratches);
        }
        let width = shape.width() / shape.slot_values;
        let [q, k, v] = [0, 1, 2].map(|part| qkv.view().column_range(part * width..(part + 1) * width));
        let dst = [context.view_mut(), hidden.view_mut()];
        fork_rows(0..rows, dst, scratches, &|rows, [mut context, hidden], scratch| {
            if panel_heads.is_none() {
                let qkv = [q.row_range(rows.clone()), k, v];
                shape.attend(isa, qkv, cu_seqlens, rows.clone(), &mut scratch.attention, context.reborrow());
            }
            let context = LhsRows { rows: context.as_rows(), fine: fine.row_range(rows) };
            self.tail.forward(isa, context, hidden, from_mut(scratch));
        });
    }

    /// `ws.hidden` in, `ws.qkv` out.
    fn project_by_rows(&self, isa: Isa, shape: HeadShape, ws: &mut Workspace, workers: usize) {
        let Workspace { cu_seqlens, hidden, qkv, scratches, .. } = ws;
        let x = LhsRows { rows: hidden.view(), fine: shape.fine_rows(cu_seqlens) };
        let dst = [qkv.view_mut()];
        fork_rows(0..x.rows.rows(), dst, &mut scratches[..workers], &|rows, [qkv], scratch| {
            linear(isa, x.row_range(rows), &self.qkv, Epilogue::Bias, &mut scratch.linear, qkv);
        });
    }

    /// `ws.hidden` in, `ws.context` out. Here a worker needs the keys and values of its own heads only.
    fn attend_by_heads(
        &self,
        isa: Isa,
        shape: HeadShape,
        panel_heads: usize,
        ws: &mut Workspace,
        workers: usize,
    ) {
        let Workspace { cu_seqlens, hidden, qkv, context, scratches, .. } = ws;
        let scratches = &mut scratches[..workers];
        let x = LhsRows { rows: hidden.view(), fine: shape.fine_rows(cu_seqlens) };
        let width = panel_heads * shape.heads.dim;
        let [all, own] = [shape.width(), width].map(|columns| columns / shape.slot_values);
        let (q, kv) = qkv.view_mut().split_columns(all);
        let (k, v) = kv.split_columns(all);
        let dst = [q, k, v, context.view_mut()];
        let widths = [own, own, own, width];
        fork_columns(shape.count / panel_heads, widths, dst, scratches, &|units, dst, scratch| {
            let columns = units.start * width..units.end * width;
            let [q, k, v, context] = dst;
            let part =
                |i| self.qkv.columns(i * shape.width() + columns.start..i * shape.width() + columns.end);
            let mut parts = [(part(0), q), (part(1), k), (part(2), v)];
            linear_parts(isa, x, &mut parts, Epilogue::Bias, &mut scratch.linear);
            let qkv = parts.each_ref().map(|(_, dst)| dst.as_rows());
            shape.attend(isa, qkv, cu_seqlens, 0..x.rows.rows(), &mut scratch.attention, context);
        });
    }

    /// All products, by name.
    pub(crate) fn products(&self) -> Vec<(&'static str, &[PackedWeights])> {
        [vec![(QKV, from_ref(&self.qkv))], self.tail.products()].concat()
    }
}

impl LastLayer {
    pub(crate) fn load(
        weights: &Weights,
        names: &Names,
        config: &Config,
        packing: Packing,
        i: usize,
    ) -> Result<Self> {
        let Packing { isa, panels } = packing;
        let transposed = packing.transposed();
        let [query, key, value] = find_qkv(weights, names, config, isa, i)?;
        let rows = |h: usize| h * config.head_dim()..(h + 1) * config.head_dim();
        // The softmax does not see it, so a NaN in it would be lost where every other one reaches the logit.
        if let Some(value) = key.bias.iter().find(|value| !value.is_finite()) {
            return Err(Error::Tensor {
                file: weights.name().to_owned(),
                tensor: names.layer(i, "attention.self.key.bias"),
                expected: "finite values".into(),
                found: value.to_string(),
            });
        }
        let (hidden, head_dim, heads) = (config.hidden, config.head_dim(), config.heads);
        let fold = Product {
            name: &names.layer(i, FOLD),
            shape: [hidden, head_dim],
            parts: &[&key],
            biases: &vec![&[][..]; heads],
        };
        let pack_fold = |matrices: &[StoredMatrix<'_>]| {
            (0..heads)
                .map(|h| PackedWeights::pack_transposed(isa, transposed.panels, matrices[0], rows(h)))
                .collect()
        };
        let biases: Vec<&[f32]> = (0..heads).map(|h| &value.bias[rows(h)]).collect();
        let values = Product {
            name: &names.layer(i, VALUES),
            shape: [head_dim, hidden],
            parts: &[&value],
            biases: &biases,
        };
        let pack_values = |matrices: &[StoredMatrix<'_>]| {
            let head = |h| (matrices[0].row_range(rows(h)), biases[h]);
            (0..heads).map(|h| PackedWeights::pack(isa, panels, &[head(h)])).collect()
        };
        Ok(Self {
            query: query.load(weights, packing, hidden)?,
            fold: fold.load(weights, transposed, pack_fold)?,
            values: values.load(weights, packing, pack_values)?,
            tail: Tail::load(weights, names, config, packing, i)?,
        })
    }

    /// `ws.hidden` in, `ws.cls.hidden` out, a row a sequence. There are few rows: workers share the heads and the
    /// columns.
    pub(crate) fn forward(&self, isa: Isa, shape: HeadShape, ws: &mut Workspace, workers: usize) {
        let HeadShape { count: heads, heads: Heads { dim: head_dim, scale, .. }, .. } = shape;
        let hidden = shape.width();
        let sequences = ws.cu_seqlens.len() - 1;
        let (cls, scratches) = (&mut ws.cls, &mut ws.scratches[..workers]);
        cls.set_sequences(sequences);
        let x = ws.hidden.view();
        copy_cls_rows(x, &ws.cu_seqlens, cls.hidden.view_mut());
        let fine = shape.fine_cls(&cls.numbers[..sequences]);
        let cls_rows = LhsRows { rows: cls.hidden.view(), fine };
        let panel_heads = shape.panel_heads().unwrap_or(heads);
        let [narrow, wide] = [head_dim, hidden].map(|width| panel_heads * width);
        let dst = [&mut cls.query, &mut cls.folded, &mut cls.gathered, &mut cls.context];
        let dst = dst.map(|matrix| matrix.view_mut());
        fork_columns(
            heads / panel_heads,
            [narrow, wide, wide, narrow],
            dst,
            scratches,
            &|units, dst, scratch| {
                let [mut query, mut folded, mut gathered, mut context] = dst;
                let own = units.start * panel_heads..units.end * panel_heads;
                let weights = self.query.columns(own.start * head_dim..own.end * head_dim);
                linear(isa, cls_rows, weights, Epilogue::Bias, &mut scratch.linear, query.reborrow());
                for (h, fold) in self.fold[own.clone()].iter().enumerate() {
                    let query = query.as_rows().column_range(h * head_dim..(h + 1) * head_dim);
                    let dst = folded.column_range(h * hidden..(h + 1) * hidden);
                    linear(isa, query, fold, Epilogue::Bias, &mut scratch.linear, dst);
                }
                for (s, bounds) in ws.cu_seqlens.windows(2).enumerate() {
                    // A row of heads * hidden is a matrix of heads x hidden.
                    let queries = Rows::new(folded.as_rows().row(s), own.len(), hidden, hidden);
                    let dst = RowsMut::new(gathered.row_mut(s), own.len(), hidden, hidden);
                    let x = x.row_range(bounds[0]..bounds[1]);
                    cls_attention(isa, queries, x, scale, &mut scratch.attention, dst);
                }
                for (h, value) in self.values[own.clone()].iter().enumerate() {
                    let gathered = gathered.as_rows().column_range(h * hidden..(h + 1) * hidden);
                    let gathered = LhsRows { rows: gathered, fine };
                    let dst = context.column_range(h * head_dim..(h + 1) * head_dim);
                    linear(isa, gathered, value, Epilogue::Bias, &mut scratch.linear, dst);
                }
            },
        );
        let context = LhsRows { rows: cls.context.view(), fine };
        self.tail.forward(isa, context, cls.hidden.view_mut(), scratches);
    }

    /// All products, by name; those of the heads are one by one.
    pub(crate) fn products(&self) -> Vec<(&'static str, &[PackedWeights])> {
        let own = vec![(QUERY, from_ref(&self.query)), (FOLD, &self.fold[..]), (VALUES, &self.values[..])];
        [own, self.tail.products()].concat()
    }
}

/// The first row of each sequence.
fn copy_cls_rows(x: Rows<'_>, cu_seqlens: &[usize], mut dst: RowsMut<'_>) {
    for (s, bounds) in cu_seqlens.windows(2).enumerate() {
        dst.row_mut(s).copy_from_slice(x.row(bounds[0]));
    }
}

impl Tail {
    fn load(weights: &Weights, names: &Names, config: &Config, packing: Packing, i: usize) -> Result<Self> {
        let isa = packing.isa;
        let &Config { hidden, intermediate, layer_norm_eps: eps, .. } = config;
        let load = |part, n, k| {
            EncoderLinear::find(weights, isa, names.layer(i, part), n, k)?.load(weights, packing, k)
        };
        let norm = |part| weights.residual_norm(isa, &names.layer(i, part), hidden, eps);
        Ok(Self {
            output: load(OUTPUT, hidden, hidden)?,
            output_norm: norm(OUTPUT_NORM)?,
            up: load(UP, intermediate, hidden)?,
            hidden_act: config.hidden_act,
            down: load(DOWN, hidden, intermediate)?,
            down_norm: norm(DOWN_NORM)?,
        })
    }

    /// hidden = norm(output(context) + hidden), then hidden = norm(down(act(up(hidden))) + hidden), block by block of
    /// rows, the same of which are fine all the way. Each of `scratches` is a worker with its own columns of the
    /// weights.
    fn forward(&self, isa: Isa, context: LhsRows<'_>, mut hidden: RowsMut<'_>, scratches: &mut [Scratch]) {
        // All write it, so it is taken out of the scratches that are shared out among them.
        let mut inner = std::mem::take(&mut scratches[0].inner);
        for block in row_blocks(isa, context.rows.rows(), context.fine) {
            inner.set_rows(block.len());
            let mut hidden = hidden.row_range(block.clone());
            let context = context.row_range(block);
            let fine = context.fine;
            let epilogue = Epilogue::ResidualNorm(&self.output_norm);
            linear_by_columns(isa, context, &self.output, epilogue, scratches, hidden.reborrow());
            let epilogue = Epilogue::Activation(self.hidden_act);
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

    fn products(&self) -> Vec<(&'static str, &[PackedWeights])> {
        [(OUTPUT, &self.output), (UP, &self.up), (DOWN, &self.down)]
            .map(|(name, one)| (name, from_ref(one)))
            .into()
    }
}
