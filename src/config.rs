//! `config.json` and its neighbours: sizes, activation, head. What is not supported is refused by name.

use crate::checkpoint::files::Files;
use crate::checkpoint::json::Fields;
use crate::checkpoint::settings::Settings;
use crate::error::{Error, Result};
use crossrank_kernels::Activation;

/// What a model's configuration says, checked.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) heads: usize,
    pub(crate) intermediate: usize,
    pub(crate) vocab: usize,
    pub(crate) max_positions: usize,
    pub(crate) token_types: usize,
    pub(crate) layer_norm_eps: f32,
    pub(crate) hidden_act: Activation,
    /// As the config names it.
    pub(crate) hidden_act_name: String,
    /// The number of labels that the config names, if it names any.
    pub(crate) labels: Option<(&'static str, usize)>,
    /// What the files say beside the network.
    pub(crate) settings: Settings,
    /// The file, for errors about what it says.
    pub(crate) file: String,
}

impl Config {
    pub(crate) fn parse(files: &Files) -> Result<Self> {
        let json = files.config.json()?;
        let fields = Fields::new(&files.config, &json)?;
        fields.check_family()?;
        let hidden = fields.size("hidden_size")?;
        let heads = fields.size("num_attention_heads")?;
        if !hidden.is_multiple_of(heads) {
            let expected = format!("a multiple of num_attention_heads ({heads})");
            return Err(fields.error("hidden_size", &expected, hidden));
        }
        let hidden_act_name = fields.string("hidden_act")?.unwrap_or("gelu").to_owned();
        let hidden_act = match &*hidden_act_name {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            "silu" | "swish" => Activation::Silu,
            other => {
                let expected = "gelu, gelu_new, gelu_pytorch_tanh, relu or silu";
                return Err(fields.error("hidden_act", expected, format!("`{other}`")));
            }
        };
        Ok(Self {
            hidden,
            layers: fields.size("num_hidden_layers")?,
            heads,
            intermediate: fields.size("intermediate_size")?,
            vocab: fields.size("vocab_size")?,
            max_positions: fields.size("max_position_embeddings")?,
            token_types: if fields.has("type_vocab_size") { fields.size("type_vocab_size")? } else { 2 },
            layer_norm_eps: fields.layer_norm_eps()?,
            hidden_act,
            hidden_act_name,
            labels: fields.labels()?,
            settings: Settings::parse(files, &fields)?,
            file: files.config.name.clone(),
        })
    }

    /// The most tokens of a pair that the model and its settings allow.
    pub(crate) fn window(&self) -> usize {
        self.settings.limit.as_ref().map_or(self.max_positions, |(limit, _)| (*limit).min(self.max_positions))
    }

    /// Where that limit stands.
    pub(crate) fn window_field(&self) -> &str {
        match &self.settings.limit {
            Some((limit, field)) if *limit < self.max_positions => field,
            _ => "max_position_embeddings of config.json",
        }
    }

    pub(crate) fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// Refuses a checkpoint whose classifier has another number of labels than the config says.
    pub(crate) fn check_labels(&self, rows: usize) -> Result<()> {
        match self.labels {
            Some((field, labels)) if labels != rows => Err(Error::Config {
                file: self.file.clone(),
                field: field.to_owned(),
                expected: format!("as many labels as the classifier has rows ({rows})"),
                found: labels.to_string(),
            }),
            _ => Ok(()),
        }
    }
}

impl Fields<'_> {
    fn check_family(&self) -> Result<()> {
        if let Some(family) = self.string("model_type")?
            && family != "bert"
        {
            return Err(self.error(
                "model_type",
                "`bert`, the one family supported so far",
                format!("`{family}`"),
            ));
        }
        if let Some(architectures) = self.get("architectures") {
            let supported = "BertForSequenceClassification";
            let names = architectures.as_array().map(Vec::as_slice).unwrap_or_default();
            if names.is_empty() || names.iter().any(|name| name != supported) {
                return Err(self.error("architectures", &format!("[\"{supported}\"]"), architectures));
            }
        } else if !self.has("model_type") {
            return Err(self.error("model_type", "`bert`", "neither `model_type` nor `architectures`"));
        }
        if let Some(kind) = self.string("position_embedding_type")?
            && kind != "absolute"
        {
            return Err(self.error("position_embedding_type", "`absolute`", format!("`{kind}`")));
        }
        if let Some(decoder) = self.get("is_decoder").filter(|&value| value != false) {
            let expected = "false: a decoder's causal attention is not supported";
            return Err(self.error("is_decoder", expected, decoder));
        }
        if let Some(scheme) = self.get("quantization_config") {
            let expected = "none: another tool's quantised weights cannot be read";
            return Err(self.error("quantization_config", expected, scheme));
        }
        Ok(())
    }

    fn layer_norm_eps(&self) -> Result<f32> {
        let expected = "a number from 0 to 1";
        match self.get("layer_norm_eps") {
            None => Ok(1e-12),
            Some(value) => match value.as_f64() {
                Some(eps) if (0.0..=1.0).contains(&eps) => Ok(eps as f32),
                _ => Err(self.error("layer_norm_eps", expected, value)),
            },
        }
    }
}
