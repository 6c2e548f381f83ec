//! One event per line, for programs.

use std::io::Write;

use super::{ReportResult, Reporter};
use crate::event::Envelope;

/// Writes each event as one line of JSON and flushes it.
#[derive(Debug)]
pub struct JsonReporter<W> {
    out: W,
}

impl<W: Write + Send> JsonReporter<W> {
    /// A reporter on a stream, usually stdout.
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write + Send> Reporter for JsonReporter<W> {
    fn event(&mut self, envelope: &Envelope) -> ReportResult {
        serde_json::to_writer(&mut self.out, envelope)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}
