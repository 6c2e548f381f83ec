//! The values of the run's secrets: put in where bytes leave, taken out of whatever comes back.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::{Map, Value};

use crate::base::Secrets;
use crate::base::secret::{self, Masker, MissingSecret};
use crate::diagnostic::Diagnostic;
use crate::event::RunEvent;
use crate::plan::Plan;
use crate::workflow::Graph;

/// What is secret in a run, as far as it was met.
#[derive(Debug)]
pub(super) struct Hush {
    secrets: Secrets,
    known: RwLock<Known>,
}

#[derive(Debug, Default)]
struct Known {
    names: BTreeSet<String>,
    masker: Arc<Masker>,
}

impl Hush {
    /// The secrets of a plan. Those that only come up while it runs are learned when they do.
    pub(super) fn new(secrets: Secrets, plan: &Plan) -> Self {
        let hush = Self {
            secrets,
            known: RwLock::default(),
        };
        let parts = [
            serde_json::to_string(&plan.steps),
            serde_json::to_string(&plan.servers),
            serde_json::to_string(&plan.params),
            serde_json::to_string(&plan.plugins),
        ];
        for text in parts.into_iter().flatten().chain(plan.partner_key.clone()) {
            hush.learn(&text);
        }
        hush
    }

    /// Nothing secret was met yet.
    #[cfg(test)]
    pub(super) fn empty(secrets: Secrets) -> Self {
        Self {
            secrets,
            known: RwLock::default(),
        }
    }

    /// Takes note of the secrets whose placeholders stand in a text.
    pub(super) fn learn(&self, text: &str) {
        if !secret::is_in(text) {
            return;
        }
        let names = secret::names_in(text);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.names.len();
        known.names.extend(names);
        if known.names.len() > before {
            let values: Vec<String> = known
                .names
                .iter()
                .filter_map(|name| self.secrets.get(name))
                .collect();
            known.masker = Arc::new(Masker::new(values));
        }
    }

    fn masker(&self) -> Option<Arc<Masker>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        (!known.names.is_empty()).then(|| Arc::clone(&known.masker))
    }

    /// A text without the values of secrets.
    pub(super) fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.masker() {
            Some(masker) => Cow::Owned(masker.mask(text).into_owned()),
            None => Cow::Borrowed(text),
        }
    }

    /// An event without the values of secrets.
    pub(super) fn mask_event(&self, mut event: RunEvent) -> RunEvent {
        if let Some(masker) = self.masker() {
            event.each_text(&mut |text| {
                if let Cow::Owned(masked) = masker.mask(text) {
                    *text = masked;
                }
            });
        }
        event
    }

    /// What a server told of a result, without the values of secrets.
    pub(super) fn mask_members(&self, members: Map<String, Value>) -> Map<String, Value> {
        let Some(masker) = self.masker() else {
            return members;
        };
        let mut json = Value::Object(members);
        masker.mask_json(&mut json);
        match json {
            Value::Object(members) => members,
            _ => Map::new(),
        }
    }

    /// A complaint without the values of secrets.
    pub(super) fn mask_diagnostic(&self, mut built: Diagnostic) -> Diagnostic {
        let Some(masker) = self.masker() else {
            return built;
        };
        let mask = |text: &mut String| *text = masker.mask(text).into_owned();
        mask(&mut built.message);
        built.help.iter_mut().for_each(mask);
        let labels = built.primary.iter_mut().chain(&mut built.secondary);
        labels.for_each(|label| mask(&mut label.message));
        built
    }

    /// A text with the values of its secrets, for where it leaves.
    pub(super) fn reveal(&self, text: &str) -> Result<String, MissingSecret> {
        if !secret::is_in(text) {
            return Ok(text.to_owned());
        }
        self.learn(text);
        self.secrets.reveal(text)
    }

    /// A graph with the values of its secrets; `None` when there are none in it.
    pub(super) fn reveal_graph(&self, graph: &Graph) -> Result<Option<Graph>, MissingSecret> {
        let has = |node: &crate::workflow::SharedNode| node.inputs.values().any(is_in);
        if !graph.nodes.values().any(has) {
            return Ok(None);
        }
        let mut revealed = graph.clone();
        for node in revealed.nodes.values_mut() {
            for value in node.inputs.values_mut() {
                self.reveal_value(value)?;
            }
        }
        Ok(Some(revealed))
    }

    /// Takes the values of secrets out of a graph that was sent: where the one that it was made of has a placeholder, that is put back.
    pub(super) fn hide(&self, sent: &mut Graph, made_of: &Graph) {
        for (id, node) in &mut sent.nodes {
            let before = made_of.nodes.get(id);
            for (input, value) in &mut node.inputs {
                let placed = before.and_then(|node| node.inputs.get(input));
                match placed.filter(|placed| is_in(placed)) {
                    Some(placed) if self.reveal_json(placed.clone()).as_ref() == Ok(&*value) => {
                        *value = placed.clone();
                    }
                    _ => self.mask_value(value),
                }
            }
        }
    }

    fn mask_value(&self, value: &mut Value) {
        if let Some(masker) = self.masker() {
            masker.mask_json(value);
        }
    }

    /// A value with the values of its secrets, for where it leaves.
    pub(super) fn reveal_json(&self, mut value: Value) -> Result<Value, MissingSecret> {
        if is_in(&value) {
            self.reveal_value(&mut value)?;
        }
        Ok(value)
    }

    fn reveal_value(&self, value: &mut Value) -> Result<(), MissingSecret> {
        match value {
            Value::String(text) if secret::is_in(text) => *text = self.reveal(text)?,
            Value::Array(items) => items.iter_mut().try_for_each(|v| self.reveal_value(v))?,
            Value::Object(entries) => {
                let mut revealed = Map::new();
                for (key, mut value) in std::mem::take(entries) {
                    self.reveal_value(&mut value)?;
                    revealed.insert(self.reveal(&key)?, value);
                }
                *entries = revealed;
            }
            _ => {}
        }
        Ok(())
    }
}

