//! A run that has nothing to do: everything it would make lies where the newest run put it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use super::facts::{file_of, models_of, realm_of};
use super::folder::{output_set, run_folder};
use super::tell::output;
use super::telling::{info, infos};
use crate::artifact::Artifact;
use crate::base::{RunId, ServerName, StepId, safe_join, safe_name};
use crate::event::{Counts, RunEvent, RunStatus, TaskInfo, TaskStatus};
use crate::plan::key::{Realm, ServerFacts, server_files};
use crate::plan::{Plan, TaskIx, TaskPlan};
use crate::servers::Servers;

/// A plan of which nothing need run.
#[derive(Clone, Debug, Default)]
pub struct Resting {
    /// Tasks beyond those of the plan: they follow from what lies there.
    pub grown: Vec<TaskPlan>,
    /// All tasks, by steps in file order.
    pub lying: Vec<Lying>,
}

impl Resting {
    fn task<'a>(&'a self, plan: &'a Plan, ix: TaskIx) -> Option<&'a TaskPlan> {
        let at = ix.0 as usize;
        let grown = || self.grown.get(at - plan.tasks.len());
        plan.tasks.get(at).or_else(grown)
    }
}

/// A task that need not run.
#[derive(Clone, Debug)]
pub struct Lying {
    /// It.
    pub task: TaskIx,
    /// What it made, as it lies in the newest run's folder; `None`: its `when` is false.
    pub artifacts: Option<Vec<Arc<Artifact>>>,
}

/// The run that `latest` leads to.
pub fn newest(plan: &Plan) -> Option<RunId> {
    let latest = output_set(plan).join("latest");
    let name = match std::fs::read_link(&latest) {
        Ok(target) => target.to_str()?.to_owned(),
        // Where there are no links, it is a file with the name in it.
        Err(_) => std::fs::read_to_string(&latest).ok()?,
    };
    Some(RunId(name))
}

/// The folder of a step in a run's folder.
pub fn step_folder(plan: &Plan, run: &RunId, step: &StepId) -> PathBuf {
    run_folder(plan, run).join(safe_name(step.as_str()))
}

/// Whether a run would put a result that is to be called `wanted` where this file lies, in its step's folder; another result of the step
/// may have had the name first.
pub fn would_be(folder: &Path, wanted: &str, path: &Path) -> bool {
    let Ok(place) = safe_join(folder, wanted) else {
        return false;
    };
    if place == path {
        return true;
    }
    let whole = path.file_stem().and_then(|whole| whole.to_str());
    let Some((first, number)) = whole.and_then(|whole| whole.rsplit_once('-')) else {
        return false;
    };
    let mut name = first.to_owned();
    if let Some(extension) = path.extension().and_then(|extension| extension.to_str()) {
        name.push('.');
        name.push_str(extension);
    }
    number.parse::<u32>().is_ok_and(|number| number > 1) && path.with_file_name(name) == place
}

/// What the servers of a plan tell of their models. Those that do not answer are left out.
pub async fn told_of_models(
    plan: &Plan,
    servers: &Servers,
) -> std::collections::HashMap<ServerName, ServerFacts> {
    let mut told = std::collections::HashMap::new();
    for (name, server) in &plan.servers {
        let Some(endpoint) = servers.find(name) else {
            continue;
        };
        let is_away = Realm::of(&server.kind) == Realm::Comfy;
        let realm = match Realm::of(&server.kind) {
            Realm::Comfy => realm_of(endpoint),
            own => own,
        };
        let mut facts = ServerFacts::new(realm);
        if is_away {
            let Some(models) = models_of(endpoint.client()).await else {
                continue;
            };
            facts.models = models;
            let steps = plan.steps.values().filter(|step| step.server == *name);
            let graphs = steps.filter_map(|step| Some(&step.workflow()?.graph));
            for file in graphs.flat_map(|graph| server_files(graph, &[])) {
                if !facts.files.contains_key(file)
                    && let Ok(Some(content)) = file_of(endpoint.client(), file).await
                {
                    facts.files.insert(file.to_owned(), content);
                }
            }
        }
        told.insert(name.clone(), facts);
    }
    told
}

/// Tells of such a run and of its end.
pub fn nothing_to_do(plan: &Plan, run: &RunId, resting: &Resting, mut tell: impl FnMut(RunEvent)) {
    tell(RunEvent::RunStarted {
        pipeline: plan.pipeline.clone(),
        tasks: infos(plan),
        growing: false,
        output_dir: run_folder(plan, run),
        expected: std::collections::BTreeMap::new(),
    });
    let tasks = resting.lying.iter().filter_map(|lying| {
        Some((
            lying.task,
            resting.task(plan, lying.task)?,
            &lying.artifacts,
        ))
    });
    let mut added: IndexMap<&StepId, Vec<TaskInfo>> = IndexMap::new();
    for (ix, task, _) in tasks.clone() {
        if ix.0 as usize >= plan.tasks.len() {
            let tasks = added.entry(&task.step).or_default();
            tasks.push(info(plan, task, Arc::default()));
        }
    }
    for (step, tasks) in added {
        let step = step.clone();
        tell(RunEvent::TasksAdded { step, tasks });
    }
    let mut counts = Counts::default();
    for (_, task, artifacts) in tasks {
        let status = match artifacts {
            Some(_) => TaskStatus::Cached,
            None => TaskStatus::Skipped,
        };
        match status {
            TaskStatus::Cached => counts.cached += 1,
            _ => counts.skipped += 1,
        }
        let outputs = artifacts.iter().flatten().map(|made| output(made));
        tell(RunEvent::TaskFinished {
            task: task.name.clone(),
            status,
            outputs: outputs.collect(),
            seconds: 0.0,
            diagnostic: None,
        });
    }
    let latest: PathBuf = output_set(plan).join("latest");
    tell(RunEvent::RunFinished {
        status: RunStatus::Done,
        exit_code: 0,
        counts,
        cause: None,
        latest: Some(latest),
        up_to_date: true,
        resume: None,
        seconds: 0.0,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_that_was_numbered_is_where_it_would_be() {
        let mut plan = super::super::tests::plan();
        plan.output_dir = PathBuf::from("/out");
        let (run, step) = (RunId::from("r1"), StepId::from("draw"));
        let at = |wanted: &str, path: &str| {
            let path = Path::new("/out/shots/r1/draw").join(path);
            would_be(&step_folder(&plan, &run, &step), wanted, &path)
        };
        assert!(at("a.png", "a.png") && at("a.png", "a-2.png") && at("deep/a", "deep/a-13"));
        assert!(!at("a.png", "b.png") && !at("a.png", "a-1.png") && !at("a.png", "a-x.png"));
        assert!(!at("a.png", "deep/a.png") && !at("../a.png", "a.png"));
    }
}
