//! The answer as data, and in the server's own JSON.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use crate::base::NodeId;
use crate::workflow::Graph;

/// Tells whether a file that a loading node names is on the server.
pub trait FileOracle {
    /// Whether the file `name` (as written, `sub/a.png [output]` included) exists; `None` where that cannot be told, and the
    /// catalog's own lists decide.
    fn exists(&self, class_type: &str, input: &str, name: &str) -> Option<bool>;
}

/// Knows no files but those that the catalog lists.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListedFiles;

impl FileOracle for ListedFiles {
    fn exists(&self, _: &str, _: &str, _: &str) -> Option<bool> {
        None
    }
}

/// What to judge and by what.
pub struct JudgeOptions<'a> {
    /// Only these outputs run (`partial_execution_targets`); all of them if `None`.
    pub targets: Option<&'a [NodeId]>,
    /// Which files exist.
    pub files: &'a dyn FileOracle,
}

impl std::fmt::Debug for JudgeOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JudgeOptions")
            .field("targets", &self.targets)
            .finish_non_exhaustive()
    }
}

impl Default for JudgeOptions<'_> {
    fn default() -> Self {
        Self {
            targets: None,
            files: &ListedFiles,
        }
    }
}

/// What the server answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whether it takes the job; `None` where that cannot be known.
    pub accepted: Option<bool>,
    /// Why it does not.
    pub error: Option<TopError>,
    /// What is wrong with nodes; also filled when the job is taken and only some outputs are refused.
    pub node_errors: IndexMap<NodeId, NodeErrors>,
    /// Output nodes that would run, in file order.
    pub runs: Vec<NodeId>,
    /// The graph with values as the server's coercion leaves them.
    pub coerced: Graph,
    /// Values taken for good because nothing here can tell.
    pub assumed: Vec<Assumed>,
    /// Nodes whose class the server puts another one in the place of.
    pub replaced: Vec<Replaced>,
}

/// A value whose check depends on what only the server knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Assumed {
    /// The node.
    pub node: NodeId,
    /// The input.
    pub input: String,
    /// What only the server knows.
    pub unsure: Unsure,
}

/// What only the server knows of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Unsure {
    /// Whether the file is there.
    File,
    /// Whether the class has a check of its own, which takes the place of the server's; else this is wrong with it.
    OwnCheck(Box<NodeError>),
}

/// A node whose class the server does not have, and puts another one in the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The node.
    pub node: NodeId,
    /// The class that was written.
    pub from: String,
    /// The class that takes its place.
    pub to: String,
    /// Inputs that have another name now: the new and the old one.
    pub renamed: Vec<(String, String)>,
    /// Whether the server said so; else `ComfyUI` usually does.
    pub certain: bool,
    /// The node has no `_meta`, without which the server fails over it.
    pub bare: bool,
}

/// The outputs for whose sake an error is told: those that were refused while it was known. All errors share one list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependents {
    all: Arc<[NodeId]>,
    from: usize,
}

impl Dependents {
    pub(super) fn new(all: &Arc<[NodeId]>, from: usize) -> Self {
        let all = Arc::clone(all);
        Self { all, from }
    }

    /// The outputs, in the order in which they were refused.
    pub fn iter(&self) -> impl Iterator<Item = &NodeId> {
        self.all.iter().skip(self.from)
    }

    /// The list that all errors of a verdict share.
    #[cfg(test)]
    pub(super) fn shared(&self) -> &Arc<[NodeId]> {
        &self.all
    }
}

/// Why a job is refused as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct TopError {
    /// The server's error `type`.
    pub kind: &'static str,
    /// Its message.
    pub message: String,
    /// More of it; often empty.
    pub details: String,
    /// Members by kind.
    pub extra_info: Value,
}

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeErrors {
    /// The node's class.
    pub class_type: String,
    /// Refused outputs that were looked at while the error was known.
    pub dependent_outputs: Dependents,
    /// The errors.
    pub errors: Vec<NodeError>,
}

/// One error of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeError {
    /// The server's error `type`.
    pub kind: &'static str,
    /// The server's message.
    pub message: String,
    /// More of it.
    pub details: Arc<str>,
    /// Members by kind, but for those of a cycle.
    pub extra_info: Value,
    /// The nodes of the cycle that this one is part of; all of them share the list.
    pub cycle: Option<Arc<[NodeId]>>,
    /// The input it names (`extra_info.input_name`). For an error inside a linked node, the input of the node that follows it.
    pub input: Option<String>,
}

impl NodeError {
    pub(super) fn new(
        kind: &'static str,
        message: impl Into<String>,
        details: impl Into<Arc<str>>,
        input: Option<&str>,
        mut extra: Map<String, Value>,
    ) -> Self {
        if let Some(input) = input {
            extra.shift_insert(0, "input_name".to_owned(), Value::from(input));
        }
        Self {
            kind,
            message: message.into(),
            details: details.into(),
            extra_info: Value::Object(extra),
            cycle: None,
            input: input.map(str::to_owned),
        }
    }

    fn to_json(&self) -> Value {
        let mut extra_info = self.extra_info.clone();
        if let Some(cycle) = &self.cycle {
            extra_info["cycle_nodes"] = json!(cycle);
        }
        json!({
            "type": self.kind,
            "message": self.message,
            "details": *self.details,
            "extra_info": extra_info,
        })
    }
}

impl Verdict {
    /// `node_errors` in the server's shape.
    pub fn node_errors_json(&self) -> Value {
        let nodes = self.node_errors.iter().map(|(id, node)| {
            let errors: Vec<Value> = node.errors.iter().map(NodeError::to_json).collect();
            let outputs: Vec<&str> = node.dependent_outputs.iter().map(NodeId::as_str).collect();
            let value = json!({
                "errors": errors,
                "dependent_outputs": outputs,
                "class_type": node.class_type,
            });
            (id.as_str().to_owned(), value)
        });
        Value::Object(nodes.collect())
    }

    /// The body of the server's answer: that of a 400 when the job is refused; of a 200 without `prompt_id` and `number` when it is taken.
    pub fn to_response(&self) -> Value {
        let node_errors = self.node_errors_json();
        match &self.error {
            Some(error) => json!({
                "error": {
                    "type": error.kind,
                    "message": error.message,
                    "details": error.details,
                    "extra_info": error.extra_info,
                },
                "node_errors": node_errors,
            }),
            None => json!({ "node_errors": node_errors }),
        }
    }
}
