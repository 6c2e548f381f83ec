//! The live lines on a terminal: drawn below everything that was said, and wiped before more is said.
//!
//! The cursor is left visible, at the beginning of the line below: whenever kiln ends, and however, the terminal is as it should be.
//! A terminal that was resized has broken the lines anew, so how many rows there are to wipe is asked of the width of now.

use std::sync::Arc;

use unicode_width::UnicodeWidthChar;

use super::line::Line;
use super::pictures::Glimpse;
use super::stage::Room;
use super::tty;

/// Terminals that know it show all of what comes between at once; the others ignore it.
const BEGIN: &str = "\x1b[?2026h";
const END: &str = "\x1b[?2026l";

/// What is drawn.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// The lines, without styles.
    drawn: Vec<String>,
    /// The picture above them.
    glimpse: Option<Arc<Glimpse>>,
    /// The terminal's columns and rows at that time.
    size: (usize, usize),
    /// How often kiln had been stopped and brought back by then.
    brought_back: usize,
}

impl Screen {
    /// Everything of one picture, to be written in one go: what was there is wiped, then `said` stays for good, then come the live lines,
    /// below a picture of what is under way if there is one. That stays as it is while it can: it is far larger than all lines together.
    pub(super) fn frame(
        &mut self,
        said: &str,
        (glimpse, live): (Option<&Arc<Glimpse>>, &[Line]),
        room: Room,
    ) -> String {
        let brought_back = tty::brought_back();
        if std::mem::replace(&mut self.brought_back, brought_back) != brought_back {
            // What stands above the cursor now is somebody else's.
            self.drawn.clear();
            self.glimpse = None;
        }
        let size = (room.columns, room.rows);
        let resized = std::mem::replace(&mut self.size, size) != size;
        let same = match (&self.glimpse, glimpse) {
            (None, None) => true,
            (Some(drawn), Some(wanted)) => Arc::ptr_eq(drawn, wanted),
            _ => false,
        };
        let stays = said.is_empty() && same && !resized;
        let wipe = self.wipe(room, stays);
        if wipe.is_empty() && live.is_empty() && glimpse.is_none() {
            return said.to_owned();
        }
        let mut frame = format!("{BEGIN}{wipe}{said}");
        if !stays {
            self.glimpse = glimpse.cloned();
            frame.push_str(glimpse.map_or("", |glimpse| &glimpse.code));
        }
        for line in live {
            frame.push_str(&line.to_string());
            frame.push('\n');
            self.drawn.push(line.text());
        }
        frame.push_str(END);
        frame
    }

    /// Wipes the lines, and the picture above them unless that stays.
    fn wipe(&mut self, room: Room, stays: bool) -> String {
        let columns = room.columns.max(1);
        let mut rows: usize = if room.cuts {
            self.drawn.len()
        } else {
            let rows = self.drawn.iter();
            rows.map(|line| rows_of(line, columns)).sum()
        };
        self.drawn.clear();
        let mut erase = String::new();
        if !stays && let Some(glimpse) = self.glimpse.take() {
            rows += glimpse.rows;
            erase.clone_from(&glimpse.erase);
        }
        match rows {
            0 => erase,
            rows => format!("{erase}\x1b[{rows}A\r\x1b[J"),
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
