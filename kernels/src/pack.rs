//! Weights of Linear layers, laid out once at load in the order that a product reads them.

use std::ops::Range;

use crate::PANEL;
use crate::digits::{digit_slots, push_digits};
use crate::isa::{Isa, Kernel};
use crate::matrix::Buffer;
use crate::panels::{Panels, Upcoming};
use crate::quantize::{MAX_DEPTH, QuantizedPanel};
use crate::simd::Simd;
use crate::slot::Slot;
use crate::storage::{SharedBytes, Storage};
use crate::stored::StoredMatrix;

/// How packed weights hold their values. Those below the normal range of f32 are packed as 0, save in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PanelDtype {
    /// f32.
    F32,
    /// bfloat16, rounded to the nearest, ties to even. On `avx512_bf16` and `amx` products round the other side, too,
    /// and sum in f32; elsewhere they widen it, for want of a faster way, and are f32 in all else.
    Bf16,
    /// f32 as three digits of a byte each, with a scale for each output. A product splits the rows of the other side,
    /// too. Either side is off by no more than 2^-24 of the largest of its row or output and a hundredth of that, and
    /// each of their products by as much of the largest of both, twice, or once where a
    /// [residual](crate::Epilogue::Residual) is added. Only instruction sets with tiles of bytes multiply them: see
    /// [`Isa::panel_dtype`].
    Digits,
    /// Signed bytes with a scale for each output. Matrices that are stored so are taken as they are; the rows of others
    /// are scaled so that the largest magnitude becomes 127. Products quantise the other side, each row by itself, to
    /// unsigned bytes with a zero point, and sum in i32, exactly.
    Int8,
}

/// Weights of n outputs and depth k, and their bias, in panels of [`PANEL`] outputs: panel after panel, each k rows of
/// 16 values in f32, or ceil(k / 2) rows of 16 pairs in bfloat16, or ceil(k / 4) rows of 16 fours of bytes, where k is
/// filled up with zeros. Those of bytes are between a row of the sums of each output's bytes, in two 16-bit parts, and
/// one of its scale. In digits there are for each 64 of k three times 16 rows of fours, a digit after the other, and
/// last a row of scales. The last panel is filled up with zeros. One layout serves every instruction set.
#[derive(Clone, Debug)]
pub struct PackedWeights {
    dtype: PanelDtype,
    panels: Storage,
    bias: Buffer<f32>,
    n: usize,
    k: usize,
}

