//! Texts with ids, one a line: what corpora and queries have in common.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::error::{Error, Result};
use crate::fields::expected;
use crate::json;
use crate::lines::Lines;
use crate::text::printable;

/// A text and where it stands.
pub struct Text {
    pub id: String,
    pub title: String,
    pub text: String,
    pub line: usize,
}

/// What tab-separated lines hold.
#[derive(Clone, Copy, PartialEq)]
pub enum Tabs {
    /// Documents: id and text, or id, address, title and text, as the first line has it.
    Documents,
    /// Queries: an id, and a text in which tabs are text.
    Queries,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Json,
    /// An id, and everything behind the first tab.
    Split,
    /// That many fields, and no more.
    Fields(usize),
}

/// Texts as they come. After an error there are no more.
pub struct Texts {
    lines: Lines,
    tabs: Tabs,
    form: Option<Form>,
    /// The line of each id, where they must differ.
    seen: Option<HashMap<Box<str>, usize>>,
    repaired: usize,
    any: bool,
    ended: bool,
}

impl Texts {
    pub fn new(lines: Lines, tabs: Tabs) -> Self {
        Self { lines, tabs, form: None, seen: None, repaired: 0, any: false, ended: false }
    }

    pub fn unique_ids(mut self) -> Self {
        self.seen = Some(HashMap::new());
        self
    }

    pub fn name(&self) -> &str {
        self.lines.name()
    }

    pub fn repaired(&self) -> usize {
        self.repaired
    }

    fn read(&mut self) -> Result<Option<Text>> {
        let Some((line, text)) = self.lines.next_text()? else {
            return if self.any {
                Ok(None)
            } else {
                Err(Error::file(self.lines.name(), "expected lines, found none"))
            };
        };
        self.any = true;
        let text = self.parse(line, &text).map_err(|reason| self.lines.error(line, reason))?;
        if let Some(seen) = &mut self.seen {
            match seen.entry(text.id.as_str().into()) {
                Entry::Occupied(first) => {
                    let first = *first.get();
                    let reason = expected("id", "one that no line before has", &text.id);
                    return Err(self.lines.error(line, format!("{reason}, which line {first} has")));
                }
                Entry::Vacant(entry) => entry.insert(line),
            };
        }
        Ok(Some(text))
    }

    fn parse(&mut self, line: usize, text: &str) -> std::result::Result<Text, String> {
        let form = match self.form {
            Some(form) => form,
            None => *self.form.insert(self.form_of(text)?),
        };
        let (id, title, text) = match form {
            Form::Json => {
                let record = json::record(text)?;
                self.repaired += usize::from(record.repaired);
                (record.id, record.title, record.text)
            }
            Form::Split => {
                let (id, text) = text.split_once('\t').ok_or_else(|| no_tab(text))?;
                (id.to_owned(), String::new(), text.to_owned())
            }
            Form::Fields(count) => {
                let fields: Vec<&str> = text.split('\t').collect();
                match (count, &fields[..]) {
                    (2, &[id, text]) => (id.to_owned(), String::new(), text.to_owned()),
                    (4, &[id, _, title, text]) => (id.to_owned(), title.to_owned(), text.to_owned()),
                    _ => {
                        let first = "as in the first line";
                        return Err(format!(
                            "expected {count} fields with tabs between, {first}, found {}",
                            fields.len()
                        ));
                    }
                }
            }
        };
        if id.is_empty() {
            return Err("id: expected an id, found nothing before the first tab".to_owned());
        }
        Ok(Text { id, title, text, line })
    }

    /// By the name of the file where that tells, else by its first line.
    fn form_of(&self, first: &str) -> std::result::Result<Form, String> {
        let name = self.lines.name().to_ascii_lowercase();
        let name = [".gz", ".zst"].iter().find_map(|ending| name.strip_suffix(ending)).unwrap_or(&name);
        let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
        let json = ends(&[".jsonl", ".ndjson", ".json"])
            || !ends(&[".tsv"]) && first.trim_start().starts_with(['{', '[']);
        match (json, self.tabs, first.split('\t').count()) {
            (true, ..) => Ok(Form::Json),
            (_, Tabs::Queries, _) => Ok(Form::Split),
            (_, Tabs::Documents, count @ (2 | 4)) => Ok(Form::Fields(count)),
            (_, Tabs::Documents, 1) => Err(no_tab(first)),
            (_, Tabs::Documents, count) => Err(format!(
                "expected 2 fields (id, text) or 4 (id, url, title, text) with tabs between, found {count}"
            )),
        }
    }
}

fn no_tab(text: &str) -> String {
    format!("expected an id, a tab and a text, or a JSON object, found `{}`", printable(text, 60))
}

impl Iterator for Texts {
    type Item = Result<Text>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.read().transpose();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
