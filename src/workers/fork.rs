//! Work inside a layer, shared by fork and join: a step covers a range of rows or columns and ends. No worker ever
//! waits at a barrier for longer than it would take to wake it, so two callers on one pool cannot block each other.

use std::hint::spin_loop;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossrank_kernels::RowsMut;

use crate::clock::Instant;

/// About what it takes to wake a thread. rayon's fall asleep after some 20 microseconds without work.
const WAKING: Duration = Duration::from_micros(50);

/// Along which matrices are cut.
#[derive(Clone, Copy)]
enum Axis {
    Rows,
    Columns,
}

/// Cuts `rows`, which are those of each of `dst`, into one part for each of `scratches`, and runs `step` on all parts
/// that are not empty. With one scratch that is a call; with more it must be on a thread of the pool that is to share
/// them.
pub(crate) fn fork_rows<const N: usize, S: Send>(
    rows: Range<usize>,
    dst: [RowsMut<'_>; N],
    scratches: &mut [S],
    step: &(impl Fn(Range<usize>, [RowsMut<'_>; N], &mut S) + Sync),
) {
    fork(Axis::Rows, rows, [1; N], dst, scratches, step);
}

/// The same by columns, and by units of them that are not cut: each of `dst` has its own number of columns to a unit.
/// Its last unit may be narrower.
pub(crate) fn fork_columns<const N: usize, S: Send>(
    units: usize,
    widths: [usize; N],
    dst: [RowsMut<'_>; N],
    scratches: &mut [S],
    step: &(impl Fn(Range<usize>, [RowsMut<'_>; N], &mut S) + Sync),
) {
    fork(Axis::Columns, 0..units, widths, dst, scratches, step);
}

fn fork<const N: usize, S: Send>(
    axis: Axis,
    units: Range<usize>,
    widths: [usize; N],
    dst: [RowsMut<'_>; N],
    scratches: &mut [S],
    step: &(impl Fn(Range<usize>, [RowsMut<'_>; N], &mut S) + Sync),
) {
    if units.is_empty() {
        return;
    }
    assert!(!scratches.is_empty(), "work without a worker");
    let workers = scratches.len().min(units.len());
    let scratches = &mut scratches[..workers];
    if let [scratch] = scratches {
        return step(units, dst, scratch);
    }
    let (first, second) = scratches.split_at_mut(workers / 2);
    let cut = units.len() * first.len() / workers;
    let mut widths_left = widths.into_iter();
    let mut below = dst;
    let above = below.each_mut().map(|part| {
        let whole = std::mem::take(part);
        let at = cut * widths_left.next().unwrap_or(0);
        let (above, below) = match axis {
            Axis::Rows => whole.split_rows(at),
            Axis::Columns => whole.split_columns(at),
        };
        *part = below;
        above
    });
    let middle = units.start + cut;
    let ends_together = workers == 2;
    let above = || fork(axis, units.start..middle, widths, above, first, step);
    let below = || fork(axis, middle..units.end, widths, below, second, step);
    if ends_together {
        join_awake(above, below);
    } else {
        rayon::join(above, below);
    }
}

/// [`rayon::join`] for what is followed by more of its kind: who ends first stays awake for a while, as the other is
/// about to end and will fork again or go on with the result.
fn join_awake(first: impl FnOnce() + Send, second: impl FnOnce() + Send) {
    let [second_began, first_ended, second_ended] = [const { AtomicBool::new(false) }; 3];
    let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
    let set = |flag: &AtomicBool| flag.store(true, Ordering::Relaxed);
    rayon::join(
        || {
            first();
            set(&first_ended);
            wait_briefly(|| !is(&second_began) || is(&second_ended));
        },
        || {
            set(&second_began);
            second();
            set(&second_ended);
            wait_briefly(|| is(&first_ended));
        },
    );
}

/// Waits until something is so, but no longer than it takes to wake a thread.
pub(crate) fn wait_briefly(until: impl Fn() -> bool) {
    let start = Instant::now();
    while !until() && start.elapsed() < WAKING {
        spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_covered_once_with_its_own_number() {
        for (rows, workers) in [(0, 1), (1, 3), (7, 1), (7, 2), (16, 5), (3, 8)] {
            let (mut a, mut b) = (vec![-1.0; rows * 2], vec![-1.0; rows * 3]);
            let dst = [RowsMut::new(&mut a, rows, 2, 2), RowsMut::new(&mut b, rows, 3, 3)];
            let mut calls = vec![0; workers];
            fork_rows(0..rows, dst, &mut calls, &|range, [mut a, mut b], calls| {
                *calls += 1;
                assert_eq!((a.rows(), b.rows()), (range.len(), range.len()));
                for (i, row) in range.enumerate() {
                    a.row_mut(i).iter_mut().for_each(|x| *x += row as f32 + 1.0);
                    b.row_mut(i).iter_mut().for_each(|x| *x += row as f32 + 1.0);
                }
            });
            assert_eq!(calls.iter().sum::<usize>(), rows.min(workers));
            assert!(a.iter().enumerate().all(|(i, &x)| x == (i / 2) as f32));
            assert!(b.iter().enumerate().all(|(i, &x)| x == (i / 3) as f32));
        }
    }

    #[test]
    fn every_column_is_covered_once_by_its_unit() {
        const ROWS: usize = 3;
        for (units, workers) in [(0, 2), (1, 3), (7, 1), (7, 2), (12, 5), (3, 8)] {
            // Units of 4 and of 1; the last of the first kind has 2 columns only.
            let (wide, narrow) = ((units * 4_usize).saturating_sub(2), units);
            let (mut a, mut b) = (vec![0.0; ROWS * wide], vec![0.0; ROWS * narrow]);
            let dst = [RowsMut::new(&mut a, ROWS, wide, wide), RowsMut::new(&mut b, ROWS, narrow, narrow)];
            fork_columns(units, [4, 1], dst, &mut vec![(); workers], &|range, [mut a, mut b], ()| {
                assert_eq!((a.cols(), b.cols()), ((range.end * 4).min(wide) - range.start * 4, range.len()));
                for row in 0..ROWS {
                    let columns = a.row_mut(row).iter_mut().enumerate();
                    columns.for_each(|(j, x)| *x += (range.start + j / 4) as f32 + 1.0);
                    let columns = b.row_mut(row).iter_mut().enumerate();
                    columns.for_each(|(j, x)| *x += (range.start + j) as f32 + 1.0);
                }
            });
            assert!(a.iter().enumerate().all(|(i, &x)| x == (i % wide / 4) as f32 + 1.0));
            assert!(b.iter().enumerate().all(|(i, &x)| x == (i % narrow) as f32 + 1.0));
        }
    }
}
