//! A run for people: one calm line per finished task, and on a terminal one live line for what is under way.
//!
//! People's text goes to `notes` (stderr), result paths to `results` (stdout), one per line, so that a pipe receives paths and nothing
//! else. Where both are a terminal the paths are indented below their task.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};

use super::complaints::{write_report, write_trouble};
use super::sink::Sink;
use super::text::{cut, duration, plural, tame};
use super::view::{TaskState, TaskView, View};
use super::{ReportResult, Reporter};
use crate::artifact::Kind;
use crate::base::{TaskName, display_path};
use crate::diagnostic::{JsonDiagnostic, Report, SourceMap};
use crate::event::{Counts, Envelope, Output, RunEvent, RunStatus, TaskStatus};

/// How often a log (not a terminal) hears that long work goes on.
const HEARTBEAT: Duration = Duration::from_secs(30);

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const ODD: Style = AnsiColor::Yellow.on_default();
const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();

/// What the streams are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Terminal {
    /// Asks how many columns `notes` has at the moment; `None` when it is no terminal.
    pub columns: Option<fn() -> usize>,
    /// A live line may be drawn.
    pub live: bool,
    /// `results` is the same terminal: paths are shown for people.
    pub shared: bool,
}

/// Tells of a run in text.
#[derive(Debug)]
pub struct TerminalReporter<N, R> {
    notes: Sink<N>,
    results: Sink<R>,
    failed: bool,
    terminal: Terminal,
    view: View,
    width: usize,
    live_drawn: bool,
    spinner: usize,
    last_note: Instant,
}

impl<N: Write + Send, R: Write + Send> TerminalReporter<N, R> {
    /// A reporter on two streams.
    pub fn new(notes: N, results: R, terminal: Terminal) -> Self {
        Self {
            notes: Sink::new(notes),
            results: Sink::new(results),
            failed: false,
            terminal,
            view: View::default(),
            width: 0,
            live_drawn: false,
            spinner: 0,
            last_note: Instant::now(),
        }
    }

    fn header(&mut self, run: &str, pipeline: &str) -> ReportResult {
        let mut servers: Vec<&str> = self
            .view
            .tasks
            .values()
            .map(|t| t.server.as_str())
            .collect();
        servers.sort_unstable();
        servers.dedup();
        self.width = self
            .view
            .tasks
            .keys()
            .map(|t| t.as_str().chars().count())
            .max()
            .unwrap_or(0)
            .min(40);
        writeln!(
            self.notes,
            "{BOLD}{pipeline}{BOLD:#} {DIM}· {} on {} · run {run}{DIM:#}",
            plural(self.view.tasks.len(), "task"),
            servers.join(", "),
        )
    }

    fn finished(
        &mut self,
        task: &TaskName,
        status: TaskStatus,
        outputs: &[Output],
        seconds: f64,
        diagnostic: Option<&JsonDiagnostic>,
    ) -> ReportResult {
        let (style, mark) = match status {
            TaskStatus::Done => (GOOD, '✓'),
            TaskStatus::Cached => (GOOD, '='),
            TaskStatus::Failed => (BAD, '✗'),
            TaskStatus::Skipped => (DIM, '-'),
            TaskStatus::Cancelled => (ODD, '■'),
        };
        let what = match status {
            TaskStatus::Done => made(outputs),
            TaskStatus::Failed => {
                diagnostic.map_or_else(|| "failed".to_owned(), |d| tame(without_step(&d.message)))
            }
            TaskStatus::Skipped => diagnostic.map_or_else(
                || "skipped".to_owned(),
                |d| format!("skipped: {}", tame(&d.message)),
            ),
            TaskStatus::Cancelled => "cancelled".to_owned(),
            TaskStatus::Cached => "cached".to_owned(),
        };
        let time = if status == TaskStatus::Skipped {
            String::new()
        } else {
            duration(Duration::from_secs_f64(seconds.max(0.0)))
        };
        writeln!(
            self.notes,
            "  {style}{mark}{style:#} {task:<width$}  {DIM}{time:>7}{DIM:#}  {what}",
            width = self.width
        )?;
        for output in outputs {
            self.result(output)?;
        }
        Ok(())
    }

