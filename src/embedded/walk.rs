//! Links, and the orders in which a graph is walked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::base::NodeId;
use crate::workflow::{Graph, Node, is_link};

/// The nodes that a node's links name, existing or not.
pub(super) fn sources(node: &Node) -> impl Iterator<Item = &str> {
    node.inputs
        .values()
        .filter_map(is_link)
        .map(|(from, _)| from)
}

/// All nodes that are neither in nor behind a cycle, each after the nodes that it links to.
pub(super) fn sources_first(graph: &Graph) -> Vec<&NodeId> {
    let mut waits: HashMap<&str, usize> = HashMap::new();
    let mut readers: HashMap<&str, Vec<&NodeId>> = HashMap::new();
    let mut ready: VecDeque<&NodeId> = VecDeque::new();
    for (id, node) in &graph.nodes {
        let mut count = 0;
        for from in sources(node).filter(|from| graph.nodes.contains_key(*from)) {
            readers.entry(from).or_default().push(id);
            count += 1;
        }
        if count == 0 {
            ready.push_back(id);
        }
        waits.insert(id.as_str(), count);
    }
    let mut order = Vec::with_capacity(graph.nodes.len());
    while let Some(id) = ready.pop_front() {
        order.push(id);
        for reader in readers.remove(id.as_str()).unwrap_or_default() {
            if let Some(count) = waits.get_mut(reader.as_str()) {
                *count -= 1;
                if *count == 0 {
                    ready.push_back(reader);
                }
            }
        }
    }
    order
}

/// The nodes that a job still has to run, in `ComfyUI`'s order: of those that are ready, the one that is an output or closest to one.
#[derive(Debug)]
pub(super) struct Agenda {
    waits: HashMap<NodeId, usize>,
    readers: HashMap<NodeId, Vec<NodeId>>,
    /// By distance to an output, then by when it came up.
    ready: BTreeMap<(usize, usize), NodeId>,
    place: HashMap<NodeId, (usize, usize)>,
}

/// A link leads to a node that the graph does not have.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("input of node {node} links to node {missing}, which is not in the graph")]
pub(super) struct Dangling {
    /// The node with the link.
    pub(super) node: NodeId,
    /// What it names.
    pub(super) missing: String,
}

impl Agenda {
    /// Everything that `targets` need and that is not `done` already. Links that no node declares count as well.
    ///
    /// # Errors
    /// [`Dangling`].
    pub(super) fn new(
        graph: &Graph,
        targets: &[NodeId],
        done: &dyn Fn(&str) -> bool,
        is_output: &dyn Fn(&str) -> bool,
    ) -> Result<Self, Dangling> {
        let mut found: Vec<&NodeId> = Vec::new();
        let mut seen: HashSet<&str> = HashSet::new();
        let mut stack: Vec<&NodeId> = targets.iter().rev().collect();
        let mut waits = HashMap::new();
        let mut readers: HashMap<NodeId, Vec<NodeId>> = HashMap::new();
        while let Some(id) = stack.pop() {
            if done(id.as_str()) || !seen.insert(id.as_str()) {
                continue;
            }
            found.push(id);
            let Some(node) = graph.nodes.get(id) else {
                continue;
            };
            let mut needed = BTreeSet::new();
            for from in sources(node) {
                let Some((from, _)) = graph.nodes.get_key_value(from) else {
                    return Err(Dangling {
                        node: id.clone(),
                        missing: from.to_owned(),
                    });
                };
                if !done(from.as_str()) && needed.insert(from) {
                    readers.entry(from.clone()).or_default().push(id.clone());
                    stack.push(from);
                }
            }
            waits.insert(id.clone(), needed.len());
        }
        let distance = distances(&found, &readers, is_output);
        let place: HashMap<NodeId, (usize, usize)> = found
            .iter()
            .enumerate()
            .map(|(at, id)| {
                let steps = distance.get(id.as_str()).copied().unwrap_or(usize::MAX);
                ((*id).clone(), (steps, at))
            })
            .collect();
        let ready = found
            .iter()
            .filter(|id| waits.get(id.as_str()) == Some(&0))
            .filter_map(|id| Some((*place.get(id.as_str())?, (*id).clone())))
            .collect();
        Ok(Self {
            waits,
            readers,
            ready,
            place,
        })
    }

    /// The next node to run. `None` when all are done.
    pub(super) fn next(&mut self) -> Option<NodeId> {
        self.ready.pop_first().map(|(_, id)| id)
    }

    /// A node is done; what waited for it alone is ready.
    pub(super) fn finished(&mut self, id: &NodeId) {
        for reader in self.readers.remove(id.as_str()).unwrap_or_default() {
            if let Some(count) = self.waits.get_mut(reader.as_str()) {
                *count -= 1;
                if *count == 0
                    && let Some(place) = self.place.get(reader.as_str())
                {
                    self.ready.insert(*place, reader);
                }
            }
        }
    }
}

