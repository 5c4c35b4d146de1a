//! Views: which elements they name, how they split, and what they refuse.

mod common;

use common::{Grid, assert_panics};
use crossrank_kernels::{Matrix, Rows, RowsMut};

fn numbered(len: usize) -> Vec<f32> {
    (0..len).map(|i| i as f32).collect()
}

#[test]
fn rows_and_columns_are_found_through_the_stride() {
    let data = numbered(17);
    let rows = Rows::new(&data, 3, 4, 6);
    assert_eq!((rows.rows(), rows.cols(), rows.row_stride()), (3, 4, 6));
    assert_eq!(rows.row(2), [12.0, 13.0, 14.0, 15.0]);
    let part = rows.row_range(1..3).column_range(1..3);
    assert_eq!((part.rows(), part.cols(), part.row_stride()), (2, 2, 6));
    assert_eq!((part.row(0), part.row(1)), (&data[7..9], &data[13..15]));
    assert_eq!(rows.row_range(3..3).rows(), 0);
    assert_eq!(rows.column_range(4..4).row(2), []);
}

#[test]
fn the_last_row_needs_no_gap_behind_it() {
    let data = numbered(16);
    assert_eq!(Rows::new(&data, 3, 4, 6).row(2), [12.0, 13.0, 14.0, 15.0]);
    assert_panics("one element less", "do not fit", || Rows::new(&data[..15], 3, 4, 6));
    assert_panics("one element less", "do not fit", || RowsMut::new(&mut numbered(15), 3, 4, 6).rows());
}

#[test]
fn a_split_shares_out_every_element_once() {
    for at_row in 0..=3 {
        for at_col in 0..=4 {
            let mut grid = Grid::poisoned(3, 4, 2);
            let (above, below) = grid.view_mut().split_rows(at_row);
            assert_eq!((above.rows(), below.rows()), (at_row, 3 - at_row));
            let mut parts = Vec::new();
            for half in [above, below] {
                let (left, right) = half.split_columns(at_col);
                assert_eq!((left.cols(), right.cols()), (at_col, 4 - at_col));
                parts.extend([left, right]);
            }
            // All four are alive at once, as they are in the hands of workers.
            for (number, part) in parts.iter_mut().enumerate() {
                for i in 0..part.rows() {
                    part.row_mut(i).fill(number as f32);
                }
            }
            let expected: Vec<f32> = (0..12)
                .map(|at| (2 * usize::from(at / 4 >= at_row) + usize::from(at % 4 >= at_col)) as f32)
                .collect();
            assert_eq!(grid.values(), expected, "split at row {at_row}, column {at_col}");
        }
    }
}

#[test]
fn parts_can_be_written_by_several_threads() {
    let mut grid = Grid::poisoned(8, 6, 1);
    let (left, right) = grid.view_mut().split_columns(2);
    std::thread::scope(|scope| {
        for (mut part, value) in [(left, 1.0), (right, 2.0)] {
            scope.spawn(move || (0..part.rows()).for_each(|i| part.row_mut(i).fill(value)));
        }
    });
    assert_eq!(grid.values(), [1.0, 1.0, 2.0, 2.0, 2.0, 2.0].repeat(8));
}

#[test]
fn ranges_of_a_view_to_write_are_those_of_one_to_read() {
    let mut data = numbered(17);
    let mut rows = RowsMut::new(&mut data, 3, 4, 6);
    rows.row_range(1..3).column_range(1..3).row_mut(1).fill(-1.0);
    rows.reborrow().row_mut(0)[3] = -2.0;
    assert_eq!(rows.as_rows().row(0), [0.0, 1.0, 2.0, -2.0]);
    assert_eq!(rows.as_rows().row(2), [12.0, -1.0, -1.0, 15.0]);
    assert_eq!((rows.row_range(2..2).rows(), rows.column_range(4..4).cols()), (0, 0));
}

#[test]
fn empty_views_split_without_leaving_their_memory() {
    for rows in [0, 5] {
        let mut nothing = [];
        let (first, second) = RowsMut::new(&mut nothing, rows, 0, 0).split_rows(rows);
        let (left, right) = first.split_columns(0);
        assert_eq!((left.rows(), right.rows(), second.rows()), (rows, rows, 0));
    }
    let view = Rows::new(&[], 0, 4, 6);
    assert_eq!(view.column_range(1..3).row_range(0..0).cols(), 2);
}

#[test]
fn what_is_out_of_range_panics() {
    let mut data = numbered(18);
    let rows = Rows::new(&data, 3, 4, 6);
    assert_panics("row", "row 3 of 3", || rows.row(3));
    assert_panics("rows", "not within", || rows.row_range(2..4));
    assert_panics("columns", "not within", || rows.column_range(3..5));
    #[expect(clippy::reversed_empty_ranges, reason = "what is tested")]
    let backwards = 2..1;
    assert_panics("backwards", "not within", || rows.row_range(backwards.clone()));
    assert_panics("backwards", "not within", || rows.column_range(backwards));
    assert_panics("stride", "do not fit a row stride", || Rows::new(&data, 1, 4, 3));
    assert_panics("overflow", "do not fit", || Rows::new(&data, usize::MAX, 4, 1 << 40));

    let mut rows = RowsMut::new(&mut data, 3, 4, 6);
    assert_panics("row_mut", "row 3 of 3", || rows.row_mut(3).len());
    assert_panics("row_range", "not within", || rows.row_range(2..4).rows());
    assert_panics("column_range", "not within", || rows.column_range(3..5).rows());
    assert_panics("split_rows", "row 4 of 3", || rows.reborrow().split_rows(4).0.rows());
    assert_panics("split_columns", "column 5 of 4", || rows.reborrow().split_columns(5).0.rows());
}

#[test]
fn a_matrix_takes_any_number_of_rows_and_they_are_never_4_kib_apart() {
    for cols in [1, 16, 384, 768, 1024, 1536, 3072, 4096] {
        let mut matrix = Matrix::new(cols);
        assert_eq!((matrix.view().rows(), matrix.view().cols()), (0, cols));
        let stride = matrix.view().row_stride();
        assert!(
            stride >= cols && stride.is_multiple_of(16) && !stride.is_multiple_of(1024),
            "{cols} columns at stride {stride}"
        );
        for rows in [4, 0, 3, 9] {
            matrix.set_rows(rows);
            assert_eq!((matrix.view().rows(), matrix.view_mut().rows()), (rows, rows));
            (0..rows).for_each(|i| matrix.view_mut().row_mut(i).fill(i as f32));
            (0..rows).for_each(|i| assert_eq!(matrix.view().row(i), vec![i as f32; cols]));
        }
    }
}
