//! Between kiln's values and minijinja's.

use std::sync::Arc;

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};

use indexmap::IndexMap;

use super::error::{TemplateErrorKind, failed, raise};
use super::objects::{ArtifactObject, FILE_MARK, FileObject, file_in_text, mark, paths_in_text};
use super::results::ResultsObject;
use crate::artifact::Datum;
use crate::base::secret;

/// What becomes of files inside text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Files {
    /// They are an error.
    Refused,
    /// They stand for their paths.
    Paths,
    /// Their marks stay: the text goes on.
    Kept,
}

impl Files {
    /// A finished text.
    pub(super) fn finish(self, text: &str) -> Result<String, Error> {
        match self {
            _ if !text.contains(FILE_MARK) => Ok(text.to_owned()),
            Self::Refused => Err(file_in_text(text)),
            Self::Paths => Ok(paths_in_text(text)),
            Self::Kept => Ok(text.to_owned()),
        }
    }
}

/// A value that came from outside: what would pass for a secret's placeholder is none.
pub(super) fn from_outside(json: serde_json::Value) -> Value {
    from_datum(&Datum::from(harmless(json)))
}

/// As [`from_outside`], for a value that is kiln's already.
pub(super) fn from_outside_datum(datum: &Datum) -> Value {
    from_outside(datum.to_json())
}

fn harmless(json: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match json {
        Value::String(text) if secret::is_in(&text) => {
            Value::String(secret::without(&text).into_owned())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(harmless).collect()),
        Value::Object(entries) => Value::Object(
            entries
                .into_iter()
                .map(|(key, value)| (secret::without(&key).into_owned(), harmless(value)))
                .collect(),
        ),
        other => other,
    }
}

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
        Datum::Map(entries) => from_map(entries),
        Datum::File(file) => Value::from_object(FileObject(file.clone())),
        Datum::Artifact(artifact) => match artifact.as_text() {
            Some(text) => Value::from(secret::without(text).as_ref()),
            None => Value::from_object(ArtifactObject(Arc::clone(artifact))),
        },
    }
}

/// minijinja's form of a map.
pub(super) fn from_map(entries: &IndexMap<String, Datum>) -> Value {
    Value::from_pairs(
        entries
            .iter()
            .map(|(key, value)| (Value::from(key.as_str()), from_datum(value))),
    )
}

/// kiln's form of a value.
///
/// # Errors
/// When any part of it is undefined, or is no value (a step, a function, bytes, a number that JSON has no place for).
pub(super) fn to_datum(value: &Value, files: Files) -> Result<Datum, Error> {
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
            files.finish(text).map(Datum::String)
        }
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()?
            .checked()
            .map(|item| to_datum(&item?, files))
            .collect::<Result<_, _>>()
            .map(Datum::List),
        ValueKind::Map => map(value, files),
        kind => Err(failed(format!("{kind} is no value that can be used here"))),
    }
}

fn map(value: &Value, files: Files) -> Result<Datum, Error> {
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
        entries.insert(name, to_datum(&item, files)?);
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

/// A value as plain JSON for what only takes plain values: a file or a secret in it is an error.
pub(super) fn to_plain_json(value: &Value) -> Result<serde_json::Value, Error> {
    let datum = to_datum(value, Files::Refused)?;
    if let Some(name) = first_file(&datum) {
        return Err(raise(
            TemplateErrorKind::FileInText,
            format!("the file `{name}` stands inside text"),
            Some(super::objects::FILE_HELP.to_owned()),
        ));
    }
    let json = datum.to_json();
    no_secret(&json)?;
    Ok(json)
}

/// A value as JSON inside text, its files as marks.
pub(super) fn to_marked_json(value: &Value) -> Result<serde_json::Value, Error> {
    let json = marked(&to_datum(value, Files::Kept)?);
    no_secret(&json)?;
    Ok(json)
}

fn marked(datum: &Datum) -> serde_json::Value {
    use serde_json::Value;
    match datum {
        Datum::File(file) => {
            Value::String(mark(&super::objects::file_name(&file.path), &file.path))
        }
        Datum::Artifact(artifact) if artifact.as_text().is_none() => {
            let path = artifact.path.as_deref().unwrap_or(std::path::Path::new(""));
            Value::String(mark(&secret::without(&artifact.name), path))
        }
        Datum::List(items) => Value::Array(items.iter().map(marked).collect()),
        Datum::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| (key.clone(), marked(value)))
                .collect(),
        ),
        other => other.to_json(),
    }
}

fn no_secret(json: &serde_json::Value) -> Result<(), Error> {
    use serde_json::Value;
    match json {
        Value::String(text) if secret::is_in(text) => Err(super::secrets::in_json()),
        Value::Array(items) => items.iter().try_for_each(no_secret),
        Value::Object(entries) => entries.iter().try_for_each(|(key, value)| {
            if secret::is_in(key) {
                return Err(super::secrets::in_json());
            }
            no_secret(value)
        }),
        _ => Ok(()),
    }
}

fn first_file(datum: &Datum) -> Option<String> {
    match datum {
        Datum::File(file) => Some(super::objects::file_name(&file.path)),
        Datum::Artifact(artifact) if artifact.as_text().is_none() => Some(artifact.name.clone()),
        Datum::List(items) => items.iter().find_map(first_file),
        Datum::Map(entries) => entries.values().find_map(first_file),
        _ => None,
    }
}
