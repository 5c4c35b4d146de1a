//! Texts that a model is calibrated on, and what they say of the ranges of its activations.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::{Reading, Reranker, Tokenized};
use indexmap::IndexSet;
use sha2::{Digest, Sha256};

use super::checkpoint::Weights;
use super::compensate::DAMPING;
use super::recipe::{Calibration, hex};
use super::sequence::CLS_WEIGHT;
use super::smooth::{STRENGTH, Smoothed, Smoothing, largest_of_columns};
use super::sources::Sources;
use crate::failure::{Failure, describe};
use crate::input::{self, Lines};
use crate::interrupt::Interrupt;
use crate::{object, progress};

/// About how many tokens go through the model together.
const TOKENS: usize = 512;

/// Texts, tokenised.
pub struct Texts {
    pairs: Vec<Tokenized>,
    name: String,
    /// Of the file, as it was read.
    sha256: String,
}

impl Texts {
    /// Reads (query, document) pairs as `crossrank score` takes them; a bad line is an error. A pair that comes again
    /// says nothing new.
    pub fn read(path: &Path, model: &Reranker) -> Result<Self, Failure> {
        let (name, contents) = input::read(path)?;
        let sha256 = hex(Sha256::new_with_prefix(&contents));
        let mut lines = Lines::of(name, contents);
        let mut pairs = IndexSet::new();
        while let Some((number, line)) = lines.next_text()? {
            let tokenized = object::pair(&line).and_then(|(query, document)| {
                model.tokenize(&query, &[document]).map_err(|error| describe(&error))
            });
            let at = |reason| Failure::about(format_args!("{}: line {number}", lines.name()), reason);
            pairs.extend(tokenized.map_err(at)?);
        }
        let pairs: Vec<_> = pairs.into_iter().collect();
        let name = lines.name().to_owned();
        if pairs.is_empty() {
            return Err(Failure::about(name, "expected (query, document) pairs, found none"));
        }
        // With fewer there are columns of which nothing is known, whose weights would become anything.
        let info = model.info();
        let words: BTreeSet<_> = pairs.iter().flat_map(Tokenized::ids).collect();
        for (found, least, what) in [
            (
                tokens(&pairs),
                info.intermediate.max(info.hidden),
                "tokens, as many as the widest layer has inputs",
            ),
            (words.len(), info.hidden, "different tokens, as many as an embedding has values"),
        ] {
            if found < least {
                let pairs = pairs.len();
                let reason =
                    format!("expected at least {least} {what}, found {found} in {pairs} different pairs");
                return Err(Failure::about(name, reason));
            }
        }
        Ok(Self { pairs, name, sha256 })
    }

    /// An error about what these are, or make of the model.
    pub fn failure(&self, reason: String) -> Failure {
        Failure::about(&self.name, reason)
    }

    /// What the result says of these.
    pub fn calibration(&self, model: &Reranker) -> Calibration {
        Calibration {
            smoothing: STRENGTH,
            damping: DAMPING,
            cls_weight: CLS_WEIGHT,
            pairs: self.pairs.len(),
            tokens: tokens(&self.pairs),
            sha256: self.sha256.clone(),
            isa: model.info().isa,
        }
    }

    /// Pairs that go through the model together.
    pub fn batches(&self) -> impl Iterator<Item = &[Tokenized]> {
        let mut rest = &self.pairs[..];
        iter::from_fn(move || {
            let mut tokens = 0;
            let fits = |pair: &&Tokenized| {
                tokens += pair.len();
                tokens <= TOKENS
            };
            let fitting = rest.iter().take_while(fits).count().max(1).min(rest.len());
            let (batch, after) = rest.split_at(fitting);
            rest = after;
            (!batch.is_empty()).then_some(batch)
        })
    }

    /// What smooths the activations of these, and the weights of all Linear layers that read any, by the names of their
    /// tensors.
    pub fn smooth(
        &self,
        model: &Reranker,
        weights: &Weights,
        sources: &Sources<'_>,
        interrupt: &Interrupt,
    ) -> Result<(Smoothing, BTreeSet<String>), Failure> {
        let mut linears = BTreeSet::new();
        // Layers that read the same go by their roles.
        let mut inputs: BTreeMap<Vec<String>, SmoothedInput> = BTreeMap::new();
        let done = AtomicUsize::new(0);
        progress::watch("smoothing", self.pairs.len(), &done, || {
            for batch in self.batches() {
                interrupt.check()?;
                let mut hidden = model.embed(batch)?;
                for layer in 0..model.info().layers {
                    model.observe(layer, batch, &mut hidden, &mut |reading| {
                        let Reading { input, rows, .. } = reading;
                        let input = inputs.entry(input.linears.clone()).or_insert_with(|| {
                            linears.extend(input.linears.iter().map(|linear| sources.name(linear, "weight")));
                            SmoothedInput {
                                largest: vec![0.0; rows.cols()],
                                smoothed: Smoothed::around(input, sources),
                            }
                        });
                        for i in 0..rows.rows() {
                            for (largest, value) in input.largest.iter_mut().zip(rows.row(i)) {
                                *largest = largest.max(value.abs());
                            }
                        }
                    });
                }
                done.fetch_add(batch.len(), Ordering::Relaxed);
            }
            let inputs = inputs.into_values();
            let inputs: Vec<_> = inputs
                .filter_map(|SmoothedInput { largest, smoothed }| smoothed.map(|s| (s, largest)))
                .collect();
            let of_weights =
                largest_of_columns(weights, sources, inputs.iter().map(|(smoothed, _)| smoothed))?;
            let mut smoothing = Smoothing::default();
            for ((smoothed, largest), weights) in inputs.into_iter().zip(of_weights) {
                smoothing.add(smoothed, &largest, &weights);
            }
            Ok((smoothing, linears))
        })
    }
}

fn tokens(pairs: &[Tokenized]) -> usize {
    pairs.iter().map(Tokenized::len).sum()
}

/// What some Linear layers read.
struct SmoothedInput {
    /// The largest magnitude of each column.
    largest: Vec<f32>,
    /// What takes factors, where it is smoothed.
    smoothed: Option<Smoothed>,
}
