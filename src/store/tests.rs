use std::path::PathBuf;

use super::*;
use crate::base::RunId;
use crate::event::{Counts, RunStatus};
use crate::machine::Fact;
use crate::machine::{CancelReason, EndpointIx, Ticket};
use crate::plan::Plan;
use crate::plan::TaskIx;

mod kept;
mod power;

fn here(project: &std::path::Path) -> Place {
    let folder = project.join(STATE_FOLDER);
    Place {
        state: folder.clone(),
        folder,
    }
}

async fn begin_run(store: &Store, run: &str) -> Journal {
    let journal = store.begin(&RunId::from(run), &Plan::blank(), 1).unwrap();
    journal
        .append(1, vec![assigned(0)])
        .durable()
        .await
        .unwrap();
    journal
}

fn assigned(task: u32) -> Fact {
    Fact::Assigned {
        ticket: Ticket {
            task: TaskIx(task),
            attempt: 1,
            try_: 1,
        },
        endpoint: EndpointIx(0),
        fresh: false,
    }
}

#[tokio::test]
async fn facts_keep_their_order_however_many_come_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let journal = begin_run(&store, "one").await;
    let mut expected = vec![(1, assigned(0))];
    for (at, count) in (2..).zip([1, 7, 8, 9, 0, 16, 100]) {
        let facts: Vec<Fact> = (0..count).map(|n| assigned(at * 1000 + n)).collect();
        expected.extend(facts.iter().map(|fact| (u64::from(at), fact.clone())));
        let written = journal.append(u64::from(at), facts);
        written.durable().await.unwrap();
    }
    let run = RunId::from("one");
    assert_eq!(store.reader().facts(&run, 0).unwrap(), expected);
    assert_eq!(store.reader().facts(&run, 20).unwrap(), expected[20..]);
}

#[tokio::test]
async fn what_was_acknowledged_is_there_for_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let run = RunId::from("20261122-141530-k3f9");
    let journal = store.begin(&run, &Plan::blank(), 5).unwrap();
    let first = journal.append(6, vec![assigned(0), assigned(1)]);
    let second = journal.append(
        7,
        vec![Fact::Stop {
            reason: CancelReason::Requested,
        }],
    );
    second.durable().await.unwrap();
    first.durable().await.unwrap();

    // The writer is still open: this reads as a second process would.
    let other = Store::open(dir.path()).unwrap();
    let replay = other.replay(&run).unwrap().unwrap();
    assert_eq!(replay.plan, Plan::blank());
    assert_eq!(
        replay.facts,
        [
            (6, assigned(0)),
            (6, assigned(1)),
            (
                7,
                Fact::Stop {
                    reason: CancelReason::Requested
                }
            )
        ]
    );
    assert_eq!(other.runs().unwrap()[0].status, None);
    let finish = journal.finish(9, RunStatus::Cancelled, 130, Counts::default());
    finish.durable().await.unwrap();
    assert_eq!(
        other.runs().unwrap(),
        [StoredRun {
            run,
            pipeline: "shots".to_owned(),
            started: 5,
            finished: Some(9),
            status: Some(RunStatus::Cancelled),
            exit_code: Some(130),
            counts: Some(Counts::default()),
            tasks: Some(0),
            folder: Some(PathBuf::from("/p/outputs/shots/20261122-141530-k3f9")),
        }]
    );
    assert!(other.replay(&RunId::from("none")).unwrap().is_none());
}

#[test]
fn the_state_stays_out_of_git() {
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path()).unwrap();
    let ignore = std::fs::read_to_string(dir.path().join(".kiln/.gitignore")).unwrap();
    assert_eq!(ignore, "*\n");
}

#[test]
fn a_database_of_a_newer_kiln_is_never_written_to() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path()).unwrap());
    let path = dir.path().join(".kiln/kiln.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    connection
        .pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
        .unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Newer {
                found: 99,
                known: 5,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let diagnostic = error.diagnostic();
    assert_eq!(diagnostic.code.id, "K0701");
    assert!(diagnostic.message.contains("newer kiln"));
}

#[test]
fn a_damaged_database_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".kiln")).unwrap();
    std::fs::write(
        dir.path().join(".kiln/kiln.db"),
        "not a database at all ".repeat(200),
    )
    .unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    assert!(error.diagnostic().help[0].contains("move `"));
}

#[test]
fn a_state_folder_that_cannot_be_made_says_why() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(".kiln"), "a file in the way").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, StoreError::Unwritable { .. }), "{error}");
}

