//! Sums over the rows that a Linear layer reads: what its input is like.

use crossrank_kernels::{
    Epilogue, Isa, LinearScratch, Matrix, PackedWeights, PanelDtype, Rows, Stored, StoredMatrix, linear,
};

/// Rows that are multiplied together. Their products are summed in f32, those of all in f64.
const BATCH: usize = 512;

/// Sums and sums of products of the columns of many rows.
pub struct Moments {
    width: usize,
    /// Rows that wait for their products.
    waiting: Vec<f32>,
    count: usize,
    sums: Vec<f64>,
    /// Magnitudes.
    largest: Vec<f32>,
    /// width x width
    products: Vec<f64>,
}

/// Means and covariances of columns.
pub struct Covariance {
    pub means: Vec<f64>,
    /// width x width, symmetric.
    pub matrix: Vec<f64>,
}

impl Moments {
    pub fn new(width: usize) -> Self {
        let products = vec![0.0; width * width];
        Self {
            width,
            waiting: Vec::new(),
            count: 0,
            sums: vec![0.0; width],
            largest: vec![0.0; width],
            products,
        }
    }

    /// Counts rows of this width.
    pub fn add(&mut self, isa: Isa, rows: Rows<'_>) {
        for i in 0..rows.rows() {
            self.waiting.extend_from_slice(rows.row(i));
            for (largest, value) in self.largest.iter_mut().zip(rows.row(i)) {
                *largest = largest.max(value.abs());
            }
            if self.waiting.len() == BATCH * self.width {
                self.multiply(isa);
            }
        }
    }

    /// The kernels take rows^T for activations and the rows for weights.
    fn multiply(&mut self, isa: Isa) {
        let (width, waiting) = (self.width, &self.waiting);
        let rows = waiting.len() / width.max(1);
        if rows == 0 {
            return;
        }
        let mut transposed = Matrix::new(rows);
        transposed.set_rows(width);
        for (i, row) in waiting.chunks_exact(width).enumerate() {
            for (j, (&value, sum)) in row.iter().zip(&mut self.sums).enumerate() {
                transposed.view_mut().row_mut(j)[i] = value;
                *sum += f64::from(value);
            }
        }
        let bytes: Vec<u8> = waiting.iter().flat_map(|value| value.to_le_bytes()).collect();
        let matrix = StoredMatrix::new(Stored::F32, &bytes, &[], rows, width);
        let packed = PackedWeights::pack_transposed(isa, PanelDtype::F32, matrix, 0..rows);
        let mut products = Matrix::new(width);
        products.set_rows(width);
        let mut scratch = LinearScratch::default();
        linear(isa, transposed.view(), &packed, Epilogue::Bias, &mut scratch, products.view_mut());
        for (j, sums) in self.products.chunks_exact_mut(width).enumerate() {
            for (sum, &product) in sums.iter_mut().zip(products.view().row(j)) {
                *sum += f64::from(product);
            }
        }
        self.count += rows;
        self.waiting.clear();
    }

    /// The largest magnitude of each column.
    pub fn largest(&self) -> &[f32] {
        &self.largest
    }

    /// What has been counted; nothing where no row has, or where one held NaN or an infinity.
    pub fn covariance(mut self, isa: Isa) -> Option<Covariance> {
        self.multiply(isa);
        let count = self.count as f64;
        let means: Vec<f64> = self.sums.iter().map(|sum| sum / count).collect();
        let mut matrix = self.products;
        for (i, row) in matrix.chunks_exact_mut(self.width).enumerate() {
            for (product, mean) in row.iter_mut().zip(&means) {
                *product = *product / count - mean * means[i];
            }
        }
        let finite = matrix.iter().chain(&means).all(|value| value.is_finite());
        finite.then_some(Covariance { means, matrix })
    }
}

impl Covariance {
    /// That of the same columns, each times its factor.
    pub fn scale(&mut self, factors: &[f32]) {
        self.means.iter_mut().zip(factors).for_each(|(mean, &factor)| *mean *= f64::from(factor));
        for (row, &factor) in self.matrix.chunks_exact_mut(factors.len().max(1)).zip(factors) {
            for (value, &other) in row.iter_mut().zip(factors) {
                *value *= f64::from(factor) * f64::from(other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of two columns.
    fn covariance(rows: &[[f32; 2]]) -> Option<Covariance> {
        let mut moments = Moments::new(2);
        moments.add(Isa::best(), Rows::new(rows.as_flattened(), rows.len(), 2, 2));
        moments.covariance(Isa::best())
    }

    #[test]
    fn covariances_by_hand_beyond_one_batch() {
        let rows = [[1.0, 2.0], [3.0, -2.0]].repeat(BATCH);
        let found = covariance(&rows).unwrap();
        assert_eq!(found.means, [2.0, 0.0]);
        assert_eq!(found.matrix, [1.0, -2.0, -2.0, 4.0]);
    }

    #[test]
    fn a_scaled_covariance_is_that_of_scaled_rows() {
        let mut moments = Moments::new(2);
        moments.add(Isa::best(), Rows::new(&[1.0, 2.0, 3.0, -8.0], 2, 2, 2));
        assert_eq!(moments.largest(), [3.0, 8.0]);
        let mut scaled = moments.covariance(Isa::best()).unwrap();
        scaled.scale(&[2.0, 0.5]);
        let expected = covariance(&[[2.0, 1.0], [6.0, -4.0]]).unwrap();
        assert_eq!((scaled.means, scaled.matrix), (expected.means, expected.matrix));
    }

    #[test]
    fn no_rows_and_rows_that_are_not_finite_have_none() {
        assert!(covariance(&[]).is_none());
        assert!(covariance(&[[1.0, 2.0], [f32::NAN, 1.0]]).is_none());
        assert!(covariance(&[[1.0, f32::INFINITY]]).is_none());
    }
}
