//! For tests: what the oracle has seen of one task.

use super::scenario::TaskId;
use super::{CancelReason, EndpointIx, Phase, Ticket};
use crate::base::ContentHash;
use crate::event::TaskStatus;
use crate::plan::TaskIx;

/// A try under way.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) ticket: Ticket,
    pub(super) endpoint: EndpointIx,
    pub(super) phase: Phase,
    pub(super) key: Option<ContentHash>,
    pub(super) told: Option<CancelReason>,
    /// How often a lower-ranked task took what it claims while it was the first of its kind on its endpoint.
    pub(super) overtaken: u32,
}

#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a protocol of what was seen")]
pub(super) struct Entry {
    pub(super) id: TaskId,
    pub(super) needs: Vec<TaskIx>,
    pub(super) live: Option<Live>,
    pub(super) status: Option<TaskStatus>,
    /// It was not wanted before the run was resumed, and may be asked again.
    pub(super) asked_before: bool,
    pub(super) unwanted: bool,
    /// Its try may have been given up when the run was resumed.
    pub(super) put_back: bool,
    /// Its try ended, and a decision must follow.
    pub(super) unsettled: bool,
    /// Submissions of the attempt that is under way.
    pub(super) submissions: u32,
}

impl Entry {
    pub(super) fn ask_again(&mut self) {
        if std::mem::take(&mut self.asked_before) {
            self.status = None;
        }
        if std::mem::take(&mut self.put_back) {
            self.live = None;
            self.unsettled = false;
        }
    }
}
