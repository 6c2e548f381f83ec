//! Lines of several pipelines on one terminal.

use std::io::{Result, Write};

use anstyle::Style;

const DIM: Style = Style::new().dimmed();

/// Puts a label before each line, and writes only whole lines, so that those of others do not get between.
#[derive(Debug)]
pub struct Labelled<W> {
    out: W,
    label: Option<String>,
    line: Vec<u8>,
}

impl<W: Write> Labelled<W> {
    /// A stream whose lines begin with the label, if there is one.
    pub fn new(out: W, label: Option<&str>) -> Self {
        Self {
            out,
            label: label.map(str::to_owned),
            line: Vec::new(),
        }
    }
}

impl<W: Write> Write for Labelled<W> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let Some(label) = &self.label else {
            return self.out.write(bytes);
        };
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.is_empty() {
                self.line = format!("{DIM}{label} │{DIM:#} ").into_bytes();
            }
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.out.write_all(&line)?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_whole_and_with_their_label() {
        let mut out = Labelled::new(Vec::new(), Some("shots"));
        out.write_all(b"one\ntw").unwrap();
        out.flush().unwrap();
        let label = format!("{DIM}shots │{DIM:#} ");
        assert_eq!(out.out, format!("{label}one\n").into_bytes());
        out.write_all(b"o\n").unwrap();
        assert_eq!(out.out, format!("{label}one\n{label}two\n").into_bytes());
        let mut plain = Labelled::new(Vec::new(), None);
        plain.write_all(b"ha").unwrap();
        assert_eq!(plain.out, b"ha");
    }
}
