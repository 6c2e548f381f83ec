//! JSON Schemas (draft-07) of what users write, from the same tables of keys that the readers use.

use serde_json::{Map, Value, json};

use super::reading::Key;
use super::{pipeline, project};

/// What ids look like.
pub(super) const ID: &str = "^[a-z][a-z0-9_]*$";

/// The schema of pipeline files.
pub fn pipeline_schema() -> Value {
    root("kiln pipeline", pipeline::schema())
}

/// What a plugin's steps take, for editors.
#[derive(Clone, Debug)]
pub struct PluginStepSchema {
    /// What `kiln.yaml` calls the plugin.
    pub plugin: String,
    /// The schema of its `with:`.
    pub with: Value,
}

/// A schema of pipelines in a project with these plugins.
pub fn with_plugins(mut schema: Value, plugins: &[PluginStepSchema]) -> Value {
    let names: Vec<&str> = plugins.iter().map(|one| one.plugin.as_str()).collect();
    let each: Vec<Value> = plugins
        .iter()
        .map(|one| {
            json!({
                "if": { "properties": { "plugin": { "const": one.plugin } }, "required": ["plugin"] },
                "then": { "properties": { "with": one.with } },
            })
        })
        .collect();
    if !each.is_empty() {
        each_step(&mut schema, &|step| {
            step["properties"]["plugin"]["enum"] = json!(names);
            step["allOf"] = Value::Array(each.clone());
        });
    }
    schema
}

/// Changes every schema of a step inside one of pipelines: those with the property `workflow`.
fn each_step(schema: &mut Value, change: &dyn Fn(&mut Value)) {
    if schema.pointer("/properties/workflow").is_some() {
        return change(schema);
    }
    match schema {
        Value::Object(members) => members.values_mut().for_each(|one| each_step(one, change)),
        Value::Array(items) => items.iter_mut().for_each(|one| each_step(one, change)),
        _ => {}
    }
}

/// What the workflow of a step allows in that step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepFragment {
    /// Its `set`.
    pub set: Value,
    /// What a name under its `outputs` stands for.
    pub output: Value,
    /// What these refer to, under `#/definitions/`.
    pub definitions: Map<String, Value>,
}

/// The schema of one pipeline file, whose steps are known.
pub fn pipeline_schema_for(steps: impl IntoIterator<Item = (String, StepFragment)>) -> Value {
    let mut schema = pipeline_schema();
    let general = schema["properties"]["steps"]["additionalProperties"].clone();
    let mut known = Map::new();
    let mut definitions = Map::new();
    for (id, fragment) in steps {
        let mut step = general.clone();
        step["properties"]["set"] = fragment.set;
        step["properties"]["outputs"]["additionalProperties"] = fragment.output;
        known.insert(id, step);
        definitions.extend(fragment.definitions);
    }
    schema["properties"]["steps"]["properties"] = Value::Object(known);
    schema["definitions"] = Value::Object(definitions);
    schema
}

/// The schema of `kiln.yaml`.
pub fn project_schema() -> Value {
    root("kiln project", project::schema())
}

