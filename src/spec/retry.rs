//! `retry:` of a step or of all steps.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::reading::{Fields, Key, Reading};
use super::{Node, NodeKind, Spanned, duration, expression, schema};
use crate::diagnostic::{Diagnostic, Span, codes, did_you_mean, list_of};

/// When a failed attempt is followed by another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Where `retry` stands.
    pub span: Span,
    /// Attempts in all, the first one counted.
    pub attempts: Spanned<u32>,
    /// The longest pause before the second attempt, milliseconds.
    pub delay: Option<Spanned<u64>>,
    /// What the doubling of the pause ends at, milliseconds.
    pub max_delay: Option<Spanned<u64>>,
    /// Failures that are worth another attempt, never empty. When none are written: `transient`, and `rejected` beside `until`;
    /// a command's own adds `node_error` when it is planned.
    pub classes: Vec<Spanned<RetryClass>>,
    /// An expression that a good result fulfils; a boolean, or a string: the expression, bare or in `{{ }}`.
    pub until: Option<Node>,
}

impl Retry {
    /// Whether `for` is left out.
    pub fn names_no_class(&self) -> bool {
        self.classes.iter().any(|class| class.span == self.span)
    }
}

/// Failures by what may be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryClass {
    /// The way to the server, or the server itself for a moment.
    Transient,
    /// Out of memory.
    Oom,
    /// It took longer than `timeout`.
    Timeout,
    /// No progress for longer than `stall_timeout`.
    Stall,
    /// The result was not what `until` wants.
    Rejected,
    /// A node raised an exception, or a command ended with an error.
    NodeError,
    /// Whatever it was.
    Any,
}

const CLASSES: &[(&str, RetryClass)] = &[
    ("transient", RetryClass::Transient),
    ("oom", RetryClass::Oom),
    ("timeout", RetryClass::Timeout),
    ("stall", RetryClass::Stall),
    ("rejected", RetryClass::Rejected),
    ("node_error", RetryClass::NodeError),
    ("any", RetryClass::Any),
];

/// What people write for a class whose name looks different.
const FOREIGN_CLASSES: &[(&str, &str)] = &[
    ("all", "any"),
    ("always", "any"),
    ("connection", "transient"),
    ("network", "transient"),
    ("error", "node_error"),
    ("failure", "node_error"),
    ("exception", "node_error"),
    ("exit", "node_error"),
    ("memory", "oom"),
    ("out_of_memory", "oom"),
    ("until", "rejected"),
    ("stalled", "stall"),
];

const KEYS: &[Key] = &[
    Key::new(
        "attempts",
        "Attempts in all, the first one counted.",
        || json!({ "type": "integer", "minimum": 1 }),
    )
    .required(),
    Key::new(
        "delay",
        "The longest pause before the second attempt, such as `2s`; it doubles for each further one. The pause is drawn between nothing and this, so that tasks that failed together do not come back together. Default: 1s.",
        duration::schema,
    ),
    Key::new(
        "max_delay",
        "What the doubling of `delay` ends at. Default: 1m.",
        duration::schema,
    ),
    Key::new(
        "for",
        "The failures that are worth another attempt. `transient`: the way to the server. `oom`: out of memory. `timeout`, `stall`: the limits of these names. `rejected`: `until` was false. `node_error`: a node raised an exception, or a command ended with an error. `any`. Default: `transient`, and `rejected` where there is an `until`.",
        classes_schema,
    ),
    Key::new(
        "until",
        "An expression that a good result fulfils, with `result` for the task's result. When it is false, the attempt has failed with the class `rejected`.",
        expression::condition_schema,
    ),
];

