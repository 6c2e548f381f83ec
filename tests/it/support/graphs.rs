//! Workflows that take no time, and some that take as much as a test needs.

use serde_json::{Value, json};

/// A picture of one colour, as people write it.
pub(crate) const CARD: &str = r#"{
  "1": {
    "class_type": "EmptyImage",
    "inputs": { "width": 64, "height": 48, "batch_size": 1, "color": 4160 },
    "_meta": { "title": "Card" }
  },
  "9": {
    "class_type": "SaveImage",
    "inputs": { "images": ["1", 0], "filename_prefix": "card" },
    "_meta": { "title": "Save" }
  }
}
"#;

/// A small picture of one colour, saved as `quick`.
pub(crate) fn quick(colour: u32) -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": colour}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "quick"}}
    })
}

/// A square picture of one colour, blurred by nodes 2 to `nodes`, saved by node 99 as `slow`; `colour` makes it one that the server does not
/// remember, and it can be stopped between its nodes.
pub(crate) fn blurred(colour: u32, size: u32, nodes: usize) -> Value {
    let mut graph = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": size, "height": size, "batch_size": 1, "color": colour}},
        "99": {"class_type": "SaveImage", "inputs": {"images": [nodes.to_string(), 0], "filename_prefix": "slow"}}
    });
    for node in 2..=nodes {
        graph[node.to_string()] = json!({
            "class_type": "ImageBlur",
            "inputs": {"image": [(node - 1).to_string(), 0], "blur_radius": 31, "sigma": 10.0}
        });
    }
    graph
}

/// A workflow that takes a while.
pub(crate) fn slow(colour: u32, nodes: usize) -> Value {
    blurred(colour, 2000, nodes)
}
