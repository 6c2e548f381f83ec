//! The pipelines of the project, and what their servers lack.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::finding::{Area, Checkup};
use super::servers::Started;
use crate::base::ServerName;
use crate::catalog::Catalog;
use crate::diagnostic::{Diagnostic, Report, Severity, SourceMap, codes};
use crate::plan::{MissingParams, Plan};
use crate::report::plural;
use crate::session::care::Found;
use crate::session::checking::{Catalogs, check_plan, classes};
use crate::session::load::{PROJECT_FILE, Request, load};
use crate::session::prepare;
use crate::store::STATE_FOLDER;

/// How deep below the project pipelines are looked for.
const DEEP: usize = 4;
/// As many pipelines are looked at.
const MOST: usize = 200;
/// Folders that hold no pipelines of the project.
const OTHERS: &[&str] = &["node_modules", "target", "outputs", STATE_FOLDER];
/// What a server lacks: a class, a value of a list such as a model, a file; and what this machine does: a program.
const LACKS: [&crate::diagnostic::Code; 4] = [
    &codes::PROGRAM_NOT_FOUND,
    &codes::MISSING_NODE_TYPE,
    &codes::VALUE_NOT_IN_LIST,
    &codes::CUSTOM_VALIDATION_FAILED,
];

/// By message, one complaint and the pipelines that it concerns.
type Lacking = BTreeMap<String, (Diagnostic, Vec<String>)>;

/// The catalogs of one plan's servers.
#[derive(Default)]
struct Known(IndexMap<ServerName, Arc<Catalog>>);

impl Catalogs for Known {
    fn of(&self, server: &ServerName) -> Option<Arc<Catalog>> {
        self.0.get(server).cloned()
    }
}

pub(super) async fn examine(found: &Found, started: &Started, checkup: &mut Checkup) {
    let files = pipelines(&found.project_dir);
    if files.is_empty() {
        return;
    }
    let mut lacking = Lacking::new();
    let mut well = 0;
    for file in &files {
        let name = file.strip_prefix(&found.project_dir).unwrap_or(file);
        let name = crate::base::display_path(name);
        let loaded = load(&Request {
            file: file.clone(),
            missing_params: MissingParams::Undecided,
            ..Request::default()
        });
        let broken = invalid(&name, &loaded.report);
        let sound = broken.is_none();
        if let Some(diagnostic) = broken {
            checkup.wrong(Area::Pipeline, &name, diagnostic, &SourceMap::default());
        }
        let Some(plan) = loaded.plan.or(loaded.sound) else {
            continue;
        };
        let known = catalogs(&plan, started).await;
        let complaints = check_plan(&plan, loaded.target, &known).items;
        let mut lacks = loaded
            .report
            .items
            .into_iter()
            .chain(complaints)
            .filter(|d| LACKS.contains(&d.code))
            .peekable();
        if lacks.peek().is_none() && sound {
            well += 1;
        }
        for mut diagnostic in lacks {
            // A check may be made on another machine than the run; this is about this one.
            diagnostic.severity = Severity::Error;
            let entry = lacking.entry(diagnostic.message.clone());
            let (_, names) = entry.or_insert_with(|| (diagnostic, Vec::new()));
            if !names.contains(&name) {
                names.push(name.clone());
            }
        }
    }
    tell_lacks(lacking, checkup);
    if well > 0 {
        let each = plural(well, "pipeline");
        let message = format!("{each}: all that is needed is there, as far as servers answer");
        checkup.ok(Area::Pipeline, "", message);
    }
}

/// That a pipeline has errors, and where they are shown.
fn invalid(name: &str, report: &Report) -> Option<Diagnostic> {
    let errors = report.items.iter();
    let mut errors = errors
        .filter(|d| d.severity == Severity::Error)
        .map(|d| d.code);
    let first = errors.next()?;
    let message = format!("has {}", plural(1 + errors.count(), "error"));
    Some(Diagnostic::error(first, message).help(format!("`kiln check {name}` shows them")))
}

fn tell_lacks(lacking: Lacking, checkup: &mut Checkup) {
    for (mut diagnostic, names) in lacking.into_values() {
        diagnostic.primary = None;
        if diagnostic.code == &codes::MISSING_NODE_TYPE {
            diagnostic =
                diagnostic.help("`kiln server install node URL` asks ComfyUI-Manager for the pack");
        }
        checkup.wrong(
            Area::Pipeline,
            &names.join(", "),
            diagnostic,
            &SourceMap::default(),
        );
    }
}

/// The catalogs of servers that answer, with the classes that a plan uses.
async fn catalogs(plan: &Plan, started: &Started) -> Known {
    let at_hand = prepare::at_hand(plan);
    let mut known = Known::default();
    for name in plan.servers.keys() {
        if let Some(catalog) = at_hand.of(name) {
            known.0.insert(name.clone(), catalog);
            continue;
        }
        let Some(endpoint) = started.get(name).and_then(|servers| servers.find(name)) else {
            continue;
        };
        if endpoint.is_here() {
            continue;
        }
        let wanted = classes(plan, name);
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        if let Ok(catalog) = endpoint.catalog(&wanted).await {
            known.0.insert(name.clone(), catalog);
        }
    }
    known
}

/// The pipelines of a project: YAML files with steps.
fn pipelines(project: &Path) -> Vec<PathBuf> {
    // A pipeline's project is the nearest folder above it with a project file: below another one, it is not ours.
    let elsewhere = |entry: &walkdir::DirEntry| entry.path().join(PROJECT_FILE).is_file();
    let wanted = |entry: &walkdir::DirEntry| {
        let name = entry.file_name().to_string_lossy();
        let other = || name.starts_with('.') || OTHERS.contains(&&*name) || elsewhere(entry);
        entry.depth() == 0 || !other()
    };
    walkdir::WalkDir::new(project)
        .max_depth(DEEP)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(wanted)
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file() && entry.file_name() != PROJECT_FILE)
        .map(walkdir::DirEntry::into_path)
        .filter(|path| path.extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .filter(|path| has_steps(path))
        .take(MOST)
        .collect()
}

fn has_steps(path: &Path) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().any(|line| line.starts_with("steps:"))
}
