//! JSON against a plugin's own JSON Schema (draft-07).

use serde_json::{Map, Value, json};

use crate::base::secret;

/// A value that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// Why, in a fragment.
    pub message: String,
}

/// Whether it is a schema at all.
///
/// # Errors
/// Why it is none.
pub(super) fn sound(schema: &Value) -> Result<(), String> {
    jsonschema::draft7::options()
        .build(schema)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// What does not fit. Of values that are not known yet (by their pointers) nothing is said, nor of what depends on them alone.
pub fn mismatches(schema: &Value, value: &Value, unknown: &[String]) -> Vec<Mismatch> {
    let Ok(validator) = jsonschema::draft7::options().build(schema) else {
        return Vec::new();
    };
    let mut found: Vec<Mismatch> = validator
        .iter_errors(value)
        .map(|error| Mismatch {
            pointer: error.instance_path().to_string(),
            message: super::body::bounded(&error.to_string()),
        })
        .filter(|mismatch| !hangs_on(&mismatch.pointer, &mismatch.message, unknown))
        .collect();
    found.dedup();
    found
}

/// The places of texts with secrets, whose values no schema sees.
pub fn secrets_in(value: &Value) -> Vec<String> {
    fn note(value: &Value, place: &str, found: &mut Vec<String>) {
        match value {
            Value::String(text) if secret::is_in(text) => found.push(place.to_owned()),
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    note(item, &format!("{place}/{at}"), found);
                }
            }
            Value::Object(members) => {
                for (key, member) in members {
                    let key = key.replace('~', "~0").replace('/', "~1");
                    note(member, &format!("{place}/{key}"), found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    note(value, "", &mut found);
    found
}

/// Whether a complaint may only be there because a value is not known yet.
fn hangs_on(pointer: &str, message: &str, unknown: &[String]) -> bool {
    let within = |inner: &str, outer: &str| {
        inner == outer
            || inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    // What is missing or too much in a map is known, whatever the values of its members are.
    let of_keys = message.contains("is a required property")
        || message.contains("Additional properties are not allowed");
    unknown
        .iter()
        .any(|place| within(pointer, place) || within(place, pointer) && !of_keys)
}

/// The schema as editors need it: every value may also be a template.
pub fn for_editors(schema: &Value) -> Value {
    let Value::Object(members) = schema else {
        return schema.clone();
    };
    let mut out = Map::new();
    for (name, member) in members {
        let changed = match (name.as_str(), member) {
            ("properties" | "patternProperties", Value::Object(inner)) => inner
                .iter()
                .map(|(key, inner)| (key.clone(), or_template(inner)))
                .collect(),
            ("items" | "additionalProperties", inner @ Value::Object(_)) => or_template(inner),
            ("anyOf" | "oneOf" | "allOf", Value::Array(inner)) => {
                inner.iter().map(for_editors).collect()
            }
            _ => member.clone(),
        };
        out.insert(name.clone(), changed);
    }
    Value::Object(out)
}

fn or_template(schema: &Value) -> Value {
    let template = json!({ "type": "string", "pattern": "\\{[{%]" });
    let mut out = json!({ "anyOf": [for_editors(schema), template] });
    if let Some(about) = schema.get("description") {
        out["description"] = about.clone();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        json!({
            "type": "object",
            "required": ["images"],
            "additionalProperties": false,
            "properties": {
                "images": { "type": "array", "minItems": 2, "items": { "type": "object" } },
                "columns": { "type": "integer", "minimum": 1 },
            },
        })
    }

    fn pointers(value: &Value, unknown: &[&str]) -> Vec<String> {
        let unknown: Vec<String> = unknown.iter().map(|&place| place.to_owned()).collect();
        let found = mismatches(&schema(), value, &unknown);
        found.into_iter().map(|wrong| wrong.pointer).collect()
    }

    #[test]
    fn what_is_not_known_yet_is_not_complained_about() {
        let value = json!({ "images": null, "columns": 0 });
        assert_eq!(pointers(&value, &["/images"]), ["/columns"]);
        assert_eq!(pointers(&value, &["/images", "/columns"]), [""; 0]);
        let list = json!({ "images": [null] });
        assert_eq!(pointers(&list, &["/images/0"]), [""; 0]);
    }

    #[test]
    fn missing_and_unknown_keys_are_known_whatever_their_neighbours_are() {
        let value = json!({ "colums": 1, "columns": null });
        assert_eq!(pointers(&value, &["/columns"]).len(), 2);
    }

    #[test]
    fn editors_take_a_template_for_any_value() {
        let schema = for_editors(&schema());
        let validator = jsonschema::draft7::new(&schema).unwrap();
        assert!(validator.is_valid(&json!({ "images": "{{ steps.a.images }}", "columns": 3 })));
        assert!(!validator.is_valid(&json!({ "images": "a.png" })));
    }
}
