//! Views of row-major f32 matrices, which can be cut by rows and by columns.
//!
//! A view that may be written can be split both ways into parts that do not overlap, so that workers can share one
//! step. A slice could only be split by rows. All of it is inlined: a call out of a kernel would clear its vectors.

use std::marker::PhantomData;
use std::ops::Range;

use crate::slot::Slot;

/// A matrix of f32 to read: `rows` x `cols`, with `row_stride` elements from one row to the next.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a>(Slots<'a>);

/// Rows of slots to read: activations as a product reads them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots<'a> {
    data: *const Slot,
    rows: usize,
    cols: usize,
    row_stride: usize,
    /// Slots that are borrowed from the first on: beyond the last row, too.
    room: usize,
    borrow: PhantomData<&'a [Slot]>,
}

/// The same to write; nothing else sees the elements while it lives.
#[derive(Debug)]
pub struct RowsMut<'a> {
    data: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `Slots` gives what `&[Slot]` gives, and `&[Slot]` is `Send` and `Sync`.
unsafe impl Send for Slots<'_> {}
// SAFETY: as above.
unsafe impl Sync for Slots<'_> {}
// SAFETY: a `RowsMut` gives exclusive access to its elements as `&mut [f32]` does, and that is `Send`.
unsafe impl Send for RowsMut<'_> {}

#[inline]
fn check(len: usize, rows: usize, cols: usize, row_stride: usize) {
    assert!(cols <= row_stride, "{cols} columns do not fit a row stride of {row_stride}");
    let needed = if rows == 0 {
        Some(0)
    } else {
        (rows - 1).checked_mul(row_stride).and_then(|before| before.checked_add(cols))
    };
    assert!(
        needed.is_some_and(|needed| needed <= len),
        "{rows} rows of {cols} at stride {row_stride} do not fit {len} elements"
    );
}

#[inline]
fn check_range(range: &Range<usize>, len: usize) {
    assert!(range.start <= range.end && range.end <= len, "{range:?} is not within 0..{len}");
}

impl<'a> Rows<'a> {
    /// Views `rows` x `cols` elements of `data`.
    ///
    /// # Panics
    /// When `cols` exceeds `row_stride`, or `data` is too short.
    #[inline]
    pub fn new(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self(Slots::new(Slot::of_floats(data), rows, cols, row_stride))
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.0.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.0.cols
    }

    /// Elements from one row to the next.
    #[inline]
    pub fn row_stride(&self) -> usize {
        self.0.row_stride
    }

    /// Row `i`. Panics when there is none.
    #[inline]
    pub fn row(&self, i: usize) -> &'a [f32] {
        Slot::floats(self.0.row(i))
    }

    /// The rows in `range`. Panics when it is out of bounds.
    #[inline]
    pub fn row_range(&self, range: Range<usize>) -> Rows<'a> {
        Rows(self.0.row_range(range))
    }

    /// The columns in `range`. Panics when it is out of bounds.
    #[inline]
    pub fn column_range(&self, range: Range<usize>) -> Rows<'a> {
        Rows(self.0.column_range(range))
    }

    /// The same memory as slots.
    #[inline]
    pub(crate) fn slots(&self) -> Slots<'a> {
        self.0
    }
}

impl<'a> Slots<'a> {
    /// Views `rows` x `cols` slots of `data`.
    ///
    /// # Panics
    /// When `cols` exceeds `row_stride`, or `data` is too short.
    #[inline]
    pub(crate) fn new(data: &'a [Slot], rows: usize, cols: usize, row_stride: usize) -> Self {
        check(data.len(), rows, cols, row_stride);
        Self { data: data.as_ptr(), rows, cols, row_stride, room: data.len(), borrow: PhantomData }
    }

    /// Number of rows.
    #[inline]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Slots of a row.
    #[inline]
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// Slots from one row to the next.
    #[inline]
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    #[inline]
    pub(crate) fn as_ptr(&self) -> *const Slot {
        self.data
    }

    /// Whether as many rows, and slots of each, as the next multiple of `unit` may be read.
    #[inline]
    pub(crate) fn is_readable_by(&self, unit: usize) -> bool {
        let [rows, cols] = [self.rows, self.cols].map(|len| len.next_multiple_of(unit));
        unit == 1 || self.rows == 0 || (rows - 1) * self.row_stride + cols <= self.room
    }

