//! Drives the machine: what it decides is made durable, then done, and what happened is told to it and to everyone who listens.
//!
//! One dispatcher owns the machine; no state is shared behind a mutex but the names of uploads and result files. Each turn takes what was
//! observed, lets the machine decide until it has nothing more to say, and hands all facts to the journal. An action waits until the facts
//! that it follows from are durable, while the dispatcher goes on; only preparing, which changes nothing that matters, begins at once. So
//! the next job of a server is rendered, sent and journaled before its slot is free, and no sync stands between two jobs.
//!
//! An assigned task becomes a tokio task of its own that renders the graph, sends its files, waits for its slot, submits, follows and fetches;
//! it is told of a stop through a channel and ends by itself, its future is never dropped to cancel it.
//!
//! The id of a job follows from the run, the task, the attempt and the try, so the journal knows it before the server does. A submission
//! without a clear answer is looked up, never repeated under the same id. Nothing here prints: everything is an event.

mod ahead;
mod attempt;
mod cache;
mod collect;
mod context;
mod dispatch;
mod ending;
mod facts;
mod failure;
mod folder;
mod health;
mod hush;
mod identity;
mod kinds;
mod leftovers;
mod log;
mod news;
mod passing;
mod plugins;
mod provenance;
mod recall;
mod refused;
mod roster;
mod shared;
mod start;
mod tell;
mod telling;
#[cfg(test)]
mod tests;
mod transfer;
mod uses;
mod wire;

pub use ahead::{Lying, Resting, newest, nothing_to_do, step_folder, told_of_models, would_be};
pub use cache::{
    Found, Made, Miss, Noted, Restored, Unrestored, always, earlier, find, glance, prove, why,
};
pub use context::{Preview, RunContext, RunError, RunOptions, RunOutcome, Stop};
pub use folder::{output_set, run_folder};
pub use identity::prompt_id;
pub use leftovers::end_programs;
pub use start::execute;
pub use tell::output;
pub use telling::{class_name, info, infos};
