//! The state of the project around a folder, and its runs by what people call them.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::standing::Standing;
use crate::base::{RunId, display_path};
use crate::diagnostic::{Diagnostic, codes, did_you_mean};
use crate::event::{Counts, RunStatus};
use crate::plan::Plan;
use crate::store::{self, Reader, STATE_FOLDER, StoreError, StoredRun};

/// The name of the project file.
const PROJECT_FILE: &str = "kiln.yaml";

/// The runs of a project.
#[derive(Debug)]
pub struct History {
    pub(super) project: PathBuf,
    pub(super) reader: Reader,
}

/// Whether a run goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Alive {
    /// Its process is at it.
    Running,
    /// Its process died before its end.
    Interrupted,
    /// Every task is done.
    Done,
    /// A task failed.
    Failed,
    /// It was stopped.
    Cancelled,
}

impl Alive {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One line of `kiln runs`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunRow {
    /// Its id.
    pub run: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// How it stands.
    pub status: Alive,
    /// When it started, milliseconds since 1970.
    pub started: u64,
    /// When it ended, milliseconds since 1970; for one that did not, when something last happened.
    pub ended: u64,
    /// Its tasks by status.
    pub counts: Counts,
    /// How many tasks it has, as far as they are known.
    pub tasks: usize,
    /// The exit code, once it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u8>,
    /// Where its results are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

impl History {
    /// The runs of the project that holds a folder: the nearest one above it with a `kiln.yaml`, else the nearest one with a `.kiln`.
    ///
    /// # Errors
    /// When nothing ever ran there, or the state cannot be used.
    pub fn open(folder: &Path) -> Result<Self, Box<Diagnostic>> {
        let project = project_of(folder);
        match store::read(&project) {
            Ok(Some(reader)) => Ok(Self { project, reader }),
            Ok(None) => {
                let place = display_path(&project);
                let message = format!("nothing ever ran in `{place}`");
                let diagnostic = Diagnostic::error(&codes::BAD_ARGUMENT, message);
                let below = with_runs(&project);
                Err(Box::new(match &below[..] {
                    [] => diagnostic.help(
                        "kiln keeps its runs in `.kiln` beside `kiln.yaml`, or beside the pipeline where there is none: go there, or name that folder with `--project`",
                    ),
                    [only] => diagnostic.help(format!(
                        "something ran in `{only}`: go there, or add `--project {only}`"
                    )),
                    many => {
                        let list = crate::diagnostic::list_of(many.iter().map(String::as_str), 6);
                        diagnostic.help(format!(
                            "something ran in {list}: go there, or name one of them with `--project`"
                        ))
                    }
                }))
            }
            Err(error) => Err(Box::new(error.diagnostic())),
        }
    }

    /// The project's folder.
    pub fn project(&self) -> &Path {
        &self.project
    }

    /// The door to the database.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// A run by its id, the beginning of its id when only one begins so, or `last`.
    ///
    /// # Errors
    /// When there is no such run, or several.
    pub fn find(&self, typed: &str) -> Result<StoredRun, Box<Diagnostic>> {
        let runs = self.reader.runs().map_err(complain)?;
        pick(runs, typed)
    }

    /// Whether a run goes on.
    pub fn alive(&self, run: &StoredRun) -> Alive {
        match run.status {
            Some(RunStatus::Done) => Alive::Done,
            Some(RunStatus::Failed) => Alive::Failed,
            Some(RunStatus::Cancelled) => Alive::Cancelled,
            None if self.reader.process_of(&run.run).is_some() => Alive::Running,
            None => Alive::Interrupted,
        }
    }

    /// All runs, newest first.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn rows(&self) -> Result<Vec<RunRow>, Box<Diagnostic>> {
        let runs = self.reader.runs().map_err(complain)?;
        runs.into_iter().map(|run| self.row(run)).collect()
    }

    fn row(&self, run: StoredRun) -> Result<RunRow, Box<Diagnostic>> {
        let status = self.alive(&run);
        let (counts, ended, tasks) =
            if let (Some(counts), Some(finished)) = (run.counts, run.finished) {
                let ended =
                    counts.done + counts.cached + counts.failed + counts.skipped + counts.cancelled;
                let planned = run.tasks.and_then(|tasks| usize::try_from(tasks).ok());
                (counts, finished, ended.max(planned.unwrap_or(0)))
            } else {
                let (_, standing) = self.standing(&run.run)?;
                let last = standing.last.max(run.started);
                let finished = run.finished.unwrap_or(last);
                (standing.counts(), finished, standing.tasks.len())
            };
        Ok(RunRow {
            run: run.run,
            pipeline: run.pipeline,
            status,
            started: run.started,
            ended,
            counts,
            tasks,
            exit_code: run.exit_code,
            folder: run.folder,
        })
    }

