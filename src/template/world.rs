//! What functions in templates may reach.

use indexmap::IndexMap;

use crate::artifact::{Datum, FileValue};

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
    /// Whether a secret has a value; the value itself never comes into the room.
    fn secret(&self, name: &str) -> Result<(), String> {
        match self.env(name) {
            Some(_) => Ok(()),
            None => Err(format!("the environment variable `{name}` is not set")),
        }
    }
    /// A PNG of `of` whose alpha is `mask`: where the mask is white, the alpha is 0.
    fn mask(&self, _mask: &Datum, _of: &Datum) -> Result<FileValue, String> {
        Err("there is no place for new files here".to_owned())
    }
    /// Functions beside kiln's own.
    fn functions(&self) -> Vec<String> {
        Vec::new()
    }
    /// Filters beside kiln's own.
    fn filters(&self) -> Vec<String> {
        Vec::new()
    }
    /// Calls one of these functions, or applies one of these filters, whose first argument is what it is applied to.
    fn call(
        &self,
        _filter: bool,
        _name: &str,
        _args: &[Datum],
        _named: &IndexMap<String, Datum>,
    ) -> Result<Datum, String> {
        Err("nothing has it".to_owned())
    }
    /// The run's seed, below 2^32.
    fn run_seed(&self) -> u64;
    /// When the run started.
    fn now(&self) -> jiff::Zoned;
}
