//! Rotary positions: each pair of columns of a head turned by an angle that grows with the position.

use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::view::RowsMut;

/// Cosines and sines of the angles by which [`rotate`] turns: for each position those of half a head.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    cosines: Vec<f32>,
    sines: Vec<f32>,
    /// Angles of a position: half the columns of a head.
    half: usize,
}

impl RotaryTable {
    /// Angles are position times frequency, rounded to f32 as frameworks round them; there are half as many
    /// frequencies as a head has columns. Cosines and sines are multiplied by `factor`, which is 1 but for some ways to
    /// stretch positions.
    ///
    /// # Panics
    /// When there is no frequency.
    pub fn new(frequencies: &[f32], factor: f32, positions: usize) -> Self {
        assert!(!frequencies.is_empty(), "a rotation without frequencies");
        let angles = (0..positions).flat_map(|position| frequencies.iter().map(move |f| position as f32 * f));
        let factor = f64::from(factor);
        let (cosines, sines) = angles
            .map(|angle| f64::from(angle).sin_cos())
            .map(|(sin, cos)| ((factor * cos) as f32, (factor * sin) as f32))
            .unzip();
        Self { cosines, sines, half: frequencies.len() }
    }

    /// Number of positions.
    pub fn positions(&self) -> usize {
        self.cosines.len() / self.half
    }

    /// Columns of a head.
    pub fn head_dim(&self) -> usize {
        2 * self.half
    }
}

/// Turns rows of queries or keys, heads side by side, in place: with x1 the first half of a head and x2 the second,
/// they become x1 cos - x2 sin and x2 cos + x1 sin. The first row is at position `first` of its sequence.
///
/// # Panics
/// When columns are no whole heads, a position is beyond the table, or rows are [pairs](crate::RowFormat::Bf16Pairs):
/// queries and keys that are to be turned must not have been rounded.
pub fn rotate(isa: Isa, table: &RotaryTable, first: usize, rows: RowsMut<'_>) {
    struct Rotate<'a>(&'a RotaryTable, usize, RowsMut<'a>);
    impl Kernel for Rotate<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Self(table, first, mut rows) = self;
            let half = table.half;
            assert!(rows.cols().is_multiple_of(2 * half), "{} columns of heads of {}", rows.cols(), 2 * half);
            let end = first.checked_add(rows.rows());
            assert!(
                end.is_some_and(|end| end <= table.positions()),
                "{} rows from {first} on of a table of {} positions",
                rows.rows(),
                table.positions()
            );
            for i in 0..rows.rows() {
                let angles = (first + i) * half..(first + i + 1) * half;
                let (cosines, sines) = (&table.cosines[angles.clone()], &table.sines[angles]);
                for head in rows.row_mut(i).chunks_exact_mut(2 * half) {
                    let (x1, x2) = head.split_at_mut(half);
                    turn(simd, [cosines, sines], x1, x2);
                }
            }
        }
    }
    isa.run(Rotate(table, first, rows));
}

#[inline(always)]
fn turn<S: Simd>(simd: S, [cosines, sines]: [&[f32]; 2], x1: &mut [f32], x2: &mut [f32]) {
    let angles = cosines.chunks(S::LANES).zip(sines.chunks(S::LANES));
    for ((x1, x2), (cos, sin)) in x1.chunks_mut(S::LANES).zip(x2.chunks_mut(S::LANES)).zip(angles) {
        let (a, b) = (simd.load_some(x1, 0.0), simd.load_some(x2, 0.0));
        let (cos, sin) = (simd.load_some(cos, 0.0), simd.load_some(sin, 0.0));
        simd.store_some(simd.sub(simd.mul(a, cos), simd.mul(b, sin)), x1);
        simd.store_some(simd.add(simd.mul(b, cos), simd.mul(a, sin)), x2);
    }
}
