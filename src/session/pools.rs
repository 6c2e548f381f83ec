//! What the servers of a pool lack of what a plan uses: a class of node, or an option of a list such as a model.
//!
//! They should all be equal. Where they are not, that is warned of, and a step runs only on those that have all it uses. A step for which
//! none has all of it cannot run.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use crate::base::{NodeId, ServerName, StepId};
use crate::catalog::{Catalog, InputType};
use crate::diagnostic::{Diagnostic, Span, codes, list_of};
use crate::plan::{self, Grow, Plan, Rendered, StepPlan, TaskPlan};
use crate::servers::Servers;
use crate::workflow::{self, Node};

/// Something that an endpoint lacks, and others of its pool have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lack {
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

/// What the endpoints of a server lack of what a plan uses.
#[derive(Debug, Default)]
pub(super) struct Lacks {
    found: BTreeSet<Lack>,
    /// Steps that no endpoint can run, and whether a single task of them uses more than any endpoint has.
    stuck: BTreeMap<StepId, bool>,
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

/// An endpoint's address and catalog.
type Told<'a> = (&'a str, Arc<Catalog>);

/// What the endpoints of a server lack.
pub(super) fn lacks(plan: &Plan, server: &ServerName, catalogs: &[Told<'_>]) -> Lacks {
    let mut lacks = Lacks::default();
    if catalogs.windows(2).all(|pair| pair[0].1 == pair[1].1) {
        return lacks;
    }
    let Some(all) = union(catalogs.iter().map(|(_, catalog)| Arc::clone(catalog))) else {
        return lacks;
    };
    for step in plan.steps.values().filter(|step| step.server == *server) {
        let Some(work) = step.workflow() else {
            continue;
        };
        let mut looking = Looking {
            step,
            catalogs,
            all: &all,
            seen: HashMap::new(),
            found: &mut lacks.found,
        };
        // Endpoints that cannot run some task, and whether there is a task that none can run.
        let (mut poor, mut nobody) = (BTreeSet::new(), false);
        let mut look = |task: &TaskPlan| {
            let (rendered, _) = plan::preview(plan, task, work, Some(&all));
            let unable = looking.at_graph(&rendered);
            nobody |= unable.len() == catalogs.len();
            poor.extend(unable);
        };
        match step.grow {
            Grow::Known => {
                let own = plan.tasks.iter().filter(|task| task.step == step.id);
                own.for_each(&mut look);
            }
            _ => plan::samples(step).iter().for_each(look),
        }
        if poor.len() == catalogs.len() {
            lacks.stuck.insert(step.id.clone(), nobody);
        }
    }
    lacks
}

/// A look at the graphs of one step's tasks.
struct Looking<'a> {
    step: &'a StepPlan,
    catalogs: &'a [Told<'a>],
    /// What all endpoints have together.
    all: &'a Catalog,
    /// Nodes that were looked at, and the endpoints, by their place, that cannot run them.
    seen: HashMap<(String, String, bool), Vec<usize>>,
    found: &'a mut BTreeSet<Lack>,
}

impl Looking<'_> {
    /// The endpoints that cannot run a graph.
    fn at_graph(&mut self, rendered: &Rendered) -> BTreeSet<usize> {
        let needed = needed(rendered, self.all);
        let mut unable = BTreeSet::new();
        for (id, node) in &rendered.graph.nodes {
            let mut inputs = node.inputs.clone();
            // What it will be is not known yet.
            inputs.retain(|name, _| !rendered.unknown.contains(&(id.clone(), name.clone())));
            let is_needed = needed.contains(id);
            let text = Value::Object(inputs.clone()).to_string();
            let key = (node.class_type.clone(), text, is_needed);
            if let Some(poor) = self.seen.get(&key) {
                unable.extend(poor);
                continue;
            }
            // Servers look at the values of those nodes only that a result needs.
            if !is_needed {
                inputs.clear();
            }
            let node = Node {
                class_type: node.class_type.clone(),
                inputs,
                meta: serde_json::Map::new(),
            };
            let poor = self.at_node(&node);
            unable.extend(&poor);
            self.seen.insert(key, poor);
        }
        unable
    }

    /// The endpoints that cannot run a node.
    fn at_node(&mut self, node: &Node) -> Vec<usize> {
        let mut unable = Vec::new();
        for (at, (url, catalog)) in self.catalogs.iter().enumerate() {
            let others = self.catalogs.iter().enumerate();
            let others = others.filter(|(other, _)| *other != at);
            let others: Vec<&Catalog> = others.map(|(_, (_, other))| &**other).collect();
            let lacking = lacking(node, catalog, &others);
            // A server that may leave out what it finds invalid runs the rest.
            let is_fatal = |what: &What| !self.step.allow_partial || matches!(what, What::Class(_));
            if lacking.iter().any(is_fatal) {
                unable.push(at);
            }
            self.found.extend(lacking.into_iter().map(|what| Lack {
                url: (*url).to_owned(),
                what,
                step: self.step.id.clone(),
            }));
        }
        unable
    }
}

