//! What waits for a plugin: in order, bounded, and with what it is at.
//!
//! Nothing here blocks whoever adds to a queue. Instead [`Queue::room`] lets the run wait, between two decisions, until a plugin that does
//! not keep up has caught up; so what must not be lost is never dropped, and the queue grows no further than what is under way can add.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::fault::Fault;
use super::order::{Answer, Reply};
use super::told::Told;

/// Items that may wait before the run does.
pub(super) const FULL: usize = 1024;

/// Which items stand for each other: of those with one key, only the latest counts.
pub(super) type Key = (&'static str, String);

/// Something to do.
pub(super) enum Item {
    /// An event to hand over.
    Event(Arc<Told>),
    /// A preview to hand over.
    Preview(Arc<Told>, bytes::Bytes),
    /// A hook to call.
    Call(Order),
    /// The end.
    End,
}

/// A call that was asked for.
pub(super) struct Order {
    pub(super) id: u64,
    pub(super) hook: &'static str,
    pub(super) request: Vec<u8>,
    pub(super) limit: Option<Duration>,
    pub(super) cancelled: Arc<AtomicBool>,
    pub(super) reply: Reply,
}

/// What the plugin is at.
struct Busy {
    since: Instant,
    limit: Option<Duration>,
    /// The call, when it is one.
    call: Option<u64>,
    cancelled: Option<Arc<AtomicBool>>,
    reply: Option<Reply>,
    /// When it was told that its time is over.
    told: Option<Instant>,
}

/// What the watch over a plugin found.
pub(super) enum Watched {
    /// All is well, as far as one can tell.
    Fine,
    /// Its time is over; it was told just now, if it asks.
    Over(Option<u64>),
    /// Its time is over, and it does not care.
    Hung(Duration),
}

struct Waiting {
    items: VecDeque<Option<Item>>,
    /// The number of the first item.
    first: u64,
    /// By key: the number of the item that the next one replaces.
    latest: HashMap<Key, u64>,
    count: usize,
    busy: Option<Busy>,
    /// Nothing is taken any more.
    closed: bool,
    /// The worker has ended.
    ended: bool,
}

/// The queue of one plugin.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    /// Rises when it is no longer full, when it is idle, and when it has ended.
    changed: Notify,
    full: AtomicBool,
}

/// An item with what is needed to end it.
pub(super) struct Taken {
    pub(super) item: Work,
}

