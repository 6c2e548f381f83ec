//! A run for people: one calm line per finished task, and on a terminal live lines for what is under way.
//!
//! People's text goes to `notes` (stderr), result paths to `results` (stdout), one per line, so that a pipe receives paths and nothing
//! else. Where both are a terminal the paths are indented below their task. What is said is gathered and written in one go with the live
//! lines below it, about ten times a second on a terminal and at once elsewhere.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::complaints::{write_report, write_trouble};
use super::glimpse::Sight;
use super::groups::{Folding, Groups};
use super::live::{LARGE, Moment};
use super::pictures::Protocol;
use super::sink::Sink;
use super::stage::{Room, Seat, Stage};
use super::style::Paint;
use super::text::width;
use super::tty;
use super::view::{TaskState, TaskView, View};
use super::{ReportResult, Reporter};
use crate::base::{StepId, TaskName};
use crate::diagnostic::{LAST_WORDS, Report, SourceMap};
use crate::event::{Envelope, RunEvent, TaskInfo};

/// How often a log (not a terminal) hears that long work goes on.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// The least time between two pictures of a terminal.
const PAUSE: Duration = Duration::from_millis(95);
/// What is gathered is written when there is so much of it.
const FULL: usize = 64 * 1024;
/// What a program said so many lines above is not said again.
const SHORTLY: usize = 12;

/// Rows of a terminal that has room for a picture above the live lines.
const LEAST: usize = 16;

/// Whether a picture of what it is at may be shown of a task.
fn can_be_seen(view: &View, task: &TaskView) -> bool {
    let step = view.steps.get(&task.step);
    let is_large = step.is_some_and(|step| step.tasks > LARGE);
    task.state == TaskState::Executing && !task.command && !is_large
}

/// What time it is, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What the streams are.
#[derive(Clone, Copy, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "terminals differ in many ways"
)]
pub struct Terminal {
    /// Asks how many columns and rows `notes` has at the moment; `None` when it is no terminal.
    pub size: Option<fn() -> (usize, usize)>,
    /// Live lines may be drawn.
    pub live: bool,
    /// `results` is the same terminal: paths are shown for people.
    pub shared: bool,
    /// Text may have styles. A stream that wants none may also strip them.
    pub color: bool,
    /// Paths may be links.
    pub links: bool,
    /// It cuts lines when it gets narrower, where most terminals break them anew.
    pub cuts: bool,
    /// What is said of a step is to stand together.
    pub folding: Option<Folding>,
    /// `notes` and `results` go to the same place.
    pub one_stream: bool,
    /// What was done before is counted and not told: somebody watches, and saw it.
    pub only_new: bool,
    /// Pictures may be shown, in this way.
    pub pictures: Option<Protocol>,
}

/// Tells of a run in text.
pub struct TerminalReporter<N: Write, R: Write> {
    notes: Sink<N>,
    pub(super) results: Sink<R>,
    failed: bool,
    pub(super) terminal: Terminal,
    pub(super) paint: Paint,
    /// Where the user is: paths are told from here.
    pub(super) folder: Option<PathBuf>,
    pub(super) view: View,
    /// Columns for the names of tasks.
    pub(super) names: usize,
    /// Said and not written yet.
    said: String,
    seat: Seat,
    sight: Sight,
    /// How many lines were said.
    lines: usize,
    /// The line at which the program of a task was last heard; `None` when a line of its was cut.
    pub(super) heard: HashMap<TaskName, Option<usize>>,
    pub(super) groups: Option<Groups>,
    gathering: bool,
    clock: Clock,
    turn: usize,
    last_picture: Option<Instant>,
    last_note: Instant,
}

impl<N: Write, R: Write> std::fmt::Debug for TerminalReporter<N, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TerminalReporter")
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

