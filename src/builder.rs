//! Options of loading.

use std::path::Path;
use std::sync::Arc;

use crossrank_kernels::{Isa, PanelDtype};

use crate::checkpoint::files::{Files, ModelBytes, WeightSource};
use crate::checkpoint::roles::Roles;
use crate::checkpoint::tensors::Weights;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::family::Description;
use crate::model::{Model, Packing, dtype_in_checkpoint};
use crate::reranker::Reranker;
use crate::schedule::Scheduler;
use crate::timings::{Laps, LoadTimings};
#[cfg(feature = "tokenizers")]
use crate::tokenizer::{Options, Source, Tokenizer, TokenizerRules, Truncation};
use crate::workers::Threads;

/// Tokens of a chunk unless the caller chooses: enough rows that streaming all weights through a core costs little, and
/// 2.4 MB of activations for a 384-wide model. (Next to 256: 0.5 % less time on one thread.)
const CHUNK_TOKENS: usize = 384;

/// How numbers are held and multiplied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Dtype {
    /// What the checkpoint holds: that of its panels where it is packed, [`Dtype::Int8`] where its Linear weights are
    /// int8, else [`Dtype::F32`].
    #[default]
    Auto,
    /// f32 throughout: agrees with PyTorch's f32 logits to 1e-4. Weights that the checkpoint holds in int8 are widened.
    /// On the instruction set `amx` the encoder's Linear layers multiply f32 as three digits of a byte each, of whose
    /// products the largest six or seven are summed, exactly; a checkpoint that is packed there holds those digits, one
    /// that is packed elsewhere f32 itself.
    F32,
    /// The Linear weights of the encoder in bfloat16, half the memory of f32; residuals, norms and softmax are f32. On
    /// the instruction sets `avx512_bf16` and `amx` activations and attention are rounded to bfloat16 for their
    /// products, too, which takes little more than half the time of f32; elsewhere it saves memory, not time: widening
    /// takes a tenth longer.
    Bf16,
    /// Products of the encoder in bytes, summed exactly: weights with a scale for each output, as an int8 checkpoint
    /// holds them or else scaled by their largest magnitude, activations with a scale and a zero point for each token.
    /// Activations of `[CLS]` tokens are in two bytes, those that the last layer needs them for among them. The head,
    /// attention and everything between products are f32, save on the instruction sets `avx512_bf16` and `amx`, where
    /// attention's products are bfloat16. Several times faster than f32 where the CPU has AVX-512 VNNI.
    Int8,
}

impl Dtype {
    /// The name, as users write it.
    pub fn name(self) -> &'static str {
        self.panels().map_or("auto", PanelDtype::name)
    }

    /// The one of a name, as users write it; None if there is none.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Auto, Self::F32, Self::Bf16, Self::Int8].into_iter().find(|dtype| dtype.name() == name)
    }

    fn panels(self) -> Option<PanelDtype> {
        match self {
            Self::Auto => None,
            Self::F32 => Some(PanelDtype::F32),
            Self::Bf16 => Some(PanelDtype::Bf16),
            Self::Int8 => Some(PanelDtype::Int8),
        }
    }

    /// The precision of products, given what is asked for and what the checkpoint holds.
    fn resolve(self, roles: Roles<'_>, description: &Description) -> Result<PanelDtype> {
        let weights = roles.weights;
        let wanted = self.panels();
        let Some(packed) = weights.packed().map(PanelDtype::precision) else {
            return Ok(wanted.unwrap_or_else(|| dtype_in_checkpoint(roles, description)));
        };
        match wanted.filter(|&wanted| wanted != packed) {
            None => Ok(packed),
            Some(wanted) => Err(Error::option(
                "dtype",
                format!(
                    "expected {packed}, in which {file} is packed, found {wanted}; `crossrank pack MODEL_DIR OUT_DIR \
                     --dtype {wanted}` makes one in {wanted}",
                    file = weights.name(),
                    packed = packed.name(),
                    wanted = wanted.name()
                ),
            )),
        }
    }
}

/// Options of loading; made by [`Reranker::builder`].
#[derive(Clone, Default)]
#[must_use]
pub struct Builder {
    dtype: Dtype,
    threads: Option<usize>,
    pool: Option<Arc<rayon::ThreadPool>>,
    #[cfg(feature = "tokenizers")]
    texts: Options,
    chunk_tokens: Option<usize>,
    weight_source: WeightSource,
    isa: Option<String>,
}

impl Builder {
    /// How numbers are held and multiplied. Default: [`Dtype::Auto`].
    pub fn dtype(mut self, dtype: Dtype) -> Self {
        self.dtype = dtype;
        self
    }

    /// Number of worker threads, 1 to 1024. With 1 everything runs on the caller's thread. Default: the value of the
    /// environment variable `CROSSRANK_THREADS` if it is set, else as many as the process may use, by its CPU affinity
    /// and cgroup quota.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Runs on the caller's own rayon pool; [`Builder::threads`] is then ignored. As with all work on a rayon pool, a
    /// worker that waits may run other tasks of the pool: hold no lock across a call that those tasks may want, and call
    /// from a bounded number of its tasks at a time, as each may lie on the stack of another. A pool must be of the
    /// process that loads the model: one made before a fork has no threads in the child.
    pub fn pool(mut self, pool: Arc<rayon::ThreadPool>) -> Self {
        self.pool = Some(pool);
        self
    }

