//! What each event leaves on the screen for good.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use super::ReportResult;
use super::lines::{
    complaint, counted, made, made_in_all, step_under_way, under_way, without_step,
};
use super::links::linked;
use super::live::LARGE;
use super::pictures;
use super::style::Paint;
use super::summary;
use super::terminal::TerminalReporter;
use super::text::{cut, duration, lasting, padded, plural, tame, tame_line, width};
use crate::artifact::Kind;
use crate::base::{ServerName, StepId, TaskName, display_path, display_path_from};
use crate::diagnostic::JsonDiagnostic;
use crate::event::{Counts, Envelope, Output, RunEvent, RunStatus, TaskStatus};

/// Where the time went is told of runs that took so many seconds: on a terminal, and in a log.
const TOLD_FROM: (f64, f64) = (2.0, 60.0);
/// Pictures of one task that are shown.
const PICTURES: usize = 4;

/// How a task ended.
#[derive(Clone, Copy)]
struct End<'a> {
    task: &'a TaskName,
    status: TaskStatus,
    outputs: &'a [Output],
    seconds: f64,
    diagnostic: Option<&'a JsonDiagnostic>,
}

impl<N: Write, R: Write> TerminalReporter<N, R> {
    /// What an event leaves on the screen for good.
    pub(super) fn tell(&mut self, envelope: &Envelope) -> ReportResult {
        match &envelope.event {
            RunEvent::TaskFinished {
                task,
                status,
                outputs,
                seconds,
                diagnostic,
            } => {
                self.task_ended(End {
                    task,
                    status: *status,
                    outputs,
                    seconds: *seconds,
                    diagnostic: diagnostic.as_ref(),
                })?;
                self.close_if_ended(task);
            }
            RunEvent::TaskRetried {
                task,
                attempt,
                class,
                reason,
                delay_seconds,
            } => self.retried(task, *attempt, class, (reason, *delay_seconds)),
            RunEvent::TaskOutput { task, line } => self.output_line(task, line),
            RunEvent::TaskWarning { task, diagnostic } => self.warning(task, diagnostic),
            RunEvent::TasksAdded { tasks, .. } => self.measure(tasks),
            RunEvent::RunFinished { .. } => self.ended(envelope),
            event => self.tell_of_run(envelope, event),
        }
        Ok(())
    }

    fn tell_of_run(&mut self, envelope: &Envelope, event: &RunEvent) {
        let Paint { odd, .. } = self.paint;
        match event {
            RunEvent::RunStarted {
                pipeline,
                tasks,
                growing,
                ..
            } => {
                self.measure(tasks);
                self.header(envelope.run.as_str(), pipeline, *growing);
            }
            RunEvent::ServerReady {
                server,
                url,
                version,
                embedded,
                cloud,
                simulated,
            } => {
                let what = match (embedded, cloud) {
                    (_, true) => "Comfy Cloud",
                    _ if *simulated => "a rehearsal on kiln's own server",
                    (true, _) => "kiln's own server",
                    _ => &format!("ComfyUI {version}"),
                };
                self.ready(server, what, url);
            }
            RunEvent::ServerLost { server, reason } => {
                let reason = tame(reason);
                self.say(&format!(
                    "  {odd}!{odd:#} {server} does not answer ({reason}); waiting for it"
                ));
            }
            RunEvent::ServerBack { server } => self.say(&format!("  {server} answers again")),
            RunEvent::RunStopping { at_once, .. } => self.stopping(*at_once),
            RunEvent::RunWaiting { holder } => {
                self.say(&format!("{odd}waiting{odd:#} for {holder}"));
            }
            RunEvent::Diagnostic { diagnostic } => self.warned(diagnostic),
            RunEvent::PluginLog {
                plugin,
                level,
                line,
            } => self.plugin_said(plugin, level, line),
            _ => {}
        }
    }

