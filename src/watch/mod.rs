//! Files change, and what depends on them runs again.
//!
//! Each watched pipeline has a desk of its own. The `source` tells that something was touched, as cheaply as it can: it looks at the
//! folders of the files that the last plan read, and lets everything else pass in the callback. The `gate` waits until the touching
//! has an end. The `set` then finds out by content whether anything that was read is another now; times never decide that. What to do
//! about it in the middle of a run the `desk` decides. All of these are values that know neither clock nor file system of their own
//! accord, but for the set, and the source, which is the only part that asks the system for events.
//!
//! The room never knows how a run works: it asks `session` for a plan and for a run of it, and stops that run when it is stale. What
//! always holds: nothing below the folder of results and nothing in `.kiln` ever counts as a change; a file that is wrong runs nothing and
//! is watched on; the set is what the last plan read, whether that led to a plan or not, and is looked at once more after it is armed, so
//! that no change falls between.

mod arms;
mod desk;
mod gate;
mod keys;
mod making;
mod open;
mod orders;
mod poll;
mod say;
mod set;
mod source;
mod touch;
mod trail;
mod voice;
mod watching;
mod worker;

pub use desk::OnBusy;
pub use voice::Voices;
pub use watching::{Options, watch};
