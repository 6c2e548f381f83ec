//! A result is committed in steps; the power may go out before any of them, and the disk may then hold any part of what was not synced.

use std::path::{Path, PathBuf};

use super::kept::{artifact, record};
use super::{Plan, RunId, assigned, here};
use crate::base::power::{AFTERMATHS, Content, Names, PowerCut};
use crate::base::{AtomicFile, ContentHash};
use crate::machine::{Fact, Outcome, Ticket};
use crate::plan::TaskIx;
use crate::store::blobs::Boot;
use crate::store::{Ensured, Journal, Store};

fn open(dir: &Path, boot: &str) -> Store {
    Store::open_at(here(dir), Some(Boot(boot.to_owned()))).unwrap()
}

fn result(dir: &Path) -> PathBuf {
    dir.join("outputs/shots/one/draw/a.png")
}

fn key() -> ContentHash {
    ContentHash::of(b"the key")
}

fn ended(dir: &Path, bytes: &[u8]) -> Fact {
    Fact::Ended {
        ticket: Ticket {
            task: TaskIx(0),
            attempt: 1,
            try_: 1,
        },
        outcome: Outcome::Done {
            artifacts: vec![artifact(&result(dir), bytes)],
        },
    }
}

/// The steps in their order, up to the one that fails. Tells whether the last one, the fact in the journal, was acknowledged.
async fn commit(store: &Store, journal: &Journal, dir: &Path, bytes: &[u8]) -> bool {
    let Ok(finished) = AtomicFile::put(&result(dir), bytes) else {
        return false;
    };
    let blobs = store.blobs();
    if blobs
        .put(&finished.path, &finished.hash, finished.size)
        .is_err()
    {
        return false;
    }
    store.keep(record(&key(), artifact(&finished.path, bytes)));
    journal
        .append(3, vec![ended(dir, bytes)])
        .durable()
        .await
        .is_ok()
}

/// The files of the database as they are at this moment.
fn database(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    ["kiln.db", "kiln.db-wal"]
        .map(|name| dir.join(".kiln").join(name))
        .into_iter()
        .map(|path| (path.clone(), std::fs::read(path).unwrap_or_default()))
        .collect()
}

/// Puts the database as it was when the power went out; of its log only so many bytes.
fn put_back(dir: &Path, files: &[(PathBuf, Vec<u8>)], log: usize) {
    let _ = std::fs::remove_file(dir.join(".kiln/kiln.db-shm"));
    for (path, bytes) in files {
        let most = match path.extension() {
            Some(extension) if extension == "db-wal" => log.min(bytes.len()),
            _ => bytes.len(),
        };
        std::fs::write(path, &bytes[..most]).unwrap();
    }
}

/// What must hold after any power cut.
fn nothing_is_a_lie(store: &Store, dir: &Path, bytes: &[u8], acknowledged: bool, tale: &str) {
    let hash = ContentHash::of(bytes);
    if let Ok(found) = std::fs::read(result(dir)) {
        assert_eq!(found, bytes, "a result under its name is whole: {tale}");
    }
    let replay = store.replay(&RunId::from("one")).unwrap().unwrap();
    let done = replay.facts.contains(&(3, ended(dir, bytes)));
    assert!(
        done || !acknowledged,
        "an acknowledged fact is there: {tale}"
    );
    assert_eq!(replay.facts[0], (2, assigned(0)), "{tale}");
    if done {
        let record = store.cached(&key()).unwrap();
        assert!(record.is_some(), "the record came before the fact: {tale}");
    }
    // A hit gives the right bytes, or is none.
    let to = dir.join("hit.png");
    if store.cached(&key()).unwrap().is_some() && store.blobs().verify(&hash) {
        store.blobs().materialise(&hash, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), bytes, "{tale}");
    }
    // A task that is done has its file, gets it back, or is known to need another run.
    if done {
        match store.blobs().ensure(&hash, &result(dir)) {
            Ok(Ensured::Intact | Ensured::Restored) => {
                assert_eq!(std::fs::read(result(dir)).unwrap(), bytes, "{tale}");
            }
            Ok(Ensured::Changed) => panic!("nobody changed it: {tale}"),
            Err(_) => assert!(!result(dir).exists(), "{tale}"),
        }
    }
}

async fn play(
    cut: usize,
    (names, content): (Names, Content),
    log: Option<usize>,
    bytes: &[u8],
) -> bool {
    let tale = format!("cut {cut}, names {names:?}, content {content:?}, log {log:?}");
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path();
    let run = RunId::from("one");
    let store = open(dir, "before");
    let journal = store.begin(&run, &Plan::blank(), 1).unwrap();
    let first = journal.append(2, vec![assigned(0)]);
    first.durable().await.unwrap();
    let durable = database(dir)[1].1.len();
    let power = PowerCut::before(cut, dir);
    let acknowledged = commit(&store, &journal, dir, bytes).await;
    let files = database(dir);
    drop((journal, store));
    let too_late = power.came_too_late();
    power.strike(names, content);
    // Without an answer, any part of what the log got since the last one may be missing.
    let (log, acknowledged) = match log {
        Some(part) => (durable + part, false),
        None => (usize::MAX, acknowledged),
    };
    put_back(dir, &files, log);

    let store = open(dir, "after");
    nothing_is_a_lie(&store, dir, bytes, acknowledged, &tale);
    // And the work can be done again, to the end.
    let (journal, _) = store.resume(&run).unwrap().unwrap();
    assert!(commit(&store, &journal, dir, bytes).await, "{tale}");
    assert_eq!(std::fs::read(result(dir)).unwrap(), bytes);
    assert!(store.blobs().verify(&ContentHash::of(bytes)), "{tale}");
    too_late
}

async fn every_cut(bytes: &[u8]) -> usize {
    let mut cut = 0;
    loop {
        let mut all_too_late = true;
        for aftermath in AFTERMATHS {
            all_too_late &= play(cut, aftermath, None, bytes).await;
        }
        if all_too_late {
            return cut;
        }
        cut += 1;
    }
}

#[tokio::test]
async fn a_power_cut_between_any_two_steps_of_a_commit_costs_at_most_a_rerun() {
    // Create, write, sync and rename the result; create, write and rename its blob.
    assert_eq!(every_cut(b"the bytes of a picture").await, 8);
    assert_eq!(every_cut(&vec![3; 300_000]).await, 8);
}

#[tokio::test]
async fn a_log_cut_at_any_place_holds_what_was_acknowledged() {
    for part in [0, 1, 24, 600, 4120, 5000, 8240, 12_360, 20_000] {
        for aftermath in [AFTERMATHS[1], AFTERMATHS[5]] {
            play(usize::MAX, aftermath, Some(part), b"the bytes of a picture").await;
        }
    }
}
