//! Weights of Linear layers, laid out once at load in the order that a product reads them.

use crate::PANEL;
use crate::isa::Isa;
use crate::matmul::Panels;
use crate::matrix::Buffer;
use crate::stored::StoredMatrix;

/// f32 weights of n outputs and depth k, and their bias, in panels of [`PANEL`] outputs: panel after panel, each
/// k rows of 16 values. The last panel is filled up with zeros. One layout serves every instruction set.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    panels: Buffer,
    bias: Buffer,
    n: usize,
    k: usize,
}

impl PackedWeights {
    /// Stacks matrices of the same depth, n_i x k each, with their biases of n_i: query, key and value become one.
    ///
    /// # Panics
    /// When there is no part, the depths differ, or a bias is not as long as its matrix has rows.
    pub fn pack(isa: Isa, parts: &[(StoredMatrix<'_>, &[f32])]) -> Self {
        let k = parts[0].0.cols();
        let n = parts.iter().map(|(weight, _)| weight.rows()).sum();
        let mut packed = Self::zeros(n, k);
        let mut row = vec![0.0; k];
        let mut column = 0;
        for &(weight, bias) in parts {
            assert_eq!(weight.cols(), k, "depth of stacked weights");
            assert_eq!(weight.rows(), bias.len(), "rows of a weight and its bias");
            packed.bias.as_mut_slice()[column..column + bias.len()].copy_from_slice(bias);
            for i in 0..weight.rows() {
                weight.widen_row(isa, i, &mut row);
                let panel = &mut packed.panels.as_mut_slice()[column / PANEL * k * PANEL..];
                for (to, &from) in panel.iter_mut().skip(column % PANEL).step_by(PANEL).zip(&row) {
                    *to = from;
                }
                column += 1;
            }
        }
        packed
    }

    /// Rows `rows` of a matrix as the right-hand side itself: depth `rows.len()`, n = its columns, no bias.
    ///
    /// # Panics
    /// When `rows` is out of bounds.
    pub fn pack_transposed(isa: Isa, weight: StoredMatrix<'_>, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= weight.rows(), "rows {rows:?} of {}", weight.rows());
        let (n, k) = (weight.cols(), rows.len());
        let mut packed = Self::zeros(n, k);
        let mut row = vec![0.0; n];
        for (i, source) in rows.enumerate() {
            weight.widen_row(isa, source, &mut row);
            for (panel, values) in row.chunks(PANEL).enumerate() {
                packed.panels.as_mut_slice()[(panel * k + i) * PANEL..][..values.len()]
                    .copy_from_slice(values);
            }
        }
        packed
    }

    fn zeros(n: usize, k: usize) -> Self {
        let padded = n.next_multiple_of(PANEL);
        Self { panels: Buffer::zeros(padded * k), bias: Buffer::zeros(padded), n, k }
    }

    /// Number of outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Depth of the product.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        self.panels.bytes() + self.bias.bytes()
    }

    pub(crate) fn panels(&self) -> Panels<'_> {
        Panels::packed(self.panels.as_slice(), self.k, self.n)
    }

    pub(crate) fn bias(&self) -> &[f32] {
        self.bias.as_slice()
    }
}
