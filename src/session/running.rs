//! A run from the file to the exit code.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::checking::{check_plan, check_sound};
use super::load::{Loaded, Request, Target, load};
use super::prepare;
use super::signals::Signals;
use crate::base::RunId;
use crate::diagnostic::{Report, Severity, SourceMap, to_json};
use crate::event::{Counts, Envelope, RunEvent, RunStatus, TaskStatus, VERSION};
use crate::plan::Plan;
use crate::report::{ReportResult, Reporter, exit_code};
use crate::run::{RunContext, RunOptions, Stop};
use crate::servers::Servers;
use crate::store::Store;

/// How often a reporter may redraw.
const TICK: Duration = Duration::from_millis(100);

/// A run could not be carried out, and no file or server is to blame.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

/// Loads, plans, connects, checks and runs.
///
/// # Errors
/// When the fault is kiln's own, or the system refuses what asynchronous work needs.
pub fn run(request: &Request, reporter: Box<dyn Reporter>) -> Result<u8, Broken> {
    let Loaded {
        plan,
        sound,
        target,
        sources,
        mut report,
    } = load(request);
    let run = RunId::new(&jiff::Zoned::now());
    let mut told = Told {
        reporter,
        run: run.clone(),
        seq: 0,
        deaf: false,
    };
    let Some(plan) = plan else {
        report.extend(sound.iter().flat_map(|sound| check_sound(sound, target)));
        return Ok(told.refuse(&report, &sources));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Broken(format!("could not start: {e}")))?;
    let ended = runtime.block_on(carry_out((plan, target), run, report, told));
    // Nothing that is still under way matters any more; a second Ctrl-C must not wait for it.
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended
}

async fn carry_out(
    (plan, target): (Plan, Target),
    run: RunId,
    mut report: Report,
    mut told: Told,
) -> Result<u8, Broken> {
    let signals = Signals::listen();
    // Until something is queued, whatever is under way can be dropped.
    let ready = tokio::select! {
        biased;
        () = signals.at_least(Stop::Cancel) => {
            told.stopping(&signals, Stop::Cancel);
            let code = signals.exit_code();
            return Ok(told.end(RunStatus::Cancelled, code, Counts::default(), 0.0));
        }
        ready = get_ready(&plan, target, &mut report) => ready,
    };
    let Some((servers, store)) = ready else {
        return Ok(told.refuse(&report, &plan.sources));
    };
    told.complain(&report, &plan.sources);
    let plan = Arc::new(plan);
    let (events, receiver) = mpsc::unbounded_channel();
    let context = RunContext {
        plan: Arc::clone(&plan),
        run,
        servers: Arc::clone(&servers),
        store,
        events,
        stop: signals.stop.clone(),
        options: RunOptions::default(),
        resumed: None,
    };
    let outcome = follow(context, receiver, &mut told, &signals).await;
    tokio::select! {
        () = prepare::shutdown(servers) => {}
        () = signals.at_least(Stop::Leave) => {}
    }
    outcome.map(|code| told.code(code))
}

/// Everything that comes before the run: servers, catalogs, checks, the project's state. `None` when the report says why not.
async fn get_ready(
    plan: &Plan,
    target: Target,
    report: &mut Report,
) -> Option<(Arc<Servers>, Store)> {
    let servers = match prepare::connect(plan).await {
        Ok(servers) => Arc::new(servers),
        Err(errors) => {
            report.extend(errors);
            return None;
        }
    };
    let (catalogs, unreachable) = prepare::catalogs_of(plan, &servers).await;
    report.extend(unreachable);
    if !report.has_errors() {
        report.extend(check_plan(plan, target, &catalogs).items);
    }
    if !report.has_errors() {
        match Store::open(&plan.project_dir) {
            Ok(store) => return Some((servers, store)),
            Err(error) => report.push(error.diagnostic()),
        }
    }
    prepare::shutdown(servers).await;
    None
}

