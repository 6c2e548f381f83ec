//! The watch's own lines: short, one each.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::base::{TaskName, display_path_from};
use crate::diagnostic::Diagnostic;
use crate::plan::Plan;
use crate::plan::key::StaleReason;
use crate::report::{cut, duration, label_width, plural, tame};
use crate::session::{Fate, Would};

const MARK: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();

/// Files that are named.
const FILES: usize = 3;
/// Steps of which it is told why they run again.
const STEPS: usize = 2;

/// What a line may be made of.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sheet {
    /// Asks for the columns of the terminal; `None`: it is none.
    pub(super) columns: Option<fn() -> usize>,
    /// Columns that a label takes before each line.
    pub(super) taken: usize,
}

impl Sheet {
    /// The same, for lines that begin with a label.
    pub(super) fn beside(self, label: Option<&str>) -> Self {
        Self {
            taken: label_width(label),
            ..self
        }
    }

    fn cut(self, line: &str, taken: usize) -> String {
        let line = tame(line);
        let taken = taken + self.taken;
        match self.columns {
            Some(columns) => cut(&line, columns().saturating_sub(taken).max(20)),
            None => line,
        }
    }

    fn quiet(self, line: &str) -> String {
        let line = self.cut(line, 0);
        format!("{DIM}{line}{DIM:#}")
    }

    /// What is watched, and which keys there are.
    pub(super) fn watching(self, files: usize, keys: bool) -> String {
        let keys = if keys {
            " · r run all · f force · o open newest · p pause · q quit"
        } else {
            ""
        };
        self.quiet(&format!("watching {}{keys}", plural(files, "file")))
    }

    /// There was nothing to run when the watch began.
    pub(super) fn up_to_date(self, tasks: usize) -> String {
        self.quiet(&format!(
            "nothing to do: {} done before",
            plural(tasks, "task")
        ))
    }

    /// What changed, what runs again and why, and what stays.
    pub(super) fn changed(self, about: &About<'_>) -> String {
        let line = self.cut(&about.words(), 2);
        format!("{MARK}↻{MARK:#} {line}")
    }

    /// What changed changes nothing of what is running.
    pub(super) fn same(self, changed: &[PathBuf]) -> String {
        let line = self.cut(&format!("{} · nothing runs again", names(changed)), 2);
        format!("{MARK}↻{MARK:#} {line}")
    }

    /// What was said of a change comes after what is under way.
    pub(super) fn waits(self, under_way: &[UnderWay]) -> String {
        let of = |task: &UnderWay| {
            let took = duration(task.took);
            match task.expected {
                Some(expected) => format!("{} ({took} of ~{})", task.task, duration(expected)),
                None => format!("{} ({took})", task.task),
            }
        };
        let mut named: Vec<String> = under_way.iter().take(FILES).map(of).collect();
        if under_way.len() > FILES {
            named.push(format!("{} more", under_way.len() - FILES));
        }
        let what = match named.as_slice() {
            [] => "the run that is under way".to_owned(),
            named => named.join(", "),
        };
        let line = self.cut(&format!("waits for {what}"), 2);
        format!("  {DIM}{line}{DIM:#}")
    }

    /// A server that was waited for answers.
    pub(super) fn back(self) -> String {
        self.quiet("it answers again: going on")
    }

    /// What changed made the files wrong.
    pub(super) fn wrong(self, changed: &[PathBuf]) -> String {
        let line = match names(changed).as_str() {
            "" => "nothing runs until the files are right".to_owned(),
            names => format!("{names} changed · nothing runs until it is right"),
        };
        let line = self.cut(&line, 2);
        format!("{MARK}↻{MARK:#} {line}")
    }

    /// A server is waited for.
    pub(super) fn away(self, away: &[Diagnostic]) -> String {
        let why: Vec<&str> = away.iter().map(|d| d.message.as_str()).collect();
        self.quiet(&format!("waiting: {}", why.join("; ")))
    }

    /// Somebody paused, or went on.
    pub(super) fn paused(self, paused: bool) -> String {
        self.quiet(if paused {
            "paused: changes wait until p is pressed again"
        } else {
            "going on"
        })
    }

    pub(super) fn nothing_to_open(self) -> String {
        self.quiet("nothing was made yet")
    }

    pub(super) fn not_opened(self, why: &str) -> String {
        self.quiet(&format!("could not open it: {why}"))
    }

    /// All of it is running anyway.
    pub(super) fn running(self) -> String {
        self.quiet("it is running")
    }
}

/// A task that is under way.
#[derive(Clone, Debug)]
pub(super) struct UnderWay {
    pub(super) task: TaskName,
    pub(super) took: Duration,
    /// What one of its step took in earlier runs.
    pub(super) expected: Option<Duration>,
}

/// What there is to say about a change.
#[derive(Debug)]
pub(super) struct About<'a> {
    /// Files that are different now.
    pub(super) changed: &'a [PathBuf],
    pub(super) fates: &'a [Fate],
    /// Tasks that run already and are let finish.
    pub(super) spared: &'a BTreeSet<TaskName>,
    pub(super) plan: &'a Plan,
}

