//! Checking without running: a plan's graphs, or a bare workflow, against a catalog.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::load::{Loaded, Request, Target, is_project_file, load, load_project};
use super::{asking, packs, prepare, way_out};
use crate::base::{Inputs, NodeId, Secrets, ServerName};
use crate::catalog::{Catalog, CatalogError};
use crate::check::{self, Checked, Setting};
use crate::diagnostic::{Diagnostic, FileId, Origin, Report, Severity, SourceMap, Span, codes};
use crate::plan::{self, Plan, StepPlan};
use crate::protocol::{self, Dialect, UploadRules};
use crate::workflow::import::{self, Places};
use crate::workflow::verdict::{self, Assumed, JudgeOptions, Unsure};
use crate::workflow::{self, Finder, Graph};

/// Catalogs by server; a server without one is checked by structure alone.
pub trait Catalogs {
    /// The catalog of a server, with at least these classes.
    fn of(&self, server: &ServerName) -> Option<Arc<Catalog>>;

    /// What the server said that it takes for files.
    fn uploads(&self, _server: &ServerName) -> Option<UploadRules> {
        None
    }

    /// What is wrong with pools whose servers do not all have the same.
    fn unequal(&self) -> Vec<Diagnostic> {
        Vec::new()
    }
}

/// What checking a file found.
#[derive(Debug)]
pub struct FileReport {
    /// Whether a server would take it; `None` where it cannot be known.
    pub accepted: Option<bool>,
    /// For a workflow: the output nodes that would run, sorted as text.
    pub runs: Vec<String>,
    /// Everything found.
    pub report: Report,
    /// All texts that the report points into.
    pub sources: SourceMap,
}

/// The classes that a plan's tasks on a server use.
pub(super) fn classes(plan: &Plan, server: &ServerName) -> BTreeSet<String> {
    plan.steps
        .values()
        .filter(|step| step.server == *server)
        .filter_map(StepPlan::workflow)
        .flat_map(|work| {
            // What was taken out is asked for, too: whether it was what the workflow is run for.
            let removed = work.removed.iter().map(|(node, _)| node);
            let there = work.graph.nodes.values().map(|node| &**node);
            there.chain(removed)
        })
        .map(|node| node.class_type.clone())
        .collect()
}

/// Whether a server of a plan is kiln's own.
fn is_embedded(plan: &Plan, server: &ServerName) -> bool {
    let planned = plan.servers.get(server);
    planned.is_some_and(|planned| matches!(planned.kind, plan::ServerKind::Embedded { .. }))
}

/// Every complaint about a plan that can be known before anything runs.
pub(super) fn check_plan(plan: &Plan, target: Target, catalogs: &dyn Catalogs) -> Report {
    checked(plan, target, catalogs).report
}

fn checked(plan: &Plan, target: Target, catalogs: &dyn Catalogs) -> Checked {
    let bare = matches!(target, Target::Workflow(_));
    let rules = |server: &ServerName| {
        let told = catalogs.uploads(server);
        told.or_else(|| match plan.servers.get(server)?.kind {
            plan::ServerKind::Cloud { .. } => Some(Dialect::cloud().uploads),
            _ => None,
        })
    };
    let mut report = Report::default();
    report.extend(catalogs.unequal());
    let found = check::plan(plan, bare, &|server| catalogs.of(server), &rules);
    report.extend(found.report.items);
    Checked { report, ..found }
}

/// What else is wrong in a pipeline that has errors: its sound steps, against the catalogs that are at hand without a connection.
pub(super) fn check_sound(sound: &Plan, target: Target, found: &Report) -> Vec<Diagnostic> {
    let more = check_plan(sound, target, &prepare::at_hand(sound));
    without_echoes(more, found)
}

/// A workflow names a file that the server lacks: not worth a word while the value that was to take its place is wrong.
fn without_echoes(more: Report, found: &Report) -> Vec<Diagnostic> {
    let files = || {
        let labels = found.items.iter().filter_map(|d| d.primary.as_ref());
        labels.map(|label| label.span.file)
    };
    let is_echo = |d: &Diagnostic| {
        let own = d.primary.as_ref().map(|label| label.span.file);
        d.code == &codes::CUSTOM_VALIDATION_FAILED && files().all(|file| Some(file) != own)
    };
    more.items.into_iter().filter(|d| !is_echo(d)).collect()
}

