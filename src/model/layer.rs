//! The encoder layers: attention and feed-forward, each followed by its residual and norm.

use crossrank_kernels::{
    Activation, Epilogue, Isa, LayerNorm, Matrix, PackedWeights, Rows, RowsMut, attention, cls_attention,
    linear,
};

use super::linear::{LinearTensors, Packing};
use super::names::Names;
use super::workspace::{Workspace, inner_rows};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::fork::fork_rows;
use crate::weights::Weights;

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

/// Sizes that attention needs.
#[derive(Clone, Copy)]
pub(crate) struct HeadShape {
    heads: usize,
    head_dim: usize,
    /// 1 / sqrt(head_dim)
    scale: f32,
}

impl HeadShape {
    pub(crate) fn new(config: &Config) -> Self {
        let head_dim = config.head_dim();
        Self { heads: config.heads, head_dim, scale: 1.0 / (head_dim as f32).sqrt() }
    }
}

/// Query, key and value projections of a layer.
fn find_qkv(
    weights: &Weights,
    names: &Names,
    config: &Config,
    isa: Isa,
    i: usize,
) -> Result<[LinearTensors; 3]> {
    let find = |part| {
        let prefix = names.layer(i, &format!("attention.self.{part}"));
        LinearTensors::find(weights, isa, &prefix, config.hidden, config.hidden)
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
        let Packing { isa, dtype } = packing;
        let qkv = find_qkv(weights, names, config, isa, i)?;
        let parts = qkv.each_ref().map(|part| (weights.matrix(&part.weight), &*part.bias));
        Ok(Self {
            qkv: PackedWeights::pack(isa, dtype, &parts),
            tail: Tail::load(weights, names, config, packing, i)?,
        })
    }

    /// `ws.hidden` in, `ws.hidden` out, for all tokens of the chunk, by as many workers as it is given.
    ///
    /// Attention needs the keys and values of a whole sequence; all else goes row by row. So there are two steps, and
    /// in each a worker keeps its rows.
    pub(crate) fn forward(&self, isa: Isa, shape: HeadShape, ws: &mut Workspace, workers: usize) {
        let Workspace { cu_seqlens, hidden, qkv, context, attended, scratches, .. } = ws;
        let (x, scratches) = (hidden.view(), &mut scratches[..workers]);
        let tokens = 0..x.rows();
        fork_rows(tokens.clone(), [qkv.view_mut()], scratches, &|rows, [qkv], _| {
            linear(isa, x.row_range(rows), &self.qkv, Epilogue::Bias, qkv);
        });

        let qkv = qkv.view();
        let width = shape.heads * shape.head_dim;
        let [q, k, v] = [0, 1, 2].map(|part| qkv.column_range(part * width..(part + 1) * width));
        let dst = [context.view_mut(), attended.view_mut(), hidden.view_mut()];
        fork_rows(tokens, dst, scratches, &|rows, [mut context, mut attended, hidden], scratch| {
            for bounds in cu_seqlens.windows(2) {
                let own = bounds[0].max(rows.start)..bounds[1].min(rows.end);
                if own.is_empty() {
                    continue;
                }
                let sequence = bounds[0]..bounds[1];
                let qkv = [q.row_range(own.clone()), k.row_range(sequence.clone()), v.row_range(sequence)];
                let dst = context.row_range(own.start - rows.start..own.end - rows.start);
                attention(isa, qkv, shape.head_dim, shape.scale, &mut scratch.attention, dst);
            }
            self.tail.attend(isa, context.as_rows(), hidden.as_rows(), attended.reborrow());
            self.tail.feed_forward(isa, attended.as_rows(), &mut scratch.inner, hidden);
        });
    }

    pub(crate) fn bytes(&self) -> usize {
        self.qkv.bytes() + self.tail.bytes()
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
        let Packing { isa, dtype } = packing;
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
        let key = weights.matrix(&key.weight);
        let fold = (0..config.heads).map(|h| PackedWeights::pack_transposed(isa, dtype, key, rows(h)));
        let value_weight = weights.matrix(&value.weight);
        let values = (0..config.heads).map(|h| {
            PackedWeights::pack(isa, dtype, &[(value_weight.row_range(rows(h)), &value.bias[rows(h)])])
        });
        Ok(Self {
            query: query.pack(packing, weights),
            fold: fold.collect(),
            values: values.collect(),
            tail: Tail::load(weights, names, config, packing, i)?,
        })
    }

    /// `ws.hidden` in, `ws.cls.hidden` out, a row a sequence.
    pub(crate) fn forward(&self, isa: Isa, shape: HeadShape, ws: &mut Workspace) {
        let HeadShape { heads, head_dim, scale } = shape;
        let hidden = heads * head_dim;
        let sequences = ws.cu_seqlens.len() - 1;
        let (cls, scratch) = (&mut ws.cls, &mut ws.scratches[0]);
        cls.set_sequences(sequences);
        let x = ws.hidden.view();
        for (s, &start) in ws.cu_seqlens[..sequences].iter().enumerate() {
            cls.hidden.view_mut().row_mut(s).copy_from_slice(x.row(start));
        }
        linear(isa, cls.hidden.view(), &self.query, Epilogue::Bias, cls.query.view_mut());
        for (h, fold) in self.fold.iter().enumerate() {
            let query = cls.query.view().column_range(h * head_dim..(h + 1) * head_dim);
            let mut folded = cls.folded.view_mut();
            linear(isa, query, fold, Epilogue::Bias, folded.column_range(h * hidden..(h + 1) * hidden));
        }
        for (s, bounds) in ws.cu_seqlens.windows(2).enumerate() {
            // A row of heads * hidden is a matrix of heads x hidden.
            let queries = Rows::new(cls.folded.view().row(s), heads, hidden, hidden);
            let mut gathered = cls.gathered.view_mut();
            let dst = RowsMut::new(gathered.row_mut(s), heads, hidden, hidden);
            cls_attention(
                isa,
                queries,
                x.row_range(bounds[0]..bounds[1]),
                scale,
                &mut scratch.attention,
                dst,
            );
        }
        for (h, value) in self.values.iter().enumerate() {
            let gathered = cls.gathered.view().column_range(h * hidden..(h + 1) * hidden);
            let mut context = cls.context.view_mut();
            let dst = context.column_range(h * head_dim..(h + 1) * head_dim);
            linear(isa, gathered, value, Epilogue::Bias, dst);
        }
        self.tail.attend(isa, cls.context.view(), cls.hidden.view(), cls.attended.view_mut());
        self.tail.feed_forward(isa, cls.attended.view(), &mut scratch.inner, cls.hidden.view_mut());
    }

    pub(crate) fn bytes(&self) -> usize {
        let heads = self.fold.iter().chain(&self.values).map(PackedWeights::bytes).sum::<usize>();
        self.query.bytes() + heads + self.tail.bytes()
    }
}

