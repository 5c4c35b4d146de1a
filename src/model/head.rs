//! The head: pooled states to logits.

use crossrank_kernels::{Epilogue, Isa, LayerNorm, PackedWeights, PanelDtype, Rows, RowsMut};

use super::linear::linear_by_columns;
use super::loading::Loading;
use super::workspace::{ClsWorkspace, Scratch};
use crate::error::Result;
use crate::family::description::{Dense, Function, HeadStep, Residual};
use crate::family::roles::{head_residual_role, head_role};

/// In f32 whatever the dtype: it is small, and every score goes through it.
pub(crate) struct Head {
    steps: Vec<Step>,
}

enum Step {
    Dense {
        weights: PackedWeights,
        activation: Option<Function>,
        residual: Residual,
        /// What takes the residual to the outputs' width.
        projection: Option<PackedWeights>,
    },
    Norm(LayerNorm),
}

impl Step {
    /// What this step makes of `x`, a row a sequence.
    fn forward(&self, isa: Isa, x: Rows<'_>, scratches: &mut [Scratch], mut dst: RowsMut<'_>) {
        match self {
            Self::Norm(norm) => norm.apply_to(isa, x, dst),
            Self::Dense { weights, activation, residual, projection } => {
                let epilogue =
                    activation.map_or(Epilogue::Bias, |function| Epilogue::Activation(function.kernel()));
                linear_by_columns(isa, x, weights, epilogue, scratches, dst.reborrow());
                if *residual == Residual::Plain {
                    for i in 0..x.rows() {
                        dst.row_mut(i).iter_mut().zip(x.row(i)).for_each(|(sum, x)| *sum += x);
                    }
                }
                if let Some(projection) = projection {
                    linear_by_columns(isa, x, projection, Epilogue::PlainResidual, scratches, dst);
                }
            }
        }
    }
}

impl Head {
    pub(crate) fn load(loading: Loading<'_>) -> Result<Self> {
        let description = loading.description;
        let widths: Vec<usize> = [description.hidden].into_iter().chain(description.head_widths()).collect();
        // The last step, which makes the logits, is looked for first: without it there is no cross-encoder.
        let steps = description.head.iter().enumerate().rev();
        let steps = steps.map(|(i, step)| match *step {
            HeadStep::Dense(dense) => load_dense(loading, i, widths[i], dense),
            HeadStep::Norm(norm) => loading.norm(&head_role(i), widths[i], norm).map(Step::Norm),
        });
        let steps = steps.collect::<Result<Vec<_>>>()?;
        Ok(Self { steps: steps.into_iter().rev().collect() })
    }

    /// `ws.hidden` in, `ws.logits` out, one row per sequence; the number of rows has been set.
    pub(crate) fn forward(&self, isa: Isa, ws: &mut ClsWorkspace, scratches: &mut [Scratch]) {
        let ClsWorkspace { hidden, pooled, logits, .. } = ws;
        let Some((last, steps)) = self.steps.split_last() else { return };
        let mut features: Rows<'_> = hidden.view();
        for (step, pooled) in steps.iter().zip(pooled) {
            step.forward(isa, features, scratches, pooled.view_mut());
            features = pooled.view();
        }
        last.forward(isa, features, scratches, logits.view_mut());
    }

    /// Memory of the packed weights.
    pub(crate) fn bytes(&self) -> usize {
        let of_step = |step: &Step| match step {
            Step::Norm(_) => 0,
            Step::Dense { weights, projection, .. } => {
                weights.bytes() + projection.as_ref().map_or(0, PackedWeights::bytes)
            }
        };
        self.steps.iter().map(of_step).sum()
    }
}

fn load_dense(loading: Loading<'_>, i: usize, width: usize, dense: Dense) -> Result<Step> {
    let Dense { outputs, bias, activation, residual } = dense;
    let (roles, isa) = (loading.roles, loading.isa());
    let pack = |role: String, bias: &[f32]| -> Result<PackedWeights> {
        let weight = roles.find_matrix(&format!("{role}.weight"), outputs, width)?;
        Ok(PackedWeights::pack(isa, PanelDtype::F32, &[(roles.weights.matrix(&weight), bias)]))
    };
    let none = vec![-0.0; outputs];
    let bias = match bias {
        // Looked for first, and told of first where it is missing.
        true => {
            roles.find_matrix(&format!("{}.weight", head_role(i)), outputs, width)?;
            roles.vector(isa, &format!("{}.bias", head_role(i)), outputs)?
        }
        false => none.clone(),
    };
    let projected = residual == Residual::Projected;
    Ok(Step::Dense {
        weights: pack(head_role(i), &bias)?,
        activation,
        residual,
        projection: projected.then(|| pack(head_residual_role(i), &none)).transpose()?,
    })
}
