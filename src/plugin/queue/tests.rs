//! What waits, what is left out, and what is ended.

use std::sync::mpsc::{Receiver, channel};

use proptest::prelude::*;

use super::*;

const USUAL: Duration = Duration::from_secs(30);

fn tell(queue: &Queue, weight: Weight) {
    say(queue, "", weight);
}

fn say(queue: &Queue, what: &str, weight: Weight) {
    let heard = Heard::Event(Bytes::copy_from_slice(what.as_bytes()));
    queue.push(Item::Heard(heard), weight);
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

/// The call that was taken; 0 for something to hear, all of which is done then.
fn taken(queue: &Queue) -> u64 {
    let mut batch = VecDeque::new();
    match queue.take(USUAL, &mut batch) {
        Some(Work::Call { id, .. }) => id,
        Some(Work::Hear) => {
            for _ in 1..batch.len() {
                assert!(queue.turn());
            }
            0
        }
        _ => panic!("neither a call nor an event"),
    }
}

/// What there is to hear until something else waits, or nothing.
fn heard(queue: &Queue) -> Vec<String> {
    let mut all = Vec::new();
    while queue.left() > 0 {
        let mut batch = VecDeque::new();
        match queue.take(USUAL, &mut batch) {
            Some(Work::Hear) => all.extend(batch.drain(..).map(|heard| match heard {
                Heard::Event(told) => String::from_utf8(told.to_vec()).unwrap(),
                Heard::Preview(..) => panic!("nobody showed anything"),
            })),
            Some(Work::Call { id, .. }) => all.push(format!("call {id}")),
            _ => panic!("nothing to do"),
        }
        queue.done(None);
    }
    all
}

fn latest(name: &str) -> Weight {
    Weight::Latest(("run", name.into()))
}

#[test]
fn of_what_stands_for_each_other_only_the_latest_waits_and_nothing_grows() {
    let queue = Queue::new();
    for _ in 0..100_000 {
        tell(&queue, latest("a"));
        tell(&queue, latest("b"));
    }
    let waiting = queue.lock();
    assert_eq!((waiting.count, waiting.latest.len()), (2, 2));
    assert!(
        waiting.entries.len() <= 2 * BATCH,
        "what was replaced is gone"
    );
    drop(waiting);
    assert!(!queue.is_full());
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
        let mut left = Vec::new();
        while other.is_full() {
            taken(&other);
            other.done(None);
            left.push(other.left());
        }
        left
    });
    room.await.unwrap();
    let left = worked.await.unwrap();
    assert_eq!(left.len(), (2 * FULL - FULL / 2) / BATCH);
    assert_eq!(left.last(), Some(&(FULL / 2)));
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
    let mut batch = VecDeque::new();
    assert!(matches!(queue.take(USUAL, &mut batch), Some(Work::End)));
    queue.ended();
    assert!(queue.take(USUAL, &mut batch).is_none());
}

#[test]
fn events_are_taken_many_at_a_time_and_none_of_them_passes_a_call() {
    let queue = Queue::new();
    for _ in 0..BATCH + 3 {
        tell(&queue, Weight::Kept);
    }
    let call = ask(&queue, 7, None);
    tell(&queue, Weight::Kept);
    let mut lengths = Vec::new();
    while queue.left() > 0 {
        let mut batch = VecDeque::new();
        match queue.take(USUAL, &mut batch) {
            Some(Work::Call { .. }) => lengths.push(0),
            _ => lengths.push(batch.len()),
        }
        queue.done(Some(Ok(Answer::default())));
    }
    assert_eq!(lengths, [BATCH, 3, 0, 1]);
    assert!(call.answer.recv().unwrap().is_ok());
}

#[test]
fn what_is_left_counts_the_rest_of_a_batch() {
    let queue = Queue::new();
    for _ in 0..5 {
        tell(&queue, Weight::Kept);
    }
    let mut batch = VecDeque::new();
    queue.take(USUAL, &mut batch);
    tell(&queue, Weight::Kept);
    assert_eq!(queue.left(), 6);
    assert!(queue.turn());
    assert_eq!(queue.left(), 5);
    queue.done(None);
    assert_eq!(queue.left(), 1);
}

#[test]
fn each_event_of_a_batch_has_its_own_time() {
    let queue = Queue::new();
    for _ in 0..3 {
        tell(&queue, Weight::Kept);
    }
    let mut batch = VecDeque::new();
    let limit = Duration::from_secs(2);
    queue.take(limit, &mut batch);
    let began = Instant::now();
    let quiet = |_| panic!("there is no call");
    assert_eq!(queue.watch(began + limit, quiet), None);
    assert_eq!(queue.overdue(), Some(limit), "the first one took its time");
    assert!(queue.turn());
    assert_eq!(queue.overdue(), None, "the next one did not");
    let late = began + 3 * limit;
    assert_eq!(
        queue.watch(late, quiet),
        None,
        "it is seen for the first time"
    );
    assert_eq!(queue.watch(late + limit, quiet), None, "it is told");
    let hung = queue.watch(late + limit + grace(limit), quiet).unwrap();
    queue.end(Which::Hung(hung), &Fault::Overdue(limit), || false);
    assert!(
        queue.is_given_up() && !queue.turn(),
        "the third one is never heard"
    );
    assert_eq!(queue.left(), 0);
}

