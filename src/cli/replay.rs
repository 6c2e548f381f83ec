//! `kiln replay RUN`: a run that has ended, told again as if it happened now.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;

use super::args::TextOrJson;
use super::exit::Exit;
use super::runs::{HistoryFlags, conclude};
use super::screen::{self, Preview};
use crate::diagnostic::Diagnostic;
use crate::event::{Envelope, VERSION};
use crate::report::{JsonReporter, ReportResult, Reporter};
use crate::session::history::{Replayed, replayed};

/// How long a replay takes at most, unless its speed is said.
const AT_MOST: f64 = 10_000.0;
/// The pause between two pictures.
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The run: its id, a beginning of it, or `last`
    #[arg(value_name = "RUN", default_value = "last")]
    run: String,

    /// So many times as fast as it was; otherwise as it was, or faster so that it takes ten seconds
    #[arg(long, value_name = "N", value_parser = speed)]
    speed: Option<f64>,

    /// Show pictures among the results, in terminals that can: kitty, iTerm2, sixel
    #[arg(long, value_name = "HOW", value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "auto", env = "KILN_PREVIEW")]
    preview: Option<Preview>,

    #[command(flatten)]
    history: HistoryFlags,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if speed > 0.0 && speed.is_finite() => Ok(speed),
        _ => Err("must be a number above 0, such as 1 or 20".to_owned()),
    }
}

pub(super) fn replay(args: &ReplayArgs) -> Exit {
    conclude(tell(args))
}

fn tell(args: &ReplayArgs) -> Result<(), Box<Diagnostic>> {
    let history = args.history.open()?;
    let run = history.find(&args.run)?;
    let told = replayed(&history, &run)?;
    let clock = Arc::new(AtomicI64::new(told.events.first().map_or(0, |(at, _)| *at)));
    let (mut reporter, paced): (Box<dyn Reporter>, bool) = match args.history.output {
        TextOrJson::Json => {
            let reporter = JsonReporter::new(anstream::stderr(), std::io::stdout());
            (Box::new(reporter), false)
        }
        TextOrJson::Text => {
            let (notes, terminal) = screen::notes(args.preview);
            let reporter = crate::report::TerminalReporter::new(notes, std::io::stdout(), terminal);
            let time = Arc::clone(&clock);
            let reporter = reporter.by(Arc::new(move || time.load(Ordering::Relaxed)));
            (Box::new(reporter), terminal.live)
        }
    };
    let speed = args.speed.or(paced.then(|| usual(&told)));
    // Nobody listens any more: the reader has seen enough.
    let _ = play(&told, &clock, speed, &mut *reporter);
    Ok(())
}

/// As it was, unless that takes too long.
fn usual(told: &Replayed) -> f64 {
    let first = told.events.first().map_or(0, |(at, _)| *at);
    let last = told.events.last().map_or(0, |(at, _)| *at);
    milliseconds(last - first).max(AT_MOST) / AT_MOST
}

fn milliseconds(ms: i64) -> f64 {
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX))
}

/// Tells the events, each at its time; without a speed one right after the other.
fn play(
    told: &Replayed,
    clock: &AtomicI64,
    speed: Option<f64>,
    reporter: &mut dyn Reporter,
) -> ReportResult {
    for note in &told.notes {
        reporter.note(note)?;
    }
    for (seq, (at, event)) in (0..).zip(&told.events) {
        if let Some(speed) = speed {
            wait(*at, clock, speed, reporter)?;
        }
        clock.store(*at, Ordering::Relaxed);
        let time = jiff::Timestamp::from_millisecond(*at).unwrap_or_default();
        let time = time.to_zoned(jiff::tz::TimeZone::system());
        reporter.event(&Envelope {
            v: VERSION,
            seq,
            time: time.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string(),
            run: told.run.clone(),
            event: event.clone(),
        })?;
    }
    Ok(())
}

/// Lets the time pass until then.
fn wait(until: i64, clock: &AtomicI64, speed: f64, reporter: &mut dyn Reporter) -> ReportResult {
    let from = clock.load(Ordering::Relaxed);
    let whole = Duration::from_secs_f64(milliseconds(until - from) / 1000.0 / speed);
    let began = Instant::now();
    loop {
        let passed = began.elapsed();
        if passed >= whole {
            return Ok(());
        }
        let ms = Duration::from_secs_f64(passed.as_secs_f64() * speed).as_millis();
        clock.store(from + i64::try_from(ms).unwrap_or(0), Ordering::Relaxed);
        reporter.tick()?;
        sleep(TICK.min(whole.saturating_sub(passed)));
    }
}
