//! Sums over the rows that a Linear layer reads: what its input is like, and how that of the rounded model differs.

use crossrank_kernels::{
    Epilogue, Isa, LinearScratch, Matrix, PackedWeights, PanelDtype, Stored, StoredMatrix, linear,
};

/// Rows that are multiplied together. Their products are summed in f32, those of all in f64.
const BATCH: usize = 512;

/// Weighted sums of the columns of what is observed, and of their products with the first `inputs` of them, each less
/// about its mean: of columns that hardly change, products would be large numbers whose difference is noise.
pub struct Moments {
    isa: Isa,
    inputs: usize,
    columns: usize,
    /// Rows that wait for their products, and their weights.
    waiting: Vec<f32>,
    weights: Vec<f32>,
    /// The means of the first rows that were multiplied.
    centre: Vec<f32>,
    /// Of all weights.
    total: f64,
    sums: Vec<f64>,
    /// columns x inputs
    products: Vec<f64>,
}

/// Means of columns, and their covariances with the inputs.
pub struct Covariance {
    pub inputs: usize,
    pub means: Vec<f64>,
    /// A row a column, `inputs` wide.
    pub matrix: Vec<f64>,
}

impl Moments {
    pub fn new(isa: Isa, inputs: usize, columns: usize) -> Self {
        Self {
            isa,
            inputs,
            columns,
            waiting: Vec::new(),
            weights: Vec::new(),
            centre: Vec::new(),
            total: 0.0,
            sums: vec![0.0; columns],
            products: vec![0.0; columns * inputs],
        }
    }

    /// Counts a row, inputs first, as often as `weight` says.
    pub fn add(&mut self, weight: u32, row: impl IntoIterator<Item = f32>) {
        self.waiting.extend(row);
        self.weights.push(weight as f32);
        if self.weights.len() == BATCH {
            self.multiply();
        }
    }

    /// The kernels take the rows' transpose for activations and the rows for weights.
    fn multiply(&mut self) {
        let (rows, inputs) = (self.weights.len(), self.inputs);
        if rows == 0 || inputs == 0 {
            return;
        }
        if self.centre.is_empty() {
            self.centre = self.waiting_means();
        }
        for row in self.waiting.chunks_exact_mut(self.columns) {
            row.iter_mut().zip(&self.centre).for_each(|(value, centre)| *value -= centre);
        }
        let mut weighted = Matrix::new(rows);
        weighted.set_rows(self.columns);
        let mut bytes = Vec::with_capacity(rows * inputs * size_of::<f32>());
        for (i, (row, &weight)) in self.waiting.chunks_exact(self.columns).zip(&self.weights).enumerate() {
            bytes.extend(row[..inputs].iter().flat_map(|value| value.to_le_bytes()));
            for (j, (&value, sum)) in row.iter().zip(&mut self.sums).enumerate() {
                weighted.view_mut().row_mut(j)[i] = value * weight;
                *sum += f64::from(value * weight);
            }
            self.total += f64::from(weight);
        }
        let matrix = StoredMatrix::new(Stored::F32, &bytes, &[], rows, inputs);
        let packed = PackedWeights::pack_transposed(self.isa, PanelDtype::F32, matrix, 0..rows);
        let mut products = Matrix::new(inputs);
        products.set_rows(self.columns);
        let mut scratch = LinearScratch::default();
        linear(self.isa, weighted.view(), &packed, Epilogue::Bias, &mut scratch, products.view_mut());
        for (j, sums) in self.products.chunks_exact_mut(inputs).enumerate() {
            for (sum, &product) in sums.iter_mut().zip(products.view().row(j)) {
                *sum += f64::from(product);
            }
        }
        self.waiting.clear();
        self.weights.clear();
    }

    /// Of the rows that wait. Exact where all are the same.
    fn waiting_means(&self) -> Vec<f32> {
        let total: f64 = self.weights.iter().copied().map(f64::from).sum();
        let mut sums = vec![0.0; self.columns];
        for (row, &weight) in self.waiting.chunks_exact(self.columns).zip(&self.weights) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(weight) * f64::from(value));
        }
        sums.iter().map(|sum| (sum / total) as f32).collect()
    }

    /// What has been counted; nothing where no row has, or where one held NaN or what has no square in f32.
    pub fn covariance(mut self) -> Option<Covariance> {
        self.multiply();
        let means: Vec<f64> = self.sums.iter().map(|sum| sum / self.total).collect();
        let mut matrix = self.products;
        for (row, mean) in matrix.chunks_exact_mut(self.inputs.max(1)).zip(&means) {
            for (product, other) in row.iter_mut().zip(&means) {
                *product = *product / self.total - mean * other;
            }
        }
        let finite = matrix.iter().chain(&means).all(|value| value.is_finite());
        let means = means.iter().zip(&self.centre).map(|(mean, &centre)| mean + f64::from(centre)).collect();
        finite.then_some(Covariance { inputs: self.inputs, means, matrix })
    }
}

