//! What waits for a plugin: in order, bounded, and with what it is at.
//!
//! Nothing here blocks whoever adds to a queue. Instead [`Queue::room`] lets the run wait, between two decisions, until a plugin that does
//! not keep up has caught up; so what must not be lost is never dropped, and the queue grows no further than what is under way can add.
//! A call that nobody waits for any more is answered when its turn comes, and the plugin never sees it.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::fault::Fault;
use super::order::{Answer, Hear, Reply};
use super::told::Told;

/// Items that may wait before the run does.
pub(super) const FULL: usize = 1024;
/// Of these, how many may be such as can be left out: they alone never make the run wait.
const SPARE: usize = FULL / 2;

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

/// What becomes of an item when others wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// It waits for its turn.
    Kept,
    /// It takes the place of the last one with this key, if that still waits.
    Latest(Key),
    /// It is left out when the plugin does not keep up.
    Spare,
}

/// A call that was asked for.
pub(super) struct Order {
    pub(super) id: u64,
    pub(super) hook: &'static str,
    pub(super) request: Vec<u8>,
    pub(super) limit: Option<Duration>,
    pub(super) cancelled: Arc<AtomicBool>,
    /// When its turn came.
    pub(super) begun: Arc<OnceLock<Instant>>,
    pub(super) hear: Option<Hear>,
    pub(super) reply: Reply,
}

/// What the plugin is at.
struct Busy {
    /// The number of its item.
    number: u64,
    since: Instant,
    limit: Option<Duration>,
    /// The call, when it is one.
    call: Option<u64>,
    cancelled: Option<Arc<AtomicBool>>,
    /// It was passed on that nobody waits for the call any more.
    passed_on: bool,
    reply: Option<Reply>,
    /// When it was told that its time is over.
    told: Option<Instant>,
}

/// Whatever the plugin is at that does not care that its time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hung {
    number: u64,
    /// The time that it had.
    pub(super) limit: Duration,
}

/// Which of the things that a plugin may be at is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// A call, by its number.
    Call(u64),
    /// What hung when it was looked at.
    Hung(Hung),
}

struct Waiting {
    /// By number.
    items: BTreeMap<u64, (Option<Key>, Item)>,
    /// The number of the next item.
    next: u64,
    /// By key: the number of the item that the next one replaces.
    latest: HashMap<Key, u64>,
    busy: Option<Busy>,
    /// Nothing is taken any more.
    closed: bool,
    /// The worker has ended.
    ended: bool,
}

impl Waiting {
    /// Takes the first item.
    fn first(&mut self) -> Option<(u64, Item)> {
        let (number, (key, item)) = self.items.pop_first()?;
        if let Some(key) = key
            && self.latest.get(&key) == Some(&number)
        {
            self.latest.remove(&key);
        }
        Some((number, item))
    }
}

