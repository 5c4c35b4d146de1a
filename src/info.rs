//! What was loaded, for people and logs.

use std::collections::BTreeMap;

use crate::reranker::Reranker;
use crate::score::{ModelActivation, ScoreMode};

/// A loaded model and how it runs.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct ModelInfo {
    /// The family, as `model_type` names it.
    pub family: String,
    /// Encoder layers.
    pub layers: usize,
    /// Width of a token's state.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside the feed-forward network.
    pub intermediate: usize,
    /// Words of the embedding table.
    pub vocab: usize,
    /// Rows of the position table.
    pub max_positions: usize,
    /// The most tokens of a pair, special tokens included.
    pub max_length: usize,
    /// Whose token ids pairs get, where libraries differ, and what they are read from: `its author's, from
    /// tokenizer.json`; without the tokenizer, `the caller's`.
    pub token_ids: String,
    /// Segments.
    pub token_types: usize,
    /// Logits of a pair.
    pub labels: usize,
    /// A name for each label, as [`Reranker::label_names`] gives them.
    pub label_names: Vec<String>,
    /// What makes logits of the states: which of them are read, then each step with the width it makes.
    pub head: String,
    /// The activation inside the feed-forward network, as the config names it.
    pub hidden_act: String,
    /// How the model's own scores are made of logits: `sigmoid`, `identity` or `softmax`, or what is wrong with the
    /// activation that the checkpoint names.
    pub activation: String,
    /// How numbers are held and multiplied.
    pub dtype: &'static str,
    /// The instruction set in force.
    pub isa: &'static str,
    /// What products multiply and how they sum it, with this dtype on this instruction set.
    pub products: &'static str,
    /// What attention multiplies.
    pub attention: &'static str,
    /// What a layer stores between its steps.
    pub between: &'static str,
    /// How much of the last layer is computed.
    pub last_layer: &'static str,
    /// The field of the config by which the family was recognised, and what it holds.
    pub recognised_by: String,
    /// Worker threads; 1 is the caller's own.
    pub threads: usize,
    /// Tokens that a worker takes through the network together.
    pub chunk_tokens: usize,
    /// Tensors of the checkpoint by dtype: how many, and how many elements.
    pub tensors: BTreeMap<String, (usize, usize)>,
    /// What the checkpoint's metadata say of how it was quantised, by key: `quantization`, and what begins with
    /// `quantization_`. As `crossrank quantize` writes them: rounding, calibration, how many tensors, checksums of the
    /// source and of the calibration texts. Nobody has checked them, and a file may hold any text there. Empty if the
    /// checkpoint has none; of shards that disagree the first counts.
    pub quantization: BTreeMap<String, String>,
    /// Tensors of the checkpoint that the model does not use.
    pub ignored: Vec<String>,
    /// What a caller should know of the checkpoint although it is no error, a sentence each: that there is no pooler.
    pub notes: Vec<String>,
    /// Memory of the packed Linear weights, in bytes. Embeddings stay in the checkpoint.
    pub packed_bytes: usize,
    /// How much of it is the memory of a packed checkpoint, used where it lies.
    pub shared_bytes: usize,
    /// Whether the checkpoint holds its weights packed.
    pub packed_checkpoint: bool,
    /// Coefficients of [`ModelInfo::operations`]: of 1, of the number of tokens, and of its square.
    operations: [u64; 3],
}

fn notes(reranker: &Reranker, max_length: usize) -> Vec<String> {
    let config = &reranker.config;
    let field = match max_length < config.window() {
        true => "max_length of the caller".to_owned(),
        false => config.window_field(),
    };
    let mut notes = vec![format!("the window of {max_length} tokens is {field}")];
    notes.extend(config.family.notes(reranker.model().description()));
    notes.extend(config.settings.notes.iter().cloned());
    #[cfg(feature = "tokenizers")]
    notes.extend(reranker.tokenizer().notes().iter().cloned());
    let narrow =
        |dtype: &safetensors::Dtype| matches!(dtype, safetensors::Dtype::F16 | safetensors::Dtype::BF16);
    let weights = reranker.model().weights();
    let computed = match config.settings.dtype.as_deref() {
        Some("float32") => None,
        Some(dtype) => Some(format!("in {dtype}, as config.json says by `dtype`")),
        None if weights.tensors().any(|(_, dtype, _)| narrow(&dtype)) => {
            Some("in the dtype of the first float tensor, as config.json names none".into())
        }
        None => None,
    };
    notes.extend(computed.map(|dtype| {
        format!(
            "transformers and sentence-transformers compute {dtype}, unless they are told otherwise; their scores then \
             differ from those by f32 arithmetic, mostly in the third digit"
        )
    }));
    notes
}