    fn header(&mut self, run: &str, pipeline: &str, growing: bool) {
        let Paint { bold, dim, .. } = self.paint;
        let tasks = self.view.tasks.values();
        let mut servers: Vec<&str> = tasks.map(|t| t.server.as_str()).collect();
        servers.sort_unstable();
        servers.dedup();
        let on = match servers.as_slice() {
            [] => String::new(),
            _ => format!(" on {}", servers.join(", ")),
        };
        let tasks = match (growing, self.view.tasks.len()) {
            (true, known) => format!("{known}+ tasks"),
            (false, all) => plural(all, "task"),
        };
        self.say(&format!(
            "{bold}{pipeline}{bold:#} {dim}· {tasks}{on} · run {run}{dim:#}"
        ));
    }

    fn ready(&mut self, server: &ServerName, what: &str, url: &str) {
        let Paint { dim, .. } = self.paint;
        let name = if url.ends_with(server.as_str()) {
            String::new()
        } else {
            format!("{server}: ")
        };
        self.say(&format!("  {dim}{name}{what} at {url}{dim:#}"));
    }

    fn task_ended(&mut self, end: End<'_>) -> ReportResult {
        if end.status == TaskStatus::Cached && self.terminal.only_new {
            return Ok(());
        }
        if end.status != TaskStatus::Failed && self.is_in_large(end.task) {
            return self.ended_in_large(end);
        }
        let Paint {
            good,
            bad,
            odd,
            dim,
            ..
        } = self.paint;
        let (style, mark) = match end.status {
            TaskStatus::Done => (good, '✓'),
            TaskStatus::Cached => (good, '='),
            TaskStatus::Failed => (bad, '✗'),
            TaskStatus::Skipped => (dim, '-'),
            TaskStatus::Cancelled => (odd, '■'),
        };
        let time = if matches!(end.status, TaskStatus::Skipped | TaskStatus::Cached) {
            String::new()
        } else {
            duration(Duration::from_secs_f64(end.seconds.max(0.0)))
        };
        let taken = 15 + self.names.max(width(end.task.as_str()));
        let what = self.cut_beside(&what_of(&end), taken);
        let name = padded(end.task.as_str(), self.names);
        self.say_of(
            end.task,
            &format!("  {style}{mark}{style:#} {name}  {dim}{time:>7}{dim:#}  {what}"),
        );
        let mut pictures = 0;
        for output in end.outputs {
            self.output(end.task, output)?;
            if output.kind == Kind::Image && pictures < PICTURES {
                pictures += 1;
                self.picture(end.task, output);
            }
        }
        Ok(())
    }

    /// A task of a large step ended: only what went wrong has a line of its own, and a pipe gets its paths.
    fn ended_in_large(&mut self, end: End<'_>) -> ReportResult {
        let is_well = matches!(end.status, TaskStatus::Done | TaskStatus::Cached);
        if is_well && !self.terminal.shared {
            for output in end.outputs.iter().filter(|output| output.path.is_some()) {
                self.output(end.task, output)?;
            }
        }
        Ok(())
    }

    /// What went wrong is told in full at the end.
    fn cut_beside(&self, text: &str, taken: usize) -> String {
        match self.columns() {
            Some(columns) => cut(text, columns.saturating_sub(taken).max(12)),
            None => text.to_owned(),
        }
    }

    fn output(&mut self, task: &TaskName, output: &Output) -> ReportResult {
        let Paint { dim, .. } = self.paint;
        match (&output.path, &output.text) {
            (Some(path), _) if self.terminal.shared => {
                let shown = display_path_from(self.folder.as_deref(), path);
                let shown = self.link(path, &shown);
                self.say_of(task, &format!("      {shown}"));
            }
            (Some(path), _) => {
                let line = display_path_from(self.folder.as_deref(), path);
                if self.groups.is_some() && self.terminal.one_stream {
                    self.say_of(task, &line);
                } else {
                    return self.result(&format!("{line}\n"));
                }
            }
            (None, Some(text)) => {
                let text = cut(&tame(text), 100);
                self.say_of(task, &format!("      {dim}{text}{dim:#}"));
            }
            (None, None) => {}
        }
        Ok(())
    }

    fn link(&self, path: &Path, text: &str) -> String {
        if self.terminal.links {
            linked(path, text)
        } else {
            text.to_owned()
        }
    }

    fn picture(&mut self, task: &TaskName, output: &Output) {
        let Some((protocol, path)) = self.terminal.pictures.zip(output.path.as_deref()) else {
            return;
        };
        let columns = self.columns().unwrap_or(80);
        if let Some(drawn) = pictures::drawn(path, protocol, columns) {
            self.say_of(task, &drawn);
        }
    }

