//! Single keys from the terminal, without the Return key and without an echo.
//!
//! Signals stay what they are: Ctrl-C, Ctrl-\ and Ctrl-Z are the terminal's own. How the terminal was before is put back when this is
//! dropped, also while a panic unwinds, and by [`restore`] where the process ends without that.

use tokio::sync::mpsc::UnboundedReceiver;

use super::orders::Key;

/// Keys as they are pressed.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) pressed: UnboundedReceiver<Key>,
}

impl Drop for Keys {
    fn drop(&mut self) {
        restore();
    }
}

#[cfg(unix)]
pub(super) use unix::restore;

/// There is nothing to put back.
#[cfg(not(unix))]
pub(super) fn restore() {}

#[cfg(not(unix))]
impl Keys {
    /// There are none here.
    pub(super) fn listen() -> Option<Self> {
        None
    }
}

#[cfg(unix)]
mod unix {
    use std::io::{ErrorKind, IsTerminal, Read, Stdin};
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use rustix::process::{Signal, getpgrp, getpid, kill_process};
    use rustix::termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
    };
    use tokio::signal::unix::{SignalKind, signal};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::{Key, Keys};

    /// How the terminal was.
    static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

    fn before() -> MutexGuard<'static, Option<Termios>> {
        BEFORE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the terminal back. One that belongs to another program by now is left to it.
    pub(in crate::watch) fn restore() {
        let stdin = std::io::stdin();
        if let Some(then) = before().take()
            && is_ours(&stdin)
        {
            let _ = tcsetattr(&stdin, OptionalActions::Now, &then);
        }
    }

    /// Whether kiln is in the foreground: from the background it would be stopped for asking.
    fn is_ours(stdin: &Stdin) -> bool {
        tcgetpgrp(stdin).is_ok_and(|group| group == getpgrp())
    }

    fn single_keys(stdin: &Stdin, then: &Termios) {
        let mut keys = then.clone();
        keys.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        keys.special_codes[SpecialCodeIndex::VMIN] = 1;
        keys.special_codes[SpecialCodeIndex::VTIME] = 0;
        let _ = tcsetattr(stdin, OptionalActions::Now, &keys);
    }

    impl Keys {
        /// Listens from now on; `None` when nobody sits there. It takes a runtime.
        pub(in crate::watch) fn listen() -> Option<Self> {
            let stdin = std::io::stdin();
            if !stdin.is_terminal() || !std::io::stderr().is_terminal() || !is_ours(&stdin) {
                return None;
            }
            let then = tcgetattr(&stdin).ok()?;
            *before() = Some(then.clone());
            single_keys(&stdin, &then);
            tokio::spawn(pause_and_resume(then));
            let (tell, pressed) = unbounded_channel();
            std::thread::spawn(move || read(stdin, &tell));
            Some(Self { pressed })
        }
    }

    /// Ctrl-Z: the shell gets the terminal as it was. When it is ours again, so are its keys, whatever was done to it meanwhile.
    async fn pause_and_resume(then: Termios) {
        let hear = |wanted: Signal| signal(SignalKind::from_raw(wanted.as_raw()));
        let (Ok(mut stopped), Ok(mut resumed)) = (hear(Signal::TSTP), hear(Signal::CONT)) else {
            return;
        };
        loop {
            let stops = tokio::select! {
                _ = stopped.recv() => true,
                _ = resumed.recv() => false,
            };
            let stdin = std::io::stdin();
            if before().is_none() {
                return;
            }
            if !stops && is_ours(&stdin) {
                single_keys(&stdin, &then);
            }
            if stops {
                if is_ours(&stdin) {
                    let _ = tcsetattr(&stdin, OptionalActions::Now, &then);
                }
                let _ = kill_process(getpid(), Signal::STOP);
            }
        }
    }

    fn read(mut stdin: Stdin, tell: &UnboundedSender<Key>) {
        let mut byte = [0];
        loop {
            match stdin.read(&mut byte) {
                Ok(0) => return,
                Ok(_) => {
                    if let Some(key) = Key::of(byte[0])
                        && tell.send(key).is_err()
                    {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}
