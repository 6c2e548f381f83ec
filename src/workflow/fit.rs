//! Fitting a value from `set` to the input it is for.
//!
//! A server coerces loosely (it reads `"false"` as true and `16.9` as 16); what people write in `set` is held to its meaning
//! instead, and what does not fit is an error at their own line.

use serde_json::{Number, Value, json};

use crate::artifact::Datum;
use crate::catalog::{InputDef, InputType};
use crate::diagnostic::list_of;

/// The value as it is sent for this input: `"20"` becomes 20 for an INT, `"7.5"` becomes 7.5 for a FLOAT, `"true"` becomes true for
/// a BOOLEAN, numbers and booleans become text for a STRING, and a list is wrapped so that the server does not take it for a link.
///
/// # Errors
/// A sentence part that says why it does not fit, to follow the input's name.
pub fn fit(value: &Datum, def: &InputDef) -> Result<Value, String> {
    let plain = value.to_json();
    let fitted = match (&def.ty, &plain) {
        (_, Value::Null) => return Ok(Value::Null),
        (InputType::Int, _) => whole(value, &plain)?,
        (InputType::Float, _) => float(value, &plain)?,
        (InputType::Boolean, _) => boolean(value, &plain)?,
        (InputType::String, Value::Array(_) | Value::Object(_)) => {
            return Err(format!("takes a text, not {}", value.describe()));
        }
        (InputType::String, Value::Bool(_) | Value::Number(_)) => Value::from(plain.to_string()),
        (InputType::Combo(combo), Value::Array(_)) if !combo.multiselect => {
            return Err("takes one choice, not a list".to_owned());
        }
        (InputType::Combo(combo), _) => choice(plain, &combo.options),
        (InputType::DynamicCombo(options), _) => {
            let keys: Vec<Value> = options.iter().map(|o| o.key.clone()).collect();
            let chosen = choice(plain, &keys);
            if !keys.contains(&chosen) {
                let names = keys.iter().filter_map(Value::as_str);
                return Err(format!("takes one of {}", list_of(names, 8)));
            }
            chosen
        }
        _ => plain,
    };
    Ok(if fitted.is_array() {
        json!({ "__value__": fitted })
    } else {
        fitted
    })
}

fn whole(value: &Datum, plain: &Value) -> Result<Value, String> {
    let refuse = || Err(format!("takes a whole number, not {}", shown(value, plain)));
    let number = match plain {
        Value::Number(number) => number.clone(),
        Value::String(text) => match text.trim().parse::<i128>().ok().and_then(Number::from_i128) {
            Some(number) => number,
            None => return refuse(),
        },
        _ => return refuse(),
    };
    match number.as_f64() {
        _ if number.is_i64() || number.is_u64() => Ok(Value::Number(number)),
        Some(f) if f.fract() == 0.0 && f.abs() < 9_007_199_254_740_992.0 => {
            #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
            let whole = f as i64;
            Ok(Value::from(whole))
        }
        _ => refuse(),
    }
}

fn float(value: &Datum, plain: &Value) -> Result<Value, String> {
    match plain {
        Value::Number(_) => Ok(plain.clone()),
        Value::String(text) => match text.trim().parse::<f64>() {
            Ok(f) if f.is_finite() => Ok(Value::from(f)),
            _ => Err(format!("takes a number, not {}", shown(value, plain))),
        },
        _ => Err(format!("takes a number, not {}", shown(value, plain))),
    }
}

fn boolean(value: &Datum, plain: &Value) -> Result<Value, String> {
    match plain {
        Value::Bool(_) => Ok(plain.clone()),
        Value::String(text) if text.trim() == "true" => Ok(Value::Bool(true)),
        Value::String(text) if text.trim() == "false" => Ok(Value::Bool(false)),
        _ => Err(format!("takes true or false, not {}", shown(value, plain))),
    }
}

