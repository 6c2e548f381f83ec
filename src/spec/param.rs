//! One entry under `params:`.

use std::cmp::Ordering;

use serde_json::{Number, Value, json};

use super::param_value::compare;
use super::reading::{Fields, Key, Reading};
use super::{Node, NodeKind, Spanned, schema};
use crate::diagnostic::{Diagnostic, Span, codes, did_you_mean, list_of};

/// A param as declared.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Its name and where it is declared.
    pub name: Spanned<String>,
    /// Its type.
    pub kind: ParamKind,
    /// The type of a list's items; `None` for other types, never a list itself.
    pub items: Option<ParamKind>,
    /// Its default; absent: required, `null`: optional. May be a template.
    pub default: Option<Node>,
    /// What it is for.
    pub description: Option<String>,
    /// The values it may have; empty: any.
    pub choices: Vec<Node>,
    /// The smallest value.
    pub minimum: Option<Spanned<Number>>,
    /// The largest value.
    pub maximum: Option<Spanned<Number>>,
}

/// The type of a param.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// A text.
    String,
    /// A whole number, exact from -2^63 to 2^64 - 1.
    Integer,
    /// Any finite number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A whole number from 0, or `random`: drawn once per run.
    Seed,
    /// A path to a file.
    File,
    /// Values of one type, in order.
    List,
}

const KINDS: &[(&str, ParamKind)] = &[
    ("string", ParamKind::String),
    ("integer", ParamKind::Integer),
    ("number", ParamKind::Number),
    ("boolean", ParamKind::Boolean),
    ("seed", ParamKind::Seed),
    ("file", ParamKind::File),
    ("list", ParamKind::List),
];

/// What people write who come from other tools.
const FOREIGN_KINDS: &[(&str, &str)] = &[
    ("str", "string"),
    ("text", "string"),
    ("int", "integer"),
    ("float", "number"),
    ("double", "number"),
    ("bool", "boolean"),
    ("path", "file"),
    ("image", "file"),
    ("array", "list"),
    ("sequence", "list"),
];

const KEYS: &[Key] = &[
    Key::new(
        "type",
        "What values it takes. `seed`: a whole number, or `random`, which is drawn once per run. `file`: a path, relative to this file; on the command line to the current folder. `list`: values of the type that `items` names.",
        || {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            json!({ "enum": names })
        },
    )
    .required(),
    Key::new(
        "items",
        "Only for `list`: the type of its items. Default: `string`. `enum`, `minimum` and `maximum` are about each item.",
        || {
            let kinds = KINDS.iter().filter(|(_, kind)| *kind != ParamKind::List);
            let names: Vec<&str> = kinds.map(|(name, _)| *name).collect();
            json!({ "enum": names })
        },
    ),
    Key::new(
        "default",
        "Its value when none is given. `null` makes it optional; without a default it is required. May be a template with `env()`.",
        || json!({ "type": ["string", "number", "boolean", "null", "array"] }),
    ),
    Key::new("description", "What it is for.", || {
        json!({ "type": "string" })
    }),
    Key::new(
        "enum",
        "The values it may have.",
        || json!({ "type": "array", "minItems": 1, "items": { "type": ["string", "number"] } }),
    ),
    Key::new("minimum", "The smallest value it may have.", || {
        json!({ "type": "number" })
    }),
    Key::new("maximum", "The largest value it may have.", || {
        json!({ "type": "number" })
    }),
];

impl ParamKind {
    /// Its word in a pipeline file.
    pub fn name(self) -> &'static str {
        KINDS
            .iter()
            .find(|(_, kind)| *kind == self)
            .map_or("", |(name, _)| name)
    }

    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Number => "a number",
            Self::Boolean => "`true` or `false`",
            Self::Seed => "an integer from 0, or `random`",
            Self::File => "a path to a file",
            Self::List => "a list",
        }
    }

    fn ordered(self) -> bool {
        matches!(self, Self::Integer | Self::Number | Self::Seed)
    }
}

/// The diagnostic for a param without a default that was given no value.
pub fn missing_param(param: &Param) -> Diagnostic {
    let name = &param.name.value;
    Diagnostic::error(
        &codes::MISSING_PARAM,
        format!("the param `{name}` has no value"),
    )
    .at(param.name.span)
    .help(format!(
        "give one with `-p {name}=…`, or add a `default` here"
    ))
}

/// The diagnostic for a value that a param does not take; `reason` is what [`Param::check`] or [`Param::parse`] answered.
pub fn bad_param(param: &Param, at: Span, reason: &str) -> Diagnostic {
    Diagnostic::error(
        &codes::BAD_PARAM,
        format!("the param `{}` {reason}", param.name.value),
    )
    .at(at)
}

