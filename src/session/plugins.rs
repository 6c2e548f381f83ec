//! The plugins of a project: loaded for a plan, loaded again for a run that goes on, or looked at by themselves.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::load::{PROJECT_FILE, dotenv, project_of};
use crate::base::{ContentHash, Inputs, Secrets, StepId};
use crate::diagnostic::{Report, SourceMap, did_you_mean};
use crate::plan::{self, Plan, PlanPlugins};
use crate::plugin::{self, About, Complaints, Declared, Plugins, Said, for_editors};
use crate::spec::{self, Pipeline, PluginStepSchema, Project};

/// How long plugins may take to end when there was nothing to do.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Loads the plugins that a project declares for a pipeline; everything that is wrong is reported.
pub(super) fn load_plugins(
    (project, project_dir): (Option<&Project>, &Path),
    pipeline: &Pipeline,
    (inputs, secrets): (&Arc<Inputs>, &Secrets),
    (sources, report): (&SourceMap, &mut Report),
) -> PlanPlugins {
    let Some(project) = project else {
        return PlanPlugins::default();
    };
    let mut broken: Vec<(String, bool)> = project
        .broken_plugins
        .iter()
        .map(|name| (name.clone(), true))
        .collect();
    if project.plugins.is_empty() {
        return PlanPlugins {
            broken,
            ..PlanPlugins::default()
        };
    }
    let reach = (inputs, secrets);
    let name = Some(pipeline.name.as_str());
    let mut declared = plan::declared_plugins(project, project_dir, name, reach, sources, report);
    mistyped_steps(project, pipeline, report);
    let wanted: Vec<(String, bool)> = declared
        .values()
        .map(|one| (one.name.clone(), one.on_error == spec::OnError::Fail))
        .collect();
    let mut complaints = Vec::new();
    let loaded = Plugins::load(&mut declared, (inputs, secrets), false, &mut complaints);
    report.extend(complaints.into_iter().map(plugin::goes_on_without));
    broken.extend(
        wanted
            .into_iter()
            .filter(|(name, _)| !declared.contains_key(name)),
    );
    PlanPlugins {
        loaded,
        declared,
        broken,
    }
}

/// Steps that plugins are for and that the pipeline does not have. A plugin may be for several pipelines, each with steps of its own: then
/// only what was probably mistyped is told.
fn mistyped_steps(project: &Project, pipeline: &Pipeline, report: &mut Report) {
    let name = pipeline.name.as_str();
    let known = || pipeline.steps.keys().map(StepId::as_str);
    for plugin in project.plugins.values() {
        let others = match &plugin.pipelines {
            Some(all) if !all.iter().any(|one| one.value == name) => continue,
            Some(all) => all.len() > 1,
            None => true,
        };
        for step in plugin.steps.iter().flatten() {
            let wrong = step.value.as_str();
            let broken = pipeline.broken_steps.iter().map(String::as_str);
            let missing = !known().chain(broken).any(|one| one == wrong);
            if missing && (!others || did_you_mean(wrong, known()).is_some()) {
                let at = (wrong, step.span);
                report.push(plugin::no_such_step(&plugin.name.value, at, name, known()));
            }
        }
    }
}

/// Loads the plugins of a stored plan again: they must be what they were, those that may fail as well. Without one of them the run would
/// not be what it began as, and what it makes would stand for something else.
pub(super) fn reload(plan: &mut Plan, secrets: &Secrets, no_plugins: bool, report: &mut Report) {
    if plan.plugins.is_empty() {
        return;
    }
    if no_plugins {
        let names: Vec<&str> = plan.plugins.keys().map(String::as_str).collect();
        report.push(plugin::switched_off_since(&names));
        return;
    }
    let mut declared = plan.plugins.clone();
    let mut complaints = Vec::new();
    let inputs = Inputs::default();
    plan.loaded = Plugins::load(&mut declared, (&inputs, secrets), true, &mut complaints);
    report.extend(complaints);
}

/// Tells plugins of the end of a run that nothing was to be done in, and ends them: what they say to it, told by `tell`, and whether one
/// failed that must not.
pub(super) async fn end(plugins: &Plugins, mut tell: impl FnMut(Said)) -> bool {
    let notices = plugins.notices();
    plugins.end(PATIENCE).await;
    let mut complaints = Complaints::default();
    if let Some(mut notices) = notices {
        while let Ok(notice) = notices.try_recv() {
            if let Some(said) = complaints.heed(plugins, notice) {
                tell(said);
            }
        }
    }
    let often = complaints.often().into_iter();
    often.for_each(|built| tell(Said::Complaint(Box::new(built))));
    plugins.failed()
}

/// A plugin of a project, and what came of loading it.
#[derive(Debug)]
pub struct ListedPlugin {
    /// As it is declared.
    pub declared: Declared,
    /// What it is; `None` when it could not be loaded.
    pub about: Option<About>,
}

/// The plugins of the project around a folder, whatever pipelines they are for, with everything that is wrong.
#[derive(Debug, Default)]
pub struct PluginList {
    /// The project's folder; `None`: there is no project file.
    pub project: Option<PathBuf>,
    /// Plugins in their order.
    pub plugins: Vec<ListedPlugin>,
    /// What is wrong.
    pub report: Report,
    /// The texts that the report points into.
    pub sources: SourceMap,
}

/// Loads all plugins of the project around a folder.
pub fn list_plugins(folder: &Path) -> PluginList {
    let mut list = PluginList::default();
    let inputs = Arc::new(Inputs::default());
    let dir = project_of(folder);
    let file = dir.join(PROJECT_FILE);
    if !file.is_file() {
        return list;
    }
    list.project = Some(dir.clone());
    let project = spec::load_project(&file, &inputs, &mut list.sources, &mut list.report);
    let Some(project) = project else {
        return list;
    };
    if project.dotenv {
        dotenv(&dir, &inputs, &mut list.report);
    }
    let secrets = Secrets::of(Arc::clone(&inputs));
    let reach = (&inputs, &secrets);
    let (sources, report) = (&list.sources, &mut list.report);
    let all = plan::declared_plugins(&project, &dir, None, reach, sources, report);
    let mut declared = all.clone();
    let mut complaints = Vec::new();
    let loaded = Plugins::load(&mut declared, (&inputs, &secrets), false, &mut complaints);
    list.report.extend(complaints);
    list.plugins = all
        .into_iter()
        .map(|(name, one)| ListedPlugin {
            about: loaded.about(&name).cloned(),
            declared: declared.swap_remove(&name).unwrap_or(one),
        })
        .collect();
    list
}

/// What the steps of the project's plugins take, for editors. Plugins that cannot be loaded are left out.
pub fn plugin_schemas(folder: &Path) -> Vec<PluginStepSchema> {
    let listed = list_plugins(folder).plugins.into_iter();
    listed
        .filter_map(|one| {
            Some(PluginStepSchema {
                plugin: one.declared.name,
                with: for_editors(&one.about?.step?.with),
            })
        })
        .collect()
}

/// A library by itself: its file, its hash, and what it says it is.
///
/// # Errors
/// What was tried, and why it failed.
pub fn look_at_plugin(path: &Path) -> Result<(PathBuf, ContentHash, About), Report> {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let path = here.join(path);
    Plugins::look_at(&path, &project_of(&here)).map_err(|items| Report { items })
}
