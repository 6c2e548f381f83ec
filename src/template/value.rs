//! Between kiln's values and minijinja's.

use std::sync::Arc;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use indexmap::IndexMap;

use super::error::{TemplateErrorKind, failed, raise};
use super::objects::{ArtifactObject, FILE_MARK, FileObject, file_in_text};
use super::results::ResultsObject;
use crate::artifact::Datum;

/// minijinja's form of a value.
pub(super) fn from_datum(datum: &Datum) -> Value {
    match datum {
        Datum::Null => Value::from(()),
        Datum::Bool(value) => Value::from(*value),
        Datum::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
            (Some(value), _, _) => Value::from(value),
            (_, Some(value), _) => Value::from(value),
            (_, _, value) => Value::from(value),
        },
        Datum::String(text) => Value::from(text.as_str()),
        Datum::List(items) => items.iter().map(from_datum).collect(),
        Datum::Map(entries) => Value::from_pairs(
            entries
                .iter()
                .map(|(key, value)| (Value::from(key.as_str()), from_datum(value))),
        ),
        Datum::File(file) => Value::from_object(FileObject(file.clone())),
        Datum::Artifact(artifact) => match &artifact.text {
            Some(text) => Value::from(text.as_str()),
            None => Value::from_object(ArtifactObject(Arc::clone(artifact))),
        },
    }
}

/// kiln's form of a value.
///
/// # Errors
/// When any part of it is undefined, or is no value (a step, a function, bytes, a number that JSON has no place for).
pub(super) fn to_datum(value: &Value) -> Result<Datum, Error> {
    if let Some(file) = value.downcast_object_ref::<FileObject>() {
        return Ok(Datum::File(file.0.clone()));
    }
    if let Some(artifact) = value.downcast_object_ref::<ArtifactObject>() {
        return Ok(Datum::Artifact(Arc::clone(&artifact.0)));
    }
    if let Some(results) = value.downcast_object_ref::<ResultsObject>() {
        return Err(results.is_no_value());
    }
    match value.kind() {
        ValueKind::Undefined => Err(undefined(value)),
        ValueKind::None => Ok(Datum::Null),
        ValueKind::Bool => Ok(Datum::Bool(value.is_true())),
        ValueKind::Number => number(value).map(Datum::Number),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            if text.contains(FILE_MARK) {
                return Err(file_in_text(text));
            }
            Ok(Datum::String(text.to_owned()))
        }
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()?
            .checked()
            .map(|item| to_datum(&item?))
            .collect::<Result<_, _>>()
            .map(Datum::List),
        ValueKind::Map => map(value),
        kind => Err(failed(format!("{kind} is no value that can be used here"))),
    }
}

fn map(value: &Value) -> Result<Datum, Error> {
    let mut entries = IndexMap::new();
    for key in value.try_iter()?.checked() {
        let key = key?;
        let name = match key.kind() {
            ValueKind::String => key.as_str().unwrap_or_default().to_owned(),
            ValueKind::Number | ValueKind::Bool | ValueKind::None => super::text::text(&key)?,
            kind => return Err(failed(format!("{kind} cannot be a key of a map"))),
        };
        let item = value.get_item(&key)?;
        if item.kind() == ValueKind::Invalid {
            return Err(invalid(&item));
        }
        entries.insert(name, to_datum(&item)?);
    }
    Ok(Datum::Map(entries))
}

/// The error inside a value that holds one.
fn invalid(value: &Value) -> Error {
    // Iterating over a list that holds it is the one public way to get the error back out.
    let list: Value = std::iter::once(value.clone()).collect();
    match list.try_iter().map(|iter| iter.checked().next()) {
        Ok(Some(Err(error))) | Err(error) => error,
        Ok(_) => failed("a part of the result could not be made"),
    }
}

fn number(value: &Value) -> Result<serde_json::Number, Error> {
    if value.is_integer() {
        if let Ok(number) = u64::try_from(value.clone()) {
            return Ok(number.into());
        }
        if let Ok(number) = i64::try_from(value.clone()) {
            return Ok(number.into());
        }
        return Err(failed(
            "the result is an integer beyond the range from -2^63 to 2^64 - 1",
        ));
    }
    let number = f64::try_from(value.clone())?;
    serde_json::Number::from_f64(number).ok_or_else(|| failed("the result is not a finite number"))
}

/// The error for an undefined value; minijinja adds which expression it came from.
pub(super) fn undefined(value: &Value) -> Error {
    match value.get_attr("kiln") {
        Err(error) => error,
        Ok(_) => Error::from(ErrorKind::UndefinedError),
    }
}

/// Plain JSON of a value for text: files have no place in it.
pub(super) fn to_plain_json(value: &Value) -> Result<serde_json::Value, Error> {
    let datum = to_datum(value)?;
    if let Some(name) = first_file(&datum) {
        return Err(raise(
            TemplateErrorKind::FileInText,
            format!("the file `{name}` stands inside text"),
            Some(super::objects::FILE_HELP.to_owned()),
        ));
    }
    Ok(datum.to_json())
}

fn first_file(datum: &Datum) -> Option<String> {
    match datum {
        Datum::File(file) => Some(super::objects::file_name(&file.path)),
        Datum::Artifact(artifact) if artifact.text.is_none() => Some(artifact.name.clone()),
        Datum::List(items) => items.iter().find_map(first_file),
        Datum::Map(entries) => entries.values().find_map(first_file),
        _ => None,
    }
}
