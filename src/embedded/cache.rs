//! Results of nodes by what made them.
//!
//! A key is a hash over the class, the values and the keys of the nodes behind the links, plus the content of a file that the node reads;
//! node ids are not in it. So the same work under other ids is found, and the same name with other bytes is not. What was used longest ago is
//! forgotten first once the results take more than the limit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::Value as Json;

use super::nodes::{self, Value};
use super::walk;
use crate::base::{ContentHash, Hasher, NodeId};
use crate::workflow::{self, Graph, Node};

/// What a node made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    /// Its outputs, by slot.
    pub(super) outputs: Arc<[Value]>,
    /// What it shows: `{"images": […]}`.
    pub(super) ui: Option<Arc<Json>>,
}

impl Made {
    /// These outputs, and nothing to show.
    pub(super) fn of<const N: usize>(outputs: [Value; N]) -> Self {
        Self {
            outputs: outputs.into(),
            ui: None,
        }
    }

    fn weight(&self) -> usize {
        // Even a result without pixels takes some room.
        1024 + self.outputs.iter().map(Value::bytes).sum::<usize>()
    }
}

/// Results by key, bounded in bytes.
#[derive(Debug)]
pub(super) struct Cache {
    entries: HashMap<ContentHash, Entry>,
    by_use: BTreeMap<u64, ContentHash>,
    clock: u64,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Entry {
    made: Made,
    used: u64,
}

impl Cache {
    /// An empty cache that may hold so many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            clock: 0,
            bytes: 0,
            limit,
        }
    }

    /// A result, if it is still there.
    pub(super) fn get(&mut self, key: ContentHash) -> Option<Made> {
        let entry = self.entries.get_mut(&key)?;
        self.by_use.remove(&entry.used);
        self.clock += 1;
        entry.used = self.clock;
        self.by_use.insert(self.clock, key);
        Some(entry.made.clone())
    }

    /// Keeps a result. One larger than the limit is not kept.
    pub(super) fn put(&mut self, key: ContentHash, made: Made) {
        self.remove(key);
        if made.weight() > self.limit {
            return;
        }
        self.clock += 1;
        self.bytes += made.weight();
        self.by_use.insert(self.clock, key);
        self.entries.insert(
            key,
            Entry {
                made,
                used: self.clock,
            },
        );
        while self.bytes > self.limit {
            let Some((_, oldest)) = self.by_use.first_key_value() else {
                break;
            };
            self.remove(*oldest);
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.limit);
    }

    fn remove(&mut self, key: ContentHash) {
        if let Some(entry) = self.entries.remove(&key) {
            self.by_use.remove(&entry.used);
            self.bytes -= entry.made.weight();
        }
    }
}

/// The key of every node that has one. A node in or behind a cycle, behind a missing node or with an unreadable file has none.
pub(super) fn keys(
    graph: &Graph,
    file_hash: &dyn Fn(&str) -> Option<ContentHash>,
) -> HashMap<NodeId, ContentHash> {
    let mut known = HashMap::with_capacity(graph.nodes.len());
    for id in walk::sources_first(graph) {
        if let Some(node) = graph.nodes.get(id)
            && let Some(key) = key(node, &known, file_hash)
        {
            known.insert(id.clone(), key);
        }
    }
    known
}

fn key(
    node: &Node,
    known: &HashMap<NodeId, ContentHash>,
    file_hash: &dyn Fn(&str) -> Option<ContentHash>,
) -> Option<ContentHash> {
    let mut hasher = Hasher::default();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(node.class_type.as_bytes());
    let mut inputs: Vec<_> = node.inputs.iter().collect();
    inputs.sort_unstable_by_key(|(name, _)| *name);
    for (name, value) in inputs {
        part(name.as_bytes());
        if let Some((from, slot)) = workflow::is_link(value) {
            part(b"link");
            part(known.get(from)?.to_hex().as_bytes());
            part(&slot.to_le_bytes());
        } else {
            part(b"value");
            part(&serde_json::to_vec(value).ok()?);
        }
    }
    let reads = nodes::class(&node.class_type).and_then(|class| class.reads);
    if let Some(name) = reads.and_then(|input| node.inputs.get(input)?.as_str()) {
        part(file_hash(name)?.to_hex().as_bytes());
    }
    Some(hasher.finish().0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph(value: Json) -> Graph {
        serde_json::from_value(value).unwrap()
    }

    fn key_of(value: Json, id: &str) -> Option<ContentHash> {
        keys(&graph(value), &|name| {
            Some(ContentHash::of(name.as_bytes()))
        })
        .get(id)
        .copied()
    }

    fn made(bytes: usize) -> Made {
        Made {
            outputs: [Value::Plain(Json::String("x".repeat(bytes)))].into(),
            ui: None,
        }
    }

    #[test]
    fn a_key_does_not_depend_on_ids_or_the_order_of_inputs() {
        let one = json!({
            "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 9}},
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        });
        let other = json!({
            "b": {"class_type": "ImageInvert", "inputs": {"image": ["a", 0]}},
            "a": {"class_type": "EmptyImage", "inputs": {"height": 9, "width": 8}},
        });
        assert!(key_of(one.clone(), "2").is_some());
        assert_eq!(key_of(one, "2"), key_of(other, "b"));
    }

    #[test]
    fn a_key_depends_on_values_slots_and_what_is_behind() {
        let with = |width: i64, slot: i64| {
            json!({
                "1": {"class_type": "EmptyImage", "inputs": {"width": width}},
                "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", slot]}},
            })
        };
        let key = key_of(with(8, 0), "2");
        assert_ne!(key, key_of(with(9, 0), "2"));
        assert_ne!(key, key_of(with(8, 1), "2"));
    }

    #[test]
    fn the_content_of_a_file_is_in_its_key() {
        let load = graph(json!({"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}));
        let of = |content: &'static [u8]| keys(&load, &|_| Some(ContentHash::of(content)));
        assert_ne!(of(b"one"), of(b"two"));
        assert_eq!(of(b"one"), of(b"one"));
        assert!(keys(&load, &|_| None).is_empty());
    }

    #[test]
    fn nodes_in_cycles_or_behind_missing_ones_have_no_key() {
        let broken = json!({
            "1": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
            "2": {"class_type": "ImageInvert", "inputs": {"image": ["404", 0]}},
            "3": {"class_type": "ImageInvert", "inputs": {"image": ["2", 0]}},
            "4": {"class_type": "EmptyImage", "inputs": {}},
        });
        let keys = keys(&graph(broken), &|_| None);
        assert_eq!(keys.keys().map(NodeId::as_str).collect::<Vec<_>>(), ["4"]);
    }

    #[test]
    fn what_was_used_longest_ago_is_forgotten_first() {
        let [a, b, c] = ["a", "b", "c"].map(|name| ContentHash::of(name.as_bytes()));
        let mut cache = Cache::new(10_000);
        cache.put(a, made(3000));
        cache.put(b, made(3000));
        assert!(cache.get(a).is_some());
        cache.put(c, made(3000));
        assert!(cache.get(b).is_none(), "b was not used since");
        assert!(cache.get(a).is_some() && cache.get(c).is_some());
        cache.put(b, made(20_000));
        assert!(cache.get(b).is_none(), "too large to keep");
        assert!(cache.get(a).is_some(), "and nothing makes room for it");
        cache.put(a, made(1));
        cache.clear();
        assert!(cache.get(a).is_none());
        assert_eq!(cache.bytes, 0);
    }
}
