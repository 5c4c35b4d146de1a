//! What a family of models is made of.
//!
//! A family's own file under `family/` turns a `config.json` and the names of its tensors into a [`Description`], which
//! speaks of roles, and a [`Names`], which says which tensor of the checkpoint plays each role. Nothing past that file
//! knows which family it is: `model/` is built from the description, and so are the packed format's names, the tools
//! that calibrate, and the count of operations.
//!
//! To add one: a file with a type that is an [`Architecture`], and a line in [`FAMILIES`].

mod albert;
mod bert;
mod check;
mod compare;
pub(crate) mod description;
mod distilbert;
mod electra;
mod modernbert;
mod modular;
mod mpnet;
mod parts;
mod roberta;
pub(crate) mod roles;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

pub(crate) use description::Description;

use compare::difference;
use description::{HeadStep, Pooling};

use crate::checkpoint::files::Files;
use crate::checkpoint::json::Fields;
use crate::checkpoint::names::Names;
use crate::checkpoint::packed::DESCRIPTION;
use crate::checkpoint::tensors::Weights;
use crate::error::{Error, Result};

/// What a config says, before any tensor is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The config, for errors about what it says.
    pub(crate) file: String,
    pub(crate) layers: usize,
    /// Width of a token's state.
    pub(crate) hidden: usize,
    /// Rows of the table of words.
    pub(crate) vocab: usize,
    /// The most tokens of a pair, and the field that says so.
    pub(crate) window: (usize, &'static str),
    /// Rows of the table of token types; 1 where there is none, or where every token is of type 0.
    pub(crate) token_types: usize,
    /// Whether token types reach the model: where they do not, every token is given type 0.
    #[cfg_attr(
        not(feature = "tokenizers"),
        expect(dead_code, reason = "texts are tokenised with the feature")
    )]
    pub(crate) segments: bool,
    /// The class of its tokenizers where no file names one; None is BERT's.
    #[cfg_attr(
        not(feature = "tokenizers"),
        expect(dead_code, reason = "texts are tokenised with the feature")
    )]
    pub(crate) tokenizer_class: Option<&'static str>,
    /// The activation inside the feed-forward network, as the config names it.
    pub(crate) activation: String,
}

/// What makes logits of the states that leave the last layer.
pub(crate) struct Head {
    pub(crate) pooling: Pooling,
    pub(crate) steps: Vec<HeadStep>,
}

/// The config of one family, checked.
pub(crate) trait Architecture: fmt::Debug + Send + Sync {
    fn facts(&self) -> &Facts;

    /// The network without its head, as far as the config says it, which is all. To be asked when it is known that the
    /// checkpoint has as many layers.
    fn encoder(&self) -> Description;

    /// Which tensors play the encoder's roles. Fails where it lacks layers that the config names.
    fn encoder_names(&self, weights: &Weights) -> Result<Names>;

    /// The family's own head, whose tensors are given their roles.
    fn head(&self, weights: &Weights, names: &mut Names) -> Result<Head>;

    /// The head that the config tells, with what only tensors say of it taken from the description that a packed
    /// checkpoint carries.
    fn expect_head(&self, carried: &Description) -> Head;

    /// What a caller should know of such a network although it is no error, a sentence each.
    fn notes(&self, _: &Description) -> Vec<String> {
        Vec::new()
    }
}

/// Reads a config as one of a family.
type Parse = fn(&Fields<'_>) -> Result<Arc<dyn Architecture>>;

/// A family, by the `model_type` and the class that its configs name.
struct Entry {
    model_type: &'static str,
    class: &'static str,
    parse: Parse,
}

const fn entry(model_type: &'static str, class: &'static str, parse: Parse) -> Entry {
    Entry { model_type, class, parse }
}

/// All that is supported.
const FAMILIES: [Entry; 9] = [
    entry("bert", "BertForSequenceClassification", bert::parse),
    entry("roberta", "RobertaForSequenceClassification", roberta::parse),
    entry("xlm-roberta", "XLMRobertaForSequenceClassification", roberta::parse),
    entry("camembert", "CamembertForSequenceClassification", roberta::parse),
    entry("modernbert", "ModernBertForSequenceClassification", modernbert::parse),
    entry("distilbert", "DistilBertForSequenceClassification", distilbert::parse),
    entry("electra", "ElectraForSequenceClassification", electra::parse),
    entry("mpnet", "MPNetForSequenceClassification", mpnet::parse),
    entry("albert", "AlbertForSequenceClassification", albert::parse),
];

/// A config whose family has been recognised and whose settings have been checked.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    architecture: Arc<dyn Architecture>,
    /// The field of the config by which it was recognised, and what that holds.
    pub(crate) recognised_by: String,
}

