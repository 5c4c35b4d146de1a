//! Buffers that own f32 values: aligned to a cache line, reused from call to call.

use crate::PANEL;
use crate::matmul::MAX_TILE;
use crate::operand::slot_stride;
use crate::view::{Rows, RowsMut};

/// One cache line, and one AVX-512 vector.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([f32; PANEL]);

const _: () = assert!(size_of::<Line>() == PANEL * size_of::<f32>(), "a line would have padding");

/// A growable run of f32 that starts on a cache line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
}

impl Buffer {
    /// Where it starts is a multiple of so many bytes.
    pub(crate) const ALIGN: usize = align_of::<Line>();

    /// An empty buffer with room for `len` values.
    pub(crate) fn with_capacity(len: usize) -> Self {
        Self { lines: Vec::with_capacity(len.div_ceil(PANEL)) }
    }

    /// Appends a line.
    #[inline(always)]
    pub(crate) fn push(&mut self, line: [f32; PANEL]) {
        self.lines.push(Line(line));
    }

    /// Leaves nothing in it.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    /// Its lines.
    pub(crate) fn lines(&self) -> &[[f32; PANEL]] {
        self.as_slice().as_chunks().0
    }

    /// A buffer of at least `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self { lines: vec![Line([0.0; PANEL]); len.div_ceil(PANEL)] }
    }

    /// The first `len` elements, whatever they hold. Grows when there are fewer, to no more than that; never shrinks.
    pub(crate) fn at_least(&mut self, len: usize) -> &mut [f32] {
        if self.lines.len() * PANEL < len {
            // Before there are others: a copy would need both.
            self.lines = Vec::new();
            *self = Self::zeros(len);
        }
        &mut self.as_mut_slice()[..len]
    }

    pub(crate) fn as_slice(&self) -> &[f32] {
        // SAFETY: `Line` is `repr(C)` around `PANEL` f32 and as large as they are, so the lines are contiguous f32.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * PANEL) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as in `as_slice`; `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * PANEL) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.lines.len() * size_of::<Line>()
    }
}

/// A matrix of activations in rows, whose number changes from call to call while the memory stays.
#[derive(Clone, Debug)]
pub struct Matrix {
    buffer: Buffer,
    rows: usize,
    cols: usize,
    row_stride: usize,
    /// Room is for whole numbers of so many rows.
    unit: usize,
}

impl Default for Matrix {
    /// One of no columns.
    fn default() -> Self {
        Self::unpadded(0)
    }
}

impl Matrix {
    /// An empty matrix of `cols` columns. Beyond its rows there will be room for what tiles read of rows that are none.
    pub fn new(cols: usize) -> Self {
        Self { unit: MAX_TILE.0, ..Self::unpadded(cols) }
    }

    /// The same without that room, for few and long rows. Kernels copy such rows where they would read beyond.
    pub fn unpadded(cols: usize) -> Self {
        Self { buffer: Buffer::default(), rows: 0, cols, row_stride: slot_stride(cols), unit: 1 }
    }

    /// Sets the number of rows; what they hold is unspecified. Allocates only beyond the largest number so far.
    pub fn set_rows(&mut self, rows: usize) {
        self.buffer.at_least(rows.next_multiple_of(self.unit) * self.row_stride);
        self.rows = rows;
    }

    /// The matrix, to read.
    pub fn view(&self) -> Rows<'_> {
        Rows::new(self.buffer.as_slice(), self.rows, self.cols, self.row_stride)
    }

    /// The matrix, to write.
    pub fn view_mut(&mut self) -> RowsMut<'_> {
        RowsMut::new(self.buffer.as_mut_slice(), self.rows, self.cols, self.row_stride)
    }
}
