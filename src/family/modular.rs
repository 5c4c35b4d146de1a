//! sentence-transformers' folders whose head is a list of modules behind an encoder of any family, such as the
//! ettin-rerankers: Pooling, Dense, LayerNorm, in the order of `modules.json`.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::description::{Dense, Description, Function, HeadStep, Norm, Pooling, Residual};
use super::parts::insert_norm;
use super::roles::{head_residual_role, head_role};
use super::{Architecture, Facts, Head};
use crate::checkpoint::files::File;
use crate::checkpoint::json::{Fields, kind};
use crate::checkpoint::modules::{Class, ModuleFiles};
use crate::checkpoint::names::Names;
use crate::checkpoint::tensors::Weights;
use crate::error::{Error, Result};

/// torch's own, which the module's file does not name.
const LAYER_NORM_EPS: f32 = 1e-5;

/// The modes of pooling that older files name by a flag each, in the order in which their results stand side by side.
const OLD_MODES: [(&str, &str); 6] = [
    ("pooling_mode_cls_token", "cls"),
    ("pooling_mode_max_tokens", "max"),
    ("pooling_mode_mean_tokens", "mean"),
    ("pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
    ("pooling_mode_weightedmean_tokens", "weightedmean"),
    ("pooling_mode_lasttoken", "lasttoken"),
];

/// An encoder and its modules.
struct Modular {
    encoder: Arc<dyn Architecture>,
    pooling: Pooling,
    steps: Vec<Step>,
}

/// A module behind the pooling.
struct Step {
    step: HeadStep,
    /// What stands before the names of its tensors.
    prefix: String,
}

impl fmt::Debug for Modular {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modular").field("encoder", &self.encoder).finish_non_exhaustive()
    }
}

/// Reads the modules behind an encoder whose states are `hidden` wide.
pub(super) fn parse(
    encoder: Arc<dyn Architecture>,
    hidden: usize,
    modules: &[ModuleFiles],
    modules_file: &File,
) -> Result<Arc<dyn Architecture>> {
    let mut width = hidden;
    let (mut pooling, mut steps) = (None, Vec::new());
    let mut output = String::new();
    for (number, files) in modules.iter().enumerate() {
        let json = files.config.json()?;
        let fields = Fields::new(&files.config, &json)?;
        let is_pooling = files.module.class == Class::Pooling;
        if is_pooling != (number == 0) {
            let none = serde_json::Map::new();
            let fields = Fields { file: modules_file, map: &none };
            let expected = "one Pooling, right behind the Transformer";
            let field = format!("[{}].type", number + 1);
            return Err(fields.error(&field, expected, format!("{:?}", files.module.class)));
        }
        let step = match files.module.class {
            Class::Transformer | Class::Pooling => {
                pooling = Some(parse_pooling(&fields, hidden)?);
                continue;
            }
            Class::Dense => {
                let (dense, name) = parse_dense(&fields, width)?;
                (width, output) = (dense.outputs, name);
                HeadStep::Dense(dense)
            }
            Class::LayerNorm => {
                chains(&fields, "dimension", width)?;
                HeadStep::Norm(Norm { eps: LAYER_NORM_EPS, bias: true })
            }
        };
        steps.push(Step { step, prefix: files.module.prefix() });
    }
    let none = serde_json::Map::new();
    let fields = Fields { file: modules_file, map: &none };
    let Some(pooling) = pooling else {
        return Err(fields.error("(the whole file)", "a Pooling behind the Transformer", "none"));
    };
    let ends_in_scores = matches!(steps.last(), Some(Step { step: HeadStep::Dense(_), .. }));
    if !ends_in_scores || output != "scores" {
        let expected = "a Dense at the end whose module_output_name is `scores`";
        return Err(fields.error("(the whole file)", expected, format!("`{output}`")));
    }
    Ok(Arc::new(Modular { encoder, pooling, steps }))
}

fn chains(fields: &Fields<'_>, field: &str, width: usize) -> Result<()> {
    let found = fields.size(field)?;
    match found == width {
        true => Ok(()),
        false => Err(fields.error(field, &format!("{width}, the width of what stands before it"), found)),
    }
}