/// Reads a `retry`.
pub(super) fn read(key: Span, node: &Node, reading: &mut Reading<'_>) -> Option<Retry> {
    if let NodeKind::Number(number) = &node.kind {
        reading.push(
            Diagnostic::error(
                &codes::WRONG_TYPE,
                "`retry` must be a map, and this is an integer",
            )
            .at(node.span)
            .help(format!("write `retry: {{ attempts: {number} }}`")),
        );
        return None;
    }
    let fields = reading.fields(node, "`retry`", KEYS, false)?;
    let attempts = if let Some(node) = fields.get("attempts") {
        reading.count(node, "`attempts`")
    } else {
        reading.missing(&fields, key, "`retry`", "attempts", "attempts: 3");
        None
    };
    let pause = |name: &str, reading: &mut Reading<'_>| {
        let node = fields.get(name)?;
        duration::read(node, &format!("`{name}`"), reading)
    };
    let delay = pause("delay", reading);
    let max_delay = pause("max_delay", reading);
    if let (Some(delay), Some(most)) = (&delay, &max_delay)
        && delay.value > most.value
    {
        reading.push(
            Diagnostic::error(&codes::BAD_VALUE, "`max_delay` is shorter than `delay`")
                .at(most.span)
                .also(delay.span, "the delay is longer")
                .help("`max_delay` is what the doubling of `delay` ends at"),
        );
    }
    let until = fields
        .get("until")
        .and_then(|node| expression::condition("until", node, reading));
    let classes = classes(&fields, key, reading);
    Some(Retry {
        span: key,
        attempts: attempts?,
        delay,
        max_delay,
        classes,
        until,
    })
}

fn classes(fields: &Fields<'_>, key: Span, reading: &mut Reading<'_>) -> Vec<Spanned<RetryClass>> {
    let mut usual = vec![Spanned::new(RetryClass::Transient, key)];
    if let Some((until, _)) = fields.entry("until") {
        usual.push(Spanned::new(RetryClass::Rejected, until.span));
    }
    let Some(node) = fields.get("for") else {
        return usual;
    };
    let items = match &node.kind {
        NodeKind::List(items) => items.as_slice(),
        NodeKind::String(_) => std::slice::from_ref(node),
        _ => {
            reading.wrong_type(node, "`for`", "a class of failures or a list of them");
            return usual;
        }
    };
    if items.is_empty() {
        reading.push(
            Diagnostic::error(&codes::BAD_VALUE, "`for` names no failure")
                .at(node.span)
                .help(known_classes()),
        );
    }
    let mut read: Vec<Spanned<RetryClass>> = Vec::new();
    for class in items.iter().filter_map(|item| class(item, reading)) {
        if read.iter().all(|c| c.value != class.value) {
            read.push(class);
        }
    }
    if read.is_empty() { usual } else { read }
}

fn class(node: &Node, reading: &mut Reading<'_>) -> Option<Spanned<RetryClass>> {
    let written = reading.string(node, "a class of failures")?;
    let found = CLASSES.iter().find(|(name, _)| *name == written.value);
    if let Some((_, class)) = found {
        return Some(Spanned::new(*class, written.span));
    }
    let foreign = FOREIGN_CLASSES
        .iter()
        .find(|(name, _)| written.value.eq_ignore_ascii_case(name))
        .map(|(_, ours)| *ours);
    let near = foreign.or_else(|| did_you_mean(&written.value, CLASSES.iter().map(|c| c.0)));
    reading.push(
        Diagnostic::error(
            &codes::BAD_VALUE,
            format!("there is no class of failures `{}`", written.value),
        )
        .at(written.span)
        .help(near.map_or_else(known_classes, |near| format!("did you mean `{near}`?"))),
    );
    None
}

fn known_classes() -> String {
    let names = list_of(CLASSES.iter().map(|(name, _)| *name), CLASSES.len());
    format!("the classes are {names}")
}

fn classes_schema() -> Value {
    let names: Vec<&str> = CLASSES.iter().map(|(name, _)| *name).collect();
    json!({
        "oneOf": [
            { "enum": names },
            { "type": "array", "minItems": 1, "items": { "enum": names } },
        ],
    })
}

pub(super) fn schema() -> Value {
    schema::object(
        "When a failed attempt is followed by another one.",
        KEYS,
        false,
    )
}
