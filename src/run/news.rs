//! News of a job on its way, as events.

use std::time::Duration;

use tokio::time::Instant;

use super::failure::About;
use super::tell::Teller;
use crate::base::{NodeId, ServerName};
use crate::client::JobUpdate;
use crate::event::RunEvent;
use crate::plan::Rendered;

/// Progress of one task is told at most this often, but for a change of node.
const PROGRESS_PAUSE: Duration = Duration::from_millis(50);

/// Passes on what is heard of one job.
#[derive(Debug)]
pub(super) struct News<'a> {
    about: About<'a>,
    teller: &'a Teller,
    server: &'a ServerName,
    rendered: &'a Rendered,
    told: Throttle,
}

impl<'a> News<'a> {
    pub(super) fn new(
        about: About<'a>,
        teller: &'a Teller,
        server: &'a ServerName,
        rendered: &'a Rendered,
    ) -> Self {
        Self {
            about,
            teller,
            server,
            rendered,
            told: Throttle::default(),
        }
    }

    pub(super) fn pass(&mut self, update: JobUpdate) {
        let task = self.about.task;
        match update {
            JobUpdate::Executing => {
                self.teller
                    .tell(RunEvent::TaskExecuting { task: task.clone() });
            }
            JobUpdate::Progress { fraction, node } => {
                if !self.told.passes(node.as_ref(), Instant::now()) {
                    return;
                }
                let at = node
                    .as_ref()
                    .and_then(|id| self.rendered.graph.nodes.get(id));
                self.teller.tell(RunEvent::TaskProgress {
                    task: task.clone(),
                    fraction,
                    node_title: at.map(|node| node.label().to_owned()),
                    node,
                });
            }
            JobUpdate::Text { .. } => {}
            JobUpdate::Blocked(failure) => {
                let built = self.about.node_blocked(self.rendered, &failure);
                self.teller.warn(task, built);
            }
            JobUpdate::Stalled { quiet } => {
                let built = self.about.stalled(self.server, quiet.as_secs() / 60);
                self.teller.warn(task, built);
            }
            JobUpdate::Unreachable { cause } => self.teller.lost(self.server, &cause),
            JobUpdate::Reachable => self.teller.back(self.server),
        }
    }
}

#[derive(Debug, Default)]
struct Throttle {
    told: Option<(Instant, Option<NodeId>)>,
}

impl Throttle {
    fn passes(&mut self, node: Option<&NodeId>, now: Instant) -> bool {
        let pass = match &self.told {
            None => true,
            Some((at, last)) => last.as_ref() != node || now - *at >= PROGRESS_PAUSE,
        };
        if pass {
            self.told = Some((now, node.cloned()));
        }
        pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_of_one_node_is_told_at_most_every_fifty_milliseconds() {
        let mut throttle = Throttle::default();
        let (a, b) = (NodeId::from("1"), NodeId::from("2"));
        let now = Instant::now();
        assert!(throttle.passes(Some(&a), now));
        assert!(!throttle.passes(Some(&a), now));
        assert!(throttle.passes(Some(&b), now), "another node is news");
        assert!(throttle.passes(Some(&b), now + PROGRESS_PAUSE));
    }
}
