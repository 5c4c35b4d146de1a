//! What a product of floats multiplies: f32 as they are, or rounded to bfloat16, two in a slot.

use crate::PANEL;
use crate::matrix::Buffer;
use crate::product::{MulAdd, Product};
use crate::simd::Simd;
use crate::slot::Slot;
use crate::view::{Rows, Slots};

/// A product of floats, and how its slots are made of f32.
pub(crate) trait FloatProduct<S: Simd>: Product<S> {
    /// Values along k in a slot: 1 or 2.
    const SLOT_VALUES: usize;
    /// The slots of values that follow each other; where it is one, of the first vector.
    fn along(self, simd: S, values: [S::V; 2]) -> S::V;
    /// Slots of the columns of `SLOT_VALUES` rows, of which slots of the same columns are given: the values of a column
    /// side by side, in as many vectors as there are rows.
    fn across(self, simd: S, rows: [S::V; 2]) -> [S::V; 2];
}

impl<S: Simd> FloatProduct<S> for MulAdd {
    const SLOT_VALUES: usize = 1;
    #[inline(always)]
    fn along(self, _: S, [values, _]: [S::V; 2]) -> S::V {
        values
    }
    #[inline(always)]
    fn across(self, _: S, rows: [S::V; 2]) -> [S::V; 2] {
        rows
    }
}

/// `values`, at most `SLOT_VALUES * LANES` of them, and zeros.
#[inline(always)]
fn vectors<S: Simd, P: FloatProduct<S>>(simd: S, values: &[f32]) -> [S::V; 2] {
    let mut vectors = [simd.splat(0.0); 2];
    if values.len() == P::SLOT_VALUES * S::LANES {
        for (i, vector) in vectors[..P::SLOT_VALUES].iter_mut().enumerate() {
            *vector = simd.load(&values[i * S::LANES..]);
        }
    } else {
        for (vector, part) in vectors.iter_mut().zip(values.chunks(S::LANES)) {
            *vector = simd.load_some(part, 0.0);
        }
    }
    vectors
}

/// From one row of slots to the next: whole cache lines, an odd number of them, for rows a power of two apart would
/// share the sets of an L1 cache.
pub(crate) fn slot_stride(slots: usize) -> usize {
    (slots.div_ceil(PANEL) | 1) * PANEL
}

/// Rows in the product's slots, of which units of so many rows and slots can be read: where they are, if they are such;
/// else rounded or copied into `room`, each filled up with zeros. Rows of pairs are for products of pairs alone.
#[inline(always)]
pub(crate) fn slot_rows<'a, S: Simd, P: FloatProduct<S>>(
    simd: S,
    product: P,
    rows: Rows<'a>,
    unit: usize,
    room: &'a mut Buffer<Slot>,
) -> Slots<'a> {
    let of_rows = rows.format().slot_values();
    assert!(of_rows <= P::SLOT_VALUES, "pairs of bfloat16 for a product of f32");
    let (are_slots, slots) = (of_rows == P::SLOT_VALUES, rows.slots());
    if are_slots && slots.cols().is_multiple_of(unit) && slots.is_readable_by(unit) {
        return slots;
    }
    let depth = rows.cols().div_ceil(P::SLOT_VALUES);
    let stride = slot_stride(depth);
    let room = room.at_least(rows.rows().next_multiple_of(unit) * stride);
    for i in 0..rows.rows() {
        let to = &mut room[i * stride..][..stride];
        if are_slots {
            to[..depth].copy_from_slice(slots.row(i));
            to[depth..].fill(Slot::ZERO);
            continue;
        }
        for (from, to) in rows.row(i).chunks(P::SLOT_VALUES * S::LANES).zip(to.chunks_exact_mut(S::LANES)) {
            simd.store_slots(product.along(simd, vectors::<S, P>(simd, from)), to);
        }
    }
    Slots::new(room, rows.rows(), depth, stride)
}

/// Packs the transpose of rows of slots into panels: n = their number, k = their length; fills the last panel with
/// zeros.
#[inline(always)]
pub(crate) fn pack_rows_as_columns<S: Simd>(simd: S, rows: Slots<'_>, packed: &mut [Slot]) {
    let depth = rows.cols();
    for (p, panel) in packed.chunks_exact_mut(PANEL * depth).enumerate() {
        for part in (0..PANEL).step_by(S::LANES) {
            let first = p * PANEL + part;
            for start in (0..depth).step_by(S::LANES) {
                let columns = start..depth.min(start + S::LANES);
                let mut block = [simd.splat(0.0); PANEL];
                for (j, vector) in block[..S::LANES].iter_mut().enumerate() {
                    if first + j < rows.rows() {
                        *vector = simd.load_some_slots(&rows.row(first + j)[columns.clone()]);
                    }
                }
                simd.transpose(&mut block);
                for (i, &vector) in columns.zip(&block) {
                    simd.store_slots(vector, &mut panel[i * PANEL + part..]);
                }
            }
        }
    }
}

/// Packs rows of slots as they are: n = the values of one, k = their number; fills the last panel with zeros.
#[inline(always)]
pub(crate) fn pack_columns<S: Simd, P: FloatProduct<S>>(
    simd: S,
    product: P,
    rows: Slots<'_>,
    packed: &mut [Slot],
) {
    let depth = rows.rows().div_ceil(P::SLOT_VALUES);
    let padded = (rows.cols() * P::SLOT_VALUES).next_multiple_of(PANEL);
    for i in 0..depth {
        for first in (0..padded).step_by(P::SLOT_VALUES * S::LANES) {
            let [start, end] =
                [first / P::SLOT_VALUES, first / P::SLOT_VALUES + S::LANES].map(|at| at.min(rows.cols()));
            let mut slots = [simd.splat(0.0); 2];
            for (j, slots) in slots[..P::SLOT_VALUES].iter_mut().enumerate() {
                if P::SLOT_VALUES * i + j < rows.rows() {
                    *slots = simd.load_some_slots(&rows.row(P::SLOT_VALUES * i + j)[start..end]);
                }
            }
            let columns = product.across(simd, slots);
            for (column, &vector) in (first..padded).step_by(S::LANES).zip(&columns[..P::SLOT_VALUES]) {
                let to = (column / PANEL * depth + i) * PANEL + column % PANEL;
                simd.store_slots(vector, &mut packed[to..]);
            }
        }
    }
}
