//! Buffers that own f32 values or slots: aligned to a cache line, reused from call to call.

use bytemuck::Pod;

use crate::PANEL;
use crate::matmul::MAX_TILE;
use crate::operand::slot_stride;
use crate::slot::Slot;
use crate::view::{RowFormat, Rows, RowsMut};

/// One cache line, and one AVX-512 vector.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line<T>([T; PANEL]);

/// A growable run of f32, or of [slots](crate::slot::Slot), that starts on a cache line.
#[derive(Clone, Debug)]
pub(crate) struct Buffer<T> {
    lines: Vec<Line<T>>,
}

impl<T> Default for Buffer<T> {
    fn default() -> Self {
        Self { lines: Vec::new() }
    }
}

impl<T: Pod> Buffer<T> {
    /// Where it starts is a multiple of so many bytes.
    pub(crate) const ALIGN: usize = align_of::<Line<T>>();

    const NO_PADDING: () =
        assert!(size_of::<Line<T>>() == PANEL * size_of::<T>(), "a line would have padding");

    /// An empty buffer with room for `len` values.
    pub(crate) fn with_capacity(len: usize) -> Self {
        Self { lines: Vec::with_capacity(len.div_ceil(PANEL)) }
    }

    /// Appends a line.
    #[inline(always)]
    pub(crate) fn push(&mut self, line: [T; PANEL]) {
        self.lines.push(Line(line));
    }

    /// Leaves nothing in it.
    pub(crate) fn clear(&mut self) {
        self.lines.clear();
    }

    /// Its lines.
    pub(crate) fn lines(&self) -> &[[T; PANEL]] {
        self.as_slice().as_chunks().0
    }

    /// A buffer of at least `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        Self { lines: vec![Line([T::zeroed(); PANEL]); len.div_ceil(PANEL)] }
    }

    /// The first `len` elements, whatever they hold. Grows when there are fewer, to no more than that; never shrinks.
    pub(crate) fn at_least(&mut self, len: usize) -> &mut [T] {
        if self.lines.len() * PANEL < len {
            // Before there are others: a copy would need both.
            self.lines = Vec::new();
            *self = Self::zeros(len);
        }
        &mut self.as_mut_slice()[..len]
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        const { Self::NO_PADDING };
        // SAFETY: `Line` is `repr(C)` around `PANEL` elements and as large as they are, as `NO_PADDING` checks, so the
        // lines are contiguous elements.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * PANEL) }
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [T] {
        const { Self::NO_PADDING };
        // SAFETY: as in `as_slice`; `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.lines.len() * PANEL) }
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&self.lines[..])
    }
}

/// A matrix of activations in rows, whose number changes from call to call while the memory stays.
#[derive(Clone, Debug)]
pub struct Matrix {
    buffer: Buffer<Slot>,
    format: RowFormat,
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
    /// An empty matrix of `cols` columns of f32. Beyond its rows there will be room for what tiles read of rows that are
    /// none.
    pub fn new(cols: usize) -> Self {
        Self::in_format(RowFormat::F32, cols)
    }

    /// The same of either format.
    ///
    /// # Panics
    /// When a pair would be cut.
    pub fn in_format(format: RowFormat, cols: usize) -> Self {
        let row_stride = slot_stride(format.slots(cols));
        Self { unit: MAX_TILE.0, format, row_stride, ..Self::unpadded(cols) }
    }

    /// The same without that room, for few and long rows of f32. Kernels copy such rows where they would read beyond.
    pub fn unpadded(cols: usize) -> Self {
        let row_stride = slot_stride(cols);
        Self { buffer: Buffer::default(), format: RowFormat::F32, rows: 0, cols, row_stride, unit: 1 }
    }

    /// Sets the number of rows; what they hold is unspecified. Allocates only beyond the largest number so far.
    pub fn set_rows(&mut self, rows: usize) {
        self.buffer.at_least(rows.next_multiple_of(self.unit) * self.row_stride);
        self.rows = rows;
    }

    /// The matrix, to read.
    pub fn view(&self) -> Rows<'_> {
        Rows::of_slots(self.buffer.as_slice(), self.format, self.rows, self.cols, self.row_stride)
    }

    /// The matrix, to write.
    pub fn view_mut(&mut self) -> RowsMut<'_> {
        RowsMut::of_slots(self.buffer.as_mut_slice(), self.format, self.rows, self.cols, self.row_stride)
    }
}
