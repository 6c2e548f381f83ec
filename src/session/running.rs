//! A run from the file to the exit code.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::checking::{check_plan, check_sound};
use super::load::{Loaded, Request, Target, load};
use super::outlook::{Outlook, outlook};
use super::plugins;
use super::pools;
use super::prepare;
use super::previews::Previews;
use super::resume::{self, Taken};
use super::signals::Signals;
use super::told::Told;
use super::way_out;
use super::wishes::{self, Wishes};
use crate::base::{Input, RunId, Secrets, TaskName};
use crate::diagnostic::{Diagnostic, Report, Severity, SourceMap, codes};
use crate::event::{Counts, RunEvent, RunStatus};
use crate::machine::Fact;
use crate::plan::Plan;
use crate::report::Reporter;
use crate::report::tty::{self, Hold, Typing};
use crate::run::{Resting, RunContext, RunOutcome, Stop, output_set, told_of_models};
use crate::servers::{Servers, StartFailure};
use crate::store::{Holder, Journal, Lock, Store, StoreError};

/// How often another kiln's wish to stop this run is looked for.
const LISTEN: Duration = Duration::from_millis(250);
/// How often a reporter may redraw.
const TICK: Duration = Duration::from_millis(100);

/// A run could not be carried out, and no file or server is to blame.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

impl Broken {
    /// What asynchronous work needs is not to be had.
    pub fn new(error: &std::io::Error) -> Self {
        Self(format!("could not start: {error}"))
    }
}

/// The state, a run's journal, and what is in it already.
type Reopened = (Store, Journal, Vec<(u64, Fact)>);

/// How a run ended, for somebody who watches.
#[derive(Debug, Default)]
pub struct Ended {
    /// The exit code that it calls for.
    pub code: u8,
    /// Servers that are away, and nothing else is wrong: nothing was told, and nothing ran.
    pub away: Vec<Diagnostic>,
    /// What was read in the middle of it, by templates that waited for results.
    pub read: Vec<Input>,
}

impl From<u8> for Ended {
    fn from(code: u8) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }
}

/// A plan with everything that it takes to carry it out.
struct Start {
    plan: Plan,
    target: Target,
    secrets: Secrets,
    report: Report,
    /// The journal of the run that goes on.
    stored: Option<Reopened>,
    /// There is nothing to do, unless a server has other models by now.
    ask_models: bool,
    /// The flag with which the project rehearses without a server.
    rehearsal: Option<String>,
}

/// What stands before the run.
enum Readiness {
    /// The report says what.
    Refused,
    /// These servers, which somebody waits for.
    Away(Vec<Diagnostic>),
    /// Nothing, and there is nothing to do.
    UpToDate(Box<Plan>, Resting),
    /// Nothing.
    Ready(Box<Plan>, Ready),
}

/// What a run holds from here on.
struct Ready {
    servers: Arc<Servers>,
    store: Store,
    lock: Lock,
    journal: Journal,
    facts: Vec<(u64, Fact)>,
}

/// Loads, plans, connects, checks and runs; or goes on with an earlier run.
///
/// # Errors
/// When the fault is kiln's own, or the system refuses what asynchronous work needs.
pub fn run(request: &Request, wishes: &Wishes, reporter: Box<dyn Reporter>) -> Result<u8, Broken> {
    let mut told = Told::new(reporter, RunId::new(&jiff::Zoned::now()));
    let start = match begin(request, wishes, &mut told) {
        Ok(start) => start,
        Err(code) => return Ok(code),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Broken::new(&error))?;
    let ended = runtime.block_on(async {
        let signals = Signals::listen(tty::restore);
        carry_out(start, wishes, told, &signals, spared()).await
    });
    // Nothing that is still under way matters any more; a second Ctrl-C must not wait for it.
    runtime.shutdown_timeout(Duration::from_millis(200));
    ended.map(|ended| ended.code)
}

