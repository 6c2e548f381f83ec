//! What the servers of a pool lack of what a plan uses: a class of node, or an option of a list such as a model.
//!
//! They should all be equal. Where they are not, that is warned of, and a step runs only on those that have all it uses.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::checking::classes;
use crate::base::{ServerName, StepId};
use crate::catalog::{Catalog, InputType};
use crate::diagnostic::{Diagnostic, Span, codes, list_of};
use crate::plan::{self, Grow, Plan, StepPlan};
use crate::servers::Servers;
use crate::workflow::{Node, SharedNode};

/// As many tasks of a step are looked at.
const MOST_TASKS: usize = 500;

/// An endpoint that lacks something that others of its pool have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lack {
    /// The endpoint's address.
    url: String,
    /// What it lacks.
    what: What,
    /// The step that uses it.
    step: StepId,
}

/// What a graph uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// A class of node.
    Class(String),
    /// An option, and the input that it is for: `CheckpointLoaderSimple.ckpt_name`.
    Option(String, String),
}

/// What at least one endpoint has; where two differ in anything but lists, as the first has it.
pub(super) fn union(
    catalogs: impl DoubleEndedIterator<Item = Arc<Catalog>>,
) -> Option<Arc<Catalog>> {
    catalogs.rev().reduce(|later, earlier| {
        if earlier == later {
            return earlier;
        }
        let mut both = Catalog::clone(&earlier);
        both.widen(&later);
        Arc::new(both)
    })
}

/// What the endpoints of a server lack, each given with its address.
pub(super) fn lacks(
    plan: &Plan,
    server: &ServerName,
    catalogs: &[(&str, Arc<Catalog>)],
) -> BTreeSet<Lack> {
    let mut found = BTreeSet::new();
    if catalogs.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        return found;
    }
    for step in plan.steps.values().filter(|step| step.server == *server) {
        for node in nodes(plan, step, catalogs) {
            for (at, (url, catalog)) in catalogs.iter().enumerate() {
                let others = catalogs.iter().enumerate();
                let others = others.filter(|(other, _)| *other != at);
                let others: Vec<&Catalog> = others.map(|(_, (_, other))| &**other).collect();
                found.extend(
                    lacking(&node, catalog, &others)
                        .into_iter()
                        .map(|what| Lack {
                            url: (*url).to_owned(),
                            what,
                            step: step.id.clone(),
                        }),
                );
            }
        }
    }
    found
}

/// The nodes of a step's tasks, as far as their values are known.
fn nodes(plan: &Plan, step: &StepPlan, catalogs: &[(&str, Arc<Catalog>)]) -> Vec<SharedNode> {
    let Some(work) = step.workflow() else {
        return Vec::new();
    };
    let samples = plan::samples(step);
    let known = plan.tasks.iter().filter(|task| task.step == step.id);
    let tasks: Vec<_> = match step.grow {
        Grow::Known => known.take(MOST_TASKS).collect(),
        _ => samples.iter().collect(),
    };
    let catalog = union(catalogs.iter().map(|(_, catalog)| Arc::clone(catalog)));
    let mut nodes: Vec<SharedNode> = Vec::new();
    let mut seen = BTreeSet::new();
    for task in tasks {
        let (rendered, _) = plan::preview(plan, task, work, catalog.as_deref());
        let fresh = rendered.graph.nodes.into_values();
        nodes.extend(fresh.filter(|node| {
            let inputs = Value::Object(node.inputs.clone());
            seen.insert((node.class_type.clone(), inputs.to_string()))
        }));
    }
    nodes
}

/// What a catalog lacks of a node, and another one has.
fn lacking(node: &Node, catalog: &Catalog, others: &[&Catalog]) -> Vec<What> {
    let class = node.class_type.as_str();
    let Some(def) = catalog.node(class) else {
        let elsewhere = others.iter().any(|other| other.node(class).is_some());
        return elsewhere
            .then(|| What::Class(class.to_owned()))
            .into_iter()
            .collect();
    };
    let open = def.open_inputs(&node.inputs).into_iter();
    open.filter_map(|input| {
        let value = node.inputs.get(&input.name)?;
        let has = |catalog: &Catalog| offers(catalog, node, &input.name, value);
        let missing = has(catalog) == Some(false) && others.iter().any(|o| has(o) == Some(true));
        let option = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        missing.then(|| What::Option(option, format!("{class}.{}", input.name)))
    })
    .collect()
}

/// Whether a value is an option of an input; `None` where there is no list to look into. Files to upload come with the run.
fn offers(catalog: &Catalog, node: &Node, input: &str, value: &Value) -> Option<bool> {
    let def = catalog.node(&node.class_type)?;
    let open = def.open_input(input, &node.inputs)?;
    match &open.def.ty {
        InputType::Combo(combo) if !combo.remote && !open.def.upload => {
            Some(combo.options.contains(value))
        }
        _ => None,
    }
}

/// Says of each endpoint what it lacks.
pub(super) fn warnings(
    server: &ServerName,
    span: Option<Span>,
    lacks: &BTreeSet<Lack>,
) -> Vec<Diagnostic> {
    let urls: BTreeSet<&str> = lacks.iter().map(|lack| lack.url.as_str()).collect();
    let mut found = Vec::new();
    for url in urls {
        let own: BTreeSet<&What> = lacks
            .iter()
            .filter(|lack| lack.url == url)
            .map(|lack| &lack.what)
            .collect();
        let of_kind = |classes: bool| -> Vec<&str> {
            let own = own.iter().filter_map(|what| match what {
                What::Class(class) => classes.then_some(class.as_str()),
                What::Option(option, _) => (!classes).then_some(option.as_str()),
            });
            own.collect()
        };
        for (missing, code, help) in [
            (
                of_kind(true),
                &codes::MISSING_NODE_TYPE,
                "install the same node packs on every server of a pool",
            ),
            (
                of_kind(false),
                &codes::VALUE_NOT_IN_LIST,
                "put the same models on every server of a pool",
            ),
        ] {
            if missing.is_empty() {
                continue;
            }
            let message = format!(
                "server `{server}`: {url} does not have {}, which others of the pool have",
                list_of(missing.iter().copied(), 8)
            );
            let diagnostic = Diagnostic::warning(code, message).help(format!(
                "{help}; until then, steps that use them run on the others"
            ));
            found.push(match span {
                Some(span) => diagnostic.at(span),
                None => diagnostic,
            });
        }
    }
    found
}

/// Keeps steps away from endpoints that lack what they use.
pub(super) async fn keep_away(plan: &mut Plan, servers: &Servers) {
    for name in plan.servers.keys().cloned().collect::<Vec<_>>() {
        let endpoints = servers.of(&name);
        if endpoints.len() < 2 {
            continue;
        }
        let wanted = classes(plan, &name);
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        let mut catalogs = Vec::new();
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.answered()) {
            // Asked for before; one that fell silent since lacks nothing that is known.
            if let Ok(catalog) = endpoint.catalog(&wanted).await {
                catalogs.push((endpoint.url.as_str(), catalog));
            }
        }
        let lacks = lacks(plan, &name, &catalogs);
        for step in plan.steps.values_mut().filter(|step| step.server == name) {
            let lacks_it = |url: &str| lacks.iter().any(|l| l.step == step.id && l.url == url);
            let unfit = (0..).zip(endpoints).filter(|(_, e)| lacks_it(&e.url));
            step.unfit = unfit.map(|(nth, _)| nth).collect();
        }
    }
}
