//! The state of a whole sequence, made of those of its tokens.

use crate::view::Rows;

/// dst = the mean of all rows, which are summed in their order: the same bits on every instruction set.
///
/// # Panics
/// When there is no row, or `dst` is not as wide.
pub fn mean(rows: Rows<'_>, dst: &mut [f32]) {
    assert!(rows.rows() > 0, "the mean of no row");
    assert_eq!(rows.cols(), dst.len(), "columns of rows and dst");
    dst.fill(0.0);
    for i in 0..rows.rows() {
        dst.iter_mut().zip(rows.row(i)).for_each(|(sum, x)| *sum += x);
    }
    let count = rows.rows() as f32;
    dst.iter_mut().for_each(|sum| *sum /= count);
}
