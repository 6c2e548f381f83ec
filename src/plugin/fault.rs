//! What can go wrong with a call.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why a call has no answer. The text reads well after the plugin's name and a colon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Fault {
    /// The plugin says so itself.
    #[error("{0}")]
    Said(String),
    /// It panicked; the thunk caught it.
    #[error("it panicked: {0}")]
    Panicked(String),
    /// It answered with a number that means nothing.
    #[error("it answered with the unknown status {0}")]
    Status(i32),
    /// Its answer is larger than kiln takes.
    #[error("its answer has {0} bytes, and kiln takes no more than {most}", most = super::loaded::MOST_REPLY)]
    TooLarge(usize),
    /// Its answer is not even text.
    #[error("its answer is no valid UTF-8")]
    NotText,
    /// Its answer is not what the hook must answer.
    #[error("its answer {0}")]
    Wrong(String),
    /// It did not answer in time.
    #[error("it did not answer within {}", shown(*.0))]
    Overdue(Duration),
    /// The run was stopped, and it had so much to do yet.
    #[error("the run was stopped, and it had {0} thing{s} to do yet", s = if *.0 == 1 { "" } else { "s" })]
    Left(usize),
    /// It was given up before.
    #[error("it was given up before")]
    GivenUp,
    /// Its process ended.
    #[error("its process {0}")]
    Died(String),
    /// Nobody waits for the answer any more.
    #[error("the call was cancelled")]
    Cancelled,
}

/// A duration as it is written in `kiln.yaml`.
fn shown(time: Duration) -> String {
    let ms = time.as_millis();
    match ms {
        ms if ms % 60_000 == 0 && ms > 0 => format!("{}m", ms / 60_000),
        ms if ms % 1000 == 0 => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}
