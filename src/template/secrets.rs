//! `secret(name)`, and what must keep its hands off the placeholder that it gives.
//!
//! A placeholder may be joined to other text and handed on. Filters, tests and functions that would change, measure, compare or hash
//! it are refused here, since they would do it to the placeholder and not to the value, which is not known.

use std::sync::Arc;

use minijinja::value::{Rest, Value, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, State, filters, tests};

use super::error::{TemplateErrorKind, failed, raise};
use super::objects::{FILE_MARK, file_in_text};
use super::world::World;
use crate::base::secret;

/// Adds the function.
pub(super) fn add_function(env: &mut Environment<'static>, world: &Arc<dyn World>) {
    let world = Arc::clone(world);
    env.add_function("secret", move |name: &str| -> Result<String, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(failed(
                "`secret` takes the name of an environment variable: letters, digits and `_`",
            ));
        }
        match world.secret(name) {
            Ok(()) => Ok(secret::placeholder(name)),
            Err(reason) => Err(raise(
                TemplateErrorKind::Failed,
                reason,
                Some("set it, or write it into a file `.env` beside `kiln.yaml` and say `dotenv: true` there".to_owned()),
            )),
        }
    });
}

/// The error for a secret where `what` would look into it.
pub(super) fn untouchable(what: &str) -> Error {
    raise(
        TemplateErrorKind::Failed,
        format!("{what} cannot look into a secret, whose value is only put in where it is sent"),
        Some("a secret can be joined to other text, and nothing else".to_owned()),
    )
}

/// The error for a secret inside JSON.
pub(super) fn in_json() -> Error {
    raise(
        TemplateErrorKind::Failed,
        "a secret cannot stand inside JSON in a text: its value might need escapes".to_owned(),
        Some("let the secret be a value of its own, e.g. an entry under `env:`".to_owned()),
    )
}

/// Whether a secret is in a value, or in the lists and maps that it is made of.
pub(super) fn is_in(value: &Value) -> bool {
    match value.kind() {
        ValueKind::String => value.as_str().is_some_and(secret::is_in),
        ValueKind::Seq => items(value).any(|item| is_in(&item)),
        ValueKind::Map => items(value)
            .any(|key| is_in(&key) || value.get_item(&key).is_ok_and(|value| is_in(&value))),
        _ => false,
    }
}

fn items(value: &Value) -> impl Iterator<Item = Value> {
    value.try_iter().into_iter().flatten()
}

/// Puts guards before minijinja's filters and tests that look into texts.
pub(super) fn guard(env: &mut Environment<'static>) {
    guard_filters(env);
    guard_tests(env);
}

fn guard_filters(env: &mut Environment<'static>) {
    for (name, filter) in [
        ("upper", Value::from_function(filters::upper)),
        ("lower", Value::from_function(filters::lower)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("trim", Value::from_function(filters::trim)),
        ("escape", Value::from_function(filters::escape)),
        ("e", Value::from_function(filters::escape)),
        ("split", Value::from_function(filters::split)),
        ("lines", Value::from_function(filters::lines)),
        ("int", Value::from_function(filters::int)),
        ("float", Value::from_function(filters::float)),
        ("bool", Value::from_function(filters::bool)),
        ("abs", Value::from_function(filters::abs)),
        ("round", Value::from_function(filters::round)),
        ("pprint", Value::from_function(filters::pprint)),
        ("length", Value::from_function(filters::length)),
        ("count", Value::from_function(filters::length)),
        ("first", Value::from_function(filters::first)),
        ("last", Value::from_function(filters::last)),
        ("reverse", Value::from_function(filters::reverse)),
        ("list", Value::from_function(filters::list)),
    ] {
        add_filter(env, name, filter, |value| {
            value.as_str().is_some_and(secret::is_in)
        });
    }
    for (name, filter) in [
        ("sort", Value::from_function(filters::sort)),
        ("unique", Value::from_function(filters::unique)),
        ("min", Value::from_function(filters::min)),
        ("max", Value::from_function(filters::max)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("groupby", Value::from_function(filters::groupby)),
    ] {
        add_filter(env, name, filter, is_in);
    }
}

fn guard_tests(env: &mut Environment<'static>) {
    for (names, test) in [
        (
            &["eq", "equalto", "=="][..],
            Value::from_function(tests::is_eq),
        ),
        (&["ne", "!="], Value::from_function(tests::is_ne)),
        (&["lt", "lessthan", "<"], Value::from_function(tests::is_lt)),
        (&["le", "<="], Value::from_function(tests::is_le)),
        (
            &["gt", "greaterthan", ">"],
            Value::from_function(tests::is_gt),
        ),
        (&["ge", ">="], Value::from_function(tests::is_ge)),
        (&["in"], Value::from_function(tests::is_in)),
        (&["sameas"], Value::from_function(tests::is_sameas)),
        (
            &["startingwith"],
            Value::from_function(tests::is_startingwith),
        ),
        (&["endingwith"], Value::from_function(tests::is_endingwith)),
        (&["lower"], Value::from_function(tests::is_lower)),
        (&["upper"], Value::from_function(tests::is_upper)),
    ] {
        for name in names {
            let test = test.clone();
            env.add_test(
                *name,
                move |state: &mut State, args: Rest<ValueOrKwargs>| {
                    let args = plain(args);
                    if args.iter().any(is_in) {
                        return Err(untouchable(&format!("`is {name}`")));
                    }
                    test.call(state, &args).map(|answer| answer.is_true())
                },
            );
        }
    }
}

fn plain(args: Rest<ValueOrKwargs>) -> Vec<Value> {
    args.0.into_iter().map(Value::from).collect()
}

fn add_filter(
    env: &mut Environment<'static>,
    name: &'static str,
    filter: Value,
    has_secret: fn(&Value) -> bool,
) {
    env.add_filter(name, move |state: &mut State, args: Rest<ValueOrKwargs>| {
        let args = plain(args);
        if args.iter().any(has_secret) {
            return Err(untouchable(&format!("`{name}`")));
        }
        let file = args
            .iter()
            .filter_map(Value::as_str)
            .find(|text| text.contains(FILE_MARK));
        if let Some(text) = file {
            return Err(file_in_text(text));
        }
        filter.call(state, &args)
    });
}
