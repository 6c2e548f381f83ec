//! The servers of a project, asked for without a pipeline: to look after them, not to run anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::build::{Materials, engine};
use super::eval::{Evaluator, Here, Names, Typed};
use super::scope;
use super::sealed::ServerPlan;
use super::servers::{Asked, Chosen};
use super::settings::Settings;
use crate::base::{Inputs, Secrets, ServerName};
use crate::diagnostic::{Report, SourceMap};
use crate::spec::{Pipeline, Project};

/// The server that is meant when nobody says which, and the project has no default.
const USUAL: &str = "local";

/// Which servers are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which<'a> {
    /// The one of this name or address.
    Named(&'a str),
    /// The project's default, else `local`.
    Default,
    /// All that the project declares.
    Declared,
}

/// Where servers are looked for.
#[derive(Debug)]
pub struct Apart<'a> {
    /// The project file.
    pub project: Option<&'a Project>,
    /// The project's folder, absolute.
    pub project_dir: &'a Path,
    /// The door to files and the environment.
    pub inputs: &'a Arc<Inputs>,
    /// Where the values of secrets are.
    pub secrets: &'a Secrets,
}

/// The servers that are meant; what is wrong with the others goes into `report`.
pub fn servers(
    which: Which<'_>,
    place: &Apart<'_>,
    sources: &mut SourceMap,
    report: &mut Report,
) -> IndexMap<ServerName, ServerPlan> {
    let pipeline = Pipeline::new(sources.add_text("", ""), String::new());
    let settings = Settings {
        current_dir: place.project_dir.to_path_buf(),
        ..Settings::default()
    };
    let materials = Materials {
        pipeline: &pipeline,
        pipeline_dir: place.project_dir,
        bare: None,
        project: place.project,
        project_dir: place.project_dir,
        settings: &settings,
        inputs: place.inputs,
        secrets: place.secrets,
        earlier: None,
        plugins: &crate::plan::PlanPlugins::default(),
        declared: None,
    };
    let engine = engine(&materials, place.project_dir, 0, &jiff::Zoned::now());
    let (params, undecided, steps) = (IndexMap::new(), BTreeSet::new(), BTreeSet::new());
    let mut evaluator = Evaluator {
        engine: &engine,
        typed: Typed {
            engine: &engine,
            folder: place.project_dir,
        },
        names: Names {
            params: &params,
            undecided: &undecided,
            steps: &steps,
            order: &[],
            outputs: &BTreeMap::new(),
        },
        scope: scope::fixed("", place.project_dir, &params),
        report,
        used: BTreeMap::new(),
        here: Here::default(),
    };
    choose_all(which, &materials, &mut evaluator, sources)
}

fn choose_all(
    which: Which<'_>,
    materials: &Materials<'_>,
    evaluator: &mut Evaluator<'_>,
    sources: &mut SourceMap,
) -> IndexMap<ServerName, ServerPlan> {
    let mut found = IndexMap::new();
    let mut choose = |flag: Option<&str>, default| {
        let asked = Asked {
            flag,
            profile: None,
            written: [None, None, default],
        };
        // One for each: that one is refused says nothing of the others.
        let mut chosen = Chosen::default();
        chosen.choose(&asked, materials, evaluator, sources);
        found.extend(chosen.servers);
    };
    match which {
        Which::Named(name) => choose(Some(name), None),
        Which::Default => match materials.project.and_then(|p| p.default_server.as_ref()) {
            Some(node) => choose(None, Some(node)),
            None => choose(Some(USUAL), None),
        },
        Which::Declared => {
            let declared = materials.project.into_iter().flat_map(|p| p.servers.keys());
            declared.for_each(|name| choose(Some(name), None));
        }
    }
    found
}
