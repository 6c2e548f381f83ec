//! One entry under `params:`.

use std::cmp::Ordering;

use serde_json::{Number, Value, json};

use super::reading::{Fields, Key, Reading};
use super::{Node, NodeKind, Spanned, schema};
use crate::artifact::Datum;
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
];

const KEYS: &[Key] = &[
    Key::new(
        "type",
        "What values it takes. `seed`: a whole number, or `random`, which is drawn once per run. `file`: a path, relative to this file; on the command line to the current folder.",
        || {
            let names: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            json!({ "enum": names })
        },
    )
    .required(),
    Key::new(
        "default",
        "Its value when none is given. `null` makes it optional; without a default it is required. May be a template with `env()`.",
        || json!({ "type": ["string", "number", "boolean", "null"] }),
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

    fn expected(self) -> &'static str {
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

impl Param {
    /// Whether it may be left without a value.
    pub fn optional(&self) -> bool {
        self.default.as_ref().is_some_and(Node::is_null)
    }

    /// Checks a value against the type, the choices and the bounds. `random` of a seed and the path of a file stay text.
    ///
    /// # Errors
    /// What is wrong, to be read after the param's name: "must be an integer, and this is a string".
    pub fn check(&self, value: &Datum) -> Result<Datum, String> {
        if *value == Datum::Null && self.optional() {
            return Ok(Datum::Null);
        }
        let fits = match (self.kind, value) {
            (ParamKind::String | ParamKind::File, Datum::String(_))
            | (ParamKind::File, Datum::File(_))
            | (ParamKind::Number, Datum::Number(_))
            | (ParamKind::Boolean, Datum::Bool(_)) => true,
            (ParamKind::Integer, Datum::Number(n)) => !n.is_f64(),
            (ParamKind::Seed, Datum::Number(n)) => n.is_u64(),
            (ParamKind::Seed, Datum::String(text)) => text == "random",
            _ => false,
        };
        if !fits {
            return Err(format!(
                "must be {}, and this is {}",
                self.kind.expected(),
                describe(value)
            ));
        }
        if *value == Datum::String(String::new()) && self.kind == ParamKind::File {
            return Err("must be a path to a file, and this is an empty text".to_owned());
        }
        self.choice(value)?;
        if let Datum::Number(number) = value {
            self.bounds(number)?;
        }
        Ok(value.clone())
    }

    /// Reads a value from the command line. Strings are taken as they are.
    ///
    /// # Errors
    /// As for [`Param::check`].
    pub fn parse(&self, text: &str) -> Result<Datum, String> {
        let wrong = || {
            let given = match text {
                "" => "nothing stands after the `=`".to_owned(),
                text => format!("`{text}` is not one"),
            };
            format!("must be {}, and {given}", self.kind.expected())
        };
        let value = match self.kind {
            ParamKind::List => return Err(wrong()),
            ParamKind::String | ParamKind::File => Datum::String(text.to_owned()),
            ParamKind::Boolean => match text {
                "true" => Datum::Bool(true),
                "false" => Datum::Bool(false),
                _ => return Err(wrong()),
            },
            ParamKind::Seed if text == "random" => Datum::String(text.to_owned()),
            ParamKind::Integer | ParamKind::Seed => Datum::Number(integer(text).ok_or_else(wrong)?),
            ParamKind::Number => {
                let float = || text.parse().ok().and_then(Number::from_f64);
                Datum::Number(integer(text).or_else(float).ok_or_else(wrong)?)
            }
        };
        if self.kind == ParamKind::Seed && matches!(&value, Datum::Number(n) if !n.is_u64()) {
            return Err(wrong());
        }
        self.check(&value)
    }

    fn choice(&self, value: &Datum) -> Result<(), String> {
        let same = |choice: &Node| match (&choice.kind, value) {
            (NodeKind::Number(a), Datum::Number(b)) => compare(a, b) == Ordering::Equal,
            _ => choice.to_datum() == *value,
        };
        if self.choices.is_empty() || self.choices.iter().any(same) {
            return Ok(());
        }
        let names: Vec<String> = self.choices.iter().map(|c| shown(&c.to_datum())).collect();
        let names = || names.iter().map(String::as_str);
        let given = shown(value);
        let near = did_you_mean(&given, names()).map(|near| format!("; did you mean `{near}`?"));
        Err(format!(
            "must be one of {}, and `{given}` is not{}",
            list_of(names(), 20),
            near.unwrap_or_default()
        ))
    }

    fn bounds(&self, value: &Number) -> Result<(), String> {
        if let Some(least) = &self.minimum
            && compare(value, &least.value) == Ordering::Less
        {
            return Err(format!("must be at least {}, and is {value}", least.value));
        }
        if let Some(most) = &self.maximum
            && compare(value, &most.value) == Ordering::Greater
        {
            return Err(format!("must be at most {}, and is {value}", most.value));
        }
        Ok(())
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

fn integer(text: &str) -> Option<Number> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    for (prefix, radix) in [("0x", 16), ("0o", 8)] {
        if let Some(digits) = digits.strip_prefix(prefix) {
            let alone = digits.chars().all(|c| c.is_digit(radix));
            let number = u64::from_str_radix(digits, radix).ok().filter(|_| alone)?;
            return if text.starts_with('-') {
                i64::try_from(-i128::from(number)).ok().map(Number::from)
            } else {
                Some(number.into())
            };
        }
    }
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match text.parse::<u64>() {
        Ok(number) => Some(number.into()),
        Err(_) => text.parse::<i64>().ok().map(Number::from),
    }
}

/// Order of numbers, exact between integers.
fn compare(a: &Number, b: &Number) -> Ordering {
    if let (Some(a), Some(b)) = (a.as_i128(), b.as_i128()) {
        return a.cmp(&b);
    }
    let float = |n: &Number| n.as_f64().unwrap_or(f64::NAN);
    float(a).partial_cmp(&float(b)).unwrap_or(Ordering::Equal)
}

fn describe(value: &Datum) -> String {
    match value {
        Datum::String(text) if text.chars().count() <= 40 => format!("the string `{text}`"),
        Datum::Number(number) => format!("`{number}`"),
        Datum::Bool(value) => format!("`{value}`"),
        other => other.describe().to_owned(),
    }
}

fn shown(value: &Datum) -> String {
    match value {
        Datum::String(text) => text.clone(),
        other => other.to_json().to_string(),
    }
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
        items: None,
        default: None,
        description: fields
            .get("description")
            .and_then(|n| reading.prose(n, "`description`")),
        choices: Vec::new(),
        minimum: bound(&fields, "minimum", kind, reading),
        maximum: bound(&fields, "maximum", kind, reading),
    };
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
        match param.check(&item.to_datum()) {
            Ok(_) => {}
            Err(reason) => reading.push(bad_param(param, item.span, &reason)),
        }
    }
    param.choices.clone_from(items);
}

fn default_value(node: &Node, param: &mut Param, reading: &mut Reading<'_>) {
    param.default = Some(node.clone());
    let template = node
        .as_str()
        .is_some_and(|t| t.contains("{{") || t.contains("{%"));
    if template || node.is_null() {
        return;
    }
    if let Err(reason) = param.check(&node.to_datum()) {
        let mut diagnostic = bad_param(param, node.span, &reason);
        if let Some(help) = reading.meant(node, param.kind.expected()) {
            diagnostic = diagnostic.help(help);
        }
        reading.push(diagnostic);
    }
}

pub(super) fn schema() -> Value {
    schema::object("Something that can be chosen for a run.", KEYS, false)
}