/// Checks one file after another.
#[derive(Debug)]
pub struct Checker {
    /// A saved catalog: stands for every server.
    offline: Option<Arc<Catalog>>,
    runtime: tokio::runtime::Runtime,
}

/// One catalog for every server.
struct Same(Arc<Catalog>);

impl Catalogs for Same {
    fn of(&self, _server: &ServerName) -> Option<Arc<Catalog>> {
        Some(Arc::clone(&self.0))
    }
}

impl Checker {
    /// A checker against a saved catalog, or against each file's own servers.
    ///
    /// # Errors
    /// When the system refuses what asynchronous work needs.
    pub fn new(offline: Option<Arc<Catalog>>) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self { offline, runtime })
    }

    /// Loads a file and checks it.
    pub fn check(&self, request: &Request) -> FileReport {
        if is_project_file(&request.file) {
            return of_project(request);
        }
        let mut loaded = load(&Request {
            catalog: self.offline.clone(),
            ..request.clone()
        });
        let target = loaded.target;
        // What `--set` changes is no longer the file as it stands.
        let as_written = request.sets.is_empty();
        if let (Target::Workflow(file), Some(catalog), true) = (target, &self.offline, as_written) {
            let key = loaded.plan.as_ref().is_some_and(has_partner_key);
            let nobody = |_: &Graph, _: &[Assumed]| None;
            let mut found = check_workflow(file, catalog, loaded.sources, (false, key), &nobody);
            if let Some(plan) = &loaded.plan {
                packs::advise(&mut found.report, &plan.project_dir, &[]);
            }
            return found;
        }
        let Some(plan) = loaded.plan.take() else {
            return self.check_what_is_sound(loaded);
        };
        let (sources, mut report) = (plan.sources.clone(), loaded.report);
        let rehearsal = loaded.rehearsal.as_deref();
        let catalogs = self.catalogs(&plan, &loaded.secrets, rehearsal, &mut report);
        let mut servers = plan.servers.keys();
        let known = servers.all(|server| catalogs.of(server).is_some());
        if let (Target::Workflow(file), Some(server)) = (target, plan.servers.keys().next())
            && as_written
            && let Some(catalog) = catalogs.of(server)
        {
            let mut found = self.check_bare((&plan, server, &loaded.secrets), file, &catalog);
            found.report.extend(report.items);
            found.report.extend(catalogs.unequal());
            packs::advise(&mut found.report, &plan.project_dir, &[]);
            return found;
        }
        let found = checked(&plan, target, &*catalogs);
        report.extend(found.report.items);
        let others = plan.servers.keys();
        let others = others.filter_map(|name| Some((name.to_string(), catalogs.of(name)?)));
        packs::advise(&mut report, &plan.project_dir, &others.collect::<Vec<_>>());
        let sure = known && !found.open;
        let of_plan = if report.has_errors() {
            Some(false)
        } else {
            sure.then_some(true)
        };
        let (accepted, runs) = found.answer.unwrap_or((of_plan, Vec::new()));
        FileReport {
            accepted,
            runs,
            report,
            sources,
        }
    }

    /// A bare workflow against its server, which is asked for files that its lists do not show.
    fn check_bare(
        &self,
        (plan, server, secrets): (&Plan, &ServerName, &Secrets),
        file: FileId,
        catalog: &Catalog,
    ) -> FileReport {
        let embedded = is_embedded(plan, server);
        let ask = |graph: &Graph, assumed: &[Assumed]| {
            let asked = asking::files(plan, server, secrets, graph, assumed);
            (!embedded).then(|| self.runtime.block_on(asked))
        };
        let setting = (embedded, has_partner_key(plan));
        let sources = plan.sources.clone();
        // A drawing was converted by everything that its server has; the catalog at hand may have less.
        let work = plan.steps.values().find_map(StepPlan::workflow);
        let drawn = work.and_then(|work| Some((work, work.places.as_deref()?)));
        match drawn {
            Some((work, places)) => {
                let read = (work.graph.clone(), Some(places.clone()));
                check_graph(file, read, catalog, sources, setting, &ask)
            }
            None => check_workflow(file, catalog, sources, setting, &ask),
        }
    }

    /// A file with errors may have steps that are sound: what else is wrong with those.
    fn check_what_is_sound(&self, loaded: Loaded) -> FileReport {
        let mut report = loaded.report;
        if let Some(sound) = &loaded.sound {
            let more = match &self.offline {
                Some(catalog) => {
                    let same = Same(Arc::clone(catalog));
                    without_echoes(check_plan(sound, loaded.target, &same), &report)
                }
                None => check_sound(sound, loaded.target, &report),
            };
            report.extend(more);
        }
        FileReport {
            accepted: Some(false),
            runs: Vec::new(),
            report,
            sources: loaded.sources,
        }
    }

    /// What the plan's servers declare; one that does not answer is warned of.
    fn catalogs(
        &self,
        plan: &Plan,
        secrets: &Secrets,
        rehearsal: Option<&str>,
        report: &mut Report,
    ) -> Box<dyn Catalogs> {
        if let Some(catalog) = &self.offline {
            return Box::new(Same(Arc::clone(catalog)));
        }
        let (catalogs, unreachable) = self.runtime.block_on(prepare::catalogs(plan, secrets));
        let blind = plan.servers.keys().any(|name| catalogs.of(name).is_none());
        report.extend(unreachable.into_iter().map(|d| {
            let mut d = way_out::advise(d, plan, rehearsal);
            d.severity = Severity::Warning;
            if blind {
                d.help("checked without it: nodes, inputs and values are not verified")
            } else {
                d
            }
        }));
        Box::new(catalogs)
    }
}

