//! What waits for a plugin: in order, bounded, and with what it is at.
//!
//! Nothing here blocks whoever adds to a queue. Instead [`Queue::room`] lets the run wait, between two decisions, until a plugin that does
//! not keep up has caught up; so what must not be lost is never dropped, and the queue grows no further than what is under way can add.
//! A call that nobody waits for any more is answered when its turn comes, and the plugin never sees it.
//!
//! To wake a thread costs more than most plugins do with an event. So what nobody waits for, events and previews, wakes nobody: whoever
//! looks after the time that plugins take ([`Queue::watch`], forty times a second) also wakes the one that has something to hear, and it
//! takes [`BATCH`] at a time. A call, the end, whoever waits for a plugin, and a queue that fills wake it at once.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use super::fault::Fault;
use super::order::{Answer, Hear, Reply};

/// Items that may wait before the run does.
pub(super) const FULL: usize = 1024;
/// Of these, how many may be such as can be left out: they alone never make the run wait.
const SPARE: usize = FULL / 2;
/// So many wait for nobody who wakes the plugin at the next look.
const MANY: usize = FULL / 4;
/// Events that are taken at a time.
pub(super) const BATCH: usize = 64;

/// Which items stand for each other: of those with one key, only the latest counts.
pub(super) type Key = (&'static str, Arc<str>);

/// Something to do.
pub(super) enum Item {
    /// Something to hear.
    Heard(Heard),
    /// A hook to call.
    Call(Order),
    /// The end.
    End,
}

/// What a plugin hears and nobody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// An event, as it crosses the edge.
    Event(Bytes),
    /// A preview: what is known of it, and the picture.
    Preview(Bytes, Bytes),
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
    /// The number of its turn; see [`Queue::turn`].
    turn: u64,
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
    turn: u64,
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

/// One that waits.
struct Entry {
    /// They are numbered as they come.
    number: u64,
    key: Option<Key>,
    /// `None`: another one took its place.
    item: Option<Item>,
}

struct Waiting {
    /// By number.
    entries: VecDeque<Entry>,
    /// How many of them still count.
    count: usize,
    /// The number of the next item.
    next: u64,
    /// By key: the number of the item that the next one replaces.
    latest: HashMap<Key, u64>,
    busy: Option<Busy>,
    /// The worker sleeps, and nobody has woken it yet.
    asleep: bool,
    /// Nothing is taken any more.
    closed: bool,
    /// The worker has ended.
    ended: bool,
}

impl Waiting {
    fn add(&mut self, key: Option<Key>, item: Item) {
        self.entries.push_back(Entry {
            number: self.next,
            key,
            item: Some(item),
        });
        self.next += 1;
        self.count += 1;
    }

    /// Takes an item out of the row, wherever it stands.
    fn remove(&mut self, number: u64) -> Option<Item> {
        let at = self.entries.partition_point(|entry| entry.number < number);
        let entry = self.entries.get_mut(at).filter(|e| e.number == number)?;
        let item = entry.item.take()?;
        self.count -= 1;
        // What is empty goes before there is more of it than of all else.
        if self.entries.len() > 2 * self.count + BATCH {
            self.entries.retain(|entry| entry.item.is_some());
        }
        Some(item)
    }

    /// Takes the first item, if it is meant.
    fn first(&mut self, meant: impl Fn(&Item) -> bool) -> Option<Item> {
        loop {
            let entry = self.entries.front()?;
            if !entry.item.as_ref().is_none_or(&meant) {
                return None;
            }
            let Entry { number, key, item } = self.entries.pop_front()?;
            let Some(item) = item else {
                continue;
            };
            self.count -= 1;
            if let Some(key) = key
                && self.latest.get(&key) == Some(&number)
            {
                self.latest.remove(&key);
            }
            return Some(item);
        }
    }

    /// Whether the worker must be woken for what waits: from now on it is.
    fn wakes(&mut self) -> bool {
        self.count > 0 && std::mem::take(&mut self.asleep)
    }
}

/// The queue of one plugin.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    /// Rises when it is no longer full, when it is idle, and when it has ended.
    changed: Notify,
    full: AtomicBool,
    /// Somebody looks regularly, so that events need wake nobody.
    watched: AtomicBool,
    /// Counts whatever the plugin was ever at: a call, or one event of a batch.
    turn: AtomicU64,
    /// What was taken and is not done.
    taken: AtomicUsize,
    given_up: AtomicBool,
}

