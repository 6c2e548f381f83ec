//! Looking after servers: what each is, has and does, and the few orders that people give to one.
//!
//! Nothing here belongs to a run. Answers come as rows that people and programs are shown; what is asked for by the beginning of an id is
//! found before anything is changed, and nothing else is touched.

mod catalog;
mod history;
mod install;
mod models;
mod nodes;
mod ours;
mod queue;
mod reach;
mod status;

pub use catalog::{CATALOG_FORMAT, saved_catalog};
pub use history::{Forgotten, HistoryRow, forget, history};
pub use install::{Installed, Wish, install};
pub use models::{FolderRow, ModelRow, folders, models_in};
pub use nodes::{InputRow, NodeDetail, NodeRow, OutputRow, node, nodes};
pub use ours::OwnJob;
pub use queue::{QueueRow, Stopped, Where, cancel, clear, interrupt, queue};
pub use reach::{Complaint, Open, Place, open};
pub(super) use reach::{Found, find};
pub(super) use status::state;
pub use status::{Freed, ServerStatus, free, status, support_word};
