//! Outliers of the feed-forward network's second product, split among neurons that do next to nothing.
//!
//! A row's bytes share one scale, so one weight that is twenty times as large as all others leaves them four bits less.
//! Trained encoders have such rows: a neuron that fires on `[CLS]` alone and makes a column of the residual stream
//! hundreds of times as large as the others. Several neurons that read the same and share out the weight make it as
//! many times smaller: outlier channel splitting (Zhao et al. 2019), but in the place of neurons whose part is less
//! than what is gained, so that all shapes stay. What those gave on average goes to the bias, and what else they gave,
//! as far as others can, to those others.

use super::compensate::DAMPING;
use super::moments::Covariance;
use super::rows::LIMIT;

/// Which neurons are copied, and how often.
pub struct Split {
    /// The neuron that stands in the place of each.
    pub from: Vec<usize>,
    /// How many stand for each; infinity for those that gave way, whose weights are nothing then.
    copies: Vec<f32>,
}

impl Split {
    /// Of `weights`, rows of as many columns as there are neurons, which have `inputs`: as long as the next copy takes
    /// more from the variance that rounding adds, by its step, than the least of the neurons left gives, or may give of
    /// other texts.
    pub fn choose(weights: &[f32], inputs: &Covariance) -> Self {
        let width = inputs.inputs;
        let mut split = Self { from: (0..width).collect(), copies: vec![1.0; width] };
        let mean = (0..width).map(|j| inputs.at(j, j)).sum::<f64>() / width.max(1) as f64;
        let variance: Vec<f64> = (0..width).map(|j| inputs.at(j, j) + DAMPING * mean).collect();
        let mut parts = vec![0.0; width];
        for row in weights.chunks_exact(width.max(1)) {
            for (part, (&weight, variance)) in parts.iter_mut().zip(row.iter().zip(&variance)) {
                *part += f64::from(weight).powi(2) * variance;
            }
        }
        let mut least: Vec<usize> = (0..width).collect();
        least.sort_by(|&i, &j| parts[i].total_cmp(&parts[j]));
        // A step is rounded by up to half of it either way.
        let rounding = width as f64 * mean / f64::from(12.0 * LIMIT * LIMIT);
        let mut is_split = vec![false; width];
        for place in least {
            let Some((gain, neuron)) = split.best(weights) else { break };
            if place == neuron || is_split[place] || gain * rounding <= parts[place] {
                break;
            }
            is_split[neuron] = true;
            split.copies[neuron] += 1.0;
            split.from[place] = neuron;
            split.copies[place] = f32::INFINITY;
        }
        split
    }

    /// The neuron of which another copy makes the largest weights of rows smaller by most, squared and summed. Only rows
    /// gain whose largest weight is its own.
    fn best(&self, weights: &[f32]) -> Option<(f64, usize)> {
        let mut gains = vec![0.0; self.copies.len()];
        for row in weights.chunks_exact(gains.len().max(1)) {
            let (largest, neuron) = self.largest(row, None);
            gains[neuron] += largest.powi(2) - self.largest(row, Some(neuron)).0.powi(2);
        }
        gains.into_iter().zip(0..).max_by(|(a, _), (b, _)| a.total_cmp(b))
    }

    /// The largest weight of a row and its neuron, if there were one copy more of `another`.
    fn largest(&self, row: &[f32], another: Option<usize>) -> (f64, usize) {
        let mut found = (0.0, 0);
        for (j, (&weight, &copies)) in row.iter().zip(&self.copies).enumerate() {
            let copies = if another == Some(j) { copies + 1.0 } else { copies };
            let weight = f64::from(weight.abs() / copies);
            if weight > found.0 {
                found = (weight, j);
            }
        }
        found
    }

    /// Neurons that gave way to copies.
    pub fn replaced(&self) -> impl Iterator<Item = usize> {
        self.from.iter().enumerate().filter(|&(place, &from)| place != from).map(|(place, _)| place)
    }

    /// A row of weights, shared out.
    pub fn share<'a>(&'a self, row: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        self.from.iter().map(|&from| row[from] / self.copies[from])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(variances: &[f64]) -> Covariance {
        let inputs = variances.len();
        let mut matrix = vec![0.0; inputs * inputs];
        variances.iter().enumerate().for_each(|(i, variance)| matrix[i * inputs + i] = *variance);
        Covariance { inputs, means: vec![0.0; inputs], matrix }
    }

    #[test]
    fn an_outlier_takes_the_places_of_neurons_that_do_next_to_nothing() {
        let weights = [0.2, 16.0, 0.1, -0.1, 0.3, 0.2, 0.1, 0.2, 0.1, -0.3];
        let split = Split::choose(&weights, &inputs(&[1.0, 1.0, 1e-9, 0.0, 1.0]));
        assert_eq!(split.from, [0, 1, 1, 1, 4]);
        assert_eq!(split.replaced().collect::<Vec<_>>(), [2, 3]);
        let third = 16.0_f32 / 3.0;
        assert!(split.share(&weights[..5]).eq([0.2, third, third, third, 0.3]));
        // What comes out of neurons that are as alike as copies is what came out before.
        assert!((split.share(&weights[5..]).take(4).skip(1).sum::<f32>() - 0.1).abs() < 1e-7);
    }

    #[test]
    fn neurons_that_these_texts_leave_idle_stay_for_a_small_gain() {
        let weights = [0.3, 0.5, 0.3, 0.3];
        let split = Split::choose(&weights, &inputs(&[1.0, 1.0, 0.0, 1.0]));
        assert_eq!(split.replaced().count(), 0);
    }

    #[test]
    fn neurons_that_matter_more_stay() {
        let weights = [0.2, 8.0, 0.1, 0.3];
        let split = Split::choose(&weights, &inputs(&[1.0, 1.0, 1.0, 1.0]));
        assert_eq!(split.from, [0, 1, 2, 3]);
        assert!(split.share(&weights).eq(weights));
    }

    #[test]
    fn weights_without_outliers_and_zeros_stay() {
        for weights in [[1.0, 1.0, 1.0, 1.0], [0.0; 4]] {
            let split = Split::choose(&weights, &inputs(&[1.0, 1.0, 1.0, 1e-6]));
            assert_eq!(split.replaced().count(), 0);
        }
    }
}
