//! Views of row-major matrices, which can be cut by rows and by columns.
//!
//! A view that may be written can be split both ways into parts that do not overlap, so that workers can share one
//! step. A slice could only be split by rows. All of it is inlined: a call out of a kernel would clear its vectors.

use std::marker::PhantomData;
use std::ops::Range;

use crate::slot::Slot;

/// What rows hold. They say it themselves, so that no kernel takes the one for the other.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum RowFormat {
    /// f32.
    #[default]
    F32,
    /// bfloat16, two columns in the place of an f32, the first in the low bits. The number of columns is even.
    Bf16Pairs,
}

impl RowFormat {
    /// Columns in a slot.
    #[inline(always)]
    pub(crate) fn slot_values(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16Pairs => 2,
        }
    }

    /// Slots of so many columns. Panics when one would be cut.
    #[inline(always)]
    pub(crate) fn slots(self, cols: usize) -> usize {
        match self {
            Self::F32 => cols,
            Self::Bf16Pairs => {
                assert!(cols.is_multiple_of(2), "{cols} columns are no whole pairs");
                cols / 2
            }
        }
    }

    #[inline(always)]
    fn slot_range(self, cols: Range<usize>) -> Range<usize> {
        self.slots(cols.start)..self.slots(cols.end)
    }

    /// Refuses rows of another format.
    #[inline(always)]
    fn check(self, expected: Self) {
        assert!(self == expected, "rows of {self:?}, read or written as {expected:?}");
    }
}

/// A matrix to read: `rows` x `cols`, with `row_stride` elements from one row to the next. Elements are f32, or
/// [pairs](RowFormat::Bf16Pairs) of columns.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    slots: Slots<'a>,
    format: RowFormat,
}

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
    data: *mut Slot,
    rows: usize,
    /// Of slots.
    cols: usize,
    row_stride: usize,
    format: RowFormat,
    borrow: PhantomData<&'a mut [Slot]>,
}

