//! One honest fraction for a job: finished nodes and the parts of nodes at work, over all nodes that the graph runs.
//!
//! Each node weighs the same, since nobody knows beforehand what one costs. What a cache answered is done. Nodes that an expanding node
//! makes while it runs count under the node of the graph that they stand for, which is done only when it says so itself. The fraction
//! never falls, and never says that all is done: that is the record's to say.

use std::collections::{HashMap, HashSet};

use crate::base::NodeId;
use crate::protocol::{Event, NodeState};
use crate::workflow::Graph;

/// Changes smaller than this are not told.
const STEP: f64 = 0.005;
/// The most that is ever told of a job that has not ended.
const MOST: f64 = 0.99;

/// Where a job stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The nodes that the graph runs, with the part of each that is done.
    nodes: HashMap<String, f64>,
    /// Nodes made while running, with the part of each that is done, under the node of the graph that they stand for.
    made: HashMap<String, HashMap<String, f64>>,
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
                    self.raise(node, 1.0);
                }
            }
            Event::ProgressState { nodes, .. } => {
                self.states = true;
                for (id, state) in nodes {
                    let part = match state.state {
                        NodeState::Finished => 1.0,
                        _ => part(state.value, state.max),
                    };
                    self.note(id, state.display_node_id.as_deref(), part);
                }
            }
            Event::Executing {
                node: Some(node),
                display_node,
                ..
            } => {
                let shown = self.shown(node, display_node.as_deref()).to_owned();
                if self.current.as_ref() != Some(&shown) {
                    if let Some(before) = self.current.replace(shown)
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
            } => self.note(node, None, part(*value, *max)),
            _ => return None,
        }
        self.step(moved)
    }

    /// The node of the graph that a node stands for: as the server says, else as the id of an expanded node tells (`5.0.0.1` is of `5`).
    fn shown<'a>(&self, node: &'a str, said: Option<&'a str>) -> &'a str {
        let mut shown = said.unwrap_or(node);
        while !self.nodes.contains_key(shown) {
            match shown.rsplit_once('.') {
                Some((parent, _)) => shown = parent,
                None => return said.unwrap_or(node),
            }
        }
        shown
    }

    fn note(&mut self, node: &str, said: Option<&str>, part: f64) {
        let shown = self.shown(node, said);
        if shown == node {
            self.raise(node, part);
            return;
        }
        let made = self.made.entry(shown.to_owned()).or_default();
        let done = made.entry(node.to_owned()).or_default();
        *done = done.max(part);
        // The node itself counts as one more that is not done.
        let part = made.values().sum::<f64>() / count(made.len() + 1);
        self.raise(shown, part);
    }

    fn raise(&mut self, node: &str, part: f64) {
        if let Some(done) = self.nodes.get_mut(node) {
            *done = done.max(part);
        }
    }

    fn step(&mut self, moved: bool) -> Option<Step> {
        if !self.nodes.is_empty() {
            let done = self.nodes.values().sum::<f64>() / count(self.nodes.len());
            self.fraction = self.fraction.max(done.min(MOST));
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

#[expect(
    clippy::cast_precision_loss,
    reason = "graphs have fewer than 2^52 nodes"
)]
fn count(nodes: usize) -> f64 {
    nodes as f64
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
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

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
    fn cached_nodes_are_done_and_the_fraction_never_falls() {
        let mut progress = Progress::of(&graph(), &[]);
        let cached =
            event(r#"{"type":"execution_cached","data":{"nodes":["1","2"],"prompt_id":"p"}}"#);
        assert!((progress.apply(&cached).unwrap().fraction - 0.5).abs() < 1e-9);
        let done = event(
            r#"{"type":"progress_state","data":{"prompt_id":"p","nodes":{"3":{"value":1,"max":1,"state":"finished"}}}}"#,
        );
        assert!((progress.apply(&done).unwrap().fraction - 0.75).abs() < 1e-9);
        let again = event(
            r#"{"type":"progress_state","data":{"prompt_id":"p","nodes":{"3":{"value":0,"max":1,"state":"running"}}}}"#,
        );
        assert_eq!(progress.apply(&again), None);
    }

    #[test]
    fn nodes_made_while_running_count_under_the_node_that_made_them() {
        let mut progress = Progress::of(&graph(), &[NodeId::from("1")]);
        let step = progress.apply(&event(
            r#"{"type":"executing","data":{"node":"1.0.0.7","display_node":"1","prompt_id":"p"}}"#,
        ));
        assert_eq!(step.unwrap().node, Some(NodeId::from("1")));
        // Without a word on what it stands for, its id tells.
        let step = progress.apply(&event(
            r#"{"type":"progress","data":{"value":4,"max":4,"prompt_id":"p","node":"1.0.0.7"}}"#,
        ));
        assert!((step.unwrap().fraction - 0.5).abs() < 1e-9);
        let step = progress.apply(&event(
            r#"{"type":"progress_state","data":{"prompt_id":"p","nodes":{"1":{"value":1,"max":1,"state":"finished"}}}}"#,
        ));
        assert!(
            (step.unwrap().fraction - MOST).abs() < 1e-9,
            "the record has the last word"
        );
    }

    /// What a job of a graph of `n` nodes says: the nodes that were cached, and for the others steps, expansions, and their end.
    #[derive(Clone, Debug)]
    struct Job {
        nodes: Vec<Node>,
        /// Messages that are lost, by their number modulo the length.
        lost: Vec<bool>,
        /// Whether the server tells of states.
        states: bool,
    }

    #[derive(Clone, Debug)]
    struct Node {
        cached: bool,
        steps: u32,
        children: u32,
        asks_again: bool,
    }

    fn job() -> impl Strategy<Value = Job> {
        let node = (any::<bool>(), 0..5_u32, 0..4_u32, any::<bool>()).prop_map(
            |(cached, steps, children, asks_again)| Node {
                cached,
                steps,
                children,
                asks_again,
            },
        );
        let nodes = proptest::collection::vec(node, 1..8);
        let lost = proptest::collection::vec(proptest::bool::weighted(0.2), 1..40);
        (nodes, lost, any::<bool>()).prop_map(|(nodes, lost, states)| Job {
            nodes,
            lost,
            states,
        })
    }

    struct Speaker {
        states: Map<String, Value>,
        tells_states: bool,
        said: Vec<Value>,
        /// After each message: how many nodes of the graph are done or at work.
        begun: Vec<usize>,
    }

    impl Speaker {
        fn say(&mut self, kind: &str, data: &Value, begun: usize) {
            self.said.push(json!({"type": kind, "data": data}));
            self.begun.push(begun);
        }

        fn state(&mut self, (id, shown): (&str, &str), (value, max): (u32, u32), begun: usize) {
            let word = if value == max { "finished" } else { "running" };
            let state = json!({"value": value, "max": max, "state": word, "node_id": id, "display_node_id": shown});
            self.states.insert(id.to_owned(), state);
            if self.tells_states {
                let nodes = self.states.clone();
                self.say(
                    "progress_state",
                    &json!({"prompt_id": "p", "nodes": nodes}),
                    begun,
                );
            }
        }

        fn run(&mut self, (id, shown): (&str, &str), steps: u32, begun: usize) {
            self.state((id, shown), (0, steps + 1), begun);
            let data = json!({"node": id, "display_node": shown, "prompt_id": "p"});
            self.say("executing", &data, begun);
            for step in 1..=steps {
                let data = json!({"value": step, "max": steps, "prompt_id": "p", "node": id});
                self.say("progress", &data, begun);
            }
        }
    }

    fn spoken(job: &Job) -> Speaker {
        let mut speaker = Speaker {
            states: Map::new(),
            tells_states: job.states,
            said: Vec::new(),
            begun: Vec::new(),
        };
        let cached = |(at, node): (usize, &Node)| node.cached.then(|| at.to_string());
        let cached: Vec<String> = job.nodes.iter().enumerate().filter_map(cached).collect();
        let mut begun = cached.len();
        speaker.say("execution_start", &json!({"prompt_id": "p"}), begun);
        speaker.say(
            "execution_cached",
            &json!({"prompt_id": "p", "nodes": cached}),
            begun,
        );
        for (at, node) in job
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| !node.cached)
        {
            begun += 1;
            let id = at.to_string();
            speaker.run((&id, &id), node.steps, begun);
            for child in 0..node.children {
                let made = format!("{id}.0.0.{child}");
                speaker.run((&made, &id), node.steps, begun);
                speaker.state((&made, &id), (1, 1), begun);
            }
            if node.asks_again {
                speaker.run((&id, &id), 0, begun);
            }
            speaker.state((&id, &id), (1, 1), begun);
        }
        speaker.say("execution_success", &json!({"prompt_id": "p"}), begun);
        speaker
    }

    proptest! {
        #[test]
        fn the_fraction_rises_never_runs_ahead_and_never_says_that_all_is_done(job in job()) {
            let graph: Map<String, Value> = (0..job.nodes.len())
                .map(|at| (at.to_string(), json!({"class_type": "X", "inputs": {}})))
                .collect();
            let graph: Graph = serde_json::from_value(Value::Object(graph)).unwrap();
            let speaker = spoken(&job);
            for losing in [false, true] {
                let mut progress = Progress::of(&graph, &[]);
                let mut last = 0.0;
                for (at, (message, begun)) in speaker.said.iter().zip(&speaker.begun).enumerate() {
                    if losing && job.lost[at % job.lost.len()] {
                        continue;
                    }
                    let Some(step) = progress.apply(&event(&message.to_string())) else {
                        continue;
                    };
                    prop_assert!(step.fraction >= last && step.fraction < 1.0);
                    let most = count(*begun) / count(job.nodes.len());
                    prop_assert!(step.fraction <= most + 1e-9, "{} of {most}", step.fraction);
                    if let Some(node) = &step.node {
                        prop_assert!(graph.nodes.contains_key(node), "{node} is none of the graph's");
                    }
                    last = step.fraction;
                }
                if !losing && job.states {
                    prop_assert!((progress.fraction - MOST).abs() < 1e-9, "{}", progress.fraction);
                }
            }
        }
    }
}
