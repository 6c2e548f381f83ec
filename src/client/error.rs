//! What can go wrong between kiln and a server.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use super::refusal::{Refusal, RefusalKind};

/// A request did not get the answer it asked for. Addresses are shown without user names, passwords or queries.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is none.
    #[error("`{url}` is no server address: {reason}")]
    BadUrl {
        /// The address as it was given.
        url: String,
        /// Why.
        reason: String,
    },
    /// No connection could be made: nothing was sent.
    #[error("no connection to {url}: {cause}")]
    Unreachable {
        /// The address.
        url: String,
        /// What the system answered.
        cause: String,
    },
    /// The connection broke after something was sent: the server may have acted on it.
    #[error("the connection to {url} broke: {cause}")]
    Broken {
        /// The address.
        url: String,
        /// What happened.
        cause: String,
    },
    /// The server fell silent after something was sent: it may still act on it.
    #[error("{url} did not answer within {} seconds", after.as_secs())]
    Timeout {
        /// The address.
        url: String,
        /// How long kiln waited.
        after: Duration,
    },
    /// What the server is to be shown, or trusted by, cannot be used.
    #[error("{url} cannot be asked: {reason}")]
    Credentials {
        /// The address.
        url: String,
        /// Why.
        reason: String,
    },
    /// Something answers there, but not `ComfyUI`.
    #[error("{url} answered, but it is not ComfyUI: got {got}")]
    NotComfyUi {
        /// The address.
        url: String,
        /// What came instead: media type and first line.
        got: String,
    },
    /// The server answered with a status that means no.
    #[error("{} answered {}{}", .0.url, .0.status, said(&.0.said))]
    Refused(Refusal),
    /// The answer is not what the protocol promises.
    #[error("{url} gave an answer that kiln cannot read: {reason}")]
    BadAnswer {
        /// The address.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer is larger than any sensible one.
    #[error("{url} gave an answer of more than {} MiB", limit >> 20)]
    TooLarge {
        /// The address.
        url: String,
        /// The bound, bytes.
        limit: usize,
    },
    /// The server sends elsewhere, in a way kiln does not follow.
    #[error("{url} redirects to {to}, {reason}")]
    Redirect {
        /// The address.
        url: String,
        /// Where it sends.
        to: String,
        /// Why kiln stays; reads after a comma.
        reason: &'static str,
    },
    /// A file to be sent cannot be read.
    #[error("could not read `{}`: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system answered.
        cause: String,
    },
}

impl ClientError {
    /// Whether the server could not be talked to, as against having said something unwelcome.
    pub fn is_connection(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } | Self::Timeout { .. } => true,
            Self::Refused(refusal) => refusal.kind == RefusalKind::Unavailable,
            _ => false,
        }
    }

    /// An answer in another shape than the protocol's.
    pub(super) fn odd(url: &url::Url, reason: &str) -> Self {
        Self::BadAnswer {
            url: super::http::show(url),
            reason: reason.to_owned(),
        }
    }

    /// The refusal, when it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Whether the server has too much to do, and did nothing: later it will take the same request.
    pub fn is_busy(&self) -> bool {
        self.refusal()
            .is_some_and(|no| no.kind == RefusalKind::Busy)
    }

    /// Whether the server failed at answering, which may be over in a moment.
    pub fn is_fault(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.status >= 500)
    }

    /// Whether what came as an answer is none: something else's, or a part of one.
    pub fn is_odd(&self) -> bool {
        matches!(self, Self::NotComfyUi { .. } | Self::BadAnswer { .. })
    }

    /// Whether the server may have acted on the request although no good answer came.
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Timeout { .. } => true,
            Self::Refused(refusal) => refusal.status >= 500,
            _ => false,
        }
    }
}

fn said(body: &str) -> String {
    match &*first_line(body) {
        "" => String::new(),
        line => format!(": {line}"),
    }
}

/// The first line with something in it; one of more than 200 bytes is cut, and ends in an ellipsis.
pub(super) fn first_line(text: &str) -> Cow<'_, str> {
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    let mut end = line.len().min(200);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    if end == line.len() {
        return Cow::Borrowed(line);
    }
    Cow::Owned(format!("{}…", &line[..end]))
}