/// Runs, and tells the reporter of every event; the last comes after what went wrong was shown, so that the summary closes the output.
async fn follow(
    context: RunContext,
    mut receiver: mpsc::UnboundedReceiver<RunEvent>,
    told: &mut Told,
    signals: &Signals,
) -> Result<u8, Broken> {
    let plan = Arc::clone(&context.plan);
    let running = tokio::spawn(crate::run::execute(context));
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let began = Instant::now();
    let mut last = None;
    let mut counts = Counts::default();
    let mut urgency = Stop::None;
    loop {
        // What was asked for is told before what came of it.
        tokio::select! {
            biased;
            () = signals.at_least(next(urgency)), if urgency < Stop::Leave => {
                urgency = next(urgency);
                told.stopping(signals, urgency);
            }
            event = receiver.recv() => match event {
                Some(event @ RunEvent::RunFinished { .. }) => last = Some(event),
                Some(event) => {
                    if let RunEvent::TaskFinished { status, .. } = &event {
                        count(&mut counts, *status);
                    }
                    told.tell(event);
                }
                None => break,
            },
            _ = ticks.tick() => told.tick(),
        }
    }
    let outcome = match running.await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    match outcome {
        Ok(outcome) => {
            // Warnings were told while it ran.
            let mut report = outcome.report;
            report.items.retain(|d| d.severity == Severity::Error);
            told.show(&report, &plan.sources);
            let code = if outcome.exit_code == 130 {
                signals.exit_code()
            } else {
                outcome.exit_code
            };
            if let Some(RunEvent::RunFinished { exit_code, .. }) = &mut last {
                *exit_code = code;
            }
            if let Some(last) = last {
                told.tell(last);
            }
            Ok(code)
        }
        Err(error) => match error.diagnostic() {
            Some(diagnostic) => {
                let report = Report {
                    items: vec![diagnostic],
                };
                told.complain(&report, &plan.sources);
                let seconds = began.elapsed().as_secs_f64();
                Ok(told.end(RunStatus::Failed, error.exit_code(), counts, seconds))
            }
            None => Err(Broken(error.to_string())),
        },
    }
}

/// The next step of urgency.
fn next(urgency: Stop) -> Stop {
    match urgency {
        Stop::None => Stop::Cancel,
        Stop::Cancel | Stop::Leave => Stop::Leave,
    }
}

fn count(counts: &mut Counts, status: TaskStatus) {
    let of_status = match status {
        TaskStatus::Done => &mut counts.done,
        TaskStatus::Cached => &mut counts.cached,
        TaskStatus::Failed => &mut counts.failed,
        TaskStatus::Skipped => &mut counts.skipped,
        TaskStatus::Cancelled => &mut counts.cancelled,
    };
    *of_status += 1;
}

/// The reporter, and what it needs to number events.
struct Told {
    reporter: Box<dyn Reporter>,
    run: RunId,
    seq: u64,
    /// Its stream is closed: the run goes on, nobody listens.
    deaf: bool,
}

impl Told {
    fn tell(&mut self, event: RunEvent) {
        if self.deaf {
            return;
        }
        let envelope = Envelope {
            v: VERSION,
            seq: self.seq,
            time: jiff::Zoned::now()
                .strftime("%Y-%m-%dT%H:%M:%S%.3f%:z")
                .to_string(),
            run: self.run.clone(),
            event,
        };
        self.seq += 1;
        let told = self.reporter.event(&envelope);
        self.heard(&told);
    }

    fn tick(&mut self) {
        if !self.deaf {
            let told = self.reporter.tick();
            self.heard(&told);
        }
    }

    fn stopping(&mut self, signals: &Signals, urgency: Stop) {
        self.tell(RunEvent::RunStopping {
            reason: signals.reason(),
            at_once: urgency == Stop::Leave,
        });
    }

    /// The exit code, when everything that was asked for could be told or not.
    fn code(&self, code: u8) -> u8 {
        match code {
            0 if self.reporter.failed() => 1,
            code => code,
        }
    }

    fn heard(&mut self, told: &ReportResult) {
        self.deaf |= told.is_err();
    }

    /// Shows complaints to people.
    fn show(&mut self, report: &Report, sources: &SourceMap) {
        if !self.deaf {
            let told = self.reporter.complaints(report, sources);
            self.heard(&told);
        }
    }

    /// Complaints before anything ran: to people with their lines, to programs as events.
    fn complain(&mut self, report: &Report, sources: &SourceMap) {
        self.show(report, sources);
        for diagnostic in &report.items {
            self.tell(RunEvent::Diagnostic {
                diagnostic: to_json(diagnostic, sources),
            });
        }
    }

    fn refuse(&mut self, report: &Report, sources: &SourceMap) -> u8 {
        self.complain(report, sources);
        let exit_code = exit_code(report);
        self.end(RunStatus::Failed, exit_code, Counts::default(), 0.0)
    }

    /// The end of a run that never began, or was broken off.
    fn end(&mut self, status: RunStatus, exit_code: u8, counts: Counts, seconds: f64) -> u8 {
        self.tell(RunEvent::RunFinished {
            status,
            exit_code,
            counts,
            cause: None,
            latest: None,
            seconds,
        });
        exit_code
    }
}