    /// The most tokens of a pair, special tokens included. The smallest of this, the checkpoint's limit (mostly
    /// `model_max_length` of `tokenizer_config.json`) and the position table applies.
    #[cfg(feature = "tokenizers")]
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.texts.max_length = Some(tokens);
        self
    }

    /// What happens to a pair that exceeds the window. Default: what the checkpoint says by `processing_kwargs` of
    /// `sentence_bert_config.json`, else [`Truncation::LongestFirst`].
    #[cfg(feature = "tokenizers")]
    pub fn truncation(mut self, truncation: Truncation) -> Self {
        self.texts.truncation = Some(truncation);
        self
    }

    /// Whose token ids pairs get where versions of transformers differ. Default: [`TokenizerRules::Author`].
    #[cfg(feature = "tokenizers")]
    pub fn tokenizer_rules(mut self, rules: TokenizerRules) -> Self {
        self.texts.rules = rules;
        self
    }

    /// What is put in front of every query, in place of the prompt that the checkpoint names; empty for nothing.
    #[cfg(feature = "tokenizers")]
    pub fn query_prompt(mut self, prompt: impl Into<String>) -> Self {
        self.texts.prompt = Some(prompt.into());
        self
    }

    /// About how many tokens one worker takes through the network together, at least 1: at most a quarter more than
    /// this, or than the longest sequence beside it, which goes whole. It bounds the memory of a worker's activations;
    /// scores do not depend on it.
    pub fn chunk_tokens(mut self, tokens: usize) -> Self {
        self.chunk_tokens = Some(tokens);
        self
    }

    /// Whether weights are mapped or read. Default: [`WeightSource::Mmap`], whose documentation says what a file
    /// that changes under the map does.
    pub fn weight_source(mut self, source: WeightSource) -> Self {
        self.weight_source = source;
        self
    }

    /// The instruction set by name: `portable`, `avx2`, `avx512`, `avx512_bf16` or `amx`; in WebAssembly `simd128` or
    /// `simd128_relaxed`. Default: the value of the environment variable `CROSSRANK_ISA` if it is set, else the fastest of
    /// this machine.
    pub fn isa(mut self, name: impl Into<String>) -> Self {
        self.isa = Some(name.into());
        self
    }

    /// Loads a model folder: `config.json`, `tokenizer.json`, and `model.safetensors` or its shards.
    ///
    /// # Errors
    /// When a file is missing or broken, a setting is not supported, a tensor does not fit the config, or an option
    /// does not fit the model or the machine.
    pub fn load(self, folder: impl AsRef<Path>) -> Result<Reranker> {
        let mut laps = Laps::start();
        let files = Files::open(folder.as_ref(), self.weight_source)?;
        let timings = LoadTimings { files: laps.lap(), ..LoadTimings::default() };
        self.build(files, timings)
    }

    /// Loads a model out of bytes.
    ///
    /// # Errors
    /// As [`Builder::load`].
    pub fn from_bytes(self, bytes: ModelBytes) -> Result<Reranker> {
        self.build(bytes.into_files()?, LoadTimings::default())
    }

    fn build(self, files: Files, mut timings: LoadTimings) -> Result<Reranker> {
        let mut laps = Laps::start();
        let cap = std::env::var_os("CROSSRANK_ISA").map(|name| name.to_string_lossy().into_owned());
        let isa = match self.isa.or(cap) {
            Some(name) => Isa::by_name(&name)?,
            None => Isa::best(),
        };
        let chunk_tokens = match self.chunk_tokens {
            Some(0) => return Err(Error::option("chunk_tokens", "expected at least 1, found 0")),
            Some(tokens) => tokens,
            None => CHUNK_TOKENS,
        };
        let config = Config::parse(&files)?;
        timings.config = laps.lap();
        #[cfg(feature = "tokenizers")]
        let tokenizer = {
            // Its bytes go before there are threads: what is unmapped then, all cores must be told of.
            let source = Source::of(files.tokenizer, files.vocabularies, &files.config)?;
            let settings = (files.tokenizer_config.as_ref(), files.special_tokens_map.as_ref());
            Tokenizer::load(&source, settings, &config, self.texts)?
        };
        timings.tokenizer = laps.lap();
        let mut weights = Weights::parse(files.weights, files.shard_index)?;
        weights.add_modules(files.head)?;
        timings.headers = laps.lap();
        let threads = match self.pool {
            Some(pool) => Threads::of_pool(pool),
            None => Threads::new(self.threads)?,
        };
        timings.threads = laps.lap();
        let packed = weights.packed().is_some();
        let of_packed = |error: Error| if packed { error.of_packed() } else { error };
        let (description, names) = config.family.describe(&weights).map_err(of_packed)?;
        let dtype = self.dtype.resolve(Roles { weights: &weights, names: &names }, &description)?;
        let model = Packing::new(isa, dtype, &description, &weights)
            .and_then(|packing| {
                Model::load((description, names), weights, packing, config.max_positions(), &threads)
            })
            .map_err(of_packed)?;
        timings.weights = laps.lap();
        Ok(Reranker {
            model,
            config,
            #[cfg(feature = "tokenizers")]
            tokenizer,
            threads,
            chunk_tokens,
            scheduler: Scheduler::default(),
            timings,
        })
    }
}
