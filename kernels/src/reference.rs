//! Naive f64 versions of the kernels: slow, obvious, and what the tests compare with.
//!
//! Matrices are row-major slices without gaps.

use std::f64::consts::{FRAC_2_SQRT_PI, PI, SQRT_2};

/// lhs * weights^T + bias: `lhs` is m x k, `weights` n x k, the result m x n. m and n follow from the lengths.
pub fn matmul(lhs: &[f64], weights: &[f64], bias: &[f64], m: usize, k: usize) -> Vec<f64> {
    let n = bias.len();
    assert_eq!((lhs.len(), weights.len()), (m * k, n * k), "lhs and weights");
    let mut dst = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            let products = (0..k).map(|l| lhs[i * k + l] * weights[j * k + l]);
            dst.push(products.sum::<f64>() + bias[j]);
        }
    }
    dst
}

/// A row of activations as bytes with a scale and a zero point: x = scale * (q - zero). The range, of so many steps, is
/// that of the row and 0; what is not finite makes the scale NaN, and a range too small for 1 / scale to be finite
/// counts as zeros.
pub fn quantize_activations(row: &[f32], steps: f32) -> (Vec<u8>, f32, u8) {
    let low = row.iter().copied().fold(0.0, f32::min);
    let high = row.iter().copied().fold(0.0, f32::max);
    if row.iter().any(|x| !x.is_finite()) {
        return (vec![0; row.len()], f32::NAN, 0);
    }
    let scale = high / steps - low / steps;
    if scale < f32::MIN_POSITIVE {
        return (vec![0; row.len()], 0.0, 0);
    }
    let inverse = 1.0 / scale;
    let zero = (-low * inverse).round_ties_even();
    let bytes = row.iter().map(|x| ((x * inverse).round_ties_even() + zero).clamp(0.0, 255.0) as u8);
    (bytes.collect(), scale, zero as u8)
}

/// What the bytes of a row leave, in 256ths of their scale, plus 128.
pub fn second_bytes(row: &[f32], scale: f32) -> Vec<u8> {
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let rest = row.iter().map(|x| x * inverse - (x * inverse).round_ties_even());
    rest.map(|rest| ((rest * 256.0).round_ties_even() + 128.0).clamp(0.0, 255.0) as u8).collect()
}

/// A row of weights as signed bytes with a scale: w = scale * q. The same holds for what is not finite or too small.
pub fn quantize_weights(row: &[f32]) -> (Vec<i8>, f32) {
    let scale = row.iter().fold(0.0, |max, x| f32::max(max, x.abs())) / 127.0;
    if row.iter().any(|x| !x.is_finite()) {
        return (vec![0; row.len()], f32::NAN);
    }
    if scale < f32::MIN_POSITIVE {
        return (vec![0; row.len()], 0.0);
    }
    let inverse = 1.0 / scale;
    (row.iter().map(|x| (x * inverse).round_ties_even() as i8).collect(), scale)
}

/// lhs * weights^T + bias of shapes as in [`matmul`], each row of lhs quantised by itself; and what second bytes add to
/// it, which is nothing but in the rows that are `fine`. Sums are exact, what follows f32.
pub fn int8_matmul(
    lhs: &[f32],
    weights: &[i8],
    scales: &[f32],
    bias: &[f32],
    m: usize,
    k: usize,
    fine: &[usize],
) -> [Vec<f32>; 2] {
    let n = bias.len();
    assert_eq!((lhs.len(), weights.len(), scales.len()), (m * k, n * k, n), "lhs, weights and scales");
    let [mut dst, mut seconds] = [const { Vec::new() }; 2];
    for i in 0..m {
        let row = &lhs[i * k..][..k];
        let is_fine = fine.contains(&i);
        let (bytes, scale, zero) = quantize_activations(row, if is_fine { 254.0 } else { 255.0 });
        let rest = second_bytes(row, scale);
        for j in 0..n {
            let product = |bytes: &[u8], zero: u8, scale: f32| {
                let weights = &weights[j * k..][..k];
                let products = bytes.iter().zip(weights);
                let products = products.map(|(&q, &w)| (i64::from(q) - i64::from(zero)) * i64::from(w));
                products.sum::<i64>() as f32 * (scale * scales[j])
            };
            dst.push(product(&bytes, zero, scale) + bias[j]);
            seconds.push(if is_fine { product(&rest, 128, scale / 256.0) } else { 0.0 });
        }
    }
    [dst, seconds]
}

