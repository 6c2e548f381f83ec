//! Taking nodes out while passing on what they get, as the editor's bypass does.
//!
//! Each link from a bypassed node is replaced by what the node itself gets at the input that stands for that output: the one at the
//! same place when its type fits, else the first of exactly the wanted type, else the first that fits. An input that is not connected
//! passes nothing on (the editor's behaviour, as observed).

use serde_json::json;

use super::{Graph, Node, is_link};
use crate::base::NodeId;
use crate::catalog::{Catalog, InputType, NodeDef, OutputType, Section};

/// What bypassing changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bypassed {
    /// Inputs that are connected elsewhere now: node, input, and the bypassed node they were connected to.
    pub rewired: Vec<(NodeId, String, NodeId)>,
    /// Inputs for which there is nothing to be passed on. They are gone.
    pub dropped: Vec<Dropped>,
}

/// An input that a bypass leaves empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The node.
    pub node: NodeId,
    /// Its input.
    pub input: String,
    /// Whether the node needs it.
    pub required: bool,
    /// The bypassed node it was connected to.
    pub bypassed: NodeId,
    /// Why nothing is passed on.
    pub why: Why,
}

/// Why a bypassed node passes nothing on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has no input of the type.
    NoInput(String),
    /// The input that would stand for it is not connected.
    NotConnected(String),
    /// The server does not know its class, and it has not exactly one connected input.
    UnknownClass,
    /// Bypassed nodes are connected in a circle.
    Circle,
}

/// Takes `nodes` out of the graph.
pub fn bypass(graph: &mut Graph, nodes: &[NodeId], catalog: &Catalog) -> Bypassed {
    let mut changed = Bypassed::default();
    let before = graph.clone();
    let out = |id: &str| nodes.iter().any(|node| node.as_str() == id);
    graph.nodes.retain(|id, _| !out(id.as_str()));
    for (id, node) in &mut graph.nodes {
        let Some(was) = before.nodes.get(id) else {
            continue;
        };
        for (input, value) in &was.inputs {
            let Some((from, slot)) = is_link(value).filter(|(from, _)| out(from)) else {
                continue;
            };
            let from = NodeId::from(from);
            let def = catalog.node(&was.class_type);
            let open = def.and_then(|def| def.open_input(input, &was.inputs));
            let wanted = open
                .as_ref()
                .map(|open| input_type(&open.def.ty, open.def.type_name()));
            match follow(&before, catalog, (&from, slot), wanted.as_deref(), &out) {
                Ok((origin, slot)) => {
                    node.inputs.insert(input.clone(), json!([origin, slot]));
                    changed.rewired.push((id.clone(), input.clone(), from));
                }
                Err(why) => {
                    node.inputs.shift_remove(input);
                    changed.dropped.push(Dropped {
                        node: id.clone(),
                        input: input.clone(),
                        required: open.is_some_and(|open| open.section == Section::Required),
                        bypassed: from,
                        why,
                    });
                }
            }
        }
    }
    changed
}

/// The link that stands for an output of a bypassed node.
fn follow<'a>(
    graph: &'a Graph,
    catalog: &Catalog,
    (from, slot): (&'a NodeId, i64),
    wanted: Option<&str>,
    out: &dyn Fn(&str) -> bool,
) -> Result<(&'a str, i64), Why> {
    let (mut id, mut slot) = (from.as_str(), slot);
    for _ in 0..=graph.nodes.len() {
        let Some(node) = graph.nodes.get(id).filter(|_| out(id)) else {
            return Ok((id, slot));
        };
        let input = match catalog.node(&node.class_type) {
            Some(def) => stand_in(def, node, slot, wanted)?,
            None => only_link(node).ok_or(Why::UnknownClass)?,
        };
        let Some((next, next_slot)) = node.inputs.get(&input).and_then(is_link) else {
            return Err(Why::NotConnected(input));
        };
        (id, slot) = (next, next_slot);
    }
    Err(Why::Circle)
}

/// The input of a node that stands for one of its outputs.
fn stand_in(def: &NodeDef, node: &Node, slot: i64, wanted: Option<&str>) -> Result<String, Why> {
    let place = usize::try_from(slot).ok();
    let given = place
        .and_then(|at| def.outputs.get(at))
        .map_or("*", |output| match &output.ty {
            OutputType::Named(name) => name.as_str(),
            OutputType::List(_) => "COMBO",
        });
    let wanted = wanted.unwrap_or(given);
    let sockets: Vec<(String, String)> = def
        .open_inputs(&node.inputs)
        .into_iter()
        .filter(|open| {
            let linked = node.inputs.get(&open.name).and_then(is_link).is_some();
            linked || is_socket(&open.def.ty)
        })
        .map(|open| (open.name, input_type(&open.def.ty, open.def.type_name())))
        .collect();
    let same_place = place.and_then(|at| sockets.get(at));
    let chosen = if wanted == "*" {
        same_place.or(sockets.first())
    } else {
        same_place
            .filter(|(_, ty)| fits(ty, given) && fits(ty, wanted))
            .or_else(|| sockets.iter().find(|(_, ty)| ty == wanted))
            .or_else(|| sockets.iter().find(|(_, ty)| fits(ty, wanted)))
    };
    chosen
        .map(|(name, _)| name.clone())
        .ok_or_else(|| Why::NoInput(wanted.to_owned()))
}

fn only_link(node: &Node) -> Option<String> {
    let mut linked = node.inputs.iter().filter(|(_, v)| is_link(v).is_some());
    match (linked.next(), linked.next()) {
        (Some((name, _)), None) => Some(name.clone()),
        _ => None,
    }
}