impl About<'_> {
    fn words(&self) -> String {
        let what = match names(self.changed).as_str() {
            "" => "again".to_owned(),
            names => names.to_owned(),
        };
        let mut explained: Vec<Again<'_>> = Vec::new();
        let mut after: Vec<&str> = Vec::new();
        let mut stay = 0;
        for fate in self.fates {
            let spared = fate.task.as_ref().is_some_and(|t| self.spared.contains(t));
            match fate.would {
                Would::Skipped => {}
                Would::Run | Would::Open if spared => stay += 1,
                Would::Cached => stay += 1,
                Would::Run if fate.why.iter().any(tells) => self.explain(fate, &mut explained),
                Would::Run | Would::Open => note(&mut after, fate),
            }
        }
        after.retain(|step| explained.iter().all(|again| again.step != *step));
        let mut parts = vec![what];
        parts.extend(explained.iter().take(STEPS).map(Again::text));
        if explained.len() > STEPS {
            let more = explained.len() - STEPS;
            parts.push(format!("{} more", plural(more, "step")));
        }
        match after.as_slice() {
            [] if explained.is_empty() => parts.push("nothing runs again".to_owned()),
            [] => {}
            [step] if explained.is_empty() => parts.push(format!("{step} runs")),
            _ if after.len() > FILES => {
                parts.push(format!("then {}", plural(after.len(), "step")));
            }
            steps => parts.push(format!("then {}", steps.join(", "))),
        }
        if stay > 0 {
            let stay = if stay == 1 {
                "1 stays".to_owned()
            } else {
                format!("{stay} stay")
            };
            parts.push(stay);
        }
        parts.join(" · ")
    }

    /// Adds a task that runs again for a reason of its own.
    fn explain<'a>(&self, fate: &'a Fate, explained: &mut Vec<Again<'a>>) {
        let Some(reason) = best(&fate.why) else {
            return;
        };
        let never = *reason == StaleReason::NeverRan;
        let why = self.why(fate, reason);
        match explained.last_mut() {
            Some(known) if known.step == fate.step.as_str() => {
                known.tasks += 1;
                // Among tasks that had the same result only one ran, and knows more.
                if known.never && !never {
                    (known.why, known.never) = (why, false);
                } else if known.why != why && !never {
                    known.other = true;
                }
            }
            _ => explained.push(Again {
                step: fate.step.as_str(),
                task: fate
                    .task
                    .as_ref()
                    .map_or(fate.step.as_str(), TaskName::as_str),
                tasks: 1,
                why,
                never,
                other: false,
            }),
        }
    }

    /// A reason; where `set` says the value, that is told.
    fn why(&self, fate: &Fate, why: &StaleReason) -> String {
        let StaleReason::Input { node, input, .. } = why else {
            return why.to_string();
        };
        let step = self.plan.steps.get(&fate.step);
        let edits = step
            .and_then(|step| step.workflow())
            .map(|work| &work.edits);
        let is_set = edits.is_some_and(|edits| {
            let mut edits = edits.iter();
            edits.any(|edit| edit.node.as_str() == node && edit.input == *input)
        });
        if is_set {
            format!("set {why}")
        } else {
            why.to_string()
        }
    }
}

/// Tasks of a step that run again.
struct Again<'a> {
    step: &'a str,
    task: &'a str,
    tasks: usize,
    why: String,
    /// The reason is that it never ran.
    never: bool,
    /// Some of them have other reasons.
    other: bool,
}

impl Again<'_> {
    fn text(&self) -> String {
        let other = if self.other { ", …" } else { "" };
        match self.tasks {
            1 => format!("{}: {}", self.task, self.why),
            tasks => format!("{} ({tasks} tasks): {}{other}", self.step, self.why),
        }
    }
}

/// Whether a reason tells more than that something before it changed, or that it always runs.
fn tells(why: &StaleReason) -> bool {
    !matches!(
        why,
        StaleReason::WaitsFor { .. }
            | StaleReason::NotYetKnown { .. }
            | StaleReason::AlwaysRuns
            | StaleReason::CacheOff
    )
}

/// The reason that is told: a param where its value stands in what became different, else that itself.
fn best(why: &[StaleReason]) -> Option<&StaleReason> {
    let values = |why: &StaleReason| match why {
        StaleReason::Input { old, new, .. } | StaleReason::Command { old, new, .. } => {
            Some((old.clone()?, new.clone()?))
        }
        _ => None,
    };
    let found: Vec<(String, String)> = why.iter().filter_map(values).collect();
    let stands = |reason: &&StaleReason| {
        let StaleReason::Param { old, new, .. } = reason else {
            return true;
        };
        let bare =
            |value: &Option<String>| value.as_deref().map(|v| v.trim_matches('"').to_owned());
        let (Some(old), Some(new)) = (bare(old), bare(new)) else {
            return false;
        };
        let mut found = found.iter();
        found.any(|(before, now)| before.contains(&old) && now.contains(&new))
    };
    let mut told = why.iter().filter(|why| tells(why));
    told.clone().find(stands).or_else(|| told.next())
}

fn note<'a>(steps: &mut Vec<&'a str>, fate: &'a Fate) {
    if steps.last() != Some(&fate.step.as_str()) {
        steps.push(fate.step.as_str());
    }
}

/// Files by name, as far as they fit.
fn names(files: &[PathBuf]) -> String {
    let here = std::env::current_dir().ok();
    let name = |path: &PathBuf| display_path_from(here.as_deref(), path);
    let named: Vec<String> = files.iter().take(FILES).map(name).collect();
    let mut text = named.join(", ");
    if files.len() > FILES {
        text = format!("{text} and {} more", files.len() - FILES);
    }
    text
}
