//! JSON Schemas (draft-07) of what users write, from the same tables of keys that the readers use.

use serde_json::{Map, Value, json};

use super::reading::Key;
use super::{pipeline, project};

/// What ids look like.
pub(super) const ID: &str = "^[a-z][a-z0-9_]*$";

/// The schema of pipeline files.
pub fn pipeline_schema() -> Value {
    root("pipeline", "kiln pipeline", pipeline::schema())
}

/// The schema of `kiln.yaml`.
pub fn project_schema() -> Value {
    root("project", "kiln project", project::schema())
}

fn root(name: &str, title: &str, mut schema: Value) -> Value {
    let meta = schemars::generate::SchemaSettings::draft07().meta_schema;
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!(meta));
    root.insert(
        "$id".to_owned(),
        json!(format!(
            "https://kiln-run.github.io/kiln/schemas/{name}.schema.json"
        )),
    );
    root.insert("title".to_owned(), json!(title));
    if let Some(members) = schema.as_object_mut() {
        root.append(members);
    }
    Value::Object(root)
}

/// An object with known keys; `free` lets keys that begin with `x-` pass.
pub(super) fn object(about: &str, keys: &[Key], free: bool) -> Value {
    let mut properties = Map::new();
    for key in keys {
        properties.insert(key.name.to_owned(), described((key.schema)(), key.about));
    }
    let required: Vec<&str> = keys.iter().filter(|k| k.required).map(|k| k.name).collect();
    let mut schema = json!({
        "description": about,
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if free {
        schema["patternProperties"] = json!({ "^x-": self::free() });
    }
    schema
}

/// Keys of the user's own.
pub(super) fn free() -> Value {
    json!({ "description": "Yours: for YAML anchors and merges. kiln does not read it." })
}

/// A text that may contain templates.
pub(super) fn text() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

/// A value, or a template that makes one.
pub(super) fn or_template(schema: &Value) -> Value {
    json!({ "anyOf": [schema, template()] })
}

/// A string with a template in it.
fn template() -> Value {
    json!({ "type": "string", "pattern": "\\{[{%]" })
}

fn described(schema: Value, about: &str) -> Value {
    let mut members = Map::new();
    members.insert("description".to_owned(), json!(about));
    if let Value::Object(mut rest) = schema {
        members.append(&mut rest);
    }
    Value::Object(members)
}
