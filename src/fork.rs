//! Work inside a layer, shared by fork and join: a step covers a range of rows and ends. No worker ever waits at a
//! barrier, so two callers on one pool cannot block each other.

use std::ops::Range;

use crossrank_kernels::RowsMut;

/// Cuts `rows`, which are those of each of `dst`, into one part for each of `scratches`, and runs `step` on all parts.
/// With one scratch that is a call; with more it must be on a thread of the pool that is to share them.
pub(crate) fn fork_rows<const N: usize, S: Send>(
    rows: Range<usize>,
    dst: [RowsMut<'_>; N],
    scratches: &mut [S],
    step: &(impl Fn(Range<usize>, [RowsMut<'_>; N], &mut S) + Sync),
) {
    match scratches {
        [] => assert!(rows.is_empty(), "rows without a worker"),
        [scratch] => step(rows, dst, scratch),
        _ => {
            let cut = rows.len() * (scratches.len() / 2) / scratches.len();
            let (left, right) = scratches.split_at_mut(scratches.len() / 2);
            let mut below = dst;
            let above = below.each_mut().map(|part| {
                let (above, below) = std::mem::take(part).split_rows(cut);
                *part = below;
                above
            });
            let middle = rows.start + cut;
            rayon::join(
                || fork_rows(rows.start..middle, above, left, step),
                || fork_rows(middle..rows.end, below, right, step),
            );
        }
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
            assert!(calls.iter().all(|&calls| calls == 1));
            assert!(a.iter().enumerate().all(|(i, &x)| x == (i / 2) as f32));
            assert!(b.iter().enumerate().all(|(i, &x)| x == (i / 3) as f32));
        }
    }
}
