//! The public face: load a model, score pairs, rank documents.

use std::path::Path;

use crossrank_kernels::Matrix;

use crate::builder::Builder;
use crate::checkpoint::files::ModelBytes;
use crate::checkpoint::packed::verify;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::model::{Model, NewLinear, Reading, SourceTensor, Untreated};
use crate::schedule::{Control, Extent, Results, Scheduler, Source};
use crate::score::ScoreMode;
use crate::timings::LoadTimings;
use crate::tokenized::Tokenized;
#[cfg(feature = "tokenizers")]
use crate::tokenizer::Tokenizer;
use crate::workers::Threads;

/// The logits of one pair.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct PairScore {
    /// One raw logit a label, finite.
    pub logits: Vec<f32>,
    /// Tokens that were scored: after truncation, special tokens included.
    pub tokens: usize,
    /// Whether something was cut off to fit the window.
    pub truncated: bool,
}

impl PairScore {
    pub(crate) fn new(logits: &[f32], Extent { tokens, truncated }: Extent) -> Self {
        Self { logits: logits.to_vec(), tokens, truncated }
    }
}

/// A loaded cross-encoder.
///
/// It is shared by reference: every method takes `&self`, from any number of threads. A pair's logits have the same
/// bits whatever else is in the call, in whatever order, on however many threads.
///
/// A worker of a rayon pool may call it, for example in a `par_iter` over queries: it sleeps until the call is done, and
/// runs no other job of its pool meanwhile ([`Builder::pool`] says what holds in the pool of the model itself).
///
/// In a process that was forked after the model was loaded, every call that needs threads fails with
/// [`Error::Forked`]. Load the model in the child, or call [`Reranker::restart_threads`] there, or load it with
/// [`Builder::threads`] of 1, which goes on working there if no call was under way at the fork.
///
/// ```
/// # fn main() -> crossrank::Result<()> {
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-60");
/// let reranker = crossrank::Reranker::load(folder)?;
/// let documents = ["A river runs to the sea.", "Bread is baked in an oven."];
/// let ranking = reranker.rerank("where do rivers go", &documents, &Default::default())?;
/// for ranked in &ranking {
///     println!("{:.3}  {}", ranked.score, documents[ranked.index]);
/// }
/// assert!(ranking[0].logit >= ranking[1].logit);
/// # Ok(())
/// # }
/// ```
pub struct Reranker {
    pub(crate) model: Model,
    pub(crate) config: Config,
    #[cfg(feature = "tokenizers")]
    pub(crate) tokenizer: Tokenizer,
    pub(crate) threads: Threads,
    pub(crate) chunk_tokens: usize,
    pub(crate) scheduler: Scheduler,
    pub(crate) timings: LoadTimings,
}

impl std::fmt::Debug for Reranker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reranker").field("info", &self.info()).finish_non_exhaustive()
    }
}

