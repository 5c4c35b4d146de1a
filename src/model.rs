//! The network: token ids in, logits out.

mod attention;
mod calibration;
mod embeddings;
mod encoder;
mod feed_forward;
mod head;
mod last_layer;
mod layer;
mod linear;
mod product;
#[cfg(test)]
mod tests;
mod workspace;

use std::collections::BTreeSet;
use std::io::Write;

use crossrank_kernels::{Isa, PanelDtype};

pub use calibration::{Input, NewLinear, Reading, SourceTensor, TensorUse, Untreated};
pub(crate) use linear::Packing;
pub(crate) use workspace::{ChunkSize, Scratch, Workspace};

use crate::checkpoint::names::Names;
use crate::checkpoint::packed;
use crate::checkpoint::roles::Roles;
use crate::checkpoint::tensors::{Dtype, Weights};
use crate::error::{Error, Result};
use crate::family::Description;
use crate::schedule::threads::Threads;
use crate::tokenized::Tokenized;
use attention::HeadShape;
use embeddings::Embeddings;
use encoder::Encoder;
use head::Head;
use workspace::Widths;

/// The network of a description, packed for one instruction set.
pub(crate) struct Model {
    isa: Isa,
    packing: Packing,
    description: Description,
    names: Names,
    weights: Weights,
    embeddings: Embeddings,
    encoder: Encoder,
    head: Head,
}

/// How weights are packed as the checkpoint holds them: in int8 where layers have such tensors, else in f32.
pub(crate) fn dtype_in_checkpoint(roles: Roles<'_>, description: &Description) -> PanelDtype {
    let mut dtypes = description.linears().map(|linear| roles.dtype(&format!("{linear}.weight")));
    if dtypes.any(|dtype| dtype == Some(Dtype::I8)) { PanelDtype::Int8 } else { PanelDtype::F32 }
}

impl Model {
    /// Checks every tensor against the description and packs the Linear weights, layer by layer, on `threads`.
    pub(crate) fn load(
        (description, names): (Description, Names),
        weights: Weights,
        packing: Packing,
        threads: &Threads,
    ) -> Result<Self> {
        let isa = packing.isa;
        let roles = Roles { weights: &weights, names: &names };
        let head = Head::load(roles, &description, isa)?;
        let embeddings = Embeddings::find(roles, &description, isa)?;
        let encoder = Encoder::load(roles, &description, packing, threads)?;
        // What else there is in layers would take part in them, if it were known.
        if let Some(tensor) = weights.ignored(&names).into_iter().find(|name| names.is_of_layer(name)) {
            return Err(Error::Tensor {
                file: weights.name().to_owned(),
                tensor,
                expected: names.expected_layers.clone(),
                found: "another part of a layer".into(),
            });
        }
        Ok(Self { isa, packing, description, names, weights, embeddings, encoder, head })
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn packing(&self) -> Packing {
        self.packing
    }

    pub(crate) fn description(&self) -> &Description {
        &self.description
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Tensors of the checkpoint that the model does not use.
    pub(crate) fn ignored(&self) -> Vec<String> {
        self.weights.ignored(&self.names)
    }

    pub(crate) fn labels(&self) -> usize {
        self.description.labels()
    }

    /// Memory of the packed weights, and how much of it is the checkpoint's own.
    pub(crate) fn packed_bytes(&self) -> (usize, usize) {
        let (mut all, mut shared) = (self.head.bytes(), 0);
        for (_, products) in self.encoder.products() {
            for product in products {
                all += product.bytes();
                shared += product.shared_bytes();
            }
        }
        (all, shared)
    }

    /// Writes a packed checkpoint.
    pub(crate) fn write_packed(&self, out: &mut dyn Write) -> Result<()> {
        let products = self.encoder.products();
        let roles = Roles { weights: &self.weights, names: &self.names };
        let linears: BTreeSet<String> = self.description.linears().collect();
        serde_json::to_string(&self.description)
            .map_err(std::io::Error::from)
            .and_then(|description| {
                packed::write(roles, &description, &linears, self.packing.panels, &products, out)
            })
            .map_err(|source| Error::Write { source })
    }

    pub(crate) fn workspace(&self) -> Workspace {
        Workspace::new(&self.description, self.widths())
    }

    /// For one more worker to share a chunk.
    pub(crate) fn scratch(&self) -> Scratch {
        Scratch::new(self.widths())
    }

    pub(crate) fn reserve_scratch(&self, scratch: &mut Scratch, size: ChunkSize) {
        scratch.reserve(size, self.widths());
    }

    fn widths(&self) -> Widths {
        Widths::new(&self.description, self.packing)
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

    fn embed(&self, chunk: &[Tokenized], ws: &mut Workspace) {
        ws.set_sequences(chunk);
        let mut hidden = ws.hidden.view_mut();
        for (sequence, bounds) in chunk.iter().zip(ws.cu_seqlens.windows(2)) {
            let rows = hidden.row_range(bounds[0]..bounds[1]);
            self.embeddings.embed(self.isa, &self.weights, sequence, rows);
        }
    }

    fn layer(&self, i: usize, ws: &mut Workspace, workers: usize) {
        self.encoder.layers[i].forward(self.isa, self.heads(i), ws, workers);
    }

    fn last_layer(&self, ws: &mut Workspace, workers: usize) {
        self.encoder.last.forward(self.isa, self.heads(self.encoder.layers.len()), ws, workers);
    }

    fn heads(&self, layer: usize) -> HeadShape {
        HeadShape::new(&self.description.layers[layer].attention, self.packing)
    }
}
