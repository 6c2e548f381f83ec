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

pub(super) struct Process {
    pub(super) child: Child,
    pub(super) way: Way,
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Control {
    /// Another process takes the place of the last one.
    pub(super) fn set(&self, process: Process) {
        *lock(&self.process) = Some(process);
    }

    /// Tells the process that nobody waits for a call any more.
    pub(super) fn cancel(&self, call: u64) {
        let way = lock(&self.process)
            .as_ref()
            .map(|process| Arc::clone(&process.way));
        // Who holds it is being written to, and so does not read: it would not hear of this either.
        if let Some(way) = way
            && let Ok(mut way) = way.try_lock()
        {
            let _ = frame::write(&mut *way, Tag::Cancel, &[&call.to_le_bytes()]);
        }
    }

    /// Ends the process; whether there was one.
    pub(super) fn kill(&self) -> bool {
        match &mut *lock(&self.process) {
            Some(process) => {
                let _ = process.child.kill();
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
