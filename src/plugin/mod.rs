//! The plugin host: finds plugins, lets them in through a gate, and asks them on threads of their own.
//!
//! A plugin is somebody else's code. In this process it can only be trusted not to crash; everything else is contained: what it says is
//! bounded and checked, a panic fails one call, a call beyond its time limit is given up and the plugin with it, and its queue never grows
//! without end. Progress, previews and output lines may be coalesced or left out for a plugin that does not keep up; all other events
//! reach it, in order, and the run waits for it rather than lose one. With `isolation: process` the same library runs in a child
//! (`kiln plugin host`), where even a crash is only a failed call.
//!
//! Plugins are asked in the order in which `kiln.yaml` declares them. This room knows nothing of tasks or servers: it hands JSON over and
//! takes JSON back. `unsafe` lives in `gate` and `loaded` alone.

mod about;
mod body;
mod child;
mod complaints;
mod control;
mod copied;
mod declared;
mod diagnostic;
mod fault;
mod frame;
mod gate;
mod host;
mod loaded;
mod loading;
mod made;
mod member;
mod order;
mod queue;
mod schema;
mod search;
mod serve;
#[cfg(test)]
pub(crate) mod staged;
mod told;

pub use about::{About, Callable, StepKind};
pub use complaints::{Complaints, Said};
pub use declared::{Declared, Shape};
pub use diagnostic::{
    failed, given_up, goes_on_without, no_such_step, step_unknown, step_without, switched_off,
    switched_off_since, what_it_takes,
};
pub use fault::Fault;
pub use host::{Callables, Notice, Plugins};
pub(crate) use host::{handed, of_artifact};
pub use made::{Change, Content, Made, artifacts, changes, graph, value};
pub use order::{Answer, Calling, Watch};
pub use schema::{Mismatch, for_editors, mismatches, secrets_in};
pub use serve::serve;
pub use told::{Preview, ServerMessage};
