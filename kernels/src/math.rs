//! Elementary functions on vectors. Errors are measured by `tests/activation.rs` and `tests/softmax.rs`, or follow from
//! what is measured there, and are stated here.

use crate::simd::Simd;

/// The smallest argument whose exponential is a normal number.
const EXP_MIN: f32 = -87.3;

/// c0 + c1 x + c2 x^2 + ...
#[inline(always)]
fn polynomial<S: Simd, const N: usize>(simd: S, x: S::V, coefficients: [f32; N]) -> S::V {
    let mut sum = simd.splat(coefficients[N - 1]);
    for &c in coefficients[..N - 1].iter().rev() {
        sum = simd.mul_add(sum, x, simd.splat(c));
    }
    sum
}

/// e^x for x <= 0: relative error under 1.0e-7 from -87.3 on, 0 below (where e^x < 1.3e-38).
///
/// Cody and Waite's reduction to |r| <= ln(2)/2, then a polynomial fitted to the least maximal relative error there
/// (3.1e-9 before rounding) by iteratively reweighted least squares.
#[inline(always)]
pub(crate) fn exp<S: Simd>(simd: S, x: S::V) -> S::V {
    // 1.5 * 2^23 leaves no room for a fraction: adding it rounds to the nearest integer n, and leaves n + 127, the
    // exponent of 2^n, in the low bits.
    let magic = simd.splat(12_582_912.0 + 127.0);
    let biased = simd.mul_add(x, simd.splat(std::f32::consts::LOG2_E), magic);
    let n = simd.sub(biased, magic);
    // ln 2 in two parts, the first with few enough bits that n times it is exact.
    let r = simd.mul_add(n, simd.splat(-0.693_359_4), x);
    let r = simd.mul_add(n, simd.splat(2.121_944_4e-4), r);
    const C: [f32; 7] = [1.0, 1.0, 0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_745, 0.001_381_454];
    // A NaN is in the polynomial, whatever becomes of the bits beside it. What an argument far below leaves in either
    // is not chosen.
    let y = simd.mul(polynomial(simd, r, C), simd.low_bits_as_exponent(biased));
    simd.select_lt(x, simd.splat(EXP_MIN), simd.splat(0.0), y)
}

/// The smallest argument whose power of two is a normal number.
const EXP2_MIN: f32 = -126.0;

/// 2^x for x <= 0: relative error under 1.8e-7 from -126 on, 0 below; exactly 1 for 0.
///
/// A polynomial fitted to the least maximal relative error on 0..1 (8.2e-8 before rounding) by Remez's exchange.
#[inline(always)]
pub(crate) fn exp2<S: Simd>(simd: S, x: S::V) -> S::V {
    const C: [f32; 6] = [1.0, 0.693_151_3, 0.240_164_6, 0.055_799_514, 0.009_017_481, 0.001_866_952_6];
    let y = simd.times_power(polynomial(simd, simd.fraction(x), C), x);
    simd.select_lt(x, simd.splat(EXP2_MIN), simd.splat(0.0), y)
}

/// 2^x for x <= 0 as closely as a value that is about to be rounded to 8 bits can show: relative error under 7.6e-5
/// from -125 on, 2^-125 below: no subnormal number, which takes a hundred times as long.
///
/// A polynomial fitted to the least maximal relative error on 0..1 by linear programming.
#[inline(always)]
pub(crate) fn coarse_exp2<S: Simd>(simd: S, x: S::V) -> S::V {
    const C: [f32; 4] = [0.999_925_2, 0.695_833_56, 0.226_067_16, 0.078_024_52];
    let x = simd.at_least(x, simd.splat(EXP2_MIN + 1.0));
    simd.times_power(polynomial(simd, simd.fraction(x), C), x)
}

/// Hyperbolic tangent: absolute error under 9.4e-8 everywhere.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(simd: S, x: S::V) -> S::V {
    let one = simd.splat(1.0);
    let t = exp(simd, simd.mul(simd.abs(x), simd.splat(-2.0)));
    simd.copysign(simd.div(simd.sub(one, t), simd.add(one, t)), x)
}

/// 1 / (1 + e^-x): absolute error under 1.5e-7 everywhere, a quarter of that of [`exp`] and two roundings.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(simd: S, x: S::V) -> S::V {
    let one = simd.splat(1.0);
    let t = exp(simd, simd.mul(simd.abs(x), simd.splat(-1.0)));
    simd.div(simd.select_lt(x, simd.splat(0.0), t, one), simd.add(one, t))
}

/// Where the normal distribution function is 1 to within half a unit in the last place of 0.5.
const PHI_MAX: f32 = 5.5;

/// The normal distribution function less a half, erf(x / sqrt 2) / 2: absolute error under 2.7e-7, exactly +-0.5
/// from 5.5 on.
///
/// x P(x^2) / Q(x^2), fitted to the least maximal error on 0..5.5 (2e-8 before rounding) by iteratively reweighted
/// least squares.
#[inline(always)]
pub(crate) fn centred_normal_cdf<S: Simd>(simd: S, x: S::V) -> S::V {
    const P: [f32; 7] = [
        0.398_942_14,
        0.035_922_177,
        0.004_509_160_3,
        1.703_733_1e-4,
        3.241_052_4e-6,
        -2.208_229_9e-8,
        1.117_574_4e-10,
    ];
    const Q: [f32; 5] = [1.0, 0.256_708_12, 0.029_091_47, 0.001_830_64, 6.232_627_5e-5];
    let t = simd.mul(x, x);
    let inside = simd.quotient(simd.mul(x, polynomial(simd, t, P)), polynomial(simd, t, Q));
    let outside = simd.copysign(simd.splat(0.5), x);
    simd.select_lt(simd.abs(x), simd.splat(PHI_MAX), inside, outside)
}

/// The normal distribution function as closely as a value that is about to be rounded to 8 bits can show: absolute
/// error under 9.5e-5 max(1, 1 / |x|), exactly 0 and 1 from 4 on.
///
/// 1/2 + x P(x^2), fitted to the least maximal error of x times it, over max(1, |x|), on 0..4 by linear programming.
/// That 4 P(16) is 1/2 to the bit is a condition of the fit.
#[inline(always)]
pub(crate) fn coarse_normal_cdf<S: Simd>(simd: S, x: S::V) -> S::V {
    const P: [f32; 7] = [
        0.398_300_05,
        -0.065_113_76,
        0.008_999_196,
        -8.571_024e-4,
        5.205_574_4e-5,
        -1.789_353_6e-6,
        2.623_590_2e-8,
    ];
    let x = simd.at_most(simd.at_least(x, simd.splat(-4.0)), simd.splat(4.0));
    simd.mul_add(x, polynomial(simd, simd.mul(x, x), P), simd.splat(0.5))
}
