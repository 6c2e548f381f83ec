//! Facts about a run, as everyone outside `run` learns of them: reporters, `--output json`, plugins, the dashboard.
//!
//! Events are versioned ([`VERSION`]); members are only ever added within a version. They never carry secrets.

mod run_event;
mod texts;

pub use run_event::{
    Counts, Envelope, Output, RunEvent, RunStatus, StopReason, TaskInfo, TaskStatus, VERSION,
    schema,
};
