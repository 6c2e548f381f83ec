//! What tasks hand to each other: files and texts with their kinds, and the values that templates produce.
//!
//! Data only: nothing here opens a file or a socket.

mod artifacts;
mod datum;
mod kinds;

pub use artifacts::{Artifact, RemoteFile};
pub use datum::{Datum, FileValue};
pub use kinds::Kind;
