//! The servers of a project made real: started, probed, with their sockets and what they offer.
//!
//! This room knows which servers a run uses and how each is reached; it knows no plan and no task. Its invariants: every server of a run is
//! probed before anything is queued, and all that do not answer are reported together; a server of several endpoints is usable when one of
//! them answers; each endpoint has one socket, opened when it is first needed; node definitions are fetched once, single classes where few
//! are needed.

mod catalogs;
mod endpoint;

mod start;

pub use endpoint::{Endpoint, EndpointKind};
pub use start::{ServerKind, ServerSpec, Servers, StartCause, StartFailure};
