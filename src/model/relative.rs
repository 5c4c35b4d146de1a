//! How far apart tokens are, as attention is told: angles, slopes, or a table of biases.

use std::f64::consts::PI;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use crossrank_kernels::{Isa, Matrix, PositionBias, RotaryTable, RowsMut, rotate};

use super::loading::Loading;
use crate::error::Result;
use crate::family::description::{Attention, Buckets, Relative, Rotary, RotaryScaling};
use crate::family::roles::{BUCKETS, SHARED_BUCKETS, role};

/// Positions of the smallest table of angles; each of the others has twice as many as the one before.
const LEAST_POSITIONS: usize = 512;

/// What the scores of a layer depend on beside queries and keys.
pub(crate) enum RelativePositions {
    None,
    Rotary(Box<Angles>),
    /// A slope for each head.
    Alibi(Vec<f32>),
    /// A row for each head: the bias of j - i at j - i + n - 1, for n tokens at most.
    Table(Matrix),
}

impl RelativePositions {
    /// Those of all layers; equal ones share their tables.
    pub(super) fn load(loading: Loading<'_>, most_tokens: usize) -> Result<Vec<Arc<Self>>> {
        let mut made: Vec<(usize, Relative, Arc<Self>)> = Vec::new();
        let layers = loading.description.layers.iter();
        layers
            .map(|layer| {
                let positions = layer.attention.positions;
                // A table of its own goes with the layer's weights; all else is told by what it is.
                let owner = match positions {
                    Relative::Buckets(Buckets { shared: false, .. }) => layer.weights,
                    _ => 0,
                };
                if let Some((.., same)) = made.iter().find(|(o, p, _)| (*o, *p) == (owner, positions)) {
                    return Ok(same.clone());
                }
                let own = Arc::new(Self::new(loading, owner, &layer.attention, most_tokens)?);
                made.push((owner, positions, own.clone()));
                Ok(own)
            })
            .collect()
    }

    fn new(loading: Loading<'_>, owner: usize, attention: &Attention, most_tokens: usize) -> Result<Self> {
        let &Attention { heads, head_dim, positions, .. } = attention;
        Ok(match positions {
            Relative::None => Self::None,
            Relative::Rotary(rotary) => Self::Rotary(Box::new(Angles::new(rotary, head_dim))),
            Relative::Alibi => Self::Alibi(alibi_slopes(heads)),
            Relative::Buckets(buckets) => {
                let table = if buckets.shared { SHARED_BUCKETS.to_owned() } else { role(owner, BUCKETS) };
                let table = loading.roles.find_matrix(&table, buckets.rows, heads)?;
                let table = loading.roles.weights.matrix(&table);
                let mut rows = vec![vec![0.0; heads]; buckets.count];
                rows.iter_mut().enumerate().for_each(|(i, row)| table.widen_row(loading.isa(), i, row));
                let mut by_distance = Matrix::new(2 * most_tokens - 1);
                by_distance.set_rows(heads);
                let mut biases = by_distance.view_mut();
                for head in 0..heads {
                    for (at, bias) in biases.row_mut(head).iter_mut().enumerate() {
                        let ahead = at as i64 - (most_tokens as i64 - 1);
                        let row: &Vec<f32> = &rows[bucket(buckets, ahead)];
                        *bias = row[head];
                    }
                }
                Self::Table(by_distance)
            }
        })
    }

    /// What is added to the scores of some heads.
    pub(super) fn bias(&self, heads: Range<usize>) -> PositionBias<'_> {
        match self {
            Self::None | Self::Rotary(_) => PositionBias::None,
            Self::Alibi(slopes) => PositionBias::Alibi(&slopes[heads]),
            Self::Table(table) => PositionBias::Table(table.view().row_range(heads)),
        }
    }

    /// Whether queries and keys are turned.
    pub(super) fn rotates(&self) -> bool {
        matches!(self, Self::Rotary(_))
    }

    /// Turns queries or keys, heads side by side, whose first row is at position `first` of a sequence of `seq_len`.
    pub(super) fn rotate(&self, isa: Isa, first: usize, seq_len: usize, rows: RowsMut<'_>) {
        if let Self::Rotary(angles) = self {
            rotate(isa, angles.of(seq_len), first, rows);
        }
    }
}

