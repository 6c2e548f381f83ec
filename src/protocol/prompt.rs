//! `POST /prompt`: what is sent and what comes back.

use std::borrow::Cow;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value};

/// The body of `POST /prompt`.
#[derive(Clone, Debug, Serialize)]
pub struct PromptRequest<'a> {
    /// The graph. `inputs` and `_meta` are always written: servers stumble over nodes without them.
    pub prompt: IndexMap<&'a str, PromptNode<'a>>,
    /// Our id for the job, a lower-case UUID with hyphens; absent where the server names jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_id: Option<String>,
    /// The socket that shall hear of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The output nodes to run; absent for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partial_execution_targets: Option<Vec<&'a str>>,
    /// What goes beside the graph, e.g. `extra_pnginfo`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra_data: Map<String, Value>,
}

/// A node as it is sent.
#[derive(Clone, Debug, Serialize)]
pub struct PromptNode<'a> {
    /// Its class.
    pub class_type: &'a str,
    /// Its inputs.
    pub inputs: &'a Map<String, Value>,
    /// What editors keep beside it.
    #[serde(rename = "_meta")]
    pub meta: Cow<'a, Map<String, Value>>,
}

impl<'a> PromptNode<'a> {
    /// A node of a graph. One without a title is sent with its class as title: some servers need the member to replace retired classes.
    pub fn new(
        class_type: &'a str,
        inputs: &'a Map<String, Value>,
        meta: &'a Map<String, Value>,
    ) -> Self {
        let meta = if meta.is_empty() {
            Cow::Owned(Map::from_iter([(
                "title".to_owned(),
                Value::from(class_type),
            )]))
        } else {
            Cow::Borrowed(meta)
        };
        Self {
            class_type,
            inputs,
            meta,
        }
    }
}

/// The answer to `POST /prompt`, of status 200 or 400.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptAnswer {
    /// The job, when one was queued.
    pub prompt_id: Option<String>,
    /// Its place in the queue.
    pub number: Option<f64>,
    /// Why nothing was queued.
    pub error: Option<PromptComplaint>,
    /// What is wrong with single nodes. Not empty with a queued job when only some of its outputs will run.
    pub node_errors: IndexMap<String, NodeComplaints>,
}

/// The complaint about the whole prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PromptComplaint {
    /// Its type, e.g. `prompt_outputs_failed_validation`.
    pub kind: String,
    /// In words.
    pub message: String,
    /// More words; often empty.
    pub details: String,
    /// Its data.
    pub extra_info: Value,
}

/// What is wrong with a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeComplaints {
    /// Its class.
    pub class_type: String,
    /// Each complaint.
    pub errors: Vec<NodeComplaint>,
}

/// One complaint about a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeComplaint {
    /// Its type, e.g. `value_not_in_list`.
    pub kind: String,
    /// In words.
    pub message: String,
    /// More words.
    pub details: String,
    /// Its data.
    pub extra_info: Value,
    /// The input it is about.
    pub input: Option<String>,
}

impl PromptAnswer {
    /// Reads an answer. `None` when it looks like no answer of `ComfyUI`'s: neither a job nor an error in it.
    pub fn from_value(value: &Value) -> Option<Self> {
        let answer = Self {
            prompt_id: value
                .get("prompt_id")
                .and_then(Value::as_str)
                .map(str::to_owned),
            number: value.get("number").and_then(Value::as_f64),
            error: value.get("error").and_then(complaint),
            node_errors: value
                .get("node_errors")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|(node, errors)| (node.clone(), node_complaints(errors)))
                .collect(),
        };
        let any = answer.prompt_id.is_some() || answer.error.is_some();
        (any || !answer.node_errors.is_empty()).then_some(answer)
    }

    /// Whether a job was queued without the outputs that are complained about.
    pub fn is_partial(&self) -> bool {
        self.prompt_id.is_some() && self.error.is_none() && !self.node_errors.is_empty()
    }

    /// The complaint in one line.
    pub fn summary(&self) -> String {
        let first = self.node_errors.iter().find_map(|(node, complaints)| {
            let complaint = complaints.errors.first()?;
            let class = &complaints.class_type;
            let said = join(&complaint.message, &complaint.details);
            Some(format!("node {node} ({class}): {said}"))
        });
        match (&self.error, first) {
            (_, Some(first)) => first,
            (Some(error), None) => join(&error.message, &error.details),
            (None, None) => "no reason given".to_owned(),
        }
    }
}

fn join(message: &str, details: &str) -> String {
    if details.is_empty() {
        message.to_owned()
    } else {
        format!("{message}: {}", details.trim_end())
    }
}

fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn complaint(value: &Value) -> Option<PromptComplaint> {
    match value {
        Value::Null => None,
        Value::Object(_) => Some(PromptComplaint {
            kind: text(value, "type"),
            message: text(value, "message"),
            details: text(value, "details"),
            extra_info: value.get("extra_info").cloned().unwrap_or_default(),
        }),
        Value::String(message) => Some(PromptComplaint {
            message: message.clone(),
            ..PromptComplaint::default()
        }),
        other => Some(PromptComplaint {
            message: other.to_string(),
            ..PromptComplaint::default()
        }),
    }
}

fn node_complaints(value: &Value) -> NodeComplaints {
    NodeComplaints {
        class_type: text(value, "class_type"),
        errors: value
            .get("errors")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|error| {
                let extra_info = error.get("extra_info").cloned().unwrap_or_default();
                NodeComplaint {
                    kind: text(error, "type"),
                    message: text(error, "message"),
                    details: text(error, "details"),
                    input: extra_info
                        .get("input_name")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                    extra_info,
                }
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_accepted_job_has_no_complaints() {
        let answer = PromptAnswer::from_value(
            &json!({"prompt_id": "p", "number": -3.0, "node_errors": [], "later": 1}),
        );
        let answer = answer.unwrap();
        assert_eq!(answer.prompt_id.as_deref(), Some("p"));
        assert!(answer.error.is_none() && answer.node_errors.is_empty());
    }

    #[test]
    fn a_complaint_about_a_node_says_more_than_the_one_about_all() {
        let answer = PromptAnswer::from_value(&json!({
            "error": {"type": "prompt_outputs_failed_validation", "message": "Prompt outputs failed validation", "details": "", "extra_info": {}},
            "node_errors": {"3": {"class_type": "KSampler", "dependent_outputs": ["9"], "errors": [
                {"type": "value_not_in_list", "message": "Value not in list", "details": "sampler_name: 'x' not in (list of length 44)",
                 "extra_info": {"input_name": "sampler_name", "input_config": null}}]}}
        })).unwrap();
        assert_eq!(
            answer.node_errors["3"].errors[0].input.as_deref(),
            Some("sampler_name")
        );
        assert_eq!(
            answer.summary(),
            "node 3 (KSampler): Value not in list: sampler_name: 'x' not in (list of length 44)"
        );
    }

    #[test]
    fn an_error_may_be_a_bare_text() {
        let answer = PromptAnswer::from_value(&json!({"error": "queue is full"})).unwrap();
        assert_eq!(answer.summary(), "queue is full");
    }

    #[test]
    fn something_else_is_no_answer() {
        assert_eq!(PromptAnswer::from_value(&json!({"ok": true})), None);
        assert_eq!(PromptAnswer::from_value(&json!([1])), None);
    }
}
