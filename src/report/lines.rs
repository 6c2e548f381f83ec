//! What single lines say.

use std::collections::BTreeMap;

use super::style::Paint;
use super::text::{lasting, plural, tame};
use super::view::{StepView, TaskState, TaskView, View};
use crate::artifact::Kind;
use crate::base::{StepId, TaskName};
use crate::diagnostic::{JsonDiagnostic, Severity};
use crate::event::{Counts, Output};

/// A task that is under way, in a log.
pub(super) fn under_way(view: &View, name: &TaskName, task: &TaskView, now: i64) -> String {
    let server = view.place(task);
    match task.state {
        TaskState::Preparing => format!("{name} preparing"),
        TaskState::Queued => match task.place {
            Some(place) => format!("{name} queued on {server}, place {place}"),
            None => format!("{name} queued on {server}"),
        },
        TaskState::Fetching => format!("{name} fetching results"),
        // Programs tell nothing, and a server nothing at first.
        _ if task.fraction <= 0.0 && task.node_title.is_none() => {
            format!("{name} {}", lasting(now - task.since))
        }
        _ => match &task.node_title {
            Some(node) => format!("{name} {} {}", percent(task.fraction), tame(node)),
            None => format!("{name} {}", percent(task.fraction)),
        },
    }
}

/// `42%`; a task that has not ended is never said to be done.
pub(super) fn percent(fraction: f64) -> String {
    format!("{:.0}%", (fraction * 100.0).floor().clamp(0.0, 99.0))
}

/// What is said of something wrong in the midst of a run: what, where, and what to do.
pub(super) fn complaint(diagnostic: &JsonDiagnostic, paint: &Paint) -> Vec<String> {
    let Paint { bad, odd, dim, .. } = paint;
    let (style, word) = match diagnostic.severity {
        Severity::Error => (bad, "error"),
        _ => (odd, "warning"),
    };
    let code = &diagnostic.code;
    let message = tame(&diagnostic.message);
    let mut lines = vec![format!("    {style}{word}[{code}]{style:#}: {message}")];
    if let (Some(file), Some(line), Some(column)) =
        (&diagnostic.file, diagnostic.line, diagnostic.column)
    {
        lines.push(format!("      {dim}at {file}:{line}:{column}{dim:#}"));
    }
    if !diagnostic.help.is_empty() {
        lines.push(format!("      help: {}", tame(&diagnostic.help)));
    }
    lines
}

/// The message without the step that the line names already.
pub(super) fn without_step(message: &str) -> &str {
    match message
        .strip_prefix("step `")
        .and_then(|rest| rest.split_once("`: "))
    {
        Some((_, rest)) => rest,
        None => message,
    }
}

/// `2 images, 1 text`.
pub(super) fn made(outputs: &[Output]) -> String {
    let mut counts = BTreeMap::new();
    for output in outputs {
        *counts.entry(output.kind).or_default() += 1;
    }
    made_in_all(&counts)
}

/// `400 images`.
pub(super) fn made_in_all(counts: &BTreeMap<Kind, usize>) -> String {
    let kinds = [
        Kind::Image,
        Kind::Video,
        Kind::Audio,
        Kind::Model3d,
        Kind::Text,
        Kind::Other,
    ];
    let parts: Vec<String> = kinds
        .into_iter()
        .filter_map(|kind| {
            let count = counts.get(&kind).copied().unwrap_or(0);
            let word = match kind {
                Kind::Model3d => "3D model",
                Kind::Other => "file",
                Kind::Audio => "audio file",
                other => other.name(),
            };
            (count > 0).then(|| plural(count, word))
        })
        .collect();
    if parts.is_empty() {
        "nothing to keep".to_owned()
    } else {
        parts.join(", ")
    }
}

/// How far a large step is: `base 128/400 · 3 running · 12 cached`.
pub(super) fn step_under_way(name: &StepId, step: &StepView) -> String {
    let mut parts = vec![format!("{name} {}/{}", step.finished(), step.tasks)];
    let Counts {
        cached,
        failed,
        skipped,
        cancelled,
        ..
    } = step.ended;
    for (count, word) in [
        (step.running, "running"),
        (cached, "cached"),
        (failed, "failed"),
        (skipped, "skipped"),
        (cancelled, "cancelled"),
        (step.retried, "retried"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    parts.join(" · ")
}

/// `388 done, 12 cached`.
pub(super) fn counted(counts: Counts) -> String {
    let parts: Vec<String> = [
        (counts.done, "done"),
        (counts.cached, "cached"),
        (counts.failed, "failed"),
        (counts.skipped, "skipped"),
        (counts.cancelled, "cancelled"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    parts.join(", ")
}
