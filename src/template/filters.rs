//! Filters beside minijinja's own, and those of its own that would print as Python does.

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error};

use super::error::failed;
use super::objects::{ArtifactObject, FileObject, file_name};
use super::text::text;
use super::value::{from_datum, to_datum, to_plain_json};
use crate::artifact::Datum;

/// The hidden filter that hands an expression's result over.
pub(super) const RESULT: &str = "__kiln_result";

/// Every filter that a template may use, for did-you-mean; a test holds it against minijinja.
pub(super) const FILTERS: &[&str] = &[
    "abs",
    "attr",
    "basename",
    "batch",
    "bool",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "fromjson",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "pprint",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "safe",
    "select",
    "selectattr",
    "slice",
    "slug",
    "sort",
    "split",
    "stem",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
    "unique",
    "upper",
    "zip",
    "capitalize",
];

/// Every test that may follow `is`.
pub(super) const TESTS: &[&str] = &[
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "safe",
    "sameas",
    "sequence",
    "startingwith",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

/// The result of a whole expression on its way out.
#[derive(Debug)]
pub(super) struct Answer(pub(super) Datum);

impl minijinja::value::Object for Answer {}

/// Adds the filters that need nothing from outside.
pub(super) fn add(env: &mut Environment<'static>) {
    env.add_filter(RESULT, |value: &Value| {
        to_datum(value).map(|datum| Value::from_object(Answer(datum)))
    });
    env.add_filter("stem", |value: &Value| name_of(value).map(|n| stem(&n)));
    env.add_filter("basename", |value: &Value| name_of(value));
    env.add_filter("slug", |value: &Value| text(value).map(slug::slugify));
    env.add_filter("string", |value: &Value| text(value));
    env.add_filter("fromjson", |value: &Value| -> Result<Value, Error> {
        let json: serde_json::Value = serde_json::from_str(&text(value)?)
            .map_err(|error| failed(format!("the text is no JSON: {error}")))?;
        Ok(from_datum(&Datum::from(json)))
    });
    env.add_filter("tojson", to_json);
    env.add_filter("join", join);
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "minijinja hands keyword arguments over by value"
)]
fn to_json(value: &Value, indent: Option<usize>, kwargs: Kwargs) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get::<Option<usize>>("indent")?,
    };
    kwargs.assert_all_used()?;
    let json = to_plain_json(value)?;
    match indent {
        None | Some(0) => serde_json::to_string(&json),
        Some(_) => serde_json::to_string_pretty(&json),
    }
    .map_err(|error| failed(error.to_string()))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "minijinja hands keyword arguments over by value"
)]
fn join(
    value: &Value,
    joiner: Option<&str>,
    attribute: Option<&str>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let joiner = match joiner {
        Some(joiner) => joiner,
        None => kwargs.get::<Option<&str>>("d")?.unwrap_or_default(),
    };
    let attribute = match attribute {
        Some(attribute) => Some(attribute),
        None => kwargs.get::<Option<&str>>("attribute")?,
    };
    kwargs.assert_all_used()?;
    let mut parts = Vec::new();
    for item in value.try_iter()?.checked() {
        let mut item = item?;
        for name in attribute.iter().flat_map(|a| a.split('.')) {
            item = item.get_attr(name)?;
        }
        parts.push(text(&item)?);
    }
    Ok(parts.join(joiner))
}

/// The file name of a path or a file.
fn name_of(value: &Value) -> Result<String, Error> {
    if let Some(file) = value.downcast_object_ref::<FileObject>() {
        return Ok(file_name(&file.0.path));
    }
    if let Some(artifact) = value.downcast_object_ref::<ArtifactObject>() {
        return Ok(artifact.0.name.clone());
    }
    let path = text(value)?;
    let trimmed = path.trim_end_matches(['/', '\\']);
    Ok(trimmed
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or_default()
        .to_owned())
}

/// A file name without its last extension; a leading dot begins no extension.
fn stem(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem.to_owned(),
        _ => name.to_owned(),
    }
}
