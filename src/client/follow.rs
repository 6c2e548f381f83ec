//! From submitted to ended: the socket makes it quick, the server's records make it certain.
//!
//! The follower takes messages as they come and asks the records on a rising interval whenever it has not heard of its job for a while. What
//! a message says is never the end: the record is. A job that a reachable server knows is waited for without end, but a long silence is
//! told, and a server whose own log says that nothing will ever run is not waited for.
//!
//! Every wait of this room ends, or proves that what is waited for lives:
//!
//! | wait | ends |
//! |---|---|
//! | for the next message | never by itself: the next question to the records is always due, at most `poll.1` (5 s) later, `poll_deaf` (1 s) without a socket |
//! | for the record that a message announced | after 440 ms; then the records are asked as always |
//! | for the queue, before such a question about a job that waits | 2 s; one answer serves all jobs on the server for a second or more |
//! | for an answer to such a question | 20 s without a byte ([`LOOKUP`](super::records::LOOKUP)) |
//! | for the log of a worker that may be dead | 5 s; asked when nothing was heard for `doubt` (20 s), and twice |
//! | for a server that is away | `lost_after` (2 min, or as its project file says) |
//! | for a job that is absent | `absent` (1 s), then a second look decides |
//! | for a job that was asked to stop | `stop` (2 min) |
//! | for a job that a server says it has | as long as it says so: that answer is the proof. Silence is told after `stall` (5 min) |
//! | for a connection | 5 s for requests, 10 s for a socket, 2 s for its greeting |
//! | for any other answer, or the next bytes of a file | 60 s without a byte |
//! | for a sign of life of the socket | 60 s: it is pinged every 15 s |
//! | before a lost socket is opened again | 5 s at most |
//! | for the end of a socket that is closed | 1 s |

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::error::ClientError;
use super::progress::Progress;
use super::records::Record;
use super::socket::{Pulse, Registered, Signal};
use super::worker::Suspicion;
use crate::base::NodeId;
use crate::protocol::{Event, HistoryEntry, NodeFailure, NodeResult, Verdict};

/// News of a job on its way.
#[derive(Clone, Debug, PartialEq)]
pub enum JobUpdate {
    /// The server began to execute it. Told once.
    Executing,
    /// It waits at this place of the server's queue, from 1. Told when it changes.
    Place(u32),
    /// It moved on.
    Progress {
        /// 0 to 1, never falling.
        fraction: f64,
        /// The node at work.
        node: Option<NodeId>,
    },
    /// A node's own progress text.
    Text {
        /// The node.
        node: NodeId,
        /// The line.
        text: String,
    },
    /// A node blocked what follows it, with a message; the job goes on.
    Blocked(NodeFailure),
    /// The server says that it runs, but nothing has been heard of it for long.
    Stalled {
        /// For how long.
        quiet: Duration,
    },
    /// The server does not answer; kiln goes on trying.
    Unreachable {
        /// Why.
        cause: String,
    },
    /// The server answers again.
    Reachable,
    /// The socket that it was submitted through is gone: how it ends will be known, and no progress on the way.
    Unheard,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Its record says so.
    Succeeded {
        /// Everything its nodes left behind.
        results: Vec<NodeResult>,
        /// Nodes that did not run because the server remembered their results; files of theirs may be gone.
        cached: HashSet<NodeId>,
        /// The output nodes that the server took on, where its record tells.
        taken: Option<HashSet<NodeId>>,
        /// The graph as it was sent, values of secrets and all, where its record tells.
        graph: Option<serde_json::Value>,
    },
    /// A node failed.
    Failed(NodeFailure),
    /// Somebody else stopped it.
    Interrupted,
    /// It was stopped as [`Connection::cancel`] asked.
    Cancelled,
    /// A server that answers does not know it any more.
    Lost,
    /// The server did not answer for too long; the job may still run.
    Unreachable {
        /// The last error.
        cause: String,
    },
    /// It was asked to stop, and the server still says that it runs.
    Stuck,
    /// It will never end: the server itself says that what executes its jobs is dead.
    Stalled {
        /// In what words.
        proof: String,
    },
}