impl PackedWeights {
    /// Stacks matrices of the same depth, n_i x k each, with their biases of n_i: query, key and value become one.
    ///
    /// # Panics
    /// When there is no part, the depths differ, or a bias is not as long as its matrix has rows; when the depth is
    /// beyond what the dtype [allows](PanelDtype::max_depth).
    pub fn pack(isa: Isa, dtype: PanelDtype, parts: &[(StoredMatrix<'_>, &[f32])]) -> Self {
        let k = parts[0].0.cols();
        let n = parts.iter().map(|(weight, _)| weight.rows()).sum();
        for (weight, bias) in parts {
            assert_eq!(weight.cols(), k, "depth of stacked weights");
            assert_eq!(weight.rows(), bias.len(), "rows of a weight and its bias");
        }
        dtype.check_depth(k);
        let panels = Storage::Owned(isa.run(Pack { dtype, parts, n, k }));
        let biases = parts.iter().flat_map(|(_, bias)| bias.iter().copied());
        Self { dtype, panels, bias: padded(n, biases), n, k }
    }

    /// Rows `rows` of a matrix as the right-hand side itself: depth `rows.len()`, n = its columns, no bias.
    ///
    /// # Panics
    /// When `rows` is out of bounds or `dtype` is [`PanelDtype::Int8`], or as [`PackedWeights::pack`] does for depth.
    pub fn pack_transposed(
        isa: Isa,
        dtype: PanelDtype,
        weight: StoredMatrix<'_>,
        rows: Range<usize>,
    ) -> Self {
        assert!(dtype != PanelDtype::Int8, "transposed panels of bytes");
        let weight = weight.row_range(rows);
        let (n, k) = (weight.cols(), weight.rows());
        dtype.check_depth(k);
        let panels = Storage::Owned(isa.run(PackTransposed { dtype, weight }));
        Self { dtype, panels, bias: padded(n, std::iter::empty()), n, k }
    }

    /// Weights that have been packed before, in the bytes of [`PackedWeights::panel_bytes`]: read where they lie if
    /// that is the start of a cache line, else copied. A bias that ends early is filled up with zeros.
    ///
    /// # Panics
    /// When `range` is out of bounds or not as long as these panels are, or `bias` is longer than `n`.
    pub fn from_panels(
        dtype: PanelDtype,
        [n, k]: [usize; 2],
        bias: &[f32],
        bytes: &SharedBytes,
        range: Range<usize>,
    ) -> Self {
        assert_eq!(Some(range.len()), dtype.panels_len(n, k), "bytes of panels of n {n} and depth {k}");
        assert!(bias.len() <= n, "{} biases of {n} outputs", bias.len());
        let panels = Storage::new(bytes, range);
        Self { dtype, panels, bias: padded(n, bias.iter().copied()), n, k }
    }

    /// Weights that hold f32, in digits: what packing them so would have made.
    ///
    /// # Panics
    /// When they hold anything else, or are too deep.
    #[must_use]
    pub fn to_digits(&self, isa: Isa) -> Self {
        assert_eq!(self.dtype, PanelDtype::F32, "the dtype of what becomes digits");
        let (dtype, n, k) = (PanelDtype::Digits, self.n, self.k);
        dtype.check_depth(k);
        let panels = Storage::Owned(isa.run(ToDigits { panels: Slot::floats(self.panels.as_slice()), n, k }));
        Self { dtype, panels, bias: self.bias.clone(), n, k }
    }

    /// The panels as bytes, little-endian: an f32 a slot, or two bfloat16, or four bytes.
    pub fn panel_bytes(&self) -> Vec<u8> {
        self.panels.as_slice().iter().flat_map(|slot| slot.bits().to_le_bytes()).collect()
    }

    /// Bytes of the panels that are shared, not memory of their own.
    pub fn shared_bytes(&self) -> usize {
        if self.panels.is_owned() { 0 } else { size_of_val(self.panels.as_slice()) }
    }

    /// How values are held.
    pub fn dtype(&self) -> PanelDtype {
        self.dtype
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
        size_of_val(self.panels.as_slice()) + self.bias.bytes()
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
    panels: &'a [Slot],
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

    pub(crate) fn panels(&self) -> &'a [Slot] {
        self.panels
    }

    pub(crate) fn bias(&self) -> &'a [f32] {
        self.bias
    }

    /// The right-hand side of a product.
    #[inline(always)]
    pub(crate) fn as_panels(&self) -> Panels<'a> {
        let Self { dtype, panels, n, k, .. } = *self;
        match dtype {
            PanelDtype::F32 | PanelDtype::Bf16 => Panels::packed(panels, dtype.lines(k), n),
            PanelDtype::Digits => Panels::scaled(panels, 0, digit_slots(k), n),
            PanelDtype::Int8 => Panels::scaled(panels, 1, k.div_ceil(4), n),
        }
    }

    /// Where they lie, for a product that asks for them beforehand.
    pub(crate) fn upcoming(&self) -> Upcoming {
        Upcoming { data: self.panels.as_ptr(), panel_bytes: self.dtype.panel_len(self.k) * size_of::<Slot>() }
    }
}

impl PanelDtype {
    /// The deepest product, if there is such a limit.
    pub fn max_depth(self) -> Option<usize> {
        match self {
            Self::F32 | Self::Bf16 => None,
            // Where sums could leave an i32.
            Self::Digits | Self::Int8 => Some(MAX_DEPTH),
        }
    }

    /// The dtype whose precision products of it have: f32 of digits.
    #[must_use]
    pub fn precision(self) -> Self {
        if self == Self::Digits { Self::F32 } else { self }
    }

    /// That of a name.
    pub fn by_name(name: &str) -> Option<Self> {
        [Self::F32, Self::Bf16, Self::Digits, Self::Int8].into_iter().find(|dtype| dtype.name() == name)
    }