    fn result(&mut self, output: &Output) -> ReportResult {
        match (&output.path, &output.text) {
            (Some(path), _) if self.terminal.shared => {
                writeln!(self.notes, "      {}", display_path(path))
            }
            (Some(path), _) => {
                writeln!(self.results, "{}", display_path(path))?;
                self.results.flush()?;
                if let Some(error) = self.results.trouble() {
                    self.failed = true;
                    write_trouble(&mut self.notes, &error)?;
                }
                Ok(())
            }
            (None, Some(text)) => {
                writeln!(self.notes, "      {DIM}{}{DIM:#}", cut(&tame(text), 100))
            }
            (None, None) => Ok(()),
        }
    }

    fn diagnostic(&mut self, diagnostic: &JsonDiagnostic) -> ReportResult {
        let (style, word) = match diagnostic.severity {
            crate::diagnostic::Severity::Error => (BAD, "error"),
            _ => (ODD, "warning"),
        };
        writeln!(
            self.notes,
            "    {style}{word}[{}]{style:#}: {}",
            diagnostic.code,
            tame(&diagnostic.message)
        )?;
        if let (Some(file), Some(line), Some(column)) =
            (&diagnostic.file, diagnostic.line, diagnostic.column)
        {
            writeln!(self.notes, "      {DIM}at {file}:{line}:{column}{DIM:#}")?;
        }
        if !diagnostic.help.is_empty() {
            writeln!(self.notes, "      help: {}", tame(&diagnostic.help))?;
        }
        Ok(())
    }

