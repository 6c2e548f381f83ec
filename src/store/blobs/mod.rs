//! Results by content: what a cached task's files are restored from.
//!
//! A blob is written once, under the hash of its content, and nobody may write to it. It counts only while it is what its hash says:
//! a stamp (size, time, identity) recorded when the content was last known to be right is the quick proof, reading it all the thorough
//! one. A blob that fails the thorough proof is moved out of the way and reported, never used and never repaired.
//!
//! [`Blobs`] is all that the rest of kiln knows; [`LocalBlobs`] keeps them in a folder. Something else (an object store) can stand in.

mod error;
mod keeper;
mod local;
mod stamp;

pub use error::BlobError;
pub use keeper::{Blobs, Ensured, Held};
pub use local::LocalBlobs;
pub(super) use local::place_of;
pub(super) use stamp::Boot;
