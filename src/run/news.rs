//! News of a job on its way, as events.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::context::Preview;
use super::failure::About;
use super::shared::Shared;
use crate::base::NodeId;
use crate::client::{JobUpdate, Picture};
use crate::event::RunEvent;
use crate::machine::EndpointIx;
use crate::plan::Rendered;

/// Progress of one task is told at most this often, but for a change of node.
const PROGRESS_PAUSE: Duration = Duration::from_millis(50);

/// Passes on what is heard of one job.
pub(super) struct News<'a> {
    about: About<'a>,
    shared: &'a Arc<Shared>,
    at: EndpointIx,
    rendered: &'a Rendered,
    told: Throttle,
}

impl<'a> News<'a> {
    pub(super) fn new(
        about: About<'a>,
        shared: &'a Arc<Shared>,
        at: EndpointIx,
        rendered: &'a Rendered,
    ) -> Self {
        Self {
            about,
            shared,
            at,
            rendered,
            told: Throttle::default(),
        }
    }

    /// Shows what the job is at to whoever looks.
    pub(super) fn show(&self, picture: Picture) {
        if let Some(previews) = &self.shared.previews {
            let task = self.about.task.clone();
            previews.send_replace(Some(Preview { task, picture }));
        }
    }

    pub(super) fn pass(&mut self, update: JobUpdate) {
        let task = self.about.task;
        let teller = &self.shared.teller;
        match update {
            JobUpdate::Executing => {
                teller.tell(RunEvent::TaskExecuting { task: task.clone() });
            }
            JobUpdate::Progress { fraction, node } => {
                if !self.told.passes(node.as_ref(), Instant::now()) {
                    return;
                }
                let at = node
                    .as_ref()
                    .and_then(|id| self.rendered.graph.nodes.get(id));
                teller.tell(RunEvent::TaskProgress {
                    task: task.clone(),
                    fraction,
                    node_title: at.map(|node| node.label().to_owned()),
                    node,
                });
            }
            JobUpdate::Place(place) => teller.tell(RunEvent::TaskPlace {
                task: task.clone(),
                place,
            }),
            JobUpdate::Text { .. } | JobUpdate::Unheard => {}
            JobUpdate::Blocked(failure) => {
                let built = self.about.node_blocked(self.rendered, &failure);
                teller.warn(task, built);
            }
            JobUpdate::Stalled { quiet } => {
                let built = self
                    .about
                    .stalled(&self.shared.endpoint(self.at).name, quiet.as_secs() / 60);
                teller.warn(task, built);
            }
            JobUpdate::Unreachable { cause } => self.shared.missed(self.at, &cause),
            JobUpdate::Reachable => self.shared.answered(self.at),
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
