//! Columns that fit the terminal: those that may be cut are cut, those that may be left out are left out, nothing is folded.

use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::table::plain;

/// What stands between columns.
const GAP: usize = 2;

/// How a column behaves where there is little room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It stays as it is.
    Whole,
    /// It may be cut to this width.
    Cut(usize),
    /// It is left out before anything that stays is cut off; the highest number goes first.
    Spare(u8),
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub(super) head: &'static str,
    pub(super) fit: Fit,
    /// Numbers stand at the right.
    pub(super) right: bool,
}

impl Column {
    pub(super) fn new(head: &'static str, fit: Fit) -> Self {
        Self {
            head,
            fit,
            right: false,
        }
    }

    pub(super) fn right(self) -> Self {
        Self {
            right: true,
            ..self
        }
    }
}

/// A text, maybe in a colour.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self {
            text: plain(&text),
            style: Style::new(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl Cell {
    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            style,
            ..Self::from(text.into())
        }
    }
}

/// What is well.
pub(super) fn good() -> Style {
    AnsiColor::Green.on_default()
}

/// What wants to be looked at.
pub(super) fn odd() -> Style {
    AnsiColor::Yellow.on_default()
}

/// What is wrong.
pub(super) fn bad() -> Style {
    AnsiColor::Red.on_default().bold()
}

/// What matters less.
pub(super) fn faint() -> Style {
    Style::new().dimmed()
}

/// What matters more.
pub(super) fn strong() -> Style {
    Style::new().bold()
}

/// Rows of cells below the heads of their columns.
#[derive(Debug)]
pub(super) struct Sheet {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    indent: usize,
    heads: bool,
}

impl Sheet {
    pub(super) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self {
            columns: columns.into_iter().collect(),
            rows: Vec::new(),
            indent: 0,
            heads: true,
        }
    }

    /// Without the line of heads, and so far from the left.
    pub(super) fn bare(self, indent: usize) -> Self {
        Self {
            indent,
            heads: false,
            ..self
        }
    }

    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Writes it into `width` columns; all of it without one.
    pub(super) fn write(&self, out: &mut dyn Write, width: Option<usize>) -> io::Result<()> {
        let widths = self.widths(width);
        if self.heads {
            let heads: Vec<Cell> = self
                .columns
                .iter()
                .map(|column| Cell::styled(column.head, faint()))
                .collect();
            self.line(out, &heads, &widths)?;
        }
        for row in &self.rows {
            self.line(out, row, &widths)?;
        }
        Ok(())
    }

    fn line(
        &self,
        out: &mut dyn Write,
        cells: &[Cell],
        widths: &[Option<usize>],
    ) -> io::Result<()> {
        let mut line = " ".repeat(self.indent);
        // Spaces are only written when something follows them.
        let mut pending = 0;
        for ((cell, column), width) in cells.iter().zip(&self.columns).zip(widths) {
            let Some(width) = *width else { continue };
            let text = cut(&cell.text, width);
            let room = width.saturating_sub(text.width());
            let (before, after) = if column.right { (room, 0) } else { (0, room) };
            if text.is_empty() {
                pending += width + GAP;
                continue;
            }
            line.push_str(&" ".repeat(pending + before));
            let style = cell.style;
            line = format!("{line}{style}{text}{style:#}");
            pending = after + GAP;
        }
        writeln!(out, "{line}")
    }

    /// The width of each column; `None` for one that is left out.
    fn widths(&self, room: Option<usize>) -> Vec<Option<usize>> {
        let natural = |index: usize, column: &Column| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            let widest = cells.map(|cell| cell.text.width()).max().unwrap_or(0);
            if widest == 0 {
                return None;
            }
            let head = if self.heads { column.head.width() } else { 0 };
            Some(widest.max(head))
        };
        let columns = self.columns.iter().enumerate();
        let mut widths: Vec<Option<usize>> = columns.map(|(i, c)| natural(i, c)).collect();
        let Some(room) = room else {
            return widths;
        };
        while self.total(&widths) > room {
            let over = self.total(&widths) - room;
            if self.shrink(&mut widths, over) {
                continue;
            }
            let spare = (0..widths.len())
                .filter(|at| widths[*at].is_some())
                .filter_map(|at| match self.columns[at].fit {
                    Fit::Spare(rank) => Some((rank, at)),
                    _ => None,
                });
            match spare.max() {
                Some((_, at)) => widths[at] = None,
                None => break,
            }
        }
        widths
    }

    fn total(&self, widths: &[Option<usize>]) -> usize {
        let shown = widths.iter().flatten();
        let gaps = shown.clone().count().saturating_sub(1) * GAP;
        self.indent + shown.sum::<usize>() + gaps
    }

    /// Takes from the widest column that may be cut. Whether that changed anything.
    fn shrink(&self, widths: &mut [Option<usize>], over: usize) -> bool {
        let spares = self.columns.iter().zip(widths.iter());
        let spares =
            spares.filter(|(column, width)| matches!(column.fit, Fit::Spare(_)) && width.is_some());
        // As long as something can be left out, a column keeps a readable width.
        let keep = if spares.count() > 0 { 16 } else { 0 };
        let widest = (0..widths.len())
            .filter_map(|at| match (self.columns[at].fit, widths[at]) {
                (Fit::Cut(least), Some(width)) if width > least.max(keep) => {
                    Some((width, at, least.max(keep)))
                }
                _ => None,
            })
            .max();
        let Some((width, at, least)) = widest else {
            return false;
        };
        let second = (0..widths.len())
            .filter(|other| *other != at && matches!(self.columns[*other].fit, Fit::Cut(_)))
            .filter_map(|other| widths[other])
            .max()
            .unwrap_or(0);
        let target = width
            .saturating_sub(over)
            .max(least)
            .max(second.min(width - 1));
        widths[at] = Some(target);
        true
    }
}

/// At most so many columns of a text, an ellipsis at the end of what is cut.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        used += wide;
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// How wide stdout is; `None` when it is no terminal.
pub(super) fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    let size = terminal_size::terminal_size_of(io::stdout());
    Some(size.map_or(80, |(width, _)| usize::from(width.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sheet() -> Sheet {
        let mut sheet = Sheet::new([
            Column::new("ID", Fit::Whole),
            Column::new("SIZE", Fit::Spare(1)).right(),
            Column::new("NAME", Fit::Cut(6)),
            Column::new("NEVER", Fit::Whole),
        ]);
        sheet.row([
            "a".into(),
            "1.2 GB".into(),
            "a name that is long 光と影".into(),
        ]);
        sheet.row(["bb".into(), "9 B".into(), "short".into()]);
        sheet
    }

    fn at(width: Option<usize>) -> String {
        let mut out = Vec::new();
        sheet().write(&mut out, width).unwrap();
        let text = anstream::adapter::strip_bytes(&out).into_vec();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_sheet_fits_every_width() {
        for width in [14, 20, 30, 40] {
            for line in at(Some(width)).lines() {
                assert!(line.width() <= width, "{width}: {line:?}");
            }
        }
        let whole = at(None);
        assert!(
            whole.contains("光と影") && !whole.contains("NEVER"),
            "{whole}"
        );
        assert_eq!(whole, at(Some(200)));
        assert!(!at(Some(14)).contains("GB"), "what is spare goes first");
        assert!(at(Some(30)).contains('…'));
    }

    #[test]
    fn what_commands_a_terminal_does_not_reach_it() {
        let cell = Cell::from("a\u{1b}[2Jb");
        assert_eq!(cell.text, "a [2Jb");
    }
}
