//! What can be done about a call from outside of the plugin's thread.

use std::io::Write;
use std::process::Child;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::frame::{self, Tag};

/// The process of a plugin, as others than its thread may reach it. Empty for a plugin in this process.
#[derive(Clone, Default)]
pub(super) struct Control {
    process: Arc<Mutex<Option<Process>>>,
}

/// The way to a process.
pub(super) type Way = Arc<Mutex<Box<dyn Write + Send>>>;

/// Closes our end of what leads to a process and back: whoever reads or writes there finds that it has ended.
pub(super) type Hangup = Box<dyn Fn() + Send>;

pub(super) struct Process {
    pub(super) child: Child,
    pub(super) way: Way,
    pub(super) hangup: Hangup,
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// Another process takes the place of the last one.
    pub(super) fn set(&self, process: Process) {
        *lock(&self.process) = Some(process);
    }

    /// Tells the process that nobody waits for a call any more; whether that was told, or there is no process.
    pub(super) fn cancel(&self, call: u64) -> bool {
        let way = lock(&self.process)
            .as_ref()
            .map(|process| Arc::clone(&process.way));
        let Some(way) = way else {
            return true;
        };
        // Who holds it is writing to the process just now.
        let Ok(mut way) = way.try_lock() else {
            return false;
        };
        frame::write(&mut *way, Tag::Cancel, &[&call.to_le_bytes()]).is_ok()
    }

    /// Ends the process; whether there was one. Programs that it started may live on: nothing is read from them.
    pub(super) fn kill(&self) -> bool {
        match &mut *lock(&self.process) {
            Some(process) => {
                let _ = process.child.kill();
                (process.hangup)();
                true
            }
            None => false,
        }
    }

    /// Takes the process, to see how it ended.
    pub(super) fn take(&self) -> Option<Process> {
        lock(&self.process).take()
    }
}
