//! What every part of the network is loaded from.

use crossrank_kernels::{Isa, LayerNorm};

use super::linear::Packing;
use super::product::EncoderLinear;
use crate::checkpoint::roles::Roles;
use crate::error::Result;
use crate::family::Description;
use crate::family::description::{Layer, Norm};
use crate::family::roles::role;

/// A checkpoint's tensors, what the network is made of, and how its weights are to be packed.
#[derive(Clone, Copy)]
pub(crate) struct Loading<'a> {
    pub(crate) roles: Roles<'a>,
    pub(crate) description: &'a Description,
    pub(crate) packing: Packing,
}

impl Loading<'_> {
    pub(super) fn isa(self) -> Isa {
        self.packing.isa
    }

    pub(super) fn layer(&self, i: usize) -> &Layer {
        &self.description.layers[i]
    }

    /// The Linear layer of shape [n, k] that is that part of layer `i`.
    pub(super) fn linear(
        self,
        i: usize,
        part: &str,
        [n, k]: [usize; 2],
        has_bias: bool,
    ) -> Result<EncoderLinear> {
        EncoderLinear::find(self, role(i, part), [n, k], has_bias)
    }

    /// The norm of that role over rows of `width`, with factors of the residual that is added before it where the
    /// checkpoint has some.
    pub(super) fn norm(self, role: &str, width: usize, norm: Norm) -> Result<LayerNorm> {
        let part = |part: &str| self.roles.vector(self.isa(), &format!("{role}.{part}"), width);
        let weight = part("weight")?;
        let norm = match norm.bias {
            true => LayerNorm::new(weight, part("bias")?, norm.eps),
            false => LayerNorm::without_bias(weight, norm.eps),
        };
        if !self.roles.contains(&format!("{role}.residual_scale")) {
            return Ok(norm);
        }
        Ok(norm.with_residual_scale(part("residual_scale")?))
    }
}