impl Outcome {
    pub(super) fn of(mut entry: HistoryEntry, cancelled: bool) -> Self {
        match entry.verdict() {
            Verdict::Succeeded => Self::Succeeded {
                results: entry.results(),
                cached: entry.cached(),
                taken: entry.taken(),
                graph: entry.take_graph(),
            },
            Verdict::Failed(failure) => Self::Failed(failure),
            Verdict::Interrupted if cancelled => Self::Cancelled,
            Verdict::Interrupted => Self::Interrupted,
        }
    }
}

/// How patient a follower is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timing {
    /// The first and the longest pause between two questions to the records.
    pub(super) poll: (Duration, Duration),
    /// The longest pause when no messages can come.
    pub(super) poll_deaf: Duration,
    /// How far apart two absences must be seen to be believed.
    pub(super) absent: Duration,
    /// How long a server may be away.
    pub(super) lost_after: Duration,
    /// How long a running job may be silent before that is told.
    pub(super) stall: Duration,
    /// How long a job may still run after it was asked to stop.
    pub(super) stop: Duration,
    /// How long nothing may be heard of a job before the server's log is asked whether its worker lives.
    pub(super) doubt: Duration,
    /// How patient the socket is.
    pub(super) pulse: Pulse,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            poll: (Duration::from_millis(250), Duration::from_secs(5)),
            poll_deaf: Duration::from_secs(1),
            absent: Duration::from_millis(1050),
            lost_after: Duration::from_mins(2),
            stall: Duration::from_mins(5),
            stop: Duration::from_mins(2),
            doubt: Duration::from_secs(20),
            pulse: Pulse::default(),
        }
    }
}

/// A record is written right after the message that announces it; these are the pauses before it is looked for, milliseconds.
const RECORD_SOON: [u64; 6] = [0, 2, 8, 30, 100, 300];

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is something else that was heard, told or asked, or not yet"
)]
pub(super) struct Follower<'a> {
    connection: &'a Connection,
    id: &'a str,
    /// `None` when nobody will send any more.
    signals: Option<mpsc::Receiver<Signal>>,
    progress: Progress,
    updates: mpsc::UnboundedSender<JobUpdate>,
    cancels: watch::Receiver<()>,
    timing: Timing,
    deaf: bool,
    executing: bool,
    /// A message said that it ends.
    announced: bool,
    /// The last time it was only looked for among all that wait.
    believed: bool,
    place: Option<u32>,
    pause: Duration,
    next_check: Instant,
    absent_since: Option<Instant>,
    away_since: Option<Instant>,
    cancelled_since: Option<Instant>,
    heard: Instant,
    stall_told: bool,
    next_doubt: Instant,
    suspicion: Option<Suspicion>,
}

/// What a message means for the wait.
enum Turn {
    Wait,
    /// The record should be there.
    Ended,
}

