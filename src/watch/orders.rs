//! What somebody at the keyboard wants of all pipelines.

/// A wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Run what is not up to date.
    Run,
    /// Run everything, with new seeds where they are drawn.
    Force,
    /// Hold changes back, or no longer.
    Pause(bool),
    /// Stop watching when what runs was stopped.
    Quit,
    /// Stop at once.
    Leave,
}

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Run,
    Force,
    Open,
    Pause,
    Quit,
}

impl Key {
    pub(super) fn of(byte: u8) -> Option<Self> {
        Some(match byte.to_ascii_lowercase() {
            b'r' => Self::Run,
            b'f' => Self::Force,
            b'o' => Self::Open,
            b'p' => Self::Pause,
            b'q' => Self::Quit,
            _ => return None,
        })
    }
}
