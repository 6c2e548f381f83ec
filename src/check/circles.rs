//! Nodes that wait for each other through inputs that their classes do not declare: servers look only at declared inputs when they take a
//! job, follow every link when they run it, and then find that nothing can start.

use std::collections::{HashMap, HashSet, VecDeque};

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::beyond::Unseen;
use super::words::Scene;
use crate::base::NodeId;
use crate::diagnostic::{Diagnostic, codes};
use crate::workflow;

/// A longer circle is not told node by node.
const LONGEST: usize = 8;

/// One complaint for each knot of nodes that such a link is part of.
pub(super) fn circles(
    scene: &Scene<'_>,
    followed: &HashSet<NodeId>,
    unseen: &[Unseen<'_>],
) -> Vec<Diagnostic> {
    if unseen.is_empty() {
        return Vec::new();
    }
    let mut waits: DiGraph<&str, ()> = DiGraph::new();
    let nodes = scene.graph.nodes.iter();
    let nodes: Vec<_> = nodes.filter(|(id, _)| followed.contains(*id)).collect();
    let places: HashMap<&str, NodeIndex> = nodes
        .iter()
        .map(|(id, _)| (id.as_str(), waits.add_node(id.as_str())))
        .collect();
    for (id, node) in &nodes {
        let links = node.inputs.values().filter_map(workflow::is_link);
        for (target, _) in links {
            if let (Some(from), Some(to)) = (places.get(id.as_str()), places.get(target)) {
                waits.add_edge(*from, *to, ());
            }
        }
    }
    let mut knots: HashMap<NodeIndex, usize> = HashMap::new();
    for (knot, members) in kosaraju_scc(&waits).into_iter().enumerate() {
        knots.extend(members.into_iter().map(|member| (member, knot)));
    }
    let mut told = HashSet::new();
    let mut found = Vec::new();
    for link in unseen {
        let ends = (places.get(link.id.as_str()), places.get(link.target));
        let (Some(from), Some(to)) = ends else {
            continue;
        };
        let knot = knots.get(from);
        if knot != knots.get(to) || !told.insert(knot) {
            continue;
        }
        let way = way(&waits, &knots, *to, *from);
        let way: Vec<&str> = way.into_iter().map(|at| waits[at]).collect();
        found.push(circle(scene, link, &way));
    }
    found
}

/// The shortest way from one node of a knot to another.
fn way(
    waits: &DiGraph<&str, ()>,
    knots: &HashMap<NodeIndex, usize>,
    from: NodeIndex,
    to: NodeIndex,
) -> Vec<NodeIndex> {
    let mut before: HashMap<NodeIndex, NodeIndex> = HashMap::new();
    let mut open = VecDeque::from([from]);
    while let Some(at) = open.pop_front() {
        if at == to {
            break;
        }
        for next in waits.neighbors(at) {
            let inside = knots.get(&next) == knots.get(&from);
            if inside && next != from && !before.contains_key(&next) {
                before.insert(next, at);
                open.push_back(next);
            }
        }
    }
    let mut way = vec![to];
    let mut at = to;
    while let Some(previous) = before.get(&at) {
        way.push(*previous);
        at = *previous;
    }
    way.reverse();
    way
}

/// `way`: from the node that is linked to back to the one that has the link.
fn circle(scene: &Scene<'_>, link: &Unseen<'_>, way: &[&str]) -> Diagnostic {
    let input = scene.input_name(link.id, link.input);
    let name = |id: &str| scene.node_name(&NodeId::from(id));
    let message = if way.len() == 1 {
        format!("{input} links its node to itself, and the class has no such input")
    } else if way.len() <= LONGEST {
        let names: Vec<String> = way.iter().map(|id| name(id)).collect();
        format!(
            "nodes wait for each other through {input}, which its class does not have: {} → {}",
            name(link.id.as_str()),
            names.join(" → ")
        )
    } else {
        format!(
            "{} nodes wait for each other through {input}, which its class does not have",
            way.len()
        )
    };
    let warning = Diagnostic::warning(&codes::HIDDEN_CYCLE, message)
        .help("servers do not look at such inputs and accept this, and the job fails when it runs; remove the input");
    scene.about_at(
        warning,
        link.id,
        Some(link.input),
        scene.key_span(link.id, link.input),
    )
}
