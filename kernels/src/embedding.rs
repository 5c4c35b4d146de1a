//! Token ids to normalised embeddings, read row by row from the checkpoint.

use crate::isa::{Isa, Kernel};
use crate::layer_norm::LayerNorm;
use crate::simd::Simd;
use crate::stored::StoredMatrix;
use crate::view::RowsMut;

/// A table, and which of its rows each token of a sequence takes.
#[derive(Clone, Copy, Debug)]
pub struct TableRows<'a> {
    /// One row for each word, position or segment.
    pub table: StoredMatrix<'a>,
    /// The numbers of the rows, one a token.
    pub rows: &'a [u32],
}

/// Row i of dst = norm(the sum of the i-th row that is taken of each table), for one sequence; without a norm the sum
/// itself. Tables are added in their order.
///
/// # Panics
/// When there is no table, a row is beyond its table, or the lengths do not fit `dst`.
pub fn embed(isa: Isa, tables: &[TableRows<'_>], norm: Option<&LayerNorm>, dst: RowsMut<'_>) {
    struct Embed<'a>(&'a [TableRows<'a>], Option<&'a LayerNorm>, RowsMut<'a>);
    impl Kernel for Embed<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Self(tables, norm, mut dst) = self;
            let (first, others) = tables.split_first().expect("at least one table");
            for part in tables {
                assert_eq!(part.rows.len(), dst.rows(), "rows that are taken of a table, and dst");
            }
            for i in 0..dst.rows() {
                let row = dst.row_mut(i);
                first.table.read_row::<S, false>(simd, first.rows[i] as usize, row);
                for part in others {
                    part.table.read_row::<S, true>(simd, part.rows[i] as usize, row);
                }
            }
            if let Some(norm) = norm {
                norm.rows(simd, dst);
            }
        }
    }
    isa.run(Embed(tables, norm, dst));
}
