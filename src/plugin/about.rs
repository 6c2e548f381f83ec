//! What a plugin says of itself, checked.

use serde_json::Value;

use super::schema;
use crate::base::valid_id;

/// Names that one description may hold of a kind.
const MANY: usize = 1000;

/// A plugin's description.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// What its author calls it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it does.
    pub description: String,
    /// The JSON Schema of its config.
    pub config: Option<Value>,
    /// Run events that it hears of: names, or beginnings that end in `*`.
    pub events: Vec<String>,
    /// Messages of servers that it hears of.
    pub server_events: Vec<String>,
    /// It gets preview frames.
    pub previews: bool,
    /// It sees graphs before they are submitted.
    pub before_submit: bool,
    /// It sees results when they are here.
    pub after_download: bool,
    /// It carries out steps.
    pub step: Option<StepKind>,
    /// Functions for templates.
    pub functions: Vec<Callable>,
    /// Filters for templates.
    pub filters: Vec<Callable>,
}

/// Steps that a plugin carries out.
#[derive(Clone, Debug, PartialEq)]
pub struct StepKind {
    /// The JSON Schema of their `with:`.
    pub with: Value,
    /// Names that their artifacts may carry.
    pub outputs: Vec<String>,
}

/// A function or a filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Callable {
    /// Its name.
    pub name: String,
    /// What it does.
    pub about: String,
}

impl About {
    /// Reads a description.
    ///
    /// # Errors
    /// A fragment that reads well after "its description".
    pub(super) fn read(json: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(json).map_err(|_| "is no valid UTF-8".to_owned())?;
        let all: Value =
            serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))?;
        if !all.is_object() {
            return Err("is no JSON object".to_owned());
        }
        let hooks = strings(&all, "hooks")?;
        let about = Self {
            name: string(&all, "name")?,
            version: string(&all, "version")?,
            description: string(&all, "description")?,
            config: schema_of(&all["config"], "config")?,
            events: strings(&all, "events")?,
            server_events: strings(&all, "server_events")?,
            previews: all["previews"].as_bool().unwrap_or_default(),
            before_submit: hooks.iter().any(|hook| hook == "before_submit"),
            after_download: hooks.iter().any(|hook| hook == "after_download"),
            step: step(&all["step"])?,
            functions: callables(&all, "functions")?,
            filters: callables(&all, "filters")?,
        };
        if about.name.is_empty() {
            return Err("has no `name`".to_owned());
        }
        Ok(about)
    }

    /// Whether it needs the function `call` of the table.
    pub(super) fn is_called(&self) -> bool {
        self.before_submit
            || self.after_download
            || self.step.is_some()
            || !self.functions.is_empty()
            || !self.filters.is_empty()
    }

    /// Whether it needs the function `event` of the table.
    pub(super) fn hears(&self) -> bool {
        !self.events.is_empty() || !self.server_events.is_empty()
    }

    /// Whether it changes what jobs are or leave behind.
    pub fn shapes_jobs(&self) -> bool {
        self.before_submit || self.after_download
    }

    /// What it can do, in words.
    pub fn abilities(&self) -> Vec<String> {
        let mut all = Vec::new();
        let names = |list: &[Callable]| -> String {
            let names: Vec<&str> = list.iter().map(|one| one.name.as_str()).collect();
            names.join(", ")
        };
        if self.step.is_some() {
            all.push("step".to_owned());
        }
        if !self.functions.is_empty() {
            all.push(format!("functions {}", names(&self.functions)));
        }
        if !self.filters.is_empty() {
            all.push(format!("filters {}", names(&self.filters)));
        }
        if self.before_submit {
            all.push("before_submit".to_owned());
        }
        if self.after_download {
            all.push("after_download".to_owned());
        }
        if !self.events.is_empty() {
            all.push(format!("events {}", self.events.join(", ")));
        }
        if !self.server_events.is_empty() {
            all.push(format!("server events {}", self.server_events.join(", ")));
        }
        if self.previews {
            all.push("previews".to_owned());
        }
        all
    }
}

/// Whether one of these names, or beginnings that end in `*`, is meant.
pub(super) fn matches(patterns: &[String], name: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => pattern == name,
        })
}

fn string(all: &Value, name: &str) -> Result<String, String> {
    match &all[name] {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.chars().take(400).collect()),
        _ => Err(format!("has a `{name}` that is no string")),
    }
}

fn strings(all: &Value, name: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("has `{name}` that are no list of strings");
    match &all[name] {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) if items.len() <= MANY => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect(),
        _ => Err(wrong()),
    }
}

fn schema_of(value: &Value, name: &str) -> Result<Option<Value>, String> {
    if value.is_null() {
        return Ok(None);
    }
    schema::sound(value).map_err(|why| format!("has a schema of `{name}` that is none: {why}"))?;
    Ok(Some(value.clone()))
}

fn step(value: &Value) -> Result<Option<StepKind>, String> {
    if value.is_null() {
        return Ok(None);
    }
    let with = schema_of(&value["with"], "with")?;
    let outputs = strings(value, "outputs")?;
    if let Some(bad) = outputs.iter().find(|name| !valid_id(name)) {
        return Err(format!("has the output `{bad}`, which cannot be a name"));
    }
    Ok(Some(StepKind {
        with: with.unwrap_or(Value::Bool(true)),
        outputs,
    }))
}

fn callables(all: &Value, name: &str) -> Result<Vec<Callable>, String> {
    let list = match &all[name] {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) if list.len() <= MANY => list,
        _ => return Err(format!("has `{name}` that are no list")),
    };
    let mut found = Vec::new();
    for one in list {
        let called = string(one, "name")?;
        if !valid_id(&called) {
            return Err(format!(
                "has `{called}` among its {name}, which cannot be a name"
            ));
        }
        found.push(Callable {
            name: called,
            about: string(one, "about")?,
        });
    }
    Ok(found)
}
