//! The head: pooled states to logits.

use crossrank_kernels::{Epilogue, Isa, PackedWeights, PanelDtype, Rows};

use super::linear::linear_by_columns;
use super::workspace::{ClsWorkspace, Scratch};
use crate::checkpoint::roles::Roles;
use crate::error::Result;
use crate::family::{Description, Function, HeadStep, head_role};

/// In f32 whatever the dtype: it is small, and every score goes through it.
pub(crate) struct Head {
    steps: Vec<Dense>,
}

struct Dense {
    weights: PackedWeights,
    activation: Option<Function>,
}

impl Dense {
    fn epilogue(&self) -> Epilogue<'static> {
        self.activation.map_or(Epilogue::Bias, |activation| Epilogue::Activation(activation.kernel()))
    }
}

impl Head {
    pub(crate) fn load(roles: Roles<'_>, description: &Description, isa: Isa) -> Result<Self> {
        let load = |(i, step): (usize, &HeadStep)| {
            let HeadStep::Dense { outputs, activation } = *step;
            let width = match i.checked_sub(1).map(|before| &description.head[before]) {
                Some(HeadStep::Dense { outputs, .. }) => *outputs,
                None => description.hidden,
            };
            let role = head_role(i);
            let weight = roles.find_matrix(&format!("{role}.weight"), outputs, width)?;
            let bias = roles.vector(isa, &format!("{role}.bias"), outputs)?;
            let matrix = roles.weights.matrix(&weight);
            Ok(Dense { weights: PackedWeights::pack(isa, PanelDtype::F32, &[(matrix, &bias)]), activation })
        };
        // The last step, which makes the logits, is looked for first: without it there is no cross-encoder.
        let steps = description.head.iter().enumerate().rev().map(load).collect::<Result<Vec<_>>>()?;
        Ok(Self { steps: steps.into_iter().rev().collect() })
    }

    /// `ws.hidden` in, `ws.logits` out, one row per sequence; the number of rows has been set.
    pub(crate) fn forward(&self, isa: Isa, ws: &mut ClsWorkspace, scratches: &mut [Scratch]) {
        let ClsWorkspace { hidden, pooled, logits, .. } = ws;
        let Some((last, steps)) = self.steps.split_last() else { return };
        let mut features: Rows<'_> = hidden.view();
        for (step, pooled) in steps.iter().zip(pooled) {
            linear_by_columns(isa, features, &step.weights, step.epilogue(), scratches, pooled.view_mut());
            features = pooled.view();
        }
        linear_by_columns(isa, features, &last.weights, last.epilogue(), scratches, logits.view_mut());
    }

    pub(crate) fn bytes(&self) -> usize {
        self.steps.iter().map(|step| step.weights.bytes()).sum()
    }
}
