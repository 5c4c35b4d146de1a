//! The middle of a gated feed-forward network.

use crate::activation::Activation;
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::view::{Rows, RowsMut};

/// dst = activation(first half of a row) * second half: the input first, then its gate. `rows` have twice as many
/// columns as `dst`. A NaN on either side stays.
///
/// # Panics
/// When the shapes do not fit.
pub fn gate(isa: Isa, activation: Activation, rows: Rows<'_>, dst: RowsMut<'_>) {
    struct Gate<'a>(Activation, Rows<'a>, RowsMut<'a>);
    impl Kernel for Gate<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let Self(activation, rows, mut dst) = self;
            let cols = dst.cols();
            assert_eq!((rows.rows(), rows.cols()), (dst.rows(), 2 * cols), "halves and dst of a gate");
            for i in 0..rows.rows() {
                let (input, factors) = rows.row(i).split_at(cols);
                dst.row_mut(i).copy_from_slice(input);
                activation.map(simd, false, dst.row_range(i..i + 1));
                for (x, factors) in dst.row_mut(i).chunks_mut(S::LANES).zip(factors.chunks(S::LANES)) {
                    simd.store_some(simd.mul(simd.load_some(x, 0.0), simd.load_some(factors, 0.0)), x);
                }
            }
        }
    }
    isa.run(Gate(activation, rows, dst));
}
