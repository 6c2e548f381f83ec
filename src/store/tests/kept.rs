//! Results by key and by content, and the small things worth remembering.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::{Plan, RunId, begin_run, here};
use crate::artifact::{Artifact, Kind};
use crate::base::power::{Content, spoil};
use crate::base::{ContentHash, DiskStep, DiskWatcher, NodeId, StepId, TaskName, watch_disk};
use crate::store::blobs::Boot;
use crate::store::{BlobError, CacheRecord, Ensured, Held, KnownUpload, Store};

pub(super) fn artifact(path: &Path, bytes: &[u8]) -> Arc<Artifact> {
    Arc::new(Artifact {
        kind: Kind::Image,
        name: "a.png".to_owned(),
        path: Some(path.to_path_buf()),
        hash: ContentHash::of(bytes),
        size: bytes.len() as u64,
        key: "images".to_owned(),
        ..Artifact::blank(
            StepId::from("draw"),
            TaskName::from("draw"),
            NodeId::from("9"),
        )
    })
}

pub(super) fn record(key: &ContentHash, artifact: Arc<Artifact>) -> CacheRecord {
    CacheRecord {
        key: *key,
        artifacts: vec![artifact],
        facts: json!({ "version": "0.26.0" }),
        run: RunId::from("one"),
        task: TaskName::from("draw"),
        made_at: 5,
    }
}

fn boot(name: &str) -> Boot {
    Boot(name.to_owned())
}

fn open(dir: &Path, name: &str) -> Store {
    Store::open_at(here(dir), Some(boot(name))).unwrap()
}

/// A file with this content, kept.
fn keep(store: &Store, dir: &Path, bytes: &[u8]) -> ContentHash {
    let path = dir.join("result.bin");
    std::fs::write(&path, bytes).unwrap();
    let hash = ContentHash::of(bytes);
    store.blobs().put(&path, &hash, bytes.len() as u64).unwrap();
    hash
}

fn blob(dir: &Path, hash: &ContentHash) -> std::path::PathBuf {
    let name = hash.to_hex();
    dir.join(".kiln/blobs").join(&name[..2]).join(name)
}

#[tokio::test]
async fn many_records_are_found_however_near_or_far_apart_their_keys_lie() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let journal = begin_run(&store, "one").await;
    let key = |at: u32| ContentHash::of(&at.to_le_bytes());
    // Every other key is there.
    for at in (0..600).step_by(2) {
        store.keep(record(&key(at), artifact(Path::new("/p/a.png"), b"x")));
    }
    let written = journal.append(2, vec![super::assigned(0)]);
    written.durable().await.unwrap();
    let reader = store.reader();
    for apart in [1, 2, 7, 40, 599, 1000] {
        // In no order, the first one asked for twice.
        let keys: Vec<ContentHash> = (0..1000).step_by(apart).chain([0]).map(key).collect();
        let many = reader.cached_many(&keys).unwrap();
        let read = many.iter().map(|found| found.as_ref()?.read());
        let one_by_one = keys.iter().map(|key| reader.cached(key).unwrap());
        assert!(read.eq(one_by_one), "{apart}");
        assert!(many[0].is_some() && many[keys.len() - 1].is_some());
    }
    assert!(reader.cached_many(&[]).unwrap().is_empty());
}

#[tokio::test]
async fn a_record_is_there_as_soon_as_a_later_fact_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let journal = begin_run(&store, "one").await;
    let key = ContentHash::of(b"key");
    let record = record(&key, artifact(Path::new("/p/a.png"), b"x"));
    store.keep(record.clone());
    journal
        .append(2, vec![super::assigned(0)])
        .durable()
        .await
        .unwrap();
    let other = Store::open(dir.path()).unwrap();
    assert_eq!(other.cached(&key).unwrap(), Some(record.clone()));
    let none = ContentHash::of(b"other");
    let many = other.reader().cached_many(&[none, key, none]).unwrap();
    let many = many.into_iter().map(|unread| unread?.read());
    assert_eq!(many.collect::<Vec<_>>(), [None, Some(record), None]);
}

