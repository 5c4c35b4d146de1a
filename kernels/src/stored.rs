//! Matrices as a checkpoint stores them: little-endian bytes, at any alignment, in any of four types.

use crate::isa::{Isa, Kernel};
use crate::simd::Simd;

/// How an element is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stored {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
    /// Signed bytes; each row has an F32 scale that they are multiplied by.
    I8,
}

impl Stored {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::I8 => 1,
        }
    }
}

/// A row-major matrix of `rows` x `cols` that borrows the bytes of a checkpoint. Nothing is copied or aligned.
#[derive(Clone, Copy, Debug)]
pub struct StoredMatrix<'a> {
    bytes: &'a [u8],
    scales: &'a [u8],
    stored: Stored,
    rows: usize,
    cols: usize,
}

impl<'a> StoredMatrix<'a> {
    /// `bytes` holds `rows * cols` elements; `scales` holds `rows` F32 for [`Stored::I8`] and is empty otherwise.
    ///
    /// # Panics
    /// When either has another length.
    pub fn new(stored: Stored, bytes: &'a [u8], scales: &'a [u8], rows: usize, cols: usize) -> Self {
        let elements = rows.checked_mul(cols).and_then(|n| n.checked_mul(stored.size()));
        assert_eq!(Some(bytes.len()), elements, "bytes of a {rows} x {cols} matrix of {stored:?}");
        let expected = if stored == Stored::I8 { rows.checked_mul(size_of::<f32>()) } else { Some(0) };
        assert_eq!(Some(scales.len()), expected, "bytes of the scales of {rows} rows of {stored:?}");
        Self { bytes, scales, stored, rows, cols }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The rows in `range`. Panics when it is out of bounds.
    pub fn row_range(&self, range: std::ops::Range<usize>) -> StoredMatrix<'a> {
        let whole = range.start <= range.end && range.end <= self.rows;
        assert!(whole, "rows {range:?} of {}", self.rows);
        let cut = |bytes: &'a [u8], row: usize| &bytes[range.start * row..range.end * row];
        let scale = self.scales.len() / self.rows.max(1);
        Self {
            bytes: cut(self.bytes, self.cols * self.stored.size()),
            scales: cut(self.scales, scale),
            rows: range.len(),
            ..*self
        }
    }

    /// Writes row `i`, widened to f32, into `dst`. Widening is exact, save that of I8 rounds once (value * scale).
    ///
    /// # Panics
    /// When there is no row `i`, or `dst` is not `cols` long.
    pub fn widen_row(&self, isa: Isa, i: usize, dst: &mut [f32]) {
        struct Widen<'a>(StoredMatrix<'a>, usize, &'a mut [f32]);
        impl Kernel for Widen<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                self.0.read_row::<S, false>(simd, self.1, self.2);
            }
        }
        isa.run(Widen(*self, i, dst));
    }

    /// Row `i` as it is stored, if in bytes, and its scale. Panics when there is none.
    #[inline(always)]
    pub(crate) fn byte_row(&self, i: usize) -> Option<(&'a [u8], f32)> {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        let stored = self.stored == Stored::I8;
        stored.then(|| (&self.bytes[i * self.cols..][..self.cols], self.scale(i)))
    }

    fn scale(&self, i: usize) -> f32 {
        let scale = &self.scales[4 * i..];
        f32::from_le_bytes([scale[0], scale[1], scale[2], scale[3]])
    }

    /// dst = row i of weights, of which those below the normal range of f32 become 0: products with such are made a
    /// hundred times slower than others on some CPUs, and add nothing that shows.
    #[inline(always)]
    pub(crate) fn read_weights<S: Simd>(&self, simd: S, i: usize, dst: &mut [f32]) {
        self.read_row::<S, false>(simd, i, dst);
        let (zero, smallest) = (simd.splat(0.0), simd.splat(f32::MIN_POSITIVE));
        for part in dst.chunks_mut(S::LANES) {
            let x = simd.load_some(part, 0.0);
            let magnitude = simd.abs(x);
            // A zero keeps its sign, and a NaN is not less.
            let subnormal = simd.select_lt(zero, magnitude, zero, x);
            simd.store_some(simd.select_lt(magnitude, smallest, subnormal, x), part);
        }
    }

    /// dst = row i, or dst += row i.
    #[inline(always)]
    pub(crate) fn read_row<S: Simd, const ADD: bool>(&self, simd: S, i: usize, dst: &mut [f32]) {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        assert_eq!(dst.len(), self.cols, "columns");
        let size = self.stored.size();
        let row = &self.bytes[i * self.cols * size..][..self.cols * size];
        match self.stored {
            Stored::F32 => read::<S, F32, ADD>(simd, row, 1.0, dst),
            Stored::F16 => read::<S, F16, ADD>(simd, row, 1.0, dst),
            Stored::Bf16 => read::<S, Bf16, ADD>(simd, row, 1.0, dst),
            Stored::I8 => read::<S, I8, ADD>(simd, row, self.scale(i), dst),
        }
    }
}

/// How a vector is read. (Not a closure, for the reason that `activation.rs` gives.)
trait Element {
    const SIZE: usize;
    /// Whether the row's scale applies.
    const SCALED: bool;
    fn widen<S: Simd>(simd: S, bytes: &[u8]) -> S::V;
}

macro_rules! element {
    ($name:ident, $size:literal, $widen:ident) => {
        struct $name;
        impl Element for $name {
            const SIZE: usize = $size;
            const SCALED: bool = $size == 1;
            #[inline(always)]
            fn widen<S: Simd>(simd: S, bytes: &[u8]) -> S::V {
                simd.$widen(bytes)
            }
        }
    };
}
element!(F32, 4, widen_f32);
element!(F16, 2, widen_f16);
element!(Bf16, 2, widen_bf16);
element!(I8, 1, widen_i8);

#[inline(always)]
fn read<S: Simd, E: Element, const ADD: bool>(simd: S, row: &[u8], scale: f32, dst: &mut [f32]) {
    let mut at = 0;
    while at < dst.len() {
        let (bytes, to) = (&row[at * E::SIZE..], &mut dst[at..]);
        let whole = to.len() >= S::LANES;
        let mut x = if whole {
            E::widen(simd, bytes)
        } else {
            let mut padded = [0; 4 * crate::PANEL];
            padded[..bytes.len()].copy_from_slice(bytes);
            E::widen(simd, &padded)
        };
        if E::SCALED {
            x = simd.mul(x, simd.splat(scale));
        }
        if ADD {
            let before = if whole { simd.load(to) } else { simd.load_partial(to, 0.0) };
            x = simd.add(before, x);
        }
        if whole {
            simd.store(x, to)
        } else {
            simd.store_partial(x, to)
        }
        at += S::LANES;
    }
}
