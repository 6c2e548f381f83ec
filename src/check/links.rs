//! What flows through links, where the server does not look: types that pass through a node unchanged, and plain values given to inputs
//! that only a link can fill.

use std::collections::{BTreeMap, HashSet};
use std::rc::Rc;

use serde_json::Value;

use super::words::{Scene, shown};
use crate::base::NodeId;
use crate::catalog::{InputDef, InputType, NodeDef, OutputType};
use crate::diagnostic::{Diagnostic, codes};
use crate::workflow::{self, Node};

/// The word for a type that its node's inputs decide.
const MATCHED: &str = "COMFY_MATCHTYPE_V3";

/// Types that only nodes make, and that no editor writes down.
const LINKED: [&str; 34] = [
    "IMAGE",
    "MASK",
    "LATENT",
    "MODEL",
    "CLIP",
    "VAE",
    "CONDITIONING",
    "CONTROL_NET",
    "AUDIO",
    "VIDEO",
    "SAMPLER",
    "SIGMAS",
    "NOISE",
    "GUIDER",
    "CLIP_VISION",
    "CLIP_VISION_OUTPUT",
    "STYLE_MODEL",
    "UPSCALE_MODEL",
    "LATENT_UPSCALE_MODEL",
    "GLIGEN",
    "PHOTOMAKER",
    "HOOKS",
    "HOOK_KEYFRAMES",
    "MESH",
    "VOXEL",
    "SPLAT",
    "LORA_MODEL",
    "LOSS_MAP",
    "AUDIO_ENCODER",
    "AUDIO_ENCODER_OUTPUT",
    "MODEL_PATCH",
    "WEBCAM_FRAMES",
    "TRACKS",
    "SVG",
];

/// Whether nothing but another node's output can be given to an input.
pub(super) fn needs_a_link(def: &InputDef) -> bool {
    match &def.ty {
        InputType::Named(name) => {
            LINKED.contains(&name.as_str()) && !def.widget && def.default.is_none()
        }
        InputType::Union { types, .. } => {
            types.iter().all(|ty| LINKED.contains(&ty.as_str())) && !def.widget
        }
        InputType::MatchType { allowed, .. } => {
            allowed != "*" && allowed.split(',').all(|ty| LINKED.contains(&ty.trim()))
        }
        _ => false,
    }
}

pub(super) fn links(scene: &Scene<'_>, followed: &HashSet<NodeId>) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    for (id, node) in &scene.graph.nodes {
        let Some(def) = scene.catalog.node(&node.class_type) else {
            continue;
        };
        if followed.contains(id) {
            of_node(scene, id, node, def, &mut out);
        }
    }
    out
}

fn of_node(scene: &Scene<'_>, id: &NodeId, node: &Node, def: &NodeDef, out: &mut Vec<Diagnostic>) {
    let mut shared: BTreeMap<&str, (String, Rc<str>)> = BTreeMap::new();
    for open in def.open_inputs(&node.inputs) {
        let Some(value) = node.inputs.get(&open.name) else {
            continue;
        };
        let Some((target, slot)) = workflow::is_link(value) else {
            if needs_a_link(open.def) && !value.is_array() {
                out.push(no_link(scene, id, &open.name, open.def, value));
            }
            continue;
        };
        let Some(flows) = flowing(scene, target, slot) else {
            continue;
        };
        let takes = match &open.def.ty {
            InputType::MatchType { allowed, .. } => allowed.as_str(),
            _ if is_matched(scene, target, slot) => open.def.type_name(),
            // The server itself looks at every other link.
            _ => continue,
        };
        if !overlap(&flows, takes) {
            out.push(conflict(scene, id, &open.name, &flows, takes));
            continue;
        }
        if let InputType::MatchType { template_id, .. } = &open.def.ty {
            match shared.get(template_id.as_str()) {
                Some((other, ty)) if !overlap(ty, &flows) => {
                    out.push(unequal(scene, id, (&open.name, &flows), (other, ty)));
                }
                Some(_) => {}
                None => {
                    shared.insert(template_id, (open.name.clone(), flows));
                }
            }
        }
    }
}

/// Whether two lists of types have one in common.
fn overlap(a: &str, b: &str) -> bool {
    let any = |types: &str| types.split(',').any(|ty| ty.trim() == "*");
    let a_types: HashSet<&str> = a.split(',').map(str::trim).collect();
    any(a) || any(b) || b.split(',').any(|ty| a_types.contains(ty.trim()))
}

/// Whether an output's type is that of an input of its node, so that the server lets it pass everywhere.
fn is_matched(scene: &Scene<'_>, target: &str, slot: i64) -> bool {
    let found = scene.node(&NodeId::from(target));
    let output = found.and_then(|(_, def)| output(def, slot));
    output.is_some_and(|(ty, _)| matches!(ty, OutputType::Named(name) if name == MATCHED))
}

fn output(def: &NodeDef, slot: i64) -> Option<(&OutputType, Option<&str>)> {
    let count = i64::try_from(def.outputs.len()).ok()?;
    let slot = if slot < 0 { slot + count } else { slot };
    let output = def.outputs.get(usize::try_from(slot).ok()?)?;
    Some((&output.ty, output.match_type.as_deref()))
}

