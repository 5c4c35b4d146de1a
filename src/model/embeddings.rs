//! Token ids to the first layer's input.

use crossrank_kernels::{
    Epilogue, Isa, LayerNorm, PackedWeights, PanelDtype, RowsMut, TableRows, embed, linear,
};

use super::loading::Loading;
use super::workspace::{Places, Scratch};
use crate::checkpoint::tensors::{MatrixTensor, Weights};
use crate::error::Result;
use crate::family::description::{PositionTable, TokenTypes};
use crate::family::roles::{EMBEDDINGS_NORM, POSITIONS, PROJECTION, TOKEN_TYPES, WORDS};
use crate::tokenized::Tokenized;

/// The tables stay in the checkpoint; only the rows that occur are read.
pub(crate) struct Embeddings {
    words: MatrixTensor,
    token_types: Option<(MatrixTensor, TokenTypes)>,
    positions: Option<(MatrixTensor, PositionTable)>,
    norm: Option<LayerNorm>,
    /// From the tables' width to that of the states, in f32 whatever the dtype: it is small, and all else is made of
    /// its result.
    projection: Option<PackedWeights>,
}

impl Embeddings {
    pub(crate) fn find(loading: Loading<'_>) -> Result<Self> {
        let Loading { roles, description, .. } = loading;
        let embeddings = description.embeddings;
        let (width, hidden) = (embeddings.width, description.hidden);
        let words = roles.find_matrix(WORDS, embeddings.words, width)?;
        let find = |role, rows| roles.find_matrix(role, rows, width);
        let positions = match embeddings.positions {
            Some(table) => Some((find(POSITIONS, table.rows)?, table)),
            None => None,
        };
        let token_types = match embeddings.token_types {
            Some(table) => Some((find(TOKEN_TYPES, table.rows)?, table)),
            None => None,
        };
        let norm = embeddings.norm.map(|norm| loading.norm(EMBEDDINGS_NORM, width, norm)).transpose()?;
        let projection = match embeddings.projected {
            true => {
                let weight = roles.find_matrix(&format!("{PROJECTION}.weight"), hidden, width)?;
                let bias = roles.vector(loading.isa(), &format!("{PROJECTION}.bias"), hidden)?;
                let matrix = roles.weights.matrix(&weight);
                Some(PackedWeights::pack(loading.isa(), PanelDtype::F32, &[(matrix, &bias)]))
            }
            false => None,
        };
        Ok(Self { words, positions, token_types, norm, projection })
    }

    /// Memory of what is packed.
    pub(crate) fn bytes(&self) -> usize {
        self.projection.as_ref().map_or(0, PackedWeights::bytes)
    }

    /// Embeds one sequence; its ids have been checked against the tables.
    pub(crate) fn embed(
        &self,
        isa: Isa,
        weights: &Weights,
        sequence: &Tokenized,
        places: &mut Places,
        scratch: &mut Scratch,
        mut dst: RowsMut<'_>,
    ) {
        let Places { types, positions, numbers, rows, sums } = places;
        let words = match weights.is_large(&self.words) {
            false => TableRows { table: weights.matrix(&self.words), rows: &sequence.ids },
            true => {
                numbers.clear();
                numbers.extend(0..sequence.len() as u32);
                TableRows { table: weights.read_rows(&self.words, &sequence.ids, rows), rows: numbers }
            }
        };
        let mut tables = [words; 3];
        let mut count = 1;
        if let Some((table, TokenTypes { first_only, .. })) = &self.token_types {
            types.clear();
            types.resize(if *first_only { sequence.len() } else { 0 }, 0);
            let rows = if *first_only { &types[..] } else { &sequence.type_ids };
            tables[count] = TableRows { table: weights.matrix(table), rows };
            count += 1;
        }
        if let Some((table, numbers)) = &self.positions {
            positions.clear();
            positions.extend(numbers.rows_of(&sequence.ids));
            tables[count] = TableRows { table: weights.matrix(table), rows: positions };
            count += 1;
        }
        let tables = &tables[..count];
        let Some(projection) = &self.projection else {
            return embed(isa, tables, self.norm.as_ref(), dst);
        };
        sums.set_rows(sequence.len());
        embed(isa, tables, self.norm.as_ref(), sums.view_mut());
        linear(isa, sums.view(), projection, Epilogue::Bias, &mut scratch.linear, dst.reborrow());
    }
}
