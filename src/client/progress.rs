//! One honest fraction for a job: finished nodes and the parts of nodes at work, over the nodes that have to run.

use std::collections::{HashMap, HashSet};

use crate::base::NodeId;
use crate::protocol::{Event, NodeState};
use crate::workflow::Graph;

/// Changes smaller than this are not told.
const STEP: f64 = 0.005;

/// Where a job stands. The fraction never falls; what a cache answered counts as nothing to do.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The nodes that have to run, with the part of each that is done.
    nodes: HashMap<String, f64>,
    current: Option<String>,
    /// Whether the server tells of finished nodes itself.
    states: bool,
    fraction: f64,
    told: f64,
}

/// News worth telling.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) fraction: f64,
    pub(super) node: Option<NodeId>,
}

impl Progress {
    /// The nodes that a graph runs: its targets (or whatever nothing depends on) and all they depend on.
    pub(super) fn of(graph: &Graph, targets: &[NodeId]) -> Self {
        let links = |id: &NodeId| {
            graph
                .nodes
                .get(id)
                .into_iter()
                .flat_map(|node| node.inputs.values())
                .filter_map(|value| match value.as_array()?.as_slice() {
                    [from, slot] if slot.is_number() => from.as_str(),
                    _ => None,
                })
        };
        let mut open: Vec<&str> = if targets.is_empty() {
            let used: HashSet<&str> = graph.nodes.keys().flat_map(links).collect();
            let ends = graph.nodes.keys().map(NodeId::as_str);
            ends.filter(|id| !used.contains(id)).collect()
        } else {
            targets.iter().map(NodeId::as_str).collect()
        };
        let mut nodes = HashMap::new();
        while let Some(id) = open.pop() {
            if let Some((key, _)) = graph.nodes.get_key_value(id)
                && nodes.insert(id.to_owned(), 0.0).is_none()
            {
                open.extend(links(key));
            }
        }
        Self {
            nodes,
            ..Self::default()
        }
    }

    /// Takes a message of the job.
    pub(super) fn apply(&mut self, event: &Event) -> Option<Step> {
        let mut moved = false;
        match event {
            Event::ExecutionCached { nodes, .. } => {
                for node in nodes {
                    self.nodes.remove(node);
                }
            }
            Event::ProgressState { nodes, .. } => {
                self.states = true;
                for (id, state) in nodes {
                    let part = match state.state {
                        NodeState::Finished => 1.0,
                        _ => part(state.value, state.max),
                    };
                    self.raise(id, part);
                }
            }
            Event::Executing {
                node: Some(node),
                display_node,
                ..
            } => {
                let shown = display_node.as_ref().unwrap_or(node);
                if self.current.as_ref() != Some(shown) {
                    if let Some(before) = self.current.replace(shown.clone())
                        && !self.states
                    {
                        self.raise(&before, 1.0);
                    }
                    moved = true;
                }
            }
            Event::Progress {
                node: Some(node),
                value,
                max,
                ..
            } => self.raise(node, part(*value, *max)),
            _ => return None,
        }
        self.step(moved)
    }

    fn raise(&mut self, node: &str, part: f64) {
        if let Some(done) = self.nodes.get_mut(node) {
            *done = done.max(part);
        }
    }

    fn step(&mut self, moved: bool) -> Option<Step> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "graphs have fewer than 2^52 nodes"
        )]
        let all = self.nodes.len() as f64;
        if all > 0.0 {
            let done = self.nodes.values().sum::<f64>() / all;
            self.fraction = self.fraction.max(done.min(1.0));
        }
        if !moved && self.fraction - self.told < STEP {
            return None;
        }
        self.told = self.fraction;
        Some(Step {
            fraction: self.fraction,
            node: self.current.as_deref().map(NodeId::from),
        })
    }
}

fn part(value: f64, max: f64) -> f64 {
    if max > 0.0 {
        (value / max).clamp(0.0, 1.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        serde_json::from_str(
            r#"{"1":{"class_type":"A","inputs":{"bogus":["99",0]}},"2":{"class_type":"B","inputs":{"x":["1",0],"list":{"__value__":["1",0]}}},
                "3":{"class_type":"C","inputs":{"x":["2",0]}},"4":{"class_type":"D","inputs":{"x":["1",0]}}}"#,
        )
        .unwrap()
    }

    fn event(text: &str) -> Event {
        Event::parse(text).unwrap()
    }

    fn executing(node: &str) -> Event {
        event(&format!(
            r#"{{"type":"executing","data":{{"node":"{node}","prompt_id":"p"}}}}"#
        ))
    }

    #[test]
    fn each_node_weighs_the_same_and_steps_fill_their_node() {
        let mut progress = Progress::of(&graph(), &[NodeId::from("3")]);
        assert!(progress.apply(&executing("1")).unwrap().fraction < 1e-9);
        let second = progress.apply(&executing("2")).unwrap();
        assert!((second.fraction - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(second.node, Some(NodeId::from("2")));
        let half =
            event(r#"{"type":"progress","data":{"value":5,"max":10,"prompt_id":"p","node":"2"}}"#);
        assert!((progress.apply(&half).unwrap().fraction - 0.5).abs() < 1e-9);
    }

    #[test]
    fn cached_nodes_are_not_work_and_the_fraction_never_falls() {
        let mut progress = Progress::of(&graph(), &[]);
        let cached =
            event(r#"{"type":"execution_cached","data":{"nodes":["1","2"],"prompt_id":"p"}}"#);
        assert_eq!(progress.apply(&cached), None);
        let done = event(
            r#"{"type":"progress_state","data":{"prompt_id":"p","nodes":{"3":{"value":1,"max":1,"state":"finished"}}}}"#,
        );
        assert!((progress.apply(&done).unwrap().fraction - 0.5).abs() < 1e-9);
        let again = event(
            r#"{"type":"progress_state","data":{"prompt_id":"p","nodes":{"3":{"value":0,"max":1,"state":"running"}}}}"#,
        );
        assert_eq!(progress.apply(&again), None);
    }
}
