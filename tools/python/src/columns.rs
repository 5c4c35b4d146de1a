//! Columns of strings in Arrow's memory, through the PyCapsule interface: no string is copied.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use pyo3::prelude::*;
use pyo3::types::PyString;
use pyo3_arrow::input::AnyArray;

use crate::errors;

/// Strings of one or several chunks, one after another.
pub struct Column {
    chunks: Vec<ArrayRef>,
    len: usize,
}

/// Whether an object has strings in Arrow's memory to give. A pandas column has, where it lies there already: others
/// would be converted as a whole.
pub fn is_column(object: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = object.py();
    if !object.hasattr(pyo3::intern!(py, "__arrow_c_stream__"))?
        && !object.hasattr(pyo3::intern!(py, "__arrow_c_array__"))?
    {
        return Ok(false);
    }
    let class = object.get_type();
    if !class.module()?.to_str()?.starts_with("pandas") {
        return Ok(true);
    }
    let dtype = object.getattr(pyo3::intern!(py, "dtype"))?;
    let storage = dtype.getattr_opt(pyo3::intern!(py, "storage"))?;
    let storage = storage.map(|storage| storage.extract::<String>().unwrap_or_default());
    Ok(storage.as_deref() == Some("pyarrow") || dtype.get_type().name()? == "ArrowDtype")
}

impl Column {
    /// Takes a column over. `name` is the argument's.
    pub fn new(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Self> {
        let error = |message| errors::input(object.py(), message);
        let array: AnyArray = object.extract()?;
        let array = array.into_chunked_array().map_err(PyErr::from)?;
        let mut len = 0;
        for chunk in array.chunks() {
            let is_text = match chunk.data_type() {
                DataType::Dictionary(_, values) => is_text(values),
                DataType::Null => true,
                other => is_text(other),
            };
            if !is_text {
                let found = chunk.data_type();
                return Err(error(format!("{name}: expected a column of strings, found {found}")));
            }
            if let Some(nulls) = chunk.logical_nulls()
                && let Some(row) = (0..chunk.len()).find(|row| nulls.is_null(*row))
            {
                let row = len + row;
                return Err(error(format!("{name}: row {row}: expected a string, found null")));
            }
            // The interface promises it; who breaks the promise shall get an error, not another text.
            chunk.to_data().validate_full().map_err(|reason| {
                error(format!("{name}: expected valid Arrow memory, found another: {reason}"))
            })?;
            len += chunk.len();
        }
        Ok(Self { chunks: array.chunks().to_vec(), len })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All strings, where they lie.
    pub fn strings(&self) -> Vec<&str> {
        let mut strings = Vec::with_capacity(self.len);
        for chunk in &self.chunks {
            push_strings(chunk.as_ref(), &mut strings);
        }
        strings
    }

    /// A copy of one of them for Python.
    pub fn get<'py>(&self, py: Python<'py>, mut row: usize) -> Option<Bound<'py, PyString>> {
        for chunk in &self.chunks {
            if row < chunk.len() {
                let (slice, mut strings) = (chunk.slice(row, 1), vec![]);
                push_strings(slice.as_ref(), &mut strings);
                return strings.first().map(|text| PyString::new(py, text));
            }
            row -= chunk.len();
        }
        None
    }
}

fn is_text(dtype: &DataType) -> bool {
    matches!(dtype, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Adds the strings of an array without nulls.
fn push_strings<'a>(array: &'a dyn Array, strings: &mut Vec<&'a str>) {
    match array.data_type() {
        DataType::Utf8 => strings.extend(array.as_string::<i32>().iter().flatten()),
        DataType::LargeUtf8 => strings.extend(array.as_string::<i64>().iter().flatten()),
        DataType::Utf8View => strings.extend(array.as_string_view().iter().flatten()),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            let mut values = Vec::with_capacity(dictionary.values().len());
            let present = dictionary.values();
            // A value that is null has a place all the same, and no key that leads to it.
            match present.data_type() {
                DataType::Utf8 => {
                    values.extend(present.as_string::<i32>().iter().map(Option::unwrap_or_default))
                }
                DataType::LargeUtf8 => {
                    values.extend(present.as_string::<i64>().iter().map(Option::unwrap_or_default));
                }
                _ => values.extend(present.as_string_view().iter().map(Option::unwrap_or_default)),
            }
            strings.extend(dictionary.normalized_keys().into_iter().filter_map(|key| values.get(key)));
        }
        _ => {}
    }
}