fn root(title: &str, mut schema: Value) -> Value {
    let meta = schemars::generate::SchemaSettings::draft07().meta_schema;
    let mut root = Map::new();
    root.insert("$schema".to_owned(), json!(meta));
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

/// A schema with what editors show.
pub(super) fn described(schema: Value, about: &str) -> Value {
    let mut members = Map::new();
    members.insert("description".to_owned(), json!(about));
    if let Value::Object(mut rest) = schema {
        members.append(&mut rest);
    }
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(schema: &Value, yaml: &str) -> bool {
        let mut value: serde_yaml::Value = serde_yaml::from_str(yaml).unwrap();
        value.apply_merge().unwrap();
        let value: Value = serde_yaml::from_value(value).unwrap();
        jsonschema::draft7::new(schema).unwrap().is_valid(&value)
    }

    const PIPELINES: [&str; 3] = [
        "steps: { a: { workflow: a.json } }",
            "version: 1
x-a: [anything]
params: { a: { type: seed, default: random, minimum: 1 }, b: { type: file, default: null }, c: { type: boolean, default: '{{ env(\"A\") }}' } }
steps:
  x-b: 3
  a:
    workflow: '{{ params.a }}.json'
    set: { '3': { seed: 1, text: null, link: [Loader, 0], more: '{{ 1 }}' }, Node: null }
    needs: b
    outputs: { final: 9, other: Save }
    template: false
  b: { workflow: b.json, needs: [a], save_as: x, server: y }",
            "limits: { gpu: 1 }
retry: { attempts: 3, for: transient }
timeout: '{{ params.t }}'
stall_timeout: 5m
cache: strict
params: { a: { type: list, items: integer, default: [1, 2], minimum: 1 }, t: { type: string, default: 1h30m } }
steps:
  a:
    workflow: a.json
    when: true
    matrix: { i: '{{ range(3) }}', s: [a, b], exclude: [{ i: 1 }], include: [{ i: 9, s: c }] }
    for_each: [1, 2]
    set: { Detail: bypass, Other: null }
    needs: [b, { step: c, optional: true }]
    claims: { gpu: 1 }
    retry: { attempts: 2, delay: 500ms, max_delay: 1h30m, for: [oom, any], until: result.images }
    timeout: 10m
    cache: false
    transfer: upload
  b: { command: [ffmpeg, -i, '{{ steps.a.image }}', [1, 2], 3, true], env: { A: 1 }, stdin: x, outputs: { film: '*.mp4' }, when: params.a }
  c: { workflow: c.json, for_each: steps.a.images, needs: { step: b } }
  d: { plugin: sheet, with: { images: '{{ steps.c.images }}' }, save_as: x, timeout: 5m }",
    ];

    #[test]
    fn editors_accept_the_pipelines_that_kiln_accepts() {
        let schema = pipeline_schema();
        for good in PIPELINES {
            assert!(valid(&schema, good), "{good}");
        }
    }

    #[test]
    fn editors_refuse_the_pipelines_that_kiln_refuses() {
        let schema = pipeline_schema();
        for bad in [
            "steps: {}",
            "name: x",
            "steps: { a: {} }",
            "steps: { A: { workflow: a.json } }",
            "steps: { a: { workflow: a.json, matrix: {} } }",
            "version: 2\nsteps: { a: { workflow: a.json } }",
            "steps: { a: { workflow: a.json, template: yes please } }",
            "steps: { a: { workflow: a.json, set: { N: remove } } }",
            "params: { a: { type: list, items: list } }\nsteps: { a: { workflow: a.json } }",
            "steps: { a: { workflow: a.json, command: [x] } }",
            "steps: { a: { command: x } }",
            "steps: { a: { command: [] } }",
            "steps: { a: { command: [x], set: {} } }",
            "steps: { a: { workflow: a.json, stdin: x } }",
            "steps: { a: { workflow: a.json, plugin: x } }",
            "steps: { a: { workflow: a.json, with: {} } }",
            "steps: { a: { plugin: x, with: [] } }",
            "steps: { a: { plugin: x, set: {} } }",
            "steps: { a: { plugin: x, outputs: { a: b } } }",
            "steps: { a: { workflow: a.json, timeout: 10 } }",
            "steps: { a: { workflow: a.json, timeout: 10 minutes } }",
            "steps: { a: { workflow: a.json, retry: 3 } }",
            "steps: { a: { workflow: a.json, retry: { attempts: 3, for: [oops] } } }",
            "steps: { a: { workflow: a.json, when: 3 } }",
            "steps: { a: { workflow: a.json, matrix: { i: photo } } }",
            "steps: { a: { workflow: a.json, matrix: { I: [1] } } }",
            "steps: { a: { workflow: a.json, matrix: { include: x } } }",
            "steps: { a: { workflow: a.json, claims: { gpu: 0 } } }",
            "steps: { a: { workflow: a.json, cache: sometimes } }",
            "steps: { a: { workflow: a.json, transfer: reference } }",
            "steps: { a: { workflow: a.json, needs: [{ optional: true }] } }",
            "max_parallel: 0\nsteps: { a: { workflow: a.json } }",
        ] {
            assert!(!valid(&schema, bad), "{bad}");
        }
    }

    #[test]
    fn editors_accept_and_refuse_the_project_files_that_kiln_does() {
        let schema = project_schema();
        assert!(valid(
            &schema,
            "servers: { a: { url: 'http://x', max_jobs: '{{ env(\"N\") }}' }, b: { kind: embedded, max_jobs: 2 } }\nx-y: 1"
        ));
        assert!(valid(
            &schema,
            "servers:
  a: { urls: ['http://x', 'http://y'], token: t, headers: { X-Key: k }, ca_cert: ca.pem, lost_after: 10m }
  b: { kind: embedded, simulate: true }
  c: { kind: cloud }
  d: { kind: cloud, api_key: k, url: 'http://127.0.0.1:1', max_jobs: 5 }
partner_api_key: k
dotenv: true
plugins: { a: { path: x, config: { b: [1] }, on_error: warn, timeout: 10s, isolation: process, pipelines: [p], steps: [s] }, b: { path: y } }
profiles: { draft: { server: b, params: { count: 1 }, output_dir: o, max_parallel: 2 } }"
        ));
        for bad in [
            "servers: { a: {} }",
            "servers: { a: { kind: cloud, token: x } }",
            "servers: { a: { kind: cloud, urls: [x] } }",
            "servers: { a: { url: x, api_key: k } }",
            "servers: { a: { url: x, max_jobs: 0 } }",
            "plugins: { a: {} }",
            "plugins: { a: { path: x, on_error: ignore } }",
            "plugins: { A: { path: x } }",
            "plugins: { a: { path: x, hash: abc } }",
            "servers: { a: { url: x, urls: [y] } }",
            "servers: { a: { url: x, simulate: true } }",
            "servers: { a: { kind: embedded, token: t } }",
            "servers: { a: { urls: [] } }",
            "profiles: { a: { steps: {} } }",
            "dotenv: yes please",
        ] {
            assert!(!valid(&schema, bad), "{bad}");
        }
    }

    #[test]
    fn every_key_is_described_for_editors() {
        fn walk(schema: &Value, path: &str) {
            let Some(members) = schema.as_object() else {
                return;
            };
            if let Some(properties) = members.get("properties").and_then(Value::as_object) {
                for (name, property) in properties {
                    let about = property.get("description").and_then(Value::as_str);
                    let narrowing = property.get("const").is_some() && path.contains("Of");
                    assert!(
                        about.is_some() || narrowing,
                        "{path}.{name} has no description"
                    );
                }
            }
            for (name, member) in members {
                walk(member, &format!("{path}.{name}"));
                for item in member.as_array().into_iter().flatten() {
                    walk(item, &format!("{path}.{name}"));
                }
            }
        }
        walk(&pipeline_schema(), "pipeline");
        walk(&project_schema(), "project");
    }
}