impl Tail {
    fn load(weights: &Weights, names: &Names, config: &Config, packing: Packing, i: usize) -> Result<Self> {
        let isa = packing.isa;
        let &Config { hidden, intermediate, layer_norm_eps: eps, .. } = config;
        let find = |part, n, k| LinearTensors::find(weights, isa, &names.layer(i, part), n, k);
        let norm = |part| weights.layer_norm(isa, &names.layer(i, part), hidden, eps);
        Ok(Self {
            output: find("attention.output.dense", hidden, hidden)?.pack(packing, weights),
            output_norm: norm("attention.output.LayerNorm")?,
            up: find("intermediate.dense", intermediate, hidden)?.pack(packing, weights),
            hidden_act: config.hidden_act,
            down: find("output.dense", hidden, intermediate)?.pack(packing, weights),
            down_norm: norm("output.LayerNorm")?,
        })
    }

    /// attended = norm(output(context) + residual)
    fn attend(&self, isa: Isa, context: Rows<'_>, residual: Rows<'_>, attended: RowsMut<'_>) {
        let epilogue = Epilogue::ResidualNorm { residual, norm: &self.output_norm };
        linear(isa, context, &self.output, epilogue, attended);
    }

    /// dst = norm(down(act(up(x))) + x)
    fn feed_forward(&self, isa: Isa, x: Rows<'_>, inner: &mut Matrix, mut dst: RowsMut<'_>) {
        let block = inner_rows(self.up.n());
        for start in (0..x.rows()).step_by(block) {
            let rows = start..x.rows().min(start + block);
            let x = x.row_range(rows.clone());
            inner.set_rows(x.rows());
            linear(isa, x, &self.up, Epilogue::Activation(self.hidden_act), inner.view_mut());
            let epilogue = Epilogue::ResidualNorm { residual: x, norm: &self.down_norm };
            linear(isa, inner.view(), &self.down, epilogue, dst.row_range(rows));
        }
    }

    fn bytes(&self) -> usize {
        self.output.bytes() + self.up.bytes() + self.down.bytes()
    }
}
