//! Why a plugin could not do what it was asked to.

use std::fmt;

/// A failure, told to the user in one sentence.
pub struct Error(String);

/// What plugins return.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure in words: lower case, without a full stop.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }

    /// The words.
    pub fn message(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Any error, with what caused it, so that `?` works. This type is no [`std::error::Error`] itself for that reason.
impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self(message)
    }
}

/// Returns an [`Error`] with a formatted message.
#[macro_export]
macro_rules! fail {
    ($($words:tt)*) => {
        return ::core::result::Result::Err($crate::Error::new(::std::format!($($words)*)))
    };
}