impl Covariance {
    /// That with the input `from[i]` in place of each input i.
    pub fn with_inputs(&self, from: &[usize]) -> Self {
        let columns = from.iter().copied().chain(self.inputs..self.means.len());
        Self {
            inputs: self.inputs,
            means: columns.clone().map(|column| self.means[column]).collect(),
            matrix: columns.flat_map(|column| from.iter().map(move |&i| self.at(column, i))).collect(),
        }
    }

    /// Of a column and an input.
    pub fn at(&self, column: usize, input: usize) -> f64 {
        self.matrix[column * self.inputs + input]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covariance(rows: &[(u32, [f32; 3])]) -> Option<Covariance> {
        let mut moments = Moments::new(Isa::best(), 2, 3);
        rows.iter().for_each(|&(weight, row)| moments.add(weight, row));
        moments.covariance()
    }

    #[test]
    fn covariances_by_hand_beyond_one_batch() {
        let rows = [(1, [1.0, 2.0, 5.0]), (1, [3.0, -2.0, 5.0])].repeat(BATCH);
        let found = covariance(&rows).unwrap();
        assert_eq!(found.means, [2.0, 0.0, 5.0]);
        assert_eq!(found.matrix, [1.0, -2.0, -2.0, 4.0, 0.0, 0.0]);
        assert_eq!(found.at(1, 0), -2.0);
    }

    #[test]
    fn columns_that_never_change_have_no_variance() {
        let rows: Vec<_> = (0..3 * BATCH as u32).map(|i| (1 + i % 17, [0.1, -0.7e3, 1.0 / 3.0])).collect();
        let found = covariance(&rows).unwrap();
        assert_eq!(found.matrix, [0.0; 6]);
        assert_eq!(found.means, [0.1, -0.7e3, 1.0 / 3.0].map(|mean: f32| f64::from(mean)));
    }

    #[test]
    fn what_changes_from_batch_to_batch_is_variance() {
        let rows: Vec<_> = (0..4 * BATCH).map(|i| (1, [10.0 * (i / BATCH % 2) as f32, 1.0, 0.0])).collect();
        let found = covariance(&rows).unwrap();
        assert_eq!((found.means[0], found.at(0, 0)), (5.0, 25.0));
    }

    #[test]
    fn columns_that_hardly_change_have_little_variance() {
        let rows: Vec<_> = (0..8 * BATCH).map(|i| (1, [1e3 + (i % 3) as f32 / 1024.0, 1.0, 0.0])).collect();
        let (found, expected) = (covariance(&rows).unwrap().at(0, 0), 2.0 / 3.0 / 1024.0 / 1024.0);
        assert!((found / expected - 1.0).abs() < 1e-3, "{found}, expected {expected}");
    }

    #[test]
    fn a_row_counts_as_often_as_its_weight_says() {
        let (a, b) = ([1.0, 2.0, -4.0], [5.0, -1.0, 8.0]);
        let found = covariance(&[(3, a), (1, b)]).unwrap();
        let expected = covariance(&[(1, a), (1, a), (1, b), (1, a)]).unwrap();
        assert_eq!((found.means, found.matrix), (expected.means, expected.matrix));
    }

    #[test]
    fn an_input_in_place_of_another() {
        let rows = [(1, [1.0, 2.0, 5.0]), (1, [3.0, -2.0, 7.0])];
        let copied = rows.map(|(weight, [a, _, c])| (weight, [a, a, c]));
        let (found, expected) =
            (covariance(&rows).unwrap().with_inputs(&[0, 0]), covariance(&copied).unwrap());
        assert_eq!((found.means, found.matrix), (expected.means, expected.matrix));
    }

    #[test]
    fn no_rows_and_rows_that_are_not_finite_have_none() {
        assert!(covariance(&[]).is_none());
        assert!(covariance(&[(1, [1.0, 2.0, 3.0]), (1, [f32::NAN, 1.0, 1.0])]).is_none());
        assert!(covariance(&[(1, [1.0, f32::INFINITY, 1.0])]).is_none());
    }
}
