//! Token ids to the first layer's input.

use crossrank_kernels::{EmbeddingTables, Isa, LayerNorm, RowsMut, embed};

use super::names::Names;
use crate::checkpoint::tensors::{MatrixTensor, Weights};
use crate::config::Config;
use crate::error::Result;
use crate::tokenized::Tokenized;

/// The tables stay in the checkpoint; only the rows that occur are read.
pub(crate) struct Embeddings {
    words: MatrixTensor,
    positions: MatrixTensor,
    token_types: MatrixTensor,
    norm: LayerNorm,
}

impl Embeddings {
    pub(crate) fn find(weights: &Weights, names: &Names, config: &Config, isa: Isa) -> Result<Self> {
        let table = |part, rows| weights.find_matrix(&names.embeddings(part), rows, config.hidden);
        Ok(Self {
            words: table("word_embeddings.weight", config.vocab)?,
            positions: table("position_embeddings.weight", config.max_positions)?,
            token_types: table("token_type_embeddings.weight", config.token_types)?,
            norm: weights.layer_norm(
                isa,
                &names.embeddings("LayerNorm"),
                config.hidden,
                config.layer_norm_eps,
            )?,
        })
    }

    /// Embeds one sequence; its ids have been checked against the tables.
    pub(crate) fn embed(&self, isa: Isa, weights: &Weights, sequence: &Tokenized, dst: RowsMut<'_>) {
        let tables = EmbeddingTables {
            words: weights.matrix(&self.words),
            positions: weights.matrix(&self.positions),
            token_types: weights.matrix(&self.token_types),
        };
        embed(isa, tables, &self.norm, &sequence.ids, &sequence.type_ids, dst);
    }
}
