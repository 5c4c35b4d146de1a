//! The encoder's layers, each packed on a thread of its own.

use crossrank_kernels::PackedWeights;

use super::layer::{LastLayer, Layer};
use super::linear::Packing;
use super::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::config::Config;
use crate::error::Result;
use crate::schedule::threads::Threads;

pub(super) struct Encoder {
    /// All but the last.
    pub(super) layers: Vec<Layer>,
    pub(super) last: LastLayer,
}

impl Encoder {
    pub(super) fn load(
        config: &Config,
        weights: &Weights,
        names: &Names,
        packing: Packing,
        threads: &Threads,
    ) -> Result<Self> {
        enum Either {
            Layer(Layer),
            Last(LastLayer),
        }
        let loaded = threads.map(config.layers, |i| {
            if i + 1 < config.layers {
                Layer::load(weights, names, config, packing, i).map(Either::Layer)
            } else {
                LastLayer::load(weights, names, config, packing, i).map(Either::Last)
            }
        });
        let (mut layers, mut last) = (Vec::new(), None);
        for layer in loaded {
            match layer? {
                Either::Layer(layer) => layers.push(layer),
                Either::Last(layer) => last = Some(layer),
            }
        }
        weights.release_packed_away();
        Ok(Self { layers, last: last.expect("a config has at least one layer") })
    }

    /// Packed weights, by the name of the product.
    pub(super) fn products(&self, names: &Names) -> Vec<(String, &[PackedWeights])> {
        let layers = self.layers.iter().map(Layer::products).chain([self.last.products()]);
        let name = |(i, products): (usize, Vec<(_, _)>)| {
            products.into_iter().map(move |(part, product)| (names.layer(i, part), product))
        };
        layers.enumerate().flat_map(name).collect()
    }
}