impl Reranker {
    /// Loads a model folder with default options.
    ///
    /// # Errors
    /// As [`Builder::load`].
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        Self::builder().load(folder)
    }

    /// Loads a model out of bytes with default options.
    ///
    /// # Errors
    /// As [`Builder::load`].
    pub fn from_bytes(bytes: ModelBytes) -> Result<Self> {
        Self::builder().from_bytes(bytes)
    }

    /// Options, then [`Builder::load`] or [`Builder::from_bytes`].
    ///
    /// ```
    /// # fn main() -> crossrank::Result<()> {
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-60");
    /// let reranker = crossrank::Reranker::builder()
    ///     .threads(1)
    ///     .max_length(48)
    ///     .weight_source(crossrank::WeightSource::Read)
    ///     .load(folder)?;
    /// assert_eq!(reranker.info().max_length, 48);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Makes the worker threads anew in a process that was forked after the model was loaded, so that calls succeed
    /// there; weights stay the memory that both processes share. As many threads as before, of a pool of the model's
    /// own. In the process that loaded the model it does nothing.
    ///
    /// No call may have been under way in the parent at the fork: what its threads had locked then stays locked in the
    /// child. Who holds the only `Reranker` by value, or an `Arc` of it that nobody else had a clone of, knows that.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub fn restart_threads(&mut self) -> Result<()> {
        self.threads.restart()
    }

    /// Number of labels: logits of a pair.
    pub fn labels(&self) -> usize {
        self.model.labels()
    }

    /// A name for each label: that of the config, or `LABEL_` and its number where that has none, or one of several.
    pub fn label_names(&self) -> Vec<String> {
        let names = &self.config.settings.label_names;
        let name = |label: usize| {
            let own =
                names.get(&label).filter(|own| names.values().filter(|other| other == own).count() == 1);
            own.cloned().unwrap_or_else(|| format!("LABEL_{label}"))
        };
        (0..self.labels()).map(name).collect()
    }

    /// The number of the label of that name, or of that number if none has it for a name.
    ///
    /// # Errors
    /// When there is no such label.
    pub fn label(&self, name: &str) -> Result<usize> {
        let names = self.label_names();
        let number = || name.parse().ok().filter(|label| *label < names.len());
        names.iter().position(|own| own == name).or_else(number).ok_or_else(|| {
            let expected = names.iter().enumerate().map(|(i, name)| format!("{i} (`{name}`)"));
            let expected = expected.collect::<Vec<_>>().join(", ");
            Error::option("label", format!("expected one of {expected}, found `{name}`"))
        })
    }

    /// The score of each label of one pair, from its raw logits.
    ///
    /// # Errors
    /// When `logits` are not one a label, or the mode does not fit the model.
    pub fn scores(&self, mode: ScoreMode, logits: &[f32]) -> Result<Vec<f32>> {
        if logits.len() != self.labels() {
            let reason = format!("expected {} logits, found {}", self.labels(), logits.len());
            return Err(Error::option("logits", reason));
        }
        let activation = self.config.settings.activation.resolve(mode, self.labels())?;
        Ok((0..logits.len()).map(|label| activation.score(logits, label)).collect())
    }

    /// Scores pairs that have been tokenised, in input order.
    ///
    /// # Errors
    /// When ids do not fit the model, naming the pair by its index as a document; or a logit is not finite.
    ///
    /// ```
    /// # fn main() -> crossrank::Result<()> {
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-60");
    /// # let reranker = crossrank::Reranker::load(folder)?;
    /// let pair = crossrank::Tokenized::new(vec![2, 40, 3, 41, 42, 3], vec![0, 0, 0, 1, 1, 1]);
    /// let scores = reranker.score_tokenized(&[pair])?;
    /// assert_eq!((scores[0].tokens, scores[0].logits.len()), (6, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn score_tokenized(&self, pairs: &[Tokenized]) -> Result<Vec<PairScore>> {
        self.check_all(pairs)?;
        self.pair_scores(pairs)
    }

    /// Scores pairs that have been tokenised into memory of the caller's: one logit a label, labels of a pair side
    /// by side, pairs in input order. After the first calls of a size it allocates nothing (rayon's own queues
    /// aside). What `logits` holds after an error is unspecified.
    ///
    /// # Errors
    /// As [`Reranker::score_tokenized`], and when `logits` is not `pairs.len() * labels` long.
    pub fn score_tokenized_into(&self, pairs: &[Tokenized], logits: &mut [f32]) -> Result<()> {
        self.check_room(pairs.len(), logits)?;
        self.check_all(pairs)?;
        self.score(pairs, Control::default(), Results { logits, extents: None })
    }

    /// Whether memory of the caller's is as long as the logits of so many pairs.
    pub(crate) fn check_room(&self, pairs: usize, logits: &[f32]) -> Result<()> {
        let expected = pairs * self.labels();
        if logits.len() == expected {
            return Ok(());
        }
        Err(Error::option("logits", format!("expected room for {expected} logits, found {}", logits.len())))
    }

    pub(crate) fn pair_scores<S: Source + ?Sized>(&self, source: &S) -> Result<Vec<PairScore>> {
        let (logits, extents) = self.score_all(source, Control::default())?;
        let pairs = logits.chunks_exact(self.labels()).zip(extents);
        Ok(pairs.map(|(logits, extent)| PairScore::new(logits, extent)).collect())
    }

    /// Scores what a source holds, into new memory.
    pub(crate) fn score_all<S: Source + ?Sized>(
        &self,
        source: &S,
        control: Control<'_>,
    ) -> Result<(Vec<f32>, Vec<Extent>)> {
        let mut logits = vec![0.0; source.documents() * self.labels()];
        let mut extents = vec![Extent::default(); source.documents()];
        self.score(source, control, Results { logits: &mut logits, extents: Some(&mut extents) })?;
        Ok((logits, extents))
    }

    /// Scores what a source holds; the logits that come out are finite.
    pub(crate) fn score<S: Source + ?Sized>(
        &self,
        source: &S,
        control: Control<'_>,
        results: Results<'_>,
    ) -> Result<()> {
        let Results { logits, extents } = results;
        let results = Results { logits: &mut *logits, extents };
        self.scheduler.run(&self.model, &self.threads, self.chunk_tokens, source, control, results)?;
        self.check_finite(logits)
    }

    /// An error names the first document, of those whose logits these are, that has one which is no finite number.
    pub(crate) fn check_finite(&self, logits: &[f32]) -> Result<()> {
        let labels = self.labels();
        match logits.iter().position(|logit| !logit.is_finite()) {
            Some(at) => {
                Err(Error::NonFinite { document: at / labels, label: at % labels, value: logits[at] })
            }
            None => Ok(()),
        }
    }

    /// Ids come from callers, too.
    pub(crate) fn check_all(&self, pairs: &[Tokenized]) -> Result<()> {
        pairs.iter().enumerate().try_for_each(|(i, pair)| self.check(i, pair))
    }

    fn check(&self, index: usize, pair: &Tokenized) -> Result<()> {
        let config = &self.config;
        let error = |reason: String| Err(Error::document_error(index, reason));
        if pair.is_empty() {
            return error("it has no tokens".into());
        }
        if pair.ids.len() != pair.type_ids.len() {
            return error(format!("{} ids, but {} type ids", pair.ids.len(), pair.type_ids.len()));
        }
        if pair.len() > config.max_positions() {
            return error(format!(
                "{} tokens, but the model has {} positions",
                pair.len(),
                config.max_positions()
            ));
        }
        if let Some(id) = pair.ids.iter().find(|&&id| id as usize >= config.facts().vocab) {
            return error(format!("token id {id}, but the model's vocabulary has {}", config.facts().vocab));
        }
        if let Some(id) = pair.type_ids.iter().find(|&&id| id as usize >= config.facts().token_types) {
            return error(format!(
                "type id {id}, but the model has {} token types",
                config.facts().token_types
            ));
        }
        Ok(())
    }

    /// Writes the weights as this model holds them: the `model.safetensors` of a packed checkpoint, which loads without
    /// packing anything. The other files of the folder are the same. Reads the source once more.
    ///
    /// # Errors
    /// When the checkpoint is packed already, or `out` fails.
    pub fn write_packed(&self, mut out: impl std::io::Write) -> Result<()> {
        let weights = self.model.weights();
        if weights.packed().is_some() {
            return Err(Error::Config {
                file: weights.name().to_owned(),
                field: "crossrank_packing".into(),
                expected: "a checkpoint that is not packed".into(),
                found: "one that is packed already".into(),
            });
        }
        self.model.write_packed(&mut out)
    }

    /// Compares the data of a packed checkpoint with its checksum, which loading does not: it would read everything.
    /// False when the checkpoint is not packed, and so carries none.
    ///
    /// # Errors
    /// When they differ.
    pub fn verify(&self) -> Result<bool> {
        verify(self.model.weights())
    }

    /// What was loaded, and how it runs.
    pub fn info(&self) -> crate::info::ModelInfo {
        crate::info::ModelInfo::new(self)
    }

    /// How long each step of loading took.
    pub fn load_timings(&self) -> LoadTimings {
        self.timings
    }

    pub(crate) fn model(&self) -> &Model {
        &self.model
    }

    pub(crate) fn threads(&self) -> &Threads {
        &self.threads
    }

    pub(crate) fn chunk_tokens(&self) -> usize {
        self.chunk_tokens
    }

    #[cfg(feature = "tokenizers")]
    pub(crate) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
}