impl Family {
    /// Recognises the family of a `config.json`, by `model_type`, or by `architectures` where that is absent.
    pub(crate) fn parse(files: &Files, fields: &Fields<'_>) -> Result<Self> {
        let entry = recognise(fields)?;
        let recognised_by = match fields.has("model_type") {
            true => format!("`model_type` {}", entry.model_type),
            false => format!("`architectures` {}", entry.class),
        };
        refuse_what_no_family_has(fields)?;
        let modules = files.modules.as_ref().filter(|_| !files.head.is_empty());
        if modules.is_none() {
            // Where there are modules, the class is that of the encoder alone.
            check_class(fields, entry)?;
        }
        let mut architecture = (entry.parse)(fields)?;
        if let Some(modules) = modules {
            let hidden = architecture.facts().hidden;
            architecture = modular::parse(architecture, hidden, &files.head, modules)?;
        }
        Ok(Self { architecture, recognised_by })
    }

    pub(crate) fn facts(&self) -> &Facts {
        self.architecture.facts()
    }

    /// What a caller should know of such a network although it is no error, a sentence each.
    pub(crate) fn notes(&self, description: &Description) -> Vec<String> {
        self.architecture.notes(description)
    }

    fn with_head(&self, Head { pooling, steps: head }: Head) -> Description {
        Description { pooling, head, ..self.architecture.encoder() }
    }

    /// Describes a checkpoint of this family. A packed one carries its description, which must be what the config says.
    pub(crate) fn describe(&self, weights: &Weights) -> Result<(Description, Names)> {
        let Some(json) = weights.description() else {
            let mut names = self.architecture.encoder_names(weights)?;
            let head = self.architecture.head(weights, &mut names)?;
            return Ok((self.with_head(head), names));
        };
        let error = |field: &str, expected: String, found: String| Error::Config {
            file: weights.name().to_owned(),
            field: field.to_owned(),
            expected,
            found,
        };
        let carried: Description = serde_json::from_str(json).map_err(|source| {
            error(DESCRIPTION, "the description of a network".into(), source.to_string())
        })?;
        let inconsistent = |(field, expected, found): check::Contradiction| {
            error(&format!("{DESCRIPTION}: {field}"), expected, found)
        };
        carried.check().map_err(inconsistent)?;
        // The config's number of layers is only believed, and described, when the checkpoint has as many.
        let facts = self.facts();
        let difference = if facts.layers == carried.layers.len() {
            difference(&self.with_head(self.architecture.expect_head(&carried)), &carried)
        } else {
            Some(("layers".into(), format!("{} of them", facts.layers), carried.layers.len().to_string()))
        };
        if let Some((field, expected, found)) = difference {
            let expected = format!("{expected}, as {} says", facts.file);
            return Err(inconsistent((field, expected, found)));
        }
        let names = carried.packed_names(weights);
        Ok((carried, names))
    }
}

fn recognise(fields: &Fields<'_>) -> Result<&'static Entry> {
    let supported = || FAMILIES.each_ref().map(|entry| format!("`{}`", entry.model_type)).join(", ");
    if let Some(family) = fields.string("model_type")? {
        return FAMILIES.iter().find(|entry| entry.model_type == family).ok_or_else(|| {
            let expected = format!("one of the supported families: {}", supported());
            fields.error("model_type", &expected, format!("`{family}`"))
        });
    }
    let Some(architectures) = fields.get("architectures") else {
        let expected = format!("one of {}", supported());
        return Err(fields.error("model_type", &expected, "neither `model_type` nor `architectures`"));
    };
    let named = |entry: &&Entry| {
        architectures.as_array().is_some_and(|names| names.iter().any(|name| name == entry.class))
    };
    FAMILIES.iter().find(named).ok_or_else(|| {
        let classes = FAMILIES.each_ref().map(|entry| format!("[\"{}\"]", entry.class)).join(", ");
        fields.error("architectures", &classes, architectures)
    })
}

/// Refuses a config whose class does something else with this network than to score.
fn check_class(fields: &Fields<'_>, entry: &Entry) -> Result<()> {
    let Some(architectures) = fields.get("architectures") else { return Ok(()) };
    let names = architectures.as_array().map(Vec::as_slice).unwrap_or_default();
    match !names.is_empty() && names.iter().all(|name| name == entry.class) {
        true => Ok(()),
        false => Err(fields.error("architectures", &format!("[\"{}\"]", entry.class), architectures)),
    }
}

fn refuse_what_no_family_has(fields: &Fields<'_>) -> Result<()> {
    if let Some(decoder) = fields.get("is_decoder").filter(|&value| value != false) {
        let expected = "false: a decoder's causal attention is not supported";
        return Err(fields.error("is_decoder", expected, decoder));
    }
    match fields.get("quantization_config") {
        None => Ok(()),
        Some(scheme) => {
            let expected = "none: another tool's quantised weights cannot be read";
            Err(fields.error("quantization_config", expected, scheme))
        }
    }
}
