//! What a plugin says of itself.

use serde_json::{Map, Value, json};

/// A plugin's description: what it is called, what it wants to hear of, and what it can do. kiln calls nothing that is not named here.
#[derive(Clone, Debug)]
pub struct About {
    members: Map<String, Value>,
}

impl About {
    /// A plugin that does nothing yet. `env!("CARGO_PKG_NAME")` and `env!("CARGO_PKG_VERSION")` are good values.
    pub fn new(name: &str, version: &str) -> Self {
        let mut members = Map::new();
        members.insert("name".to_owned(), json!(name));
        members.insert("version".to_owned(), json!(version));
        Self { members }
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.members.insert(name.to_owned(), value);
        self
    }

    fn and(mut self, name: &str, value: Value) -> Self {
        let list = self.members.entry(name).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(value);
        }
        self
    }

    /// What it does, in a sentence.
    #[must_use]
    pub fn description(self, text: &str) -> Self {
        self.with("description", json!(text))
    }

    /// The JSON Schema (draft-07) of `config:` in `kiln.yaml`. Without one, anything goes.
    #[must_use]
    pub fn config(self, schema: Value) -> Self {
        self.with("config", schema)
    }

    /// Run events to hear of: names such as `task_finished`, or beginnings such as `task_*`; `*` is all of them.
    #[must_use]
    pub fn events(mut self, names: &[&str]) -> Self {
        for name in names {
            self = self.and("events", json!(name));
        }
        self
    }

    /// Messages of servers about this run's jobs to hear of, by their `type`, as for [`About::events`].
    #[must_use]
    pub fn server_events(mut self, types: &[&str]) -> Self {
        for name in types {
            self = self.and("server_events", json!(name));
        }
        self
    }

    /// Looks at, and may change, every graph before it is submitted.
    #[must_use]
    pub fn before_submit(self) -> Self {
        self.and("hooks", json!(crate::abi::hook::BEFORE_SUBMIT))
    }

    /// Looks at, and may change, every job's results when they are here.
    #[must_use]
    pub fn after_download(self) -> Self {
        self.and("hooks", json!(crate::abi::hook::AFTER_DOWNLOAD))
    }

    /// Carries out steps `plugin: NAME`; `with` is the JSON Schema (draft-07) of their `with:`. See [`crate::file_schema`].
    #[must_use]
    pub fn step(self, with: Value) -> Self {
        let outputs = json!([]);
        self.with("step", json!({ "with": with, "outputs": outputs }))
    }

    /// Names that artifacts of its steps carry, for `steps.X.outputs.NAME`. After [`About::step`].
    #[must_use]
    pub fn outputs(mut self, names: &[&str]) -> Self {
        if let Some(step) = self.members.get_mut("step") {
            step["outputs"] = json!(names);
        }
        self
    }

    /// A function for templates.
    #[must_use]
    pub fn function(self, name: &str, about: &str) -> Self {
        self.and("functions", json!({ "name": name, "about": about }))
    }

    /// A filter for templates.
    #[must_use]
    pub fn filter(self, name: &str, about: &str) -> Self {
        self.and("filters", json!({ "name": name, "about": about }))
    }

    /// The description as it crosses the edge.
    pub fn to_json(&self) -> Value {
        Value::Object(self.members.clone())
    }
}

/// The JSON Schema of a file in `with:`, as [`crate::File`] reads it. In pipelines it is a template such as `{{ steps.draw.image }}`.
pub fn file_schema(about: &str) -> Value {
    json!({
        "description": about,
        "type": "object",
        "required": ["path", "hash"],
        "properties": { "path": { "type": "string" }, "hash": { "type": "string" } },
    })
}

/// The JSON Schema of a list of files in `with:`.
pub fn files_schema(about: &str) -> Value {
    json!({ "description": about, "type": "array", "items": file_schema("A file.") })
}
