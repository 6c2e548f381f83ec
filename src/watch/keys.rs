//! Single keys from the terminal, without the Return key and without an echo.

use tokio::sync::mpsc::UnboundedReceiver;

use super::orders::Key;
use crate::report::tty::Hold;

/// Keys as they are pressed, until this is dropped.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) pressed: UnboundedReceiver<Key>,
    _terminal: Hold,
}

#[cfg(not(unix))]
impl Keys {
    /// There are none here.
    pub(super) fn listen() -> Option<Self> {
        None
    }
}

#[cfg(unix)]
mod unix {
    use std::io::{ErrorKind, Stdin};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::{Key, Keys};
    use crate::report::tty::{Hold, Typing, is_ours, take_up};

    /// How often it is looked whether the terminal is ours (again).
    const PAUSE: Duration = Duration::from_millis(200);

    impl Keys {
        /// Listens from now on; `None` when nobody sits there. It takes a runtime.
        pub(in crate::watch) fn listen() -> Option<Self> {
            let terminal = Hold::take(Typing::Keys)?;
            let (tell, pressed) = unbounded_channel();
            std::thread::spawn(move || read(&std::io::stdin(), &tell));
            Some(Self {
                pressed,
                _terminal: terminal,
            })
        }
    }

    /// Reads while kiln is in the foreground: from the background it would be stopped for that.
    fn read(stdin: &Stdin, tell: &UnboundedSender<Key>) {
        let mut away = false;
        loop {
            if !is_ours() {
                away = true;
                std::thread::sleep(PAUSE);
                continue;
            }
            if std::mem::take(&mut away) {
                // The shell tells a job that ran in the background nothing when it is brought back.
                take_up();
            }
            match typed(stdin) {
                Ok(keys) => {
                    if keys.into_iter().any(|key| tell.send(key).is_err()) {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// What was typed by now. It is read past the buffer of [`Stdin`], in which bytes would wait that nobody is told of.
    fn typed(stdin: &Stdin) -> std::io::Result<Vec<Key>> {
        if !is_there(stdin)? {
            return Ok(Vec::new());
        }
        let mut bytes = [0; 64];
        match rustix::io::read(stdin, &mut bytes)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            read => Ok(bytes[..read].iter().copied().filter_map(Key::of).collect()),
        }
    }

    /// Whether something was typed; this waits for it for a moment.
    fn is_there(stdin: &Stdin) -> std::io::Result<bool> {
        let mut typed = [PollFd::new(stdin, PollFlags::IN)];
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: PAUSE.subsec_nanos().into(),
        };
        let ready = poll(&mut typed, Some(&pause))?;
        Ok(ready > 0 && is_ours())
    }
}
