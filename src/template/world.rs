//! What functions in templates may reach.

use crate::artifact::FileValue;

/// The outside, as templates see it: implemented by whoever evaluates. Paths are as the user wrote them, or absolute.
///
/// Errors are fragments that read well after the function's name: "there is no such file".
pub trait World: Send + Sync {
    /// A file with its content's hash.
    fn file(&self, path: &str) -> Result<FileValue, String>;
    /// Whether a file or folder is there.
    fn exists(&self, path: &str) -> bool;
    /// The files that match a pattern, sorted by path.
    fn glob(&self, pattern: &str) -> Result<Vec<FileValue>, String>;
    /// The text of a file.
    fn read_text(&self, path: &str) -> Result<String, String>;
    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// The run's seed, below 2^32.
    fn run_seed(&self) -> u64;
    /// When the run started.
    fn now(&self) -> jiff::Zoned;
}