    /// The name, as files hold it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Digits => "digits",
            Self::Int8 => "int8",
        }
    }

    /// Bytes of the panels of n outputs and depth k, if they can be counted.
    pub fn panels_len(self, n: usize, k: usize) -> Option<usize> {
        let slots = n.div_ceil(PANEL).checked_mul(PANEL)?.checked_mul(self.lines(k))?;
        slots.checked_mul(size_of::<Slot>())
    }

    /// Slots of a panel.
    fn panel_len(self, k: usize) -> usize {
        self.lines(k) * PANEL
    }

    /// Rows of a panel of depth k.
    pub fn lines(self, k: usize) -> usize {
        match self {
            Self::F32 => k,
            Self::Bf16 => k.div_ceil(2),
            Self::Digits => digit_slots(k) + 1,
            Self::Int8 => 1 + k.div_ceil(4) + 1,
        }
    }

    fn check_depth(self, k: usize) {
        let most = self.max_depth().unwrap_or(k);
        assert!(k <= most, "a depth of {k} in {}, which allows {most}", self.name());
    }
}

/// Values filled up with zeros to whole panels.
fn padded(n: usize, values: impl Iterator<Item = f32>) -> Buffer<f32> {
    let mut buffer = Buffer::zeros(n.next_multiple_of(PANEL));
    buffer.as_mut_slice().iter_mut().zip(values).for_each(|(to, from)| *to = from);
    buffer
}

/// Rows of matrices become columns of panels: square blocks are transposed.
struct Pack<'a> {
    dtype: PanelDtype,
    parts: &'a [(StoredMatrix<'a>, &'a [f32])],
    n: usize,
    k: usize,
}

impl Kernel for Pack<'_> {
    type Output = Buffer<Slot>;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Buffer<Slot> {
        let Self { dtype, parts, n, k } = self;
        let mut panels = Buffer::with_capacity(n.div_ceil(PANEL) * dtype.panel_len(k));
        let mut rows = vec![0.0; PANEL * k];
        let mut panel = Buffer::with_capacity(k * PANEL);
        let mut quantized = QuantizedPanel::new(if dtype == PanelDtype::Int8 { k } else { 0 });
        let mut outputs = parts.iter().flat_map(|(weight, _)| (0..weight.rows()).map(move |i| (weight, i)));
        for _ in 0..n.div_ceil(PANEL) {
            for i in 0..PANEL {
                let output = outputs.next();
                let row = &mut rows[i * k..(i + 1) * k];
                let bytes = output.and_then(|(weight, i)| weight.byte_row(i));
                if let (PanelDtype::Int8, Some((bytes, scale))) = (dtype, bytes) {
                    quantized.copy(i, bytes, scale);
                    continue;
                }
                match output {
                    Some((weight, i)) if dtype == PanelDtype::Int8 => {
                        weight.read_row::<S, false>(simd, i, row);
                    }
                    Some((weight, i)) => weight.read_weights(simd, i, row),
                    None => row.fill(0.0),
                }
                if dtype == PanelDtype::Int8 {
                    quantized.quantize(simd, i, row);
                }
            }
            if dtype == PanelDtype::Int8 {
                push_quantized(simd, &quantized, k, &mut panels);
            } else {
                panel.clear();
                push_transposed(simd, Slot::of_floats(&rows), k, k, &mut panel);
                push_panel(dtype, bytemuck::cast_slice(panel.lines()), &mut panels);
            }
        }
        panels
    }
}

/// Appends the lines of a panel of slots whose outputs are rows of `len` slots, `stride` apart.
#[inline(always)]
fn push_transposed<S: Simd>(simd: S, rows: &[Slot], len: usize, stride: usize, panels: &mut Buffer<Slot>) {
    for start in (0..len).step_by(S::LANES) {
        let width = S::LANES.min(len - start);
        let mut lines = [[Slot::ZERO; PANEL]; PANEL];
        for first in (0..PANEL).step_by(S::LANES) {
            let mut block = [simd.splat(0.0); PANEL];
            for (i, values) in block[..S::LANES].iter_mut().enumerate() {
                let row = &rows[(first + i) * stride + start..][..width];
                *values = simd.load_some_slots(row);
            }
            simd.transpose(&mut block);
            for (&values, line) in block[..S::LANES].iter().zip(&mut lines) {
                simd.store_slots(values, &mut line[first..]);
            }
        }
        lines[..width].iter().for_each(|&line| panels.push(line));
    }
}

