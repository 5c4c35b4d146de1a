//! The network: token ids in, logits out.

mod embeddings;
mod encoder;
mod head;
mod layer;
mod linear;
mod names;
mod product;
#[cfg(test)]
mod tests;
mod workspace;

use std::io::Write;

use crossrank_kernels::{Isa, Matrix, PanelDtype, Rows};

pub(crate) use linear::Packing;
pub(crate) use workspace::{ChunkSize, Scratch, Workspace};

use crate::checkpoint::packed;
use crate::checkpoint::tensors::{Dtype, Weights};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::observe::Reading;
use crate::schedule::threads::Threads;
use crate::tokenized::Tokenized;
use embeddings::Embeddings;
use encoder::Encoder;
use head::Head;
use layer::{DOWN, DOWN_NORM, HeadShape, KEY, OUTPUT_NORM, QUERY, UP};
use names::Names;
use workspace::Widths;

/// `BertForSequenceClassification`, packed for one instruction set.
pub(crate) struct Model {
    isa: Isa,
    packing: Packing,
    config: Config,
    names: Names,
    weights: Weights,
    embeddings: Embeddings,
    encoder: Encoder,
    head: Head,
}

/// How weights are packed as the checkpoint holds them: in int8 where layers have such tensors, else in f32.
pub(crate) fn held_dtype(weights: &Weights) -> Result<PanelDtype> {
    let names = Names::detect(weights)?;
    let mut tensors = weights.tensors();
    let int8 = tensors.any(|(name, dtype, _)| dtype == Dtype::I8 && names.is_of_layer(name));
    Ok(if int8 { PanelDtype::Int8 } else { PanelDtype::F32 })
}

