//! Weights of Linear layers, laid out once at load in the order that a product reads them.

use half::bf16;

use crate::PANEL;
use crate::isa::Isa;
use crate::matmul::Panels;
use crate::matrix::Buffer;
use crate::stored::StoredMatrix;

/// How packed weights hold their values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PanelDtype {
    /// f32.
    F32,
    /// bfloat16, rounded to the nearest, ties to even. Products widen it and are f32 in all else: on the instruction
    /// sets here there is no faster way to have them, so the other side is not rounded.
    Bf16,
}

/// Weights of n outputs and depth k, and their bias, in panels of [`PANEL`] outputs: panel after panel, each k rows of
/// 16 values in f32, or ceil(k / 2) rows of 16 pairs in bfloat16, where an odd k is filled up with zeros. The last
/// panel is filled up with zeros. One layout serves every instruction set.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    dtype: PanelDtype,
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
    pub fn pack(isa: Isa, dtype: PanelDtype, parts: &[(StoredMatrix<'_>, &[f32])]) -> Self {
        let k = parts[0].0.cols();
        let n = parts.iter().map(|(weight, _)| weight.rows()).sum();
        let mut packed = Self::zeros(dtype, n, k);
        let mut row = vec![0.0; k];
        let mut column = 0;
        for &(weight, bias) in parts {
            assert_eq!(weight.cols(), k, "depth of stacked weights");
            assert_eq!(weight.rows(), bias.len(), "rows of a weight and its bias");
            packed.bias.as_mut_slice()[column..column + bias.len()].copy_from_slice(bias);
            for i in 0..weight.rows() {
                weight.widen_row(isa, i, &mut row);
                let panel_len = packed.panel_len();
                let panel = &mut packed.panels.as_mut_slice()[column / PANEL * panel_len..];
                let slots = panel.iter_mut().skip(column % PANEL).step_by(PANEL);
                match dtype {
                    PanelDtype::F32 => slots.zip(&row).for_each(|(to, &from)| *to = from),
                    PanelDtype::Bf16 => slots.zip(row.chunks(2)).for_each(|(to, pair)| {
                        *to = bf16_pair(pair[0], pair.get(1).copied().unwrap_or(0.0));
                    }),
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
    pub fn pack_transposed(
        isa: Isa,
        dtype: PanelDtype,
        weight: StoredMatrix<'_>,
        rows: std::ops::Range<usize>,
    ) -> Self {
        assert!(rows.start <= rows.end && rows.end <= weight.rows(), "rows {rows:?} of {}", weight.rows());
        let (n, k) = (weight.cols(), rows.len());
        let mut packed = Self::zeros(dtype, n, k);
        let panel_len = packed.panel_len();
        let mut pair = [vec![0.0; n], vec![0.0; n]];
        let depth = dtype.depth();
        for (step, first) in rows.clone().step_by(depth).enumerate() {
            for (d, values) in pair[..depth].iter_mut().enumerate() {
                if first + d < rows.end {
                    weight.widen_row(isa, first + d, values);
                } else {
                    values.fill(0.0);
                }
            }
            for column in 0..n {
                let [even, odd] = pair.each_ref().map(|values| values[column]);
                let slot = column / PANEL * panel_len + step * PANEL + column % PANEL;
                packed.panels.as_mut_slice()[slot] = match dtype {
                    PanelDtype::F32 => even,
                    PanelDtype::Bf16 => bf16_pair(even, odd),
                };
            }
        }
        packed
    }

    fn zeros(dtype: PanelDtype, n: usize, k: usize) -> Self {
        let padded = n.next_multiple_of(PANEL);
        let panels = Buffer::zeros(padded * k.div_ceil(dtype.depth()));
        Self { dtype, panels, bias: Buffer::zeros(padded), n, k }
    }

    /// Slots of a panel.
    fn panel_len(&self) -> usize {
        self.k.div_ceil(self.dtype.depth()) * PANEL
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
        let panels = self.panels.as_slice();
        match self.dtype {
            PanelDtype::F32 => Panels::packed(panels, self.k, self.n),
            PanelDtype::Bf16 => Panels::packed_bf16(panels, self.k, self.n),
        }
    }

    pub(crate) fn bias(&self) -> &[f32] {
        self.bias.as_slice()
    }
}

impl PanelDtype {
    /// Steps along k that a slot of a panel holds.
    fn depth(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }
}

/// Two bfloat16 in the place of an f32, the first in the low bits.
fn bf16_pair(first: f32, second: f32) -> f32 {
    let bits = |x: f32| u32::from(bf16::from_f32(x).to_bits());
    f32::from_bits(bits(second) << 16 | bits(first))
}
