//! `special_tokens_map.json`, which versions of transformers before 5 wrote.
//!
//! All versions read it, but only where `tokenizer_config.json` has no `added_tokens_decoder`; there its tokens count, and
//! not those of the same names in `tokenizer_config.json`. (`findings/special-tokens-map.sh` shows it.)

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::checkpoint::files::File;
use crate::checkpoint::json::Fields;
use crate::error::Result;

/// `tokenizer_config.json` with the tokens of the map where they count, and a line for each that differs.
pub(super) fn merged<'a>(
    config: Option<&'a File>,
    map: Option<&File>,
) -> Result<(Option<Cow<'a, File>>, Vec<String>)> {
    let Some(map) = map else { return Ok((config.map(Cow::Borrowed), vec![])) };
    let json = config.map(File::json).transpose()?;
    let mut settings = match &json {
        Some(Value::Object(settings)) => settings.clone(),
        // Whoever reads it says what is wrong with it.
        Some(_) => return Ok((config.map(Cow::Borrowed), vec![])),
        None => Map::new(),
    };
    if settings.get("added_tokens_decoder").is_some_and(|decoder| !decoder.is_null()) {
        return Ok((config.map(Cow::Borrowed), vec![]));
    }
    let tokens = map.json()?;
    let fields = Fields::new(map, &tokens)?;
    let mut notes = vec![];
    for (name, value) in fields.map {
        let fits = match value {
            Value::String(_) => true,
            Value::Object(token) => token.get("content").is_some_and(Value::is_string),
            Value::Array(_) => !name.ends_with("_token"),
            _ => false,
        };
        if !fits {
            let expected = "a token: a string, or an object with the key `content`; or a list of them";
            return Err(fields.error(name, expected, value));
        }
        if let Some(other) = settings.get(name)
            && content(other) != content(value)
        {
            notes.push(format!(
                "special_tokens_map.json: `{name}` is {}, which counts, but tokenizer_config.json, which has no \
                 `added_tokens_decoder`, has {}",
                content(value),
                content(other)
            ));
        }
        settings.insert(name.clone(), value.clone());
    }
    let name = match config {
        Some(config) => format!("{} with {}", config.name, map.name),
        None => map.name.clone(),
    };
    let bytes = Value::Object(settings).to_string().into_bytes();
    Ok((Some(Cow::Owned(File { name, bytes: Arc::new(bytes), map: None })), notes))
}

/// What a token says, whichever way it is written.
fn content(token: &Value) -> &Value {
    token.get("content").unwrap_or(token)
}