fn is_in(value: &Value) -> bool {
    match value {
        Value::String(text) => secret::is_in(text),
        Value::Array(items) => items.iter().any(is_in),
        Value::Object(entries) => entries
            .iter()
            .any(|(key, value)| secret::is_in(key) || is_in(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hush() -> Hush {
        Hush::empty(Secrets::of(Arc::default()))
    }

    /// Any variable with a long value will do.
    fn value() -> String {
        std::env::var("PATH").unwrap()
    }

    #[test]
    fn a_value_is_put_in_where_bytes_leave_and_taken_out_of_what_comes_back() {
        let hush = hush();
        let placeholder = secret::placeholder("PATH");
        let graph: Graph = serde_json::from_value(json!({
            "1": {"class_type": "A", "inputs": {"key": placeholder, "more": {"list": [placeholder]}}}
        }))
        .unwrap();
        let sent = hush.reveal_graph(&graph).unwrap().unwrap();
        assert_eq!(sent.nodes["1"].inputs["key"], value());
        assert_eq!(sent.nodes["1"].inputs["more"]["list"][0], value());
        assert_eq!(hush.mask(&format!("bad key {}!", value())), "bad key ***!");
        let members = json!({"a": [value()], "b": 1}).as_object().unwrap().clone();
        let masked = json!({"a": ["***"], "b": 1});
        assert_eq!(Value::Object(hush.mask_members(members)), masked);
    }

    #[test]
    fn a_value_that_is_one_of_kilns_own_words_is_taken_out_of_events_too() {
        let hush = hush();
        hush.known.write().unwrap().names.insert("X".to_owned());
        hush.known.write().unwrap().masker = Arc::new(Masker::new(["task"]));
        let line = |line: &str| RunEvent::TaskOutput {
            task: "draw".into(),
            line: line.to_owned(),
        };
        assert_eq!(hush.mask_event(line("it is task!")), line("it is ***!"));
    }

    #[test]
    fn what_a_server_tells_of_a_graph_has_placeholders_again_and_no_value() {
        let hush = hush();
        let graph = |key: &str, note: String, width: u32| -> Graph {
            let inputs = json!({"key": key, "note": note, "width": width});
            serde_json::from_value(json!({"1": {"class_type": "A", "inputs": inputs}})).unwrap()
        };
        let placeholder = secret::placeholder("PATH");
        let rendered = graph(&placeholder, "plain".to_owned(), 64);
        // A plugin changed two inputs, and put the value into one of them.
        let mut sent = graph(&value(), format!("by {}", value()), 100);
        hush.learn(&placeholder);
        hush.hide(&mut sent, &rendered);
        assert_eq!(sent, graph(&placeholder, "by ***".to_owned(), 100));
    }

    #[test]
    fn a_graph_without_secrets_is_sent_as_it_is() {
        let graph: Graph =
            serde_json::from_value(json!({"1": {"class_type": "A", "inputs": {"a": 1}}})).unwrap();
        assert!(hush().reveal_graph(&graph).unwrap().is_none());
        assert_eq!(hush().mask(&value()), value(), "nothing was met yet");
    }

    #[test]
    fn a_secret_without_a_value_is_an_error() {
        let error = hush()
            .reveal(&secret::placeholder("KILN_TEST_NOT_SET"))
            .unwrap_err();
        assert!(error.to_string().contains("KILN_TEST_NOT_SET"));
    }
}