#[test]
fn a_record_is_found_from_the_moment_it_is_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let key = ContentHash::of(b"key");
    for bytes in [b"x", b"y"] {
        let record = record(&key, artifact(Path::new("/p/a.png"), bytes));
        store.keep(record.clone());
        assert_eq!(store.cached(&key).unwrap(), Some(record));
    }
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while store.pending.len() > 0 && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(store.pending.len(), 0, "the database has them by now");
    let last = store.reader().cached(&key).unwrap().unwrap();
    assert_eq!(last.artifacts[0].hash, ContentHash::of(b"y"));
}

fn given() -> KnownUpload {
    KnownUpload {
        name: "kiln/x.png".to_owned(),
        etag: Some("\"1-2\"".to_owned()),
    }
}

#[test]
fn what_nobody_waits_for_is_written_soon() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.note_upload("http://a", &ContentHash::of(b"x"), given());
    let known = || {
        store
            .known_upload("http://a", &ContentHash::of(b"x"))
            .unwrap()
    };
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while known().is_none() && std::time::Instant::now() < until {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_eq!(known(), Some(given()));
}

#[test]
fn content_comes_back_as_a_file_of_the_users_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "a");
    for bytes in [
        vec![7; 10],
        (0..700_000_u32).flat_map(u32::to_le_bytes).collect(),
    ] {
        let hash = keep(&store, dir.path(), &bytes);
        let to = dir.path().join("again/deep/result.bin");
        store.blobs().materialise(&hash, &to).unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), bytes);
        // Neither the result nor what comes of it is the blob itself.
        std::fs::write(&to, "edited").unwrap();
        std::fs::write(dir.path().join("result.bin"), "edited too").unwrap();
        assert!(store.blobs().verify(&hash));
        assert!(
            std::fs::metadata(blob(dir.path(), &hash))
                .unwrap()
                .permissions()
                .readonly()
        );
        assert_eq!(
            ContentHash::of_file(&blob(dir.path(), &hash)).unwrap().0,
            hash
        );
    }
}

#[test]
fn a_result_that_was_edited_before_it_was_kept_is_not_kept_as_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "a");
    let large = vec![1; 600_000];
    for (was, is) in [
        (vec![1; 10], vec![2; 10]),
        (large.clone(), vec![2; 600_000]),
    ] {
        let hash = ContentHash::of(&was);
        let path = dir.path().join("result.bin");
        std::fs::write(&path, &is).unwrap();
        let put = store.blobs().put(&path, &hash, was.len() as u64);
        if was.len() < 1000 {
            assert!(matches!(put, Err(BlobError::Changed { .. })), "{put:?}");
        }
        assert!(!store.blobs().verify(&hash));
        let to = dir.path().join("to");
        assert!(store.blobs().materialise(&hash, &to).is_err());
        assert!(!to.exists());
    }
}

#[test]
fn a_damaged_blob_is_moved_away_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "a");
    let hash = keep(&store, dir.path(), b"right content");
    let path = blob(dir.path(), &hash);
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a test's own file")]
    permissions.set_readonly(false);
    std::fs::set_permissions(&path, permissions).unwrap();
    std::fs::write(&path, b"wrong").unwrap();
    let held = store.blobs().check(&[hash]);
    let [Held::Damaged(error)] = &held[..] else {
        panic!("{held:?}");
    };
    assert_eq!(error.diagnostic().code.id, "K0704");
    assert!(!path.exists());
    let moved = dir.path().join(".kiln/quarantine").join(hash.to_hex());
    assert_eq!(std::fs::read(moved).unwrap(), b"wrong");
    assert_eq!(store.blobs().check(&[hash]), [Held::Missing]);
    // The work done again puts it right.
    let again = keep(&store, dir.path(), b"right content");
    assert!(store.blobs().verify(&again));
}