#[test]
fn a_second_kiln_on_the_same_outputs_is_told_who_holds_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let outputs = dir.path().join("outputs/shots");
    let run = RunId::from("20261122-141530-k3f9");
    let lock = store.lock(&outputs, &run).unwrap();
    let error = store
        .lock(&outputs, &RunId::from("20261122-141531-aaaa"))
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("run 20261122-141530-k3f9 (process "),
        "{error}"
    );
    assert_eq!(error.diagnostic().code.id, "K0702");
    store
        .lock(&dir.path().join("outputs/other"), &run)
        .expect("another output set is free");
    drop(lock);
    store.lock(&outputs, &run).expect("free again");
}

#[test]
fn the_lock_of_a_dead_process_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let outputs = dir.path().join("outputs/shots");
    std::fs::create_dir_all(&outputs).unwrap();
    let run = RunId::from("20261122-141530-k3f9");
    let lock = store.lock(&outputs, &run).unwrap();
    // What a killed process leaves behind: the lock's file and the note, but nobody who holds them.
    let left: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(&outputs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    assert_eq!(left.len(), 2);
    drop(lock);
    for (path, bytes) in left {
        std::fs::write(path, bytes).unwrap();
    }
    store.lock(&outputs, &run).expect("taken over");
}

#[tokio::test]
async fn two_kilns_may_write_to_one_project() {
    let dir = tempfile::tempdir().unwrap();
    let stores: Vec<Store> = (0..3).map(|_| Store::open(dir.path()).unwrap()).collect();
    let mut acks = Vec::new();
    for (n, store) in stores.iter().enumerate() {
        let run = RunId(format!("run-{n}"));
        let journal = store.begin(&run, &Plan::blank(), 1).unwrap();
        for task in 0..20 {
            acks.push(journal.append(2, vec![assigned(task)]));
        }
    }
    for ack in acks {
        ack.durable().await.unwrap();
    }
    for n in 0..3 {
        let replay = stores[0]
            .replay(&RunId(format!("run-{n}")))
            .unwrap()
            .unwrap();
        assert_eq!(replay.facts.len(), 20);
    }
}

#[test]
fn what_people_read_about_unusable_state() {
    let path = PathBuf::from("/p/.kiln/kiln.db");
    let holder = Holder {
        run: Some(RunId::from("20261122-141530-k3f9")),
        pid: 4711,
        host: "workstation".to_owned(),
    };
    let all = [
        StoreError::Newer {
            path: path.clone(),
            found: 7,
            known: 1,
        },
        StoreError::Damaged {
            path: path.clone(),
            cause: "it is not a database".to_owned(),
        },
        StoreError::Unwritable {
            path,
            cause: "the disk is full".to_owned(),
        },
        StoreError::Locked {
            output_set: PathBuf::from("/p/outputs/shots"),
            holder: holder.clone(),
        },
        StoreError::Running {
            run: RunId::from("20261122-141530-k3f9"),
            holder,
        },
    ];
    let hash = crate::base::ContentHash::of(b"x");
    let blobs = [
        BlobError::Changed {
            path: PathBuf::from("/p/outputs/shots/one/draw/a.png"),
        },
        BlobError::from(crate::base::WriteError::new(
            &PathBuf::from("/p/.kiln/blobs/ab/abcd"),
            std::io::ErrorKind::StorageFull.into(),
        )),
        BlobError::Damaged {
            hash,
            moved: PathBuf::from("/p/.kiln/quarantine/abcd"),
        },
    ];
    let report = crate::diagnostic::Report {
        items: all
            .iter()
            .map(StoreError::diagnostic)
            .chain(blobs.iter().map(BlobError::diagnostic))
            .collect(),
    };
    let sources = crate::diagnostic::SourceMap::default();
    insta::assert_snapshot!(crate::diagnostic::render_human(&report, &sources));
}

#[tokio::test]
async fn a_run_that_goes_on_adds_to_its_journal_and_is_no_longer_ended() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let run = RunId::from("one");
    let journal = begin_run(&store, "one").await;
    let finish = journal.finish(3, RunStatus::Failed, 4, Counts::default());
    finish.durable().await.unwrap();
    assert!(store.process_of(&run).is_some());
    let error = store.resume(&run).unwrap_err();
    assert!(matches!(error, StoreError::Running { .. }), "{error}");
    drop(journal);
    assert!(store.process_of(&run).is_none());

    let (journal, replay) = store.resume(&run).unwrap().unwrap();
    assert_eq!(replay.facts, [(1, assigned(0))]);
    let status = || store.runs().unwrap()[0].status;
    assert_eq!(status(), Some(RunStatus::Failed), "nothing happened yet");
    journal
        .append(4, vec![assigned(1)])
        .durable()
        .await
        .unwrap();
    assert_eq!(status(), None);
    let replay = store.replay(&run).unwrap().unwrap();
    assert_eq!(replay.facts, [(1, assigned(0)), (4, assigned(1))]);
    assert!(store.resume(&RunId::from("none")).unwrap().is_none());
}

