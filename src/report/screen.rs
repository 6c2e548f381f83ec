//! The live lines on a terminal: drawn below everything that was said, and wiped before more is said.
//!
//! The cursor is left visible, at the beginning of the line below: whenever kiln ends, and however, the terminal is as it should be.
//! A terminal that was resized has broken the lines anew, so how many rows there are to wipe is asked of the width of now.

use super::line::Line;

/// Terminals that know it show all of what comes between at once; the others ignore it.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";

/// What is drawn.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The columns that each line took.
    drawn: Vec<usize>,
    /// The terminal leaves lines as they are when it gets narrower, and cuts them.
    cuts: bool,
}

impl Screen {
    pub(super) fn new(cuts: bool) -> Self {
        Self {
            drawn: Vec::new(),
            cuts,
        }
    }

    /// Whether there is nothing to wipe.
    pub(super) fn is_clear(&self) -> bool {
        self.drawn.is_empty()
    }

    /// Everything of one picture, to be written in one go: what was there is wiped, then `said` stays for good, then come the live lines.
    pub(super) fn frame(&mut self, said: &str, live: &[Line], columns: usize) -> String {
        let wipe = self.wipe(columns);
        if wipe.is_empty() && live.is_empty() {
            return said.to_owned();
        }
        let mut frame = format!("{BEGIN}{wipe}{said}");
        for line in live {
            frame.push_str(&line.to_string());
            frame.push('\n');
            self.drawn.push(line.width());
        }
        frame.push_str(END);
        frame
    }

    fn wipe(&mut self, columns: usize) -> String {
        let columns = columns.max(1);
        let rows: usize = if self.cuts {
            self.drawn.len()
        } else {
            let rows = self.drawn.iter();
            rows.map(|wide| wide.div_ceil(columns).max(1)).sum()
        };
        self.drawn.clear();
        match rows {
            0 => String::new(),
            rows => format!("\x1b[{rows}A\r\x1b[J"),
        }
    }
}
