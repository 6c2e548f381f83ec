//! What an input takes, as a schema.

use std::fmt::Write as _;

use serde_json::{Map, Number, Value, json};

use super::super::links::needs_a_link;
use super::nodes::needed;
use crate::catalog::{Autogrow, AutogrowNames, Combo, InputDef, InputType};
use crate::workflow::{self, Node};

/// A text with a template in it.
const TEMPLATE: &str = "\\{[{%]";

/// The inputs of a node, as members of its schema.
pub(super) struct Inputs<'a, F> {
    node: &'a Node,
    /// The nodes that give one of some types.
    sources: F,
    pub(super) properties: Map<String, Value>,
    pub(super) patterns: Map<String, Value>,
}

impl<'a, F: Fn(&str) -> Vec<String>> Inputs<'a, F> {
    pub(super) fn new(node: &'a Node, sources: F) -> Self {
        Self {
            node,
            sources,
            properties: Map::new(),
            patterns: Map::new(),
        }
    }

    /// Adds an input and, of a dynamic one, every part that it may bring. `only`: the choice that brings it.
    pub(super) fn add(&mut self, def: &InputDef, prefix: &str, only: Option<&str>) {
        let name = if prefix.is_empty() {
            def.name.clone()
        } else {
            format!("{prefix}.{}", def.name)
        };
        match &def.ty {
            InputType::Autogrow(grow) => self.grown(grow, &name, only),
            InputType::DynamicCombo(options) => {
                let keys: Vec<Value> = options.iter().map(|option| option.key.clone()).collect();
                let schema = any_of(vec![json!({ "enum": keys }), template()]);
                self.put(&name, def, schema, only);
                for option in options {
                    let choice = format!("`{name}: {}`", shown_plain(&option.key));
                    for part in &option.inputs {
                        self.add(part, &name, Some(&choice));
                    }
                }
            }
            InputType::DynamicSlot { slot, inputs } => {
                let schema = self.value(slot);
                self.put(&name, slot, schema, only);
                for part in inputs {
                    self.add(part, &name, only);
                }
            }
            _ => {
                let schema = self.value(def);
                self.put(&name, def, schema, only);
            }
        }
    }

    /// The parts of a growing group that are there or must be, and the next one; all others are accepted.
    fn grown(&mut self, grow: &Autogrow, name: &str, only: Option<&str>) {
        let schema = self.value(&grow.template);
        match &grow.names {
            AutogrowNames::List(names) => {
                for part in names {
                    self.put(
                        &format!("{name}.{part}"),
                        &grow.template,
                        schema.clone(),
                        only,
                    );
                }
            }
            AutogrowNames::Prefix { prefix, max } => {
                let there = (0..*max)
                    .filter(|at| {
                        let part = format!("{name}.{prefix}{at}");
                        self.node.inputs.contains_key(&part)
                    })
                    .max();
                let count = there.map_or(0, |at| at + 1).max(grow.min) + 1;
                for at in 0..count.min(*max) {
                    let part = format!("{name}.{prefix}{at}");
                    self.put(&part, &grow.template, schema.clone(), only);
                }
                let stem = format!("{name}.{prefix}").replace('.', "\\.");
                self.patterns.insert(format!("^{stem}[0-9]+$"), schema);
            }
        }
    }

    fn put(&mut self, name: &str, def: &InputDef, mut schema: Value, only: Option<&str>) {
        let was = self.node.inputs.get(name);
        if let Some(members) = schema.as_object_mut() {
            let about = about(def, was, only);
            members.insert("description".to_owned(), json!(about));
            let plain = was.filter(|value| !value.is_array() && !value.is_object());
            let default = plain.or(def.default.as_ref().filter(|value| !value.is_null()));
            if let Some(default) = default {
                members.insert("default".to_owned(), default.clone());
            }
        }
        // The same part can come with several choices: whatever one of them takes is accepted.
        match self.properties.get_mut(name) {
            Some(known) if *known != schema => {
                let both = vec![known.take(), schema];
                *known = json!({ "anyOf": both });
            }
            _ => {
                self.properties.insert(name.to_owned(), schema);
            }
        }
    }

    fn value(&self, def: &InputDef) -> Value {
        match &def.ty {
            InputType::Int => number(def, "integer", "^\\s*[+-]?[0-9]+\\s*$", "a whole number"),
            InputType::Float => number(
                def,
                "number",
                "^\\s*[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?\\s*$",
                "a number",
            ),
            InputType::Boolean => flat(
                &["boolean", "string", "null", "array"],
                "^\\s*(true|false)\\s*$",
                "true or false",
            ),
            InputType::String => {
                json!({ "type": ["string", "number", "boolean", "null", "array"] })
            }
            InputType::Combo(combo) => self.combo(def, combo),
            InputType::MatchType { allowed, .. } => self.link(allowed),
            _ if needs_a_link(def) => self.link(def.type_name()),
            // A value that only an editor makes, or one of which nobody knows.
            _ => json!({}),
        }
    }