#[test]
fn a_stamp_of_another_start_of_the_system_proves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "first");
    let hash = keep(&store, dir.path(), b"some content");
    // As after a power cut: the name and the times are there, the content is not.
    spoil(&blob(dir.path(), &hash), Content::Torn);
    drop(store);
    assert!(!open(dir.path(), "second").blobs().verify(&hash));
}

#[test]
fn a_stamp_of_an_earlier_process_saves_reading_the_blob() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "first");
    let hash = keep(&store, dir.path(), b"some content");
    drop(store);
    // Nobody but the test can do this without a trace; it shows that only the stamp was looked at.
    spoil(&blob(dir.path(), &hash), Content::Torn);
    assert!(open(dir.path(), "first").blobs().verify(&hash));
}

#[test]
fn where_starts_have_no_name_content_is_synced_and_its_stamp_holds() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open_at(here(dir.path()), None).unwrap();
    let store = open();
    let watch = Arc::new(Synced::default());
    let watching = watch_disk(dir.path(), Arc::clone(&watch) as Arc<dyn DiskWatcher>);
    let hash = keep(&store, dir.path(), b"some content");
    drop(watching);
    assert_eq!(watch.0.load(Ordering::Relaxed), 1);
    drop(store);
    spoil(&blob(dir.path(), &hash), Content::Torn);
    assert!(open().blobs().verify(&hash), "only the stamp was looked at");
}

/// Counts syncs.
#[derive(Default)]
struct Synced(AtomicUsize);

impl DiskWatcher for Synced {
    fn before(&self, step: DiskStep<'_>) -> std::io::Result<()> {
        if matches!(step, DiskStep::Sync(_)) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

#[test]
fn results_are_put_back_but_never_over_an_edit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), "a");
    let hash = keep(&store, dir.path(), b"content");
    let at = dir.path().join("out/a.png");
    let ensure = || store.blobs().ensure(&hash, &at).unwrap();
    assert_eq!(ensure(), Ensured::Restored);
    assert_eq!(ensure(), Ensured::Intact);
    std::fs::write(&at, "edited").unwrap();
    assert_eq!(ensure(), Ensured::Changed);
    assert_eq!(std::fs::read(&at).unwrap(), b"edited");
}

#[tokio::test]
async fn the_last_manifest_of_a_task_is_found_over_all_runs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let task = TaskName::from("draw[i=0]");
    for run in ["one", "two"] {
        let journal = begin_run(&store, run).await;
        store.note_manifest(&RunId::from(run), &task, json!({ "of": run }));
        journal.append(2, vec![]).durable().await.unwrap();
    }
    let found = store
        .manifest(&Plan::blank().pipeline, &task)
        .unwrap()
        .unwrap();
    assert_eq!(
        (found.run.as_str(), found.manifest),
        ("two", json!({ "of": "two" }))
    );
    let first = store.reader().manifest_of(&RunId::from("one"), &task);
    assert_eq!(first.unwrap(), Some(json!({ "of": "one" })));
    assert_eq!(store.manifest("other", &task).unwrap(), None);
}

#[test]
fn durations_lean_to_what_was_measured_last_and_hints_can_be_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let (draw, hash) = (StepId::from("draw"), ContentHash::of(b"x"));
    for ms in [1000, 2000] {
        store.note_duration("shots", &draw, ms);
    }
    store.note_upload("http://a", &hash, given());
    store.forget_upload("http://a", &hash);
    store.add_stray("http://a", "id-1");
    store.add_stray("http://a", "id-2");
    store.remove_stray("http://a", "id-1");
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.durations("shots").unwrap()[&draw], 1300);
    assert!(store.durations("other").unwrap().is_empty());
    assert_eq!(store.known_upload("http://a", &hash).unwrap(), None);
    assert_eq!(store.strays("http://a").unwrap(), ["id-2"]);
}

