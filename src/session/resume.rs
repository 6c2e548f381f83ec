//! `--resume`: which run is meant, and what going on with it takes.
//!
//! Without new params the stored plan is carried out under the run's own id: its journal says what is done. With them a new plan is made
//! from the files as they are now; the stored params and drawn seeds stand in for what is not said, and what is done already comes from
//! the cache.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::history::{self, Standing, State, TaskStanding};
use super::load::{PROJECT_FILE, Request, project_of};
use super::wishes::Resume;
use crate::base::{Inputs, RunId, Secrets, ServerName};
use crate::diagnostic::{Diagnostic, Report, SourceFile, SourceMap, codes};
use crate::event::RunStatus;
use crate::machine::Fact;
use crate::plan::{Plan, StepPlan};
use crate::store::{self, Journal, Replay, Store, StoredRun};

/// What `--resume` comes to.
pub(super) enum Taken {
    /// The run is done.
    Done(StoredRun),
    /// The stored plan goes on.
    Stored(Box<Stored>),
    /// A new plan is to be made.
    Anew(Box<Request>),
}

/// A run that goes on.
pub(super) struct Stored {
    pub(super) store: Store,
    pub(super) journal: Journal,
    pub(super) replay: Replay,
    pub(super) run: RunId,
    pub(super) secrets: Secrets,
}

/// Finds the run and opens it.
///
/// # Errors
/// What is wrong, for the user.
pub(super) fn take_up(request: &Request, resume: &Resume) -> Result<Taken, Box<Diagnostic>> {
    let state = |error: store::StoreError| Box::new(error.diagnostic());
    let project = project_dir(request);
    let reader = store::read(&project).map_err(state)?;
    let runs = match &reader {
        Some(reader) => reader.runs().map_err(state)?,
        None => Vec::new(),
    };
    let pipeline = request
        .names_a_file()
        .then(|| pipeline_name(request))
        .flatten();
    let stored = find(&resume.run, pipeline.as_deref(), runs, &project)?;
    let anew =
        !request.params.is_empty() || request.params_file.is_some() || !request.sets.is_empty();
    if anew {
        let plan = reader.map(|reader| reader.plan(&stored.run)).transpose();
        let Some(plan) = plan.map_err(state)?.flatten() else {
            return Err(Box::new(no_runs(&project)));
        };
        return anew_from(request, &plan).map(|request| Taken::Anew(Box::new(request)));
    }
    if let Some(flag) = resume.fixed.first() {
        let message =
            format!("`--resume` goes on with the stored plan, and `{flag}` would change it");
        return Err(Box::new(
            Diagnostic::error(&codes::BAD_ARGUMENT, message).help(format!(
                "leave `{flag}` out, or leave `--resume` out: what is done already is not run again"
            )),
        ));
    }
    if stored.status == Some(RunStatus::Done) {
        return Ok(Taken::Done(stored));
    }
    drop(reader);
    let store = Store::open(&project).map_err(state)?;
    let Some((journal, replay)) = store.resume(&stored.run).map_err(state)? else {
        return Err(Box::new(no_runs(&project)));
    };
    let secrets = secrets(&replay.plan)?;
    Ok(Taken::Stored(Box::new(Stored {
        store,
        journal,
        replay,
        run: stored.run,
        secrets,
    })))
}

/// The servers of a run that goes on which nothing needs any more: all that is known to run there has its results, and those are here.
pub(super) fn spare(plan: &Plan, facts: &[(u64, Fact)]) -> HashSet<ServerName> {
    let mut standing = Standing::new(plan);
    for (at, fact) in facts {
        standing.apply(*at, fact);
    }
    let is_done = |step: &StepPlan| {
        let mut tasks = standing.tasks.iter().filter(|task| task.step == step.id);
        let has_result = |task: &TaskStanding| matches!(task.status, State::Done | State::Cached);
        tasks.clone().next().is_some() && tasks.all(has_result)
    };
    let is_spare = |name: &&ServerName| {
        let mut steps = plan.steps.values();
        steps.all(|step| step.server != **name || is_done(step))
    };
    plan.servers.keys().filter(is_spare).cloned().collect()
}

/// The project that the run belongs to: that of the pipeline, if one was typed, else that of the current folder.
fn project_dir(request: &Request) -> PathBuf {
    let current = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    if !request.names_a_file() {
        return history::project_of(&current);
    }
    let path = current.join(&request.file);
    project_of(path.parent().unwrap_or(&current))
}

/// The name of the pipeline that was typed, as far as it can be read.
fn pipeline_name(request: &Request) -> Option<String> {
    let current = std::env::current_dir().ok()?;
    super::load::name_of(&current.join(&request.file))
}

