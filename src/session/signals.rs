//! Ctrl-C and SIGTERM: the first asks to stop, the second leaves, and nothing that is stuck may hold that up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::event::StopReason;
use crate::run::Stop;

/// How long leaving may take before the process ends where it stands, for instance in the middle of a write that nobody reads.
const LEAVING: Duration = Duration::from_secs(3);

/// What signals asked for.
#[derive(Debug)]
pub(super) struct Signals {
    /// How urgently to stop.
    pub(super) stop: watch::Receiver<Stop>,
    terminated: Arc<AtomicBool>,
}

impl Signals {
    /// Listens from now on for as long as the runtime lives.
    pub(super) fn listen() -> Self {
        let (sender, stop) = watch::channel(Stop::None);
        let terminated = Arc::new(AtomicBool::new(false));
        survive_file_limits();
        if let Ok(heard) = Heard::new() {
            tokio::spawn(forward(heard, sender, Arc::clone(&terminated)));
        }
        Self { stop, terminated }
    }

    /// The exit code of an interrupted run: 143 after SIGTERM, else 130.
    pub(super) fn exit_code(&self) -> u8 {
        exit_code(&self.terminated)
    }

    /// Which signal came.
    pub(super) fn reason(&self) -> StopReason {
        if self.terminated.load(Ordering::Relaxed) {
            StopReason::Terminate
        } else {
            StopReason::Interrupt
        }
    }

    /// Waits until stopping is at least this urgent.
    pub(super) async fn at_least(&self, urgency: Stop) {
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

fn exit_code(terminated: &AtomicBool) -> u8 {
    if terminated.load(Ordering::Relaxed) {
        143
    } else {
        130
    }
}

async fn forward(mut heard: Heard, sender: watch::Sender<Stop>, terminated: Arc<AtomicBool>) {
    for stop in [Stop::Cancel, Stop::Leave] {
        heard.next(&terminated).await;
        sender.send_replace(stop);
    }
    tokio::select! {
        () = heard.next(&terminated) => {}
        () = tokio::time::sleep(LEAVING) => {}
    }
    std::process::exit(i32::from(exit_code(&terminated)));
}

/// The signals that end a run.
#[cfg(unix)]
struct Heard {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Heard {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self, terminated: &AtomicBool) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => terminated.store(true, Ordering::Relaxed),
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

    async fn next(&mut self, _terminated: &AtomicBool) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
