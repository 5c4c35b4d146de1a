//! What the Linear layers of a model read when it scores some texts.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossrank::{Reranker, Tokenized};
use crossrank_kernels::{Isa, Rows};
use sha2::{Digest, Sha256};

use super::compensate::{DAMPING, Factor};
use super::moments::Moments;
use super::recipe::{Calibration, hex};
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
        Ok(Self { pairs, name, sha256 })
    }

    /// What the result says of these.
    pub fn calibration(&self, model: &Reranker) -> Calibration {
        Calibration {
            damping: DAMPING,
            pairs: self.pairs.len(),
            tokens: self.pairs.iter().map(Tokenized::len).sum(),
            sha256: self.sha256.clone(),
            isa: model.info().isa,
        }
    }

    /// What each Linear layer reads of these, by the name of its weight.
    pub fn observe(
        &self,
        model: &Reranker,
        interrupt: &Interrupt,
    ) -> Result<BTreeMap<String, Rc<Factor>>, Failure> {
        let isa = Isa::by_name(model.info().isa).unwrap_or_else(|_| Isa::best());
        // Layers that read the same go by the first of their names.
        let mut moments: BTreeMap<Vec<String>, Moments> = BTreeMap::new();
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
                let mut observer = |names: &[String], rows: Rows<'_>| {
                    let sums = moments.entry(names.to_vec()).or_insert_with(|| Moments::new(rows.cols()));
                    sums.add(isa, rows);
                };
                model.observe(&self.pairs[first..end], &mut observer)?;
                done.fetch_add(end - first, Ordering::Relaxed);
                first = end;
            }
            let mut factors = BTreeMap::new();
            for (names, moments) in moments {
                interrupt.check()?;
                let covariance = moments.covariance(isa).ok_or_else(|| {
                    let reason = format!("`{}` reads NaN or infinities of these texts", names[0]);
                    Failure::about(&self.name, reason)
                })?;
                let factor = Rc::new(Factor::new(&covariance));
                factors.extend(names.into_iter().map(|name| (format!("{name}.weight"), factor.clone())));
            }
            Ok(factors)
        })
    }
}