// SAFETY: a `Slots` gives what `&[Slot]` gives, and `&[Slot]` is `Send` and `Sync`.
unsafe impl Send for Slots<'_> {}
// SAFETY: as above.
unsafe impl Sync for Slots<'_> {}
// SAFETY: a `RowsMut` gives exclusive access to its elements as `&mut [Slot]` does, and that is `Send`.
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
        let slots = Slots::new(Slot::of_floats(data), rows, cols, row_stride);
        Self { slots, format: RowFormat::F32 }
    }

    /// Views `rows` x `cols` of bfloat16, two in each element of `data`, the first in the low bits.
    ///
    /// # Panics
    /// When `cols` is odd, half of it exceeds `row_stride`, or `data` is too short.
    #[inline]
    pub fn pairs(data: &'a [u32], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self::of_slots(bytemuck::cast_slice(data), RowFormat::Bf16Pairs, rows, cols, row_stride)
    }

    /// Views `rows` x `cols` of either format.
    #[inline]
    pub(crate) fn of_slots(
        data: &'a [Slot],
        format: RowFormat,
        rows: usize,
        cols: usize,
        row_stride: usize,
    ) -> Self {
        Self { slots: Slots::new(data, rows, format.slots(cols), row_stride), format }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.slots.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.slots.cols * self.format.slot_values()
    }

    /// What they hold.
    #[inline]
    pub fn format(&self) -> RowFormat {
        self.format
    }

    /// Elements from one row to the next.
    #[inline]
    pub fn row_stride(&self) -> usize {
        self.slots.row_stride
    }

    /// Row `i` of f32. Panics when there is none, or rows are pairs.
    #[inline]
    pub fn row(&self, i: usize) -> &'a [f32] {
        self.format.check(RowFormat::F32);
        Slot::floats(self.slots.row(i))
    }

    /// The rows in `range`. Panics when it is out of bounds.
    #[inline]
    pub fn row_range(&self, range: Range<usize>) -> Rows<'a> {
        Rows { slots: self.slots.row_range(range), ..*self }
    }

    /// The columns in `range`. Panics when it is out of bounds, or cuts a pair.
    #[inline]
    pub fn column_range(&self, range: Range<usize>) -> Rows<'a> {
        Rows { slots: self.slots.column_range(self.format.slot_range(range)), ..*self }
    }

    /// The slots that they are, whatever those hold.
    #[inline]
    pub(crate) fn slots(&self) -> Slots<'a> {
        self.slots
    }

    /// The slots that they are, of an f32 each. Panics when rows are pairs.
    #[inline]
    pub(crate) fn float_slots(&self) -> Slots<'a> {
        self.format.check(RowFormat::F32);
        self.slots
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
        Self::of_slots(Slot::of_floats_mut(data), RowFormat::F32, rows, cols, row_stride)
    }

    /// Views `rows` x `cols` of bfloat16, two in each element of `data`, the first in the low bits.
    ///
    /// # Panics
    /// When `cols` is odd, half of it exceeds `row_stride`, or `data` is too short.
    #[inline]
    pub fn pairs(data: &'a mut [u32], rows: usize, cols: usize, row_stride: usize) -> Self {
        Self::of_slots(bytemuck::cast_slice_mut(data), RowFormat::Bf16Pairs, rows, cols, row_stride)
    }

    /// Views `rows` x `cols` of either format.
    #[inline]
    pub(crate) fn of_slots(
        data: &'a mut [Slot],
        format: RowFormat,
        rows: usize,
        cols: usize,
        row_stride: usize,
    ) -> Self {
        let cols = format.slots(cols);
        check(data.len(), rows, cols, row_stride);
        Self { data: data.as_mut_ptr(), rows, cols, row_stride, format, borrow: PhantomData }
    }

    /// Views f32 by pointer.
    ///
    /// # Safety
    /// Until the view is gone, `rows` rows of `cols` elements, `row_stride` apart and no further than that, can be
    /// written and are used through nothing else.
    #[inline]
    pub(crate) unsafe fn from_raw(data: *mut Slot, rows: usize, cols: usize, row_stride: usize) -> Self {
        Self { data, rows, cols, row_stride, format: RowFormat::F32, borrow: PhantomData }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols * self.format.slot_values()
    }

    /// What they hold.
    #[inline]
    pub fn format(&self) -> RowFormat {
        self.format
    }

    #[inline]
    pub(crate) fn row_stride(&self) -> usize {
        self.row_stride
    }

    #[inline]
    pub(crate) fn as_mut_ptr(&mut self) -> *mut Slot {
        self.data
    }

    /// Row `i` of f32, to write. Panics when there is none, or rows are pairs.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        self.format.check(RowFormat::F32);
        Slot::floats_mut(self.slot_row_mut(i))
    }

    /// Row `i` of [pairs](RowFormat::Bf16Pairs), to write. Panics when there is none, or rows are f32.
    #[inline]
    pub fn pair_row_mut(&mut self, i: usize) -> &mut [u32] {
        self.format.check(RowFormat::Bf16Pairs);
        bytemuck::cast_slice_mut(self.slot_row_mut(i))
    }

    #[inline]
    fn slot_row_mut(&mut self, i: usize) -> &mut [Slot] {
        assert!(i < self.rows, "row {i} of {}", self.rows);
        // SAFETY: `of_slots` checked that every row lies within the slice, which `self` borrows exclusively, or the
        // caller of `from_raw` vouched for it.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(i * self.row_stride), self.cols) }
    }

    /// Rows `first` to `first + N` of f32, to write. Panics when there are not so many, or rows are pairs.
    pub(crate) fn group_mut<const N: usize>(&mut self, first: usize) -> [&mut [f32]; N] {
        assert!(first <= self.rows && N <= self.rows - first, "rows {first} and {N} more of {}", self.rows);
        self.format.check(RowFormat::F32);
        // SAFETY: the first line checks that there are such rows; `of_slots` checked that every row lies within the
        // slice, which `self` borrows exclusively, and that no row reaches into the next, or the caller of `from_raw`
        // vouched for both.
        std::array::from_fn(|i| unsafe {
            let row = self.data.add((first + i) * self.row_stride);
            Slot::floats_mut(std::slice::from_raw_parts_mut(row, self.cols))
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

    /// The columns before `at`, and those from `at` on. Panics when `at` exceeds their number, or cuts a pair.
    #[inline]
    pub fn split_columns(self, at: usize) -> (RowsMut<'a>, RowsMut<'a>) {
        let at = self.format.slots(at);
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

    /// The columns in `range`, for a shorter time. Panics when it is out of bounds, or cuts a pair.
    #[inline]
    pub fn column_range(&mut self, range: Range<usize>) -> RowsMut<'_> {
        check_range(&range, self.cols());
        self.reborrow().split_columns(range.end).0.split_columns(range.start).1
    }

    /// The same elements, to read.
    #[inline]
    pub fn as_rows(&self) -> Rows<'_> {
        let slots = Slots {
            data: self.data,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            room: if self.rows == 0 { 0 } else { (self.rows - 1) * self.row_stride + self.cols },
            borrow: PhantomData,
        };
        Rows { slots, format: self.format }
    }
}