/// A thread that sleeps until there is something to do; what it took.
fn sleeper(queue: &Arc<Queue>) -> std::thread::JoinHandle<usize> {
    let other = Arc::clone(queue);
    let took = std::thread::spawn(move || {
        let mut batch = VecDeque::new();
        other.take(USUAL, &mut batch);
        batch.len()
    });
    while !queue.lock().asleep {
        std::thread::yield_now();
    }
    took
}

#[test]
fn an_event_wakes_nobody_until_somebody_looks_and_a_call_wakes_at_once() {
    let queue = Arc::new(Queue::new());
    queue.is_watched();
    let took = sleeper(&queue);
    for _ in 0..3 {
        tell(&queue, Weight::Kept);
        assert!(queue.lock().asleep);
    }
    assert_eq!(queue.watch(Instant::now(), |_| true), None);
    assert_eq!(took.join().unwrap(), 3);
    queue.done(None);

    let took = sleeper(&queue);
    let _call = ask(&queue, 1, None);
    assert_eq!(took.join().unwrap(), 0);
    queue.done(None);

    // Nor is there anybody who would look.
    let alone = Arc::new(Queue::new());
    let took = sleeper(&alone);
    tell(&alone, Weight::Kept);
    assert_eq!(took.join().unwrap(), 1);
}

#[test]
fn many_events_and_the_end_wake_at_once() {
    let queue = Arc::new(Queue::new());
    queue.is_watched();
    let took = sleeper(&queue);
    for _ in 0..MANY {
        tell(&queue, Weight::Kept);
    }
    assert_eq!(took.join().unwrap(), BATCH);
    queue.done(None);
    while queue.left() > 0 {
        taken(&queue);
        queue.done(None);
    }
    let took = sleeper(&queue);
    queue.close();
    assert_eq!(took.join().unwrap(), 0);
}

#[tokio::test]
async fn whoever_waits_for_a_plugin_wakes_it() {
    let queue = Arc::new(Queue::new());
    queue.is_watched();
    let other = Arc::clone(&queue);
    let took = sleeper(&queue);
    tell(&queue, Weight::Kept);
    let idle = tokio::spawn(async move { other.idle().await });
    assert_eq!(
        tokio::task::spawn_blocking(|| took.join().unwrap())
            .await
            .unwrap(),
        1
    );
    queue.done(None);
    idle.await.unwrap();
}

/// Something that happens to a queue.
#[derive(Clone, Debug)]
enum Deed {
    Kept,
    Latest(u8),
    Spare,
    Call,
    /// The plugin does the next thing, or the next things to hear.
    Done,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        6 => Just(Deed::Kept),
        6 => (0..4_u8).prop_map(Deed::Latest),
        3 => Just(Deed::Spare),
        2 => Just(Deed::Call),
        1 => Just(Deed::Done),
    ];
    prop::collection::vec(deed, 0..2000)
}

proptest! {
    /// Held against a list that does the same in the plainest way.
    #[test]
    fn what_must_be_heard_is_heard_in_order_and_of_the_rest_the_newest(deeds in deeds()) {
        let queue = Queue::new();
        // What waits, and which of it stands for what.
        let mut plain: Vec<(String, Option<u8>)> = Vec::new();
        let mut calls = Vec::new();
        for (nth, deed) in deeds.iter().enumerate() {
            let name = nth.to_string();
            match deed {
                Deed::Kept => {
                    say(&queue, &name, Weight::Kept);
                    plain.push((name, None));
                }
                Deed::Latest(key) => {
                    say(&queue, &name, latest(&key.to_string()));
                    plain.retain(|(_, of)| *of != Some(*key));
                    plain.push((name, Some(*key)));
                }
                Deed::Spare => {
                    say(&queue, &name, Weight::Spare);
                    if plain.len() < SPARE {
                        plain.push((name, None));
                    }
                }
                Deed::Call => {
                    calls.push(ask(&queue, nth as u64, None));
                    plain.push((format!("call {nth}"), None));
                }
                Deed::Done if plain.is_empty() => {}
                Deed::Done => {
                    let calls = |(name, _): &(String, Option<u8>)| name.starts_with("call");
                    let count = plain.iter().take(BATCH).take_while(|one| !calls(one)).count();
                    taken(&queue);
                    queue.done(None);
                    plain.drain(..count.max(1));
                }
            }
            prop_assert_eq!(queue.left(), plain.len());
            prop_assert!(queue.is_full() || plain.len() < FULL);
        }
        let names: Vec<String> = plain.into_iter().map(|(name, _)| name).collect();
        prop_assert_eq!(heard(&queue), names);
        prop_assert!(!queue.is_full());
    }
}
