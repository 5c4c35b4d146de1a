//! What is measured: a query and its documents, by name.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::texts;
use crate::failure::Failure;
use crate::object;
use crate::text::printable;

/// No workload that can be measured within a day comes near.
const MAX_BYTES: u64 = 256 << 20;
/// Of a name within an error.
const MAX_NAME: usize = 60;

/// One request.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Workload {
    pub name: String,
    pub query: String,
    pub docs: Vec<String>,
}

/// All workloads of a run, and what errors call where they come from.
pub struct Workloads {
    pub origin: String,
    pub workloads: Vec<Workload>,
}

impl Workloads {
    /// Those of a file, in its order, or those inside this program.
    pub fn read(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self { origin: "built-in texts".to_owned(), workloads: texts::workloads() });
        };
        let origin = path.display().to_string();
        let workloads = read(path).and_then(|text| parse(&text));
        let workloads = workloads.map_err(|reason| Failure::about(&origin, reason))?;
        Ok(Self { origin, workloads })
    }

    /// An error about one of them.
    pub fn error(&self, workload: &Workload, reason: &str) -> Failure {
        Failure::about(format_args!("{}: {}", self.origin, place(&workload.name)), reason)
    }
}

/// What errors call it.
pub fn place(name: &str) -> String {
    format!("workload `{}`", printable(name, MAX_NAME))
}

fn read(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    // One byte more than is allowed shows that there is more; a file's size need not be true.
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("expected at most {} MiB, found more", MAX_BYTES >> 20));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("expected UTF-8, found byte 0x{:02x} at offset {at}", error.as_bytes()[at])
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

fn parse(text: &str) -> Result<Vec<Workload>, String> {
    let Entries(entries) = serde_json::from_str(text).map_err(|error| match error.is_data() {
        true => "expected a JSON object of workloads, such as {\"name\": {\"query\": \"...\", \"docs\": [\"...\"]}}"
            .to_owned(),
        false => format!("expected JSON, found {error}"),
    })?;
    if entries.is_empty() {
        return Err("expected at least one workload, found none".to_owned());
    }
    let mut names = std::collections::HashSet::new();
    if let Some((name, _)) = entries.iter().find(|(name, _)| !names.insert(name)) {
        return Err(format!("{} is there twice", place(name)));
    }
    entries
        .iter()
        .map(|(name, value)| workload(name, value).map_err(|reason| format!("{}: {reason}", place(name))))
        .collect()
}

fn workload(name: &str, value: &RawValue) -> Result<Workload, String> {
    let object = object::parse(value.get())?;
    let query = object::string(&object, "query")?;
    let docs = object::strings(&object, "docs")?;
    if docs.is_empty() {
        return Err("`docs`: expected at least one document, found none".to_owned());
    }
    Ok(Workload { name: name.to_owned(), query, docs })
}

/// An object whose keys keep their order, and are all there when one occurs twice.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of workloads")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(InOrder).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn workloads_keep_the_order_of_the_file() {
        let text =
            r#"{"z": {"query": "q", "docs": ["a", "b"], "other": 1}, "a\n": {"docs": ["c"], "query": ""}}"#;
        let workloads = parse(text).unwrap();
        let names: Vec<_> = workloads.iter().map(|it| (&*it.name, &*it.query, it.docs.len())).collect();
        assert_eq!(names, [("z", "q", 2), ("a\n", "", 1)]);
    }

    #[test]
    fn half_a_surrogate_pair_is_the_replacement_character() {
        let workloads = parse(r#"{"a": {"query": "q", "docs": ["\ud800"]}}"#).unwrap();
        assert_eq!(workloads[0].docs, ["\u{fffd}"]);
    }

    #[test]
    fn errors_name_the_workload_and_the_field() {
        for (text, expected) in [
            ("", "expected JSON, found EOF while parsing a value at line 1 column 0"),
            ("[]", "expected a JSON object of workloads"),
            ("{}", "expected at least one workload, found none"),
            ("{\"a\": 1,\n }", "expected JSON, found trailing comma at line 2 column 2"),
            (r#"{"a": []}"#, "workload `a`: expected a JSON object, found an array"),
            (
                r#"{"a": {"query": "q"}}"#,
                "workload `a`: expected an object with the key `docs`, found `query`",
            ),
            (
                r#"{"a": {"docs": ["d"]}}"#,
                "workload `a`: expected an object with the key `query`, found `docs`",
            ),
            (
                r#"{"a": {"query": 1, "docs": ["d"]}}"#,
                "workload `a`: `query`: expected a string, found a number",
            ),
            (
                r#"{"a": {"query": "q", "docs": []}}"#,
                "workload `a`: `docs`: expected at least one document, found none",
            ),
            (
                r#"{"a": {"query": "q", "docs": {}}}"#,
                "workload `a`: `docs`: expected an array, found an object",
            ),
            (
                r#"{"a": {"query": "q", "docs": ["d", null]}}"#,
                "workload `a`: `docs[1]`: expected a string, found null",
            ),
            (r#"{"a": {"query": "q", "docs": ["d"]}, "b": 1, "a": 2}"#, "workload `a` is there twice"),
            ("{\"\\u001b[2J\": 1}", "workload `\\u{1b}[2J`: expected a JSON object, found a number"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
