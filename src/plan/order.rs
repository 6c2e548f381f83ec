//! The order of steps: a petgraph DAG over file order, cycles shown as a path.

use indexmap::IndexMap;
use petgraph::graph::{DiGraph, NodeIndex};

use super::steps::Built;
use crate::base::StepId;
use crate::diagnostic::{Diagnostic, codes};

/// One diagnostic per knot of steps that wait for each other.
pub(super) fn cycles(steps: &IndexMap<StepId, Built>) -> Vec<Diagnostic> {
    let mut graph: DiGraph<usize, ()> = DiGraph::with_capacity(steps.len(), steps.len());
    let nodes: Vec<NodeIndex> = (0..steps.len()).map(|at| graph.add_node(at)).collect();
    for (at, built) in steps.values().enumerate() {
        for need in &built.step.needs {
            if let Some(from) = steps.get_index_of(&need.step) {
                graph.add_edge(nodes[from], nodes[at], ());
            }
        }
    }
    petgraph::algo::tarjan_scc(&graph)
        .into_iter()
        .filter(|knot| knot.len() > 1 || graph.contains_edge(knot[0], knot[0]))
        .map(|knot| cycle(steps, &graph, &knot))
        .collect()
}

/// The shortest way round a knot, starting from its first step in the file.
fn cycle(
    steps: &IndexMap<StepId, Built>,
    graph: &DiGraph<usize, ()>,
    knot: &[NodeIndex],
) -> Diagnostic {
    let start = knot
        .iter()
        .copied()
        .min_by_key(|node| graph[*node])
        .unwrap_or(knot[0]);
    let path = shortest_loop(graph, start, knot);
    let names: Vec<&str> = path
        .iter()
        .map(|node| steps[graph[*node]].step.id.as_str())
        .collect();
    let mut diagnostic = Diagnostic::error(
        &codes::CYCLE,
        if path.len() == 1 {
            format!("the step `{}` waits for itself", names[0])
        } else {
            format!(
                "steps wait for each other: {} → {}",
                names.join(" → "),
                names[0]
            )
        },
    );
    for (at, node) in path.iter().enumerate() {
        let step = &steps[graph[*node]].step;
        let next = names[(at + 1) % names.len()];
        if let Some(span) = step.span {
            let says = format!("`{next}` waits for `{}`", step.id);
            diagnostic = if at == 0 {
                diagnostic.label(span, says)
            } else {
                diagnostic.also(span, says)
            };
        }
    }
    diagnostic
        .help("take one of them out of `needs:`, or out of an expression that uses its results")
}

fn shortest_loop(
    graph: &DiGraph<usize, ()>,
    start: NodeIndex,
    knot: &[NodeIndex],
) -> Vec<NodeIndex> {
    let mut came_from = std::collections::HashMap::new();
    let mut queue = std::collections::VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        let mut next: Vec<NodeIndex> = graph.neighbors(node).filter(|n| knot.contains(n)).collect();
        next.sort_by_key(|n| graph[*n]);
        for neighbour in next {
            if neighbour == start {
                let mut path = vec![node];
                while let Some(previous) = came_from.get(&path[path.len() - 1]) {
                    path.push(*previous);
                }
                path.reverse();
                return path;
            }
            if neighbour != start && !came_from.contains_key(&neighbour) {
                came_from.insert(neighbour, node);
                queue.push_back(neighbour);
            }
        }
    }
    vec![start]
}
