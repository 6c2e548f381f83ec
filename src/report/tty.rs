//! How the terminal takes what is typed while live lines stand on it: an echo would move them, and a Return would leave one behind.
//!
//! Signals stay what they are: Ctrl-C, Ctrl-\\ and Ctrl-Z are the terminal's own. How the terminal was before is put back when the
//! [`Hold`] is dropped, also while a panic unwinds, and by [`restore`] where the process ends without that.

/// What becomes of what is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typing {
    /// It is not shown, and is there for whoever reads the terminal next.
    Hidden,
    /// It is not shown, and each key can be read at once.
    Keys,
}

/// The terminal, until this is dropped.
#[derive(Debug)]
pub struct Hold(());

impl Drop for Hold {
    fn drop(&mut self) {
        restore();
    }
}

#[cfg(unix)]
pub(super) use unix::brought_back;
#[cfg(unix)]
pub use unix::{is_ours, restore, take_up};

#[cfg(unix)]
impl Hold {
    /// Takes the terminal; `None` when nobody sits there. It takes a runtime.
    pub fn take(typing: Typing) -> Option<Self> {
        unix::take(typing).then_some(Self(()))
    }
}

#[cfg(not(unix))]
mod others {
    /// There is nothing to put back.
    pub fn restore() {}

    /// There is no background.
    pub fn is_ours() -> bool {
        true
    }

    /// Nothing stops a program there.
    pub(in crate::report) fn brought_back() -> usize {
        0
    }
}

#[cfg(not(unix))]
pub(super) use others::brought_back;
#[cfg(not(unix))]
pub use others::{is_ours, restore};

#[cfg(not(unix))]
impl Hold {
    /// There is nothing to take here.
    pub fn take(_typing: Typing) -> Option<Self> {
        None
    }
}

#[cfg(unix)]
mod unix {
    use std::io::IsTerminal;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use rustix::process::{Signal, getpgrp, getpid, kill_process};
    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
    };
    use tokio::signal::unix::{SignalKind, signal};

    use super::Typing;

    /// What a process says that Ctrl-\ has ended.
    const QUIT: i32 = 131;

    /// How the terminal was, and how it is to be meanwhile.
    static BEFORE: Mutex<Option<(Termios, Typing)>> = Mutex::new(None);
    static BROUGHT_BACK: AtomicUsize = AtomicUsize::new(0);

    fn before() -> MutexGuard<'static, Option<(Termios, Typing)>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the process was stopped and brought back.
    pub(in crate::report) fn brought_back() -> usize {
        BROUGHT_BACK.load(Ordering::Relaxed)
    }

    /// Puts the terminal back. One that belongs to another program by now is left to it.
    pub fn restore() {
        lend();
        before().take();
    }

    /// Whether kiln is in the foreground of its terminal, if it has one: in the background it would be stopped for asking.
    pub fn is_ours() -> bool {
        let group = tcgetpgrp(std::io::stdin()).or_else(|_| tcgetpgrp(std::io::stderr()));
        group.map_or(true, |group| group == getpgrp())
    }

    pub(super) fn take(typing: Typing) -> bool {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() || !std::io::stderr().is_terminal() || !is_ours() {
            return false;
        }
        let Ok(then) = tcgetattr(&stdin) else {
            return false;
        };
        *before() = Some((then, typing));
        take_up();
        tokio::spawn(heed_signals());
        true
    }

    /// Makes the terminal what it is to be, whatever was done to it since.
    pub fn take_up() {
        let before = before();
        let Some((then, typing)) = before.as_ref().filter(|_| is_ours()) else {
            return;
        };
        let mut modes = then.clone();
        modes.local_modes -= LocalModes::ECHO | LocalModes::ECHONL;
        if *typing == Typing::Keys {
            modes.local_modes -= LocalModes::ICANON;
            modes.special_codes[SpecialCodeIndex::VMIN] = 1;
            modes.special_codes[SpecialCodeIndex::VTIME] = 0;
        }
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &modes);
    }

    /// Makes it what it was, for a while.
    fn lend() {
        if let Some((then, _)) = before().as_ref()
            && is_ours()
        {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, then);
        }
    }

    /// Ctrl-Z: the shell gets the terminal as it was; when it is ours again, so is what is typed. Ctrl-\ ends the process, and nothing else.
    async fn heed_signals() {
        let hear = |wanted: Signal| signal(SignalKind::from_raw(wanted.as_raw()));
        let (Ok(mut stopped), Ok(mut resumed), Ok(mut quit)) =
            (hear(Signal::TSTP), hear(Signal::CONT), hear(Signal::QUIT))
        else {
            return;
        };
        loop {
            tokio::select! {
                _ = stopped.recv() => {
                    lend();
                    let _ = kill_process(getpid(), Signal::STOP);
                }
                _ = resumed.recv() => {
                    BROUGHT_BACK.fetch_add(1, Ordering::Relaxed);
                    take_up();
                }
                _ = quit.recv() => {
                    restore();
                    std::process::exit(QUIT);
                }
            }
        }
    }
}
