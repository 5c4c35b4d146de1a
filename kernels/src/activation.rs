//! Activation functions, element by element.

use crate::isa::{Isa, Kernel};
use crate::math::{centred_normal_cdf, coarse_normal_cdf, sigmoid, tanh};
use crate::simd::Simd;
use crate::view::RowsMut;

/// An element-wise activation. NaN stays NaN in all of them; -inf gives NaN in those that tend to 0 there, as it does
/// in PyTorch. Errors are maxima over f32 and all instruction sets, measured by `tests/activation.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// x Phi(x), with the error function: `gelu`. Error under 2.7e-7 max(1, |x|), after a product of rounded operands
    /// under 9.5e-5 max(1, |x|).
    Gelu,
    /// x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2: `gelu_new`, `gelu_pytorch_tanh`. Error under
    /// 1.4e-7 max(1, |x|).
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// x / (1 + e^-x): `silu`, `swish`. Error under 1.5e-7 max(1, |x|).
    Silu,
    /// Hyperbolic tangent. Error under 9.4e-8.
    Tanh,
}

impl Activation {
    /// Applies it to every element of `values`.
    pub fn apply(self, isa: Isa, values: &mut [f32]) {
        struct Apply<'a>(Activation, &'a mut [f32]);
        impl Kernel for Apply<'_> {
            type Output = ();
            #[inline(always)]
            fn run<S: Simd>(self, simd: S) {
                let len = self.1.len();
                self.0.map(simd, false, RowsMut::new(self.1, 1, len, len));
            }
        }
        isa.run(Apply(self, values));
    }

    /// `coarse`: to what will be rounded to 8 bits again, like what it was made of, less exactly and in less time.
    ///
    /// The choice, and what a function needs of constants, is made once for all rows: those of a tile are short.
    #[inline(always)]
    pub(crate) fn map<S: Simd>(self, simd: S, coarse: bool, rows: RowsMut<'_>) {
        match self {
            Self::Gelu if coarse => map::<S, CoarseGelu>(simd, rows),
            Self::Gelu => map::<S, Gelu>(simd, rows),
            Self::GeluTanh => map::<S, GeluTanh>(simd, rows),
            Self::Relu => map::<S, Relu>(simd, rows),
            Self::Silu => map::<S, Silu>(simd, rows),
            Self::Tanh => map::<S, Tanh>(simd, rows),
        }
    }
}

/// A function of one vector. A closure would not be sure to be inlined, and then would lose the instruction set.
trait Function {
    fn of<S: Simd>(simd: S, x: S::V) -> S::V;
}

struct Gelu;
impl Function for Gelu {
    #[inline(always)]
    fn of<S: Simd>(simd: S, x: S::V) -> S::V {
        simd.mul(x, simd.add(centred_normal_cdf(simd, x), simd.splat(0.5)))
    }
}

struct CoarseGelu;
impl Function for CoarseGelu {
    #[inline(always)]
    fn of<S: Simd>(simd: S, x: S::V) -> S::V {
        simd.mul(x, coarse_normal_cdf(simd, x))
    }
}

struct GeluTanh;
impl Function for GeluTanh {
    #[inline(always)]
    fn of<S: Simd>(simd: S, x: S::V) -> S::V {
        let cubic = simd.mul_add(simd.mul(x, x), simd.splat(0.044_715), simd.splat(1.0));
        // sqrt(2 / pi)
        let inner = simd.mul(simd.mul(x, cubic), simd.splat(0.797_884_6));
        let half = simd.mul(x, simd.splat(0.5));
        simd.mul_add(half, tanh(simd, inner), half)
    }
}

struct Relu;
impl Function for Relu {
    #[inline(always)]
    fn of<S: Simd>(simd: S, x: S::V) -> S::V {
        simd.at_least(x, simd.splat(0.0))
    }
}

struct Silu;
impl Function for Silu {
    #[inline(always)]
    fn of<S: Simd>(simd: S, x: S::V) -> S::V {
        simd.mul(x, sigmoid(simd, x))
    }
}

struct Tanh;
impl Function for Tanh {
    #[inline(always)]
    fn of<S: Simd>(simd: S, x: S::V) -> S::V {
        tanh(simd, x)
    }
}

#[inline(always)]
fn map<S: Simd, F: Function>(simd: S, mut rows: RowsMut<'_>) {
    for i in 0..rows.rows() {
        let mut whole = rows.row_mut(i).chunks_exact_mut(S::LANES);
        for chunk in &mut whole {
            simd.store(F::of(simd, simd.load(chunk)), chunk);
        }
        let tail = whole.into_remainder();
        if !tail.is_empty() {
            simd.store_partial(F::of(simd, simd.load_partial(tail, 0.0)), tail);
        }
    }
}
