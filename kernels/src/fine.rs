//! Rows that products of bytes take in two bytes: those whose rounding shows most, a few among many.
//!
//! Such a row is x = s (q - z + (r - 128) / 256), q the bytes that any row has and r what their rounding leaves, in
//! 256ths of a step. The r are one more row of the same product, ahead of all others, so that its sums are there when
//! those of q are finished.

use std::ops::Range;

use crate::view::Rows;

/// Which rows of a matrix are fine: taken in two bytes by products in bytes. It costs as much as one more row each.
#[derive(Clone, Copy, Debug, Default)]
pub struct FineRows<'a> {
    /// In ascending order, counted from `first`.
    numbers: &'a [usize],
    first: usize,
}

impl<'a> FineRows<'a> {
    /// The rows of those numbers. Where there are fewer rows, those beyond count for nothing.
    ///
    /// # Panics
    /// When they are not in ascending order.
    pub fn new(numbers: &'a [usize]) -> Self {
        assert!(numbers.is_sorted_by(|a, b| a < b), "fine rows in ascending order");
        Self { numbers, first: 0 }
    }

    /// Which of the rows in `range` are fine, that being all there is.
    #[inline(always)]
    pub fn row_range(self, range: Range<usize>) -> Self {
        let [start, end] =
            [range.start, range.end].map(|row| self.numbers.partition_point(|&at| at < self.first + row));
        Self { numbers: &self.numbers[start..end], first: self.first + range.start }
    }

    /// How many there are.
    #[inline(always)]
    pub(crate) fn count(self) -> usize {
        self.numbers.len()
    }

    /// Their numbers.
    #[inline(always)]
    pub(crate) fn iter(self) -> impl ExactSizeIterator<Item = usize> {
        self.numbers.iter().map(move |at| at - self.first)
    }
}

/// The left-hand side of a Linear layer: all rows, and which of them are fine. Weights that are not in bytes make no
/// difference between them.
#[derive(Clone, Copy, Debug)]
pub struct LhsRows<'a> {
    /// m x k
    pub rows: Rows<'a>,
    /// Of these.
    pub fine: FineRows<'a>,
}

impl<'a> LhsRows<'a> {
    /// Those in `range`. Panics when it is out of bounds.
    #[inline(always)]
    pub fn row_range(self, range: Range<usize>) -> Self {
        Self { rows: self.rows.row_range(range.clone()), fine: self.fine.row_range(range) }
    }
}

impl<'a> From<Rows<'a>> for LhsRows<'a> {
    #[inline(always)]
    fn from(rows: Rows<'a>) -> Self {
        Self { rows, fine: FineRows::default() }
    }
}
