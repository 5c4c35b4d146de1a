//! The encoder's layers, each packed on a thread of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use crossrank_kernels::{Isa, LayerNorm, PackedWeights, mean};

use super::attention::{Attention, HeadShape};
use super::feed_forward::FeedForward;
use super::last_layer::{FirstToken, FirstTokenAttention};
use super::layer::Layer;
use super::loading::Loading;
use super::workspace::{Scratch, Workspace};
use crate::checkpoint::packed::panels_name;
use crate::error::Result;
use crate::family::description::LastForm;
use crate::family::roles::{FINAL_NORM, role};
use crate::workers::Threads;
use crate::workers::fork::fork_rows;

pub(super) struct Encoder {
    /// Those that are computed for all tokens.
    pub(super) layers: Vec<Layer>,
    pub(super) last: Last,
    /// What normalises the states that leave the last layer.
    final_norm: Option<LayerNorm>,
}

/// How states become one a sequence.
pub(super) enum Last {
    /// By one more layer, which is computed for the first token alone.
    First(Box<FirstToken>),
    /// By the mean of what leaves the last layer.
    Mean,
}

/// What one thread loads.
enum Loaded {
    Ordinary(Arc<Attention>, Arc<FeedForward>),
    First(Box<FirstTokenAttention>, Option<Arc<FeedForward>>),
}

impl Encoder {
    pub(super) fn load(loading: Loading<'_>, threads: &Threads) -> Result<Self> {
        let description = loading.description;
        let count = description.layers.len();
        let ordinary = match description.last_form() {
            LastForm::Ordinary => count,
            LastForm::Collapsed | LastForm::ValuesOnly => count - 1,
        };
        let owner = |i: usize| description.layers[i].weights;
        let owners: Vec<usize> = (0..ordinary).filter(|&i| owner(i) == i).collect();
        // The last layer is of another kind, and is packed in parallel with the others.
        let loaded = threads.map(owners.len() + count - ordinary, |n| match owners.get(n) {
            Some(&i) => {
                let feed_forward = FeedForward::load(loading, i)?;
                Ok(Loaded::Ordinary(Arc::new(Attention::load(loading, i)?), Arc::new(feed_forward)))
            }
            None => {
                let own = owner(ordinary) == ordinary;
                let feed_forward =
                    own.then(|| FeedForward::load(loading, ordinary)).transpose()?.map(Arc::new);
                Ok(Loaded::First(Box::new(FirstTokenAttention::load(loading, ordinary)?), feed_forward))
            }
        });
        let mut of_owner = BTreeMap::new();
        let mut first = None;
        let mut owners = owners.into_iter();
        for loaded in loaded.into_iter().collect::<Result<Vec<_>>>()? {
            match loaded {
                Loaded::Ordinary(attention, feed_forward) => {
                    owners.next().map(|owner| of_owner.insert(owner, (attention, feed_forward)));
                }
                Loaded::First(attention, feed_forward) => first = Some((attention, feed_forward)),
            }
        }
        let layers = (0..ordinary).map(|i| {
            let (attention, feed_forward) = of_owner[&owner(i)].clone();
            Layer { attention, feed_forward }
        });
        let layers: Vec<Layer> = layers.collect();
        let last = match first {
            None => Last::Mean,
            Some((attention, feed_forward)) => {
                let feed_forward = feed_forward.unwrap_or_else(|| of_owner[&owner(ordinary)].1.clone());
                Last::First(Box::new(FirstToken::new(*attention, feed_forward)))
            }
        };
        let norm = |norm| loading.norm(FINAL_NORM, description.hidden, norm);
        let final_norm = description.final_norm.map(norm).transpose()?;
        let encoder = Self { layers, last, final_norm };
        encoder.release_sources(loading);
        Ok(encoder)
    }

    /// Packs a layer that has weights of its own, and shares them with no other, once more.
    pub(super) fn load_layer_anew(&mut self, loading: Loading<'_>, i: usize) -> Result<()> {
        let feed_forward = Arc::new(FeedForward::load(loading, i)?);
        if let Some(place) = self.layers.get_mut(i) {
            *place = Layer { attention: Arc::new(Attention::load(loading, i)?), feed_forward };
        } else if let Last::First(place) = &mut self.last {
            **place = FirstToken::new(FirstTokenAttention::load(loading, i)?, feed_forward);
        }
        Ok(())
    }

    /// Gives the memory of what has been packed back once more: reading what lies beside it may have mapped it again.
    fn release_sources(&self, loading: Loading<'_>) {
        let Loading { roles, description, packing } = loading;
        match roles.weights.packed() {
            None => description.linears().for_each(|linear| roles.release(&format!("{linear}.weight"))),
            Some(held) if held != packing.panels => {
                description.products().for_each(|product| roles.release(&panels_name(&product)));
            }
            Some(_) => {}
        }
    }

    /// Packed weights, by the role of the product, each once. `owner` says whose weights a layer has.
    pub(super) fn products(&self, owner: impl Fn(usize) -> usize) -> Vec<(String, &[PackedWeights])> {
        let mut products = Vec::new();
        let mut add = |i: usize, own: Vec<(&'static str, _)>| {
            products.extend(own.into_iter().map(|(part, product)| (role(i, part), product)));
        };
        for (i, layer) in self.layers.iter().enumerate().filter(|&(i, _)| owner(i) == i) {
            add(i, layer.own_products());
            add(i, layer.feed_forward.products());
        }
        if let Last::First(layer) = &self.last {
            let i = self.layers.len();
            add(i, layer.own_products());
            if owner(i) == i {
                add(i, layer.feed_forward.products());
            }
        }
        products
    }

    /// `ws.hidden` in, `ws.cls.hidden` out, a row a sequence. `shape` is that of the last layer.
    pub(super) fn finish(
        &self,
        isa: Isa,
        shape: HeadShape<'_>,
        ws: &mut Workspace,
        scratches: &mut [Scratch],
    ) {
        let norm = self.final_norm.as_ref();
        match &self.last {
            Last::First(layer) => {
                layer.forward(isa, shape, ws, scratches);
                if let Some(norm) = norm {
                    norm.apply(isa, ws.cls.hidden.view_mut());
                }
            }
            Last::Mean => {
                let Workspace { cu_seqlens, hidden, cls, .. } = ws;
                let rows = 0..hidden.view().rows();
                if let Some(norm) = norm {
                    fork_rows(rows, [hidden.view_mut()], scratches, &|_, [dst], _| norm.apply(isa, dst));
                }
                cls.set_sequences(cu_seqlens.len() - 1);
                for (s, bounds) in cu_seqlens.windows(2).enumerate() {
                    let tokens = hidden.view().row_range(bounds[0]..bounds[1]);
                    mean(tokens, cls.hidden.view_mut().row_mut(s));
                }
            }
        }
    }
}
