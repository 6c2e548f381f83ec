//! Columns of text.

use std::io::{self, IsTerminal, Write};

use unicode_width::UnicodeWidthStr;

use crate::base::secret;

/// What ends a row has at least so many columns, or the row is folded.
const LEAST: usize = 16;

/// Rows of cells, aligned; the last cell of a row is not padded.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Writes the rows below each other. On a terminal, which has so many columns, what ends a row and has no room goes below it; and
    /// where not even the rest has, all rows are folded.
    pub(super) fn write(
        &self,
        out: &mut dyn Write,
        indent: usize,
        columns: Option<usize>,
    ) -> io::Result<()> {
        let widths = self.widths();
        let room = columns.unwrap_or(usize::MAX);
        let aligned = indent
            + widths
                .iter()
                .filter(|w| **w > 0)
                .map(|w| w + 2)
                .sum::<usize>();
        let ends = self.rows.iter().filter_map(|row| row.last());
        let longest = ends.map(|cell| cell.width()).max().unwrap_or(0);
        for row in &self.rows {
            let Some((last, rest)) = row.split_last() else {
                continue;
            };
            if aligned + longest.min(LEAST) > room {
                folded(out, row, indent, room)?;
                continue;
            }
            let mut line = " ".repeat(indent);
            for (cell, width) in rest.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
            }
            if line.width() + last.width() > room && !rest.is_empty() {
                writeln!(out, "{}", line.trim_end())?;
                line = " ".repeat(indent + 4);
            }
            line.push_str(last);
            wrapped(out, line.trim_end(), room)?;
        }
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        (0..columns)
            .map(|column| {
                // What ends a row pushes nothing aside.
                let rows = self.rows.iter().filter(|row| row.len() > column + 1);
                let cells = rows.filter_map(|row| row.get(column));
                cells.map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect()
    }
}

/// One row over several lines: its cells one after the other, and below the first one, further in, what has no room beside it.
fn folded(out: &mut dyn Write, row: &[String], indent: usize, room: usize) -> io::Result<()> {
    let mut line = " ".repeat(indent);
    let mut empty = true;
    for cell in row.iter().filter(|cell| !cell.is_empty()) {
        if !empty && line.width() + 2 + cell.width() > room {
            wrapped(out, &line, room)?;
            line = " ".repeat(indent + 4);
        } else if !empty {
            line.push_str("  ");
        }
        line.push_str(cell);
        empty = false;
    }
    wrapped(out, &line, room)
}

/// A line, broken between words where the terminal ends; what follows stands as far in as the line began, and a little more.
pub(super) fn wrapped(out: &mut dyn Write, line: &str, room: usize) -> io::Result<()> {
    if line.width() <= room {
        return writeln!(out, "{line}");
    }
    let indent = line.chars().take_while(|c| *c == ' ').count();
    let mut current = " ".repeat(indent);
    let mut empty = true;
    for word in line[indent..].split(' ') {
        if !empty && current.width() + 1 + word.width() > room {
            writeln!(out, "{}", current.trim_end())?;
            current = " ".repeat(indent + 2);
        } else if !empty {
            current.push(' ');
        }
        current.push_str(word);
        empty = false;
    }
    writeln!(out, "{}", current.trim_end())
}

/// The columns of the terminal behind stdout; `None` when it is no terminal.
pub(super) fn columns() -> Option<usize> {
    let stdout = io::stdout();
    stdout.is_terminal().then(|| {
        terminal_size::terminal_size_of(&stdout).map_or(80, |(width, _)| usize::from(width.0))
    })
}

/// A text from the journal: one line, without secrets, and nothing that commands a terminal.
pub(super) fn plain(text: &str) -> String {
    secret::shown(text)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// At most so many characters.
pub(super) fn short(text: &str, most: usize) -> String {
    let text = plain(text);
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Milliseconds since 1970 as the clock on the wall shows them.
pub(super) fn time(ms: u64) -> String {
    let stamp = i64::try_from(ms)
        .ok()
        .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    stamp.map_or_else(String::new, |stamp| {
        stamp
            .to_zoned(jiff::tz::TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S")
            .to_string()
    })
}

/// How long something took.
pub(super) fn took(ms: u64) -> String {
    crate::report::duration(std::time::Duration::from_millis(ms))
}

/// Bytes as people say them: `812 B`, `3.4 MB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_below_each_other_whatever_their_width() {
        let mut table = Table::default();
        table.row(["RUN", "STATUS", "TASKS"]);
        table.row(["光と影", "done", "3"]);
        table.row(["a"]);
        let mut out = Vec::new();
        table.write(&mut out, 2, None).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "  RUN     STATUS  TASKS\n  光と影  done    3\n  a\n"
        );
    }

    #[test]
    fn a_narrow_terminal_gets_shorter_or_folded_rows() {
        let mut table = Table::default();
        table.row(["RUN", "STATUS", "RESULT"]);
        table.row([
            "20261122-141530-k3f9",
            "done",
            "coffee-print.png, coffee-proof.png",
        ]);
        let text = |columns| {
            let mut out = Vec::new();
            table.write(&mut out, 2, Some(columns)).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            text(60),
            "  RUN                   STATUS  RESULT\n  20261122-141530-k3f9  done\n      coffee-print.png, coffee-proof.png\n"
        );
        assert_eq!(
            text(40),
            "  RUN  STATUS  RESULT\n  20261122-141530-k3f9  done\n      coffee-print.png, coffee-proof.png\n"
        );
        assert!(text(30).lines().all(|line| line.width() <= 30));
    }

    #[test]
    fn sizes_read_naturally() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_999, "1.0 MB"),
            (3_400_000_000, "3.4 GB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn long_or_hostile_text_is_cut_and_tamed() {
        assert_eq!(short("a\u{1b}[2Jb\nc", 20), "a [2Jb c");
        assert_eq!(short("abcdef", 4), "abcd…");
    }
}
