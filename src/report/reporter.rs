//! What a reporter must do.

use std::sync::Arc;

use crate::base::TaskName;
use crate::diagnostic::{Report, SourceMap};
use crate::event::Envelope;

/// Whether everything was told that somebody may still read.
pub type ReportResult = std::io::Result<()>;

/// Someone who tells of a run.
pub trait Reporter: Send {
    /// Takes the next event.
    ///
    /// # Errors
    /// When its stream cannot be written.
    fn event(&mut self, envelope: &Envelope) -> ReportResult;

    /// Takes complaints with the texts they point into, for reporters that show the user's own lines. Programs get them as events.
    ///
    /// # Errors
    /// When its stream cannot be written.
    fn complaints(&mut self, _report: &Report, _sources: &SourceMap) -> ReportResult {
        Ok(())
    }

    /// Whether what is told may wait for more: between `true` and `false` very much is told at one moment.
    ///
    /// # Errors
    /// When its stream cannot be written.
    fn gather(&mut self, _gather: bool) -> ReportResult {
        Ok(())
    }

    /// Takes a line that belongs to no run, such as why another one follows.
    ///
    /// # Errors
    /// When its stream cannot be written.
    fn note(&mut self, _line: &str) -> ReportResult {
        Ok(())
    }

    /// Takes a picture of what a task is at, encoded. Another one may come at any time.
    ///
    /// # Errors
    /// When its stream cannot be written.
    fn preview(&mut self, _task: &TaskName, _picture: &Arc<[u8]>) -> ReportResult {
        Ok(())
    }

    /// Called about ten times a second while a run is under way.
    ///
    /// # Errors
    /// When its stream cannot be written.
    fn tick(&mut self) -> ReportResult {
        Ok(())
    }

    /// Something asked for could not be written, and that was told; a reader that went away is no failure.
    fn failed(&self) -> bool {
        false
    }
}
