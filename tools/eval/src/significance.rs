//! Whether two runs differ by more than chance.
//!
//! The paired randomisation test (Fisher's; Smucker, Allan and Carterette, "A comparison of statistical significance
//! tests for information retrieval evaluation", CIKM 2007): if the runs were alike, each query's difference could as well
//! have had the other sign. The p-value is the share of all ways to choose signs whose mean is as far from 0 as the mean
//! that was seen, or farther. Where there are too many ways some are drawn, and the one that was seen is counted among
//! them: (count + 1) / (permutations + 1) (Phipson and Smyth, "Permutation p-values should never be zero", 2010).

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many choices of signs are drawn, and how many at most are all gone through.
pub const PERMUTATIONS: usize = 100_000;

/// Differences in 2^-40: their sums are exact, so that the order of summing changes nothing. Metrics lie within 0 and 1.
const ONE: f64 = (1_u64 << 40) as f64;

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Significance {
    /// The probability, were the runs alike, of a mean difference as far from 0; two-sided.
    pub p_value: f64,
    /// How many choices of signs were looked at: all of them where they are at most [`PERMUTATIONS`], else so many.
    pub permutations: usize,
}

/// Tests paired differences, each within -1 and 1. `seed` decides which signs are drawn; `done` counts them.
pub fn randomisation(differences: &[f64], seed: u64, done: &AtomicUsize) -> Significance {
    let units: Vec<i64> = differences
        .iter()
        .map(|difference| (difference * ONE).round() as i64)
        // A sign makes no difference to those that are equal but for their rounding.
        .filter(|unit| unit.abs() > 1)
        .collect();
    let sum: i64 = units.iter().sum();
    // Each was rounded to half a unit, and equal values of a metric are computed in several ways: sums that are equal but
    // for that are equal.
    let slack = 2 * units.len() as i64;
    let far = |flipped: i64| (sum - 2 * flipped).abs() >= sum.abs() - slack;
    let all = u32::try_from(units.len()).ok().and_then(|count| 1_usize.checked_shl(count));
    if let Some(all) = all.filter(|&all| all <= PERMUTATIONS) {
        let flipped = |choice: usize| {
            let chosen = units.iter().enumerate().filter(|(i, _)| choice >> i & 1 == 1);
            chosen.map(|(_, unit)| unit).sum()
        };
        let count = (0..all).filter(|&choice| far(flipped(choice))).count();
        done.fetch_add(PERMUTATIONS, Ordering::Relaxed);
        return Significance { p_value: count as f64 / all as f64, permutations: all };
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let mut count = 0;
    for _ in 0..PERMUTATIONS {
        let flipped = units.chunks(64).map(|units| chosen(units, random.u64(..))).sum();
        count += usize::from(far(flipped));
        done.fetch_add(1, Ordering::Relaxed);
    }
    Significance { p_value: (count + 1) as f64 / (PERMUTATIONS + 1) as f64, permutations: PERMUTATIONS }
}

/// The sum of those whose bit is set; there are at most 64.
fn chosen(units: &[i64], bits: u64) -> i64 {
    units.iter().zip(0..).map(|(unit, i)| unit & -((bits >> i & 1) as i64)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(differences: &[f64], seed: u64) -> Significance {
        randomisation(differences, seed, &AtomicUsize::new(0))
    }

    #[test]
    fn few_differences_are_gone_through_by_hand() {
        assert_eq!(test(&[], 1), Significance { p_value: 1.0, permutations: 1 });
        assert_eq!(test(&[0.0, 1e-13], 1), Significance { p_value: 1.0, permutations: 1 });
        // Of the signs of three equal differences, all and none.
        assert_eq!(test(&[0.5, 0.5, 0.0, 0.5], 1), Significance { p_value: 0.25, permutations: 8 });
        assert_eq!(test(&[-0.5, -0.5, -0.5], 1), Significance { p_value: 0.25, permutations: 8 });
        // 0.1 + 0.2 - 0.4 is as far from 0 as ±0.1, and only ±0.1 + ±0.2 + ±0.4 = ±0.1 is: every choice is as far.
        assert_eq!(test(&[0.1, 0.2, -0.4], 1), Significance { p_value: 1.0, permutations: 8 });
        // 1/3 + 1/6 is 1/2, whatever its floats say. Only the two ways to make 1/3 - 1/4 and its opposite are nearer.
        let thirds = [1.0 / 3.0, 1.0 / 6.0, -0.5, 0.25];
        assert_eq!(test(&thirds, 1), Significance { p_value: 14.0 / 16.0, permutations: 16 });
        assert_eq!(test(&[0.25; 16], 1), Significance { p_value: 2.0 / 65_536.0, permutations: 65_536 });
    }

    #[test]
    fn many_differences_are_drawn_and_agree_with_the_binomial_distribution() {
        // With equal differences the sum follows from how many are positive: P(|B - 10| >= 5), B of 20 throws.
        let mut differences = vec![0.1; 20];
        differences[..5].fill(-0.1);
        let choose = |k: u32| (0..k).fold(1.0, |all, i| all * f64::from(20 - i) / f64::from(i + 1));
        let tail: f64 = (0..=5).map(choose).sum();
        let exact = 2.0 * tail / f64::from(1 << 20);
        let found = test(&differences, 7);
        assert_eq!(found.permutations, PERMUTATIONS);
        // Five standard deviations of 100,000 draws.
        let error = 5.0 * (exact * (1.0 - exact) / PERMUTATIONS as f64).sqrt();
        assert!((found.p_value - exact).abs() < error, "{found:?}, expected {exact}");
        assert_eq!(test(&differences, 7), found);
        assert_eq!(test(&[0.1; 100], 7).p_value, 1.0 / 100_001.0);
        // More than one word of bits.
        let alternating: Vec<f64> = (0..130).map(|i| if i % 2 == 0 { 0.3 } else { -0.3 }).collect();
        assert_eq!(test(&alternating, 7).p_value, 1.0);
    }
}