fn system_time() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl<N: Write, R: Write> TerminalReporter<N, R> {
    /// A reporter on two streams.
    pub fn new(notes: N, results: R, terminal: Terminal) -> Self {
        Self {
            notes: Sink::new(notes),
            results: Sink::new(results),
            failed: false,
            terminal,
            paint: Paint::new(terminal.color),
            folder: std::env::current_dir().ok(),
            view: View::default(),
            names: 0,
            said: String::new(),
            seat: Stage::default().seat(None),
            sight: Sight::default(),
            lines: 0,
            heard: HashMap::new(),
            groups: terminal.folding.map(Groups::new),
            gathering: false,
            clock: Arc::new(system_time),
            turn: 0,
            last_picture: None,
            last_note: Instant::now(),
        }
    }

    /// The same on a terminal that others share, with lines that begin with a label, if there is one.
    #[must_use]
    pub fn on(mut self, stage: &Stage, label: Option<&str>) -> Self {
        self.seat = stage.seat(label);
        self
    }

    /// The same with another clock: events of the past are shown as if they happened now.
    #[must_use]
    pub fn by(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes the column of names wide enough for those that are known by now; it never gets narrower.
    pub(super) fn measure(&mut self, tasks: &[TaskInfo]) {
        let small = tasks.iter().filter(|task| !self.is_large(&task.step));
        let longest = small.map(|task| width(task.task.as_str())).max();
        let room = self.columns().map_or(40, |columns| columns / 3);
        let wide = longest.unwrap_or(0).min(room.clamp(8, 40));
        self.names = self.names.max(wide);
    }

    /// A line that belongs to no step.
    pub(super) fn say(&mut self, line: &str) {
        self.said.push_str(line);
        self.said.push('\n');
        self.lines += 1;
    }

    /// Notes that a line of a task's program is about to be said, whole or not.
    pub(super) fn hear(&mut self, task: &TaskName, whole: bool) {
        let lines = self.lines;
        let heard = self.heard.entry(task.clone()).or_insert(Some(lines));
        *heard = heard.and(whole.then_some(lines));
    }

    /// Whether everything that a task's program said stands shortly above.
    fn stands_above(&self, message: &str) -> bool {
        let task = message.strip_prefix("step `");
        let task = task.and_then(|rest| rest.split_once("`: "));
        let task = task.map(|(task, _)| TaskName(task.to_owned()));
        let heard = task.and_then(|task| *self.heard.get(&task)?);
        self.groups.is_none() && heard.is_some_and(|at| self.lines - at <= SHORTLY)
    }

    /// The complaints without the last words of programs that stand shortly above.
    fn without_echoes(&self, report: &Report) -> Report {
        let items = report.items.iter().map(|diagnostic| {
            let mut diagnostic = diagnostic.clone();
            if self.stands_above(&diagnostic.message) {
                diagnostic.help.retain(|h| !h.starts_with(LAST_WORDS));
            }
            diagnostic
        });
        Report {
            items: items.collect(),
        }
    }

    /// A line about a task; in a log that folds, it stands with the others of its step.
    pub(super) fn say_of(&mut self, task: &TaskName, line: &str) {
        let step = self.view.tasks.get(task).map(|task| &task.step);
        match (&mut self.groups, step) {
            (Some(groups), Some(step)) => groups.add(step, line),
            _ => self.say(line),
        }
    }

    /// Text as it is.
    pub(super) fn put(&mut self, text: &str) {
        self.said.push_str(text);
    }

    pub(super) fn columns(&self) -> Option<usize> {
        let taken = self.seat.taken();
        let columns = self.terminal.size.map(|ask| ask().0);
        columns.map(|columns| columns.saturating_sub(taken))
    }

    pub(super) fn is_large(&self, step: &StepId) -> bool {
        let step = self.view.steps.get(step);
        step.is_some_and(|step| step.tasks > LARGE)
    }

    pub(super) fn is_in_large(&self, task: &TaskName) -> bool {
        let task = self.view.tasks.get(task);
        task.is_some_and(|task| self.is_large(&task.step))
    }

    /// Writes a path for programs.
    pub(super) fn result(&mut self, line: &str) -> ReportResult {
        self.results.write_all(line.as_bytes())?;
        self.results.flush()?;
        self.heed_trouble()
    }

    pub(super) fn now(&self) -> i64 {
        (self.clock)()
    }

    fn heed_trouble(&mut self) -> ReportResult {
        if let Some(error) = self.results.trouble() {
            self.failed = true;
            self.show(false)?;
            write_trouble(&mut self.notes, &error)?;
        }
        Ok(())
    }

    /// Writes what was said, and what is under way below it if that is wanted.
    fn show(&mut self, live: bool) -> ReportResult {
        let said = std::mem::take(&mut self.said);
        let notes = &mut self.notes;
        let write = |text: &str| {
            notes.write_all(text.as_bytes())?;
            notes.flush()
        };
        let Some(ask) = self.terminal.size.filter(|_| self.terminal.live) else {
            if said.is_empty() {
                return Ok(());
            }
            self.last_picture = Some(Instant::now());
            return self.seat.say(&said, &self.paint, write);
        };
        let (columns, rows) = ask();
        let inner = columns.saturating_sub(self.seat.taken());
        let room = inner > 3 && rows > 1;
        let some = !self.view.tasks.is_empty() && self.view.ended.is_none();
        let draws = live && room && some && tty::is_ours();
        let glimpse = match self.terminal.pictures.filter(|_| draws && rows >= LEAST) {
            None => {
                self.sight.close();
                None
            }
            Some(protocol) => {
                let first = self
                    .view
                    .active()
                    .find(|(_, task)| can_be_seen(&self.view, task));
                let first = first.map(|(name, _)| name);
                self.sight.of(first, (protocol, columns), Instant::now())
            }
        };
        let above = glimpse.as_ref().map_or(0, |glimpse| glimpse.rows);
        let lines = if draws {
            let moment = Moment {
                view: &self.view,
                paint: &self.paint,
                now: (self.clock)(),
                columns: inner,
                rows: self.seat.share(rows - above.min(rows)),
                turn: self.turn,
            };
            moment.lines()
        } else {
            Vec::new()
        };
        if said.is_empty() && lines.is_empty() && glimpse.is_none() && self.seat.is_clear() {
            return Ok(());
        }
        self.last_picture = Some(Instant::now());
        let room = Room {
            columns,
            rows,
            cuts: self.terminal.cuts,
        };
        self.seat
            .show(&said, (glimpse, lines), (&self.paint, room), write)
    }

    /// Whether a terminal has had a picture just now; what is said waits for the next one.
    fn may_wait(&self, event: &RunEvent) -> bool {
        let urgent = matches!(
            event,
            RunEvent::RunStarted { .. }
                | RunEvent::RunWaiting { .. }
                | RunEvent::RunStopping { .. }
                | RunEvent::RunFinished { .. }
        );
        if self.gathering && !urgent {
            return self.said.len() < FULL;
        }
        let just_now = self.last_picture.is_some_and(|last| last.elapsed() < PAUSE);
        self.terminal.live && !urgent && just_now
    }

    fn heartbeat(&mut self) -> ReportResult {
        if self.view.active().next().is_none() || self.last_note.elapsed() < HEARTBEAT {
            return Ok(());
        }
        self.last_note = Instant::now();
        for line in self.under_way() {
            self.say(&format!("  … {line}"));
        }
        self.show(false)
    }
}

impl<N: Write + Send, R: Write + Send> Reporter for TerminalReporter<N, R> {
    fn event(&mut self, envelope: &Envelope) -> ReportResult {
        self.view.apply(envelope);
        let before = self.said.len();
        self.tell(envelope)?;
        if self.said.len() > before {
            self.last_note = Instant::now();
        } else if self.said.is_empty() {
            return Ok(());
        }
        if self.may_wait(&envelope.event) {
            return Ok(());
        }
        self.show(!self.gathering)
    }

    fn complaints(&mut self, report: &Report, sources: &SourceMap) -> ReportResult {
        self.close_groups();
        if !self.view.tasks.is_empty() && !report.items.is_empty() {
            self.say("");
        }
        let mut text = Vec::new();
        let report = self.without_echoes(report);
        write_report(&mut text, &report, sources, self.columns())?;
        let text = String::from_utf8_lossy(&text);
        if self.terminal.color {
            self.put(&text);
        } else {
            self.put(&anstream::adapter::strip_str(&text).to_string());
        }
        self.show(false)
    }

    fn gather(&mut self, gather: bool) -> ReportResult {
        self.gathering = gather;
        self.results.gather(gather)?;
        self.heed_trouble()?;
        if gather { Ok(()) } else { self.show(false) }
    }

    fn note(&mut self, line: &str) -> ReportResult {
        if self.terminal.color {
            self.say(line);
        } else {
            self.say(&anstream::adapter::strip_str(line).to_string());
        }
        self.show(true)
    }

    fn preview(&mut self, task: &TaskName, picture: &Arc<[u8]>) -> ReportResult {
        let active = self.view.active();
        let first = active
            .into_iter()
            .find(|(_, task)| can_be_seen(&self.view, task));
        if self.terminal.pictures.is_some() && first.is_some_and(|(first, _)| first == task) {
            self.sight.hear(task, picture);
        }
        Ok(())
    }

    fn tick(&mut self) -> ReportResult {
        if self.view.ended.is_some() {
            return Ok(());
        }
        if self.terminal.live && self.terminal.size.is_some() {
            self.turn += 1;
            return self.show(true);
        }
        self.heartbeat()
    }

    fn failed(&self) -> bool {
        self.failed
    }
}

impl<N: Write, R: Write> Drop for TerminalReporter<N, R> {
    /// Nothing that is drawn stays behind, whatever ended the run.
    fn drop(&mut self) {
        if !self.seat.is_clear() || !self.said.is_empty() {
            // Nobody is left to be told of a failure.
            let _ = self.show(false);
        }
    }
}