fn of_project(request: &Request) -> FileReport {
    let Loaded {
        sources, report, ..
    } = load_project(&request.file);
    FileReport {
        accepted: Some(!report.has_errors()),
        runs: Vec::new(),
        report,
        sources,
    }
}

/// Whether there is a key for partner nodes, or one is declared and what is wrong with it is told.
fn has_partner_key(plan: &Plan) -> bool {
    plan.partner_key.is_some() || !plan.no_partner_key.is_empty()
}

/// A graph, and where its parts stand in a file of the editor's.
type Read = (Graph, Option<Places>);

/// A bare workflow by the verdict alone, as a server would see it.
fn check_workflow(
    file: FileId,
    catalog: &Catalog,
    sources: SourceMap,
    setting: (bool, bool),
    ask: &dyn Fn(&Graph, &[Assumed]) -> Option<asking::Told>,
) -> FileReport {
    let mut report = Report::default();
    let Some(read) = read_as_server(file, catalog, &sources, &mut report) else {
        return FileReport {
            accepted: Some(false),
            runs: Vec::new(),
            report,
            sources,
        };
    };
    let mut found = check_graph(file, read, catalog, sources, setting, ask);
    report.extend(std::mem::take(&mut found.report.items));
    FileReport { report, ..found }
}

/// A graph by the verdict alone, and where its parts stand in a file of the editor's.
fn check_graph(
    file: FileId,
    (graph, drawn): Read,
    catalog: &Catalog,
    sources: SourceMap,
    (embedded, partner_key): (bool, bool),
    ask: &dyn Fn(&Graph, &[Assumed]) -> Option<asking::Told>,
) -> FileReport {
    let mut report = Report::default();
    let mut verdict = verdict::judge(&graph, catalog, &JudgeOptions::default());
    if verdict.assumed.iter().any(|a| a.unsure == Unsure::File)
        && let Some(told) = ask(&graph, &verdict.assumed)
    {
        let files = JudgeOptions {
            files: &told,
            ..JudgeOptions::default()
        };
        verdict = verdict::judge(&graph, catalog, &files);
    }
    let origin_of = |node: &NodeId, input: Option<&str>| {
        let place = drawn.as_ref();
        let place = place.and_then(|places| places.of(node.as_str(), input));
        let pointer = match (place, input) {
            (Some(place), _) => place.to_owned(),
            (None, Some(input)) => workflow::pointer([node.as_str(), "inputs", input]),
            (None, None) => workflow::pointer([node.as_str()]),
        };
        Some(Origin::Json { file, pointer })
    };
    let setting = Setting {
        embedded,
        bare: true,
        partial: false,
        partner_key,
        uploads: None,
        folders: &std::env::current_dir().into_iter().collect::<Vec<_>>(),
    };
    report.extend(check::verdict_diagnostics(
        &verdict, &graph, catalog, &origin_of, &sources, setting,
    ));
    if drawn.is_none() {
        report.extend(without_inputs(file, &graph, &sources));
    }
    let mut runs: Vec<String> = verdict.runs.iter().map(|id| id.0.clone()).collect();
    runs.sort();
    FileReport {
        accepted: verdict.accepted,
        runs,
        report,
        sources,
    }
}