#[test]
fn a_job_that_may_be_on_its_way_is_not_forgotten_when_it_is_not_there_yet() {
    let dir = tempfile::tempdir().unwrap();
    let hour = 60 * 60 * 1000;
    let strays = |change: &dyn Fn(&Store)| {
        let store = Store::open(dir.path()).unwrap();
        change(&store);
        drop(store);
        Store::open(dir.path()).unwrap().strays("http://a").unwrap()
    };
    let sent = strays(&|store| {
        store.add_stray("http://a", "left");
        store.expect_stray("http://a", "sent", 1000);
    });
    assert_eq!(sent, ["left", "sent"]);
    let soon = strays(&|store| {
        store.miss_stray("http://a", "left", 2000);
        store.miss_stray("http://a", "sent", 2000);
    });
    assert_eq!(soon, ["sent"]);
    let late = strays(&|store| store.miss_stray("http://a", "sent", 1000 + hour));
    assert!(late.is_empty());
}

/// Answers every step of a kind as a full disk would.
struct Full(fn(&DiskStep<'_>) -> bool);

impl DiskWatcher for Full {
    fn before(&self, step: DiskStep<'_>) -> std::io::Result<()> {
        if (self.0)(&step) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

#[test]
fn a_full_disk_costs_the_cache_and_leaves_nothing_half_written() {
    let kinds: [fn(&DiskStep<'_>) -> bool; 3] = [
        |step| matches!(step, DiskStep::Create(_)),
        |step| matches!(step, DiskStep::Write(..)),
        |step| matches!(step, DiskStep::Rename(..)),
    ];
    for kind in kinds {
        for size in [10, 600_000] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(dir.path(), "a");
            let path = dir.path().join("result.bin");
            std::fs::write(&path, vec![1; size]).unwrap();
            let (hash, length) = ContentHash::of_file(&path).unwrap();
            let watching = watch_disk(dir.path(), Arc::new(Full(kind)));
            let error = store.blobs().put(&path, &hash, length).unwrap_err();
            assert!(error.is_full(), "{error}");
            assert_eq!(error.diagnostic().code.id, "K0703");
            drop(watching);
            assert_eq!(store.blobs().check(&[hash]), [Held::Missing]);
            let files = walkdir::WalkDir::new(dir.path().join(".kiln/blobs"));
            let left = files.into_iter().flatten();
            assert_eq!(left.filter(|e| e.file_type().is_file()).count(), 0);

            store.blobs().put(&path, &hash, length).unwrap();
            let watching = watch_disk(dir.path(), Arc::new(Full(kind)));
            let to = dir.path().join("again.bin");
            let error = store.blobs().materialise(&hash, &to).unwrap_err();
            assert!(error.is_full(), "{error}");
            drop(watching);
            assert!(!to.exists());
        }
    }
}

#[test]
#[ignore = "a measurement: cargo test --lib -- --ignored --nocapture what_keeping_costs"]
fn what_keeping_costs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let files: Vec<_> = (0..5000_u32)
        .map(|n| {
            let path = dir.path().join(format!("{n}.png"));
            std::fs::write(&path, [n.to_le_bytes(); 1000].concat()).unwrap();
            let (hash, size) = ContentHash::of_file(&path).unwrap();
            (path, hash, size)
        })
        .collect();
    let began = std::time::Instant::now();
    for (path, hash, size) in &files {
        store.blobs().put(path, hash, *size).unwrap();
        store.keep(record(hash, artifact(path, b"x")));
    }
    let put = began.elapsed() / 5000;
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    let hashes: Vec<ContentHash> = files.iter().map(|(_, hash, _)| *hash).collect();
    let began = std::time::Instant::now();
    let records = store.reader().cached_many(&hashes).unwrap();
    let looked_up = began.elapsed() / 5000;
    let began = std::time::Instant::now();
    let held = store.blobs().check(&hashes);
    let checked = began.elapsed() / 5000;
    assert!(records.iter().all(Option::is_some));
    assert!(held.iter().all(|held| *held == Held::Whole));
    println!("for a file of 4 kB: keep {put:?}, look up {looked_up:?}, check {checked:?}");
}
