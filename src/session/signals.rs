//! Ctrl-C and SIGTERM: the first asks to stop, the second leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::run::Stop;

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
        tokio::spawn(forward(sender, Arc::clone(&terminated)));
        Self { stop, terminated }
    }

    /// The exit code of an interrupted run: 143 after SIGTERM, else 130.
    pub(super) fn exit_code(&self) -> u8 {
        if self.terminated.load(Ordering::Relaxed) {
            143
        } else {
            130
        }
    }
}

#[cfg(unix)]
async fn forward(sender: watch::Sender<Stop>, terminated: Arc<AtomicBool>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    for stop in [Stop::Cancel, Stop::Leave] {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => terminated.store(true, Ordering::Relaxed),
        }
        let _ = sender.send(stop);
    }
}

#[cfg(not(unix))]
async fn forward(sender: watch::Sender<Stop>, _terminated: Arc<AtomicBool>) {
    for stop in [Stop::Cancel, Stop::Leave] {
        if tokio::signal::ctrl_c().await.is_err() {
            return;
        }
        let _ = sender.send(stop);
    }
}