/// An option that is written the same way, when the value itself is none: `"2"` for 2 and 2 for `"2"`.
fn choice(plain: Value, options: &[Value]) -> Value {
    if options.contains(&plain) {
        return plain;
    }
    let written = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        _ => None,
    };
    let Some(text) = written(&plain) else {
        return plain;
    };
    options
        .iter()
        .find(|option| written(option).as_ref() == Some(&text))
        .cloned()
        .unwrap_or(plain)
}

fn shown(value: &Datum, plain: &Value) -> String {
    match plain {
        Value::String(text) if text.chars().count() <= 40 && !text.contains('\n') => {
            format!("`{text}`")
        }
        Value::Number(_) | Value::Bool(_) => format!("`{plain}`"),
        _ => value.describe().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    fn def(spec: &Value) -> InputDef {
        let info = json!({"N": {"input": {"required": {"x": spec}}, "output": []}});
        let (catalog, warnings) = Catalog::from_object_info(&info);
        assert!(warnings.is_empty(), "{warnings:?}");
        catalog.node("N").unwrap().inputs[0].clone()
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "values made by `json!` are handed over"
    )]
    fn fitted(spec: Value, value: Value) -> Result<Value, String> {
        fit(&Datum::from(value), &def(&spec))
    }

    #[test]
    fn texts_become_numbers_and_booleans_where_those_are_declared() {
        assert_eq!(fitted(json!(["INT"]), json!("20")), Ok(json!(20)));
        assert_eq!(
            fitted(json!(["INT"]), json!("18446744073709551615")),
            Ok(json!(u64::MAX))
        );
        assert_eq!(fitted(json!(["INT"]), json!(20.0)), Ok(json!(20)));
        assert_eq!(fitted(json!(["FLOAT"]), json!("7.5")), Ok(json!(7.5)));
        assert_eq!(fitted(json!(["FLOAT"]), json!(7)), Ok(json!(7)));
        assert_eq!(fitted(json!(["BOOLEAN"]), json!("false")), Ok(json!(false)));
        assert_eq!(fitted(json!(["STRING"]), json!(7)), Ok(json!("7")));
        assert_eq!(fitted(json!([[1, 2]]), json!("2")), Ok(json!(2)));
        assert_eq!(fitted(json!(["INT"]), json!(null)), Ok(json!(null)));
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let cases = [
            (
                json!(["INT"]),
                json!("abc"),
                "takes a whole number, not `abc`",
            ),
            (
                json!(["INT"]),
                json!(16.9),
                "takes a whole number, not `16.9`",
            ),
            (
                json!(["INT"]),
                json!(true),
                "takes a whole number, not `true`",
            ),
            (json!(["FLOAT"]), json!("nan"), "takes a number, not `nan`"),
            (
                json!(["BOOLEAN"]),
                json!("yes"),
                "takes true or false, not `yes`",
            ),
            (json!(["BOOLEAN"]), json!(1), "takes true or false, not `1`"),
            (json!(["STRING"]), json!([1]), "takes a text, not a list"),
            (json!([["a"]]), json!(["a"]), "takes one choice, not a list"),
            (
                json!(["COMFY_DYNAMICCOMBO_V3", {"options": [{"key": "auto", "inputs": {}}, {"key": "mp4", "inputs": {}}]}]),
                json!("mpeg"),
                "takes one of `auto` and `mp4`",
            ),
        ];
        for (spec, value, want) in cases {
            assert_eq!(fitted(spec.clone(), value), Err(want.to_owned()), "{spec}");
        }
    }

    #[test]
    fn lists_are_wrapped_so_that_they_are_no_links() {
        let spec = json!(["COMBO", {"options": ["a", "b"], "multiselect": true}]);
        assert_eq!(
            fitted(spec, json!(["a", "b"])),
            Ok(json!({"__value__": ["a", "b"]}))
        );
        assert_eq!(
            fitted(json!(["CURVE"]), json!([["1", 0]])),
            Ok(json!({"__value__": [["1", 0]]}))
        );
    }
}