/// Carries out a plan that was loaded, or tells why there is none, for somebody who watches: `signals` stop it, and what is to be let
/// finish then is in `spared`.
///
/// # Errors
/// When the fault is kiln's own.
pub async fn run_loaded(
    loaded: Loaded,
    wishes: &Wishes,
    reporter: Box<dyn Reporter>,
    signals: &Signals,
    spared: watch::Receiver<BTreeSet<TaskName>>,
) -> Result<Ended, Broken> {
    let mut told = Told::new(reporter, RunId::new(&jiff::Zoned::now()));
    match start(loaded, &mut told) {
        Ok(start) => carry_out(start, wishes, told, signals, spared).await,
        Err(code) => Ok(code.into()),
    }
}

/// Nothing is spared.
fn spared() -> watch::Receiver<BTreeSet<TaskName>> {
    watch::channel(BTreeSet::new()).1
}

/// Finds out what is to be carried out; otherwise the exit code, everything told.
fn begin(request: &Request, wishes: &Wishes, told: &mut Told) -> Result<Start, u8> {
    let Some(resume) = &wishes.resume else {
        return fresh(request, wishes, told);
    };
    match resume::take_up(request, resume) {
        Ok(Taken::Stored(stored)) => {
            told.run = stored.run;
            let mut report = Report::default();
            report.extend(resume::kept(&stored.replay.plan));
            let mut plan = stored.replay.plan;
            plugins::reload(&mut plan, &stored.secrets, request.no_plugins, &mut report);
            if report.has_errors() {
                return Err(told.refuse(&report, &plan.sources));
            }
            Ok(Start {
                plan,
                target: Target::Pipeline,
                secrets: stored.secrets,
                report,
                stored: Some((stored.store, stored.journal, stored.replay.facts)),
                ask_models: false,
                rehearsal: None,
            })
        }
        Ok(Taken::Anew(request)) => fresh(&request, wishes, told),
        Ok(Taken::Done(run)) => {
            told.run = run.run;
            Err(told.done_already(run.counts.unwrap_or_default()))
        }
        Err(diagnostic) => {
            let report = Report {
                items: vec![*diagnostic],
            };
            Err(told.refuse(&report, &SourceMap::default()))
        }
    }
}

fn fresh(request: &Request, wishes: &Wishes, told: &mut Told) -> Result<Start, u8> {
    let mut loaded = load(request);
    if wishes.deny_warnings {
        loaded.report.deny_warnings();
    }
    start(loaded, told)
}

/// Adds what else is wrong in a pipeline that has errors, as far as that can be known without a connection.
pub fn complete(loaded: &mut Loaded) {
    let sound = loaded.sound.take();
    let more = sound.map(|sound| check_sound(&sound, loaded.target, &loaded.report));
    loaded.report.extend(more.unwrap_or_default());
}

fn start(mut loaded: Loaded, told: &mut Told) -> Result<Start, u8> {
    complete(&mut loaded);
    let refused = loaded.report.has_errors();
    let Some(plan) = loaded.plan.filter(|_| !refused) else {
        return Err(told.refuse(&loaded.report, &loaded.sources));
    };
    Ok(Start {
        plan,
        target: loaded.target,
        secrets: loaded.secrets,
        report: loaded.report,
        stored: None,
        ask_models: false,
        rehearsal: loaded.rehearsal,
    })
}

