//! What the `tokenizers` crate would panic at in a `tokenizer.json`.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;
use tokenizers::normalizers::Precompiled;
use tokenizers::{DecoderWrapper, NormalizerWrapper};

/// Fails where the crate would panic: its decoders expect that what they are read from is JSON, its normalizers that a
/// table of characters can be read, its added tokens that there is an id behind those of the vocabulary.
pub(super) fn check(json: &[u8]) -> Result<(), String> {
    let json: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let words = json["model"]["vocab"].as_object();
    if let Some((token, _)) = words.into_iter().flatten().find(|(_, id)| **id == u32::MAX) {
        return Err(format!("`model.vocab`: expected ids below {0}, found `{token}` with {0}", u32::MAX));
    }
    check_normalizer(&json["normalizer"])
}

fn check_normalizer(json: &Value) -> Result<(), String> {
    if json["type"] == "Precompiled" {
        Precompiled::deserialize(json).map_err(|error| format!("`normalizer`: {error}"))?;
    }
    match json {
        Value::Object(fields) => fields.values().try_for_each(check_normalizer),
        Value::Array(items) => items.iter().try_for_each(check_normalizer),
        _ => Ok(()),
    }
}

/// A normalizer, once it is known to be one.
pub(super) fn normalizer<'de, D: Deserializer<'de>>(from: D) -> Result<Option<NormalizerWrapper>, D::Error> {
    let json = Value::deserialize(from)?;
    check_normalizer(&json).map_err(D::Error::custom)?;
    Option::deserialize(json).map_err(D::Error::custom)
}

/// A decoder, once it is known to be JSON.
pub(super) fn decoder<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DecoderWrapper>, D::Error> {
    Option::deserialize(Value::deserialize(from)?).map_err(D::Error::custom)
}
