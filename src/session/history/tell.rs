//! Facts in words.

use serde::Serialize;

use super::standing::Standing;
use crate::machine::{CancelReason, Fact, Outcome, RetryCause, Settlement};
use crate::plan::TaskIx;

/// Something that happened to a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskEvent {
    /// When, milliseconds since 1970.
    pub at: u64,
    /// What.
    pub what: String,
}

/// What happened to a task, in order. `standing` knows all tasks.
pub fn events_of(standing: &Standing, task: TaskIx, facts: &[(u64, Fact)]) -> Vec<TaskEvent> {
    facts
        .iter()
        .filter_map(|(at, fact)| {
            let (about, what) = say(standing, fact)?;
            (about == Some(task)).then_some(TaskEvent { at: *at, what })
        })
        .collect()
}

/// What a fact is worth telling to somebody who looks on, with the task it is about. `standing` has taken the fact already.
pub fn news(standing: &Standing, fact: &Fact) -> Option<String> {
    let (about, what) = match fact {
        // The turn of a single job is too much for many of them, and where a step streams, each new task is soon told of by itself.
        Fact::Assigned { .. }
        | Fact::Accepted { .. }
        | Fact::Released { .. }
        | Fact::Expanded {
            source: Some(_), ..
        } => return None,
        Fact::Started { ticket } => {
            let task = standing.tasks.get(ticket.task.0 as usize)?;
            let server = task.server.clone().unwrap_or_default();
            (Some(ticket.task), format!("started on {server}"))
        }
        fact => say(standing, fact)?,
    };
    Some(match about {
        Some(task) => format!("{}: {what}", standing.tasks.get(task.0 as usize)?.task),
        None => what,
    })
}

fn say(standing: &Standing, fact: &Fact) -> Option<(Option<TaskIx>, String)> {
    let of_task = |task: TaskIx, what: String| Some((Some(task), what));
    let of_run = |what: String| Some((None, what));
    match fact {
        Fact::Expanded { step, tasks, .. } => {
            let step = standing.step(step.0);
            of_run(format!(
                "step `{step}` has {} more",
                crate::report::plural(tasks.len(), "task")
            ))
        }
        Fact::ExpandFailed {
            step, diagnostic, ..
        } => {
            let step = standing.step(step.0);
            of_run(format!("step `{step}` failed: {}", diagnostic.message))
        }
        Fact::Assigned {
            ticket,
            endpoint,
            fresh,
        } => {
            let place = standing.endpoint(*endpoint);
            let again = if *fresh { ", to be executed again" } else { "" };
            let attempt = match (ticket.attempt, ticket.try_) {
                (1, 1) => String::new(),
                (attempt, 1) => format!(" (attempt {attempt})"),
                (attempt, try_) => format!(" (attempt {attempt}, try {try_})"),
            };
            of_task(ticket.task, format!("given to {place}{attempt}{again}"))
        }
        Fact::Accepted {
            ticket, prompt_id, ..
        } => of_task(ticket.task, format!("accepted as job {prompt_id}")),
        Fact::Released { ticket } => of_task(ticket.task, "executed".to_owned()),
        Fact::Ended { ticket, outcome } => of_task(ticket.task, ended(outcome)),
        Fact::Retried { task, because, .. } => {
            of_task(*task, format!("to be tried again: {}", again(*because)))
        }
        Fact::ServerDown { endpoint } => {
            of_run(format!("{} does not answer", standing.endpoint(*endpoint)))
        }
        Fact::ServerUp { endpoint } => {
            of_run(format!("{} answers again", standing.endpoint(*endpoint)))
        }
        Fact::Stop { reason } => of_run(format!("stopping: {}", why(*reason))),
        Fact::Cancelling { task, reason } => {
            of_task(*task, format!("being cancelled: {}", why(*reason)))
        }
        Fact::Settled { task, settlement } => of_task(*task, settled(standing, *settlement)),
        Fact::StepSkipped { step, cause } => {
            let (step, cause) = (standing.step(step.0), standing.cause(*cause));
            of_run(format!("step `{step}` is skipped, because {cause}"))
        }
        Fact::Resumed { .. } => of_run("the run goes on".to_owned()),
        Fact::Finished { .. } | Fact::Prepared { .. } | Fact::Started { .. } => None,
    }
}

fn ended(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done { artifacts } => {
            format!("done, {}", crate::report::plural(artifacts.len(), "result"))
        }
        Outcome::Cached { from, .. } => format!("cached, made by run {from}"),
        Outcome::Skipped => "skipped, its `when` is false".to_owned(),
        Outcome::Failed { diagnostic, .. } => {
            format!("failed: {} [{}]", diagnostic.message, diagnostic.code)
        }
        Outcome::Cancelled => "cancelled".to_owned(),
        Outcome::Lost => "the server lost the job".to_owned(),
        Outcome::Gone => "the files of the server's earlier result are gone".to_owned(),
    }
}

fn settled(standing: &Standing, settlement: Settlement) -> String {
    match settlement {
        Settlement::Skipped { cause } => format!("skipped, because {}", standing.cause(cause)),
        Settlement::Unwanted => "skipped, its `when` is false".to_owned(),
        Settlement::Cancelled => "cancelled before it ran".to_owned(),
        Settlement::Failed => "not tried again".to_owned(),
        Settlement::Lost { times } => format!("given up: its job was lost {times} times"),
        Settlement::Impossible => "given up: it can never start".to_owned(),
    }
}

fn again(because: RetryCause) -> &'static str {
    match because {
        RetryCause::Lost => "the server lost the job",
        RetryCause::Gone => "the files of the server's earlier result are gone",
        RetryCause::Failed => "`retry` grants another attempt",
        RetryCause::Moved => "another server can take it sooner",
        RetryCause::Twin => "an equal task ended, and its result may serve",
    }
}

fn why(reason: CancelReason) -> &'static str {
    match reason {
        CancelReason::Superseded => "another try takes its place",
        CancelReason::Failed => "another task failed",
        CancelReason::Deadline => "the run's time is up",
        CancelReason::Requested => "someone asked for it",
        CancelReason::Leave => "someone wants to leave at once",
    }
}