/// For tools; no part of the stable interface.
#[doc(hidden)]
impl Reranker {
    /// What enters the first layer of some pairs: a row a token, pair after pair.
    ///
    /// # Errors
    /// When ids do not fit the model, naming the pair by its index as a document.
    pub fn embed(&self, pairs: &[Tokenized]) -> Result<Matrix> {
        self.check_all(pairs)?;
        Ok(self.model().embed_pairs(pairs))
    }

    /// Takes `hidden`, what enters a layer of these pairs, through it, on the caller's thread, and shows the input of
    /// each of its Linear layers to `observer`. The last layer, of which only the `[CLS]` row is wanted, reads that row
    /// alone except for its keys and values, and leaves it alone in `hidden`; the pooler, if there is one, follows.
    ///
    /// Inputs may hold NaN or infinities where the weights are broken.
    ///
    /// # Panics
    /// When there is no such layer, or `hidden` has not a row for each token.
    pub fn observe(
        &self,
        layer: usize,
        pairs: &[Tokenized],
        hidden: &mut Matrix,
        observer: &mut dyn FnMut(Reading<'_>),
    ) {
        self.model().observe(layer, pairs, hidden, observer);
    }

    /// Every tensor of the checkpoint that the model is made of, once for each role that it plays.
    pub fn sources(&self) -> Vec<SourceTensor> {
        self.model().sources()
    }

    /// What the checkpoint's file calls the tensor of a role such as `layer.0.query.weight`; of a norm's
    /// `residual_scale` also what it would call it if it had one. None where there is no such role.
    pub fn tensor_of(&self, role: &str) -> Option<String> {
        self.model().tensor_of(role)
    }

    /// Decides whether calibration can treat this model: whether what [`Reranker::observe`] shows is all that its Linear
    /// layers and norms have to do with each other, and each has tensors of its own.
    ///
    /// # Errors
    /// When it cannot, with the first layer or norm, by its role, that stands in the way.
    pub fn check_calibration(&self) -> std::result::Result<(), Untreated> {
        self.model().check_calibration()
    }

    /// Puts Linear layers in the place of those of `layer`, or of the head where that is the last, and packs that layer
    /// anew. The model is then the one that loading a checkpoint with these tensors gives.
    ///
    /// # Errors
    /// When a role or a shape is not the model's; it must not be used then.
    pub fn replace(&mut self, layer: usize, linears: Vec<NewLinear>) -> Result<()> {
        self.model.replace(layer, linears)
    }
}
