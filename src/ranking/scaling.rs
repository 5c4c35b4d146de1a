//! Logits to probabilities, by what was judged.

use crate::error::{Error, Result};

/// Platt's scaling: a pair is relevant with probability 1 / (1 + e^-(slope * logit + offset)).
///
/// (J. Platt, "Probabilistic outputs for support vector machines", 1999.) It changes scores, never the order.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Scaling {
    slope: f64,
    offset: f64,
}

/// Judgements of each kind below which two numbers cannot be told.
const LEAST: usize = 10;

/// Newton's method ends when no derivative is larger, as in the paper of Lin, Lin and Weng.
const GRADIENT: f64 = 1e-9;

/// More are not needed by any sample of finite logits.
const STEPS: usize = 200;

impl Scaling {
    /// With these two numbers.
    ///
    /// # Errors
    /// When they are not finite, or the slope is not above 0: the order of scores would not be that of logits.
    pub fn new(slope: f64, offset: f64) -> Result<Self> {
        if !(slope > 0.0 && slope.is_finite() && offset.is_finite()) {
            let reason =
                format!("expected a finite slope above 0 and a finite offset, found {slope} and {offset}");
            return Err(Error::option("scaling", reason));
        }
        Ok(Self { slope, offset })
    }

    /// The numbers that make judgements likeliest: pairs of a logit, and whether its pair is relevant.
    ///
    /// As Platt has it, a relevant pair counts as one with probability (n + 1) / (n + 2) of n such, another with
    /// 1 / (m + 2) of m, so that few judgements give no certainty. The maximum is found by Newton's method with step
    /// halving (Lin, Lin and Weng, "A note on Platt's probabilistic outputs for support vector machines", 2007).
    ///
    /// # Errors
    /// When a logit is not finite, there are fewer than 10 judgements of either kind, or relevant pairs have no higher
    /// logits than others.
    pub fn fit(judgements: &[(f32, bool)]) -> Result<Self> {
        let error = |reason: String| Err(Error::option("scaling", reason));
        if let Some(at) = judgements.iter().position(|(logit, _)| !logit.is_finite()) {
            return error(format!("expected finite logits, found {} of judgement {at}", judgements[at].0));
        }
        let relevant = judgements.iter().filter(|(_, relevant)| *relevant).count();
        let others = judgements.len() - relevant;
        if relevant.min(others) < LEAST {
            return error(format!(
                "expected at least {LEAST} relevant pairs and {LEAST} others, found {relevant} and {others}"
            ));
        }
        let (relevant, others) = (relevant as f64, others as f64);
        let (high, low) = ((relevant + 1.0) / (relevant + 2.0), 1.0 / (others + 2.0));
        // Logits of any size: the fit is done on ones of mean 0 and deviation 1.
        let count = judgements.len() as f64;
        let logits = || judgements.iter().map(|(logit, _)| f64::from(*logit));
        let mean = logits().sum::<f64>() / count;
        let deviation = (logits().map(|logit| (logit - mean).powi(2)).sum::<f64>() / count).sqrt();
        if deviation == 0.0 {
            return error("all logits are the same".into());
        }
        let samples: Vec<(f64, f64)> = judgements
            .iter()
            .map(|(logit, relevant)| {
                ((f64::from(*logit) - mean) / deviation, if *relevant { high } else { low })
            })
            .collect();
        let (slope, offset) = maximum(&samples, ((relevant + 1.0) / (others + 1.0)).ln());
        let (slope, offset) = (slope / deviation, offset - slope * mean / deviation);
        if slope <= 0.0 {
            return error(format!(
                "expected relevant pairs to have higher logits than others, found a slope of {slope}"
            ));
        }
        Self::new(slope, offset)
    }

    /// What a logit is multiplied by; above 0.
    pub fn slope(self) -> f64 {
        self.slope
    }

    /// What is added.
    pub fn offset(self) -> f64 {
        self.offset
    }

    /// The probability of a logit, from 0 to 1.
    pub fn score(self, logit: f32) -> f32 {
        (1.0 / (1.0 + (-(self.slope * f64::from(logit) + self.offset)).exp())) as f32
    }
}

