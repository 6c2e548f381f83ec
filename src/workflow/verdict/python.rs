//! Values as the server's language sees them: conversion, equality, order, and how they print.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// A number of the server's: whole numbers are exact there, whatever their size; here up to 127 bits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Num {
    /// A whole number.
    Int(i128),
    /// A float.
    Float(f64),
}

impl Num {
    pub(super) fn of(number: &Number) -> Self {
        number.as_i128().map_or_else(
            || Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            Self::Int,
        )
    }

    /// A value as a number; true is one.
    pub(super) fn of_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(Self::Int(i128::from(*b))),
            Value::Number(n) => Some(Self::of(n)),
            _ => None,
        }
    }

    /// As JSON; what JSON cannot hold (NaN, infinity) becomes null.
    pub(super) fn to_value(self) -> Value {
        match self {
            Self::Int(n) => {
                Number::from_i128(n).map_or_else(|| Value::from(lossy(n)), Value::Number)
            }
            Self::Float(f) => Value::from(f),
        }
    }

    pub(super) fn print(self) -> String {
        match self {
            Self::Int(n) => n.to_string(),
            Self::Float(f) => print_float(f),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a number beyond 64 bits has no exact JSON form here"
)]
fn lossy(n: i128) -> f64 {
    n as f64
}

impl PartialOrd for Num {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (*self, *other) {
            (Self::Int(a), Self::Int(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Int(a), Self::Float(b)) => compare_mixed(a, b),
            (Self::Float(a), Self::Int(b)) => compare_mixed(b, a).map(Ordering::reverse),
        }
    }
}

/// Exact, as the server's comparison of a whole number with a float is.
fn compare_mixed(a: i128, b: f64) -> Option<Ordering> {
    if b.is_nan() {
        return None;
    }
    if b.abs() >= 1.7e38 {
        return Some(if b > 0.0 {
            Ordering::Less
        } else {
            Ordering::Greater
        });
    }
    let whole = truncate(b);
    Some(
        a.cmp(&whole)
            .then_with(|| 0.0.partial_cmp(&b.fract()).unwrap_or(Ordering::Equal)),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "truncation is what is asked for; the range is checked before"
)]
fn truncate(f: f64) -> i128 {
    f.trunc() as i128
}

/// The name of a value's type.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "NoneType",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float",
        Value::Number(_) => "int",
        Value::String(_) => "str",
        Value::Array(_) => "list",
        Value::Object(_) => "dict",
    }
}

/// `int(value)`, or what it complains about.
pub(super) fn int(value: &Value) -> Result<Num, String> {
    match value {
        Value::String(text) => parse_int(text).ok_or_else(|| {
            format!(
                "invalid literal for int() with base 10: {}",
                print_string(text)
            )
        }),
        Value::Number(_) | Value::Bool(_) => Ok(match Num::of_value(value) {
            Some(Num::Float(f)) if f.abs() < 1.7e38 => Num::Int(truncate(f)),
            Some(number) => number,
            None => Num::Int(0),
        }),
        _ => Err(format!(
            "int() argument must be a string, a bytes-like object or a real number, not '{}'",
            type_name(value)
        )),
    }
}

/// Digits with single underscores between them.
fn digits(text: &str) -> Option<String> {
    let ok = !text.is_empty()
        && !text.starts_with('_')
        && !text.ends_with('_')
        && !text.contains("__")
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    ok.then(|| text.replace('_', ""))
}

fn parse_int(text: &str) -> Option<Num> {
    let text = text.trim();
    let (sign, rest) = match text.strip_prefix(['+', '-']) {
        Some(rest) => (&text[..1], rest),
        None => ("", text),
    };
    let digits = digits(rest)?;
    let signed = format!("{}{digits}", if sign == "-" { "-" } else { "" });
    Some(match signed.parse::<i128>() {
        Ok(number) => Num::Int(number),
        Err(_) => Num::Float(signed.parse().ok()?),
    })
}

/// `float(value)`, or what it complains about.
pub(super) fn float(value: &Value) -> Result<f64, String> {
    match value {
        Value::String(text) => parse_float(text)
            .ok_or_else(|| format!("could not convert string to float: {}", print_string(text))),
        Value::Number(n) => Ok(n.as_f64().unwrap_or(f64::NAN)),
        Value::Bool(b) => Ok(f64::from(u8::from(*b))),
        _ => Err(format!(
            "float() argument must be a string or a real number, not '{}'",
            type_name(value)
        )),
    }
}

fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let lower = unsigned.to_ascii_lowercase();
    if matches!(lower.as_str(), "inf" | "infinity" | "nan") {
        return text.parse().ok();
    }
    let plain = unsigned
        .bytes()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-' | b'_'));
    let bytes = unsigned.as_bytes();
    let joined = bytes.iter().enumerate().all(|(at, b)| {
        let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
        *b != b'_' || (at > 0 && digit(at - 1) && digit(at + 1))
    });
    (plain && joined)
        .then(|| text.replace('_', "").parse().ok())
        .flatten()
}

/// Whether a value counts as true: the text `false` does.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(b) => *b,
        Value::Number(n) => n.as_f64() != Some(0.0),
        Value::String(s) => !s.is_empty(),
        Value::Array(a) => !a.is_empty(),
        Value::Object(o) => !o.is_empty(),
    }
}

/// `a == b`: numbers and booleans are equal by value, whatever their types.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => match (Num::of_value(a), Num::of_value(b)) {
            (Some(a), Some(b)) => a.partial_cmp(&b) == Some(Ordering::Equal),
            _ => a == b,
        },
    }
}

/// `str(value)`.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => print(other),
    }
}

/// `repr(value)`.
pub(super) fn print(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Number(n) => Num::of(n).print(),
        Value::String(s) => print_string(s),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(print).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(members) => {
            let members: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{}: {}", print_string(key), print(value)))
                .collect();
            format!("{{{}}}", members.join(", "))
        }
    }
}

fn print_string(text: &str) -> String {
    use std::fmt::Write as _;
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if u32::from(c) < 0x20 || u32::from(c) == 0x7f => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// The shortest digits that read back as the same float, with an exponent from 1e16 up and below 1e-4.
fn print_float(f: f64) -> String {
    if f.is_nan() {
        return "nan".to_owned();
    }
    if f.is_infinite() {
        return if f > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{f:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) || f == 0.0 {
        let plain = format!("{f}");
        if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        }
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whole_numbers_are_read_as_the_server_reads_them() {
        for (value, want) in [
            (json!("16"), 16),
            (json!(" +1_000 "), 1000),
            (json!(16.9), 16),
            (json!(-16.9), -16),
            (json!(true), 1),
            (json!(u64::MAX), 18_446_744_073_709_551_615),
            (json!("18446744073709551616"), 18_446_744_073_709_551_616),
        ] {
            assert_eq!(int(&value), Ok(Num::Int(want)), "{value}");
        }
        for bad in [
            json!("8000.5"),
            json!("abc"),
            json!(""),
            json!("1__0"),
            json!("0x10"),
        ] {
            assert!(int(&bad).is_err(), "{bad}");
        }
        assert_eq!(
            int(&Value::Null).unwrap_err(),
            "int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"
        );
    }

    #[test]
    fn floats_are_read_as_the_server_reads_them() {
        assert_eq!(float(&json!("1_0.5e1")), Ok(105.0));
        assert_eq!(float(&json!("-inf")), Ok(f64::NEG_INFINITY));
        assert_eq!(float(&json!(true)), Ok(1.0));
        for bad in [json!("abc"), json!("1_"), json!("infinit"), json!("1,5")] {
            assert!(float(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn numbers_of_both_kinds_compare_exactly() {
        let big = Num::Int(i128::from(u64::MAX));
        assert!(Num::Float(18_446_744_073_709_551_616.0) > big);
        assert!(Num::Int(1) < Num::Float(1.5));
        assert!(Num::Int(-1) > Num::Float(-1.5));
        assert!(Num::Int(2) < Num::Float(f64::INFINITY));
        assert_eq!(Num::Int(2).partial_cmp(&Num::Float(f64::NAN)), None);
    }

    #[test]
    fn values_print_as_the_server_prints_them() {
        assert_eq!(
            print(&json!([
                null, true, 1.0, 1e16, 0.00001, "it's", "a\"b'", "tab\t"
            ])),
            r#"[None, True, 1.0, 1e+16, 1e-05, "it's", 'a"b\'', 'tab\t']"#
        );
        assert_eq!(text(&json!({"a": [1]})), "{'a': [1]}");
    }

    #[test]
    fn equality_is_by_value() {
        assert!(equal(&json!(1), &json!(1.0)) && equal(&json!(true), &json!(1)));
        assert!(!equal(&json!(3), &json!("3")));
    }
}