impl ModelInfo {
    pub(crate) fn new(reranker: &Reranker) -> Self {
        let model = reranker.model();
        let (config, description) = (&reranker.config, model.description());
        let layer = &description.layers[0];
        let activation = match (
            config.settings.activation.resolve(ScoreMode::Model, model.labels()),
            &config.settings.activation,
        ) {
            (Ok(activation), _) => activation.name().to_owned(),
            (Err(_), ModelActivation::Unknown { name, .. }) => {
                format!("`{name}`, which is not supported")
            }
            (Err(error), _) => error.to_string(),
        };
        let mut tensors = BTreeMap::<String, (usize, usize)>::new();
        for (_, dtype, shape) in model.weights().tensors() {
            let (count, elements) = tensors.entry(format!("{dtype:?}")).or_default();
            *count += 1;
            *elements += shape.iter().product::<usize>();
        }
        #[cfg(feature = "tokenizers")]
        let (max_length, token_ids) = (reranker.tokenizer().max_length(), reranker.tokenizer().ids());
        #[cfg(not(feature = "tokenizers"))]
        let (max_length, token_ids) = (config.window(), "the caller's");
        let (packed_bytes, shared_bytes) = model.packed_bytes();
        let arithmetic = model.isa().arithmetic(model.packing().panels);
        Self {
            family: description.family.clone(),
            layers: description.layers.len(),
            hidden: description.hidden,
            heads: layer.attention.heads,
            intermediate: layer.feed_forward.intermediate,
            vocab: description.embeddings.words,
            max_positions: config.max_positions(),
            max_length,
            token_ids: token_ids.to_owned(),
            token_types: config.facts().token_types,
            labels: model.labels(),
            label_names: reranker.label_names(),
            head: description.head_in_words(),
            hidden_act: config.facts().activation.clone(),
            activation,
            dtype: model.packing().panels.precision().name(),
            isa: model.isa().name(),
            products: arithmetic.products,
            attention: arithmetic.attention,
            between: arithmetic.between,
            last_layer: description.last_form().name(),
            recognised_by: config.family.recognised_by.clone(),
            threads: reranker.threads().count(),
            chunk_tokens: reranker.chunk_tokens(),
            tensors,
            quantization: model
                .weights()
                .quantization()
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            ignored: model.ignored(),
            packed_bytes,
            shared_bytes,
            packed_checkpoint: model.weights().packed().is_some(),
            operations: description.operations(),
            notes: notes(reranker, max_length),
        }
    }

    /// Operations that the network needs for a pair of so many tokens, a multiply-add counting two: all layers but the
    /// last for every token, the last for the first token alone. What is held against a machine's peak.
    ///
    /// ```
    /// # fn main() -> crossrank::Result<()> {
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gelu-60");
    /// let info = crossrank::Reranker::load(folder)?.info();
    /// assert_eq!((info.layers, info.hidden, info.intermediate, info.heads), (3, 60, 100, 5));
    /// let dense = 2 * (4 * 60 * 60 + 2 * 60 * 100);
    /// let (attention, last_attention) = (4 * 10 * 60, 4 * 5 * 60);
    /// assert_eq!(info.operations(10), 2 * 10 * (dense + attention) + 10 * last_attention + dense);
    /// # Ok(())
    /// # }
    /// ```
    pub fn operations(&self, tokens: usize) -> u64 {
        let tokens = tokens as u64;
        let [constant, linear, quadratic] = self.operations;
        constant + tokens * (linear + tokens * quadratic)
    }
}
