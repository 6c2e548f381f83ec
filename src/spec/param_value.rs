//! What a param takes: values checked against its declaration, and read from the command line.

use std::cmp::Ordering;

use serde_json::Number;

use super::{Node, NodeKind, Param, ParamKind};
use crate::artifact::Datum;
use crate::diagnostic::{did_you_mean, list_of};

impl Param {
    /// Whether it may be left without a value.
    pub fn optional(&self) -> bool {
        self.default.as_ref().is_some_and(Node::is_null)
    }

    /// The type of a value, or of each item of a list.
    pub(super) fn each(&self) -> ParamKind {
        self.items.unwrap_or(self.kind)
    }

    /// Checks a value against the type, the choices and the bounds. `random` of a seed and the path of a file stay text.
    ///
    /// # Errors
    /// What is wrong, to be read after the param's name: "must be an integer, and this is a string".
    pub fn check(&self, value: &Datum) -> Result<Datum, String> {
        if *value == Datum::Null && self.optional() {
            return Ok(Datum::Null);
        }
        if self.kind == ParamKind::List {
            let Datum::List(items) = value else {
                return Err(format!("must be a list, and this is {}", describe(value)));
            };
            let checked = items.iter().enumerate().map(|(at, item)| {
                let item = self.check_each(item);
                item.map_err(|why| format!("(item {}) {why}", at + 1))
            });
            return checked.collect::<Result<_, _>>().map(Datum::List);
        }
        self.check_each(value)
    }

    pub(super) fn check_each(&self, value: &Datum) -> Result<Datum, String> {
        let kind = self.each();
        let fits = match (kind, value) {
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
                kind.expected(),
                describe(value)
            ));
        }
        if *value == Datum::String(String::new()) && kind == ParamKind::File {
            return Err("must be a path to a file, and this is an empty text".to_owned());
        }
        self.choice(value)?;
        if let Datum::Number(number) = value {
            self.bounds(number)?;
        }
        Ok(value.clone())
    }

    /// Reads a value from the command line. Strings are taken as they are. A list is `[a, b]`, its items quoted where they contain a
    /// comma; anything else is its only item.
    ///
    /// # Errors
    /// As for [`Param::check`].
    pub fn parse(&self, text: &str) -> Result<Datum, String> {
        if self.kind != ParamKind::List {
            return self.parse_each(text);
        }
        if text.trim().is_empty() {
            let why = "must be a list, and nothing stands after the `=`; an empty list is `[]`";
            return Err(why.to_owned());
        }
        let Some(items) = list_items(text) else {
            let plain = matches!(self.each(), ParamKind::String | ParamKind::File);
            if text.trim_start().starts_with('[') && !plain {
                return Err(format!(
                    "must be a list, and `{text}` has no `]` at its end"
                ));
            }
            return Ok(Datum::List(vec![self.parse_each(text)?]));
        };
        let items = items.map_err(|why| format!("must be a list, and {why}"))?;
        let parsed = items.iter().enumerate().map(|(at, item)| {
            let item = self.parse_each(item);
            item.map_err(|why| format!("(item {}) {why}", at + 1))
        });
        parsed.collect::<Result<_, _>>().map(Datum::List)
    }

    fn parse_each(&self, text: &str) -> Result<Datum, String> {
        let kind = self.each();
        let wrong = || {
            let given = match text {
                "" => "nothing stands after the `=`".to_owned(),
                text => format!("`{text}` is not one"),
            };
            format!("must be {}, and {given}", kind.expected())
        };
        let value = match kind {
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
        if kind == ParamKind::Seed && matches!(&value, Datum::Number(n) if !n.is_u64()) {
            return Err(wrong());
        }
        self.check_each(&value)
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

/// The items of `[a, b]`, without the quotes around them; `None` when a text is no list.
fn list_items(text: &str) -> Option<Result<Vec<String>, String>> {
    let inside = text.trim().strip_prefix('[')?.strip_suffix(']')?;
    let mut items = Vec::new();
    let mut rest = inside.trim();
    while !rest.is_empty() {
        let (item, after) = match list_item(rest) {
            Ok(found) => found,
            Err(why) => return Some(Err(why)),
        };
        items.push(item);
        rest = match after.trim_start().strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if after.trim().is_empty() => "",
            None => {
                let why = format!("a `,` is missing before `{}`", after.trim());
                return Some(Err(why));
            }
        };
    }
    Some(Ok(items))
}

/// The first item, and what follows it.
fn list_item(rest: &str) -> Result<(String, &str), String> {
    if let Some(quoted) = rest.strip_prefix('\'') {
        let (item, after) = quoted
            .split_once('\'')
            .ok_or_else(|| format!("a quote is not closed: `{rest}`"))?;
        return Ok((item.to_owned(), after));
    }
    if rest.starts_with('"') {
        let mut reader = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let item = reader.next().and_then(Result::ok);
        let item = item.ok_or_else(|| format!("a quoted item cannot be read: `{rest}`"))?;
        return Ok((item, &rest[reader.byte_offset()..]));
    }
    let end = rest.find(',').unwrap_or(rest.len());
    match rest[..end].trim() {
        "" => Err("an item is empty".to_owned()),
        item => Ok((item.to_owned(), &rest[end..])),
    }
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
pub(super) fn compare(a: &Number, b: &Number) -> Ordering {
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
