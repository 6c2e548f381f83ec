//! What waits to be written.
//!
//! The writer is woken when there is something that somebody waits for, and otherwise once for a first thing that nobody does: handing
//! over a note costs a place in a list, not a switch of threads.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::error::StoreError;
use super::writer::{Then, Write};

/// How long something that nobody waits for may lie before it is written.
const LAZY: Duration = Duration::from_millis(100);

/// The most that goes into one transaction.
const MOST: usize = 10_000;

/// Something to be written.
pub(super) struct Work {
    pub(super) write: Write,
    /// Whoever waits for it; what nobody waits for is written together with what somebody does.
    pub(super) ack: Option<oneshot::Sender<Result<(), StoreError>>>,
    /// What is done afterwards.
    pub(super) then: Option<Then>,
}

/// Things to be written, in the order in which they were handed over.
#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Default)]
struct Waiting {
    works: Vec<Work>,
    /// How many of them somebody waits for.
    awaited: usize,
    /// Nothing more is taken.
    closed: bool,
    /// The writer sleeps until it is woken.
    asleep: bool,
}

impl Waiting {
    fn is_due(&self) -> bool {
        self.awaited > 0 || self.works.len() >= MOST || self.closed
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

/// Closes the queue when its writer ends, however it does: what is left is dropped, and whoever waits for it learns that.
pub(super) struct Closing<'a>(&'a Queue);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let left = {
            let mut waiting = self.0.lock();
            waiting.closed = true;
            std::mem::take(&mut waiting.works)
        };
        drop(left);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the writer's thread: see [`Closing`].
    pub(super) fn closing(&self) -> Closing<'_> {
        Closing(self)
    }

    /// Hands something over; it is dropped when the queue is closed.
    pub(super) fn push(&self, work: Work) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        waiting.awaited += usize::from(work.ack.is_some());
        waiting.works.push(work);
        let wakes = waiting.asleep && (waiting.works.len() == 1 || waiting.is_due());
        // It is woken once: until it has looked, everything that comes is found by that look.
        waiting.asleep &= !wakes;
        drop(waiting);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// Everything that has queued up, once somebody waits for some of it or the first has lain long enough; `None` once the queue is
    /// closed and nothing is left.
    pub(super) fn next_group(&self) -> Option<Vec<Work>> {
        let mut waiting = self.lock();
        while waiting.works.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting.asleep = true;
            waiting = self
                .wake
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let until = Instant::now() + LAZY;
        while !waiting.is_due() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            waiting.asleep = true;
            let woken = self.wake.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        waiting.asleep = false;
        let most = waiting.works.len().min(MOST);
        let rest = waiting.works.split_off(most);
        let group = std::mem::replace(&mut waiting.works, rest);
        waiting.awaited -= group.iter().filter(|work| work.ack.is_some()).count();
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn note() -> Work {
        Work {
            write: Box::new(|_| Ok(())),
            ack: None,
            then: None,
        }
    }

    fn awaited() -> (Work, oneshot::Receiver<Result<(), StoreError>>) {
        let (ack, answer) = oneshot::channel();
        let work = Work {
            write: Box::new(|_| Ok(())),
            ack: Some(ack),
            then: None,
        };
        (work, answer)
    }

    #[test]
    fn what_nobody_waits_for_goes_with_the_next_thing_that_somebody_does() {
        let queue = Queue::default();
        queue.push(note());
        queue.push(note());
        let (work, _answer) = awaited();
        queue.push(work);
        assert_eq!(queue.next_group().map(|group| group.len()), Some(3));
        queue.push(note());
        queue.close();
        assert_eq!(queue.next_group().map(|group| group.len()), Some(1));
        assert!(queue.next_group().is_none());
    }

    #[test]
    fn a_note_alone_is_written_all_the_same() {
        let queue = Queue::default();
        queue.push(note());
        assert_eq!(queue.next_group().map(|group| group.len()), Some(1));
    }

    #[test]
    fn a_sleeping_writer_gets_everything_however_it_comes() {
        let queue = Arc::new(Queue::default());
        let taking = Arc::clone(&queue);
        let writer = std::thread::spawn(move || {
            let _closed = taking.closing();
            let mut taken = 0;
            while let Some(group) = taking.next_group() {
                taken += group.len();
                for ack in group.into_iter().filter_map(|work| work.ack) {
                    let _ = ack.send(Ok(()));
                }
            }
            taken
        });
        for round in 0..500 {
            queue.push(note());
            if round % 3 == 0 {
                let (work, answer) = awaited();
                queue.push(work);
                answer.blocking_recv().unwrap().unwrap();
            }
        }
        queue.close();
        assert_eq!(writer.join().unwrap(), 500 + 167);
    }

    #[test]
    fn whoever_waits_for_a_writer_that_ended_learns_it() {
        let queue = Queue::default();
        let (work, answer) = awaited();
        queue.push(work);
        drop(queue.closing());
        assert!(answer.blocking_recv().is_err());
        let (late, answer) = awaited();
        queue.push(late);
        assert!(answer.blocking_recv().is_err());
    }
}
