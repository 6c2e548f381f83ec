//! `kiln replay RUN`: a run that has ended, told again as if it happened now.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use clap::Args;

use super::args::TextOrJson;
use super::exit::Exit;
use super::runs::{HistoryFlags, conclude};
use super::screen::{self, Preview};
use crate::diagnostic::Diagnostic;
use crate::event::{Envelope, RunEvent, VERSION};
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
            screen::say_if_no_pictures(args.preview, terminal);
            let reporter = crate::report::TerminalReporter::new(notes, std::io::stdout(), terminal);
            let time = Arc::clone(&clock);
            let reporter = reporter.by(Arc::new(move || time.load(Ordering::Relaxed)));
            (Box::new(reporter), terminal.live)
        }
    };
    let speed = args.speed.or(paced.then(|| usual(&told)));
    // Nobody listens any more: the reader has seen enough.
    let mut time = Real(Instant::now());
    let pace = speed.map(|speed| (speed, &mut time as &mut dyn Time));
    let _ = play(&told, &clock, pace, &mut *reporter);
    Ok(())
}

/// As it was, unless that takes too long.
fn usual(told: &Replayed) -> f64 {
    let (mut last, mut whole) = (None, 0);
    for (at, event) in &told.events {
        whole += pause(last, *at, event);
        last = Some(*at);
    }
    milliseconds(whole).max(AT_MOST) / AT_MOST
}

/// What passes before an event, in milliseconds. Between two sessions of a run nothing happened: nobody is to wait for that.
fn pause(last: Option<i64>, at: i64, event: &RunEvent) -> i64 {
    let begins = matches!(event, RunEvent::RunStarted { .. });
    last.filter(|_| !begins)
        .map_or(0, |last| (at - last).max(0))
}

fn milliseconds(ms: i64) -> f64 {
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX))
}

/// How time passes for whoever looks.
trait Time {
    /// Since some moment.
    fn now(&self) -> Duration;
    /// Lets it pass.
    fn sleep(&mut self, time: Duration);
}

/// The time of clocks.
struct Real(Instant);