async fn carry_out(
    mut start: Start,
    wishes: &Wishes,
    mut told: Told,
    signals: &Signals,
    spared: watch::Receiver<BTreeSet<TaskName>>,
) -> Result<Ended, Broken> {
    let sources = start.plan.sources.clone();
    let (secrets, run) = (start.secrets.clone(), told.run.clone());
    let mut report = std::mem::take(&mut start.report);
    if start.stored.is_none() {
        match outlook(&start.plan, None) {
            Outlook::Work => {}
            Outlook::DoneUnless => start.ask_models = true,
            Outlook::Done(_) if wishes.watched => return Ok(0.into()),
            Outlook::Done(resting) => {
                return Ok(rest(start, resting, &mut told, &report).await);
            }
        }
    }
    // Until something is queued, whatever is under way can be dropped.
    let ready = tokio::select! {
        biased;
        () = signals.at_least(Stop::Cancel) => None,
        ready = get_ready(start, wishes, &run, &mut told, &mut report) => Some(ready),
    };
    let Some(ready) = ready else {
        told.stopping(signals.reason(), false);
        let (code, counts) = (signals.exit_code(), Counts::default());
        return Ok(told.end(RunStatus::Cancelled, code, counts, 0.0).into());
    };
    let (plan, ready) = match ready {
        Readiness::Refused => return Ok(told.refuse(&report, &sources).into()),
        Readiness::Away(away) => {
            return Ok(Ended {
                code: 5,
                away,
                ..Ended::default()
            });
        }
        Readiness::UpToDate(..) if wishes.watched => return Ok(0.into()),
        Readiness::UpToDate(plan, resting) => {
            return Ok(up_to_date(&plan, &resting, &mut told, &report).await);
        }
        Readiness::Ready(plan, ready) => (plan, ready),
    };
    told.plugins = plan.loaded.clone();
    told.complain(&report, &sources);
    under_way((plan, secrets, ready), wishes, told, signals, spared).await
}

/// The run itself, once everything that comes before it is there.
async fn under_way(
    (plan, secrets, ready): (Box<Plan>, Secrets, Ready),
    wishes: &Wishes,
    mut told: Told,
    signals: &Signals,
    spared: watch::Receiver<BTreeSet<TaskName>>,
) -> Result<Ended, Broken> {
    let run = told.run.clone();
    let (events, receiver) = mpsc::unbounded_channel();
    let (servers, store) = (ready.servers, ready.store);
    let listening = tokio::spawn(heed_requests(store.clone(), run.clone(), signals.clone()));
    let previews = wishes.previews.then(|| watch::channel(None));
    let (previews, seen) = previews.unzip();
    let context = RunContext {
        plan: Arc::new(*plan),
        run,
        servers: Arc::clone(&servers),
        store,
        lock: ready.lock,
        journal: ready.journal,
        facts: ready.facts,
        events,
        stop: signals.stop.clone(),
        stop_code: Arc::clone(&signals.code),
        spared,
        previews,
        options: wishes.options,
        secrets,
    };
    let typing = wishes.hide_typing.then(|| Hold::take(Typing::Hidden));
    let previews = Previews::new(seen, &context.servers);
    let outcome = follow(context, (receiver, previews), &mut told, signals).await;
    drop(typing);
    listening.abort();
    tokio::select! {
        () = prepare::shutdown(servers) => {}
        () = signals.at_least(Stop::Leave) => {}
    }
    outcome.map(|ended| Ended {
        code: told.code(ended.code),
        ..ended
    })
}

/// There is nothing to do, and the process ends: to give the memory of very many tasks back piece by piece would only take time.
async fn rest(start: Start, resting: Resting, told: &mut Told, report: &Report) -> Ended {
    let ended = up_to_date(&start.plan, &resting, told, report).await;
    std::mem::forget((start, resting));
    ended
}

/// Tells that there is nothing to do, plugins too, and lets those end.
async fn up_to_date(plan: &Plan, resting: &Resting, told: &mut Told, report: &Report) -> Ended {
    told.plugins = plan.loaded.clone();
    let last = told.nothing_to_do(plan, report, resting);
    let failed = plugins::end(&plan.loaded, |said| told.said(said, &plan.sources)).await;
    told.up_to_date(last, failed).into()
}