/// Reads a param; `None` when its type is not known.
pub(super) fn read(
    name: &Spanned<String>,
    node: &Node,
    reading: &mut Reading<'_>,
) -> Option<Param> {
    let owner = format!("the param `{}`", name.value);
    let fields = reading.fields(node, &owner, KEYS, false)?;
    let Some(written) = fields.get("type") else {
        reading.missing(&fields, name.span, &owner, "type", "type: string");
        return None;
    };
    let kind = kind(written, reading)?;
    let mut param = Param {
        name: name.clone(),
        kind,
        items: items(&fields, kind, reading)?,
        default: None,
        description: fields
            .get("description")
            .and_then(|n| reading.prose(n, "`description`")),
        choices: Vec::new(),
        minimum: None,
        maximum: None,
    };
    param.minimum = bound(&fields, "minimum", param.each(), reading);
    param.maximum = bound(&fields, "maximum", param.each(), reading);
    if let (Some(least), Some(most)) = (&param.minimum, &param.maximum)
        && compare(&least.value, &most.value) == Ordering::Greater
    {
        reading.push(
            Diagnostic::error(
                &codes::BAD_PARAM,
                format!(
                    "no value of {owner} can be at least {} and at most {}",
                    least.value, most.value
                ),
            )
            .at(most.span)
            .also(least.span, "the minimum is above it"),
        );
        param.maximum = None;
    }
    if let Some(list) = fields.get("enum") {
        choices(list, &mut param, reading);
    }
    if let Some(default) = fields.get("default") {
        default_value(default, &mut param, reading);
    }
    Some(param)
}

/// The type of a list's items; `None` when it is not known.
#[expect(
    clippy::option_option,
    reason = "what is not read is not what is not there"
)]
fn items(
    fields: &Fields<'_>,
    kind: ParamKind,
    reading: &mut Reading<'_>,
) -> Option<Option<ParamKind>> {
    let list = kind == ParamKind::List;
    let Some((key, node)) = fields.entry("items") else {
        return Some(list.then_some(ParamKind::String));
    };
    if !list {
        reading.push(
            Diagnostic::error(
                &codes::BAD_PARAM,
                format!("a param of type {} has no `items`", kind.name()),
            )
            .at(key.span)
            .help("`items` is for the type list"),
        );
        return Some(None);
    }
    let items = self::kind(node, reading)?;
    if items == ParamKind::List {
        reading.push(
            Diagnostic::error(&codes::BAD_PARAM, "a list cannot have lists as items")
                .at(node.span)
                .help("its items are of one of the other types"),
        );
        return None;
    }
    Some(Some(items))
}

fn kind(node: &Node, reading: &mut Reading<'_>) -> Option<ParamKind> {
    let written = reading.string(node, "`type`")?;
    let names = || KINDS.iter().map(|(name, _)| *name);
    if let Some((_, kind)) = KINDS.iter().find(|(name, _)| *name == written.value) {
        return Some(*kind);
    }
    let foreign = FOREIGN_KINDS
        .iter()
        .find(|(name, _)| *name == written.value.to_lowercase())
        .map(|(_, ours)| *ours);
    let help = match foreign.or_else(|| did_you_mean(&written.value, names())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("types are {}", list_of(names(), 20)),
    };
    reading.push(
        Diagnostic::error(
            &codes::BAD_VALUE,
            format!("there is no param type `{}`", written.value),
        )
        .at(written.span)
        .help(help),
    );
    None
}

fn bound(
    fields: &Fields<'_>,
    key: &str,
    kind: ParamKind,
    reading: &mut Reading<'_>,
) -> Option<Spanned<Number>> {
    let (name, node) = fields.entry(key)?;
    if !kind.ordered() {
        reading.push(
            Diagnostic::error(
                &codes::BAD_PARAM,
                format!("a param of type {} has no `{key}`", kind.name()),
            )
            .at(name.span)
            .help("bounds are for the types integer, number and seed"),
        );
        return None;
    }
    let NodeKind::Number(number) = &node.kind else {
        reading.wrong_type(node, &format!("`{key}`"), "a number");
        return None;
    };
    Some(Spanned::new(number.clone(), node.span))
}

fn choices(node: &Node, param: &mut Param, reading: &mut Reading<'_>) {
    let NodeKind::List(items) = &node.kind else {
        reading.wrong_type(node, "`enum`", "a list");
        return;
    };
    if items.is_empty() {
        reading.push(
            Diagnostic::error(
                &codes::BAD_PARAM,
                "`enum` has no values, so that nothing is allowed",
            )
            .at(node.span)
            .help("list the values that are allowed, or leave `enum` out"),
        );
    }
    for item in items {
        if let Err(reason) = param.check_each(&item.to_datum()) {
            reading.push(bad_param(param, item.span, &reason));
        }
    }
    param.choices.clone_from(items);
}

fn default_value(node: &Node, param: &mut Param, reading: &mut Reading<'_>) {
    param.default = Some(node.clone());
    if node.has_template() || node.is_null() {
        return;
    }
    if let (ParamKind::List, NodeKind::List(items)) = (param.kind, &node.kind) {
        // Each at its own place.
        for (at, item) in items
            .iter()
            .enumerate()
            .filter(|(_, item)| !item.has_template())
        {
            if let Err(reason) = param.check_each(&item.to_datum()) {
                let reason = format!("(item {}) {reason}", at + 1);
                complain(param, item, &reason, param.each().expected(), reading);
            }
        }
    } else if let Err(reason) = param.check(&node.to_datum()) {
        complain(param, node, &reason, param.kind.expected(), reading);
    }
}

fn complain(param: &Param, at: &Node, reason: &str, wanted: &str, reading: &mut Reading<'_>) {
    let mut diagnostic = bad_param(param, at.span, reason);
    if let Some(help) = reading.meant(at, wanted) {
        diagnostic = diagnostic.help(help);
    } else if wanted == ParamKind::List.expected() && !matches!(at.kind, NodeKind::Map(_)) {
        diagnostic = diagnostic.help(format!("write `[{}]`", reading.source(at.span).trim()));
    }
    reading.push(diagnostic);
}

pub(super) fn schema() -> Value {
    schema::object("Something that can be chosen for a run.", KEYS, false)
}
