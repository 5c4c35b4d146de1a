//! What `tokenizer_config.json` says of the tokenizer.
//!
//! `transformers` believes it where `tokenizer.json` says otherwise, and would make other ids of the same text. Here the
//! second is what texts go by, so a model in which they disagree is refused.

use serde_json::Value;
use tokenizers::normalizers::BertNormalizer;

use crate::config::Fields;
use crate::error::Result;
use crate::files::File;

/// Fails where the file asks for something else than what is done; `normalizer` is that of `tokenizer.json`.
pub(super) fn check(file: &File, normalizer: Option<&BertNormalizer>) -> Result<()> {
    let json = file.json()?;
    let fields = Fields::new(file, &json)?;
    if let Some(side) = fields.string("truncation_side")?
        && side != "right"
    {
        return Err(fields.error("truncation_side", "`right`, as texts are cut there", format!("`{side}`")));
    }
    let Some(normalizer) = normalizer else { return Ok(()) };
    for (field, does) in [
        ("do_lower_case", normalizer.lowercase),
        ("strip_accents", normalizer.strip_accents.unwrap_or(normalizer.lowercase)),
        ("tokenize_chinese_chars", normalizer.handle_chinese_chars),
    ] {
        match fields.get(field) {
            None => {}
            Some(&Value::Bool(says)) if says == does => {}
            Some(other) => {
                let expected = format!("{does}, as the normalizer of tokenizer.json does");
                return Err(fields.error(field, &expected, other));
            }
        }
    }
    Ok(())
}