    /// Row `i`. Panics when there is none.
    #[inline]
    pub(crate) fn row(&self, i: usize) -> &'a [Slot] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: `new` checked that every row lies within the borrowed slice, and `i` is one of them.
        unsafe { std::slice::from_raw_parts(self.data.add(i * self.row_stride), self.cols) }
    }

    /// The rows in `range`. Panics when it is out of bounds.
    #[inline]
    pub(crate) fn row_range(&self, range: Range<usize>) -> Slots<'a> {
        check_range(&range, self.rows);
        let offset = if range.is_empty() { 0 } else { range.start * self.row_stride };
        // SAFETY: the first row of a range that is not empty lies within the borrowed slice.
        Slots { data: unsafe { self.data.add(offset) }, rows: range.len(), room: self.room - offset, ..*self }
    }

    /// The columns of slots in `range`. Panics when it is out of bounds.
    #[inline]
    pub(crate) fn column_range(&self, range: Range<usize>) -> Slots<'a> {
        check_range(&range, self.cols);
        let offset = if self.rows == 0 { 0 } else { range.start };
        // SAFETY: `range.start <= cols`, and a row of `cols` slots lies within the borrowed slice.
        Slots { data: unsafe { self.data.add(offset) }, cols: range.len(), room: self.room - offset, ..*self }
    }
}

impl Default for RowsMut<'_> {
    /// A view of nothing.
    #[inline]
    fn default() -> Self {
        Self::new(&mut [], 0, 0, 0)
    }
}

impl<'a> RowsMut<'a> {
    /// Views `rows` x `cols` elements of `data`.
    ///
    /// # Panics
    /// When `cols` exceeds `row_stride`, or `data` is too short.
    #[inline]
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        check(data.len(), rows, cols, row_stride);
        Self { data: data.as_mut_ptr(), rows, cols, row_stride, borrow: PhantomData }
    }

    /// Views elements by pointer.
    ///
    /// # Safety
    /// Until the view is gone, `rows` rows of `cols` elements, `row_stride` apart and no further than that, can be
    /// written and are used through nothing else.
    #[inline]
    pub(crate) unsafe fn from_raw(data: *mut f32, rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, borrow: PhantomData }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    #[inline]
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    #[inline]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.data
    }

    /// Row `i`, to write. Panics when there is none.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: `new` checked that every row lies within the slice, which `self` borrows exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.row_stride), self.cols) }
    }

    /// Rows `first` to `first + N`, to write. Panics when there are not so many.
    pub(crate) fn group_mut<const N: usize>(&mut self, first: usize) -> [&mut [f32]; N] {
        assert!(first <= self.rows && N <= self.rows - first, "rows {first} and {N} more of {}", self.rows);
        // SAFETY: the line above checks that there are such rows; `new` checked that every row lies within the slice,
        // which `self` borrows exclusively, and that no row reaches into the next.
        std::array::from_fn(|i| unsafe {
            std::slice::from_raw_parts_mut(self.data.add((first + i) * self.row_stride), self.cols)
        })
    }

    /// The same view for a shorter time.
    #[inline]
    pub fn reborrow(&mut self) -> RowsMut<'_> {
        RowsMut { borrow: PhantomData, ..*self }
    }

    /// The rows before `at`, and those from `at` on. Panics when `at` exceeds their number.
    #[inline]
    pub fn split_rows(self, at: usize) -> (RowsMut<'a>, RowsMut<'a>) {
        assert!(at <= self.rows, "row {at} of {}", self.rows);
        let offset = if at == self.rows { 0 } else { at * self.row_stride };
        // SAFETY: row `at` lies within the slice, or the second part is empty and its pointer never used.
        let second = unsafe { self.data.add(offset) };
        (RowsMut { rows: at, ..self }, RowsMut { data: second, rows: self.rows - at, ..self })
    }

    /// The columns before `at`, and those from `at` on. Panics when `at` exceeds their number.
    #[inline]
    pub fn split_columns(self, at: usize) -> (RowsMut<'a>, RowsMut<'a>) {
        assert!(at <= self.cols, "column {at} of {}", self.cols);
        let offset = if self.rows == 0 { 0 } else { at };
        // SAFETY: `at <= cols`, and a row of `cols` elements lies within the slice.
        let second = unsafe { self.data.add(offset) };
        (RowsMut { cols: at, ..self }, RowsMut { data: second, cols: self.cols - at, ..self })
    }

    /// The rows in `range`, for a shorter time. Panics when it is out of bounds.
    #[inline]
    pub fn row_range(&mut self, range: Range<usize>) -> RowsMut<'_> {
        check_range(&range, self.rows);
        self.reborrow().split_rows(range.end).0.split_rows(range.start).1
    }

    /// The columns in `range`, for a shorter time. Panics when it is out of bounds.
    #[inline]
    pub fn column_range(&mut self, range: Range<usize>) -> RowsMut<'_> {
        check_range(&range, self.cols);
        self.reborrow().split_columns(range.end).0.split_columns(range.start).1
    }

    /// The same elements, to read.
    #[inline]
    pub fn as_rows(&self) -> Rows<'_> {
        Rows(Slots {
            data: self.data.cast(),
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            room: if self.rows == 0 { 0 } else { (self.rows - 1) * self.row_stride + self.cols },
            borrow: PhantomData,
        })
    }
}