    fn summary(
        &mut self,
        status: RunStatus,
        counts: Counts,
        cause: Option<&TaskName>,
        latest: Option<&Path>,
        seconds: f64,
    ) -> ReportResult {
        let (style, word) = match status {
            RunStatus::Done => (GOOD, "done"),
            RunStatus::Failed => (BAD, "failed"),
            RunStatus::Cancelled => (ODD, "cancelled"),
        };
        let mut parts = Vec::new();
        for (count, word) in [
            (counts.done, "done"),
            (counts.cached, "cached"),
            (counts.failed, "failed"),
            (counts.skipped, "skipped"),
            (counts.cancelled, "cancelled"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        let cause = cause.map_or_else(String::new, |task| format!(", first by `{task}`"));
        let time = duration(Duration::from_secs_f64(seconds.max(0.0)));
        write!(self.notes, "{style}{word}{style:#} in {time}{cause}")?;
        if !parts.is_empty() {
            write!(self.notes, " {DIM}· {}{DIM:#}", parts.join(", "))?;
        }
        if let Some(latest) = latest {
            let latest = display_path(latest);
            write!(self.notes, " {DIM}· results in {DIM:#}{latest}")?;
        }
        writeln!(self.notes)
    }

    fn stopping(&mut self, at_once: bool) -> ReportResult {
        let in_flight = self.view.in_flight(at_once);
        let jobs = plural(in_flight.jobs, "job");
        let servers = in_flight.servers.join(", ");
        match (at_once, in_flight.jobs) {
            (false, 0) => writeln!(self.notes, "{ODD}stopping{ODD:#}"),
            (false, _) => writeln!(
                self.notes,
                "{ODD}stopping{ODD:#}: waiting for {jobs} to end on {servers} {DIM}(Ctrl-C again to leave at once){DIM:#}"
            ),
            (true, 0) => Ok(()),
            (true, _) => writeln!(
                self.notes,
                "{ODD}leaving{ODD:#}: {jobs} may still be on {servers}"
            ),
        }
    }

    fn clear_live(&mut self) -> ReportResult {
        if std::mem::take(&mut self.live_drawn) {
            write!(self.notes, "\r\x1b[2K")?;
        }
        Ok(())
    }

    fn live_line(&self, width: usize) -> String {
        const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
        let tasks: Vec<String> = self
            .view
            .active()
            .map(|(name, task)| under_way(name, task))
            .collect();
        let line = format!(
            "  {} {}/{}  {}",
            FRAMES[self.spinner % FRAMES.len()],
            self.view.ended_tasks(),
            self.view.tasks.len(),
            tasks.join(" · ")
        );
        cut(&line, width.saturating_sub(1))
    }
}

impl<N: Write + Send, R: Write + Send> Reporter for TerminalReporter<N, R> {
    fn event(&mut self, envelope: &Envelope) -> ReportResult {
        self.view.apply(envelope);
        match &envelope.event {
            RunEvent::TaskProgress { .. }
            | RunEvent::TaskQueued { .. }
            | RunEvent::TaskExecuting { .. } => return Ok(()),
            _ => self.clear_live()?,
        }
        self.last_note = Instant::now();
        match &envelope.event {
            RunEvent::RunStarted { pipeline, .. } => {
                self.header(envelope.run.as_str(), pipeline)?;
            }
            RunEvent::ServerReady {
                server,
                url,
                version,
                embedded,
            } => {
                let name = if url.ends_with(server.as_str()) {
                    String::new()
                } else {
                    format!("{server}: ")
                };
                let what = if *embedded {
                    "kiln's own server".to_owned()
                } else {
                    format!("ComfyUI {version}")
                };
                writeln!(self.notes, "  {DIM}{name}{what} at {url}{DIM:#}")?;
            }
            RunEvent::ServerLost { server, reason } => {
                writeln!(
                    self.notes,
                    "  {ODD}!{ODD:#} {server} does not answer ({reason}); waiting for it"
                )?;
            }
            RunEvent::ServerBack { server } => writeln!(self.notes, "  {server} answers again")?,
            RunEvent::TaskWarning { diagnostic, .. } => self.diagnostic(diagnostic)?,
            RunEvent::RunStopping { at_once, .. } => self.stopping(*at_once)?,
            RunEvent::TaskFinished {
                task,
                status,
                outputs,
                seconds,
                diagnostic,
            } => {
                self.finished(task, *status, outputs, *seconds, diagnostic.as_ref())?;
            }
            RunEvent::RunFinished {
                status,
                counts,
                cause,
                latest,
                seconds,
                up_to_date,
                ..
            } if !self.view.tasks.is_empty() => {
                if *up_to_date {
                    write!(self.notes, "{DIM}nothing to do:{DIM:#} ")?;
                }
                let (cause, latest) = (cause.as_ref(), latest.as_deref());
                self.summary(*status, *counts, cause, latest, *seconds)?;
            }
            _ => {}
        }
        self.notes.flush()
    }

    fn complaints(&mut self, report: &Report, sources: &SourceMap) -> ReportResult {
        self.clear_live()?;
        if !self.view.tasks.is_empty() && !report.items.is_empty() {
            writeln!(self.notes)?;
        }
        let columns = self.terminal.columns.map(|ask| ask());
        write_report(&mut self.notes, report, sources, columns)?;
        self.notes.flush()
    }

    fn tick(&mut self) -> ReportResult {
        if self.view.active().next().is_none() || self.view.ended.is_some() {
            return Ok(());
        }
        if let (true, Some(columns)) = (self.terminal.live, self.terminal.columns) {
            self.spinner += 1;
            let line = self.live_line(columns());
            write!(self.notes, "\r\x1b[2K{line}")?;
            self.live_drawn = true;
            return self.notes.flush();
        }
        if self.last_note.elapsed() >= HEARTBEAT {
            self.last_note = Instant::now();
            let tasks: Vec<String> = self
                .view
                .active()
                .map(|(name, task)| under_way(name, task))
                .collect();
            writeln!(self.notes, "  … {}", tasks.join(" · "))?;
            self.notes.flush()?;
        }
        Ok(())
    }

    fn failed(&self) -> bool {
        self.failed
    }
}

fn under_way(name: &TaskName, task: &TaskView) -> String {
    match task.state {
        TaskState::Preparing => format!("{name} preparing"),
        TaskState::Queued => format!("{name} queued on {}", task.server),
        _ => {
            let percent = (task.fraction * 100.0).clamp(0.0, 100.0);
            match &task.node_title {
                Some(node) => format!("{name} {percent:.0}% {}", tame(node)),
                None => format!("{name} {percent:.0}%"),
            }
        }
    }
}

/// The message without the step that the line names already.
fn without_step(message: &str) -> &str {
    match message
        .strip_prefix("step `")
        .and_then(|rest| rest.split_once("`: "))
    {
        Some((_, rest)) => rest,
        None => message,
    }
}

/// `2 images, 1 text`.
fn made(outputs: &[Output]) -> String {
    let kinds = [
        Kind::Image,
        Kind::Video,
        Kind::Audio,
        Kind::Model3d,
        Kind::Text,
        Kind::Other,
    ];
    let parts: Vec<String> = kinds
        .into_iter()
        .filter_map(|kind| {
            let count = outputs.iter().filter(|o| o.kind == kind).count();
            let word = match kind {
                Kind::Model3d => "3D model",
                Kind::Other => "file",
                Kind::Audio => "audio file",
                other => other.name(),
            };
            (count > 0).then(|| plural(count, word))
        })
        .collect();
    if parts.is_empty() {
        "nothing to keep".to_owned()
    } else {
        parts.join(", ")
    }
}