/// The slope and offset of the likeliest sigmoid of samples (x, probability), from an offset on.
fn maximum(samples: &[(f64, f64)], offset: f64) -> (f64, f64) {
    // -log likelihood, without overflow on either side.
    let loss = |slope: f64, offset: f64| {
        samples
            .iter()
            .map(|(x, target)| {
                let z = slope * x + offset;
                z.max(0.0) - target * z + (-z.abs()).exp().ln_1p()
            })
            .sum::<f64>()
    };
    let (mut slope, mut offset) = (0.0, offset);
    let mut best = loss(slope, offset);
    for _ in 0..STEPS {
        let (mut g, mut h) = ([0.0; 2], [1e-12, 0.0, 1e-12]);
        for (x, target) in samples {
            let p = 1.0 / (1.0 + (-(slope * x + offset)).exp());
            let (d, w) = (p - target, p * (1.0 - p));
            g = [g[0] + d * x, g[1] + d];
            h = [h[0] + w * x * x, h[1] + w * x, h[2] + w];
        }
        if g.iter().all(|g| g.abs() < GRADIENT) {
            break;
        }
        let determinant = h[0] * h[2] - h[1] * h[1];
        let step = [-(h[2] * g[0] - h[1] * g[1]) / determinant, -(h[0] * g[1] - h[1] * g[0]) / determinant];
        let along = g[0] * step[0] + g[1] * step[1];
        let mut length = 1.0;
        loop {
            let next = (slope + length * step[0], offset + length * step[1]);
            let value = loss(next.0, next.1);
            if value < best + 1e-4 * length * along {
                ((slope, offset), best) = (next, value);
                break;
            }
            length /= 2.0;
            if length < 1e-10 {
                return (slope, offset);
            }
        }
    }
    (slope, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judgements that are relevant as often as a sigmoid says, evenly spread.
    fn judged(slope: f64, offset: f64) -> Vec<(f32, bool)> {
        (0..200)
            .flat_map(|i| {
                let logit = i as f64 / 20.0 - 5.0;
                let p = 1.0 / (1.0 + (-(slope * logit + offset)).exp());
                (0..100).map(move |j| (logit as f32, (f64::from(j) + 0.5) / 100.0 < p))
            })
            .collect()
    }

    #[test]
    fn the_numbers_that_made_the_judgements_are_found() {
        for (slope, offset) in [(1.0, 0.0), (0.4, -1.5), (3.0, 2.0)] {
            let fit = Scaling::fit(&judged(slope, offset)).unwrap();
            assert!((fit.slope() - slope).abs() < 0.03 * slope, "{fit:?}");
            assert!((fit.offset() - offset).abs() < 0.05, "{fit:?}");
        }
    }

    #[test]
    fn separable_judgements_give_no_certainty() {
        let judgements: Vec<_> = (0..40).map(|i| (i as f32, i >= 20)).collect();
        let fit = Scaling::fit(&judgements).unwrap();
        let gradient = |shift: (f64, f64)| {
            judgements.iter().fold((0.0, 0.0), |(a, b), (logit, relevant)| {
                let x = f64::from(*logit);
                let target = if *relevant { 21.0 / 22.0 } else { 1.0 / 22.0 };
                let z = (fit.slope() + shift.0) * x + fit.offset() + shift.1;
                let d = 1.0 / (1.0 + (-z).exp()) - target;
                (a + d * x, b + d)
            })
        };
        let (a, b) = gradient((0.0, 0.0));
        assert!(a.abs() < 1e-5 && b.abs() < 1e-6, "not the maximum: {a} {b}");
        let (a, _) = gradient((0.01, 0.0));
        assert!(a > 0.01, "the gradient would show it: {a}");
        assert!(fit.score(39.0) < 1.0 && fit.score(0.0) > 0.0, "{fit:?}");
        assert!((fit.score(19.5) - 0.5).abs() < 1e-6);
    }

    #[test]
    fn large_and_small_logits_are_fitted_alike() {
        for scale in [1e-20_f32, 1e20] {
            let judgements: Vec<_> =
                judged(1.0, 0.5).into_iter().map(|(logit, relevant)| (logit * scale, relevant)).collect();
            let fit = Scaling::fit(&judgements).unwrap();
            assert!((fit.slope() * f64::from(scale) - 1.0).abs() < 0.03, "{fit:?}");
        }
    }

    #[test]
    fn what_tells_nothing_is_an_error() {
        let error = |judgements: &[(f32, bool)]| Scaling::fit(judgements).unwrap_err().to_string();
        assert!(error(&[]).contains("found 0 and 0"));
        let few: Vec<_> = (0..30).map(|i| (i as f32, i < 9)).collect();
        assert!(error(&few).contains("found 9 and 21"));
        let same: Vec<_> = (0..40).map(|i| (1.0, i % 2 == 0)).collect();
        assert!(error(&same).contains("all logits are the same"));
        let inverse: Vec<_> = (0..40).map(|i| (i as f32, i < 20)).collect();
        assert!(error(&inverse).contains("higher logits"));
        let mut broken = few;
        broken[3].0 = f32::NAN;
        assert!(error(&broken).contains("of judgement 3"));
        for (slope, offset) in [(0.0, 0.0), (-1.0, 0.0), (f64::NAN, 0.0), (1.0, f64::INFINITY)] {
            assert!(Scaling::new(slope, offset).is_err());
        }
    }
}