/// The nodes that a result needs.
fn needed(rendered: &Rendered, catalog: &Catalog) -> HashSet<NodeId> {
    let nodes = &rendered.graph.nodes;
    let saves = |node: &Node| {
        let def = catalog.node(&node.class_type);
        def.is_none_or(|def| def.output_node)
    };
    let mut open: Vec<NodeId> = if rendered.targets.is_empty() {
        let ends = nodes.iter().filter(|(_, node)| saves(node));
        ends.map(|(id, _)| id.clone()).collect()
    } else {
        rendered.targets.clone()
    };
    let mut needed = HashSet::new();
    while let Some(id) = open.pop() {
        if let Some(node) = nodes.get(&id)
            && needed.insert(id)
        {
            let links = node.inputs.values().filter_map(workflow::is_link);
            open.extend(links.map(|(from, _)| NodeId::from(from)));
        }
    }
    needed
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

impl Lacks {
    /// What is to be said of it: what keeps a step from running, and what each endpoint lacks beside that.
    pub(super) fn complaints(
        &self,
        plan: &Plan,
        server: &ServerName,
        span: Option<Span>,
    ) -> Vec<Diagnostic> {
        let stuck = self.stuck.iter();
        let mut found: Vec<Diagnostic> = stuck
            .filter_map(|(step, nobody)| Some(self.stuck(plan.steps.get(step)?, server, *nobody)))
            .collect();
        found.extend(self.warnings(server, span));
        found
    }

    /// What an endpoint lacks of what some steps use: classes, and options.
    fn of(&self, url: &str, steps: impl Fn(&StepId) -> bool) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let (mut classes, mut options) = (BTreeSet::new(), BTreeSet::new());
        for lack in &self.found {
            if lack.url == url && steps(&lack.step) {
                match &lack.what {
                    What::Class(class) => classes.insert(class.as_str()),
                    What::Option(option, _) => options.insert(option.as_str()),
                };
            }
        }
        (classes, options)
    }

    fn urls(&self) -> BTreeSet<&str> {
        self.found.iter().map(|lack| lack.url.as_str()).collect()
    }

    /// A step that no endpoint can run. `nobody`: nor even a single task of it.
    fn stuck(&self, step: &StepPlan, server: &ServerName, nobody: bool) -> Diagnostic {
        let mut code = &codes::VALUE_NOT_IN_LIST;
        let mut told = Vec::new();
        for url in self.urls() {
            let (classes, options) = self.of(url, |other| *other == step.id);
            if !classes.is_empty() {
                code = &codes::MISSING_NODE_TYPE;
            }
            let all = classes.into_iter().chain(options);
            told.push(format!("{url} does not have {}", list_of(all, 8)));
        }
        let message = format!(
            "step `{}`: no server of the pool `{server}` has all that it uses: {}",
            step.id,
            told.join("; ")
        );
        let diagnostic = Diagnostic::error(code, message);
        let diagnostic = match step.span {
            Some(span) => diagnostic.at(span),
            None => diagnostic,
        };
        diagnostic.help(if nobody {
            "put the same node packs and models on every server of the pool: even a single task uses more than any of them has"
        } else {
            "split the step by what the servers have, or put the same node packs and models on every server of the pool"
        })
    }

    /// Says of each endpoint what it lacks.
    fn warnings(&self, server: &ServerName, span: Option<Span>) -> Vec<Diagnostic> {
        let mut found = Vec::new();
        for url in self.urls() {
            let (classes, options) = self.of(url, |step| !self.stuck.contains_key(step));
            for (missing, code, help) in [
                (
                    classes,
                    &codes::MISSING_NODE_TYPE,
                    "install the same node packs on every server of a pool",
                ),
                (
                    options,
                    &codes::VALUE_NOT_IN_LIST,
                    "put the same models on every server of a pool",
                ),
            ] {
                if missing.is_empty() {
                    continue;
                }
                let message = format!(
                    "server `{server}`: {url} does not have {}, which others of the pool have",
                    list_of(missing, 8)
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
}

/// Keeps steps away from endpoints that lack what they use. One that does not answer lacks nothing that is known.
pub(super) fn keep_away(plan: &mut Plan, servers: &Servers, lacks: &HashMap<ServerName, Lacks>) {
    for step in plan.steps.values_mut() {
        let Some(lacks) = lacks.get(&step.server) else {
            continue;
        };
        let lacks_it = |url: &str| {
            let mut found = lacks.found.iter();
            found.any(|lack| lack.step == step.id && lack.url == url)
        };
        let endpoints = (0..).zip(servers.of(&step.server));
        let unfit = endpoints.filter(|(_, endpoint)| lacks_it(&endpoint.url));
        step.unfit = unfit.map(|(nth, _)| nth).collect();
    }
}
