//! Who tells of a watched pipeline: the reporter of its run, and between runs the same one with the watch's own lines.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::diagnostic::{Diagnostic, Report, SourceMap};
use crate::event::{Envelope, RunEvent};
use crate::report::{ReportResult, Reporter};

/// Makes a reporter for a run; its lines begin with the label, if there is one.
pub type Voices = Arc<dyn Fn(Option<&str>) -> Box<dyn Reporter> + Send + Sync>;

/// The newest result of all pipelines.
pub(super) type Newest = Arc<Mutex<Option<PathBuf>>>;

type Shared = Arc<Mutex<Box<dyn Reporter>>>;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One pipeline's voice.
pub(super) struct Voice {
    voices: Voices,
    label: Option<String>,
    now: Shared,
    newest: Newest,
}

impl Voice {
    pub(super) fn new(voices: Voices, label: Option<String>, newest: Newest) -> Self {
        let now = Arc::new(Mutex::new(voices(label.as_deref())));
        Self {
            voices,
            label,
            now,
            newest,
        }
    }

    /// Says a line, also in the middle of a run. Nobody is left to tell when that fails.
    pub(super) fn say(&self, line: &str) {
        let _ = lock(&self.now).note(line);
    }

    /// Shows complaints.
    pub(super) fn complain(&self, report: &Report, sources: &SourceMap) {
        let _ = lock(&self.now).complaints(report, sources);
    }

    /// Shows a complaint that has no place in a file.
    pub(super) fn warn(&self, diagnostic: Diagnostic) {
        let report = Report {
            items: vec![diagnostic],
        };
        self.complain(&report, &SourceMap::default());
    }

    /// Begins the tale of another run.
    pub(super) fn begin(&mut self) -> (Box<dyn Reporter>, Heard) {
        self.fresh();
        let heard = Heard::default();
        let ears = Ears {
            voice: Arc::clone(&self.now),
            newest: Arc::clone(&self.newest),
            heard: heard.clone(),
        };
        (Box::new(ears), heard)
    }

    /// Forgets the last run, so that nothing of it is taken for what comes.
    pub(super) fn fresh(&mut self) {
        *lock(&self.now) = (self.voices)(self.label.as_deref());
    }
}

/// What was heard of a run, and whether its end is worth a word.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    superseded: Arc<AtomicBool>,
    codes: Arc<Mutex<BTreeSet<String>>>,
}

impl Heard {
    /// Another run takes its place: that it is stopped, and how it ends, is not told.
    pub(super) fn supersede(&self) {
        self.superseded.store(true, Ordering::Relaxed);
    }

    /// Whether everything that failed did so because a server did not answer.
    pub(super) fn only_unreachable(&self) -> bool {
        lock(&self.codes).iter().eq(["K0401"])
    }
}

/// Passes on what a run tells.
struct Ears {
    voice: Shared,
    newest: Newest,
    heard: Heard,
}

impl Ears {
    fn note_down(&self, event: &RunEvent) {
        let RunEvent::TaskFinished {
            outputs,
            diagnostic,
            status,
            ..
        } = event
        else {
            return;
        };
        if let Some(path) = outputs.iter().find_map(|output| output.path.clone()) {
            *lock(&self.newest) = Some(path);
        }
        if let (crate::event::TaskStatus::Failed, Some(diagnostic)) = (status, diagnostic) {
            lock(&self.heard.codes).insert(diagnostic.code.clone());
        }
    }
}

impl Reporter for Ears {
    fn event(&mut self, envelope: &Envelope) -> ReportResult {
        self.note_down(&envelope.event);
        let superseded = self.heard.superseded.load(Ordering::Relaxed);
        match &envelope.event {
            RunEvent::RunStopping { .. } | RunEvent::RunFinished { .. } if superseded => Ok(()),
            // Going on is what the watch does.
            RunEvent::RunFinished {
                resume: Some(_), ..
            } => {
                let mut envelope = envelope.clone();
                if let RunEvent::RunFinished { resume, .. } = &mut envelope.event {
                    *resume = None;
                }
                lock(&self.voice).event(&envelope)
            }
            _ => lock(&self.voice).event(envelope),
        }
    }

    fn complaints(&mut self, report: &Report, sources: &SourceMap) -> ReportResult {
        lock(&self.voice).complaints(report, sources)
    }

    fn gather(&mut self, gather: bool) -> ReportResult {
        lock(&self.voice).gather(gather)
    }

    fn tick(&mut self) -> ReportResult {
        lock(&self.voice).tick()
    }

    fn failed(&self) -> bool {
        lock(&self.voice).failed()
    }
}