#[tokio::test]
async fn another_process_can_ask_a_run_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let run = RunId::from("one");
    let journal = begin_run(&store, "one").await;
    assert!(!store.cancel_requested(&run).unwrap());
    let other = Store::open(dir.path()).unwrap();
    other.request_cancel(&run, 5).durable().await.unwrap();
    assert!(store.cancel_requested(&run).unwrap());
    let finish = journal.finish(6, RunStatus::Cancelled, 130, Counts::default());
    finish.durable().await.unwrap();
    assert!(!store.cancel_requested(&run).unwrap(), "that was then");
    drop(journal);
    // It takes its time to see what is left of it, and can be stopped at once.
    let (journal, _) = store.resume(&run).unwrap().unwrap();
    other.request_cancel(&run, 7).durable().await.unwrap();
    assert!(store.cancel_requested(&run).unwrap());
    journal.append(8, vec![]).durable().await.unwrap();
    assert!(store.cancel_requested(&run).unwrap());
}

#[tokio::test]
async fn a_wish_to_stop_does_not_outlive_the_process_that_died_of_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let run = RunId::from("one");
    let journal = begin_run(&store, "one").await;
    store.request_cancel(&run, 5).durable().await.unwrap();
    drop(journal);
    let _resumed = store.resume(&run).unwrap().unwrap();
    assert!(!store.cancel_requested(&run).unwrap());
}

#[tokio::test]
async fn a_database_of_an_early_kiln_is_read_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(".kiln")).unwrap();
    let path = dir.path().join(".kiln/kiln.db");
    let old = schema::make_old(&path, 1);
    let plan_text = serde_json::to_string(&Plan::blank()).unwrap();
    old.execute(
        "INSERT INTO runs (run, pipeline, plan, started, status) VALUES ('old', 'shots', ?1, 5, 'done')",
        [&plan_text],
    )
    .unwrap();
    let fact = serde_json::to_string(&assigned(0)).unwrap();
    old.execute("INSERT INTO facts VALUES (1, 0, 6, ?1)", [&fact])
        .unwrap();
    drop(old);
    let run = RunId::from("old");
    let reader = read(dir.path()).unwrap().unwrap();
    let found = reader.run(&run).unwrap().unwrap();
    assert_eq!((found.status, found.tasks), (Some(RunStatus::Done), None));
    assert_eq!(reader.facts(&run, 0).unwrap(), [(6, assigned(0))]);
    let store = Store::open(dir.path()).unwrap();
    begin_run(&store, "new").await;
    let runs: Vec<RunId> = store.runs().unwrap().into_iter().map(|r| r.run).collect();
    assert_eq!(runs, [RunId::from("new"), run]);
}

#[test]
fn a_project_without_state_is_read_without_making_any() {
    let dir = tempfile::tempdir().unwrap();
    assert!(read(dir.path()).unwrap().is_none());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn whoever_waits_for_outputs_is_told_for_whom() {
    let dir = tempfile::tempdir().unwrap();
    // Two projects with one folder for their results.
    let projects = [dir.path().join("a"), dir.path().join("b")];
    let [first, second] = projects.map(|project| Store::open(&project).unwrap());
    let outputs = dir.path().join("shared/shots");
    let lock = first.lock(&outputs, &RunId::from("one")).unwrap();
    assert!(second.lock(&outputs, &RunId::from("two")).is_err());
    let mut told = Vec::new();
    let other = RunId::from("two");
    let waiting = second.lock_when_free(&outputs, &other, |holder| {
        told.push(holder.run.clone());
    });
    let release = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        drop(lock);
    };
    let (taken, ()) = tokio::join!(waiting, release);
    drop(taken.unwrap());
    assert_eq!(told, [Some(RunId::from("one"))]);
    assert!(!outputs.exists(), "an empty folder made for a lock goes");
}

#[tokio::test]
async fn a_full_disk_stops_the_journal_and_tears_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let journal = begin_run(&store, "one").await;
    store.writer.note(Box::new(|transaction| {
        let pages: i64 = transaction.pragma_query_value(None, "page_count", |r| r.get(0))?;
        transaction.pragma_update_and_check(None, "max_page_count", pages + 2, |_| Ok(()))
    }));
    let many: Vec<Fact> = (0..5000).map(assigned).collect();
    let error = journal.append(2, many).durable().await.unwrap_err();
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert_eq!(error.diagnostic().code.id, "K0701");
    let later = journal.append(3, vec![assigned(1)]).durable().await;
    assert_eq!(later, Err(error), "a journal has no holes");
    drop((journal, store));
    let store = Store::open(dir.path()).unwrap();
    let replay = store.replay(&RunId::from("one")).unwrap().unwrap();
    assert_eq!(replay.facts, [(1, assigned(0))]);
}
