//! The queue and the history behind one lock: at no moment is a job in neither or in both.
//!
//! Every change sends its `status` message while the lock is held, so that the counts reach each client in the order in which they came about.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Map, Number, Value, json};

use super::history::{Ended, History};
use super::sockets::{self, Sockets, To};
use super::state::lock;
use crate::base::NodeId;
use crate::workflow::Graph;

/// A job as it was accepted.
#[derive(Debug)]
pub(super) struct Job {
    /// Its place in the queue; lowest first.
    pub(super) number: Number,
    /// Its id.
    pub(super) id: String,
    /// The graph after the server's coercion.
    pub(super) graph: Graph,
    /// What came beside the graph, without secrets, plus `client_id` and `create_time`.
    pub(super) extra_data: Map<String, Value>,
    /// The output nodes to run.
    pub(super) targets: Vec<NodeId>,
    /// When it was accepted, in milliseconds since 1970.
    pub(super) created: i64,
    /// Set to stop it at its next node.
    pub(super) interrupt: AtomicBool,
    /// The node that runs now.
    pub(super) node: Mutex<Option<NodeId>>,
    /// The exception that its first node raises, when it is to fail.
    pub(super) fault: Option<&'static str>,
}

impl Job {
    /// The client that gets its messages.
    pub(super) fn client(&self) -> Option<&str> {
        self.extra_data.get("client_id").and_then(Value::as_str)
    }

    /// The five members that `/queue` and `/history` show.
    pub(super) fn tuple(&self) -> Value {
        json!([
            self.number,
            self.id,
            self.graph,
            self.extra_data,
            self.targets
        ])
    }

    fn key(&self, arrival: u64) -> Key {
        let number = self.number.as_f64().unwrap_or_default();
        // The order of floats as the order of integers; -0 and 0 are one.
        let bits = (number + 0.0).to_bits().cast_signed();
        let order = bits ^ (((bits >> 63).cast_unsigned()) >> 1).cast_signed();
        (order, self.id.clone(), arrival)
    }
}

/// Number, then id, then arrival.
type Key = (i64, String, u64);

/// The queue, the running jobs and the history.
#[derive(Debug)]
pub(super) struct Board {
    inner: Mutex<Inner>,
    wake: Condvar,
    sockets: Arc<Sockets>,
}

#[derive(Debug, Default)]
struct Inner {
    pending: BTreeMap<Key, Arc<Job>>,
    running: Vec<Arc<Job>>,
    history: History,
    arrivals: u64,
    counter: i64,
    free: bool,
    stopped: bool,
}

impl Inner {
    fn remaining(&self) -> usize {
        self.pending.len() + self.running.len()
    }
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum Next {
    /// Run a job.
    Run(Arc<Job>),
    /// Forget cached results.
    Free,
    /// End.
    Stop,
}

/// Everything that is known of the jobs at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Running jobs, oldest first.
    pub(super) running: Vec<Arc<Job>>,
    /// Waiting jobs in their order.
    pub(super) pending: Vec<Arc<Job>>,
    /// Ended jobs, oldest first.
    pub(super) ended: Vec<Arc<Ended>>,
}

/// Where a job is.
#[derive(Debug)]
pub(super) enum Found {
    /// Waiting.
    Pending(Arc<Job>),
    /// Running.
    Running(Arc<Job>),
    /// Ended.
    Ended(Arc<Ended>),
}

impl Board {
    /// An empty board.
    pub(super) fn new(sockets: Arc<Sockets>) -> Self {
        Self {
            inner: Mutex::default(),
            wake: Condvar::new(),
            sockets,
        }
    }

    /// The next number of the counter; a refused prompt takes one too.
    pub(super) fn number(&self) -> i64 {
        let mut inner = lock(&self.inner);
        let number = inner.counter;
        inner.counter += 1;
        number
    }

    /// Puts a job into the queue.
    pub(super) fn put(&self, job: Arc<Job>) {
        let mut inner = lock(&self.inner);
        let arrival = inner.arrivals;
        inner.arrivals += 1;
        inner.pending.insert(job.key(arrival), job);
        self.tell(&inner);
        self.wake.notify_one();
    }

