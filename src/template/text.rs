//! How values look inside text: as in YAML and JSON, not as in Python.

use minijinja::Error;
use minijinja::value::{Value, ValueKind};

use super::error::failed;
use super::objects::{file_in_text, mark_of};
use super::results::ResultsObject;
use super::value::{to_marked_json, to_plain_json, undefined};

/// The text of a value for whatever works on it: a file in it is an error, a secret stays a placeholder.
///
/// # Errors
/// When it, or a part of it, is undefined, a file, or no value at all.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    match mark_of(value) {
        Some(mark) => Err(file_in_text(&mark)),
        None => written(value, to_plain_json),
    }
}

/// The text of a value on its way into a longer text: its files are marks.
///
/// # Errors
/// When it, or a part of it, is undefined, or no value at all.
pub(super) fn marked_text(value: &Value) -> Result<String, Error> {
    match mark_of(value) {
        Some(mark) => Ok(mark),
        None => written(value, to_marked_json),
    }
}

fn written(
    value: &Value,
    json: impl FnOnce(&Value) -> Result<serde_json::Value, Error>,
) -> Result<String, Error> {
    if let Some(results) = value.downcast_object_ref::<ResultsObject>() {
        return Err(results.is_no_value());
    }
    match value.kind() {
        ValueKind::Undefined => Err(undefined(value)),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(value.is_true().to_string()),
        _ => serde_json::to_string(&json(value)?).map_err(|error| failed(error.to_string())),
    }
}
