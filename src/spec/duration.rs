//! Durations: `500ms`, `2s`, `10m`, `1h30m`.

use serde_json::{Value, json};

use super::reading::Reading;
use super::{Node, NodeKind, Spanned, schema};
use crate::diagnostic::{Diagnostic, codes};

/// The units, longest first, with their milliseconds.
const UNITS: &[(&str, u64)] = &[("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// What durations look like.
const FORMS: &str = "durations are written as `500ms`, `2s`, `10m` or `1h30m`";

/// The milliseconds of a duration: whole numbers with the units `h`, `m`, `s` and `ms`, each at most once and the longer ones first.
///
/// # Errors
/// What is wrong, to be read after the name of the key: "must be a duration such as …, and `10` has no unit".
pub fn parse_duration(text: &str) -> Result<u64, String> {
    milliseconds(text).map_err(|why| {
        format!("must be a duration such as `500ms`, `2s`, `10m` or `1h30m`, and {why}")
    })
}

fn milliseconds(text: &str) -> Result<u64, String> {
    if text.trim().is_empty() {
        return Err("this is empty".to_owned());
    }
    let none = || format!("`{text}` is none");
    let mut rest = text;
    let mut total = 0_u64;
    let mut allowed = UNITS;
    while !rest.is_empty() {
        let letter = rest.find(|c: char| !c.is_ascii_digit());
        let (number, after) = rest.split_at(letter.unwrap_or(rest.len()));
        let digit = after.find(|c: char| !c.is_ascii_lowercase());
        let (unit, after) = after.split_at(digit.unwrap_or(after.len()));
        if number.is_empty() {
            return Err(none());
        }
        if unit.is_empty() && after.is_empty() {
            return Err(format!("`{text}` ends without a unit"));
        }
        let at = allowed.iter().position(|(name, _)| *name == unit);
        let at = at.ok_or_else(none)?;
        total = number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(allowed[at].1))
            .and_then(|n| total.checked_add(n))
            .ok_or_else(|| format!("`{text}` is too long"))?;
        allowed = &allowed[at + 1..];
        rest = after;
    }
    Ok(total)
}

/// Reads a duration that no template makes.
pub(super) fn read(node: &Node, name: &str, reading: &mut Reading<'_>) -> Option<Spanned<u64>> {
    let text = match &node.kind {
        NodeKind::String(text) => text.clone(),
        NodeKind::Number(number) => number.to_string(),
        _ => {
            reading.wrong_type(node, name, "a duration");
            return None;
        }
    };
    if text.contains("{{") || text.contains("{%") {
        super::needs::templated(&Spanned::new(text, node.span), name, reading);
        return None;
    }
    match milliseconds(&text) {
        Ok(milliseconds) => Some(Spanned::new(milliseconds, node.span)),
        Err(why) => {
            let mut diagnostic = Diagnostic::error(
                &codes::BAD_DURATION,
                format!("{name} must be a duration, and {why}"),
            )
            .at(node.span);
            if let Some(meant) = meant(&text) {
                diagnostic = diagnostic.help(format!("did you mean `{meant}`?"));
            }
            reading.push(diagnostic.help(FORMS));
            None
        }
    }
}

/// Reads a duration that is longer than nothing, or a template that makes one.
pub(super) fn read_limit(node: &Node, name: &str, reading: &mut Reading<'_>) -> Option<Node> {
    if node.has_template() {
        return Some(node.clone());
    }
    let read = read(node, name, reading)?;
    if read.value == 0 {
        reading.push(
            Diagnostic::error(
                &codes::BAD_DURATION,
                format!("{name} must be longer than nothing"),
            )
            .at(node.span)
            .help("leave it out for no limit"),
        );
        return None;
    }
    Some(node.clone())
}

/// What people write who come from elsewhere: `10`, `10 min`, `1.5s`, `2 hours`, `2S`.
fn meant(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let letter = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(letter.unwrap_or(text.len()));
    let unit = match unit.trim() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => 1_000.0,
        "ms" | "msec" | "millis" | "milliseconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000.0,
        "d" | "day" | "days" => 86_400_000.0,
        _ => return None,
    };
    let total = number.parse::<f64>().ok()? * unit;
    let whole = (1.0..1e12).contains(&total).then(|| total.round())?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is a whole number within bounds"
    )]
    let mut rest = whole as u64;
    let mut meant = String::new();
    for (name, size) in UNITS {
        if rest >= *size {
            meant += &(rest / size).to_string();
            meant += name;
            rest %= size;
        }
    }
    Some(meant)
}

pub(super) fn schema() -> Value {
    json!({ "type": "string", "minLength": 2, "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$" })
}

pub(super) fn limit_schema() -> Value {
    schema::or_template(&schema())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_from_the_longest_to_the_shortest() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("2s", 2_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1h1m1s1ms", 3_661_001),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(milliseconds), "{text}");
        }
        for text in [
            "",
            " ",
            "10",
            "s",
            "10 m",
            "1m1h",
            "1s1s",
            "1.5s",
            "-1s",
            "1d",
            "10M",
            "1m30",
            "99999999999999999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_probably_meant_is_written_out() {
        for (text, right) in [
            ("10", Some("10s")),
            ("1.5s", Some("1s500ms")),
            ("90 min", Some("1h30m")),
            ("1 day", Some("24h")),
            ("soon", None),
            ("", None),
            ("0", None),
        ] {
            assert_eq!(meant(text).as_deref(), right, "{text}");
        }
    }
}