/// How many links lie between each node and the nearest output that reads from it.
fn distances<'a>(
    found: &[&'a NodeId],
    readers: &HashMap<NodeId, Vec<NodeId>>,
    is_output: &dyn Fn(&str) -> bool,
) -> HashMap<&'a str, usize> {
    let mut sources: HashMap<&str, Vec<&'a NodeId>> = HashMap::new();
    for id in found {
        for reader in readers.get(id.as_str()).into_iter().flatten() {
            sources.entry(reader.as_str()).or_default().push(id);
        }
    }
    let mut distance = HashMap::new();
    let mut front: VecDeque<(&'a NodeId, usize)> = found
        .iter()
        .filter(|id| is_output(id.as_str()))
        .map(|id| (*id, 0))
        .collect();
    while let Some((id, steps)) = front.pop_front() {
        if distance.contains_key(id.as_str()) {
            continue;
        }
        distance.insert(id.as_str(), steps);
        for from in sources.get(id.as_str()).into_iter().flatten() {
            front.push_back((from, steps + 1));
        }
    }
    distance
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn graph(links: &[(&str, &[&str])]) -> Graph {
        let mut graph = Graph::default();
        for (id, from) in links {
            let inputs = from
                .iter()
                .enumerate()
                .map(|(n, from)| (format!("in{n}"), json!([from, 0])))
                .collect();
            graph.nodes.insert(
                (*id).into(),
                Node {
                    class_type: "X".into(),
                    inputs,
                    meta: serde_json::Map::new(),
                }
                .into(),
            );
        }
        graph
    }

    fn order(
        links: &[(&str, &[&str])],
        targets: &[&str],
        done: &[&str],
        outputs: &[&str],
    ) -> Vec<String> {
        let targets: Vec<NodeId> = targets.iter().map(|id| (*id).into()).collect();
        let mut agenda = Agenda::new(&graph(links), &targets, &|id| done.contains(&id), &|id| {
            outputs.contains(&id)
        })
        .unwrap();
        let mut order = Vec::new();
        while let Some(id) = agenda.next() {
            agenda.finished(&id);
            order.push(id.0);
        }
        order
    }

    #[test]
    fn an_output_runs_as_soon_as_it_is_ready() {
        let links: &[(&str, &[&str])] = &[("1", &[]), ("2", &["1"]), ("3", &[]), ("4", &["3"])];
        assert_eq!(
            order(links, &["4", "2"], &[], &["2", "4"]),
            ["3", "4", "1", "2"]
        );
    }

    #[test]
    fn only_what_the_targets_need_runs_and_nothing_that_is_done() {
        let links: &[(&str, &[&str])] = &[("1", &[]), ("2", &["1"]), ("3", &["2"]), ("9", &[])];
        assert_eq!(order(links, &["3"], &[], &["3"]), ["1", "2", "3"]);
        assert_eq!(order(links, &["3"], &["2"], &["3"]), ["3"]);
        assert_eq!(order(links, &["3"], &["1", "2", "3"], &["3"]), [""; 0]);
    }

    #[test]
    fn a_node_that_feeds_two_inputs_is_waited_for_once() {
        let links: &[(&str, &[&str])] = &[("1", &[]), ("2", &["1", "1"])];
        assert_eq!(order(links, &["2"], &[], &["2"]), ["1", "2"]);
    }

    #[test]
    fn a_link_to_nowhere_is_an_error_only_where_it_is_needed() {
        let graph = graph(&[("1", &["404"]), ("2", &[])]);
        let agenda = |target: &str| Agenda::new(&graph, &[target.into()], &|_| false, &|_| true);
        assert!(agenda("2").is_ok());
        assert_eq!(agenda("1").unwrap_err().missing, "404");
    }

    #[test]
    fn a_long_chain_needs_no_deep_stack() {
        let ids: Vec<String> = (0..50_000).map(|n| n.to_string()).collect();
        let mut graph = Graph::default();
        for pair in ids.windows(2) {
            let mut inputs = serde_json::Map::new();
            inputs.insert("in".into(), json!([pair[1], 0]));
            let node = Node {
                class_type: "X".into(),
                inputs,
                meta: serde_json::Map::new(),
            };
            graph.nodes.insert(pair[0].as_str().into(), node.into());
        }
        graph.nodes.insert(
            ids[ids.len() - 1].as_str().into(),
            Node {
                class_type: "X".into(),
                inputs: serde_json::Map::new(),
                meta: serde_json::Map::new(),
            }
            .into(),
        );
        assert_eq!(sources_first(&graph).len(), ids.len());
        let mut agenda = Agenda::new(&graph, &["0".into()], &|_| false, &|id| id == "0").unwrap();
        let mut count = 0;
        while let Some(id) = agenda.next() {
            agenda.finished(&id);
            count += 1;
        }
        assert_eq!(count, ids.len());
    }
}
