//! How values look inside text: as in YAML and JSON, not as in Python.

use minijinja::Error;
use minijinja::value::{Value, ValueKind};

use super::error::failed;
use super::objects::{ArtifactObject, FileObject, file_named_in_text};
use super::results::ResultsObject;
use super::value::{to_plain_json, undefined};

/// The text of a value.
///
/// # Errors
/// When it, or a part of it, is undefined, a file, or no value at all.
pub(super) fn text(value: &Value) -> Result<String, Error> {
    if let Some(file) = value.downcast_object_ref::<FileObject>() {
        return Err(file_named_in_text(&super::objects::file_name(&file.0.path)));
    }
    if let Some(artifact) = value.downcast_object_ref::<ArtifactObject>() {
        return Err(file_named_in_text(&artifact.0.name));
    }
    if let Some(results) = value.downcast_object_ref::<ResultsObject>() {
        return Err(results.is_no_value());
    }
    match value.kind() {
        ValueKind::Undefined => Err(undefined(value)),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::None => Ok("null".to_owned()),
        ValueKind::Bool => Ok(value.is_true().to_string()),
        _ => {
            let json = to_plain_json(value)?;
            serde_json::to_string(&json).map_err(|error| failed(error.to_string()))
        }
    }
}