/// Appends a panel of f32 in another dtype, save bytes, whose scales are found row by row.
#[inline(always)]
fn push_panel(dtype: PanelDtype, panel: &[[f32; PANEL]], panels: &mut Buffer<Slot>) {
    match dtype {
        PanelDtype::F32 => panel.iter().for_each(|&line| panels.push(bytemuck::cast(line))),
        PanelDtype::Bf16 => {
            let (pairs, odd) = panel.as_chunks();
            pairs.iter().for_each(|[first, second]| panels.push(bf16_pairs(first, second)));
            odd.iter().for_each(|last| panels.push(bf16_pairs(last, &[0.0; PANEL])));
        }
        PanelDtype::Digits => push_digits(panel, panels),
        PanelDtype::Int8 => unreachable!("bytes are pushed by `push_quantized`"),
    }
}

/// Appends a panel of bytes.
#[inline(always)]
fn push_quantized<S: Simd>(simd: S, panel: &QuantizedPanel, k: usize, panels: &mut Buffer<Slot>) {
    let (slots, stride) = panel.slots();
    panels.push(panel.sums);
    push_transposed(simd, slots, k.div_ceil(4), stride, panels);
    panels.push(bytemuck::cast(panel.scales));
}

/// Rows of a matrix are rows of panels already.
struct PackTransposed<'a> {
    dtype: PanelDtype,
    weight: StoredMatrix<'a>,
}

impl Kernel for PackTransposed<'_> {
    type Output = Buffer<Slot>;
    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Buffer<Slot> {
        let Self { dtype, weight } = self;
        let (n, k) = (weight.cols(), weight.rows());
        let width = n.next_multiple_of(PANEL);
        let mut panels = Buffer::with_capacity(width / PANEL * dtype.panel_len(k));
        let mut rows = vec![0.0; k * width];
        for i in 0..k {
            weight.read_weights(simd, i, &mut rows[i * width..][..n]);
        }
        let mut panel = Buffer::with_capacity(k * PANEL);
        for column in (0..width).step_by(PANEL) {
            panel.clear();
            for row in rows.chunks_exact(width) {
                let mut line = [0.0; PANEL];
                line.copy_from_slice(&row[column..][..PANEL]);
                panel.push(line);
            }
            push_panel(dtype, panel.lines(), &mut panels);
        }
        panels
    }
}

/// Panels of f32 become digits.
struct ToDigits<'a> {
    panels: &'a [f32],
    n: usize,
    k: usize,
}

impl Kernel for ToDigits<'_> {
    type Output = Buffer<Slot>;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> Buffer<Slot> {
        let Self { panels, n, k } = self;
        let (count, lines) = (n.div_ceil(PANEL), panels.as_chunks().0);
        let mut digits = Buffer::with_capacity(count * PanelDtype::Digits.panel_len(k));
        for i in 0..count {
            push_digits(&lines[i * k..(i + 1) * k], &mut digits);
        }
        digits
    }
}

/// Two bfloat16 in the place of each f32, the first in the low bits.
#[inline(always)]
fn bf16_pairs(first: &[f32; PANEL], second: &[f32; PANEL]) -> [Slot; PANEL] {
    let mut pairs = [Slot::ZERO; PANEL];
    for (pair, (&first, &second)) in pairs.iter_mut().zip(first.iter().zip(second)) {
        *pair = Slot::pair([first, second]);
    }
    pairs
}

/// Panels of bfloat16 pairs as panels of f32 of depth `k`.
#[inline(always)]
pub(crate) fn widen_bf16_panels<S: Simd>(simd: S, panels: &[Slot], k: usize, widened: &mut [Slot]) {
    if k == 0 {
        return;
    }
    let panel_len = PanelDtype::Bf16.panel_len(k);
    for (from, to) in panels.chunks_exact(panel_len).zip(widened.chunks_exact_mut(k * PANEL)) {
        for (pairs, to) in from.chunks_exact(PANEL).zip(to.chunks_mut(2 * PANEL)) {
            for lane in (0..PANEL).step_by(S::LANES) {
                let [even, odd] = simd.split_bf16(simd.load_slots(&pairs[lane..]));
                simd.store_slots(even, &mut to[lane..]);
                if to.len() > PANEL {
                    simd.store_slots(odd, &mut to[PANEL + lane..]);
                }
            }
        }
    }
}
