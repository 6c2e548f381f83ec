//! What waits, what is left out, and what is ended.

use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::base::RunId;
use crate::event::RunEvent;
use crate::plugin::told::What;

const USUAL: Duration = Duration::from_secs(30);

fn told() -> Arc<Told> {
    Arc::new(Told::new(What::Run {
        event: RunEvent::RunWaiting {
            holder: String::new(),
        },
        run: RunId::from("20261122-141530-k3f9"),
        at: jiff::Timestamp::UNIX_EPOCH,
    }))
}

fn tell(queue: &Queue, weight: Weight) {
    queue.push(Item::Event(told()), weight);
}

/// A call, what cancels it, when it began, and its answer.
struct Asked {
    cancelled: Arc<AtomicBool>,
    begun: Arc<OnceLock<Instant>>,
    answer: Receiver<Result<Answer, Fault>>,
}

fn ask(queue: &Queue, id: u64, limit: Option<Duration>) -> Asked {
    let (send, answer) = channel();
    let asked = Asked {
        cancelled: Arc::default(),
        begun: Arc::default(),
        answer,
    };
    let order = Order {
        id,
        hook: "step",
        request: Vec::new(),
        limit,
        cancelled: Arc::clone(&asked.cancelled),
        begun: Arc::clone(&asked.begun),
        hear: None,
        reply: Box::new(move |answer| drop(send.send(answer))),
    };
    queue.push(Item::Call(order), Weight::Kept);
    asked
}

fn taken(queue: &Queue) -> u64 {
    match queue.take(USUAL) {
        Some(Work::Call { id, .. }) => id,
        Some(Work::Event(_)) => 0,
        _ => panic!("neither a call nor an event"),
    }
}

fn latest(name: &str) -> Weight {
    Weight::Latest(("run", name.to_owned()))
}

#[test]
fn of_what_stands_for_each_other_only_the_latest_waits_and_nothing_grows() {
    let queue = Queue::new();
    for _ in 0..100_000 {
        tell(&queue, latest("a"));
        tell(&queue, latest("b"));
    }
    let waiting = queue.lock();
    assert_eq!((waiting.items.len(), waiting.latest.len()), (2, 2));
    drop(waiting);
    assert!(!queue.is_full());
    taken(&queue);
    queue.done(None);
    taken(&queue);
    queue.done(None);
    assert!(
        queue.lock().latest.is_empty(),
        "what was taken stands for nothing"
    );
}

#[test]
fn what_may_be_left_out_never_makes_the_run_wait() {
    let queue = Queue::new();
    for _ in 0..10_000 {
        tell(&queue, Weight::Spare);
    }
    assert_eq!(queue.left(), SPARE);
    assert!(!queue.is_full());
    tell(&queue, Weight::Kept);
    assert_eq!(queue.left(), SPARE + 1, "what counts is kept");
}

#[tokio::test]
async fn a_full_queue_has_room_again_when_half_of_it_is_done() {
    let queue = Arc::new(Queue::new());
    for _ in 0..2 * FULL {
        tell(&queue, Weight::Kept);
    }
    assert!(queue.is_full());
    assert_eq!(queue.left(), 2 * FULL, "nothing is lost");
    let (other, waits) = (Arc::clone(&queue), Arc::clone(&queue));
    let room = tokio::spawn(async move { waits.room().await });
    let worked = tokio::task::spawn_blocking(move || {
        let mut done = 0;
        while other.is_full() {
            taken(&other);
            other.done(None);
            done += 1;
        }
        done
    });
    room.await.unwrap();
    assert_eq!(worked.await.unwrap(), 2 * FULL - FULL / 2);
}

#[test]
fn a_call_that_nobody_waits_for_any_more_is_answered_and_never_begins() {
    let queue = Queue::new();
    let (one, two) = (ask(&queue, 1, None), ask(&queue, 2, None));
    one.cancelled.store(true, Ordering::Relaxed);
    assert_eq!(taken(&queue), 2);
    assert_eq!(one.answer.recv().unwrap(), Err(Fault::Cancelled));
    assert!(one.begun.get().is_none() && two.begun.get().is_some());
    assert!(queue.done(Some(Ok(Answer::default()))));
    assert!(two.answer.recv().unwrap().is_ok());
}

#[test]
fn to_end_a_call_that_waits_costs_the_one_under_way_nothing() {
    let queue = Queue::new();
    let (one, two) = (ask(&queue, 1, None), ask(&queue, 2, None));
    assert_eq!(taken(&queue), 1);
    queue.end(Which::Call(2), &Fault::Cancelled, || {
        panic!("it is not at that")
    });
    assert_eq!(two.answer.recv().unwrap(), Err(Fault::Cancelled));
    assert!(!queue.is_closed() && one.answer.try_recv().is_err());
    // A process is ended, and its call fails by itself.
    queue.end(Which::Call(1), &Fault::Cancelled, || true);
    assert!(!queue.is_closed() && one.answer.try_recv().is_err());
    queue.end(Which::Call(1), &Fault::Cancelled, || false);
    assert_eq!(one.answer.recv().unwrap(), Err(Fault::Cancelled));
    assert!(queue.is_closed());
    assert!(
        !queue.done(Some(Ok(Answer::default()))),
        "nobody wants that any more"
    );
    let late = ask(&queue, 3, None);
    assert_eq!(late.answer.recv().unwrap(), Err(Fault::GivenUp));
}

#[test]
fn a_call_beyond_its_time_is_told_so_until_it_was_heard_and_hangs_a_while_later() {
    let queue = Queue::new();
    let limit = Duration::from_millis(200);
    let asked = ask(&queue, 1, Some(limit));
    assert_eq!(taken(&queue), 1);
    let began = *asked.begun.get().unwrap();
    assert_eq!(queue.watch(began, |_| panic!("it has time")), None);
    let over = began + limit;
    assert_eq!(queue.watch(over, |_| false), None);
    assert!(asked.cancelled.load(Ordering::Relaxed));
    let mut passed = Vec::new();
    for _ in 0..3 {
        assert_eq!(
            queue.watch(over, |call| {
                passed.push(call);
                true
            }),
            None
        );
    }
    assert_eq!(passed, [1], "once it was heard, nobody says it again");
    assert_eq!(queue.overdue(), Some(limit));
    let hung = queue.watch(over + grace(limit), |_| true).unwrap();
    assert_eq!(hung.limit, limit);
    // It came back after all, and the plugin is at something else.
    queue.done(Some(Err(Fault::Cancelled)));
    tell(&queue, Weight::Kept);
    taken(&queue);
    queue.end(Which::Hung(hung), &Fault::Overdue(limit), || {
        panic!("it is not at that")
    });
    assert!(!queue.is_closed());
}

#[test]
fn a_closed_queue_ends_after_what_waits() {
    let queue = Queue::new();
    tell(&queue, Weight::Kept);
    queue.close();
    tell(&queue, Weight::Kept);
    assert_eq!(taken(&queue), 0);
    queue.done(None);
    assert!(matches!(queue.take(USUAL), Some(Work::End)));
    queue.ended();
    assert!(queue.take(USUAL).is_none());
}