/// What servers that are not to be had mean for the run.
fn without(
    errors: Vec<Diagnostic>,
    plan: &Plan,
    (wishes, rehearsal): (&Wishes, Option<&str>),
    report: &mut Report,
) -> Readiness {
    if wishes.watched && errors.iter().all(way_out::may_come_back) {
        return Readiness::Away(errors);
    }
    let advise = |error| way_out::advise(error, plan, rehearsal);
    report.extend(errors.into_iter().map(advise));
    Readiness::Refused
}

/// A check may be made on another machine than the run: what it only warns of may stop a run.
fn needed_now(found: Diagnostic) -> Diagnostic {
    if found.code == &codes::PROGRAM_NOT_FOUND {
        return Diagnostic {
            severity: Severity::Error,
            ..found
        };
    }
    found
}

/// Everything that comes before the run: servers, catalogs, checks, a question, the project's state.
async fn get_ready(
    start: Start,
    wishes: &Wishes,
    run: &RunId,
    told: &mut Told,
    report: &mut Report,
) -> Readiness {
    let Start {
        mut plan,
        target,
        secrets,
        stored,
        ask_models,
        rehearsal,
        ..
    } = start;
    let facts = stored.as_ref().map(|(_, _, facts)| facts.as_slice());
    let spare = facts
        .map(|facts| resume::spare(&plan, facts))
        .unwrap_or_default();
    let servers = match prepare::connect_but(&plan, &secrets, &spare).await {
        Ok(servers) => Arc::new(servers),
        Err(errors) => {
            return without(errors, &plan, (wishes, rehearsal.as_deref()), report);
        }
    };
    report.extend(servers.away().iter().map(StartFailure::warning));
    if ask_models {
        let models = told_of_models(&plan, &servers).await;
        if let Outlook::Done(resting) = outlook(&plan, Some(&models)) {
            prepare::shutdown(servers).await;
            return Readiness::UpToDate(Box::new(plan), resting);
        }
    }
    // A stored plan was checked when it was new, and what the servers say now each task finds out.
    if stored.is_none() {
        examine((&mut plan, target), &servers, wishes, report).await;
    }
    if !report.has_errors() {
        match open(&plan, stored, wishes, run, told).await {
            Ok((store, lock, journal, facts)) => {
                let ready = Ready {
                    servers,
                    store,
                    lock,
                    journal,
                    facts,
                };
                return Readiness::Ready(Box::new(plan), ready);
            }
            Err(error) => report.push(error.diagnostic()),
        }
    }
    prepare::shutdown(servers).await;
    Readiness::Refused
}

/// Checks a plan against its servers, and asks about it.
async fn examine(
    (plan, target): (&mut Plan, Target),
    servers: &Servers,
    wishes: &Wishes,
    report: &mut Report,
) {
    let (catalogs, unreachable) = prepare::catalogs_of(plan, servers).await;
    report.extend(unreachable);
    if !report.has_errors() {
        let found = check_plan(plan, target, &catalogs).items;
        let found = found.into_iter().filter(|d| d.severity > Severity::Note);
        report.extend(found.map(needed_now));
        pools::keep_away(plan, servers, &catalogs.lacks);
    }
    if wishes.deny_warnings {
        report.deny_warnings();
    }
    if !report.has_errors() {
        report.extend(confirm(plan, wishes).await);
    }
}

/// Asks about a run with very many tasks; what there is to complain about when it must not start.
async fn confirm(plan: &Plan, wishes: &Wishes) -> Option<Diagnostic> {
    let question = wishes::question(plan).filter(|_| !wishes.yes)?;
    let Some(ask) = wishes.ask else {
        return Some(wishes::unconfirmed(&question, false));
    };
    let asked = question.clone();
    let answer = tokio::task::spawn_blocking(move || ask(&asked)).await;
    (!answer.unwrap_or(false)).then(|| wishes::unconfirmed(&question, true))
}

type Opened = (Store, Lock, Journal, Vec<(u64, Fact)>);