    fn retried(&mut self, task: &TaskName, attempt: u32, class: &str, why: (&str, f64)) {
        if self.is_in_large(task) {
            return;
        }
        let (reason, delay) = why;
        let Paint { odd, .. } = self.paint;
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
        let line = self.cut_beside(&line, 15 + self.names);
        let name = padded(task.as_str(), self.names);
        self.say_of(task, &format!("  {odd}↻{odd:#} {name}  {:>7}  {line}", ""));
    }

    fn output_line(&mut self, task: &TaskName, line: &str) {
        if self.is_in_large(task) {
            return;
        }
        let Paint { dim, .. } = self.paint;
        let whole = tame_line(line);
        let line = self.cut_beside(&whole, 9 + width(task.as_str()));
        self.hear(task, line == whole);
        self.say_of(task, &format!("    {dim}{task} │{dim:#} {line}"));
    }

    fn warning(&mut self, task: &TaskName, diagnostic: &JsonDiagnostic) {
        for line in complaint(diagnostic, &self.paint) {
            self.say_of(task, &line);
        }
    }

    fn stopping(&mut self, at_once: bool) {
        let Paint { odd, dim, .. } = self.paint;
        let in_flight = self.view.in_flight(at_once);
        let jobs = plural(in_flight.jobs, "job");
        let servers = in_flight.servers.join(", ");
        match (at_once, in_flight.jobs) {
            (false, 0) => self.say(&format!("{odd}stopping{odd:#}")),
            (false, _) => self.say(&format!(
                "{odd}stopping{odd:#}: waiting for {jobs} to end on {servers} {dim}(Ctrl-C again to leave at once){dim:#}"
            )),
            (true, 0) => {}
            (true, _) => self.say(&format!(
                "{odd}leaving{odd:#}: {jobs} may still be on {servers}"
            )),
        }
    }

    /// What is under way, for a log: tasks of small steps together, then each large step.
    pub(super) fn under_way(&self) -> Vec<String> {
        let now = self.now();
        let tasks = self.view.active();
        let small = tasks.filter(|(_, task)| !self.is_large(&task.step));
        let small: Vec<String> = small
            .map(|(name, task)| under_way(&self.view, name, task, now))
            .collect();
        let steps = self.view.steps.iter();
        let large = steps.filter(|(_, step)| step.tasks > LARGE && step.running > 0);
        let large = large.map(|(name, step)| step_under_way(name, step));
        let small = (!small.is_empty()).then(|| small.join(" · "));
        small.into_iter().chain(large).collect()
    }

    /// Lets go of what was kept of a step all of whose tasks have ended.
    fn close_if_ended(&mut self, task: &TaskName) {
        let Some(task) = self.view.tasks.get(task).filter(|_| self.groups.is_some()) else {
            return;
        };
        let step = task.step.clone();
        let ended = self.view.steps.get(&step);
        if ended.is_some_and(|step| step.finished() >= step.tasks) {
            self.close(&step);
        }
    }

    fn close(&mut self, step: &StepId) {
        let title = match self.view.steps.get(step) {
            Some(view) if view.finished() > 0 => {
                let took = view.span.map_or(0, |(first, last)| last - first);
                let took = if took < 50 {
                    String::new()
                } else {
                    format!(" in {}", lasting(took))
                };
                format!("{step}: {}{took}", counted(view.ended))
            }
            _ => step.to_string(),
        };
        let text = self.groups.as_mut().map(|groups| groups.take(step, &title));
        self.put(&text.unwrap_or_default());
    }

    /// Lets go of everything that was kept.
    pub(super) fn close_groups(&mut self) {
        let open = self.groups.as_ref().map(super::groups::Groups::open);
        for step in open.unwrap_or_default() {
            self.close(&step);
        }
    }

