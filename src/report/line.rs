//! One line of a terminal, in styled pieces.

use std::fmt;

use anstyle::Style;

use super::text::{cut, width};

/// Pieces of text, each with its style. A line knows how many columns it takes, which its text with styles would not tell.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pieces: Vec<(Style, String)>,
}

impl Line {
    pub(super) fn plain(text: impl Into<String>) -> Self {
        let mut line = Self::default();
        line.add(Style::new(), text);
        line
    }

    pub(super) fn add(&mut self, style: Style, text: impl Into<String>) -> &mut Self {
        self.pieces.push((style, text.into()));
        self
    }

    /// The same, after another piece.
    pub(super) fn after(mut self, style: Style, text: impl Into<String>) -> Self {
        self.pieces.insert(0, (style, text.into()));
        self
    }

    pub(super) fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| width(text)).sum()
    }

    /// Its text, without styles.
    pub(super) fn text(&self) -> String {
        self.pieces.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// Without spaces at its end: terminals do not agree on what becomes of them when they break lines anew.
    pub(super) fn trimmed(mut self) -> Self {
        while let Some((style, text)) = self.pieces.pop() {
            let kept = text.trim_end();
            if !kept.is_empty() {
                self.pieces.push((style, kept.to_owned()));
                break;
            }
        }
        self
    }

    /// Cut to so many columns, ending in `…` when something was cut.
    pub(super) fn fitted(mut self, columns: usize) -> Self {
        if self.width() <= columns {
            return self;
        }
        let mut left = columns;
        let mut kept = Vec::new();
        for (style, text) in self.pieces {
            let wide = width(&text);
            // The piece that follows needs at least room for its `…`.
            if wide < left {
                left -= wide;
                kept.push((style, text));
                continue;
            }
            if left > 0 {
                kept.push((style, cut(&format!("{text}……"), left)));
            }
            break;
        }
        self.pieces = kept;
        self
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (style, text) in &self.pieces {
            write!(f, "{style}{text}{style:#}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_across_its_pieces() {
        let mut line = Line::plain("ab");
        line.add(Style::new().bold(), "cd")
            .add(Style::new(), "光と影");
        assert_eq!(line.width(), 10);
        let at = |columns| line.clone().fitted(columns).to_string();
        assert_eq!(at(10), "ab\u{1b}[1mcd\u{1b}[0m光と影");
        assert_eq!(at(9), "ab\u{1b}[1mcd\u{1b}[0m光と…");
        assert_eq!(at(4), "ab\u{1b}[1mc…\u{1b}[0m");
        assert_eq!(at(1), "…");
        for columns in 0..12 {
            assert!(line.clone().fitted(columns).width() <= columns);
        }
    }
}