/// The next signal; `None` once, when the last sender is gone.
async fn next(signals: &mut Option<mpsc::Receiver<Signal>>) -> Option<Signal> {
    let signal = match signals {
        Some(open) => open.recv().await,
        None => std::future::pending().await,
    };
    if signal.is_none() {
        *signals = None;
    }
    signal
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        id: &'a str,
        registered: Registered,
        updates: mpsc::UnboundedSender<JobUpdate>,
        timing: Timing,
    ) -> Self {
        let now = Instant::now();
        Self {
            connection,
            id,
            signals: Some(registered.signals),
            progress: registered.progress,
            updates,
            cancels: connection.client().cancels(),
            timing,
            deaf: registered.deaf,
            executing: false,
            announced: false,
            believed: false,
            place: None,
            pause: timing.poll.0,
            // A job that was not submitted through this socket may have ended long ago.
            next_check: if registered.deaf || registered.late {
                now
            } else {
                now + timing.poll.0
            },
            absent_since: None,
            away_since: None,
            cancelled_since: None,
            heard: now,
            stall_told: false,
            next_doubt: now + timing.doubt,
            suspicion: None,
        }
    }

    pub(super) async fn run(mut self) -> Outcome {
        self.note_cancel();
        loop {
            let ended = tokio::select! {
                biased;
                signal = next(&mut self.signals) => match self.take(signal) {
                    Turn::Wait => None,
                    Turn::Ended => self.record_soon().await,
                },
                Ok(()) = self.cancels.changed() => {
                    self.note_cancel();
                    None
                }
                () = sleep_until(self.next_check) => self.reconcile().await,
            };
            if let Some(outcome) = ended {
                return outcome;
            }
        }
    }

    fn tell(&self, update: JobUpdate) {
        let _ = self.updates.send(update);
    }

    fn note_cancel(&mut self) {
        if self.cancelled_since.is_none() && self.connection.client().is_cancelled(self.id) {
            self.cancelled_since = Some(Instant::now());
            self.pause = self.timing.poll.0;
            self.next_check = Instant::now();
        }
    }

    fn take(&mut self, signal: Option<Signal>) -> Turn {
        let event = match signal {
            Some(Signal::Event(event)) => event,
            Some(Signal::Text { node, text }) => {
                self.tell(JobUpdate::Text {
                    node: NodeId(node),
                    text,
                });
                return Turn::Wait;
            }
            Some(Signal::Deaf) | None => {
                self.unheard();
                self.pause = self.timing.poll.0;
                self.next_check = Instant::now() + self.pause;
                return Turn::Wait;
            }
        };
        let now = Instant::now();
        self.heard = now;
        self.stall_told = false;
        self.next_doubt = now + self.timing.doubt;
        self.suspicion = None;
        self.next_check = self
            .next_check
            .max(now + self.pause.max(self.timing.poll.0 * 4));
        match &event {
            Event::Executing { node: None, .. } => return Turn::Ended,
            Event::ExecutionSuccess { .. } | Event::ExecutionInterrupted { .. } => {
                // The message that follows may be lost, or held up by the server's clean-up.
                self.announced = true;
                self.next_check = now + self.timing.poll.0;
            }
            Event::ExecutionError { failure, .. } => {
                if failure.is_block() {
                    self.tell(JobUpdate::Blocked(failure.clone()));
                }
                self.announced = true;
                self.next_check = now + self.timing.poll.0;
            }
            Event::ExecutionStart { .. } => self.began(),
            event => {
                if let Some(step) = self.progress.apply(event) {
                    self.began();
                    self.tell(JobUpdate::Progress {
                        fraction: step.fraction,
                        node: step.node,
                    });
                }
            }
        }
        Turn::Wait
    }

    fn began(&mut self) {
        if !self.executing {
            self.executing = true;
            self.tell(JobUpdate::Executing);
        }
    }

    /// Fetches the record that a message has announced.
    async fn record_soon(&mut self) -> Option<Outcome> {
        self.announced = true;
        for pause in RECORD_SOON {
            // Even an empty sleep takes a millisecond.
            if pause > 0 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            match self.connection.client().ended(self.id).await {
                Ok(Some(entry)) => return Some(self.judge(entry)),
                Ok(None) => {}
                Err(error) => return self.away(&error),
            }
        }
        self.next_check = Instant::now();
        None
    }

    fn judge(&self, entry: HistoryEntry) -> Outcome {
        Outcome::of(entry, self.connection.client().is_cancelled(self.id))
    }

    /// Asks the server's records, and decides when to ask again.
    async fn reconcile(&mut self) -> Option<Outcome> {
        let longest = if self.deaf || self.cancelled_since.is_some() {
            self.timing.poll_deaf
        } else {
            self.timing.poll.1
        };
        self.pause = (self.pause * 2).min(longest);
        let place = self.place().await;
        let client = self.connection.client();
        // That it waits is believed every other time only.
        self.believed = place.is_some() && !self.believed;
        let record = match place {
            Some(_) if self.believed => Ok(Record::Pending),
            Some(_) => client.ended(self.id).await.map(|ended| match ended {
                Some(entry) => Record::Ended(Box::new(entry)),
                None => Record::Pending,
            }),
            None => client.record(self.id).await,
        };
        self.next_check = Instant::now() + self.pause;
        let record = match record {
            Ok(record) => record,
            Err(error) => return self.away(&error),
        };
        if self.away_since.take().is_some() {
            self.tell(JobUpdate::Reachable);
        }
        if !matches!(record, Record::Absent) {
            self.absent_since = None;
        }
        match record {
            Record::Ended(entry) => Some(self.judge(*entry)),
            Record::Absent => self.absent(),
            Record::Pending => {
                self.heard = Instant::now();
                self.tell_place(place);
                // Nobody doubts without having asked.
                if self.believed {
                    None
                } else {
                    self.doubt().await
                }
            }
            Record::Running => {
                self.began();
                match self.running() {
                    Some(outcome) => Some(outcome),
                    None => self.doubt().await,
                }
            }
        }
    }

    /// Where the job stands in the queue, if it waits as far as anybody knows: then nothing else is to be asked of it.
    async fn place(&self) -> Option<u32> {
        let moved = self.executing || self.announced;
        if moved || self.cancelled_since.is_some() || self.absent_since.is_some() {
            return None;
        }
        let connection = self.connection;
        connection.places.of(connection.client(), self.id).await
    }

    fn tell_place(&mut self, place: Option<u32>) {
        if let Some(place) = place
            && self.place != Some(place)
        {
            self.place = Some(place);
            self.tell(JobUpdate::Place(place));
        }
    }

    /// Nothing more will be heard through the socket that the job was submitted through.
    fn unheard(&mut self) {
        if !self.deaf && !self.connection.client().dialect().socket.broadcast {
            self.tell(JobUpdate::Unheard);
        }
        self.deaf = true;
    }

    /// The server says that it has the job, and nothing was heard of it for a while: does what executes jobs still live?
    async fn doubt(&mut self) -> Option<Outcome> {
        let now = Instant::now();
        if now < self.next_doubt {
            self.next_check = self.next_check.min(self.next_doubt);
            return None;
        }
        self.next_doubt = now + self.timing.doubt;
        let client = self.connection.client();
        let Some(proof) = self.connection.log.death(client).await else {
            self.suspicion = None;
            return None;
        };
        let head = client.queue().await.ok()?.running;
        match &self.suspicion {
            // A worker that goes on to the next job, or has nothing to do, is not dead, whatever the log says.
            Some(before) if before.head == head && !head.is_empty() => {
                if before.since.elapsed() >= self.timing.absent {
                    return Some(Outcome::Stalled { proof });
                }
            }
            _ => self.suspicion = Some(Suspicion { since: now, head }),
        }
        self.next_doubt = now + self.timing.absent;
        self.next_check = self.next_check.min(self.next_doubt);
        None
    }

    fn absent(&mut self) -> Option<Outcome> {
        let now = Instant::now();
        let since = *self.absent_since.get_or_insert(now);
        if now.duration_since(since) < self.timing.absent {
            self.next_check = since + self.timing.absent;
            return None;
        }
        // A waiting job that is taken out of the queue leaves no record.
        Some(if self.cancelled_since.is_some() {
            Outcome::Cancelled
        } else {
            Outcome::Lost
        })
    }

    fn running(&mut self) -> Option<Outcome> {
        if self
            .cancelled_since
            .is_some_and(|since| since.elapsed() > self.timing.stop)
        {
            return Some(Outcome::Stuck);
        }
        let quiet = self.heard.elapsed();
        if !self.deaf && !self.stall_told && quiet > self.timing.stall {
            self.stall_told = true;
            self.tell(JobUpdate::Stalled { quiet });
        }
        None
    }

    fn away(&mut self, error: &ClientError) -> Option<Outcome> {
        let now = Instant::now();
        let cause = error.to_string();
        if self.away_since.is_none() {
            self.tell(JobUpdate::Unreachable {
                cause: cause.clone(),
            });
        }
        let since = *self.away_since.get_or_insert(now);
        if now.duration_since(since) >= self.timing.lost_after {
            return Some(Outcome::Unreachable { cause });
        }
        self.next_check = now + self.pause.min(self.timing.poll_deaf * 2);
        None
    }
}