    fn ended(&mut self, envelope: &Envelope) {
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
            return;
        };
        self.close_groups();
        let latest = latest.as_deref();
        if *up_to_date {
            self.nothing_to_do(envelope.run.as_str(), *counts, latest);
            return;
        }
        if self.view.tasks.is_empty() {
            return;
        }
        self.large_steps();
        self.times(*seconds);
        self.summary((*status, *counts), cause.as_ref(), latest, *seconds);
        if let Some(resume) = resume {
            let Paint { dim, .. } = self.paint;
            self.say(&format!("{dim}to go on:{dim:#} {resume}"));
        }
    }

    /// What became of the large steps.
    fn large_steps(&mut self) {
        let Paint {
            good,
            bad,
            odd,
            dim,
            ..
        } = self.paint;
        let steps = self.view.steps.iter();
        let large = steps.filter(|(_, step)| step.tasks > LARGE);
        let lines: Vec<String> = large
            .map(|(name, step)| {
                let (style, mark) = match step.ended {
                    Counts { failed: 1.., .. } => (bad, '✗'),
                    Counts { cancelled: 1.., .. } => (odd, '■'),
                    _ => (good, '✓'),
                };
                let retried = match step.retried {
                    0 => String::new(),
                    times => format!(", {times} retried"),
                };
                let made = made_in_all(&step.made);
                let counted = counted(step.ended);
                format!("  {style}{mark}{style:#} {name}: {counted}{retried} {dim}· {made}{dim:#}")
            })
            .collect();
        for line in lines {
            self.say(&line);
        }
    }

    /// Where the time went, when there was so much of it that somebody may ask.
    fn times(&mut self, seconds: f64) {
        let columns = self.columns();
        let least = if columns.is_some() {
            TOLD_FROM.0
        } else {
            TOLD_FROM.1
        };
        if seconds < least || !summary::is_worth_it(&self.view) {
            return;
        }
        self.say("");
        for line in summary::table(&self.view, &self.paint, columns.unwrap_or(120)) {
            self.say(line.to_string().trim_end());
        }
        self.say("");
    }

    fn summary(
        &mut self,
        (status, counts): (RunStatus, Counts),
        cause: Option<&TaskName>,
        latest: Option<&Path>,
        seconds: f64,
    ) {
        let Paint {
            good,
            bad,
            odd,
            dim,
            ..
        } = self.paint;
        let (style, word) = match status {
            RunStatus::Done => (good, "done"),
            RunStatus::Failed => (bad, "failed"),
            RunStatus::Cancelled => (odd, "cancelled"),
        };
        let parts = counted(counts);
        let cause = cause.map_or_else(String::new, |task| format!(", first by `{task}`"));
        let time = duration(Duration::from_secs_f64(seconds.max(0.0)));
        let mut line = format!("{style}{word}{style:#} in {time}{cause}");
        if !parts.is_empty() {
            line = format!("{line} {dim}· {parts}{dim:#}");
        }
        line.push_str(&self.leads_to(latest));
        self.say(&line);
    }

    fn nothing_to_do(&mut self, run: &str, counts: Counts, latest: Option<&Path>) {
        let Paint { good, .. } = self.paint;
        let what = match self.view.tasks.len() {
            0 => format!("run {run} is done"),
            _ => format!("{} done before", plural(counts.cached, "task")),
        };
        let results = self.leads_to(latest);
        self.say(&format!("{good}nothing to do{good:#}: {what}{results}"));
    }

    fn leads_to(&self, latest: Option<&Path>) -> String {
        let Paint { dim, .. } = self.paint;
        latest.map_or_else(String::new, |latest| {
            let shown = self.link(latest, &display_path(latest));
            let what = match self.view.rehearsal {
                Some(true) => "stand-ins",
                _ => "results",
            };
            format!(" {dim}· {what} in {dim:#}{shown}")
        })
    }
}

/// What became of a task, in words.
fn what_of(end: &End<'_>) -> String {
    match end.status {
        TaskStatus::Done => made(end.outputs),
        TaskStatus::Failed => end
            .diagnostic
            .map_or_else(|| "failed".to_owned(), |d| tame(without_step(&d.message))),
        TaskStatus::Skipped => end.diagnostic.map_or_else(
            || "skipped".to_owned(),
            |d| format!("skipped: {}", tame(&d.message)),
        ),
        TaskStatus::Cancelled => "cancelled".to_owned(),
        TaskStatus::Cached => format!("cached: {}", made(end.outputs)),
    }
}