/// Whether people connect an input rather than fill it in.
fn is_socket(ty: &InputType) -> bool {
    match ty {
        InputType::Named(_) | InputType::Any | InputType::MatchType { .. } => true,
        InputType::Union { types, .. } => types.iter().any(|ty| !is_widget(ty)),
        _ => false,
    }
}

fn is_widget(ty: &str) -> bool {
    matches!(ty, "INT" | "FLOAT" | "STRING" | "BOOLEAN" | "COMBO")
}

fn input_type(ty: &InputType, name: &str) -> String {
    match ty {
        InputType::MatchType { allowed, .. } => allowed.clone(),
        _ => name.to_owned(),
    }
}

/// Whether types such as `IMAGE`, `IMAGE,MASK` and `*` have something in common.
fn fits(one: &str, other: &str) -> bool {
    let any = |ty: &str| ty == "*" || ty.is_empty();
    any(one)
        || any(other)
        || one
            .split(',')
            .any(|a| other.split(',').any(|b| a.trim() == b.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn catalog() -> Catalog {
        let info = json!({
            "Loader": {"input": {"required": {"name": [["a"]]}}, "output": ["MODEL", "CLIP", "VAE"]},
            "Lora": {"input": {"required": {"model": ["MODEL"], "clip": ["CLIP"], "strength": ["FLOAT", {}]}}, "output": ["MODEL", "CLIP"]},
            "Swap": {"input": {"required": {"clip": ["CLIP"], "model": ["MODEL"]}}, "output": ["MODEL", "CLIP"]},
            "Sampler": {"input": {"required": {"model": ["MODEL"]}, "optional": {"clip": ["CLIP"], "mask": ["MASK"]}}, "output": ["IMAGE"]},
            "ToMask": {"input": {"required": {"image": ["IMAGE"]}}, "output": ["MASK"]},
        });
        Catalog::from_object_info(&info).0
    }

    fn graph(nodes: &Value) -> Graph {
        super::super::parse(&nodes.to_string()).unwrap()
    }

    fn done(nodes: &Value, out: &[&str]) -> (Graph, Bypassed) {
        let mut graph = graph(nodes);
        let out: Vec<NodeId> = out.iter().map(|id| NodeId::from(*id)).collect();
        let changed = bypass(&mut graph, &out, &catalog());
        (graph, changed)
    }

    #[test]
    fn each_output_is_replaced_by_the_input_of_its_type_through_several_nodes() {
        let (graph, changed) = done(
            &json!({
                "1": {"class_type": "Loader", "inputs": {"name": "a"}},
                "2": {"class_type": "Lora", "inputs": {"model": ["1", 0], "clip": ["1", 1], "strength": 1.0}},
                "3": {"class_type": "Swap", "inputs": {"model": ["2", 0], "clip": ["2", 1]}},
                "4": {"class_type": "Sampler", "inputs": {"model": ["3", 0], "clip": ["3", 1]}},
            }),
            &["2", "3"],
        );
        assert_eq!(
            graph.nodes.keys().map(NodeId::as_str).collect::<Vec<_>>(),
            ["1", "4"]
        );
        assert_eq!(graph.nodes["4"].inputs["model"], json!(["1", 0]));
        assert_eq!(graph.nodes["4"].inputs["clip"], json!(["1", 1]));
        assert_eq!(changed.rewired.len(), 2);
        assert!(changed.dropped.is_empty());
    }

    #[test]
    fn what_has_nothing_to_pass_on_leaves_the_input_empty() {
        let (graph, changed) = done(
            &json!({
                "1": {"class_type": "Loader", "inputs": {"name": "a"}},
                "2": {"class_type": "Sampler", "inputs": {"model": ["1", 0], "mask": ["3", 0]}},
                "3": {"class_type": "ToMask", "inputs": {"image": ["9", 0]}},
                "9": {"class_type": "Sampler", "inputs": {"model": ["1", 0]}},
            }),
            &["1", "3"],
        );
        assert!(graph.nodes["2"].inputs.is_empty());
        let why: Vec<(&str, bool, &Why)> = changed
            .dropped
            .iter()
            .map(|d| (d.input.as_str(), d.required, &d.why))
            .collect();
        assert_eq!(
            why,
            [
                ("model", true, &Why::NoInput("MODEL".to_owned())),
                ("mask", false, &Why::NoInput("MASK".to_owned())),
                ("model", true, &Why::NoInput("MODEL".to_owned())),
            ]
        );
    }

    #[test]
    fn an_input_that_is_not_connected_and_a_circle_pass_nothing_on() {
        let lora = |model: Value| json!({"class_type": "Lora", "inputs": {"model": model, "strength": 1.0}});
        let sampler = json!({"class_type": "Sampler", "inputs": {"model": ["2", 0]}});
        let mut open = json!({"2": lora(json!(["1", 0])), "4": sampler});
        open["2"]["inputs"] = json!({"strength": 1.0});
        let (_, changed) = done(&open, &["2"]);
        assert_eq!(
            changed.dropped[0].why,
            Why::NotConnected("model".to_owned())
        );
        let circle = json!({"2": lora(json!(["3", 0])), "3": lora(json!(["2", 0])), "4": sampler});
        let (_, changed) = done(&circle, &["2", "3"]);
        assert_eq!(changed.dropped[0].why, Why::Circle);
    }

    #[test]
    fn an_unknown_class_passes_on_its_only_link() {
        let nodes = json!({
            "1": {"class_type": "Loader", "inputs": {"name": "a"}},
            "2": {"class_type": "Unheard", "inputs": {"thing": ["1", 0], "amount": 3}},
            "4": {"class_type": "Sampler", "inputs": {"model": ["2", 0]}},
        });
        let (graph, _) = done(&nodes, &["2"]);
        assert_eq!(graph.nodes["4"].inputs["model"], json!(["1", 0]));
    }
}
