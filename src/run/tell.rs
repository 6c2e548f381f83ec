//! Events on their way out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::hush::Hush;
use crate::artifact::Artifact;
use crate::base::{RunId, TaskName};
use crate::diagnostic::{Diagnostic, Report, to_json};
use crate::event::{Output, RunEvent};
use crate::machine::Ticket;
use crate::plan::Plan;
use crate::servers::Endpoint;

/// Sends events; whether anybody listens is not its business.
#[derive(Debug)]
pub(super) struct Teller {
    events: mpsc::UnboundedSender<RunEvent>,
    plan: Arc<Plan>,
    hush: Arc<Hush>,
    run: RunId,
    /// Endpoints that do not answer, by address.
    away: Mutex<HashSet<String>>,
    report: Mutex<Report>,
    /// Why attempts failed of which it is not decided yet whether they are the last.
    held: Mutex<HashMap<Ticket, Diagnostic>>,
}

impl Teller {
    pub(super) fn new(
        events: mpsc::UnboundedSender<RunEvent>,
        plan: Arc<Plan>,
        hush: Arc<Hush>,
        run: RunId,
    ) -> Self {
        Self {
            events,
            plan,
            hush,
            run,
            away: Mutex::default(),
            report: Mutex::default(),
            held: Mutex::default(),
        }
    }

    pub(super) fn tell(&self, event: RunEvent) {
        let event = self.hush.mask_event(event);
        self.plan.loaded.publish(&event, &self.run);
        let _ = self.events.send(event);
    }

    /// Tells of what a plugin said, to everyone but plugins: one that answers to every event with another one would never end.
    pub(super) fn tell_quietly(&self, event: RunEvent) {
        let _ = self.events.send(self.hush.mask_event(event));
    }

    /// As [`Teller::complain`], to everyone but plugins.
    pub(super) fn complain_quietly(&self, diagnostic: Diagnostic) {
        self.tell_quietly(RunEvent::Diagnostic {
            diagnostic: to_json(&diagnostic, &self.plan.sources),
        });
        self.keep(diagnostic);
    }

    /// Tells of something that does not end the task, or of one error among several.
    pub(super) fn warn(&self, task: &TaskName, diagnostic: Diagnostic) {
        self.tell(RunEvent::TaskWarning {
            task: task.clone(),
            diagnostic: to_json(&diagnostic, &self.plan.sources),
        });
        self.keep(diagnostic);
    }

    /// Tells of something that concerns no single task.
    pub(super) fn complain(&self, diagnostic: Diagnostic) {
        self.tell(RunEvent::Diagnostic {
            diagnostic: to_json(&diagnostic, &self.plan.sources),
        });
        self.keep(diagnostic);
    }

    /// Keeps why an attempt failed until it is known whether another one follows.
    pub(super) fn hold(&self, ticket: Ticket, diagnostic: Diagnostic) {
        self.held().insert(ticket, diagnostic);
    }

    /// Another attempt follows.
    pub(super) fn forget(&self, ticket: Ticket) {
        self.held().remove(&ticket);
    }

    /// It was the last attempt.
    pub(super) fn keep_held(&self, ticket: Ticket) {
        let held = self.held().remove(&ticket);
        if let Some(diagnostic) = held {
            self.keep(diagnostic);
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<Ticket, Diagnostic>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a diagnostic for the run's report.
    pub(super) fn keep(&self, diagnostic: Diagnostic) {
        let diagnostic = self.hush.mask_diagnostic(diagnostic);
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

    /// An endpoint does not answer. Several tasks find that out; it is told once.
    pub(super) fn lost(&self, endpoint: &Endpoint, reason: &str) {
        if self.away().insert(endpoint.url.clone()) {
            self.tell(RunEvent::ServerLost {
                server: endpoint.name.clone(),
                reason: reason.to_owned(),
            });
        }
    }

    /// An endpoint answers, again or still.
    pub(super) fn back(&self, endpoint: &Endpoint) {
        if self.away().remove(&endpoint.url) {
            self.tell(RunEvent::ServerBack {
                server: endpoint.name.clone(),
            });
        }
    }

    fn away(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A result as it is told.
pub fn output(artifact: &Artifact) -> Output {
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
