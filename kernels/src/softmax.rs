//! Softmax of a row.

use crate::isa::{Isa, Kernel};
use crate::math::{coarse_exp2, exp2};
use crate::operand::FloatProduct;
use crate::product::{MulAdd, Product};
use crate::simd::Simd;
use crate::slot::Slot;
use crate::view::RowsMut;

/// row = e^(scale (row - max)) / sum, over the whole row, for `scale` > 0; empty rows stay empty. A NaN anywhere, or
/// an infinite maximum, makes the whole row NaN.
pub fn softmax(isa: Isa, scale: f32, row: &mut [f32]) {
    struct Softmax<'a>(f32, &'a mut [f32]);
    impl Kernel for Softmax<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let [sum] = group(simd, MulAdd, self.0, self.1.len(), [&mut *self.1]);
            scale_row(simd, 1.0 / sum, self.1);
        }
    }
    isa.run(Softmax(scale, row));
}

/// Rows of scores that are worked on together, because the largest of a row is waited for before anything else.
const GROUP: usize = 4;

/// Each row = e^(scale (row - max)) of its first `cols` values as a left-hand side of `product`, at the beginning of
/// its memory. Slots of several values are filled up to whole vectors with numbers so small that they change no sum,
/// and must meet zeros. Writes the sums, by which the caller divides where it costs least. `scale` > 0.
#[inline(always)]
pub(crate) fn exponentials<S: Simd, P: FloatProduct<S>>(
    simd: S,
    product: P,
    scale: f32,
    cols: usize,
    mut rows: RowsMut<'_>,
    sums: &mut [f32],
) {
    assert_eq!(sums.len(), rows.rows(), "sums and rows");
    let mut groups = sums.chunks_exact_mut(GROUP);
    let mut first = 0;
    for sums in &mut groups {
        sums.copy_from_slice(&group::<S, P, GROUP>(simd, product, scale, cols, rows.group_mut(first)));
        first += GROUP;
    }
    // Tiles of an even number of rows often leave two.
    let mut pairs = groups.into_remainder().chunks_exact_mut(2);
    for sums in &mut pairs {
        sums.copy_from_slice(&group::<S, P, 2>(simd, product, scale, cols, rows.group_mut(first)));
        first += 2;
    }
    for sum in pairs.into_remainder() {
        [*sum] = group::<S, P, 1>(simd, product, scale, cols, rows.group_mut(first));
    }
}

/// The same of `N` rows of one length; returns the sums.
#[inline(always)]
fn group<S: Simd, P: FloatProduct<S>, const N: usize>(
    simd: S,
    product: P,
    scale: f32,
    cols: usize,
    rows: [&mut [f32]; N],
) -> [f32; N] {
    let whole = cols - cols % S::LANES;
    let lowest = f32::NEG_INFINITY;
    let mut maxima = [simd.splat(lowest); N];
    for at in (0..whole).step_by(S::LANES) {
        for (max, row) in maxima.iter_mut().zip(&rows) {
            *max = simd.at_least(simd.load(&row[at..]), *max);
        }
    }
    if whole < cols {
        for (max, row) in maxima.iter_mut().zip(&rows) {
            *max = simd.at_least(simd.load_partial(&row[whole..cols], lowest), *max);
        }
    }
    // A NaN may be lost here, not below: its exponential is NaN, and with it the sum.
    for max in &mut maxima {
        *max = simd.splat(simd.max(*max));
    }
    // A power of two is cheaper than an exponential: what turns one into the other is part of the scale.
    let scale = simd.splat(scale * std::f32::consts::LOG2_E);

    let mut totals = [0.0; N];
    for ((total, row), max) in totals.iter_mut().zip(rows).zip(maxima) {
        let zero = if P::ROUNDED { simd.sub(simd.splat(0.0), simd.mul(max, scale)) } else { max };
        let mut sum = simd.splat(0.0);
        let step = P::SLOT_VALUES * S::LANES;
        let whole = cols - cols % step;
        // What is written lies before what is still to be read.
        for at in (0..whole).step_by(step) {
            let mut e = [simd.splat(0.0); 2];
            for (i, e) in e[..P::SLOT_VALUES].iter_mut().enumerate() {
                *e = power::<S, P>(simd, simd.load(&row[at + i * S::LANES..]), scale, zero);
                sum = simd.add(sum, *e);
            }
            let slots = Slot::of_floats_mut(&mut row[at / P::SLOT_VALUES..]);
            simd.store_slots(product.along(simd, e), slots);
        }
        if whole < cols {
            let mut e = [simd.splat(0.0); 2];
            for (e, tail) in e.iter_mut().zip(row[whole..cols].chunks(S::LANES)) {
                *e = power::<S, P>(simd, simd.load_some(tail, lowest), scale, zero);
                sum = simd.add(sum, *e);
            }
            let end = if P::SLOT_VALUES == 1 { cols } else { whole / P::SLOT_VALUES + S::LANES };
            let slots = Slot::of_floats_mut(&mut row[whole / P::SLOT_VALUES..end]);
            simd.store_some_slots(product.along(simd, e), slots);
        }
        *total = simd.sum(sum);
    }
    totals
}

/// 2^(scale x - scale max), as closely as `P` needs it. `zero` is -scale max where one rounding less is worth more than
/// exactness, else the maximum itself.
#[inline(always)]
fn power<S: Simd, P: Product<S>>(simd: S, x: S::V, scale: S::V, zero: S::V) -> S::V {
    if P::ROUNDED {
        coarse_exp2(simd, simd.mul_add(x, scale, zero))
    } else {
        exp2(simd, simd.mul(simd.sub(x, zero), scale))
    }
}

/// row *= factor
#[inline(always)]
pub(crate) fn scale_row<S: Simd>(simd: S, factor: f32, row: &mut [f32]) {
    let vector = simd.splat(factor);
    let mut chunks = row.chunks_exact_mut(S::LANES);
    for chunk in &mut chunks {
        simd.store(simd.mul(simd.load(chunk), vector), chunk);
    }
    for x in chunks.into_remainder() {
        *x *= factor;
    }
}
