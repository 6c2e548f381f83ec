//! Decides what happens next: facts in, actions out.
//!
//! A [`Machine`] is a value. [`Machine::decide`] looks at the state and says which decisions follow from it; [`Machine::apply`] takes a
//! [`Fact`], a decision as well as an observation, into the state; [`Machine::actions`] hands over what must now be done in the world.
//! It does no I/O, reads no clock and draws no random number: a driver passes the time in, writes facts to a journal before it performs
//! the actions that follow from them, and reports what happened as further facts. After a replay, [`Machine::owed`] tells what was
//! assigned and has not ended: it is to be attached to, never started again.
//!
//! A task goes through phases. *Assigned* tasks are prepared (rendered, files sent) a little ahead of the slots, so that neither a journal
//! nor an upload stands between two jobs of a server. *Started* takes a slot of the server and a place under `max_parallel` in one move;
//! *released* gives the slot back when the server is done with the job, *ended* the place when the results are here.
//!
//! Invariants, held by the property tests in this room:
//! - resources (`max_parallel` and each server's `max_jobs`) are taken in one move and never exceeded;
//! - a task starts only when all it needs is done, and ends in exactly one terminal state;
//! - only the try that the machine named last may end a task; what an older one says is ignored;
//! - after the first failure, which is the run's cause, nothing new starts, and what runs is let finish;
//! - the same facts lead to the same state: replaying any prefix and going on from what is owed ends as the whole run did.

mod choose;
mod decide;
mod fact;
mod grow;
mod places;
mod resume;
mod shape;
mod state;
mod step;
mod task;
mod tries;
mod twins;

#[cfg(test)]
mod foresight;
#[cfg(test)]
mod oracle;
#[cfg(test)]
mod scenario;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod world;

pub use fact::{CancelReason, Cause, Fact, FailureClass, Outcome, RetryCause, Settlement, Ticket};
pub use shape::{
    EndpointIx, EndpointShape, Grows, LimitIx, Need, Policy, RetryShape, ServerIx, Shape, StepIx,
    StepShape, TaskShape,
};
pub use state::{Action, Contradiction, Machine, Owed};
pub use step::StepStatus;
pub use task::{Phase, TaskState, Trouble};
