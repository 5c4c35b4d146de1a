//! What `tokenizer_config.json` says of the tokenizer.

use serde_json::Value;
use tokenizers::normalizers::BertNormalizer;

use crate::checkpoint::json::Fields;
use crate::error::Result;

/// Refuses what is done otherwise here.
pub(super) fn check(fields: &Fields<'_>) -> Result<()> {
    match fields.string("truncation_side")? {
        None | Some("right") => Ok(()),
        Some(side) => {
            Err(fields.error("truncation_side", "`right`, as texts are cut there", format!("`{side}`")))
        }
    }
}

/// Does what the file asks for, whatever `tokenizer.json` says: `transformers` builds the normaliser of a
/// `BertTokenizer` out of this file. That of another class it takes from `tokenizer.json`.
pub(super) fn apply(fields: &Fields<'_>, normalizer: &mut BertNormalizer) -> Result<()> {
    if !matches!(fields.string("tokenizer_class")?, None | Some("BertTokenizer" | "BertTokenizerFast")) {
        return Ok(());
    }
    let setting = |field| match fields.get(field) {
        None => Ok(None),
        Some(&Value::Bool(value)) => Ok(Some(value)),
        Some(other) => Err(fields.error(field, "true or false", other)),
    };
    normalizer.lowercase = setting("do_lower_case")?.unwrap_or(normalizer.lowercase);
    normalizer.strip_accents = setting("strip_accents")?.or(normalizer.strip_accents);
    normalizer.handle_chinese_chars =
        setting("tokenize_chinese_chars")?.unwrap_or(normalizer.handle_chinese_chars);
    Ok(())
}
