//! Checking one literal value against its declaration.

use serde_json::{Map, Value, json};

use super::python::{self, Num};
use super::types::NodeError;
use crate::catalog::{Combo, InputDef, InputType};

/// Lists longer than this are not repeated in answers.
const LONG_LIST: usize = 20;

/// An exception inside the server while it validates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exception {
    /// Its class.
    pub(super) kind: &'static str,
    /// Its text.
    pub(super) text: String,
}

/// The declaration as the server repeats it in answers: `[type, options]`.
pub(super) fn config(def: &InputDef) -> Value {
    serde_json::from_str(&def.config).unwrap_or_default()
}

fn extra<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// A literal as the server leaves it after coercion: unwrapped, then made an INT, FLOAT, STRING or BOOLEAN.
pub(super) fn coerce(name: &str, def: &InputDef, value: &Value) -> Result<Value, Box<NodeError>> {
    let value = match value {
        Value::Object(members) => members.get("__value__").unwrap_or(value),
        _ => value,
    };
    let coerced = match def.ty {
        InputType::Int => python::int(value).map(Num::to_value),
        // A float that JSON cannot hold stays as it was written.
        InputType::Float => python::float(value).map(|f| {
            if f.is_finite() {
                Value::from(f)
            } else {
                value.clone()
            }
        }),
        InputType::String => Ok(Value::from(python::text(value))),
        InputType::Boolean => Ok(Value::from(python::truth(value))),
        _ => Ok(value.clone()),
    };
    coerced.map_err(|message| {
        let details = format!("{name}, {}, {message}", python::text(value));
        Box::new(NodeError::new(
            "invalid_input_type",
            format!(
                "Failed to convert an input value to a {} value",
                def.type_name()
            ),
            details,
            Some(name),
            extra([
                ("input_config", config(def)),
                ("received_value", value.clone()),
                ("exception_message", Value::from(message)),
            ]),
        ))
    })
}

/// The bounds and list checks of a coerced literal.
pub(super) fn check(
    name: &str,
    def: &InputDef,
    value: &Value,
) -> Result<Option<NodeError>, Exception> {
    if let Some(error) = check_bounds(name, def, value)? {
        return Ok(Some(error));
    }
    Ok(match &def.ty {
        InputType::Combo(combo) => check_list(name, def, combo, value),
        _ => None,
    })
}

fn check_bounds(name: &str, def: &InputDef, value: &Value) -> Result<Option<NodeError>, Exception> {
    let number = match (&def.ty, value) {
        (InputType::Float, Value::String(_)) => python::float(value).ok().map(Num::Float),
        _ => Num::of_value(value),
    };
    let bounds = [
        (
            &def.bounds.min,
            '<',
            "value_smaller_than_min",
            "smaller than min",
        ),
        (
            &def.bounds.max,
            '>',
            "value_bigger_than_max",
            "bigger than max",
        ),
    ];
    for (bound, sign, kind, words) in bounds {
        let Some(bound) = bound.as_ref().map(Num::of) else {
            continue;
        };
        let Some(number) = number else {
            return Err(Exception {
                kind: "TypeError",
                text: format!(
                    "'{sign}' not supported between instances of '{}' and '{}'",
                    python::type_name(value),
                    if matches!(bound, Num::Int(_)) {
                        "int"
                    } else {
                        "float"
                    },
                ),
            });
        };
        let outside = if sign == '<' {
            number < bound
        } else {
            number > bound
        };
        if outside {
            return Ok(Some(NodeError::new(
                kind,
                format!("Value {} {words} of {}", number.print(), bound.print()),
                name,
                Some(name),
                extra([
                    ("input_config", config(def)),
                    ("received_value", value.clone()),
                ]),
            )));
        }
    }
    Ok(None)
}

fn check_list(name: &str, def: &InputDef, combo: &Combo, value: &Value) -> Option<NodeError> {
    let listed = |value: &&Value| combo.options.iter().any(|o| python::equal(o, value));
    let wrong: Vec<&Value> = match value {
        Value::Array(values) if combo.multiselect => values.iter().filter(|v| !listed(v)).collect(),
        value => Some(value).into_iter().filter(|v| !listed(v)).collect(),
    };
    if wrong.is_empty() {
        return None;
    }
    let wrong: Vec<String> = wrong.into_iter().map(python::print).collect();
    let (list, config) = if combo.options.len() > LONG_LIST {
        let length = combo.options.len();
        (format!("(list of length {length})"), Value::Null)
    } else {
        let options = Value::Array(combo.options.clone());
        (python::print(&options), config(def))
    };
    Some(NodeError::new(
        "value_not_in_list",
        "Value not in list",
        format!("{name}: {} not in {list}", wrong.join(", ")),
        Some(name),
        extra([("input_config", config), ("received_value", value.clone())]),
    ))
}

/// A required input without a value.
pub(super) fn missing(name: &str) -> NodeError {
    let last = name.rsplit('.').next().unwrap_or(name);
    NodeError::new(
        "required_input_missing",
        "Required input is missing",
        last,
        Some(name),
        Map::new(),
    )
}

/// A list that is no link.
pub(super) fn bad_link(name: &str, def: &InputDef, value: &Value) -> NodeError {
    NodeError::new(
        "bad_linked_input",
        "Bad linked input, must be a length-2 list of [node_id, slot_index]",
        name,
        Some(name),
        extra([
            ("input_config", config(def)),
            ("received_value", value.clone()),
        ]),
    )
}

/// A link from an output of another type.
pub(super) fn mismatch(name: &str, def: &InputDef, received: &Value, link: &Value) -> NodeError {
    let config = config(def);
    let wanted = config.get(0).map(python::text).unwrap_or_default();
    let details = format!(
        "{name}, received_type({}) mismatch input_type({wanted})",
        python::text(received)
    );
    NodeError::new(
        "return_type_mismatch",
        "Return type mismatch between linked nodes",
        details,
        Some(name),
        extra([
            ("input_config", config),
            ("received_type", received.clone()),
            ("linked_node", link.clone()),
        ]),
    )
}

/// An exception while an output node was looked at.
pub(super) fn exception(exception: &Exception) -> NodeError {
    NodeError::new(
        "exception_during_validation",
        "Exception when validating node",
        &*exception.text,
        None,
        extra([
            ("exception_type", Value::from(exception.kind)),
            ("traceback", json!([])),
        ]),
    )
}

/// An exception while a linked node was looked at for the sake of the input `name` of another.
pub(super) fn inner_exception(
    exception: &Exception,
    name: &str,
    def: &InputDef,
    link: &Value,
) -> NodeError {
    NodeError::new(
        "exception_during_inner_validation",
        "Exception when validating inner node",
        &*exception.text,
        Some(name),
        extra([
            ("input_config", config(def)),
            ("exception_message", Value::from(&*exception.text)),
            ("exception_type", Value::from(exception.kind)),
            ("traceback", json!([])),
            ("linked_node", link.clone()),
        ]),
    )
}
