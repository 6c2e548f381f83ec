//! The reporter, and what it needs to number events.

use crate::base::RunId;
use crate::diagnostic::{Report, Severity, SourceMap, to_json};
use crate::event::{Counts, Envelope, RunEvent, RunStatus, StopReason, VERSION};
use crate::plan::Plan;
use crate::plugin::{Plugins, Said};
use crate::report::{ReportResult, Reporter, exit_code};
use crate::run::{self, Resting};

/// A reporter that is told of one run.
pub(super) struct Told {
    reporter: Box<dyn Reporter>,
    pub(super) run: RunId,
    seq: u64,
    /// Its stream is closed: the run goes on, nobody listens.
    deaf: bool,
    /// The last time that was told, in milliseconds since 1970 and as text: many events may share it.
    time: (i64, String),
    /// Hear of what is told here; of a run's own events they hear from the run.
    pub(super) plugins: Plugins,
}

impl Told {
    pub(super) fn new(reporter: Box<dyn Reporter>, run: RunId) -> Self {
        Self {
            reporter,
            run,
            seq: 0,
            deaf: false,
            time: (i64::MIN, String::new()),
            plugins: Plugins::default(),
        }
    }

    pub(super) fn tell(&mut self, event: RunEvent) {
        if self.deaf {
            return;
        }
        let envelope = Envelope {
            v: VERSION,
            seq: self.seq,
            time: self.now(),
            run: self.run.clone(),
            event,
        };
        self.seq += 1;
        let told = self.reporter.event(&envelope);
        self.heard(&told);
    }

    /// As [`Told::tell`], and to plugins.
    fn tell_all(&mut self, event: RunEvent) {
        self.plugins.publish(&event, &self.run);
        self.tell(event);
    }

    fn gather(&mut self, gather: bool) {
        if !self.deaf {
            let told = self.reporter.gather(gather);
            self.heard(&told);
        }
    }

    fn now(&mut self) -> String {
        let now = jiff::Timestamp::now();
        let millisecond = now.as_millisecond();
        if self.time.0 != millisecond {
            let now = now.to_zoned(jiff::tz::TimeZone::system());
            let text = now.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string();
            self.time = (millisecond, text);
        }
        self.time.1.clone()
    }

    pub(super) fn tick(&mut self) {
        if !self.deaf {
            let told = self.reporter.tick();
            self.heard(&told);
        }
    }

    /// A picture of what a task is at.
    pub(super) fn preview(&mut self, preview: &run::Preview) {
        if !self.deaf {
            let told = self.reporter.preview(&preview.task, &preview.picture);
            self.heard(&told);
        }
    }

    pub(super) fn note(&mut self, line: &str) {
        if !self.deaf {
            let told = self.reporter.note(line);
            self.heard(&told);
        }
    }

    pub(super) fn stopping(&mut self, reason: StopReason, at_once: bool) {
        self.tell_all(RunEvent::RunStopping { reason, at_once });
    }

    /// The exit code, when everything that was asked for could be told or not.
    pub(super) fn code(&self, code: u8) -> u8 {
        match code {
            0 if self.reporter.failed() => 1,
            code => code,
        }
    }

    fn heard(&mut self, told: &ReportResult) {
        self.deaf |= told.is_err();
    }

    /// Shows complaints to people.
    pub(super) fn show(&mut self, report: &Report, sources: &SourceMap) {
        if !self.deaf {
            let told = self.reporter.complaints(report, sources);
            self.heard(&told);
        }
    }

    /// Complaints before anything ran: to people with their lines, to programs as events.
    pub(super) fn complain(&mut self, report: &Report, sources: &SourceMap) {
        self.show(report, sources);
        for diagnostic in report.in_order() {
            self.tell_all(RunEvent::Diagnostic {
                diagnostic: to_json(diagnostic, sources),
            });
        }
    }

    pub(super) fn refuse(&mut self, report: &Report, sources: &SourceMap) -> u8 {
        self.complain(report, sources);
        let exit_code = exit_code(report, sources);
        self.end(RunStatus::Failed, exit_code, Counts::default(), 0.0)
    }

    /// There is nothing to do: each result lies where an earlier run put it. That this is all is returned, and known to plugins.
    pub(super) fn nothing_to_do(
        &mut self,
        plan: &Plan,
        report: &Report,
        resting: &Resting,
    ) -> Option<RunEvent> {
        let newest = run::newest(plan);
        if let Some(newest) = &newest {
            // A run that never begins has no id that anybody could look up: the results are those of this one.
            self.run = newest.clone();
        }
        self.complain(report, &plan.sources);
        let mut last = None;
        if let Some(newest) = newest {
            self.gather(true);
            run::nothing_to_do(plan, &newest, resting, |event| match event {
                RunEvent::RunFinished { .. } => {
                    self.plugins.publish(&event, &self.run);
                    last = Some(event);
                }
                event => self.tell_all(event),
            });
            self.gather(false);
        }
        last
    }

    /// What a plugin says, told to everybody but plugins.
    pub(super) fn said(&mut self, said: Said, sources: &SourceMap) {
        match said {
            Said::Line {
                plugin,
                level,
                line,
            } => self.tell(RunEvent::PluginLog {
                plugin,
                level: level.to_owned(),
                line,
            }),
            Said::Complaint(built) => {
                self.tell(RunEvent::Diagnostic {
                    diagnostic: to_json(&built, sources),
                });
                if built.severity == Severity::Error {
                    self.show(
                        &Report {
                            items: vec![*built],
                        },
                        sources,
                    );
                }
            }
        }
    }

    /// There was nothing to do, and plugins have heard of it: one that had to may have failed at that.
    pub(super) fn up_to_date(&mut self, last: Option<RunEvent>, failed: bool) -> u8 {
        if let Some(mut last) = last {
            if let RunEvent::RunFinished {
                status, exit_code, ..
            } = &mut last
                && failed
            {
                (*status, *exit_code) = (RunStatus::Failed, 4);
            }
            self.tell(last);
        }
        self.code(if failed { 4 } else { 0 })
    }

    /// There is nothing to do: the run is done.
    pub(super) fn done_already(&mut self, counts: Counts) -> u8 {
        self.tell(RunEvent::RunFinished {
            status: RunStatus::Done,
            exit_code: 0,
            counts,
            cause: None,
            latest: None,
            up_to_date: true,
            resume: None,
            seconds: 0.0,
        });
        self.code(0)
    }

    /// The end of a run that never began, or was broken off.
    pub(super) fn end(
        &mut self,
        status: RunStatus,
        exit_code: u8,
        counts: Counts,
        seconds: f64,
    ) -> u8 {
        self.tell_all(RunEvent::RunFinished {
            status,
            exit_code,
            counts,
            cause: None,
            latest: None,
            up_to_date: false,
            resume: None,
            seconds,
        });
        exit_code
    }
}
