//! The plugins of a project as a plan declares them: settings evaluated, paths absolute, only those that are for the pipeline.

use std::path::Path;
use std::sync::Arc;

use indexmap::IndexMap;

use super::world::PlanWorld;
use crate::artifact::Datum;
use crate::base::{Inputs, Secrets, StepId};
use crate::diagnostic::{Report, SourceMap};
use crate::plugin::{Declared, Plugins, handed};
use crate::spec::{self, Node, NodeKind, PluginSpec, Project};
use crate::template::{Engine, Scope, Template};

/// Plugins, declared and loaded.
#[derive(Clone, Debug, Default)]
pub struct PlanPlugins {
    /// Loaded.
    pub loaded: Plugins,
    /// As they are declared, without those that could not be loaded.
    pub declared: IndexMap<String, Declared>,
    /// Those that could not be loaded, each with whether that was told as an error.
    pub broken: Vec<(String, bool)>,
}

/// The plugins that a project declares for a pipeline; `None`: all. Mistakes in their settings are reported.
pub fn declared_plugins(
    project: &Project,
    project_dir: &Path,
    pipeline: Option<&str>,
    (inputs, secrets): (&Arc<Inputs>, &Secrets),
    sources: &SourceMap,
    report: &mut Report,
) -> IndexMap<String, Declared> {
    let world = PlanWorld::new(Arc::clone(inputs), project_dir, 0, jiff::Zoned::now())
        .with_secrets(secrets.clone())
        .in_project(project_dir);
    let engine = Engine::new(Arc::new(world));
    let wanted = |spec: &&PluginSpec| match (&spec.pipelines, pipeline) {
        (Some(names), Some(pipeline)) => names.iter().any(|name| name.value == pipeline),
        _ => true,
    };
    let specs = project.plugins.values().filter(wanted);
    let mut declared = IndexMap::new();
    for spec in specs {
        let config = match &spec.config {
            Some(node) => evaluated(node, &engine, sources, report),
            None => Some(Datum::Map(IndexMap::new())),
        };
        let Some(config) = config else { continue };
        let steps = spec.steps.as_ref().map(|steps| {
            let names = steps.iter();
            names
                .map(|name| StepId::from(name.value.as_str()))
                .collect()
        });
        let name = &spec.name.value;
        let path = project_dir.join(&spec.path.value);
        let one = Declared {
            config: handed(&config),
            on_error: spec.on_error,
            timeout_ms: spec.timeout_ms,
            isolation: spec.isolation,
            pin: spec.hash.as_ref().map(|hash| hash.value.clone()),
            steps,
            span: Some(spec.name.span),
            path_span: Some(spec.path.span),
            config_span: spec.config.as_ref().map(|node| node.span),
            ..Declared::new(name, path, project_dir.to_path_buf())
        };
        declared.insert(name.clone(), one);
    }
    declared
}

/// A value with its templates evaluated; `None` when an error was reported.
fn evaluated(
    node: &Node,
    engine: &Engine,
    sources: &SourceMap,
    report: &mut Report,
) -> Option<Datum> {
    match &node.kind {
        NodeKind::String(text) => {
            let value = match Template::parse(text) {
                Ok(None) => return Some(Datum::String(text.clone())),
                Ok(Some(template)) => engine.eval(&template, &Scope::default()),
                Err(error) => Err(error),
            };
            value
                .map_err(|error| report.push(spec::template_diagnostic(&error, node, sources)))
                .ok()
        }
        NodeKind::List(items) => {
            let items: Vec<Option<Datum>> = items
                .iter()
                .map(|item| evaluated(item, engine, sources, report))
                .collect();
            Some(Datum::List(items.into_iter().collect::<Option<_>>()?))
        }
        NodeKind::Map(entries) => {
            let entries: Vec<Option<(String, Datum)>> = entries
                .iter()
                .map(|(key, value)| {
                    Some((
                        key.value.clone(),
                        evaluated(value, engine, sources, report)?,
                    ))
                })
                .collect();
            Some(Datum::Map(entries.into_iter().collect::<Option<_>>()?))
        }
        _ => Some(node.to_datum()),
    }
}