fn find(
    wanted: &str,
    pipeline: Option<&str>,
    mut runs: Vec<StoredRun>,
    project: &Path,
) -> Result<StoredRun, Box<Diagnostic>> {
    let refuse = |message: String| Diagnostic::error(&codes::BAD_ARGUMENT, message);
    if runs.is_empty() {
        return Err(Box::new(no_runs(project)));
    }
    if wanted == "last" {
        runs.retain(|run| pipeline.is_none_or(|name| run.pipeline == name));
        if runs.is_empty() {
            let name = pipeline.unwrap_or_default();
            let message = format!("there is no run of `{name}` to resume");
            return Err(Box::new(refuse(message)));
        }
    }
    let run = history::pick(runs, wanted)?;
    match pipeline {
        Some(name) if run.pipeline != name => {
            let message = format!(
                "run `{}` is one of `{}`, not of `{name}`",
                run.run, run.pipeline
            );
            let help = "leave the pipeline out: a run knows its own";
            Err(Box::new(refuse(message).help(help)))
        }
        _ => Ok(run),
    }
}

/// Says which files of a stored plan have changed since: it is carried out as it was.
pub(super) fn kept(plan: &Plan) -> Option<Diagnostic> {
    let changed = |file: &&SourceFile| {
        let now = file.path.as_deref().map(std::fs::read);
        now.and_then(Result::ok)
            .is_some_and(|now| SourceMap::differs(file, &String::from_utf8_lossy(&now)))
    };
    let mut files = plan.sources.files().map(|(_, file)| file);
    let name = &files.find(changed)?.name;
    let message =
        format!("`{name}` has changed since the run began, which goes on with what it was");
    let built = Diagnostic::warning(&codes::PLAN_KEPT, message);
    Some(match pipeline_of(plan) {
        Some(path) => built.help(format!(
            "`kiln run {path}` takes it as it is now, and does nothing again that is done"
        )),
        None => built,
    })
}

/// The pipeline's file, as a shell takes it.
fn pipeline_of(plan: &Plan) -> Option<String> {
    let (_, first) = plan.sources.files().next()?;
    let path = first.path.as_deref()?;
    Some(quoted(&crate::base::display_path(path)))
}

/// What to type to go on with the last run of a plan, in the current folder.
pub(super) fn command(plan: &Plan) -> String {
    let here =
        std::env::current_dir().is_ok_and(|dir| history::project_of(&dir) == plan.project_dir);
    if here {
        return "kiln run --resume last".to_owned();
    }
    match pipeline_of(plan) {
        Some(path) => format!("kiln run {path} --resume last"),
        None => "kiln run --resume last".to_owned(),
    }
}

/// A path as a shell takes it.
fn quoted(path: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+,@%".contains(c);
    if path.chars().all(plain) {
        path.to_owned()
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    }
}

fn no_runs(project: &Path) -> Diagnostic {
    let message = format!(
        "there is no run to resume in `{}`",
        crate::base::display_path(project)
    );
    Diagnostic::error(&codes::BAD_ARGUMENT, message)
        .help("go to the project's folder, or name the pipeline: `kiln run PIPELINE --resume last`")
}

/// The request for a new plan that takes from the stored one what is not said.
fn anew_from(request: &Request, plan: &Plan) -> Result<Request, Box<Diagnostic>> {
    let file = if request.names_a_file() {
        request.file.clone()
    } else {
        let mut sources = plan.sources.files();
        let first = sources.next().and_then(|(_, file)| file.path.clone());
        first.ok_or_else(|| {
            let message = "the run's pipeline came through stdin";
            Box::new(
                Diagnostic::error(&codes::BAD_ARGUMENT, message)
                    .help("give the pipeline again, beside `--resume`"),
            )
        })?
    };
    Ok(Request {
        file,
        seed: request.seed.or(Some(plan.seed)),
        recalled: plan.params.clone(),
        ..request.clone()
    })
}

/// The secrets of a plan's project.
pub(super) fn secrets(plan: &Plan) -> Result<Secrets, Box<Diagnostic>> {
    let inputs = Arc::new(Inputs::default());
    let path = plan.project_dir.join(PROJECT_FILE);
    if path.is_file() {
        let (mut sources, mut report) = (SourceMap::default(), Report::default());
        let project = crate::spec::load_project(&path, &inputs, &mut sources, &mut report);
        if project.as_ref().is_some_and(|project| project.dotenv) {
            let read = inputs.read_dotenv(&plan.project_dir.join(".env"));
            read.map_err(|error| {
                Box::new(Diagnostic::error(
                    &codes::FILE_NOT_READABLE,
                    error.to_string(),
                ))
            })?;
        }
        if let Some(project) = &project {
            crate::plan::recall_secrets(project, &plan.project_dir, &inputs);
        }
    }
    Ok(Secrets::of(inputs))
}
