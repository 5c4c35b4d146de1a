//! Parts of a `tokenizer.json` that the `tokenizers` crate would panic at, read so that they are errors.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde_json::Value;
use tokenizers::normalizers::Precompiled;
use tokenizers::{DecoderWrapper, NormalizerWrapper};

/// Fails where no table of characters can be read, which the crate's normalizers expect of theirs.
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
