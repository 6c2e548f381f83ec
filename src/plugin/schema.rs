//! JSON against a plugin's own JSON Schema (draft-07).

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value, json};

use crate::base::secret;
use crate::diagnostic::did_you_mean;

/// A value that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// Why, in a fragment.
    pub message: String,
    /// What may have been meant.
    pub near: Option<String>,
    /// It is about the keys of a map, whatever their values are.
    of_keys: bool,
}

impl Mismatch {
    fn of(error: &ValidationError<'_>, schema: &Value) -> Vec<Self> {
        let pointer = error.instance_path().to_string();
        let whole = |message: String, of_keys| Self {
            pointer: pointer.clone(),
            message: super::body::bounded(&message),
            near: None,
            of_keys,
        };
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let place = error.schema_path().to_string();
                let parent = place.rsplit_once('/').map_or("", |(parent, _)| parent);
                let known = schema.pointer(parent).map(|of| &of["properties"]);
                let known: Vec<&str> = known
                    .and_then(Value::as_object)
                    .map_or_else(Vec::new, |all| all.keys().map(String::as_str).collect());
                let each = unexpected.iter().map(|name| Self {
                    pointer: format!("{pointer}/{}", escaped(name)),
                    near: did_you_mean(name, known.iter().copied()).map(str::to_owned),
                    ..whole("there is no such key".to_owned(), true)
                });
                each.collect()
            }
            ValidationErrorKind::Required { property } => {
                let name = property.as_str().unwrap_or_default();
                vec![whole(format!("`{name}` is missing"), true)]
            }
            _ => vec![whole(error.to_string(), false)],
        }
    }
}

/// A key as a part of a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
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
        .flat_map(|error| Mismatch::of(&error, schema))
        .filter(|mismatch| !hangs_on(mismatch, unknown))
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
                    note(member, &format!("{place}/{}", escaped(key)), found);
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
fn hangs_on(mismatch: &Mismatch, unknown: &[String]) -> bool {
    let within = |inner: &str, outer: &str| {
        inner == outer
            || inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.starts_with('/'))
    };
    let Mismatch {
        pointer, of_keys, ..
    } = mismatch;
    // What is missing or too much in a map is known, whatever the values of its members are.
    unknown.iter().any(|place| {
        let inside = within(pointer, place) && !(*of_keys && pointer == place);
        inside || within(place, pointer) && !of_keys
    })
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
    fn a_key_that_is_not_there_is_named_with_the_one_that_is_near() {
        let mut schema = schema();
        schema["properties"]["a/b"] = json!({
            "type": "object", "additionalProperties": false, "properties": { "tiles": {} },
        });
        let value = json!({ "colums": 1, "zzz": 1, "a/b": { "tile": 2 } });
        let found = mismatches(&schema, &value, &["/zzz".to_owned()]);
        let told: Vec<_> = found
            .iter()
            .map(|one| (&*one.pointer, &*one.message, one.near.as_deref()))
            .collect();
        let none = "there is no such key";
        for wanted in [
            ("/colums", none, Some("columns")),
            ("/zzz", none, None),
            ("/a~1b/tile", none, Some("tiles")),
            ("", "`images` is missing", None),
        ] {
            assert!(told.contains(&wanted), "{told:?}");
        }
        assert_eq!(told.len(), 4);
    }

    #[test]
    fn editors_take_a_template_for_any_value() {
        let schema = for_editors(&schema());
        let validator = jsonschema::draft7::new(&schema).unwrap();
        assert!(validator.is_valid(&json!({ "images": "{{ steps.a.images }}", "columns": 3 })));
        assert!(!validator.is_valid(&json!({ "images": "a.png" })));
    }
}