/// The error function, to about 1e-15: Abramowitz and Stegun 7.1.6, whose terms are all positive, and 1 where it is 1
/// to the last bit.
pub fn erf(x: f64) -> f64 {
    if x.abs() >= 6.0 {
        return 1_f64.copysign(x);
    }
    // sum over n of 2^n x^(2n+1) / (1 * 3 * ... * (2n+1))
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > sum.abs() * 1e-17 {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// x Phi(x), Phi being the normal distribution function.
pub fn gelu(x: f64) -> f64 {
    x * 0.5 * (1.0 + erf(x / SQRT_2))
}

/// The approximation of [`gelu`] by a hyperbolic tangent.
pub fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + tanh((2.0 / PI).sqrt() * (x + 0.044715 * x * x * x)))
}

/// max(x, 0); NaN stays.
pub fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

/// x / (1 + e^-x).
pub fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// Hyperbolic tangent.
pub fn tanh(x: f64) -> f64 {
    x.tanh()
}

/// e^(scale x) / sum e^(scale x).
pub fn softmax(scale: f64, row: &[f64]) -> Vec<f64> {
    // What is subtracted cancels; without it the exponentials would overflow.
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let exponentials: Vec<f64> = row.iter().map(|x| (scale * (x - max)).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|e| e / sum).collect()
}

/// (x - mean) / sqrt(variance + eps) * weight + bias, over one row.
pub fn layer_norm(row: &[f64], weight: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let n = row.len() as f64;
    let mean = row.iter().sum::<f64>() / n;
    let variance = row.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
    let normal = row.iter().map(|x| (x - mean) / (variance + eps).sqrt());
    normal.zip(weight.iter().zip(bias)).map(|(x, (w, b))| x * w + b).collect()
}

/// softmax(scale q k^T) v, head by head: all are seq_len x (heads * head_dim).
pub fn attention(
    [q, k, v]: [&[f64]; 3],
    seq_len: usize,
    heads: usize,
    head_dim: usize,
    scale: f64,
) -> Vec<f64> {
    let cols = heads * head_dim;
    let mut dst = vec![0.0; seq_len * cols];
    for head in 0..heads {
        let at = |row: usize, d: usize| row * cols + head * head_dim + d;
        for i in 0..seq_len {
            let score = |j| (0..head_dim).map(|d| q[at(i, d)] * k[at(j, d)]).sum();
            let weights = softmax(scale, &(0..seq_len).map(score).collect::<Vec<f64>>());
            for d in 0..head_dim {
                dst[at(i, d)] = (0..seq_len).map(|j| weights[j] * v[at(j, d)]).sum();
            }
        }
    }
    dst
}

/// For each row of `queries` (heads x hidden), the rows of `x` (seq_len x hidden) weighted by
/// softmax(scale query . x).
pub fn cls_attention(queries: &[f64], x: &[f64], hidden: usize, scale: f64) -> Vec<f64> {
    let mut dst = Vec::with_capacity(queries.len());
    for query in queries.chunks(hidden) {
        let score = |token: &[f64]| query.iter().zip(token).map(|(a, b)| a * b).sum();
        let weights = softmax(scale, &x.chunks(hidden).map(score).collect::<Vec<f64>>());
        for d in 0..hidden {
            dst.push(x.chunks(hidden).zip(&weights).map(|(token, weight)| weight * token[d]).sum());
        }
    }
    dst
}

/// One row of embeddings: the word's, the segment's and the position's, normalised.
pub fn embed([word, token_type, position]: [&[f64]; 3], weight: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let sums = word.iter().zip(token_type).zip(position).map(|((a, b), c)| a + b + c);
    layer_norm(&sums.collect::<Vec<f64>>(), weight, bias, eps)
}