/// `pooling_mode`, else the flags of older files, of which none means the mean.
fn parse_pooling(fields: &Fields<'_>, hidden: usize) -> Result<Pooling> {
    let width = ["embedding_dimension", "word_embedding_dimension"];
    if let Some(field) = width.into_iter().find(|field| fields.has(field)) {
        chains(fields, field, hidden)?;
    }
    if let Some(prompt) = fields.get("include_prompt").filter(|&value| value != true) {
        return Err(fields.error("include_prompt", "true", prompt));
    }
    let (field, mode) = match fields.get("pooling_mode") {
        Some(Value::String(mode)) => ("pooling_mode", mode.clone()),
        Some(Value::Array(modes)) if modes.len() == 1 && modes[0].is_string() => {
            ("pooling_mode", modes[0].as_str().unwrap_or_default().to_owned())
        }
        Some(other) => return Err(fields.error("pooling_mode", "one mode, `cls` or `mean`", other)),
        None => {
            let mut set = Vec::new();
            for (flag, mode) in &OLD_MODES {
                if fields.boolean(flag)? == Some(true) {
                    set.push((*flag, (*mode).to_owned()));
                }
            }
            match set.len() {
                0 => ("pooling_mode", "mean".to_owned()),
                1 => set.remove(0),
                _ => return Err(fields.error(set[1].0, "one mode of pooling alone", "several")),
            }
        }
    };
    match &*mode {
        "cls" => Ok(Pooling::First),
        "mean" => Ok(Pooling::Mean),
        other => Err(fields.error(field, "`cls` or `mean`", format!("`{other}`"))),
    }
}

/// A Dense, and the name of what it makes.
fn parse_dense(fields: &Fields<'_>, width: usize) -> Result<(Dense, String)> {
    chains(fields, "in_features", width)?;
    let outputs = fields.size("out_features")?;
    let activation = match fields.map.get("activation_function") {
        None => Some(Function::Tanh),
        Some(Value::String(path)) => activation(fields, path)?,
        Some(other) => {
            return Err(fields.error(
                "activation_function",
                "the path of an activation of torch",
                kind(other),
            ));
        }
    };
    let residual = match fields.boolean("use_residual")?.unwrap_or(false) {
        false => Residual::None,
        true if outputs == width => Residual::Plain,
        true => Residual::Projected,
    };
    let name = |field| fields.string(field).map(|name| name.unwrap_or("sentence_embedding").to_owned());
    let (input, output) = (name("module_input_name")?, name("module_output_name")?);
    if input != "sentence_embedding" {
        return Err(fields.error("module_input_name", "`sentence_embedding`", format!("`{input}`")));
    }
    let bias = fields.boolean("bias")?.unwrap_or(true);
    Ok((Dense { outputs, bias, activation, residual }, output))
}

/// The function of a dotted path, where torch itself has it: others are not trusted, and replaced by Tanh, by
/// sentence-transformers, which is no author's meaning.
fn activation(fields: &Fields<'_>, path: &str) -> Result<Option<Function>> {
    let name = path.strip_prefix("torch.").and_then(|path| path.rsplit('.').next());
    match name {
        Some("Identity") => Ok(None),
        Some("Tanh") => Ok(Some(Function::Tanh)),
        Some("GELU") => Ok(Some(Function::Gelu)),
        Some("ReLU") => Ok(Some(Function::Relu)),
        Some("SiLU") => Ok(Some(Function::Silu)),
        _ => {
            let expected = "Identity, Tanh, GELU, ReLU or SiLU of torch";
            Err(fields.error("activation_function", expected, format!("`{path}`")))
        }
    }
}

impl Modular {
    fn steps(&self) -> Head {
        Head { pooling: self.pooling, steps: self.steps.iter().map(|step| step.step.clone()).collect() }
    }
}

impl Architecture for Modular {
    fn facts(&self) -> &Facts {
        self.encoder.facts()
    }

    fn encoder(&self) -> Description {
        self.encoder.encoder()
    }

    fn encoder_names(&self, weights: &Weights) -> Result<Names> {
        self.encoder.encoder_names(weights)
    }

    fn head(&self, weights: &Weights, names: &mut Names) -> Result<Head> {
        for (i, Step { step, prefix }) in self.steps.iter().enumerate() {
            let mut linear = |role: String, module: String, bias: bool| {
                let parts = if bias { &["weight", "bias"][..] } else { &["weight"] };
                for part in parts {
                    let tensor = format!("{module}.{part}");
                    if !weights.contains(&tensor) {
                        let hint = ", of a module that modules.json lists";
                        return Err(Error::MissingTensor { file: weights.name().to_owned(), tensor, hint });
                    }
                    names.insert(format!("{role}.{part}"), tensor);
                }
                Ok(())
            };
            match step {
                HeadStep::Dense(dense) => {
                    linear(head_role(i), format!("{prefix}linear"), dense.bias)?;
                    if dense.residual == Residual::Projected {
                        linear(head_residual_role(i), format!("{prefix}residual"), false)?;
                    }
                }
                HeadStep::Norm(_) => insert_norm(names, weights, &head_role(i), &format!("{prefix}norm")),
            }
        }
        Ok(self.steps())
    }

    fn expect_head(&self, _: &Description) -> Head {
        self.steps()
    }
}
