//! Rounding where each error is made up for by what is rounded after it.
//!
//! With e the errors of a row of weights and C the covariance of what the row reads, e C e^T is the variance of the
//! error of the product. C = R R^T with R upper triangular, so e C e^T is the sum over the columns j of (R_jj e_j +
//! sum_{i<j} R_ij e_i)^2: each is rounded, in turn, to what cancels the errors before it. That is OPTQ (Frantar et al.
//! 2022, "GPTQ") without the inverse of C: the same choices, seen as the nearest plane of a lattice (Babai 1986).
//! Columns go in the order of their variance, the largest first, while there is most left to make up for it.
//!
//! The page on int8 of the kernels' documentation says what it gave.

use std::num::NonZero;
use std::thread;

use super::moments::Covariance;
use super::rows::nearest;

/// Added to each variance, as a part of their mean: so that no column is free, for there is less text to calibrate on
/// than there will be to score.
pub const DAMPING: f64 = 0.01;

/// Rows that go through R together.
const BLOCK: usize = 16;

/// What rounding a matrix needs to know of what it reads: C, damped, as R R^T.
pub struct Factor {
    /// From the order in which columns are rounded to that in which they lie.
    order: Vec<usize>,
    /// R, row by row.
    factor: Vec<f64>,
    /// R_ij / R_jj, row by row.
    unit: Vec<f32>,
}

impl Factor {
    /// None where the covariance, damped, is not positive definite: where it is mostly what rounding f32 has left.
    pub fn new(covariance: &Covariance) -> Option<Self> {
        let width = covariance.inputs;
        let variance = |i| covariance.at(i, i);
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&i, &j| variance(j).total_cmp(&variance(i)));
        let mean = (0..width).map(variance).sum::<f64>() / width.max(1) as f64;
        // Inputs that are all constant are no reason to prefer any rounding.
        let damping = if mean > 0.0 { DAMPING * mean } else { 1.0 };
        let mut factor: Vec<f64> =
            order.iter().flat_map(|&i| order.iter().map(move |&j| covariance.at(i, j))).collect();
        (0..width).for_each(|i| factor[i * width + i] += damping);
        if !factorize(&mut factor, width) {
            return None;
        }
        let diagonal: Vec<f64> = (0..width).map(|i| factor[i * width + i]).collect();
        let unit = factor.chunks_exact(width.max(1));
        let unit =
            unit.flat_map(|row| row.iter().zip(&diagonal).map(|(value, diagonal)| (value / diagonal) as f32));
        Some(Self { order, unit: unit.collect(), factor })
    }

    /// Bytes of rows, given the scale of each.
    pub fn round(&self, rows: &[f32], scales: &[f32]) -> Vec<i8> {
        let width = self.order.len();
        let mut bytes = vec![0; rows.len()];
        share_rows(&mut bytes, width, |first, bytes| {
            for (i, bytes) in bytes.chunks_mut(BLOCK * width).enumerate() {
                let start = first + i * BLOCK;
                let end = start + bytes.len() / width;
                self.round_block(&rows[start * width..end * width], &scales[start..end], bytes);
            }
        });
        bytes
    }

    /// Rounds each row by its scale.
    fn round_block(&self, rows: &[f32], scales: &[f32], bytes: &mut [i8]) {
        let width = self.order.len();
        let mut carried = vec![0.0; rows.len()];
        for (j, &column) in self.order.iter().enumerate() {
            let unit = &self.unit[j * width..(j + 1) * width];
            for (i, (&scale, carried)) in scales.iter().zip(carried.chunks_exact_mut(width)).enumerate() {
                let at = i * width + column;
                bytes[at] = nearest(rows[at] - carried[j], scale);
                let error = f32::from(bytes[at]) * scale - rows[at];
                for (sum, part) in carried[j + 1..].iter_mut().zip(&unit[j + 1..]) {
                    *sum += error * part;
                }
            }
        }
    }

    /// The row X of which X C is `row`, C being damped.
    pub fn solve(&self, row: &mut [f64]) {
        let width = self.order.len();
        let line = |i: usize| &self.factor[i * width..(i + 1) * width];
        let mut x: Vec<f64> = self.order.iter().map(|&column| row[column]).collect();
        // First (X R) R^T, then X R.
        for i in (0..width).rev() {
            x[i] = (x[i] - dot(&line(i)[i + 1..], &x[i + 1..])) / line(i)[i];
        }
        for i in 0..width {
            let (done, rest) = x.split_at_mut(i + 1);
            done[i] /= line(i)[i];
            rest.iter_mut().zip(&line(i)[i + 1..]).for_each(|(x, factor)| *x -= done[i] * factor);
        }
        self.order.iter().zip(x).for_each(|(&column, x)| row[column] = x);
    }
}

