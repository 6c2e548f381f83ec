//! What would run, and why, in words and as data.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::base::{ContentHash, RunId, StepId, TaskName};
use crate::plan::TaskPlan;
use crate::plan::key::StaleReason;

/// What would become of a task, or of all tasks of a step that are not known yet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fate {
    /// Its step.
    pub step: StepId,
    /// Its name; `None`: the step's tasks are not known yet.
    pub task: Option<TaskName>,
    /// What would become of it.
    pub would: Would,
    /// Why it would run.
    pub why: Vec<StaleReason>,
    /// The run whose result would stand for a new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<RunId>,
    /// What was taken for granted, in words that follow `if`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provided: Option<&'static str>,
    /// Why it would be skipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// What its result depends on, hashed, as far as that is known.
    #[serde(skip)]
    pub key: Option<ContentHash>,
}

/// What would become of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Would {
    /// It would run.
    Run,
    /// An earlier result would stand for a new one.
    Cached,
    /// Its `when` is false.
    Skipped,
    /// That depends on what runs before it.
    Open,
}

impl Would {
    fn word(self) -> &'static str {
        match self {
            Self::Run => "runs",
            Self::Cached => "cached",
            Self::Skipped => "skipped",
            Self::Open => "open",
        }
    }
}

impl Fate {
    pub(super) fn of(task: &TaskPlan, would: Would, why: Vec<StaleReason>) -> Self {
        Self {
            task: Some(task.name.clone()),
            ..Self::of_step(&task.step, would, why)
        }
    }

    pub(super) fn of_step(step: &StepId, would: Would, why: Vec<StaleReason>) -> Self {
        Self {
            step: step.clone(),
            task: None,
            would,
            why,
            from: None,
            provided: None,
            since: None,
            key: None,
        }
    }
}

/// Tasks of one step with the same fate are told together beyond this number.
const APART: usize = 4;

/// What would run, for people whose terminal has so many columns.
pub fn fates_text(fates: &[Fate], columns: usize) -> String {
    let mut lines: Vec<(String, &'static str, String)> = Vec::new();
    let mut rest = fates;
    while let Some(first) = rest.first() {
        let alike = rest
            .iter()
            .take_while(|fate| {
                let same = |fate: &Fate| {
                    (
                        fate.would,
                        fate.why.clone(),
                        fate.provided,
                        fate.since.clone(),
                    )
                };
                fate.step == first.step && same(fate) == same(first)
            })
            .count();
        let shown = if alike > APART { 1 } else { alike };
        for fate in &rest[..shown] {
            let name = match &fate.task {
                None => fate.step.0.clone(),
                Some(_) if alike > APART => format!("{} ({alike} tasks)", fate.step),
                Some(task) => task.0.clone(),
            };
            lines.push((name, fate.would.word(), told(fate)));
        }
        rest = &rest[alike..];
    }
    // A step that is skipped for want of tasks is told, and is none.
    let is_task = |fate: &Fate| fate.task.is_some() || fate.would != Would::Skipped;
    let of = |would: Would| fates.iter().filter(move |fate| fate.would == would);
    let count = |would: Would| of(would).filter(|fate| is_task(fate)).count();
    let mut out = format!("\n{} would run", count(Would::Run));
    for (would, words) in [
        (Would::Open, "open until others ran"),
        (Would::Cached, "cached"),
        (Would::Skipped, "skipped"),
    ] {
        if count(would) > 0 {
            let _ = write!(out, ", {} {words}", count(would));
        }
    }
    out.push('\n');
    let width = lines.iter().map(|(name, ..)| name.chars().count()).max();
    let width = width.unwrap_or(0).min(48).min(columns / 2);
    for (name, word, because) in lines {
        let line = format!("  {name:<width$}  {word:<7}  {because}");
        if line.trim_end().width() <= columns {
            let _ = writeln!(out, "{}", line.trim_end());
        } else {
            let _ = writeln!(out, "  {name:<width$}  {word}\n      {because}");
        }
    }
    out
}

/// How many reasons of a task are told.
const REASONS: usize = 4;

fn told(fate: &Fate) -> String {
    if let Some(since) = &fate.since {
        return format!("because {since}");
    }
    if let Some(from) = &fate.from {
        let provided = fate.provided.map(|it| format!(", if {it}"));
        return format!("from run {from}{}", provided.unwrap_or_default());
    }
    because(&fate.why)
}

/// Reasons on one line.
pub fn because(why: &[StaleReason]) -> String {
    let mut texts: Vec<String> = why.iter().take(REASONS).map(ToString::to_string).collect();
    if why.len() > REASONS {
        texts.push(format!("{} more", why.len() - REASONS));
    }
    texts.join("; ")
}

/// What would run, for programs: in the order of `fates`, with a text for each reason.
pub fn fates_json(fates: &[Fate]) -> Value {
    fates
        .iter()
        .map(|fate| {
            let mut json = json!(fate);
            json["because"] = fate.why.iter().map(ToString::to_string).collect();
            json
        })
        .collect()
}
