//! A look at everything that a socket brings.

use std::fmt;

/// Somebody who looks on. It is asked by the task that drains the socket, and must not block.
pub trait Tap: Send + Sync + fmt::Debug {
    /// A text message: its `type`, the job that it names or, where it names none and the server was at work on one, that job.
    fn text(&self, message: &str, kind: &str, prompt_id: Option<&str>);

    /// A binary message, and the job that the server was at work on.
    fn binary(&self, message: &bytes::Bytes, current: Option<&str>);
}
