//! Where two descriptions differ.

use serde_json::Value;

use super::Description;

/// The first field, in the order of its names, in which two descriptions differ, with what it holds in both.
pub(crate) fn difference(left: &Description, right: &Description) -> Option<(String, String, String)> {
    // Numbers, strings, lists and structs always have a JSON form.
    let [left, right] = [left, right].map(|side| serde_json::to_value(side).unwrap_or_default());
    of_values("", &left, &right)
}

fn of_values(path: &str, left: &Value, right: &Value) -> Option<(String, String, String)> {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => left.iter().find_map(|(name, value)| {
            of_values(&below(name), value, right.get(name).unwrap_or(&Value::Null))
        }),
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => left
            .iter()
            .zip(right)
            .enumerate()
            .find_map(|(i, (left, right))| of_values(&below(&i.to_string()), left, right)),
        (Value::Array(left), Value::Array(right)) => {
            Some((path.to_owned(), format!("{} of them", left.len()), right.len().to_string()))
        }
        _ => (left != right).then(|| (path.to_owned(), left.to_string(), right.to_string())),
    }
}
