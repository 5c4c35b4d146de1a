//! Token ids to normalised embeddings, read row by row from the checkpoint.

use crate::isa::{Isa, Kernel};
use crate::layer_norm::LayerNorm;
use crate::simd::Simd;
use crate::stored::StoredMatrix;
use crate::view::RowsMut;

/// The tables whose rows are summed; each has `hidden` columns.
#[derive(Clone, Copy, Debug)]
pub struct EmbeddingTables<'a> {
    /// One row for each word of the vocabulary.
    pub words: StoredMatrix<'a>,
    /// One row for each position.
    pub positions: StoredMatrix<'a>,
    /// One row for each segment.
    pub token_types: StoredMatrix<'a>,
}

/// Row i of dst = norm(word of id i + type of type id i + position i), for one sequence.
///
/// # Panics
/// When an id, a type id or a position is beyond its table, or the lengths do not fit `dst`.
pub fn embed(
    isa: Isa,
    tables: EmbeddingTables<'_>,
    norm: &LayerNorm,
    ids: &[u32],
    type_ids: &[u32],
    dst: RowsMut<'_>,
) {
    struct Embed<'a>(EmbeddingTables<'a>, &'a LayerNorm, &'a [u32], &'a [u32], RowsMut<'a>);
    impl Kernel for Embed<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Self(tables, norm, ids, type_ids, mut dst) = self;
            assert_eq!((ids.len(), type_ids.len()), (dst.rows(), dst.rows()), "ids, type ids and dst");
            for (i, (&id, &type_id)) in ids.iter().zip(type_ids).enumerate() {
                let row = dst.row_mut(i);
                tables.words.read_row::<S, false>(simd, id as usize, row);
                tables.token_types.read_row::<S, true>(simd, type_id as usize, row);
                tables.positions.read_row::<S, true>(simd, i, row);
            }
            norm.rows(simd, dst);
        }
    }
    isa.run(Embed(tables, norm, ids, type_ids, dst));
}
