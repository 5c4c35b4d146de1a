//! Texts out of Python's objects, borrowed: lists, tuples, arrays and columns of strings.

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyFrozenSet, PyList, PySet, PyString, PyTuple};

use crate::columns::{Column, is_column};
use crate::errors;

/// Texts of an argument, which stay where they are.
pub enum Texts<'py> {
    /// Python's strings; each is held, so that it stays whatever becomes of the list.
    Strings(Vec<Bound<'py, PyString>>),
    /// A column.
    Column(Column),
}

impl<'py> Texts<'py> {
    /// Takes the texts of the argument `name`: any sequence or other iterable of strings, or a column of them.
    pub fn new(object: &Bound<'py, PyAny>, name: &str) -> PyResult<Self> {
        if let Ok(list) = object.cast::<PyList>() {
            let texts = list.iter().enumerate().map(|(i, item)| text(item, || format!("{name}[{i}]")));
            return Ok(Self::Strings(texts.collect::<PyResult<_>>()?));
        }
        if is_scalar(object) {
            return Err(wrong(name, "a sequence of strings", object));
        }
        if is_column(object)? {
            return Ok(Self::Column(Column::new(object, name)?));
        }
        let items = object.try_iter().map_err(|_| wrong(name, "a sequence of strings", object))?;
        let texts = items.enumerate().map(|(i, item)| text(item?, || format!("{name}[{i}]")));
        Ok(Self::Strings(texts.collect::<PyResult<_>>()?))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Strings(strings) => strings.len(),
            Self::Column(column) => column.len(),
        }
    }

    /// All of them. `name` is the argument's.
    pub fn borrow(&self, name: &str) -> PyResult<Vec<&str>> {
        match self {
            Self::Strings(strings) => borrow(strings, |i| format!("{name}[{i}]")),
            Self::Column(column) => Ok(column.strings()),
        }
    }

    /// One of them, as it came; of a column a copy.
    pub fn get(&self, py: Python<'py>, index: usize) -> Option<Bound<'py, PyString>> {
        match self {
            Self::Strings(strings) => strings.get(index).cloned(),
            Self::Column(column) => column.get(py, index),
        }
    }
}

/// The two texts of each pair.
pub struct Pairs<'py> {
    /// The first ones.
    pub queries: Vec<Bound<'py, PyString>>,
    /// The second ones.
    pub documents: Vec<Bound<'py, PyString>>,
}

impl<'py> Pairs<'py> {
    /// Takes pairs out of an iterable of them.
    pub fn new(object: &Bound<'py, PyAny>) -> PyResult<Self> {
        let mut pairs = Self { queries: vec![], documents: vec![] };
        if let Ok(list) = object.cast::<PyList>() {
            pairs.queries.reserve(list.len());
            pairs.documents.reserve(list.len());
            for (i, pair) in list.iter().enumerate() {
                pairs.add(i, &pair)?;
            }
            return Ok(pairs);
        }
        if is_scalar(object) {
            return Err(wrong("inputs", "a sequence of pairs of strings", object));
        }
        let items =
            object.try_iter().map_err(|_| wrong("inputs", "a sequence of pairs of strings", object))?;
        for (i, pair) in items.enumerate() {
            pairs.add(i, &pair?)?;
        }
        Ok(pairs)
    }

    fn add(&mut self, i: usize, pair: &Bound<'py, PyAny>) -> PyResult<()> {
        let py = pair.py();
        let two = |found: usize| {
            let text = if found == 1 { "text" } else { "texts" };
            errors::input(py, format!("inputs[{i}]: expected a pair of strings, found {found} {text}"))
        };
        let (query, document) = if let Ok(pair) = pair.cast::<PyTuple>() {
            if pair.len() != 2 {
                return Err(two(pair.len()));
            }
            (pair.get_item(0)?, pair.get_item(1)?)
        } else if let Ok(pair) = pair.cast::<PyList>() {
            if pair.len() != 2 {
                return Err(two(pair.len()));
            }
            (pair.get_item(0)?, pair.get_item(1)?)
        } else {
            let wrong = || wrong(&format!("inputs[{i}]"), "a pair of strings", pair);
            if is_scalar(pair) {
                return Err(wrong());
            }
            let mut items = pair.try_iter().map_err(|_| wrong())?;
            match (items.next().transpose()?, items.next().transpose()?, items.next().transpose()?) {
                (Some(query), Some(document), None) => (query, document),
                (None, ..) => return Err(two(0)),
                (_, None, _) => return Err(two(1)),
                (.., Some(_)) => return Err(two(3 + items.count())),
            }
        };
        self.queries.push(text(query, || format!("inputs[{i}][0]"))?);
        self.documents.push(text(document, || format!("inputs[{i}][1]"))?);
        Ok(())
    }

    /// All of them.
    pub fn borrow(&self) -> PyResult<Vec<(&str, &str)>> {
        let queries = borrow(&self.queries, |i| format!("inputs[{i}][0]"))?;
        let documents = borrow(&self.documents, |i| format!("inputs[{i}][1]"))?;
        Ok(queries.into_iter().zip(documents).collect())
    }
}

/// The text of an argument that is one string.
pub fn one<'a>(object: &'a Bound<'_, PyAny>, name: &str) -> PyResult<&'a str> {
    match object.cast::<PyString>() {
        Ok(text) => borrow_one(text, || name.to_owned()),
        Err(_) => Err(wrong(name, "a string", object)),
    }
}

/// What would be an iterable, or one text, but is neither a sequence of texts nor has an order of its own.
fn is_scalar(object: &Bound<'_, PyAny>) -> bool {
    object.is_instance_of::<PyString>()
        || object.is_instance_of::<PyBytes>()
        || object.is_instance_of::<PyByteArray>()
        || object.is_instance_of::<PyDict>()
        || object.is_instance_of::<PySet>()
        || object.is_instance_of::<PyFrozenSet>()
}

fn text<'py>(item: Bound<'py, PyAny>, place: impl Fn() -> String) -> PyResult<Bound<'py, PyString>> {
    item.cast_into::<PyString>().map_err(|error| wrong(&place(), "a string", &error.into_inner()))
}

fn borrow<'a>(strings: &'a [Bound<'_, PyString>], place: impl Fn(usize) -> String) -> PyResult<Vec<&'a str>> {
    strings.iter().enumerate().map(|(i, string)| borrow_one(string, || place(i))).collect()
}

fn borrow_one<'a>(string: &'a Bound<'_, PyString>, place: impl Fn() -> String) -> PyResult<&'a str> {
    string.to_str().map_err(|error| {
        let message = format!("{}: expected text, found half of a surrogate pair: {error}", place());
        errors::input(string.py(), message)
    })
}

/// Says what stands where something else was expected: its type, and what it is if that is short.
fn wrong(place: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    if found.is_none() {
        return errors::input(found.py(), format!("{place}: expected {expected}, found None"));
    }
    let class = found.get_type().name().map_or_else(|_| "an object".to_owned(), |name| name.to_string());
    let value = match class.as_str() {
        "float" | "int" | "bool" => found.str().map(|value| format!(" ({value})")).unwrap_or_default(),
        _ => String::new(),
    };
    errors::input(found.py(), format!("{place}: expected {expected}, found {class}{value}"))
}
