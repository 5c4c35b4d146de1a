//! Means of rows.

use crossrank_kernels::{Rows, mean};

#[test]
fn each_column_has_its_own_mean_and_keeps_a_nan() {
    let values = [1.0, -2.0, 9.0, 3.0, 5.0, 9.0, 5.0, f32::NAN, 9.0];
    let mut dst = [7.0; 2];
    mean(Rows::new(&values, 3, 2, 3), &mut dst);
    assert!(dst[0] == 3.0 && dst[1].is_nan(), "{dst:?}");
}
