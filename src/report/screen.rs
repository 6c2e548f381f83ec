//! The live lines on a terminal: drawn below everything that was said, and wiped before more is said.
//!
//! The cursor is left visible, at the beginning of the line below: whenever kiln ends, and however, the terminal is as it should be.
//! A terminal that was resized has broken the lines anew, so how many rows there are to wipe is asked of the width of now.

use unicode_width::UnicodeWidthChar;

use super::line::Line;

/// Terminals that know it show all of what comes between at once; the others ignore it.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";

/// What is drawn.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The lines, without styles.
    drawn: Vec<String>,
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
            self.drawn.push(line.text());
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
            rows.map(|line| rows_of(line, columns)).sum()
        };
        self.drawn.clear();
        match rows {
            0 => String::new(),
            rows => format!("\x1b[{rows}A\r\x1b[J"),
        }
    }
}

/// The rows that a line takes; a wide character that does not fit any more begins the next one.
fn rows_of(line: &str, columns: usize) -> usize {
    let (mut rows, mut at) = (1, 0);
    for wide in line.chars().filter_map(UnicodeWidthChar::width) {
        if at + wide > columns && at > 0 {
            rows += 1;
            at = 0;
        }
        at += wide;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_as_many_rows_as_the_terminal_needs_for_it() {
        for (line, columns, rows) in [
            ("", 10, 1),
            ("abcdefghij", 10, 1),
            ("abcdefghijk", 10, 2),
            ("光と影", 3, 3),
            ("光と影", 4, 2),
            ("abc", 1, 3),
        ] {
            assert_eq!(rows_of(line, columns), rows, "{line} at {columns}");
        }
    }
}