/// The queue of one plugin.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    /// Rises when it is no longer full, when it is idle, and when it has ended.
    changed: Notify,
    full: AtomicBool,
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
        hear: Option<Hear>,
    },
    End,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                items: BTreeMap::new(),
                next: 0,
                latest: HashMap::new(),
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

    /// Adds an item. A call to a plugin that was given up is answered at once.
    pub(super) fn push(&self, item: Item, weight: Weight) {
        let mut waiting = self.lock();
        if waiting.closed {
            drop(waiting);
            if let Item::Call(order) = item {
                (order.reply)(Err(Fault::GivenUp));
            }
            return;
        }
        let number = waiting.next;
        let key = match weight {
            Weight::Spare if waiting.items.len() >= SPARE => return,
            Weight::Latest(key) => {
                if let Some(old) = waiting.latest.insert(key.clone(), number) {
                    waiting.items.remove(&old);
                }
                Some(key)
            }
            Weight::Spare | Weight::Kept => None,
        };
        waiting.next += 1;
        waiting.items.insert(number, (key, item));
        let idle = waiting.busy.is_none();
        if waiting.items.len() >= FULL {
            self.full.store(true, Ordering::Relaxed);
        }
        drop(waiting);
        // A worker that is at something looks by itself before it sleeps.
        if idle {
            self.filled.notify_one();
        }
    }

    /// Whether the run should wait.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Waits for something to do; `None` when the plugin was given up.
    pub(super) fn take(&self, usual: Duration) -> Option<Work> {
        let mut waiting = self.lock();
        loop {
            match waiting.first() {
                Some((_, Item::Call(order))) if order.cancelled.load(Ordering::Relaxed) => {
                    waiting = self.turned_away(waiting, order);
                }
                Some((number, item)) => {
                    let (work, busy) = begun(number, item, usual);
                    waiting.busy = Some(busy);
                    self.relieve(waiting);
                    return Some(work);
                }
                None if waiting.closed => return None,
                None => {
                    waiting = self
                        .filled
                        .wait(waiting)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Answers a call that nobody waits for any more.
    fn turned_away<'a>(
        &'a self,
        waiting: MutexGuard<'a, Waiting>,
        order: Order,
    ) -> MutexGuard<'a, Waiting> {
        let idle = waiting.items.is_empty();
        self.relieve(waiting);
        (order.reply)(Err(Fault::Cancelled));
        if idle {
            self.changed.notify_waiters();
        }
        self.lock()
    }

    /// Lets the run go on when there is room again.
    fn relieve(&self, waiting: MutexGuard<'_, Waiting>) {
        let relieved = waiting.items.len() <= FULL / 2 && self.full.swap(false, Ordering::Relaxed);
        drop(waiting);
        if relieved {
            self.changed.notify_waiters();
        }
    }

    /// What was taken is done; `false` when the plugin was given up in the meantime.
    pub(super) fn done(&self, answer: Option<Result<Answer, Fault>>) -> bool {
        let mut waiting = self.lock();
        if waiting.closed && waiting.busy.is_none() {
            return false;
        }
        let busy = waiting.busy.take();
        let idle = waiting.items.is_empty();
        drop(waiting);
        if let (Some(reply), Some(answer)) = (busy.and_then(|busy| busy.reply), answer) {
            reply(answer);
        }
        if idle {
            self.changed.notify_waiters();
        }
        true
    }

    /// Looks whether the plugin is in time. Of a call that nobody waits for any more, `pass_on` tells the plugin; whether it could.
    pub(super) fn watch(&self, now: Instant, pass_on: impl FnOnce(u64) -> bool) -> Option<Hung> {
        let mut waiting = self.lock();
        let busy = waiting.busy.as_mut()?;
        let over = |limit: Duration| now.saturating_duration_since(busy.since) >= limit;
        if busy.told.is_none() && busy.limit.is_some_and(over) {
            busy.told = Some(now);
            if let Some(cancelled) = &busy.cancelled {
                cancelled.store(true, Ordering::Relaxed);
            }
        }
        let cancelled = busy.cancelled.as_ref();
        if let Some(call) = busy.call
            && !busy.passed_on
            && cancelled.is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
        {
            busy.passed_on = pass_on(call);
        }
        let (told, limit) = (busy.told?, busy.limit?);
        let number = busy.number;
        (now.saturating_duration_since(told) >= grace(limit)).then_some(Hung { number, limit })
    }

    /// Whether the time of what the plugin is at is over.
    pub(super) fn overdue(&self) -> Option<Duration> {
        let waiting = self.lock();
        let busy = waiting.busy.as_ref()?;
        busy.told.and(busy.limit)
    }

    /// Ends what the plugin is at, if it is still at that: its process, which `kill` can, or with it the plugin. A call that only waits
    /// for its turn is answered, and costs nobody anything.
    pub(super) fn end(&self, which: Which, fault: &Fault, kill: impl FnOnce() -> bool) {
        let mut waiting = self.lock();
        let is_at = waiting.busy.as_ref().is_some_and(|busy| match which {
            Which::Call(call) => busy.call == Some(call),
            Which::Hung(hung) => busy.number == hung.number,
        });
        if !is_at {
            let waits = waiting.items.iter().find_map(|(number, (_, item))| {
                let meant = matches!(item, Item::Call(order) if which == Which::Call(order.id));
                meant.then_some(*number)
            });
            if let Some((_, Item::Call(order))) = waits.and_then(|at| waiting.items.remove(&at)) {
                drop(self.turned_away(waiting, order));
            }
        } else if !kill() {
            self.gone_with(waiting, fault);
        }
    }

    /// Gives the plugin up: whatever waits is answered, and what it is at is nobody's business any more.
    pub(super) fn give_up(&self, fault: &Fault) {
        self.gone_with(self.lock(), fault);
    }

    fn gone_with(&self, mut waiting: MutexGuard<'_, Waiting>, fault: &Fault) {
        waiting.closed = true;
        waiting.ended = true;
        let busy = waiting.busy.take();
        let items = std::mem::take(&mut waiting.items);
        waiting.latest.clear();
        self.full.store(false, Ordering::Relaxed);
        drop(waiting);
        if let Some(reply) = busy.and_then(|busy| busy.reply) {
            reply(Err(fault.clone()));
        }
        for (_, item) in items.into_values() {
            if let Item::Call(order) = item {
                (order.reply)(Err(Fault::GivenUp));
            }
        }
        self.filled.notify_one();
        self.changed.notify_waiters();
    }

    /// How many things are to be done yet, with what the plugin is at.
    pub(super) fn left(&self) -> usize {
        let waiting = self.lock();
        waiting.items.len() + usize::from(waiting.busy.is_some())
    }

    /// Whether it was given up, or has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes nothing any more, and ends after what waits.
    pub(super) fn close(&self) {
        self.push(Item::End, Weight::Kept);
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
        self.until(|waiting| waiting.items.len() < FULL || waiting.closed)
            .await;
    }

    /// Waits until everything is done.
    pub(super) async fn idle(&self) {
        self.until(|waiting| waiting.ended || waiting.items.is_empty() && waiting.busy.is_none())
            .await;
    }

    /// Waits until the worker has ended.
    pub(super) async fn gone(&self) {
        self.until(|waiting| waiting.ended).await;
    }
}

/// An item whose turn has come.
fn begun(number: u64, item: Item, usual: Duration) -> (Work, Busy) {
    let mut busy = Busy {
        number,
        since: Instant::now(),
        limit: Some(usual),
        call: None,
        cancelled: None,
        passed_on: false,
        reply: None,
        told: None,
    };
    let work = match item {
        Item::Event(told) => Work::Event(told),
        Item::Preview(told, picture) => Work::Preview(told, picture),
        Item::End => Work::End,
        Item::Call(order) => {
            // It is set here and nowhere else.
            let _ = order.begun.set(busy.since);
            busy.limit = order.limit;
            busy.call = Some(order.id);
            busy.cancelled = Some(Arc::clone(&order.cancelled));
            busy.reply = Some(order.reply);
            Work::Call {
                id: order.id,
                hook: order.hook,
                request: order.request,
                cancelled: order.cancelled,
                hear: order.hear,
            }
        }
    };
    (work, busy)
}

/// How long a plugin whose time is over may take to notice.
fn grace(limit: Duration) -> Duration {
    limit.clamp(Duration::from_millis(100), Duration::from_secs(1))
}

#[cfg(test)]
mod tests;
