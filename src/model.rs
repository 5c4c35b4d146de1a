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
mod loading;
mod product;
mod relative;
#[cfg(test)]
mod tests;
mod workspace;

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;

use crossrank_kernels::{Isa, PackedWeights, PanelDtype};

pub use calibration::{Input, NewLinear, Reading, SourceTensor, TensorUse, Untreated};
pub(crate) use linear::Packing;
pub(crate) use workspace::{ChunkSize, Scratch, Workspace};

use crate::checkpoint::names::Names;
use crate::checkpoint::packed;
use crate::checkpoint::roles::Roles;
use crate::checkpoint::tensors::{Dtype, Weights};
use crate::error::{Error, Result};
use crate::family::Description;
use crate::tokenized::Tokenized;
use crate::workers::Threads;
use attention::HeadShape;
use embeddings::Embeddings;
use encoder::Encoder;
use head::Head;
use loading::Loading;
use relative::RelativePositions;
use workspace::Widths;

/// The network of a description, packed for one instruction set.
pub(crate) struct Model {
    isa: Isa,
    packing: Packing,
    description: Description,
    names: Names,
    weights: Weights,
    embeddings: Embeddings,
    /// Of each layer.
    relative: Vec<Arc<RelativePositions>>,
    encoder: Encoder,
    head: Head,
}

/// Who shares a chunk.
pub(crate) trait Crew {
    /// Asked before each layer: the workers that share it, at least one, by what each needs for itself. The memory is
    /// ready for the chunk.
    fn gather(&mut self) -> &mut [Scratch];
}

/// How weights are packed as the checkpoint holds them: in int8 where layers have such tensors, else in f32.
pub(crate) fn dtype_in_checkpoint(roles: Roles<'_>, description: &Description) -> PanelDtype {
    let mut dtypes = description.linears().map(|linear| roles.dtype(&format!("{linear}.weight")));
    if dtypes.any(|dtype| dtype == Some(Dtype::I8)) { PanelDtype::Int8 } else { PanelDtype::F32 }
}

impl Model {
    /// Checks every tensor against the description and packs the Linear weights, layer by layer, on `threads`. No
    /// sequence will be longer than `most_tokens`.
    pub(crate) fn load(
        (description, names): (Description, Names),
        weights: Weights,
        packing: Packing,
        most_tokens: usize,
        threads: &Threads,
    ) -> Result<Self> {
        let isa = packing.isa;
        let roles = Roles { weights: &weights, names: &names };
        let loading = Loading { roles, description: &description, packing };
        let head = Head::load(loading)?;
        let embeddings = Embeddings::find(loading)?;
        let relative = RelativePositions::load(loading, most_tokens)?;
        let encoder = Encoder::load(loading, threads)?;
        // What else there is in layers would take part in them, if it were known.
        if let Some(tensor) = weights.ignored(&names).into_iter().find(|name| names.is_of_layer(name)) {
            return Err(Error::Tensor {
                file: weights.name().to_owned(),
                tensor,
                expected: names.expected_layers.clone(),
                found: "another part of a layer".into(),
            });
        }
        Ok(Self { isa, packing, description, names, weights, embeddings, relative, encoder, head })
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
        let (mut all, mut shared) = (self.head.bytes() + self.embeddings.bytes(), 0);
        for (_, products) in self.products() {
            for product in products {
                all += product.bytes();
                shared += product.shared_bytes();
            }
        }
        (all, shared)
    }

    /// Writes a packed checkpoint.
    pub(crate) fn write_packed(&self, out: &mut dyn Write) -> Result<()> {
        let products = self.products();
        let roles = Roles { weights: &self.weights, names: &self.names };
        let linears: BTreeSet<String> = self.description.linears().collect();
        serde_json::to_string(&self.description)
            .map_err(std::io::Error::from)
            .and_then(|description| {
                packed::write(roles, &description, &linears, self.packing.panels, &products, out)
            })
            .map_err(|source| Error::Write { source })
    }

    /// Packed weights, by the role of the product.
    fn products(&self) -> Vec<(String, &[PackedWeights])> {
        self.encoder.products(|i| self.description.layers[i].weights)
    }

    pub(crate) fn workspace(&self) -> Workspace {
        Workspace::new(&self.description, self.packing)
    }

    /// For one more worker to share a chunk.
    pub(crate) fn scratch(&self) -> Scratch {
        Scratch::new(&self.description, self.packing)
    }

    pub(crate) fn reserve_scratch(&self, scratch: &mut Scratch, size: ChunkSize) {
        scratch.reserve(size, Widths::new(&self.description, self.packing));
    }

    /// Takes the sequences of one chunk through the network and writes their logits, labels side by side. `ws` is ready
    /// for the chunk.
    ///
    /// The ids have been checked against the model's tables and its window.
    pub(crate) fn forward(
        &self,
        chunk: &[Tokenized],
        ws: &mut Workspace,
        crew: &mut impl Crew,
        logits: &mut [f32],
    ) {
        self.embed(chunk, ws, crew.gather());
        for i in 0..self.encoder.layers.len() {
            self.layer(i, ws, crew.gather());
        }
        let scratches = crew.gather();
        self.finish(ws, scratches);
        self.head.forward(self.isa, &mut ws.cls, scratches);
        let rows = ws.cls.logits.view();
        for (s, logits) in logits.chunks_exact_mut(self.labels()).enumerate() {
            logits.copy_from_slice(rows.row(s));
        }
    }

    fn embed(&self, chunk: &[Tokenized], ws: &mut Workspace, scratches: &mut [Scratch]) {
        ws.set_sequences(chunk);
        let Workspace { cu_seqlens, places, hidden, .. } = ws;
        let mut hidden = hidden.view_mut();
        for (sequence, bounds) in chunk.iter().zip(cu_seqlens.windows(2)) {
            let rows = hidden.row_range(bounds[0]..bounds[1]);
            self.embeddings.embed(self.isa, &self.weights, sequence, places, &mut scratches[0], rows);
        }
    }

    fn layer(&self, i: usize, ws: &mut Workspace, scratches: &mut [Scratch]) {
        self.encoder.layers[i].forward(self.isa, self.heads(i), ws, scratches);
    }

    /// From what leaves the layers that are computed for all tokens to a row a sequence.
    fn finish(&self, ws: &mut Workspace, scratches: &mut [Scratch]) {
        self.encoder.finish(self.isa, self.heads(self.description.layers.len() - 1), ws, scratches);
    }

    fn heads(&self, layer: usize) -> HeadShape<'_> {
        let attention = &self.description.layers[layer].attention;
        HeadShape::new(attention, self.description.pooling, self.packing, &self.relative[layer])
    }
}
