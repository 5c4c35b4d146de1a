//! Normalisers and pre-tokenisers that transformers makes for a class, whatever its `tokenizer.json` has.

use serde_json::{Value, json};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper};

use super::Outline;
use crate::tokenizer::class::Class;
use crate::tokenizer::settings::Settings;

type Steps = (Option<NormalizerWrapper>, Option<PreTokenizerWrapper>);

/// What transformers 5 has for a class; None for one that stands for its file.
pub(super) fn recipe(settings: &Settings, outline: &Outline) -> Result<Option<Steps>, String> {
    let map = precompiled(outline.normalizer.as_ref());
    let scheme = if settings.prefix_space.unwrap_or(true) { "always" } else { "never" };
    let metaspace = json!({"type": "Sequence", "pretokenizers": [
        {"type": "WhitespaceSplit"},
        {"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": true},
    ]});
    let steps = match settings.kind {
        Class::Roberta => {
            let prefix = settings.prefix_space.unwrap_or(false);
            let step = json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true});
            (None, Some(pre_tokenizer(step)?))
        }
        Class::XlmRoberta | Class::Camembert => (map.cloned(), Some(pre_tokenizer(metaspace)?)),
        Class::Albert => {
            let replace = |text| json!({"type": "Replace", "pattern": {"String": text}, "content": "\""});
            let mut steps = vec![replace("``"), replace("''")];
            if !settings.keep_accents {
                steps.extend([json!({"type": "NFKD"}), json!({"type": "StripAccents"})]);
            }
            if settings.lowercase {
                steps.push(json!({"type": "Lowercase"}));
            }
            let steps: Result<Vec<NormalizerWrapper>, _> =
                steps.into_iter().map(serde_json::from_value).collect();
            let mut steps = steps.map_err(|error| error.to_string())?;
            steps.extend(map.cloned());
            let steps = tokenizers::normalizers::Sequence::new(steps);
            (Some(steps.into()), Some(pre_tokenizer(metaspace)?))
        }
        _ => return Ok(None),
    };
    Ok(Some(steps))
}

fn pre_tokenizer(json: Value) -> Result<PreTokenizerWrapper, String> {
    serde_json::from_value(json).map_err(|error| error.to_string())
}

/// The map of characters of a SentencePiece model.
pub(super) fn precompiled(normalizer: Option<&NormalizerWrapper>) -> Option<&NormalizerWrapper> {
    let is_map = |step: &&NormalizerWrapper| matches!(step, NormalizerWrapper::Precompiled(_));
    match normalizer? {
        NormalizerWrapper::Sequence(steps) => steps.as_ref().iter().find(is_map),
        step => Some(step).filter(is_map),
    }
}

/// What all versions take from the settings of a class rather than from its file.
pub(super) fn correct(settings: &mut Settings, outline: &mut Outline) {
    if settings.kind == Class::Roberta
        && let Some(PreTokenizerWrapper::ByteLevel(step)) = &mut outline.pre_tokenizer
    {
        let counts = settings.prefix_space.unwrap_or(false);
        if step.add_prefix_space != counts {
            let line = format!(
                "`pre_tokenizer.add_prefix_space` is {}, but {counts} counts, as class {} has it",
                step.add_prefix_space,
                settings.class()
            );
            settings.notes.push(format!("tokenizer.json: {line}"));
            step.add_prefix_space = counts;
        }
    }
}

/// Notes where transformers 5 takes other steps than the file.
pub(super) fn note(settings: &mut Settings, outline: &Outline, (normalizer, pre_tokenizer): &Steps) {
    let json = |value: serde_json::Result<Value>| value.unwrap_or_default();
    let file = json(serde_json::to_value(&outline.normalizer));
    let same_normalizer =
        flat(&file, "normalizers") == flat(&json(serde_json::to_value(normalizer)), "normalizers");
    let file = json(serde_json::to_value(&outline.pre_tokenizer));
    let mut class = json(serde_json::to_value(pre_tokenizer));
    if settings.kind == Class::Roberta {
        // Both take this from the settings.
        class["add_prefix_space"] = file["add_prefix_space"].clone();
        class["trim_offsets"] = file["trim_offsets"].clone();
    }
    let same_pre_tokenizer = flat(&file, "pretokenizers") == flat(&class, "pretokenizers");
    for (field, same) in [("normalizer", same_normalizer), ("pre_tokenizer", same_pre_tokenizer)] {
        if !same {
            let line = format!(
                "`{field}` counts as it stands, as in transformers 4; transformers 5.23 has another for class {}; the \
                 tokenizer rules transformers5 give that",
                settings.class()
            );
            settings.notes.push(format!("tokenizer.json: {line}"));
        }
    }
}

/// A sequence of one step is that step, and one of none is null.
fn flat(step: &Value, inner: &str) -> Value {
    match step[inner].as_array().map(Vec::as_slice) {
        Some([]) => Value::Null,
        Some([one]) => one.clone(),
        _ => step.clone(),
    }
}