/// Rows of a matrix, shared out among threads; `work` takes the number of its first.
pub fn share_rows<T: Send>(rows: &mut [T], width: usize, work: impl Fn(usize, &mut [T]) + Sync) {
    if rows.is_empty() {
        return;
    }
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = (rows.len() / width).div_ceil(threads);
    thread::scope(|scope| {
        for (i, rows) in rows.chunks_mut(share * width).enumerate() {
            let work = &work;
            scope.spawn(move || work(i * share, rows));
        }
    });
}

/// A positive definite matrix to its R, upper triangular with R R^T the matrix; below the diagonal zeros. False where it
/// is not positive definite.
fn factorize(matrix: &mut [f64], width: usize) -> bool {
    for j in (0..width).rev() {
        let (above, rest) = matrix.split_at_mut(j * width);
        let row = &mut rest[..width];
        let square = row[j] - dot(&row[j + 1..], &row[j + 1..]);
        if square.is_nan() || square <= 0.0 {
            return false;
        }
        let pivot = square.sqrt();
        row[j] = pivot;
        row[..j].fill(0.0);
        for other in above.chunks_exact_mut(width) {
            other[j] = (other[j] - dot(&other[j + 1..], &row[j + 1..])) / pivot;
        }
    }
    true
}

/// In eight sums, which the compiler keeps in vectors.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::rows::LIMIT;

    const WIDTH: usize = 24;

    /// Numbers in -1..1 that look random.
    fn numbers(count: usize) -> Vec<f64> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Inputs that move together: a few causes, and a little of their own.
    fn correlated() -> Covariance {
        let causes = numbers(WIDTH * 3);
        let at = |i: usize, j: usize| {
            let common: f64 = (0..3).map(|c| causes[i * 3 + c] * causes[j * 3 + c]).sum();
            common + if i == j { 0.05 } else { 0.0 }
        };
        let matrix = (0..WIDTH * WIDTH).map(|at_| at(at_ / WIDTH, at_ % WIDTH)).collect();
        Covariance { inputs: WIDTH, means: vec![0.0; WIDTH], matrix }
    }

    fn identity(width: usize) -> Covariance {
        let matrix = (0..width * width).map(|at| f64::from(at / width == at % width)).collect();
        Covariance { inputs: width, means: vec![0.0; width], matrix }
    }

    fn rows(count: usize) -> (Vec<f32>, Vec<f32>) {
        let rows: Vec<f32> = numbers(count * WIDTH).into_iter().map(|value| value as f32).collect();
        let scales =
            rows.chunks(WIDTH).map(|row| row.iter().fold(0.0, |max: f32, x| max.max(x.abs())) / LIMIT);
        let scales = scales.collect();
        (rows, scales)
    }

    fn plain(rows: &[f32], scales: &[f32]) -> Vec<i8> {
        let bytes = rows.chunks(WIDTH).zip(scales);
        bytes.flat_map(|(row, &scale)| row.iter().map(move |&value| nearest(value, scale))).collect()
    }

    /// The variance of the error of all products.
    fn variance(covariance: &Covariance, rows: &[f32], scales: &[f32], bytes: &[i8]) -> f64 {
        let of_row = |((row, bytes), &scale): ((&[f32], &[i8]), &f32)| -> f64 {
            let e: Vec<f64> = row
                .iter()
                .zip(bytes)
                .map(|(&value, &byte)| f64::from(byte) * f64::from(scale) - f64::from(value))
                .collect();
            (0..WIDTH * WIDTH).map(|at| e[at / WIDTH] * covariance.matrix[at] * e[at % WIDTH]).sum()
        };
        rows.chunks(WIDTH).zip(bytes.chunks(WIDTH)).zip(scales).map(of_row).sum()
    }

    #[test]
    fn products_of_inputs_that_move_together_are_off_by_less() {
        let (covariance, (rows, scales)) = (correlated(), rows(40));
        let compensated = Factor::new(&covariance).unwrap().round(&rows, &scales);
        let found = variance(&covariance, &rows, &scales, &compensated);
        let nearest = variance(&covariance, &rows, &scales, &plain(&rows, &scales));
        assert!(found < 0.5 * nearest, "{found}, to the nearest {nearest}");
    }

    #[test]
    fn inputs_that_have_nothing_to_do_with_each_other_leave_the_nearest_byte() {
        let (rows, scales) = rows(40);
        assert_eq!(Factor::new(&identity(WIDTH)).unwrap().round(&rows, &scales), plain(&rows, &scales));
    }

    #[test]
    fn inputs_that_never_change_leave_the_nearest_byte() {
        let (rows, scales) = rows(3);
        let constant =
            Covariance { inputs: WIDTH, means: vec![2.0; WIDTH], matrix: vec![0.0; WIDTH * WIDTH] };
        assert_eq!(Factor::new(&constant).unwrap().round(&rows, &scales), plain(&rows, &scales));
        // One of them among others: all rows still get bytes within their scale's half where it stands alone.
        let mut covariance = identity(WIDTH);
        covariance.matrix[5 * WIDTH + 5] = 0.0;
        assert_eq!(Factor::new(&covariance).unwrap().round(&rows, &scales), plain(&rows, &scales));
    }

    #[test]
    fn rows_that_break_int8_have_defined_bytes() {
        let mut rows = vec![0.0; 4 * WIDTH];
        rows[WIDTH] = f32::MAX;
        rows[2 * WIDTH..3 * WIDTH].fill(f32::from_bits(1));
        rows[3 * WIDTH..].fill(1.0);
        rows[3 * WIDTH + 1] = -1e6;
        let scales = [0.0, f32::MAX / LIMIT, 0.0, 1e6 / LIMIT];
        let bytes = Factor::new(&correlated()).unwrap().round(&rows, &scales);
        assert!(bytes[..WIDTH].iter().chain(&bytes[2 * WIDTH..3 * WIDTH]).all(|&byte| byte == 0));
        assert_eq!(bytes[WIDTH], 127);
        assert_eq!(bytes[3 * WIDTH + 1], -127);
        assert!(bytes.iter().all(|&byte| byte != i8::MIN));
    }

    #[test]
    fn the_factor_gives_the_matrix_back() {
        let covariance = correlated();
        let mut factor = covariance.matrix.clone();
        assert!(factorize(&mut factor, WIDTH));
        for i in 0..WIDTH {
            for j in 0..WIDTH {
                let product: f64 = (0..WIDTH).map(|l| factor[i * WIDTH + l] * factor[j * WIDTH + l]).sum();
                assert!((product - covariance.matrix[i * WIDTH + j]).abs() < 1e-12, "[{i}, {j}]");
                assert!(j >= i || factor[i * WIDTH + j] == 0.0);
            }
        }
    }

    #[test]
    fn what_is_no_covariance_has_no_factor() {
        for (at, value) in [(0, -1.0), (1, 2.0), (5, f64::NAN)] {
            let mut covariance = identity(WIDTH);
            (covariance.matrix[at], covariance.matrix[at % WIDTH * WIDTH + at / WIDTH]) = (value, value);
            assert!(Factor::new(&covariance).is_none(), "{value} at {at}");
        }
        assert!(!factorize(&mut [1.0; 4], 2));
    }

    #[test]
    fn a_solution_gives_the_row_back() {
        let mut covariance = correlated();
        let factor = Factor::new(&covariance).unwrap();
        let mean = (0..WIDTH).map(|i| covariance.at(i, i)).sum::<f64>() / WIDTH as f64;
        (0..WIDTH).for_each(|i| covariance.matrix[i * WIDTH + i] += DAMPING * mean);
        let row = numbers(WIDTH);
        let mut x = row.clone();
        factor.solve(&mut x);
        for (j, expected) in row.iter().enumerate() {
            let found: f64 = (0..WIDTH).map(|i| x[i] * covariance.at(i, j)).sum();
            assert!((found - expected).abs() < 1e-9, "column {j}: {found}, expected {expected}");
        }
    }

    #[test]
    fn shared_rows_know_their_numbers() {
        for rows in [0, 1, 2, 7] {
            let mut numbers = vec![usize::MAX; rows * 3];
            share_rows(&mut numbers, 3, |first, rows| {
                rows.iter_mut().enumerate().for_each(|(i, number)| *number = first * 3 + i);
            });
            assert!(numbers.iter().copied().eq(0..rows * 3));
        }
    }
}
