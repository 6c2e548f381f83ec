//! Events on their way out.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::artifact::Artifact;
use crate::base::{ServerName, TaskName};
use crate::diagnostic::{Diagnostic, Report, to_json};
use crate::event::{Output, RunEvent};
use crate::plan::Plan;

/// Sends events; whether anybody listens is not its business.
#[derive(Debug)]
pub(super) struct Teller {
    events: mpsc::UnboundedSender<RunEvent>,
    plan: Arc<Plan>,
    away: Mutex<HashSet<ServerName>>,
    report: Mutex<Report>,
}

impl Teller {
    pub(super) fn new(events: mpsc::UnboundedSender<RunEvent>, plan: Arc<Plan>) -> Self {
        Self {
            events,
            plan,
            away: Mutex::default(),
            report: Mutex::default(),
        }
    }

    pub(super) fn tell(&self, event: RunEvent) {
        let _ = self.events.send(event);
    }

    /// Tells of something that does not end the task, or of one error among several.
    pub(super) fn warn(&self, task: &TaskName, diagnostic: Diagnostic) {
        self.tell(RunEvent::TaskWarning {
            task: task.clone(),
            diagnostic: to_json(&diagnostic, &self.plan.sources),
        });
        self.keep(diagnostic);
    }

    /// Keeps a diagnostic for the run's report.
    pub(super) fn keep(&self, diagnostic: Diagnostic) {
        self.report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(diagnostic);
    }

    /// Everything kept so far.
    pub(super) fn report(&self) -> Report {
        self.report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A server does not answer. Several tasks find that out; it is told once.
    pub(super) fn lost(&self, server: &ServerName, reason: &str) {
        if self.away().insert(server.clone()) {
            self.tell(RunEvent::ServerLost {
                server: server.clone(),
                reason: reason.to_owned(),
            });
        }
    }

    /// A server answers, again or still.
    pub(super) fn back(&self, server: &ServerName) {
        if self.away().remove(server) {
            self.tell(RunEvent::ServerBack {
                server: server.clone(),
            });
        }
    }

    fn away(&self) -> std::sync::MutexGuard<'_, HashSet<ServerName>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn output(artifact: &Artifact) -> Output {
    Output {
        kind: artifact.kind,
        path: artifact.path.clone(),
        text: artifact.text.clone(),
        node: artifact.node.clone(),
        output: artifact.output.clone(),
        size: artifact.size,
        hash: artifact.hash.to_hex(),
    }
}