/// What the worker is to do.
pub(super) enum Work {
    /// To hear what is in its batch, each after [`Queue::turn`] said so.
    Hear,
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
                entries: VecDeque::new(),
                count: 0,
                next: 0,
                latest: HashMap::new(),
                busy: None,
                asleep: false,
                closed: false,
                ended: false,
            }),
            filled: Condvar::new(),
            changed: Notify::new(),
            full: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            turn: AtomicU64::new(0),
            taken: AtomicUsize::new(0),
            given_up: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on somebody calls [`Queue::watch`] again and again.
    pub(super) fn is_watched(&self) {
        self.watched.store(true, Ordering::Relaxed);
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
        let key = match weight {
            Weight::Spare if waiting.count >= SPARE => return,
            Weight::Latest(key) => {
                let number = waiting.next;
                if let Some(old) = waiting.latest.insert(key.clone(), number) {
                    waiting.remove(old);
                }
                Some(key)
            }
            Weight::Spare | Weight::Kept => None,
        };
        let patient = matches!(item, Item::Heard(_)) && self.watched.load(Ordering::Relaxed);
        waiting.add(key, item);
        if waiting.count >= FULL {
            self.full.store(true, Ordering::Relaxed);
        }
        let wakes = (!patient || waiting.count >= MANY) && waiting.wakes();
        drop(waiting);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Wakes a worker that sleeps although there is something to do.
    fn hurry(&self) {
        let wakes = self.lock().wakes();
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Whether the run should wait.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Waits for something to do; `None` when the plugin was given up. What is to be heard is put into the batch, which is empty.
    pub(super) fn take(&self, usual: Duration, batch: &mut VecDeque<Heard>) -> Option<Work> {
        let mut waiting = self.lock();
        loop {
            match waiting.first(|_| true) {
                Some(Item::Call(order)) if order.cancelled.load(Ordering::Relaxed) => {
                    waiting = self.turned_away(waiting, order);
                }
                Some(item) => {
                    let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
                    let (work, busy) = begun(turn, item, usual, batch);
                    while !batch.is_empty() && batch.len() < BATCH {
                        match waiting.first(|item| matches!(item, Item::Heard(_))) {
                            Some(Item::Heard(heard)) => batch.push_back(heard),
                            _ => break,
                        }
                    }
                    self.taken.store(batch.len().max(1), Ordering::Relaxed);
                    waiting.busy = Some(busy);
                    self.relieve(waiting);
                    return Some(work);
                }
                None if waiting.closed => return None,
                None => {
                    waiting.asleep = true;
                    waiting = self
                        .filled
                        .wait(waiting)
                        .unwrap_or_else(PoisonError::into_inner);
                    waiting.asleep = false;
                }
            }
        }
    }

    /// One of the batch is done, and the next one comes; `false` when the plugin was given up in the meantime.
    pub(super) fn turn(&self) -> bool {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        self.turn.fetch_add(1, Ordering::Relaxed);
        !self.given_up.load(Ordering::Relaxed)
    }

    /// Answers a call that nobody waits for any more.
    fn turned_away<'a>(
        &'a self,
        waiting: MutexGuard<'a, Waiting>,
        order: Order,
    ) -> MutexGuard<'a, Waiting> {
        let idle = waiting.count == 0;
        self.relieve(waiting);
        (order.reply)(Err(Fault::Cancelled));
        if idle {
            self.changed.notify_waiters();
        }
        self.lock()
    }

    /// Lets the run go on when there is room again.
    fn relieve(&self, waiting: MutexGuard<'_, Waiting>) {
        let relieved = waiting.count <= FULL / 2 && self.full.swap(false, Ordering::Relaxed);
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
        self.taken.store(0, Ordering::Relaxed);
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

    /// Looks whether the plugin is in time, and wakes it if it has something to hear. Of a call that nobody waits for any more, `pass_on`
    /// tells the plugin; whether it could.
    pub(super) fn watch(&self, now: Instant, pass_on: impl FnOnce(u64) -> bool) -> Option<Hung> {
        let mut waiting = self.lock();
        if waiting.wakes() {
            drop(waiting);
            self.filled.notify_one();
            return None;
        }
        let turn = self.turn.load(Ordering::Relaxed);
        let busy = waiting.busy.as_mut()?;
        if busy.turn != turn {
            // It is at another event of its batch, since some time after the last look.
            (busy.turn, busy.since, busy.told) = (turn, now, None);
        }
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
        (now.saturating_duration_since(told) >= grace(limit)).then_some(Hung { turn, limit })
    }

    /// Whether the time of what the plugin is at is over.
    pub(super) fn overdue(&self) -> Option<Duration> {
        let waiting = self.lock();
        let busy = waiting.busy.as_ref()?;
        let same = busy.turn == self.turn.load(Ordering::Relaxed);
        busy.told.filter(|_| same).and(busy.limit)
    }

    /// Ends what the plugin is at, if it is still at that: its process, which `kill` can, or with it the plugin. A call that only waits
    /// for its turn is answered, and costs nobody anything.
    pub(super) fn end(&self, which: Which, fault: &Fault, kill: impl FnOnce() -> bool) {
        let mut waiting = self.lock();
        let is_at = waiting.busy.as_ref().is_some_and(|busy| match which {
            Which::Call(call) => busy.call == Some(call),
            Which::Hung(hung) => self.turn.load(Ordering::Relaxed) == hung.turn,
        });
        if !is_at {
            let waits = waiting.entries.iter().find_map(|entry| {
                let item = entry.item.as_ref();
                let meant =
                    matches!(item, Some(Item::Call(order)) if which == Which::Call(order.id));
                meant.then_some(entry.number)
            });
            if let Some(Item::Call(order)) = waits.and_then(|at| waiting.remove(at)) {
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
        let entries = std::mem::take(&mut waiting.entries);
        waiting.count = 0;
        waiting.latest.clear();
        self.full.store(false, Ordering::Relaxed);
        self.given_up.store(true, Ordering::Relaxed);
        drop(waiting);
        if let Some(reply) = busy.and_then(|busy| busy.reply) {
            reply(Err(fault.clone()));
        }
        for entry in entries {
            if let Some(Item::Call(order)) = entry.item {
                (order.reply)(Err(Fault::GivenUp));
            }
        }
        self.filled.notify_one();
        self.changed.notify_waiters();
    }

    /// How many things are to be done yet, with what the plugin is at.
    pub(super) fn left(&self) -> usize {
        let waiting = self.lock();
        let taken = self.taken.load(Ordering::Relaxed);
        waiting.count + if waiting.busy.is_some() { taken } else { 0 }
    }

    /// Whether it was given up. The worker asks this after what may have taken long.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    /// Whether it was given up, or has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Takes nothing any more, and ends after what waits.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        if !waiting.closed {
            // Under one lock: nothing may come to lie behind the end, where nobody would answer it.
            waiting.add(None, Item::End);
            waiting.closed = true;
        }
        drop(waiting);
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
        self.hurry();
        self.until(|waiting| waiting.count < FULL || waiting.closed)
            .await;
    }

    /// Waits until everything is done.
    pub(super) async fn idle(&self) {
        self.hurry();
        self.until(|waiting| waiting.ended || waiting.count == 0 && waiting.busy.is_none())
            .await;
    }

    /// Waits until the worker has ended.
    pub(super) async fn gone(&self) {
        self.until(|waiting| waiting.ended).await;
    }
}

/// An item whose turn has come.
fn begun(turn: u64, item: Item, usual: Duration, batch: &mut VecDeque<Heard>) -> (Work, Busy) {
    let mut busy = Busy {
        turn,
        since: Instant::now(),
        limit: Some(usual),
        call: None,
        cancelled: None,
        passed_on: false,
        reply: None,
        told: None,
    };
    let work = match item {
        Item::Heard(heard) => {
            batch.push_back(heard);
            Work::Hear
        }
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
