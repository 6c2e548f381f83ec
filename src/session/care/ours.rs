//! Which jobs of a server belong to runs of this project.

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;

use crate::base::{RunId, TaskName};
use crate::run::prompt_id;
use crate::session::history::{Alive, History};

/// A job of this project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OwnJob {
    /// Its run.
    pub run: RunId,
    /// Its task.
    pub task: TaskName,
}

/// The jobs by id that runs of a project may have on servers: of those that go on, and of those that were killed.
pub(super) fn our_jobs(project: &Path) -> HashMap<String, OwnJob> {
    let mut ours = HashMap::new();
    // Without a readable state there is nothing that could be ours.
    let Ok(history) = History::open(project) else {
        return ours;
    };
    let runs = history.reader().runs().unwrap_or_default();
    for run in runs {
        if !matches!(history.alive(&run), Alive::Running | Alive::Interrupted) {
            continue;
        }
        let Ok((_, standing)) = history.standing(&run.run) else {
            continue;
        };
        for task in &standing.tasks {
            let Some((ticket, _)) = task.last else {
                continue;
            };
            let id = prompt_id(&run.run, &task.task, ticket).to_string();
            let own = OwnJob {
                run: run.run.clone(),
                task: task.task.clone(),
            };
            ours.insert(task.prompt_id.clone().unwrap_or(id), own);
        }
    }
    ours
}
