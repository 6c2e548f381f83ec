//! Columns of text.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use crate::base::secret;

/// Rows of cells, aligned; the last cell of a row is not padded.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub(super) fn write(&self, out: &mut dyn Write, indent: usize) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                // What ends a row pushes nothing aside.
                let rows = self.rows.iter().filter(|row| row.len() > column + 1);
                let cells = rows.filter_map(|row| row.get(column));
                cells.map(|cell| cell.width()).max().unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut line = " ".repeat(indent);
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + 2));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
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
        table.write(&mut out, 2).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "  RUN     STATUS  TASKS\n  光と影  done    3\n  a\n"
        );
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
