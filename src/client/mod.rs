//! One server, spoken to: HTTP, the socket, jobs, transfers.
//!
//! This room knows the server's dialects and nothing of pipelines: it takes a graph and gives outcomes and files. Its invariants: the
//! server's records decide how a job ended, the socket only makes it known sooner, and no wait depends on one message; nothing is
//! re-submitted here, an unanswered submission is reported as ambiguous; redirects are followed by hand and lose our headers on another
//! origin; every answer is bounded in size; a download appears under its name only when it is whole.

mod access;
mod again;
mod connection;
mod diagnostic;
mod download;
mod error;
mod facts;
mod fetch;
mod follow;
mod growing;
mod here;
mod http;
mod info;
mod listing;
mod manager;
mod mask;
mod orders;
mod patience;
mod places;
mod progress;
mod records;
mod refusal;
mod sink;
mod socket;
mod tap;
mod text;
mod upload;
mod userdata;
mod whole;
mod worker;

pub use access::Access;
pub use connection::{Accepted, Connection, JobRequest, SubmitError};
pub use diagnostic::{diagnostic, download_diagnostic};
pub use download::{DownloadError, Downloaded, Stamp};
pub use error::ClientError;
pub use facts::{Doorway, Replacement, System};
pub use follow::{JobUpdate, Outcome};
pub use growing::Growing;
pub use http::Client;
pub use info::{Device, ModelFile, ServerInfo};
pub use listing::{JobQuery, JobSort, MOST_JOBS};
pub use manager::{InstallError, Installing, Manager, ModelWish};
pub use orders::Memory;
pub use records::Lookup;
pub use refusal::{Refusal, RefusalKind};
pub use socket::Picture;
pub use tap::Tap;
pub use upload::Uploaded;
pub use userdata::UserFile;

#[cfg(test)]
mod tests;