    /// Waits for something to do.
    pub(super) fn next(&self) -> Next {
        let mut inner = lock(&self.inner);
        loop {
            if inner.stopped {
                return Next::Stop;
            }
            if std::mem::take(&mut inner.free) {
                return Next::Free;
            }
            if let Some((_, job)) = inner.pending.pop_first() {
                inner.running.push(Arc::clone(&job));
                self.tell(&inner);
                return Next::Run(job);
            }
            inner = self
                .wake
                .wait(inner)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }

    /// Moves a job from the running ones to the history.
    pub(super) fn done(&self, ended: Ended) {
        let mut inner = lock(&self.inner);
        if let Some(at) = inner
            .running
            .iter()
            .position(|job| Arc::ptr_eq(job, &ended.job))
        {
            inner.running.remove(at);
        }
        inner.history.insert(ended);
        self.tell(&inner);
    }

    /// Removes the first waiting job of an id.
    pub(super) fn delete(&self, id: &str) -> bool {
        let mut inner = lock(&self.inner);
        let Some(key) = inner.pending.keys().find(|key| key.1 == id).cloned() else {
            return false;
        };
        inner.pending.remove(&key);
        self.tell(&inner);
        true
    }

    /// Removes all waiting jobs.
    pub(super) fn clear(&self) {
        let mut inner = lock(&self.inner);
        inner.pending.clear();
        self.tell(&inner);
    }

    /// Interrupts the running job of an id, or all running jobs.
    pub(super) fn interrupt(&self, id: Option<&str>) -> bool {
        let inner = lock(&self.inner);
        let mut any = false;
        for job in &inner.running {
            if id.is_none_or(|id| id == job.id) {
                any |= !job.interrupt.swap(true, Ordering::Relaxed);
            }
        }
        any
    }

    /// Interrupts a running job or removes a waiting one, in one move. Whether there was anything to do.
    pub(super) fn cancel(&self, id: &str) -> bool {
        let inner = lock(&self.inner);
        if let Some(job) = inner.running.iter().find(|job| job.id == id) {
            return !job.interrupt.swap(true, Ordering::Relaxed);
        }
        drop(inner);
        self.delete(id)
    }

    /// Like [`Board::cancel`], but a waiting job leaves a record that says so.
    pub(super) fn cancel_for_the_record(&self, id: &str) -> bool {
        let mut inner = lock(&self.inner);
        if let Some(job) = inner.running.iter().find(|job| job.id == id) {
            return !job.interrupt.swap(true, Ordering::Relaxed);
        }
        let Some(key) = inner.pending.keys().find(|key| key.1 == id).cloned() else {
            return false;
        };
        if let Some(job) = inner.pending.remove(&key) {
            inner.history.insert(Ended::unstarted(job));
        }
        self.tell(&inner);
        true
    }

    /// Lets the next free worker forget what is cached.
    pub(super) fn free(&self) {
        lock(&self.inner).free = true;
        self.wake.notify_one();
    }

    /// Ends the workers: running jobs stop at their next node, waiting ones are dropped.
    pub(super) fn stop(&self) {
        let mut inner = lock(&self.inner);
        inner.stopped = true;
        inner.pending.clear();
        for job in &inner.running {
            job.interrupt.store(true, Ordering::Relaxed);
        }
        self.wake.notify_all();
    }

    /// How many jobs wait or run.
    pub(super) fn remaining(&self) -> usize {
        lock(&self.inner).remaining()
    }

    /// The running and the waiting jobs.
    pub(super) fn queued(&self) -> (Vec<Arc<Job>>, Vec<Arc<Job>>) {
        let inner = lock(&self.inner);
        (
            inner.running.clone(),
            inner.pending.values().cloned().collect(),
        )
    }

    /// All jobs.
    pub(super) fn snapshot(&self) -> Snapshot {
        let inner = lock(&self.inner);
        Snapshot {
            running: inner.running.clone(),
            pending: inner.pending.values().cloned().collect(),
            ended: inner.history.all(),
        }
    }

    /// One job. An ended one counts last: an id may be used again.
    pub(super) fn find(&self, id: &str) -> Option<Found> {
        let inner = lock(&self.inner);
        let by_id = |job: &&Arc<Job>| job.id == id;
        if let Some(job) = inner.running.iter().find(by_id) {
            return Some(Found::Running(Arc::clone(job)));
        }
        if let Some(job) = inner.pending.values().find(by_id) {
            return Some(Found::Pending(Arc::clone(job)));
        }
        inner.history.get(id).map(Found::Ended)
    }

    /// An ended job.
    pub(super) fn ended(&self, id: &str) -> Option<Arc<Ended>> {
        lock(&self.inner).history.get(id)
    }

    /// Forgets an ended job, or all of them.
    pub(super) fn forget(&self, id: Option<&str>) {
        let mut inner = lock(&self.inner);
        match id {
            Some(id) => inner.history.remove(id),
            None => inner.history.clear(),
        }
    }

    /// Takes a client in. Its first message and every later `status` agree, since no job moves meanwhile.
    pub(super) fn connect(&self, sid: String) -> sockets::Registered {
        let inner = lock(&self.inner);
        let mut first = vec![sockets::text(
            "status",
            &sockets::status(inner.remaining(), Some(&sid)),
        )];
        let own = inner.running.iter().find(|job| job.client() == Some(&sid));
        if let Some(node) = own.and_then(|job| lock(&job.node).clone()) {
            first.push(sockets::text("executing", &json!({ "node": node })));
        }
        self.sockets.register(sid, first)
    }

    fn tell(&self, inner: &Inner) {
        self.sockets.send(
            To::Everyone,
            "status",
            &sockets::status(inner.remaining(), None),
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn job(id: &str, number: impl Into<Value>) -> Arc<Job> {
        let Value::Number(number) = number.into() else {
            panic!("no number")
        };
        Arc::new(Job {
            number,
            id: id.into(),
            graph: Graph::default(),
            extra_data: Map::new(),
            targets: Vec::new(),
            created: 0,
            interrupt: AtomicBool::new(false),
            node: Mutex::new(None),
            fault: None,
        })
    }

    fn board() -> Board {
        Board::new(Arc::new(Sockets::new(false, false)))
    }

    fn next(board: &Board) -> String {
        match board.next() {
            Next::Run(job) => job.id.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_lowest_number_comes_first_and_equal_ones_by_id() {
        let board = board();
        for (id, number) in [
            ("e", json!(3)),
            ("b", json!(-1.5)),
            ("a", json!(-100.0)),
            ("d", json!(0.5)),
            ("z", json!(0)),
            ("c", json!(0)),
        ] {
            board.put(job(id, number));
        }
        let order: Vec<String> = (0..6).map(|_| next(&board)).collect();
        assert_eq!(order, ["a", "b", "c", "z", "d", "e"]);
    }

    #[test]
    fn a_waiting_job_is_removed_and_a_running_one_interrupted() {
        let board = board();
        board.put(job("runs", 0));
        board.put(job("waits", 1));
        let Next::Run(running) = board.next() else {
            panic!()
        };
        assert!(!board.delete("runs"), "delete spares the running job");
        assert!(board.cancel("runs"));
        assert!(!board.cancel("runs"), "it is already being interrupted");
        assert!(running.interrupt.load(Ordering::Relaxed));
        assert!(board.cancel("waits"));
        assert!(
            board.find("waits").is_none(),
            "a removed job leaves no trace"
        );
        assert!(!board.cancel("unknown"));
    }

    #[test]
    fn an_interrupt_without_id_reaches_only_what_runs() {
        let board = board();
        board.put(job("runs", 0));
        board.put(job("waits", 1));
        let Next::Run(running) = board.next() else {
            panic!()
        };
        assert!(!board.interrupt(Some("waits")));
        assert!(board.interrupt(None));
        assert!(running.interrupt.load(Ordering::Relaxed));
        let Next::Run(waiting) = board.next() else {
            panic!()
        };
        assert!(!waiting.interrupt.load(Ordering::Relaxed));
    }

    #[test]
    fn a_stopped_board_ends_its_workers() {
        let board = board();
        board.put(job("waits", 0));
        board.stop();
        assert!(matches!(board.next(), Next::Stop));
    }
}
