//! Token ids to the first layer's input.

use crossrank_kernels::{EmbeddingTables, Isa, LayerNorm, RowsMut, embed};

use crate::checkpoint::roles::Roles;
use crate::checkpoint::tensors::{MatrixTensor, Weights};
use crate::error::Result;
use crate::family::{self, Description};
use crate::tokenized::Tokenized;

/// The tables stay in the checkpoint; only the rows that occur are read.
pub(crate) struct Embeddings {
    words: MatrixTensor,
    positions: MatrixTensor,
    token_types: MatrixTensor,
    norm: LayerNorm,
}

impl Embeddings {
    pub(crate) fn find(roles: Roles<'_>, description: &Description, isa: Isa) -> Result<Self> {
        let hidden = description.hidden;
        let family::Embeddings { words, positions, token_types, norm } = description.embeddings;
        Ok(Self {
            words: roles.find_matrix(family::WORDS, words, hidden)?,
            positions: roles.find_matrix(family::POSITIONS, positions, hidden)?,
            token_types: roles.find_matrix(family::TOKEN_TYPES, token_types, hidden)?,
            norm: roles.norm(isa, family::EMBEDDINGS_NORM, hidden, norm.eps)?,
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
