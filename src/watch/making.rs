//! From files to a plan, and to the arms for the next change.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::mpsc::UnboundedSender;

use super::arms::Outputs;
use super::set::WatchSet;
use super::source::{Owner, Source};
use super::touch::Touch;
use crate::base::{ContentHash, TaskName};
use crate::diagnostic::Diagnostic;
use crate::plan::Plan;
use crate::run::output_set;
use crate::session::{self, Fate, Loaded, Request};
use crate::store::STATE_FOLDER;

/// How often folders that appear while others are armed are armed, too; those that appear later are told of.
const TIMES: usize = 4;

/// What a plan is made for.
pub(super) struct Making {
    pub(super) request: Request,
    pub(super) owner: Owner,
    /// What the last plan read.
    pub(super) set: Arc<WatchSet>,
    pub(super) tell: UnboundedSender<Touch>,
    /// The plan that is carried out meanwhile.
    pub(super) running: Option<Arc<Plan>>,
}

/// What came of it.
pub(super) struct Made {
    pub(super) loaded: Loaded,
    /// The plan, when there is no error.
    pub(super) plan: Option<Arc<Plan>>,
    pub(super) set: Arc<WatchSet>,
    /// What changed while it was made.
    pub(super) late: Vec<PathBuf>,
    pub(super) fates: Vec<Fate>,
    /// Tasks that are at work already, and would be done again just as they are.
    pub(super) spared: BTreeSet<TaskName>,
    /// It does what is carried out already.
    pub(super) same: bool,
    /// Everything is to run, done before or not.
    pub(super) forced: bool,
    pub(super) troubles: Vec<Diagnostic>,
}

/// Loads and plans, and looks at what was read from then on.
pub(super) fn make(making: Making, source: &Mutex<Source>) -> Made {
    let Making {
        request,
        owner,
        set,
        tell,
        running,
    } = making;
    let began = SystemTime::now();
    let mut loaded = session::load(&request);
    let here = std::env::current_dir().unwrap_or_default();
    let file = here.join(&request.file);
    let folder = file.parent().unwrap_or(&here).to_path_buf();
    let project = loaded.project_dir.clone().unwrap_or(folder);
    let planned = loaded.plan.as_ref().or(loaded.sound.as_ref());
    let outputs = match planned {
        Some(plan) => Outputs::of([project.join(STATE_FOLDER), results(plan, &file)]),
        None => set.outputs().and(project.join(STATE_FOLDER)),
    };
    session::complete(&mut loaded);
    let typed = std::iter::once(&request.file).chain(&request.params_file);
    let typed: Vec<PathBuf> = typed.map(|file| here.join(file)).collect();
    let plan = loaded.plan.clone().map(Arc::new);
    let (fates, read) = plan.as_deref().map(session::foresee).unwrap_or_default();
    let set = WatchSet::of(&loaded.inputs, &typed, &project, outputs);
    let set = Arc::new(set.and(&read));
    let troubles = arm(source, owner, &set, &tell);
    let late = set.changed_since(began);
    let (mut stays, mut same) = (BTreeSet::new(), false);
    if let (Some(running), Some(plan)) = (&running, &plan) {
        let before = session::fates(running);
        stays = spared(&before, &fates);
        same = agree(&before, &fates) && running.does_the_same(plan);
    }
    Made {
        loaded,
        plan,
        set,
        late,
        fates,
        spared: stays,
        same,
        forced: request.force,
        troubles,
    }
}

/// Whether no task has another key than before, as far as they are known.
fn agree(before: &[Fate], now: &[Fate]) -> bool {
    let keys = keys(before);
    let mut now = now.iter();
    now.all(|fate| match (&fate.task, fate.key) {
        (Some(task), Some(key)) => keys.get(task).is_none_or(|before| *before == key),
        _ => true,
    })
}

/// Where results go: the whole folder of all pipelines, unless the pipeline itself lies in it.
fn results(plan: &Plan, file: &Path) -> PathBuf {
    if file.starts_with(&plan.output_dir) || plan.project_dir.starts_with(&plan.output_dir) {
        output_set(plan)
    } else {
        plan.output_dir.clone()
    }
}

/// Looks at everything in a set.
pub(super) fn arm(
    source: &Mutex<Source>,
    owner: Owner,
    set: &WatchSet,
    tell: &UnboundedSender<Touch>,
) -> Vec<Diagnostic> {
    let mut arms = set.arms();
    let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
    let mut troubles = Vec::new();
    for _ in 0..TIMES {
        let folders = arms.folders.clone();
        let armed = source.arm(owner, arms, tell.clone());
        troubles.extend(armed.troubles);
        if !armed.anew {
            break;
        }
        // What was made in a new folder before it was looked at is not told of.
        arms = set.arms();
        if arms.folders == folders {
            break;
        }
    }
    troubles
}

/// What the results of tasks depend on, hashed, as far as that is known.
fn keys(fates: &[Fate]) -> HashMap<TaskName, ContentHash> {
    let known = fates.iter();
    known
        .filter_map(|fate| Some((fate.task.clone()?, fate.key?)))
        .collect()
}

/// Tasks that have the same key in both plans: what they make now is what would be made.
fn spared(before: &[Fate], now: &[Fate]) -> BTreeSet<TaskName> {
    let before = keys(before);
    let now = keys(now).into_iter();
    now.filter(|(task, key)| before.get(task) == Some(key))
        .map(|(task, _)| task)
        .collect()
}