/// An output whose type hangs on that of the inputs that it passes on.
struct Passing<'a> {
    output: (&'a str, i64),
    /// Where these inputs come from.
    sources: Vec<(&'a str, i64)>,
    next: usize,
}

/// The type of what a link carries, followed through the nodes that pass it on; `None` where nobody can tell. Each output is looked at
/// once: a chain of switches has twice as many ways through it with every one of them.
fn flowing(scene: &Scene<'_>, target: &str, slot: i64) -> Option<Rc<str>> {
    let mut flows = scene.memory.flows.borrow_mut();
    let mut open: Vec<Passing<'_>> = Vec::new();
    let mut look = Some((target, slot));
    let mut answer = None;
    loop {
        if let Some((node, slot)) = look.take() {
            if let Some(known) = flows.get(&(node.to_owned(), slot)) {
                answer.clone_from(known);
            } else {
                // Until it is known: who comes back here goes round in a circle.
                flows.insert((node.to_owned(), slot), None);
                match of_output(scene, node, slot) {
                    Flow::Type(ty) => {
                        answer = ty;
                        flows.insert((node.to_owned(), slot), answer.clone());
                    }
                    Flow::Passes(sources) => {
                        answer = None;
                        open.push(Passing {
                            output: (node, slot),
                            sources,
                            next: 0,
                        });
                    }
                }
            }
        }
        let Some(top) = open.last_mut() else {
            return answer;
        };
        let source = top.sources.get(top.next).copied();
        if answer.is_none() && source.is_some() {
            top.next += 1;
            look = source;
            continue;
        }
        let (node, slot) = top.output;
        flows.insert((node.to_owned(), slot), answer.clone());
        open.pop();
    }
}

/// What an output gives.
enum Flow<'a> {
    /// This type, where it can be told.
    Type(Option<Rc<str>>),
    /// What comes from one of these.
    Passes(Vec<(&'a str, i64)>),
}

fn of_output<'a>(scene: &Scene<'a>, target: &str, slot: i64) -> Flow<'a> {
    let found = scene.node(&NodeId::from(target));
    let Some((node, def)) = found else {
        return Flow::Type(None);
    };
    match output(def, slot) {
        None => Flow::Type(None),
        Some((OutputType::List(_), _)) => Flow::Type(Some("COMBO".into())),
        Some((OutputType::Named(name), _)) if name == "*" => Flow::Type(None),
        Some((OutputType::Named(name), template)) if name == MATCHED => {
            let Some(template) = template else {
                return Flow::Type(None);
            };
            let open = def.open_inputs(&node.inputs).into_iter();
            let shares = open.filter(|open| {
                matches!(&open.def.ty, InputType::MatchType { template_id, .. } if template_id == template)
            });
            let sources = shares.filter_map(|open| workflow::is_link(node.inputs.get(&open.name)?));
            Flow::Passes(sources.collect())
        }
        Some((OutputType::Named(name), _)) => Flow::Type(Some(name.as_str().into())),
    }
}

fn in_words(types: &str) -> String {
    let types: Vec<&str> = types.split(',').map(str::trim).collect();
    types.join(" or ")
}

fn conflict(scene: &Scene<'_>, id: &NodeId, input: &str, flows: &str, takes: &str) -> Diagnostic {
    let message = format!(
        "{} gets {}, but takes {}",
        scene.input_name(id, input),
        in_words(flows),
        in_words(takes)
    );
    let warning = Diagnostic::warning(&codes::TYPE_CONFLICT, message)
        .help("servers let this pass, and the node fails when it runs");
    scene.about(warning, id, Some(input))
}

fn unequal(
    scene: &Scene<'_>,
    id: &NodeId,
    (input, flows): (&str, &str),
    (other, ty): (&str, &str),
) -> Diagnostic {
    let message = format!(
        "{} gets {}, and `{other}` of the same node {}: both must be of one type",
        scene.input_name(id, input),
        in_words(flows),
        in_words(ty),
    );
    let warning = Diagnostic::warning(&codes::TYPE_CONFLICT, message)
        .help("servers let this pass, and the node fails when it runs");
    let warning = match scene.span(id, Some(other)) {
        Some(span) => warning.also(span, format!("{} here", in_words(ty))),
        None => warning,
    };
    scene.about(warning, id, Some(input))
}

fn no_link(
    scene: &Scene<'_>,
    id: &NodeId,
    input: &str,
    def: &InputDef,
    value: &Value,
) -> Diagnostic {
    let wanted = match &def.ty {
        InputType::MatchType { allowed, .. } => in_words(allowed),
        _ => in_words(def.type_name()),
    };
    let message = format!(
        "{} takes {wanted} from another node, not the value {}",
        scene.input_name(id, input),
        shown(value)
    );
    let warning = Diagnostic::warning(&codes::VALUE_FOR_LINK, message)
        .help("servers let this pass, and the node fails when it runs")
        .help("link it to a node that gives it, as `[NODE, SLOT]`");
    scene.about(warning, id, Some(input))
}
