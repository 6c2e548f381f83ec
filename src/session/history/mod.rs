//! What happened: the runs that a project remembers, read from its journal while or after they ran.
//!
//! Reading never waits for a run and never changes anything. What changes something is [`cancel`], which asks, and [`sweep`], which removes
//! what nobody needs.

mod cancel;
mod compare;
mod find;
mod gc;
mod replay;
mod standing;
mod tell;

pub use cancel::{Cancelled, Fate, LeftJob, cancel};
pub use compare::{Comparison, Difference, compare};
pub use find::{Alive, History, RunRow};
pub(super) use find::{pick, project_of};
pub use gc::{Cleaning, Swept, SweptRun, Tally, sweep};
pub use replay::{Replayed, replayed};
pub use standing::{Standing, State, TaskStanding};
pub use tell::{TaskEvent, events_of, news};

#[cfg(test)]
mod tests;
