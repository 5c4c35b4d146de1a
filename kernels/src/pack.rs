//! Weights of Linear layers, laid out once at load in the order that a product reads them.

use std::ops::Range;

use half::bf16;

use crate::PANEL;
use crate::isa::Isa;
use crate::matmul::Upcoming;
use crate::matrix::Buffer;
use crate::simd::Simd;
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
                let panel_len = dtype.panel_len(k);
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
        rows: Range<usize>,
    ) -> Self {
        assert!(rows.start <= rows.end && rows.end <= weight.rows(), "rows {rows:?} of {}", weight.rows());
        let (n, k) = (weight.cols(), rows.len());
        let mut packed = Self::zeros(dtype, n, k);
        let panel_len = dtype.panel_len(k);
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
        let panels = Buffer::zeros(padded / PANEL * dtype.panel_len(k));
        Self { dtype, panels, bias: Buffer::zeros(padded), n, k }
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

    /// Outputs `columns`, which begin with a panel, and end with one or with the last.
    ///
    /// # Panics
    /// When they do not, or are out of bounds.
    pub fn columns(&self, columns: Range<usize>) -> PackedColumns<'_> {
        PackedColumns::from(self).columns(columns)
    }
}

/// Some outputs of packed weights: whole panels.
#[derive(Clone, Copy, Debug)]
pub struct PackedColumns<'a> {
    dtype: PanelDtype,
    panels: &'a [f32],
    /// Padded to whole panels.
    bias: &'a [f32],
    n: usize,
    k: usize,
}

impl<'a> From<&'a PackedWeights> for PackedColumns<'a> {
    fn from(weights: &'a PackedWeights) -> Self {
        let PackedWeights { dtype, panels, bias, n, k } = weights;
        Self { dtype: *dtype, panels: panels.as_slice(), bias: bias.as_slice(), n: *n, k: *k }
    }
}

impl<'a> PackedColumns<'a> {
    pub(crate) fn columns(self, columns: Range<usize>) -> Self {
        let whole = |column: usize| column.is_multiple_of(PANEL) || column == self.n;
        assert!(columns.start <= columns.end && columns.end <= self.n, "columns {columns:?} of {}", self.n);
        assert!(whole(columns.start) && whole(columns.end), "columns {columns:?} are no whole panels");
        let n = columns.len();
        let panels = columns.start.div_ceil(PANEL)..columns.end.div_ceil(PANEL);
        let panel_len = self.dtype.panel_len(self.k);
        Self {
            panels: &self.panels[panels.start * panel_len..panels.end * panel_len],
            bias: &self.bias[panels.start * PANEL..panels.end * PANEL],
            n,
            ..self
        }
    }

    pub(crate) fn dtype(&self) -> PanelDtype {
        self.dtype
    }

    pub(crate) fn n(&self) -> usize {
        self.n
    }

    pub(crate) fn k(&self) -> usize {
        self.k
    }

    pub(crate) fn panels(&self) -> &'a [f32] {
        self.panels
    }

    pub(crate) fn bias(&self) -> &'a [f32] {
        self.bias
    }

    /// Where they lie, for a product that asks for them beforehand.
    pub(crate) fn upcoming(&self) -> Upcoming {
        let panel_bytes = self.dtype.panel_len(self.k) * size_of::<f32>();
        Upcoming { data: self.panels.as_ptr(), panel_bytes }
    }
}

impl PanelDtype {
    /// Slots of a panel.
    fn panel_len(self, k: usize) -> usize {
        k.div_ceil(self.depth()) * PANEL
    }

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

/// Panels of bfloat16 pairs as panels of f32 of depth `k`.
#[inline(always)]
pub(crate) fn widen_bf16_panels<S: Simd>(simd: S, panels: &[f32], k: usize, widened: &mut [f32]) {
    if k == 0 {
        return;
    }
    let panel_len = PanelDtype::Bf16.panel_len(k);
    for (from, to) in panels.chunks_exact(panel_len).zip(widened.chunks_exact_mut(k * PANEL)) {
        for (pairs, to) in from.chunks_exact(PANEL).zip(to.chunks_mut(2 * PANEL)) {
            for lane in (0..PANEL).step_by(S::LANES) {
                let [even, odd] = simd.split_bf16(simd.load(&pairs[lane..]));
                simd.store(even, &mut to[lane..]);
                if to.len() > PANEL {
                    simd.store(odd, &mut to[PANEL + lane..]);
                }
            }
        }
    }
}
