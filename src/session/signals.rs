//! Ctrl-C, SIGTERM, SIGHUP and `kiln cancel`: the first asks to stop, the second leaves, and nothing that is stuck may hold that up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::event::StopReason;
use crate::run::Stop;

/// How long leaving may take before the process ends where it stands, for instance in the middle of a write that nobody reads.
const LEAVING: Duration = Duration::from_secs(3);

/// What signals asked for.
#[derive(Clone, Debug)]
pub struct Signals {
    /// How urgently to stop.
    pub(super) stop: watch::Receiver<Stop>,
    sender: Arc<watch::Sender<Stop>>,
    asker: Arc<AtomicU8>,
    /// The exit code of a run that is stopped: 143 after SIGTERM or SIGHUP, else 130.
    pub(super) code: Arc<AtomicU8>,
}

/// The exit codes that belong to [`BY`].
const CODES: [u8; 4] = [130, 143, 143, 130];

/// Who asked first; kept as a number so that it can be read and written at any time.
const BY: [StopReason; 4] = [
    StopReason::Interrupt,
    StopReason::Terminate,
    StopReason::Hangup,
    StopReason::Requested,
];

impl Signals {
    /// Listens from now on for as long as the runtime lives. When the process ends where it stands, `at_exit` is called before.
    pub fn listen(at_exit: fn()) -> Self {
        let signals = Self::unheard();
        survive_file_limits();
        if let Ok(heard) = Heard::new() {
            tokio::spawn(forward(
                heard,
                Arc::clone(&signals.sender),
                Arc::clone(&signals.asker),
                Arc::clone(&signals.code),
                at_exit,
            ));
        }
        signals
    }

    /// Hears of no signal but those that are passed on to it.
    pub fn unheard() -> Self {
        let (sender, stop) = watch::channel(Stop::None);
        Self {
            stop,
            sender: Arc::new(sender),
            asker: Arc::new(AtomicU8::new(0)),
            code: Arc::new(AtomicU8::new(CODES[0])),
        }
    }

    /// Passes on what these heard, and how urgent it is.
    pub fn follow(&self, heard: &Self, urgency: Stop) {
        for (own, theirs) in [(&self.asker, &heard.asker), (&self.code, &heard.code)] {
            own.store(theirs.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.sender.send_if_modified(|stop| {
            let rises = *stop < urgency;
            *stop = urgency.max(*stop);
            rises
        });
    }

    /// Another kiln, or the watch, wants the run to stop.
    pub fn request(&self) {
        self.sender.send_if_modified(|stop| {
            let first = *stop == Stop::None;
            if first {
                self.asker.store(3, Ordering::Relaxed);
                *stop = Stop::Cancel;
            }
            first
        });
    }

    /// The exit code of an interrupted run.
    pub fn exit_code(&self) -> u8 {
        self.code.load(Ordering::Relaxed)
    }

    /// Who asked.
    pub(super) fn reason(&self) -> StopReason {
        BY[usize::from(self.asker.load(Ordering::Relaxed)) % BY.len()]
    }

    /// Waits until stopping is at least this urgent.
    pub async fn at_least(&self, urgency: Stop) {
        let mut stop = self.stop.clone();
        if stop.wait_for(|asked| *asked >= urgency).await.is_err() {
            // Nobody listens to signals any more.
            std::future::pending::<()>().await;
        }
    }
}

/// A process limit on file sizes is an error to be told, not a signal that kills the run.
fn survive_file_limits() {
    #[cfg(any(target_os = "linux", target_os = "macos", target_os = "freebsd"))]
    {
        const SIGXFSZ: i32 = 25;
        let kind = tokio::signal::unix::SignalKind::from_raw(SIGXFSZ);
        // Listening once is enough to replace the deadly default for the life of the process.
        let _ = tokio::signal::unix::signal(kind);
    }
}

async fn forward(
    mut heard: Heard,
    sender: Arc<watch::Sender<Stop>>,
    asker: Arc<AtomicU8>,
    code: Arc<AtomicU8>,
    at_exit: fn(),
) {
    loop {
        let by = heard.next().await;
        asker.store(by, Ordering::Relaxed);
        code.store(CODES[usize::from(by) % CODES.len()], Ordering::Relaxed);
        let before = *sender.borrow();
        let stop = match before {
            Stop::None => Stop::Cancel,
            Stop::Cancel | Stop::Leave => Stop::Leave,
        };
        sender.send_replace(stop);
        if stop == Stop::Leave {
            break;
        }
    }
    tokio::select! {
        _ = heard.next() => {}
        () = tokio::time::sleep(LEAVING) => {}
    }
    at_exit();
    std::process::exit(i32::from(code.load(Ordering::Relaxed)));
}

/// Whether whoever started kiln wants it to outlive the terminal.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// The signals that end a run.
#[cfg(unix)]
struct Heard {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// `None` under `nohup`, which wants it ignored.
    hangup: Option<tokio::signal::unix::Signal>,
}

#[cfg(unix)]
impl Heard {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if hangup_is_ignored() {
                None
            } else {
                Some(signal(SignalKind::hangup())?)
            },
        })
    }

    /// The number of the next.
    async fn next(&mut self) -> u8 {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => 0,
            _ = self.terminate.recv() => 1,
            _ = hangup => 2,
        }
    }
}

/// Ctrl-C.
#[cfg(not(unix))]
struct Heard;

#[cfg(not(unix))]
impl Heard {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    /// The number of the next.
    async fn next(&mut self) -> u8 {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        0
    }
}