/// Nodes that have no `inputs` in the file, although they are none the worse for it in kiln's hands.
fn without_inputs(file: FileId, graph: &Graph, sources: &SourceMap) -> Vec<Diagnostic> {
    let finder = Finder::new(&sources.file(file).text);
    let empty = graph
        .nodes
        .iter()
        .filter(|(_, node)| node.inputs.is_empty());
    empty
        .filter(|(id, _)| {
            let pointer = workflow::pointer([id.as_str(), "inputs"]);
            finder.locate(&pointer).is_none()
        })
        .map(|(id, node)| {
            let place = finder.nearest(&workflow::pointer([id.as_str()]));
            let place = Span::new(file, place.start, place.end);
            let name = node.label();
            let message = format!("`{name}` (node {id}) has no `inputs`, and servers stop working altogether when they are sent such a node");
            Diagnostic::warning(&codes::NO_INPUTS, message)
                .at(place)
                .node(id.as_str(), &node.class_type, None)
                .help("write `\"inputs\": {}`; kiln itself always sends it")
        })
        .collect()
}

/// The graph as a server reads it, and where its parts stand in a file of the editor's: what it refuses by verdict is left for the
/// verdict.
fn read_as_server(
    file: FileId,
    catalog: &Catalog,
    sources: &SourceMap,
    report: &mut Report,
) -> Option<Read> {
    if let Some(drawn) = import::drawn(&sources.file(file).text) {
        let imported = drawn.convert(catalog, 0);
        let refusals = imported.refusals(file, sources);
        let refused = refusals.has_errors();
        report.extend(refusals.items);
        return (!refused).then_some((imported.graph, Some(imported.places)));
    }
    let lenient = workflow::lenient(&sources.file(file).text);
    let lenient = lenient.and_then(|value| workflow::from_request(value).ok());
    let graph = lenient.or_else(|| workflow::read(file, sources, report));
    graph.map(|graph| (graph, None))
}

/// A catalog from a saved `GET /object_info` answer, or from what `kiln server catalog` saved; `-` is stdin.
///
/// # Errors
/// When the file cannot be read or is no such answer.
pub fn catalog_file(path: &Path) -> Result<Catalog, Box<Diagnostic>> {
    let text = catalog_text(path)?;
    Catalog::open(&text).map_err(|error| match error {
        CatalogError::NotJson(error) if !error.is_data() => no_json(path, &error),
        _ => no_catalog(path),
    })
}

fn catalog_text(path: &Path) -> Result<String, Box<Diagnostic>> {
    let inputs = Inputs::default();
    let text = if path.as_os_str() == "-" {
        inputs
            .read_stdin()
            .map_err(|why| format!("could not read the catalog from stdin: {why}"))
    } else {
        inputs.read_text(path).map_err(|error| error.to_string())
    };
    text.map_err(|why| Box::new(Diagnostic::error(&codes::FILE_NOT_READABLE, why)))
}

fn no_json(path: &Path, error: &serde_json::Error) -> Box<Diagnostic> {
    Box::new(Diagnostic::error(
        &codes::NOT_JSON,
        format!("the catalog `{}` is not JSON: {error}", path.display()),
    ))
}

fn no_catalog(path: &Path) -> Box<Diagnostic> {
    Box::new(
        Diagnostic::error(
            &codes::NOT_JSON,
            format!("the catalog `{}` is no map of node classes", path.display()),
        )
        .help(
            "save one with `kiln server catalog -o FILE`, or a server's answer to GET /object_info",
        ),
    )
}

/// A saved `GET /object_info` answer as it is, by itself or in what `kiln server catalog` saved; `-` is stdin.
///
/// # Errors
/// When the file cannot be read or is no such answer.
pub fn object_info_file(path: &Path) -> Result<serde_json::Value, Box<Diagnostic>> {
    let text = catalog_text(path)?;
    let mut value = protocol::tolerant_json(&text).map_err(|error| no_json(path, &error))?;
    // What `kiln server catalog` saves holds more than the answer.
    if value
        .get("kiln_catalog")
        .is_some_and(serde_json::Value::is_number)
        && let Some(info) = value.get_mut("object_info")
    {
        value = info.take();
    }
    if !value.is_object() {
        return Err(no_catalog(path));
    }
    Ok(value)
}