/// What the worker is to do.
pub(super) enum Work {
    Event(Arc<Told>),
    Preview(Arc<Told>, bytes::Bytes),
    Call {
        id: u64,
        hook: &'static str,
        request: Vec<u8>,
        cancelled: Arc<AtomicBool>,
    },
    End,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                items: VecDeque::new(),
                first: 0,
                latest: HashMap::new(),
                count: 0,
                busy: None,
                closed: false,
                ended: false,
            }),
            filled: Condvar::new(),
            changed: Notify::new(),
            full: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item. One with a key takes the place of the last one with that key, if that still waits. A call to a plugin that was given
    /// up is answered at once.
    pub(super) fn push(&self, item: Item, key: Option<Key>) {
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            if let Item::Call(order) = item {
                (order.reply)(Err(Fault::GivenUp));
            }
            return;
        }
        if let Some(key) = key {
            let number = waiting.first + waiting.items.len() as u64;
            if let Some(old) = waiting.latest.insert(key, number)
                && let Some(at) = old.checked_sub(waiting.first)
                && let Some(place) = usize::try_from(at)
                    .ok()
                    .and_then(|at| waiting.items.get_mut(at))
                && place.take().is_some()
            {
                waiting.count -= 1;
            }
        }
        waiting.items.push_back(Some(item));
        waiting.count += 1;
        let idle = waiting.busy.is_none();
        if waiting.count >= FULL {
            self.full.store(true, Ordering::Relaxed);
        }
        drop(waiting);
        // A worker that is at something looks by itself before it sleeps.
        if idle {
            self.filled.notify_one();
        }
    }

    /// Whether something that may be left out should be.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Waits for something to do; `None` when the plugin was given up.
    pub(super) fn take(&self, usual: Duration) -> Option<Taken> {
        let mut waiting = self.lock();
        let item = loop {
            if waiting.closed && waiting.count == 0 {
                return None;
            }
            match waiting.items.pop_front() {
                Some(item) => {
                    waiting.first += 1;
                    if let Some(item) = item {
                        break item;
                    }
                }
                None => {
                    waiting = self
                        .filled
                        .wait(waiting)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        waiting.count -= 1;
        if waiting.items.is_empty() {
            waiting.latest.clear();
        }
        let mut busy = Busy {
            since: Instant::now(),
            limit: Some(usual),
            call: None,
            cancelled: None,
            reply: None,
            told: None,
        };
        let item = match item {
            Item::Event(told) => Work::Event(told),
            Item::Preview(told, picture) => Work::Preview(told, picture),
            Item::End => Work::End,
            Item::Call(order) => {
                busy.limit = order.limit;
                busy.call = Some(order.id);
                busy.cancelled = Some(Arc::clone(&order.cancelled));
                busy.reply = Some(order.reply);
                Work::Call {
                    id: order.id,
                    hook: order.hook,
                    request: order.request,
                    cancelled: order.cancelled,
                }
            }
        };
        waiting.busy = Some(busy);
        let relieved = waiting.count <= FULL / 2 && self.full.swap(false, Ordering::Relaxed);
        drop(waiting);
        if relieved {
            self.changed.notify_waiters();
        }
        Some(Taken { item })
    }

    /// What was taken is done; `false` when the plugin was given up in the meantime.
    pub(super) fn done(&self, answer: Option<Result<Answer, Fault>>) -> bool {
        let mut waiting = self.lock();
        if waiting.closed && waiting.busy.is_none() {
            return false;
        }
        let busy = waiting.busy.take();
        let idle = waiting.count == 0;
        drop(waiting);
        if let (Some(reply), Some(answer)) = (busy.and_then(|busy| busy.reply), answer) {
            reply(answer);
        }
        if idle {
            self.changed.notify_waiters();
        }
        true
    }

    /// Looks whether the plugin is in time.
    pub(super) fn watch(&self, now: Instant) -> Watched {
        let mut waiting = self.lock();
        let Some(busy) = &mut waiting.busy else {
            return Watched::Fine;
        };
        let Some(limit) = busy.limit else {
            return Watched::Fine;
        };
        match busy.told {
            None if now.saturating_duration_since(busy.since) >= limit => {
                busy.told = Some(now);
                if let Some(cancelled) = &busy.cancelled {
                    cancelled.store(true, Ordering::Relaxed);
                }
                Watched::Over(busy.call)
            }
            Some(told) if now.saturating_duration_since(told) >= grace(limit) => {
                Watched::Hung(limit)
            }
            _ => Watched::Fine,
        }
    }

    /// Whether the time of what the plugin is at is over.
    pub(super) fn overdue(&self) -> Option<Duration> {
        let waiting = self.lock();
        let busy = waiting.busy.as_ref()?;
        busy.told.and(busy.limit)
    }

    /// Gives the plugin up: whatever waits is answered, and what it is at is nobody's business any more.
    pub(super) fn give_up(&self, fault: &Fault) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let busy = waiting.busy.take();
        let items = std::mem::take(&mut waiting.items);
        waiting.count = 0;
        waiting.ended = true;
        self.full.store(false, Ordering::Relaxed);
        drop(waiting);
        if let Some(reply) = busy.and_then(|busy| busy.reply) {
            reply(Err(fault.clone()));
        }
        for item in items.into_iter().flatten() {
            if let Item::Call(order) = item {
                (order.reply)(Err(Fault::GivenUp));
            }
        }
        self.filled.notify_one();
        self.changed.notify_waiters();
    }

    /// Whether it was given up, or has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes nothing any more, and ends after what waits.
    pub(super) fn close(&self) {
        self.push(Item::End, None);
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// The worker has ended.
    pub(super) fn ended(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.ended = true;
        waiting.busy = None;
        drop(waiting);
        self.changed.notify_waiters();
    }

    async fn until(&self, good: impl Fn(&Waiting) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if good(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until it is no longer full.
    pub(super) async fn room(&self) {
        self.until(|waiting| waiting.count < FULL || waiting.closed)
            .await;
    }

    /// Waits until everything is done.
    pub(super) async fn idle(&self) {
        self.until(|waiting| waiting.ended || waiting.count == 0 && waiting.busy.is_none())
            .await;
    }

    /// Waits until the worker has ended.
    pub(super) async fn gone(&self) {
        self.until(|waiting| waiting.ended).await;
    }
}

/// How long a plugin whose time is over may take to notice.
fn grace(limit: Duration) -> Duration {
    limit.clamp(Duration::from_millis(100), Duration::from_secs(1))
}
