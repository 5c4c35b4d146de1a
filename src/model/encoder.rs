//! The encoder's layers, each packed on a thread of its own.

use crossrank_kernels::PackedWeights;

use super::last_layer::LastLayer;
use super::layer::Layer;
use super::linear::Packing;
use crate::checkpoint::packed::panels_name;
use crate::checkpoint::roles::Roles;
use crate::error::Result;
use crate::family::{Description, role};
use crate::schedule::threads::Threads;

pub(super) struct Encoder {
    /// All but the last.
    pub(super) layers: Vec<Layer>,
    pub(super) last: LastLayer,
}

impl Encoder {
    pub(super) fn load(
        roles: Roles<'_>,
        description: &Description,
        packing: Packing,
        threads: &Threads,
    ) -> Result<Self> {
        let last = description.layers.len() - 1;
        // The last layer is of another kind, and is packed in parallel with the others.
        let loaded = threads.map(last + 1, |i| {
            if i < last {
                Layer::load(roles, description, packing, i).map(|layer| (Some(layer), None))
            } else {
                LastLayer::load(roles, description, packing, i).map(|layer| (None, Some(layer)))
            }
        });
        let loaded: (Vec<_>, Vec<_>) = loaded.into_iter().collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let last = loaded.1.into_iter().flatten().next().expect("a description has at least one layer");
        let encoder = Self { layers: loaded.0.into_iter().flatten().collect(), last };
        encoder.release_sources(roles, description, packing);
        Ok(encoder)
    }

    /// Gives the memory of what has been packed back once more: reading what lies beside it may have mapped it again.
    fn release_sources(&self, roles: Roles<'_>, description: &Description, packing: Packing) {
        match roles.weights.packed() {
            None => description.linears().for_each(|linear| roles.release(&format!("{linear}.weight"))),
            Some(held) if held != packing.panels => {
                self.products().iter().for_each(|(product, _)| roles.release(&panels_name(product)));
            }
            Some(_) => {}
        }
    }

    /// Packed weights, by the role of the product.
    pub(super) fn products(&self) -> Vec<(String, &[PackedWeights])> {
        let layers = self.layers.iter().map(Layer::products).chain([self.last.products()]);
        let named = |(i, products): (usize, Vec<(_, _)>)| {
            products.into_iter().map(move |(part, product)| (role(i, part), product))
        };
        layers.enumerate().flat_map(named).collect()
    }
}
