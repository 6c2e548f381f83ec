//! Decides what happens next: facts in, actions out.
//!
//! A [`Machine`] is a value. [`Machine::decide`] looks at the state and says which decisions follow from it; [`Machine::apply`] takes a
//! [`Fact`], a decision as well as an observation, into the state; [`Machine::actions`] hands over what must now be done in the world.
//! It does no I/O, reads no clock and draws no random number: a driver passes the time in, writes facts to a journal before it performs
//! the actions that follow from them, and reports what happened as further facts. After a replay, [`Machine::owed`] tells what was
//! assigned and has not ended: it is to be attached to, never started again.
//!
//! **Steps grow.** The tasks of a step are known from the beginning, or at once when all that it waits for has ended, or one by one as the
//! tasks of another step end ([`Grows`]). What is to be expanded comes up as an action, its tasks come back as a fact and get the next
//! free indices. Their place in every order follows from what they are, never from when they became known. A step ends when it has grown
//! and all its tasks have ended; its dependants then run, or are skipped with the first cause unless the need is optional. What was
//! merely not wanted (`when`) taints nothing; a failure taints a stream that could not follow it.
//!
//! **A task goes through phases.** *Assigned* tasks are prepared (rendered, files sent) for one endpoint of their server, a little ahead of
//! the slots, so that neither a journal nor an upload stands between two jobs of a server. *Started* takes a slot of the endpoint, the
//! step's claims and a place under `max_parallel` in one move; *released* gives the slot back when the server is done with the job,
//! *ended* the rest when the results are here. A task that waits for another try holds nothing. What only prepares may be called back:
//! since its twin runs (another task with the same key), or since another endpoint can take it sooner.
//!
//! **Who is next**: the longest remaining chain by expected time, then file order. A task with a slot that waits for its claims keeps them
//! from lower ones; one without a slot does so only after it was overtaken a few times: a full server holds up no other one, and nothing
//! starves. Tasks that wait for claims take no slot from others.
//!
//! Invariants, held by the property tests in this room:
//! - slots, claims and places are taken in one move and never exceeded;
//! - a task starts only when all it needs has ended as it must, has at most one try under way, and ends in exactly one terminal state;
//! - no ticket is given out twice, and only the one that the machine named last may end a task; what an older one says is ignored;
//! - after the failures that the policy allows, nothing new starts, and what runs is let finish; the first cause is kept;
//! - the run always ends: what can never start is settled as failed;
//! - decisions are made one at a time from the state alone, so the same facts lead to the same decisions: replaying any prefix and
//!   going on from what is owed ends as the whole run did;
//! - no sequence of facts breaks it: a fact that cannot be is refused and changes nothing. What a journal says is history, and is not
//!   judged by today's policy or limits.

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
mod entry;
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
mod tests_ends;
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