    /// A run's plan, and how its tasks stand.
    ///
    /// # Errors
    /// When the state cannot be read.
    pub fn standing(&self, run: &RunId) -> Result<(Plan, Standing), Box<Diagnostic>> {
        let replay = self.reader.replay(run).map_err(complain)?;
        let Some(replay) = replay else {
            return Err(Box::new(gone(run)));
        };
        let mut standing = Standing::new(&replay.plan);
        for (at, fact) in &replay.facts {
            standing.apply(*at, fact);
        }
        Ok((replay.plan, standing))
    }
}

/// The folders right below one that have runs of their own, sorted.
fn with_runs(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let folders = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<String> = folders
        .filter(|path| path.join(STATE_FOLDER).is_dir())
        .map(|path| display_path(&path))
        .collect();
    found.sort();
    found
}

/// The project that holds a folder.
pub(in crate::session) fn project_of(folder: &Path) -> PathBuf {
    let with = |name: &str| folder.ancestors().find(|dir| dir.join(name).exists());
    with(PROJECT_FILE)
        .or_else(|| with(STATE_FOLDER))
        .unwrap_or(folder)
        .to_path_buf()
}

#[expect(clippy::needless_pass_by_value, reason = "a mapper of errors")]
pub(super) fn complain(error: StoreError) -> Box<Diagnostic> {
    Box::new(error.diagnostic())
}

fn gone(run: &RunId) -> Diagnostic {
    Diagnostic::error(
        &codes::BAD_ARGUMENT,
        format!("run {run} was removed just now"),
    )
}

/// A run by what was typed of it.
pub(in crate::session) fn pick(
    mut runs: Vec<StoredRun>,
    typed: &str,
) -> Result<StoredRun, Box<Diagnostic>> {
    let refuse = |message: String| Diagnostic::error(&codes::BAD_ARGUMENT, message);
    if typed == "last" && !runs.is_empty() {
        return Ok(runs.swap_remove(0));
    }
    let (exact, begun): (Vec<_>, Vec<_>) = (0..runs.len())
        .filter(|at| !typed.is_empty() && runs[*at].run.as_str().starts_with(typed))
        .partition(|at| runs[*at].run.as_str() == typed);
    match (&exact[..], &begun[..]) {
        ([at], _) | ([], [at]) => Ok(runs.swap_remove(*at)),
        (_, []) => {
            let ids = runs.iter().map(|run| run.run.as_str());
            let near = did_you_mean(typed, ids.clone());
            let diagnostic = refuse(format!("there is no run `{typed}`"));
            Err(Box::new(match (near, runs.first()) {
                (Some(near), _) => diagnostic.help(format!("did you mean `{near}`?")),
                (None, Some(last)) => diagnostic.help(format!(
                    "`kiln runs` lists them; the last one is `{}`",
                    last.run
                )),
                (None, None) => diagnostic.help("nothing ran here yet"),
            }))
        }
        (_, many) => {
            let names: Vec<&str> = many.iter().map(|at| runs[*at].run.as_str()).collect();
            let list = crate::diagnostic::list_of(names, 4);
            let message = format!("more than one run begins with `{typed}`");
            Err(Box::new(refuse(message).help(format!("they are {list}"))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str) -> StoredRun {
        StoredRun {
            run: RunId::from(id),
            pipeline: "shots".to_owned(),
            started: 0,
            finished: None,
            status: None,
            exit_code: None,
            counts: None,
            tasks: None,
            folder: None,
        }
    }

    fn found(typed: &str) -> Result<String, String> {
        let runs = [
            "20261123-090000-zz01",
            "20261122-141530-k3f9",
            "20261122-141530-k3",
        ];
        pick(runs.map(run).to_vec(), typed)
            .map(|run| run.run.0)
            .map_err(|d| format!("{}; {}", d.message, d.help.join("; ")))
    }

    #[test]
    fn a_run_is_called_by_its_id_a_beginning_of_it_or_last() {
        assert_eq!(found("last").unwrap(), "20261123-090000-zz01");
        assert_eq!(found("20261123").unwrap(), "20261123-090000-zz01");
        assert_eq!(
            found("20261122-141530-k3f").unwrap(),
            "20261122-141530-k3f9"
        );
        assert_eq!(found("20261122-141530-k3").unwrap(), "20261122-141530-k3");
    }

    #[test]
    fn a_slip_or_a_name_for_several_is_told() {
        assert_eq!(
            found("20261122-141530-k3g9").unwrap_err(),
            "there is no run `20261122-141530-k3g9`; did you mean `20261122-141530-k3f9`?"
        );
        assert_eq!(
            found("20261122").unwrap_err(),
            "more than one run begins with `20261122`; they are `20261122-141530-k3f9` and `20261122-141530-k3`"
        );
        assert_eq!(
            found("").unwrap_err(),
            "there is no run ``; `kiln runs` lists them; the last one is `20261123-090000-zz01`"
        );
    }
}
