//! The head: `[CLS]` rows to logits.

use crossrank_kernels::{Activation, Epilogue, Isa, PackedWeights, PanelDtype};

use super::linear::linear_by_columns;
use super::names::Names;
use super::workspace::{ClsWorkspace, Scratch};
use crate::checkpoint::tensors::Weights;
use crate::config::Config;
use crate::error::{Error, Result};

/// In f32 whatever the dtype: it is small, and every score goes through it.
///
/// BERT's: a pooler (dense and tanh) where the checkpoint has one, then the classifier.
pub(crate) struct Head {
    pooler: Option<PackedWeights>,
    classifier: PackedWeights,
}

impl Head {
    pub(crate) fn load(weights: &Weights, names: &Names, config: &Config, isa: Isa) -> Result<Self> {
        let hint = ": without a classifier this is no cross-encoder, and its scores would be random";
        let labels = weights.rows_of(&format!("{}.weight", names.classifier()), hint)?;
        config.check_labels(labels)?;
        if labels == 0 {
            return Err(Error::Tensor {
                file: weights.name().to_owned(),
                tensor: format!("{}.weight", names.classifier()),
                expected: "at least one label".into(),
                found: "no rows".into(),
            });
        }
        let load = |prefix: &str, n| -> Result<PackedWeights> {
            let weight = weights.find_matrix(&format!("{prefix}.weight"), n, config.hidden)?;
            let bias = weights.vector(isa, &format!("{prefix}.bias"), n)?;
            Ok(PackedWeights::pack(isa, PanelDtype::F32, &[(weights.matrix(&weight), &bias)]))
        };
        let classifier = load(&names.classifier(), labels)?;
        let prefix = names.pooler();
        // Half a pooler is an error, not a checkpoint without one.
        let has_pooler = ["weight", "bias"].iter().any(|part| weights.contains(&format!("{prefix}.{part}")));
        let pooler = has_pooler.then(|| load(&prefix, config.hidden)).transpose()?;
        Ok(Self { pooler, classifier })
    }

    pub(crate) fn labels(&self) -> usize {
        self.classifier.n()
    }

    pub(crate) fn has_pooler(&self) -> bool {
        self.pooler.is_some()
    }

    /// `ws.hidden` in, `ws.logits` out, a row a sequence; the number of rows has been set.
    pub(crate) fn forward(&self, isa: Isa, ws: &mut ClsWorkspace, scratches: &mut [Scratch]) {
        let features = match &self.pooler {
            Some(pooler) => {
                let epilogue = Epilogue::Activation(Activation::Tanh);
                linear_by_columns(isa, ws.hidden.view(), pooler, epilogue, scratches, ws.pooled.view_mut());
                ws.pooled.view()
            }
            None => ws.hidden.view(),
        };
        linear_by_columns(isa, features, &self.classifier, Epilogue::Bias, scratches, ws.logits.view_mut());
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pooler.as_ref().map_or(0, PackedWeights::bytes) + self.classifier.bytes()
    }
}
