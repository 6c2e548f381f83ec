//! The few styles there are, or none of them.

use anstyle::{AnsiColor, Style};

/// What each style looks like.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paint {
    pub(super) good: Style,
    pub(super) bad: Style,
    pub(super) odd: Style,
    pub(super) dim: Style,
    pub(super) bold: Style,
}

impl Paint {
    /// With colours, or as plain as paper.
    pub(super) fn new(color: bool) -> Self {
        if color {
            Self {
                good: AnsiColor::Green.on_default(),
                bad: AnsiColor::Red.on_default().bold(),
                odd: AnsiColor::Yellow.on_default(),
                dim: Style::new().dimmed(),
                bold: Style::new().bold(),
            }
        } else {
            let none = Style::new();
            Self {
                good: none,
                bad: none,
                odd: none,
                dim: none,
                bold: none,
            }
        }
    }
}
