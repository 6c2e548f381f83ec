//! Filters beside minijinja's own, and those of its own that would print as Python does.

use minijinja::value::{Kwargs, Rest, Value, ValueOrKwargs};
use minijinja::{Environment, Error, State};

use super::engine::LONGEST;
use super::error::{failed, too_long};
use super::objects::{ArtifactObject, FILE_MARK, FileObject, file_in_text, file_name};
use super::secrets::untouchable;
use super::text::{marked_text, text};
use super::value::{Files, from_outside, to_datum, to_marked_json, to_plain_json};
use crate::artifact::Datum;
use crate::base::secret;

/// The hidden filter that hands an expression's result over.
pub(super) const RESULT: &str = "__kiln_result";
/// The context's entry that lets files stand for their paths; no template can name it.
pub(super) const PATHS: &str = " paths";

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
    "wildcard",
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
    env.add_filter(RESULT, |state: &mut State, value: &Value| {
        let files = match state.lookup(PATHS) {
            Some(paths) if paths.is_true() => Files::Paths,
            _ => Files::Refused,
        };
        to_datum(value, files).map(|datum| Value::from_object(Answer(datum)))
    });
    env.add_filter("stem", |value: &Value| name_of(value).map(|n| stem(&n)));
    env.add_filter("basename", |value: &Value| name_of(value));
    env.add_filter("slug", |value: &Value| {
        open_text("slug", value).map(slug::slugify)
    });
    env.add_filter("string", |value: &Value| marked_text(value));
    env.add_filter("fromjson", |value: &Value| -> Result<Value, Error> {
        let json: serde_json::Value = serde_json::from_str(&open_text("fromjson", value)?)
            .map_err(|error| failed(format!("the text is no JSON: {error}")))?;
        Ok(from_outside(json))
    });
    env.add_filter(
        "wildcard",
        |value: &Value, seed: &Value| -> Result<String, Error> {
            if !(seed.is_integer() || seed.as_str().is_some()) {
                return Err(failed("`wildcard` takes a seed: an integer, or a text"));
            }
            let seed = to_plain_json(seed)?.to_string();
            let text = open_text("wildcard", value)?;
            super::wildcard::expand(&text, &seed)
        },
    );
    env.add_filter("tojson", to_json);
    env.add_filter("join", join);
    env.add_filter("replace", replace);
    env.add_filter("format", format);
    bounded(
        env,
        "indent",
        Value::from_function(minijinja::filters::indent),
    );
    bounded(
        env,
        "batch",
        Value::from_function(minijinja::filters::batch),
    );
    bounded(
        env,
        "slice",
        Value::from_function(minijinja::filters::slice),
    );
}

/// The largest number that says how much text or how many lists a filter makes.
const LARGEST: i64 = 10_000;

/// Adds a filter of minijinja's whose numbers decide how much memory it takes, with a limit to them.
fn bounded(env: &mut Environment<'static>, name: &'static str, filter: Value) {
    env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
        let args: Vec<Value> = args.iter().cloned().map(Value::from).collect();
        if args.iter().any(super::secrets::is_in) {
            return Err(untouchable(&format!("`{name}`")));
        }
        let numbers = numbers_of(&args);
        let largest = numbers
            .iter()
            .filter_map(|n| usize::try_from(n.clone()).ok());
        let largest = largest.max().unwrap_or(0);
        let odd = |n: &Value| n.as_i64().is_none_or(|n| n > LARGEST);
        if numbers.iter().any(odd) {
            return Err(failed(format!("`{name}` takes numbers up to {LARGEST}")));
        }
        if let Some(text) = args.first().and_then(Value::as_str)
            && name == "indent"
        {
            let lines = text.lines().count();
            fits(text.len().saturating_add(lines.saturating_mul(largest)))?;
        }
        filter.call(state, &args)
    });
}

/// The integers among a filter's arguments, named ones too.
fn numbers_of(args: &[Value]) -> Vec<Value> {
    let named = args.last().filter(|last| last.is_kwargs());
    let named = named
        .and_then(|kwargs| kwargs.try_iter().ok().map(|keys| (kwargs, keys)))
        .into_iter()
        .flat_map(|(kwargs, keys)| keys.filter_map(|key| kwargs.get_item(&key).ok()));
    let plain = args.iter().skip(1).cloned();
    plain.chain(named).filter(Value::is_integer).collect()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "minijinja hands the rest of the arguments over by value"
)]
fn format(pattern: &str, args: Rest<Value>) -> Result<String, Error> {
    let digits = |run: &str| run.len() > 4 && run.bytes().all(|b| b.is_ascii_digit());
    if secret::is_in(pattern) || args.iter().any(super::secrets::is_in) {
        return Err(untouchable("`format`"));
    }
    let mut runs = pattern.split(|c: char| !c.is_ascii_digit());
    if pattern.contains('*') || runs.any(digits) {
        return Err(failed(
            "`format` takes widths of at most four digits, written in the pattern",
        ));
    }
    minijinja::formatting::format(minijinja::formatting::FormatStyle::Printf, pattern, &args)
}

/// The text of a value that a filter looks into.
fn open_text(filter: &str, value: &Value) -> Result<String, Error> {
    let text = text(value)?;
    if secret::is_in(&text) {
        return Err(untouchable(&format!("`{filter}`")));
    }
    if text.contains(FILE_MARK) {
        return Err(file_in_text(&text));
    }
    Ok(text)
}

fn replace(value: &Value, from: &str, to: &str) -> Result<String, Error> {
    let text = open_text("replace", value)?;
    if secret::is_in(from) || secret::is_in(to) {
        return Err(untouchable("`replace`"));
    }
    if from.is_empty() {
        return Err(failed("`replace` needs something to look for"));
    }
    fits(
        text.len()
            .saturating_add(text.matches(from).count().saturating_mul(to.len())),
    )?;
    Ok(text.replace(from, to))
}

fn fits(length: usize) -> Result<(), Error> {
    if length <= LONGEST {
        return Ok(());
    }
    Err(too_long())
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
    let json = to_marked_json(value)?;
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
    let mut length = 0_usize;
    for item in value.try_iter()?.checked() {
        let mut item = item?;
        for name in attribute.iter().flat_map(|a| a.split('.')) {
            item = item.get_attr(name)?;
        }
        let part = marked_text(&item)?;
        length = length
            .saturating_add(part.len())
            .saturating_add(joiner.len());
        fits(length)?;
        parts.push(part);
    }
    Ok(parts.join(joiner))
}

/// The file name of a path or a file.
fn name_of(value: &Value) -> Result<String, Error> {
    if let Some(file) = value.downcast_object_ref::<FileObject>() {
        return Ok(file_name(&file.0.path));
    }
    if let Some(artifact) = value.downcast_object_ref::<ArtifactObject>() {
        return Ok(secret::without(&artifact.0.name).into_owned());
    }
    let path = open_text("basename", value)?;
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
