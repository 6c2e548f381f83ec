//! One event per line, for programs.

use std::io::Write;

use super::complaints::write_trouble;
use super::sink::Sink;
use super::{ReportResult, Reporter};
use crate::event::Envelope;

/// Writes each event as one line of JSON and flushes it.
#[derive(Debug)]
pub struct JsonReporter<N, W> {
    notes: Sink<N>,
    out: Sink<W>,
    /// The line that is being made.
    line: Vec<u8>,
    failed: bool,
}

impl<N: Write + Send, W: Write + Send> JsonReporter<N, W> {
    /// A reporter on a stream, usually stdout; `notes` hears only that it cannot be written.
    pub fn new(notes: N, out: W) -> Self {
        Self {
            notes: Sink::new(notes),
            out: Sink::new(out),
            line: Vec::new(),
            failed: false,
        }
    }
}

impl<N: Write, W: Write> JsonReporter<N, W> {
    fn heed_trouble(&mut self) -> ReportResult {
        if let Some(error) = self.out.trouble() {
            self.failed = true;
            write_trouble(&mut self.notes, &error)?;
        }
        Ok(())
    }
}

impl<N: Write + Send, W: Write + Send> Reporter for JsonReporter<N, W> {
    fn event(&mut self, envelope: &Envelope) -> ReportResult {
        self.line.clear();
        serde_json::to_writer(&mut self.line, envelope)?;
        self.line.push(b'\n');
        self.out.write_all(&self.line)?;
        self.out.flush()?;
        self.heed_trouble()
    }

    fn gather(&mut self, gather: bool) -> ReportResult {
        self.out.gather(gather)?;
        self.heed_trouble()
    }

    fn failed(&self) -> bool {
        self.failed
    }
}