/// Angles of rotary positions, in tables that are made when a sequence first needs them. A table of 8,192 positions
/// takes 2 MB for heads of 64 columns.
pub(crate) struct Angles {
    frequencies: Vec<f32>,
    factor: f32,
    tables: [OnceLock<RotaryTable>; 20],
}

impl Angles {
    fn new(rotary: Rotary, head_dim: usize) -> Self {
        let (frequencies, factor) = frequencies(rotary, head_dim);
        Self { frequencies, factor: factor as f32, tables: [const { OnceLock::new() }; 20] }
    }

    /// A table of at least so many positions.
    fn of(&self, seq_len: usize) -> &RotaryTable {
        let doublings = seq_len.div_ceil(LEAST_POSITIONS).next_power_of_two().trailing_zeros() as usize;
        let (number, positions) = match doublings < self.tables.len() {
            true => (doublings, LEAST_POSITIONS << doublings),
            false => (self.tables.len() - 1, seq_len),
        };
        self.tables[number].get_or_init(|| RotaryTable::new(&self.frequencies, self.factor, positions))
    }
}

/// Frequencies of half a head's columns, and the factor of cosines and sines. As transformers computes them, but for
/// the precision in which it does so.
fn frequencies(Rotary { theta, scaling }: Rotary, head_dim: usize) -> (Vec<f32>, f64) {
    let half = head_dim / 2;
    let plain = |i: usize| theta.powf(-((2 * i) as f64) / head_dim as f64);
    match scaling {
        RotaryScaling::None => ((0..half).map(|i| plain(i) as f32).collect(), 1.0),
        RotaryScaling::Linear { factor } => ((0..half).map(|i| (plain(i) / factor) as f32).collect(), 1.0),
        RotaryScaling::Yarn { factor, original, beta_fast, beta_slow, attention_factor } => {
            // The column whose frequency turns so many times within the original positions.
            let column = |turns: f64| {
                head_dim as f64 * (original as f64 / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln())
            };
            let low = column(beta_fast).floor().max(0.0);
            let mut high = column(beta_slow).ceil().min(head_dim as f64 - 1.0);
            if low == high {
                high += 0.001;
            }
            let frequency = |i: usize| {
                let stretched = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                plain(i) * (stretched / factor + (1.0 - stretched))
            };
            ((0..half).map(|i| frequency(i) as f32).collect(), attention_factor)
        }
    }
}

/// The bucket of a key that is so many tokens ahead of its query.
fn bucket(Buckets { count, max_distance, .. }: Buckets, ahead: i64) -> usize {
    let half = count / 2;
    let own = if ahead > 0 { half } else { 0 };
    let (distance, exact) = (ahead.unsigned_abs() as usize, half / 2);
    if distance < exact {
        return own + distance;
    }
    // In f32, as frameworks compute it.
    let furthest = (max_distance as f64 / exact as f64).ln() as f32;
    let share = (distance as f32 / exact as f32).ln() / furthest;
    own + (exact + (share * (half - exact) as f32) as usize).min(half - 1)
}

/// 2^(-8 i / heads) for i from 1 on; for a number of heads that is no power of two, those of the next smaller one, and
/// every second of the next larger one.
fn alibi_slopes(heads: usize) -> Vec<f32> {
    let of_power = |heads: usize| (1..=heads).map(move |i| 2f64.powf(-8.0 * i as f64 / heads as f64) as f32);
    let below = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    of_power(below).chain(of_power(2 * below).step_by(2)).take(heads).collect()
}
