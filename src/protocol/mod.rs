//! `ComfyUI`'s wire types: events, frames, prompts, records of jobs, results.
//!
//! Data only, no I/O. A server may be older or newer than this code and may host custom nodes that send anything, so every reader here
//! skips members it does not know, takes a missing member for its default, and never fails a whole message for one odd value. Python
//! writes `NaN` and `Infinity` into JSON; [`tolerant_json`] and [`read`] accept them as `null`.

mod dialect;
mod event;
mod frame;
mod head;
mod json;
mod listing;
mod prompt;
mod record;
mod results;

pub use dialect::{
    Cancel, Dialect, Flavour, HistoryList, Ids, JobList, ModelLists, QueueTuple, Records,
    SocketRules, StandIn, Support, UploadRules, Version,
};
pub use event::{Event, NodeProgress, NodeState};
pub use frame::{Frame, FrameError};
pub use head::Head;
pub use json::{quoted_nan, read, tolerant_json, without_nan};
pub use listing::{HistoryItem, JobPage, JobSummary, QueueItem, QueueListing, history_items};
pub use prompt::{
    NodeComplaint, NodeComplaints, PromptAnswer, PromptComplaint, PromptNode, PromptRequest,
};
pub use record::{HistoryEntry, Job, JobStatus, NodeFailure, Queue, Verdict, history_entry};
pub use results::{FileRef, NodeResult, ResultValue, results};