    fn combo(&self, def: &InputDef, combo: &Combo) -> Value {
        let mut options = combo.options.clone();
        // `"2"` is fitted to 2.
        let plain = combo.options.iter().filter(|option| !option.is_string());
        options.extend(plain.map(|option| json!(option.to_string())));
        let choice = json!({ "enum": options });
        let mut forms = Vec::new();
        if !options.is_empty() {
            forms.push(choice.clone());
        }
        if combo.multiselect {
            forms.push(json!({ "type": "array", "items": choice }));
        }
        if def.upload || combo.remote || options.is_empty() {
            forms.push(json!({ "type": "string" }));
        } else {
            forms.push(template());
        }
        forms.push(self.link("COMBO"));
        any_of(forms)
    }

    /// A link, or a template that gives what cannot be told here.
    fn link(&self, types: &str) -> Value {
        let from = (self.sources)(types);
        let node = if from.is_empty() {
            json!({ "type": "string" })
        } else {
            json!({ "anyOf": [{ "enum": from }, { "type": "string" }] })
        };
        any_of(vec![
            json!({
                "type": "array",
                "items": [node, { "type": "integer", "minimum": 0 }],
                "minItems": 2,
                "maxItems": 2,
            }),
            template(),
        ])
    }
}

/// A string with a template in it.
fn template() -> Value {
    json!({ "type": "string", "pattern": TEMPLATE })
}

/// Any of these, or `null`, which removes the input.
fn any_of(mut forms: Vec<Value>) -> Value {
    forms.push(json!({ "type": "null" }));
    json!({ "anyOf": forms })
}

/// One schema for all forms of a scalar, since editors say more clearly what is wrong with it than with one of several.
fn flat(types: &[&str], pattern: &str, takes: &str) -> Value {
    // A list is a link. Its items are not described, or editors would begin a list where they should offer a value.
    json!({
        "type": types,
        "pattern": format!("{TEMPLATE}|{pattern}"),
        "patternErrorMessage": format!("This takes {takes}, or a template that gives one."),
    })
}

fn number(def: &InputDef, ty: &str, pattern: &str, takes: &str) -> Value {
    let mut schema = flat(&[ty, "string", "null", "array"], pattern, takes);
    let bounds = [("minimum", &def.bounds.min), ("maximum", &def.bounds.max)];
    for (word, bound) in bounds {
        if let Some(bound) = bound {
            schema[word] = Value::Number(bound.clone());
        }
    }
    schema
}

/// What people read beside an input: its type and bounds, what it is when nothing is said, and what its author says.
fn about(def: &InputDef, was: Option<&Value>, only: Option<&str>) -> String {
    let mut about = match &def.ty {
        InputType::Combo(combo) => format!("one of {} choices", combo.options.len()),
        InputType::DynamicCombo(options) => format!("one of {} choices", options.len()),
        InputType::MatchType { allowed, .. } if allowed == "*" => "any type".to_owned(),
        InputType::MatchType { allowed, .. } => allowed.replace(',', " or "),
        InputType::Any => "any type".to_owned(),
        _ => def.type_name().replace(',', " or "),
    };
    let bound = |number: &Option<Number>| number.as_ref().map(ToString::to_string);
    match (bound(&def.bounds.min), bound(&def.bounds.max)) {
        (Some(min), Some(max)) => {
            let _ = write!(about, ", {min} to {max}");
        }
        (Some(min), None) => {
            let _ = write!(about, ", at least {min}");
        }
        (None, Some(max)) => {
            let _ = write!(about, ", at most {max}");
        }
        (None, None) => {}
    }
    if let Some(only) = only {
        let _ = write!(about, ", with {only}");
    } else if !needed(def.section, &def.ty) {
        about.push_str(", optional");
    }
    match was {
        Some(value) => match workflow::is_link(value) {
            Some((from, slot)) => {
                let _ = write!(about, ". In the workflow: output {slot} of node {from}");
            }
            None => {
                let _ = write!(about, ". In the workflow: {}", shown(value));
            }
        },
        None => {
            if let Some(default) = def.default.as_ref().filter(|d| !d.is_null()) {
                let _ = write!(about, ". Usually {}", shown(default));
            }
        }
    }
    if let Some(tip) = tooltip(def) {
        about.push_str("\n\n");
        about.push_str(&tip);
    }
    about
}

/// What the node's author says of an input.
fn tooltip(def: &InputDef) -> Option<String> {
    let config: Value = serde_json::from_str(&def.config).ok()?;
    let text = config.get(1)?.get("tooltip")?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A value in a sentence.
pub(super) fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = shown_plain(value);
    let line = text.lines().next().unwrap_or_default();
    if line.chars().count() > LONGEST || text.lines().count() > 1 {
        let cut: String = line.chars().take(LONGEST).collect();
        return format!("`{cut}…`");
    }
    format!("`{line}`")
}

fn shown_plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
