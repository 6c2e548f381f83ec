//! A run for people: one calm line per finished task, and on a terminal one live line for what is under way.
//!
//! People's text goes to `notes` (stderr), result paths to `results` (stdout), one per line, so that a pipe receives paths and nothing
//! else. Where both are a terminal the paths are indented below their task.

mod plugins;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};

use super::complaints::{write_report, write_trouble};
use super::lines::{counted, made, made_in_all, step_under_way, under_way, without_step};
use super::sink::Sink;
use super::text::{cut, duration, plural, tame};
use super::view::View;
use super::{ReportResult, Reporter};
use crate::base::{ServerName, StepId, TaskName, display_path, display_path_from};
use crate::diagnostic::{JsonDiagnostic, Report, Severity, SourceMap};
use crate::event::{Counts, Envelope, Output, RunEvent, RunStatus, TaskInfo, TaskStatus};

/// How often a log (not a terminal) hears that long work goes on.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A step of more tasks than this is told by counts.
const LARGE: usize = 20;
/// Large steps that have a live line each.
const LIVE: usize = 6;

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
    /// Where the user is: paths are told from here.
    folder: Option<PathBuf>,
    view: View,
    width: usize,
    /// Live lines on the terminal.
    live_drawn: usize,
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
            folder: std::env::current_dir().ok(),
            view: View::default(),
            width: 0,
            live_drawn: 0,
            spinner: 0,
            last_note: Instant::now(),
        }
    }

    /// Makes the column of names wide enough for those that are known by now; it never gets narrower.
    fn measure(&mut self, tasks: &[TaskInfo]) {
        let small = tasks.iter().filter(|task| !self.is_large(&task.step));
        let longest = small.map(|task| task.task.as_str().chars().count()).max();
        let room = self.columns().map_or(40, |columns| columns / 3);
        let wide = longest.unwrap_or(0).min(room.clamp(8, 40));
        self.width = self.width.max(wide);
    }

    fn header(&mut self, run: &str, pipeline: &str, growing: bool) -> ReportResult {
        let mut servers: Vec<&str> = self
            .view
            .tasks
            .values()
            .map(|t| t.server.as_str())
            .collect();
        servers.sort_unstable();
        servers.dedup();
        let on = match servers.as_slice() {
            [] => String::new(),
            _ => format!(" on {}", servers.join(", ")),
        };
        writeln!(
            self.notes,
            "{BOLD}{pipeline}{BOLD:#} {DIM}· {}{on} · run {run}{DIM:#}",
            match (growing, self.view.tasks.len()) {
                (true, known) => format!("{known}+ tasks"),
                (false, all) => plural(all, "task"),
            },
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
            TaskStatus::Cached => format!("cached: {}", made(outputs)),
        };
        let time = if matches!(status, TaskStatus::Skipped | TaskStatus::Cached) {
            String::new()
        } else {
            duration(Duration::from_secs_f64(seconds.max(0.0)))
        };
        let taken = 15 + self.width.max(task.as_str().chars().count());
        let what = match self.columns() {
            // What went wrong is told in full at the end.
            Some(columns) => cut(&what, columns.saturating_sub(taken).max(12)),
            None => what,
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

    /// A task of a large step ended: only what went wrong has a line of its own, and a pipe gets its paths.
    fn finished_in_large(&mut self, status: TaskStatus, outputs: &[Output]) -> ReportResult {
        if matches!(status, TaskStatus::Done | TaskStatus::Cached) && !self.terminal.shared {
            for output in outputs.iter().filter(|output| output.path.is_some()) {
                self.result(output)?;
            }
        }
        Ok(())
    }

    /// What became of the large steps.
    fn large_steps(&mut self) -> ReportResult {
        let large = self
            .view
            .steps
            .iter()
            .filter(|(_, step)| step.tasks > LARGE);
        let lines: Vec<String> = large
            .map(|(name, step)| {
                let (style, mark) = match step.ended {
                    Counts { failed: 1.., .. } => (BAD, '✗'),
                    Counts { cancelled: 1.., .. } => (ODD, '■'),
                    _ => (GOOD, '✓'),
                };
                let retried = match step.retried {
                    0 => String::new(),
                    times => format!(", {times} retried"),
                };
                let made = made_in_all(&step.made);
                format!(
                    "  {style}{mark}{style:#} {name}: {}{retried} {DIM}· {made}{DIM:#}",
                    counted(step.ended)
                )
            })
            .collect();
        for line in lines {
            writeln!(self.notes, "{line}")?;
        }
        Ok(())
    }

    fn retried(
        &mut self,
        task: &TaskName,
        attempt: u32,
        class: &str,
        (reason, delay): (&str, f64),
    ) -> ReportResult {
        if self.is_in_large(task) {
            return Ok(());
        }
        let pause = if delay < 0.05 {
            "now".to_owned()
        } else {
            format!("in {}", duration(Duration::from_secs_f64(delay)))
        };
        // What was only lost is no new attempt.
        let again = match class {
            "lost" => "again".to_owned(),
            _ => format!("attempt {attempt}"),
        };
        let line = format!("{again} {pause}: {}", tame(without_step(reason)));
        let line = match self.columns() {
            Some(columns) => cut(&line, columns.saturating_sub(15 + self.width).max(12)),
            None => line,
        };
        writeln!(
            self.notes,
            "  {ODD}↻{ODD:#} {task:<width$}  {:>7}  {line}",
            "",
            width = self.width
        )
    }

    fn said(&mut self, task: &TaskName, line: &str) -> ReportResult {
        if self.is_in_large(task) {
            return Ok(());
        }
        let line = tame(line);
        let line = match self.columns() {
            Some(columns) => cut(
                &line,
                columns.saturating_sub(9 + task.as_str().len()).max(12),
            ),
            None => line,
        };
        writeln!(self.notes, "    {DIM}{task} │{DIM:#} {line}")
    }

    fn columns(&self) -> Option<usize> {
        self.terminal.columns.map(|ask| ask())
    }

    fn is_large(&self, step: &StepId) -> bool {
        let step = self.view.steps.get(step);
        step.is_some_and(|step| step.tasks > LARGE)
    }

    fn is_in_large(&self, task: &TaskName) -> bool {
        let task = self.view.tasks.get(task);
        task.is_some_and(|task| self.is_large(&task.step))
    }

    fn result(&mut self, output: &Output) -> ReportResult {
        match (&output.path, &output.text) {
            (Some(path), _) if self.terminal.shared => {
                let path = display_path_from(self.folder.as_deref(), path);
                writeln!(self.notes, "      {path}")
            }
            (Some(path), _) => {
                let mut line = display_path_from(self.folder.as_deref(), path);
                line.push('\n');
                self.results.write_all(line.as_bytes())?;
                self.results.flush()?;
                self.heed_trouble()
            }
            (None, Some(text)) => {
                writeln!(self.notes, "      {DIM}{}{DIM:#}", cut(&tame(text), 100))
            }
            (None, None) => Ok(()),
        }
    }

    fn heed_trouble(&mut self) -> ReportResult {
        if let Some(error) = self.results.trouble() {
            self.failed = true;
            write_trouble(&mut self.notes, &error)?;
        }
        Ok(())
    }

    fn diagnostic(&mut self, diagnostic: &JsonDiagnostic) -> ReportResult {
        let (style, word) = match diagnostic.severity {
            Severity::Error => (BAD, "error"),
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
        let parts = counted(counts);
        let cause = cause.map_or_else(String::new, |task| format!(", first by `{task}`"));
        let time = duration(Duration::from_secs_f64(seconds.max(0.0)));
        write!(self.notes, "{style}{word}{style:#} in {time}{cause}")?;
        if !parts.is_empty() {
            write!(self.notes, " {DIM}· {parts}{DIM:#}")?;
        }
        if let Some(latest) = latest {
            let latest = display_path(latest);
            write!(self.notes, " {DIM}· results in {DIM:#}{latest}")?;
        }
        writeln!(self.notes)
    }

    fn nothing_to_do(&mut self, run: &str, counts: Counts, latest: Option<&Path>) -> ReportResult {
        let what = match self.view.tasks.len() {
            0 => format!("run {run} is done"),
            _ => format!("{} done before", plural(counts.cached, "task")),
        };
        write!(self.notes, "{GOOD}nothing to do{GOOD:#}: {what}")?;
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
        let drawn = std::mem::take(&mut self.live_drawn);
        for line in 0..drawn {
            let up = if line > 0 { "\x1b[1A" } else { "" };
            write!(self.notes, "{up}\r\x1b[2K")?;
        }
        Ok(())
    }

    /// What is under way: tasks of small steps together, then each large step.
    fn under_way(&self) -> (String, Vec<String>) {
        let tasks = self.view.active();
        let small = tasks.filter(|(_, task)| !self.is_large(&task.step));
        let small: Vec<String> = small.map(|(name, task)| under_way(name, task)).collect();
        let steps = self.view.steps.iter();
        let large = steps.filter(|(_, step)| step.tasks > LARGE && step.running > 0);
        let large = large.map(|(name, step)| step_under_way(name, step));
        (small.join(" · "), large.collect())
    }

    fn live_lines(&self, width: usize) -> Vec<String> {
        const FRAMES: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
        let (small, large) = self.under_way();
        let first = format!(
            "  {} {}/{}  {small}",
            FRAMES[self.spinner % FRAMES.len()],
            self.view.ended_tasks(),
            self.view.tasks.len(),
        );
        let more = large.len().saturating_sub(LIVE);
        let mut lines = vec![first.trim_end().to_owned()];
        lines.extend(large.iter().take(LIVE).map(|line| format!("    {line}")));
        if more > 0 {
            lines.push(format!("    {} more", plural(more, "step")));
        }
        let room = width.saturating_sub(1);
        lines.iter().map(|line| cut(line, room)).collect()
    }

    fn ended(&mut self, envelope: &Envelope) -> ReportResult {
        let RunEvent::RunFinished {
            status,
            counts,
            cause,
            latest,
            up_to_date,
            seconds,
            resume,
            ..
        } = &envelope.event
        else {
            return Ok(());
        };
        let latest = latest.as_deref();
        if *up_to_date {
            return self.nothing_to_do(envelope.run.as_str(), *counts, latest);
        }
        if self.view.tasks.is_empty() {
            return Ok(());
        }
        self.large_steps()?;
        self.summary(*status, *counts, cause.as_ref(), latest, *seconds)?;
        match resume {
            Some(resume) => writeln!(self.notes, "{DIM}to go on:{DIM:#} {resume}"),
            None => Ok(()),
        }
    }

    fn ready(&mut self, server: &ServerName, what: &str, url: &str) -> ReportResult {
        let name = if url.ends_with(server.as_str()) {
            String::new()
        } else {
            format!("{server}: ")
        };
        writeln!(self.notes, "  {DIM}{name}{what} at {url}{DIM:#}")
    }

    /// What an event leaves on the screen for good.
    fn note(&mut self, envelope: &Envelope) -> ReportResult {
        match &envelope.event {
            RunEvent::RunStarted {
                pipeline,
                tasks,
                growing,
                ..
            } => {
                self.measure(tasks);
                self.header(envelope.run.as_str(), pipeline, *growing)
            }
            RunEvent::ServerReady {
                server,
                url,
                version,
                embedded,
                cloud,
            } => {
                let what = match (embedded, cloud) {
                    (true, _) => "kiln's own server",
                    (_, true) => "Comfy Cloud",
                    _ => &format!("ComfyUI {version}"),
                };
                self.ready(server, what, url)
            }
            RunEvent::ServerLost { server, reason } => writeln!(
                self.notes,
                "  {ODD}!{ODD:#} {server} does not answer ({reason}); waiting for it"
            ),
            RunEvent::ServerBack { server } => writeln!(self.notes, "  {server} answers again"),
            RunEvent::TaskWarning { diagnostic, .. } => self.diagnostic(diagnostic),
            RunEvent::RunStopping { at_once, .. } => self.stopping(*at_once),
            RunEvent::TaskFinished {
                task,
                status,
                outputs,
                seconds,
                diagnostic,
            } => self.finished(task, *status, outputs, *seconds, diagnostic.as_ref()),
            RunEvent::TaskRetried {
                task,
                attempt,
                class,
                reason,
                delay_seconds,
            } => self.retried(task, *attempt, class, (reason, *delay_seconds)),
            RunEvent::Diagnostic { diagnostic } => self.warned(diagnostic),
            RunEvent::TaskOutput { task, line } => self.said(task, line),
            RunEvent::PluginLog {
                plugin,
                level,
                line,
            } => self.plugin_said(plugin, level, line),
            RunEvent::RunWaiting { holder } => {
                writeln!(self.notes, "{ODD}waiting{ODD:#} for {holder}")
            }
            RunEvent::RunFinished { .. } => self.ended(envelope),
            _ => Ok(()),
        }
    }
}

impl<N: Write + Send, R: Write + Send> Reporter for TerminalReporter<N, R> {
    fn event(&mut self, envelope: &Envelope) -> ReportResult {
        self.view.apply(envelope);
        match &envelope.event {
            RunEvent::TasksAdded { tasks, .. } => {
                self.measure(tasks);
                return Ok(());
            }
            RunEvent::TaskProgress { .. }
            | RunEvent::TaskQueued { .. }
            | RunEvent::TaskStarted { .. }
            | RunEvent::TaskUploaded { .. }
            | RunEvent::TaskExecuting { .. } => return Ok(()),
            // One of very many that went well: the live lines count it.
            RunEvent::TaskFinished {
                task,
                status,
                outputs,
                ..
            } if *status != TaskStatus::Failed && self.is_in_large(task) => {
                return self.finished_in_large(*status, outputs);
            }
            _ => self.clear_live()?,
        }
        self.last_note = Instant::now();
        self.note(envelope)?;
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

    fn note(&mut self, line: &str) -> ReportResult {
        self.clear_live()?;
        writeln!(self.notes, "{line}")?;
        self.notes.flush()
    }

    fn gather(&mut self, gather: bool) -> ReportResult {
        self.results.gather(gather)?;
        self.heed_trouble()
    }

    fn tick(&mut self) -> ReportResult {
        if self.view.active().next().is_none() || self.view.ended.is_some() {
            return Ok(());
        }
        if let (true, Some(columns)) = (self.terminal.live, self.terminal.columns) {
            self.spinner += 1;
            let lines = self.live_lines(columns());
            self.clear_live()?;
            write!(self.notes, "{}", lines.join("\n"))?;
            self.live_drawn = lines.len();
            return self.notes.flush();
        }
        if self.last_note.elapsed() >= HEARTBEAT {
            self.last_note = Instant::now();
            let (small, large) = self.under_way();
            for line in std::iter::once(small)
                .chain(large)
                .filter(|l| !l.is_empty())
            {
                writeln!(self.notes, "  … {line}")?;
            }
            self.notes.flush()?;
        }
        Ok(())
    }

    fn failed(&self) -> bool {
        self.failed
    }
}
