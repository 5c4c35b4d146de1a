//! How two rankings of one query's candidates agree. What is undefined for a query is `None`, and left out of means.

use std::cmp::Ordering;

/// Indices by score, highest first; of equal scores the first, as the engine ranks. The scores are not NaN.
pub fn ranking(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| best_first(&scores[a], &scores[b]));
    order
}

/// The order of two scores, the higher first; neither is NaN. -0 and 0 are equal scores, so no `total_cmp`.
pub fn best_first<T: PartialOrd>(a: &T, b: &T) -> Ordering {
    b.partial_cmp(a).unwrap_or(Ordering::Equal)
}

/// How much of the first `depth` of one ranking is among the first `depth` of the other, order aside. `None` for an
/// empty ranking. Both rank the same documents.
pub fn overlap(a: &[usize], b: &[usize], depth: usize) -> Option<f64> {
    let (a, b) = (&a[..a.len().min(depth)], &b[..b.len().min(depth)]);
    let shared = a.iter().filter(|one| b.contains(one)).count();
    (!a.is_empty()).then(|| shared as f64 / a.len() as f64)
}

/// Kendall's tau-b (Kendall, "The treatment of ties in ranking problems", 1945): pairs in the same order less pairs in
/// the opposite order, over the geometric mean of the pairs that each side does not tie.
///
/// `None` where the reference has no order to keep: fewer than two scores, or all the same. Where only the other side
/// ties everything, which leaves tau-b undefined, it is 0: the order is lost.
pub fn kendall_tau_b(reference: &[f32], other: &[f32]) -> Option<f64> {
    let (mut balance, mut untied_reference, mut untied_other) = (0_i64, 0_u64, 0_u64);
    for i in 0..reference.len().min(other.len()) {
        for j in 0..i {
            let (a, b) = (sign(reference[i], reference[j]), sign(other[i], other[j]));
            balance += a * b;
            untied_reference += a.unsigned_abs();
            untied_other += b.unsigned_abs();
        }
    }
    match (untied_reference, untied_other) {
        (0, _) => None,
        (_, 0) => Some(0.0),
        (a, b) => Some(balance as f64 / ((a as f64) * (b as f64)).sqrt()),
    }
}

fn sign(a: f32, b: f32) -> i64 {
    i64::from(a > b) - i64::from(a < b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found}, expected {expected}");
    }

    #[test]
    fn the_first_of_equal_scores_ranks_higher() {
        assert_eq!(ranking(&[1.0, 3.0, -2.0, 3.0]), [1, 3, 0, 2]);
        assert_eq!(ranking(&[-0.0, 0.0, 0.0]), [0, 1, 2]);
        assert_eq!(ranking(&[]), [0; 0]);
    }

    #[test]
    fn overlaps_by_hand() {
        let one: Vec<usize> = (0..20).collect();
        let other: Vec<usize> = (3..20).chain(0..3).collect();
        assert_eq!(overlap(&one, &other, 10), Some(0.7));
        assert_eq!(overlap(&[2, 0, 1], &[0, 1, 2], 10), Some(1.0));
        assert_eq!(overlap(&[2, 0, 1], &[0, 1, 2], 2), Some(0.5));
        assert_eq!(overlap(&[], &[], 10), None);
    }

    #[test]
    fn tau_by_hand() {
        near(kendall_tau_b(&[1.0, 2.0, 3.0, 4.0], &[1.0, 3.0, 2.0, 4.0]).unwrap(), 4.0 / 6.0);
        near(kendall_tau_b(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]).unwrap(), -1.0);
        // Six pairs: one opposite, one tied on the left, three on the right, one the same.
        near(kendall_tau_b(&[1.0, 2.0, 2.0, 3.0], &[2.0, 1.0, 2.0, 2.0]).unwrap(), 0.0);
        // Three pairs: one tied on the right, two the same.
        near(kendall_tau_b(&[1.0, 2.0, 3.0], &[1.0, 1.0, 2.0]).unwrap(), 2.0 / 6.0_f64.sqrt());
        // The example of `scipy.stats.kendalltau`: two agree, six do not, two are tied on the left, one on the right.
        let tau = kendall_tau_b(&[12.0, 2.0, 1.0, 12.0, 2.0], &[1.0, 4.0, 7.0, 1.0, 0.0]).unwrap();
        near(tau, -4.0 / (8.0_f64 * 9.0).sqrt());
        assert!((tau + 0.471_404_520_791_031_7).abs() < 1e-12);
    }

    #[test]
    fn tau_without_an_order() {
        assert_eq!(kendall_tau_b(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(kendall_tau_b(&[1.0], &[2.0]), None);
        assert_eq!(kendall_tau_b(&[1.0, 2.0], &[5.0, 5.0]), Some(0.0));
    }
}
