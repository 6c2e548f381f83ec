//! The graph as data.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::NodeId;

/// A `ComfyUI` graph in API format: `{node_id: {class_type, inputs, _meta}}`, in the order it was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Graph {
    /// The nodes.
    pub nodes: IndexMap<NodeId, Node>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
