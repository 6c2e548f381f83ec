//! The graph as data.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::NodeId;

/// A `ComfyUI` graph in API format: `{node_id: {class_type, inputs, _meta}}`, in the order it was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Graph {
    /// The nodes.
    pub nodes: IndexMap<NodeId, SharedNode>,
}

/// A node that copies of a graph share until one of them changes it: the graphs of a step's tasks differ in a few inputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedNode(Arc<Node>);

impl Deref for SharedNode {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.0
    }
}

impl DerefMut for SharedNode {
    fn deref_mut(&mut self) -> &mut Node {
        Arc::make_mut(&mut self.0)
    }
}

impl From<Node> for SharedNode {
    fn from(node: Node) -> Self {
        Self(Arc::new(node))
    }
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its class, e.g. `KSampler`.
    pub class_type: String,
    /// Input name → link (`["4", 0]`), value, or `{"__value__": …}`. Always sent, even when empty: a node without it kills a server's worker.
    #[serde(default)]
    pub inputs: Map<String, Value>,
    /// What editors keep beside it; `title` among them.
    #[serde(rename = "_meta", default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
}

impl Node {
    /// The title that people gave it.
    pub fn title(&self) -> Option<&str> {
        self.meta.get("title").and_then(Value::as_str)
    }

    /// The title, or the class when it has none.
    pub fn label(&self) -> &str {
        self.title().unwrap_or(&self.class_type)
    }
}