/// The state, the outputs for us alone, and the journal.
async fn open(
    plan: &Plan,
    stored: Option<Reopened>,
    wishes: &Wishes,
    run: &RunId,
    told: &mut Told,
) -> Result<Opened, StoreError> {
    let (store, resumed) = match stored {
        Some((store, journal, facts)) => (store, Some((journal, facts))),
        None => (Store::open(&plan.project_dir)?, None),
    };
    let outputs = output_set(plan);
    let lock = if wishes.wait {
        let waiting = |holder: &Holder| {
            told.tell(RunEvent::RunWaiting {
                holder: holder.to_string(),
            });
        };
        store.lock_when_free(&outputs, run, waiting).await?
    } else {
        store.lock(&outputs, run)?
    };
    let (journal, facts) = match resumed {
        Some(resumed) => resumed,
        None => (store.begin(run, plan, now())?, Vec::new()),
    };
    Ok((store, lock, journal, facts))
}

/// Stops the run when another kiln asks for it.
async fn heed_requests(store: Store, run: RunId, signals: Signals) {
    loop {
        tokio::time::sleep(LISTEN).await;
        let (store, run) = (store.clone(), run.clone());
        let asked = tokio::task::spawn_blocking(move || store.cancel_requested(&run)).await;
        if matches!(asked, Ok(Ok(true))) {
            signals.request();
            return;
        }
    }
}

/// Runs, and tells the reporter of every event; the last comes after what went wrong was shown, so that the summary closes the output.
async fn follow(
    context: RunContext,
    (mut receiver, mut previews): (mpsc::UnboundedReceiver<RunEvent>, Previews),
    told: &mut Told,
    signals: &Signals,
) -> Result<Ended, Broken> {
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
                told.stopping(signals.reason(), urgency == Stop::Leave);
            }
            event = receiver.recv() => match event {
                Some(event @ RunEvent::RunFinished { .. }) => last = Some(event),
                Some(event) => {
                    if let RunEvent::TaskFinished { status, .. } = &event {
                        counts.add(*status);
                    }
                    told.tell(event);
                }
                None => break,
            },
            Some(preview) = previews.next() => told.preview(&preview),
            _ = ticks.tick() => told.tick(),
        }
    }
    if let Some(line) = previews.missing(counts.done) {
        told.note(line);
    }
    let outcome = match running.await {
        Ok(outcome) => outcome,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    };
    let error = match outcome {
        Ok(outcome) => return Ok(conclude(outcome, last, &plan, told)),
        Err(error) => error,
    };
    let Some(diagnostic) = error.diagnostic() else {
        return Err(Broken(error.to_string()));
    };
    let report = Report {
        items: vec![diagnostic],
    };
    told.complain(&report, &plan.sources);
    let seconds = began.elapsed().as_secs_f64();
    let code = told.end(RunStatus::Failed, error.exit_code(), counts, seconds);
    told.plugins.end(plugins::PATIENCE).await;
    Ok(code.into())
}

/// Tells what went wrong, and last of all that the run has ended.
fn conclude(outcome: RunOutcome, last: Option<RunEvent>, plan: &Plan, told: &mut Told) -> Ended {
    // Warnings were told while it ran.
    let mut report = outcome.report;
    report.items.retain(|d| d.severity == Severity::Error);
    told.show(&report, &plan.sources);
    if let Some(mut last) = last {
        if let RunEvent::RunFinished {
            status,
            exit_code,
            resume,
            ..
        } = &mut last
        {
            // A plugin may have failed at this very event.
            (*status, *exit_code) = (outcome.status, outcome.exit_code);
            *resume = (*status != RunStatus::Done).then(|| resume::command(plan));
        }
        told.tell(last);
    }
    Ended {
        code: outcome.exit_code,
        away: Vec::new(),
        read: outcome.read,
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// The next step of urgency.
fn next(urgency: Stop) -> Stop {
    match urgency {
        Stop::None => Stop::Cancel,
        Stop::Cancel | Stop::Leave => Stop::Leave,
    }
}
