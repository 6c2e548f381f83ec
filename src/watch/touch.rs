//! What the source tells.

use std::path::PathBuf;

/// Something may have changed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Touch {
    /// A file, a link or a folder on the way to one, by the place where it really lies.
    Entry(PathBuf),
    /// A file that a pattern may match.
    Match(PathBuf),
    /// A folder came, went or was moved, or events were lost: everything is to be looked at, and armed anew.
    Anything,
}
