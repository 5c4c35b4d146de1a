//! Bounds by running error analysis (Wilkinson; Higham, Accuracy and Stability of Numerical Algorithms, 3.3).
//!
//! An [`Approx`] is an exact value and a bound on how far f32 arithmetic may be from it. Each operation carries the
//! errors of its operands over and adds its own rounding: at most [`U`] of what was rounded. Sums are bounded for any
//! order and products for any mixture of fused and separate roundings, because instruction sets differ in both:
//! n U sum|a b| for n products (Jeannerod and Rump, Improved error bounds for inner products, SIAM J. Matrix Anal.
//! Appl. 34, 2013).

use super::{TINY, U};

/// The relative error that `math.rs` states for its powers of two; `softmax.rs` measures it.
pub const EXP2_ERROR: f64 = 1.8e-7;

/// What it may drop: below 2^-126 it is 0.
pub const EXP_DROPPED: f64 = 1.3e-38;

#[derive(Clone, Copy, Debug)]
pub struct Approx {
    pub value: f64,
    pub error: f64,
}

impl Approx {
    pub fn exact(x: f32) -> Self {
        Self { value: f64::from(x), error: 0.0 }
    }

    pub fn all(values: &[f32]) -> Vec<Self> {
        values.iter().map(|&x| Self::exact(x)).collect()
    }

    fn most(self) -> f64 {
        self.value.abs() + self.error
    }

    fn rounded(value: f64, error: f64) -> Self {
        Self { value, error: error + U * (value.abs() + error) + TINY }
    }

    pub fn plus(self, other: Self) -> Self {
        Self::rounded(self.value + other.value, self.error + other.error)
    }

    pub fn minus(self, other: Self) -> Self {
        Self::rounded(self.value - other.value, self.error + other.error)
    }

    pub fn times(self, other: Self) -> Self {
        let value = self.value * other.value;
        Self::rounded(value, self.most() * other.most() - value.abs())
    }

    pub fn over(self, other: Self) -> Self {
        let value = self.value / other.value;
        let least = other.value.abs() - other.error;
        assert!(least > 0.0, "a divisor that may be 0");
        Self::rounded(value, (self.error + value.abs() * other.error) / least)
    }

    pub fn sqrt(self) -> Self {
        assert!(self.error < self.value, "a root of what may be 0");
        let value = self.value.sqrt();
        Self::rounded(value, value - (self.value - self.error).sqrt())
    }

    /// The power of two of `math.rs`.
    pub fn exp2(self) -> Self {
        let value = self.value.exp2();
        let carried = value * (self.error * std::f64::consts::LN_2).exp_m1();
        Self { value, error: carried + EXP2_ERROR * (value + carried) + EXP_DROPPED }
    }

    pub fn max(values: &[Self]) -> Self {
        let value = values.iter().map(|x| x.value).fold(f64::NEG_INFINITY, f64::max);
        // The largest of the computed values is no further off than the worst of them.
        Self { value, error: values.iter().map(|x| x.error).fold(0.0, f64::max) }
    }

    pub fn sum(values: &[Self]) -> Self {
        let carried: f64 = values.iter().map(|x| x.error).sum();
        let most: f64 = values.iter().map(|x| x.most()).sum();
        let roundings = values.len().saturating_sub(1) as f64;
        Self { value: values.iter().map(|x| x.value).sum(), error: carried + roundings * U * most }
    }

    pub fn dot<'a>(pairs: impl Iterator<Item = (&'a Self, &'a Self)>) -> Self {
        let (mut n, mut value, mut exact, mut most) = (0.0, 0.0, 0.0, 0.0);
        for (a, b) in pairs {
            n += 1.0;
            value += a.value * b.value;
            exact += (a.value * b.value).abs();
            most += a.most() * b.most();
        }
        Self { value, error: most - exact + n * (U * most + TINY) }
    }

    /// e^(scale (row - max)) and their sum, as `softmax.rs` makes them.
    pub fn exponentials(scale: f32, row: &[Self]) -> (Vec<Self>, Self) {
        let max = Self::max(row);
        let log2_e = Self { value: std::f64::consts::LOG2_E, error: U * std::f64::consts::LOG2_E };
        let scale = Self::exact(scale).times(log2_e);
        let e: Vec<Self> = row.iter().map(|x| x.minus(max).times(scale).exp2()).collect();
        let sum = Self::sum(&e);
        (e, sum)
    }

    /// 1 / x, by which sums are divided.
    pub fn inverse(self) -> Self {
        Self::exact(1.0).over(self)
    }

    /// As `layer_norm.rs` has it.
    pub fn layer_norm(row: &[Self], weight: &[f32], bias: &[f32], eps: f32) -> Vec<Self> {
        let n = Self::exact(row.len() as f32);
        let mean = Self::sum(row).over(n);
        let centred: Vec<Self> = row.iter().map(|x| x.minus(mean)).collect();
        let variance = Self::dot(centred.iter().zip(&centred)).over(n);
        let factor = variance.plus(Self::exact(eps)).sqrt().inverse();
        let normal = centred.iter().map(|x| x.times(factor));
        normal
            .zip(weight.iter().zip(bias))
            .map(|(x, (&w, &b))| x.times(Self::exact(w)).plus(Self::exact(b)))
            .collect()
    }

    pub fn errors(values: &[Self]) -> Vec<f64> {
        values.iter().map(|x| x.error).collect()
    }
}
