//! A plugin as its thread sees it: in this process or in a child.

use serde_json::Value;

use super::fault::Fault;

/// Everything that can be asked of a plugin. All of it happens on the plugin's own thread.
pub(super) trait Body {
    /// Hands an event over.
    fn event(&mut self, event: &[u8]) -> Result<(), Fault>;
    /// Hands a preview frame over.
    fn preview(&mut self, about: &[u8], picture: &[u8]) -> Result<(), Fault>;
    /// Calls a hook; the answer is JSON, or empty.
    fn call(&mut self, id: u64, hook: &str, request: &[u8]) -> Result<Vec<u8>, Fault>;
    /// Ends it.
    fn end(self: Box<Self>);
}

/// Where a plugin's use of the host's services goes. Any thread.
pub(super) trait Sink: Send + Sync {
    /// A line for the user.
    fn log(&self, level: u32, text: String);
    /// How far a call is.
    fn progress(&self, call: u64, fraction: f64, note: String);
    /// Whether nobody waits for a call any more.
    fn is_cancelled(&self, call: u64) -> bool;
    /// One more artifact of a call, which took so many bytes to describe; whether it was taken.
    fn add_artifact(&self, call: u64, artifact: Value, length: usize) -> bool;
}

/// The longest text that a plugin may log, and the longest reason it may give, bytes.
pub(super) const LONGEST: usize = 4000;

/// A text of a plugin's, no longer than it may be.
pub(super) fn bounded(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let mut end = LONGEST;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