impl Model {
    /// Checks every tensor against the config and packs the Linear weights, layer by layer, on `threads`.
    pub(crate) fn load(
        config: Config,
        weights: Weights,
        packing: Packing,
        threads: &Threads,
    ) -> Result<Self> {
        let isa = packing.isa;
        let names = Names::detect(&weights)?;
        let head = Head::load(&weights, &names, &config, isa)?;
        let embeddings = Embeddings::find(&weights, &names, &config, isa)?;
        // The config's number of layers is only believed when the checkpoint has them.
        for i in 0..config.layers {
            let name = names.layer(i, "output.dense");
            match weights.packed() {
                Some(_) => weights.require(&packed::panels_name(&name))?,
                None => weights.require(&format!("{name}.weight"))?,
            }
        }
        let encoder = Encoder::load(&config, &weights, &names, packing, threads)?;
        // What else there is in layers would take part in them, if it were known.
        if let Some(tensor) = weights.unused().into_iter().find(|tensor| names.is_of_layer(tensor)) {
            return Err(Error::Tensor {
                file: weights.name().to_owned(),
                tensor,
                expected: format!(
                    "only what BERT's layers have, of which num_hidden_layers says {}",
                    config.layers
                ),
                found: "another part of a layer".into(),
            });
        }
        Ok(Self { isa, packing, config, names, weights, embeddings, encoder, head })
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn packing(&self) -> Packing {
        self.packing
    }

    pub(crate) fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    pub(crate) fn labels(&self) -> usize {
        self.head.labels()
    }

    pub(crate) fn has_pooler(&self) -> bool {
        self.head.has_pooler()
    }

    /// Memory of the packed weights, and how much of it is the checkpoint's own.
    pub(crate) fn packed_bytes(&self) -> (usize, usize) {
        let (mut all, mut shared) = (self.head.bytes(), 0);
        for (_, products) in self.encoder.products(&self.names) {
            for product in products {
                all += product.bytes();
                shared += product.shared_bytes();
            }
        }
        (all, shared)
    }

    /// Writes a packed checkpoint.
    pub(crate) fn write_packed(&self, out: &mut dyn Write) -> Result<()> {
        let products = self.encoder.products(&self.names);
        packed::write(&self.weights, self.packing.panels, &products, out)
            .map_err(|source| Error::Write { source })
    }

    pub(crate) fn workspace(&self) -> Workspace {
        Workspace::new(&self.config, self.widths(), self.labels())
    }

    /// For one more worker to share a chunk.
    pub(crate) fn scratch(&self) -> Scratch {
        Scratch::new(self.widths())
    }

    pub(crate) fn reserve_scratch(&self, scratch: &mut Scratch, size: ChunkSize) {
        scratch.reserve(size, self.widths());
    }

    fn widths(&self) -> Widths {
        Widths::new(&self.config, self.packing)
    }

    /// Takes the sequences of one chunk through the network and writes their logits, labels side by side. Before each
    /// layer `workers` says how many share it, and has made `ws` ready for them.
    ///
    /// The ids have been checked against the model's tables and its window.
    pub(crate) fn forward(
        &self,
        chunk: &[Tokenized],
        ws: &mut Workspace,
        mut workers: impl FnMut(&mut Workspace) -> usize,
        logits: &mut [f32],
    ) {
        self.embed(chunk, ws);
        for i in 0..self.encoder.layers.len() {
            let workers = workers(ws);
            self.layer(i, ws, workers);
        }
        let workers = workers(ws);
        self.last_layer(ws, workers);
        self.head.forward(self.isa, &mut ws.cls, &mut ws.scratches[..workers]);
        let rows = ws.cls.logits.view();
        for (s, logits) in logits.chunks_exact_mut(self.labels()).enumerate() {
            logits.copy_from_slice(rows.row(s));
        }
    }

    /// What enters the first layer of one chunk.
    pub(crate) fn embed_pairs(&self, chunk: &[Tokenized]) -> Matrix {
        let mut ws = self.workspace();
        self.embed(chunk, &mut ws);
        ws.hidden
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
        ws.reserve(ChunkSize::of(chunk), 1);
        ws.set_sequences(chunk);
        assert_eq!(ws.cu_seqlens.last(), Some(&hidden.view().rows()), "a row a token");
        std::mem::swap(&mut ws.hidden, hidden);
        let shape = HeadShape::new(&self.config, self.packing);
        let mut observe = |parts: &[&str], rows: Rows<'_>, residual: Option<Rows<'_>>| {
            let linears: Vec<String> = parts.iter().map(|part| self.names.layer(layer, part)).collect();
            let norms = match parts {
                _ if layer == self.encoder.layers.len() => None,
                [QUERY, ..] if layer == 0 => {
                    Some([self.names.embeddings("LayerNorm"), self.names.layer(0, OUTPUT_NORM)])
                }
                [QUERY, ..] => {
                    Some([self.names.layer(layer - 1, DOWN_NORM), self.names.layer(layer, OUTPUT_NORM)])
                }
                [UP] => Some([OUTPUT_NORM, DOWN_NORM].map(|part| self.names.layer(layer, part))),
                _ => None,
            };
            let neurons_of = (parts == [DOWN]).then(|| self.names.layer(layer, UP));
            let (neurons_of, norms) = (neurons_of.as_deref(), norms.as_ref());
            let all_tokens = layer < self.encoder.layers.len() || parts.contains(&KEY);
            observer(Reading { linears: &linears, rows, all_tokens, residual, neurons_of, norms });
        };
        if let Some(layer) = self.encoder.layers.get(layer) {
            layer.observe(self.isa, shape, &mut ws, &mut observe);
            *hidden = ws.hidden;
            return;
        }
        assert_eq!(layer, self.encoder.layers.len(), "no such layer");
        self.encoder.last.observe(self.isa, shape, &mut ws, &mut observe);
        if self.head.has_pooler() {
            let (linears, rows) = (&[self.names.pooler()], ws.cls.hidden.view());
            let (all_tokens, residual, neurons_of, norms) = (false, None, None, None);
            observer(Reading { linears, rows, all_tokens, residual, neurons_of, norms });
        }
        *hidden = ws.cls.hidden;
    }

    fn embed(&self, chunk: &[Tokenized], ws: &mut Workspace) {
        ws.set_sequences(chunk);
        let mut hidden = ws.hidden.view_mut();
        for (sequence, bounds) in chunk.iter().zip(ws.cu_seqlens.windows(2)) {
            let rows = hidden.row_range(bounds[0]..bounds[1]);
            self.embeddings.embed(self.isa, &self.weights, sequence, rows);
        }
    }

    fn layer(&self, i: usize, ws: &mut Workspace, workers: usize) {
        self.encoder.layers[i].forward(self.isa, HeadShape::new(&self.config, self.packing), ws, workers);
    }

    fn last_layer(&self, ws: &mut Workspace, workers: usize) {
        self.encoder.last.forward(self.isa, HeadShape::new(&self.config, self.packing), ws, workers);
    }
}
