//! What the Linear layers of a model read when it scores some texts.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::{Reranker, Tokenized};
use crossrank_kernels::Isa;
use sha2::{Digest, Sha256};

use super::checkpoint::Weights;
use super::compensate::{DAMPING, Factor};
use super::moments::Moments;
use super::recipe::{Calibration, hex};
use super::smooth::{STRENGTH, Smoothing, largest_of_columns};
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
    /// Reads (query, document) pairs as `crossrank score` takes them; a bad line is an error.
    pub fn read(path: &Path, model: &Reranker) -> Result<Self, Failure> {
        let (name, contents) = input::read(path)?;
        let sha256 = hex(Sha256::new_with_prefix(&contents));
        let mut lines = Lines::of(name, contents);
        let mut pairs = Vec::new();
        lines.for_each(|line| {
            let (query, document) = object::pair(line)?;
            pairs.extend(model.tokenize(&query, &[document]).map_err(|error| describe(&error))?);
            Ok(())
        })?;
        let name = lines.name().to_owned();
        if pairs.is_empty() {
            return Err(Failure::about(name, "expected (query, document) pairs, found none"));
        }
        // With fewer there are columns of which nothing is known, whose weights would be rounded to anything.
        let info = model.info();
        let (tokens, widest) = (tokens(&pairs), info.intermediate.max(info.hidden));
        if tokens < widest {
            let reason = format!(
                "expected at least {widest} tokens, as many as the model's widest layer has inputs, found {tokens} in {} \
                 pairs",
                pairs.len()
            );
            return Err(Failure::about(name, reason));
        }
        Ok(Self { pairs, name, sha256 })
    }

    /// An error about weights that these have spoiled.
    pub fn too_alike(&self, spoiled: &str) -> Failure {
        let reason =
            format!("expected texts that differ more, found that by these a row would be off by {spoiled}");
        Failure::about(&self.name, reason)
    }

    /// What the result says of these.
    pub fn calibration(&self, model: &Reranker) -> Calibration {
        Calibration {
            smoothing: STRENGTH,
            damping: DAMPING,
            pairs: self.pairs.len(),
            tokens: tokens(&self.pairs),
            sha256: self.sha256.clone(),
            isa: model.info().isa,
        }
    }

    /// What each Linear layer reads of these, by the name of its weight, with what smooths it.
    pub fn observe(
        &self,
        model: &Reranker,
        weights: &Weights,
        interrupt: &Interrupt,
    ) -> Result<(BTreeMap<String, Rc<Factor>>, Smoothing), Failure> {
        let isa = Isa::by_name(model.info().isa).unwrap_or_else(|_| Isa::best());
        // Layers that read the same go by their names.
        let mut inputs: BTreeMap<Vec<String>, Input> = BTreeMap::new();
        let done = AtomicUsize::new(0);
        progress::watch("calibrating", self.pairs.len(), &done, || {
            let mut first = 0;
            while first < self.pairs.len() {
                interrupt.check()?;
                let (mut end, mut tokens) = (first, 0);
                while end < self.pairs.len() && (end == first || tokens + self.pairs[end].len() <= TOKENS) {
                    tokens += self.pairs[end].len();
                    end += 1;
                }
                model.observe(&self.pairs[first..end], &mut |reading| {
                    let input = inputs.entry(reading.linears.to_vec()).or_insert_with(|| Input {
                        moments: Moments::new(reading.rows.cols()),
                        norms: reading.norms.cloned(),
                    });
                    input.moments.add(isa, reading.rows);
                })?;
                done.fetch_add(end - first, Ordering::Relaxed);
                first = end;
            }
            let names: Vec<_> = inputs.keys().cloned().collect();
            let largest = largest_of_columns(weights, &names)?;
            let mut smoothing = Smoothing::default();
            let mut factors = BTreeMap::new();
            for ((names, Input { moments, norms }), largest) in inputs.into_iter().zip(largest) {
                interrupt.check()?;
                let columns = norms.map(|norms| smoothing.add(&names, &norms, moments.largest(), &largest));
                let mut covariance = moments.covariance(isa).ok_or_else(|| {
                    let reason = format!("`{}` reads NaN or infinities of these texts", names[0]);
                    Failure::about(&self.name, reason)
                })?;
                if let Some(columns) = columns {
                    covariance.scale(&columns);
                }
                let factor = Rc::new(Factor::new(&covariance));
                factors.extend(names.into_iter().map(|name| (format!("{name}.weight"), factor.clone())));
            }
            Ok((factors, smoothing))
        })
    }
}

fn tokens(pairs: &[Tokenized]) -> usize {
    pairs.iter().map(Tokenized::len).sum()
}

/// What some Linear layers read.
struct Input {
    moments: Moments,
    norms: Option<[String; 2]>,
}
