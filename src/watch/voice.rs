//! Who tells of a watched pipeline: the reporter of its run, and between runs the same one with the watch's own lines.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::say::UnderWay;
use crate::base::TaskName;
use crate::diagnostic::{Diagnostic, Report, SourceMap};
use crate::event::{Envelope, RunEvent};
use crate::report::{ReportResult, Reporter, View};

/// Makes a reporter for a run; its lines begin with the label, if there is one.
pub type Voices = Arc<dyn Fn(Option<&str>) -> Box<dyn Reporter> + Send + Sync>;

/// Where results of all pipelines are.
#[derive(Debug, Default)]
pub(super) struct Results {
    /// The one that was made last.
    made: Option<PathBuf>,
    /// The folder of those of earlier runs, of the pipeline that was planned last.
    latest: Option<PathBuf>,
}

impl Results {
    /// The newest result; where none was made yet, the folder of those that are there.
    pub(super) fn newest(&self) -> Option<PathBuf> {
        let there = |path: &&PathBuf| path.exists();
        let made = self.made.as_ref().filter(there);
        made.or(self.latest.as_ref().filter(there)).cloned()
    }
}

/// The newest result of all pipelines.
pub(super) type Newest = Arc<Mutex<Results>>;

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

    pub(super) fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Where the newest results are, until one is made.
    pub(super) fn leads_to(&self, latest: PathBuf) {
        lock(&self.newest).latest = Some(latest);
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

    /// Begins the tale of another run; a line may be said when it really begins.
    pub(super) fn begin(&mut self, line: Option<String>) -> (Box<dyn Reporter>, Heard) {
        self.fresh();
        let heard = Heard::default();
        *lock(&heard.back) = line;
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
    /// How the run stands.
    view: Arc<Mutex<View>>,
    /// What is to be said once it begins.
    back: Arc<Mutex<Option<String>>>,
}

impl Heard {
    /// Another run takes its place: that it is stopped, and how it ends, is not told.
    pub(super) fn supersede(&self) {
        self.superseded.store(true, Ordering::Relaxed);
    }

    /// Whether another run takes its place.
    pub(super) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Relaxed)
    }

    /// Whether its servers answered and its tasks are told of.
    pub(super) fn has_begun(&self) -> bool {
        !lock(&self.view).tasks.is_empty()
    }

    /// What was to be said once it begins, when that was not said.
    pub(super) fn take_back(&self) -> Option<String> {
        lock(&self.back).take()
    }

    /// Whether a task is under way.
    pub(super) fn is_under_way(&self, task: &TaskName) -> bool {
        let view = lock(&self.view);
        let task = view.tasks.get(task);
        task.is_some_and(|task| task.state.is_under_way())
    }

    /// The tasks under way that are meant, the one that may take longest first.
    pub(super) fn under_way(&self, is_meant: impl Fn(&TaskName) -> bool) -> Vec<UnderWay> {
        let now = jiff::Timestamp::now().as_millisecond();
        let view = lock(&self.view);
        let meant = view.active().filter(|(name, _)| is_meant(name));
        let mut found: Vec<UnderWay> = meant
            .map(|(name, task)| {
                let step = view.steps.get(&task.step);
                let seconds = step.and_then(|step| step.expected);
                UnderWay {
                    task: name.clone(),
                    took: Duration::from_millis(u64::try_from(now - task.started).unwrap_or(0)),
                    expected: seconds.map(|s| Duration::from_secs_f64(s.clamp(0.0, 1e9))),
                }
            })
            .collect();
        let left = |task: &UnderWay| task.expected.map(|all| all.saturating_sub(task.took));
        found.sort_by_key(|task| std::cmp::Reverse(left(task)));
        found
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
            lock(&self.newest).made = Some(path);
        }
        if let (crate::event::TaskStatus::Failed, Some(diagnostic)) = (status, diagnostic) {
            lock(&self.heard.codes).insert(diagnostic.code.clone());
        }
    }
}

impl Reporter for Ears {
    fn event(&mut self, envelope: &Envelope) -> ReportResult {
        self.note_down(&envelope.event);
        lock(&self.heard.view).apply(envelope);
        if let Some(line) = self.heard.take_back() {
            lock(&self.voice).note(&line)?;
        }
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

    fn preview(&mut self, task: &TaskName, picture: &Arc<[u8]>) -> ReportResult {
        lock(&self.voice).preview(task, picture)
    }

    fn tick(&mut self) -> ReportResult {
        lock(&self.voice).tick()
    }

    fn failed(&self) -> bool {
        lock(&self.voice).failed()
    }
}