impl Time for Real {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Tells the events, each at its time; without a speed one right after the other.
fn play(
    told: &Replayed,
    clock: &AtomicI64,
    pace: Option<(f64, &mut dyn Time)>,
    reporter: &mut dyn Reporter,
) -> ReportResult {
    for note in &told.notes {
        reporter.note(note)?;
    }
    let mut pace = pace.map(|(speed, time)| Pace {
        speed,
        began: time.now(),
        time,
        passed: 0,
    });
    let mut last = None;
    for (seq, (at, event)) in (0..).zip(&told.events) {
        if let Some(pace) = &mut pace {
            pace.wait(pause(last, *at, event), clock, reporter)?;
        }
        last = Some(*at);
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

/// How fast a run is told.
struct Pace<'a> {
    speed: f64,
    time: &'a mut dyn Time,
    began: Duration,
    /// Milliseconds of the run that were waited for so far.
    passed: i64,
}

impl Pace<'_> {
    /// Lets so many milliseconds of the run pass. When each event is due is counted from the beginning, so that what telling takes adds to
    /// no pause.
    fn wait(&mut self, ms: i64, clock: &AtomicI64, reporter: &mut dyn Reporter) -> ReportResult {
        let from = clock.load(Ordering::Relaxed);
        let whole =
            |ms: i64, speed: f64| Duration::from_secs_f64(milliseconds(ms) / 1000.0 / speed);
        let before = self.began + whole(self.passed, self.speed);
        self.passed += ms;
        let due = self.began + whole(self.passed, self.speed);
        loop {
            let now = self.time.now();
            if now >= due {
                return Ok(());
            }
            let passed = now.saturating_sub(before).as_secs_f64() * self.speed;
            let passed = Duration::from_secs_f64(passed).as_millis();
            clock.store(from + i64::try_from(passed).unwrap_or(0), Ordering::Relaxed);
            reporter.tick()?;
            self.time.sleep(TICK.min(due.saturating_sub(now)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::base::RunId;
    use crate::event::{Counts, RunStatus};

    /// Time that passes when somebody sleeps, and takes a little for each look at it.
    #[derive(Default)]
    struct Virtual(Arc<Mutex<Duration>>);

    impl Time for Virtual {
        fn now(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        fn sleep(&mut self, time: Duration) {
            *self.0.lock().unwrap() += time;
        }
    }

    /// Notes when it was told of what, and how often it could draw.
    #[derive(Default)]
    struct Noting {
        now: Arc<Mutex<Duration>>,
        clock: Arc<AtomicI64>,
        told: Vec<u128>,
        /// What time of the run it was at each picture.
        drawn: Vec<i64>,
    }

    impl Reporter for Noting {
        fn event(&mut self, _: &Envelope) -> ReportResult {
            let mut now = self.now.lock().unwrap();
            self.told.push(now.as_millis());
            // Telling takes time, too.
            *now += Duration::from_millis(3);
            Ok(())
        }

        fn tick(&mut self) -> ReportResult {
            self.drawn.push(self.clock.load(Ordering::Relaxed));
            Ok(())
        }
    }

    fn started() -> RunEvent {
        RunEvent::RunStarted {
            pipeline: "p".to_owned(),
            tasks: Vec::new(),
            growing: false,
            output_dir: "/p".into(),
            expected: std::collections::BTreeMap::new(),
        }
    }

    fn finished() -> RunEvent {
        RunEvent::RunFinished {
            status: RunStatus::Done,
            exit_code: 0,
            counts: Counts::default(),
            cause: None,
            latest: None,
            up_to_date: false,
            resume: None,
            seconds: 0.0,
        }
    }

    fn executing() -> RunEvent {
        RunEvent::TaskExecuting { task: "a".into() }
    }

    fn told(events: Vec<(i64, RunEvent)>) -> Replayed {
        Replayed {
            run: RunId::from("r"),
            notes: Vec::new(),
            events,
        }
    }

    fn played(told: &Replayed, speed: f64) -> Noting {
        let mut time = Virtual::default();
        let mut noting = Noting {
            now: Arc::clone(&time.0),
            ..Noting::default()
        };
        let clock = Arc::clone(&noting.clock);
        play(told, &clock, Some((speed, &mut time)), &mut noting).unwrap();
        noting
    }

    #[test]
    fn each_event_is_told_at_its_time_and_a_picture_is_drawn_ten_times_a_second() {
        let run = told(vec![
            (5_000, started()),
            (5_500, executing()),
            (7_000, finished()),
        ]);
        let noting = played(&run, 1.0);
        assert_eq!(noting.told, [0, 500, 2_000]);
        assert_eq!(noting.drawn.len(), 20);
        assert_eq!(&noting.drawn[..3], [5_003, 5_103, 5_203]);
        assert!(noting.drawn.is_sorted() && noting.drawn.iter().all(|at| *at < 7_000));
    }

    #[test]
    fn at_twenty_times_the_speed_it_takes_a_twentieth() {
        let run = told(vec![
            (0, started()),
            (40_000, executing()),
            (60_000, finished()),
        ]);
        let noting = played(&run, 20.0);
        assert_eq!(noting.told, [0, 2_000, 3_000]);
        assert_eq!(noting.drawn.len(), 30);
    }

    #[test]
    fn a_long_run_takes_ten_seconds_and_the_night_before_it_went_on_none() {
        const NIGHT: i64 = 8 * 3_600_000;
        let run = told(vec![
            (0, started()),
            (50_000, finished()),
            (NIGHT, started()),
            (NIGHT + 150_000, finished()),
        ]);
        assert!((usual(&run) - 20.0).abs() < 1e-9);
        let noting = played(&run, usual(&run));
        assert_eq!(noting.told, [0, 2_500, 2_503, 10_000]);
        let short = told(vec![(0, started()), (900, finished())]);
        assert!((usual(&short) - 1.0).abs() < 1e-9, "as it was");
    }
}
