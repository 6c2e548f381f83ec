use super::*;
use std::collections::HashSet;
use std::sync::Mutex;

use indexmap::IndexMap;

use crate::artifact::Kind;
use crate::base::{NodeId, ServerName, StepId};
use crate::plan::key::{Realm, ServerFacts};
use crate::plan::{CommandStep, WorkflowStep};
use crate::workflow::Graph;

/// Blobs in a folder, some of them broken.
#[derive(Debug)]
struct Shelf {
    folder: PathBuf,
    broken: Mutex<HashSet<ContentHash>>,
}

impl Shelf {
    fn path(&self, hash: &ContentHash) -> PathBuf {
        self.folder.join(hash.to_hex())
    }
}

impl Blobs for Shelf {
    fn put(&self, from: &Path, hash: &ContentHash, _size: u64) -> Result<(), BlobError> {
        std::fs::create_dir_all(&self.folder).unwrap();
        std::fs::copy(from, self.path(hash)).unwrap();
        Ok(())
    }

    fn materialise(&self, hash: &ContentHash, to: &Path) -> Result<(), BlobError> {
        if self.broken.lock().unwrap().contains(hash) {
            return Err(BlobError::Missing { hash: *hash });
        }
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(self.path(hash), to).unwrap();
        Ok(())
    }

    fn check(&self, hashes: &[ContentHash]) -> Vec<Held> {
        let held = |hash: &ContentHash| {
            if self.path(hash).exists() {
                Held::Whole
            } else {
                Held::Missing
            }
        };
        hashes.iter().map(held).collect()
    }
}

fn step(id: &str) -> StepPlan {
    let work = Work::Workflow(WorkflowStep {
        file: crate::diagnostic::SourceMap::default().add_text("a.json", "{}"),
        graph: Graph::default(),
        places: None,
        in_file: Vec::new(),
        edits: Vec::new(),
        removed: Vec::new(),
        bypassed: Vec::new(),
    });
    StepPlan::new(StepId::from(id), None, ServerName::from("local"), work)
}

fn file(folder: &Path, index: usize, content: &str) -> Arc<Artifact> {
    let name = format!("out_{index}.png");
    let path = folder.join(&name);
    std::fs::write(&path, content).unwrap();
    Arc::new(Artifact {
        kind: Kind::Image,
        name,
        path: Some(path),
        hash: ContentHash::of(content.as_bytes()),
        size: content.len() as u64,
        key: "images".to_owned(),
        index,
        ..Artifact::blank(
            StepId::from("draw"),
            TaskName::from("draw"),
            NodeId::from("9"),
        )
    })
}

fn text(content: &str) -> Arc<Artifact> {
    let folder = tempfile::tempdir().unwrap();
    Arc::new(Artifact {
        path: None,
        text: Some(content.to_owned()),
        ..file(folder.path(), 9, content).as_ref().clone()
    })
}

fn made() -> Made {
    Made {
        run: RunId::from("first"),
        task: TaskName::from("draw"),
        at: 1000,
        attempt: 2,
        server: Recorded::default(),
        prompt_id: None,
        graph: None,
        stamps: Vec::new(),
    }
}

struct Bench {
    dir: tempfile::TempDir,
    blobs: Shelf,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Shelf {
            folder: dir.path().join("blobs"),
            broken: Mutex::default(),
        };
        Self { dir, blobs }
    }

    fn kept(&self, artifacts: &[Arc<Artifact>]) -> CacheRecord {
        let key = ContentHash::of(b"key");
        keep(&self.blobs, &[key], artifacts, made())
            .unwrap()
            .remove(0)
    }

    fn found(&self, contents: &[&str]) -> Found {
        let files = contents.iter().zip(0..);
        let mut artifacts: Vec<_> = files
            .map(|(content, index)| file(self.dir.path(), index, content))
            .collect();
        artifacts.push(text("a caption"));
        prove(self.kept(&artifacts), &self.blobs).unwrap()
    }

    fn place(&self, artifact: &Artifact) -> PathBuf {
        let name = format!("new-{}.png", artifact.index);
        self.dir.path().join("second").join(name)
    }
}

#[test]
fn a_hit_lies_under_the_names_that_the_task_gives_now() {
    let bench = Bench::new();
    let found = bench.found(&["pixels"]);
    // Whoever edits a result edits a file of their own.
    std::fs::write(bench.dir.path().join("out_0.png"), "scribbled over").unwrap();
    let mut now = step("sketch");
    now.outputs = IndexMap::from([("final".to_owned(), NodeId::from("9"))]);
    let (task, run) = (TaskName::from("sketch[i=0]"), RunId::from("second"));
    let restored = found
        .restore(&bench.blobs, (&now, &task, &run), |a| {
            Ok::<_, String>(bench.place(a))
        })
        .unwrap();
    let [image, caption] = restored.artifacts.as_slice() else {
        panic!("two artifacts")
    };
    let path = bench.dir.path().join("second/new-0.png");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "pixels");
    assert_eq!(image.path.as_ref(), Some(&path));
    assert_eq!(
        (image.step.as_str(), image.task.as_str()),
        ("sketch", "sketch[i=0]")
    );
    assert_eq!(image.output.as_deref(), Some("final"));
    assert_eq!(caption.text.as_deref(), Some("a caption"));
    assert_eq!(
        found.made.run,
        RunId::from("first"),
        "who really made it stays known"
    );
    let again = prove(restored.record, &bench.blobs).unwrap();
    assert_eq!(again.made.run, RunId::from("first"));
    let near = Nearby::new(bench.dir.path().join("second"));
    assert!(again.in_place(&run, &task, &near).is_some());
}

#[test]
fn a_result_is_in_place_until_somebody_touches_it() {
    let bench = Bench::new();
    let found = bench.found(&["pixels"]);
    let (run, task) = (RunId::from("first"), TaskName::from("draw"));
    let near = Nearby::new(bench.dir.path().to_path_buf());
    assert_eq!(found.in_place(&run, &task, &near).unwrap().len(), 2);
    assert!(
        found
            .in_place(&RunId::from("other"), &task, &near)
            .is_none()
    );
    assert!(
        found
            .in_place(&run, &TaskName::from("other"), &near)
            .is_none()
    );
    let path = bench.dir.path().join("out_0.png");
    std::fs::write(&path, "PIXELS").unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(later)
        .unwrap();
    assert!(found.in_place(&run, &task, &near).is_none(), "edited");
    std::fs::remove_file(&path).unwrap();
    assert!(found.in_place(&run, &task, &near).is_none(), "removed");
}

#[test]
fn a_result_without_its_blob_is_a_miss_that_names_the_file() {
    let bench = Bench::new();
    let record = bench.kept(&[file(bench.dir.path(), 3, "pixels"), text("t")]);
    std::fs::remove_file(bench.blobs.path(&ContentHash::of(b"pixels"))).unwrap();
    let miss = prove(record, &bench.blobs).unwrap_err();
    let file = "out_3.png".to_owned();
    assert_eq!(miss, Miss::Damaged { file, error: None });
}

#[test]
fn a_hit_that_cannot_be_restored_leaves_nothing_behind() {
    let bench = Bench::new();
    let found = bench.found(&["one", "two"]);
    bench
        .blobs
        .broken
        .lock()
        .unwrap()
        .insert(ContentHash::of(b"two"));
    let (now, task, run) = (step("draw"), TaskName::from("draw"), RunId::from("second"));
    let failed = found.restore(&bench.blobs, (&now, &task, &run), |a| {
        Ok::<_, String>(bench.place(a))
    });
    assert!(matches!(
        failed,
        Err(Unrestored::Blob(BlobError::Missing { .. }))
    ));
    let left = std::fs::read_dir(bench.dir.path().join("second")).unwrap();
    assert_eq!(left.count(), 0);
    let nowhere = found.restore(&bench.blobs, (&now, &task, &run), |_| Err("no place"));
    assert!(matches!(nowhere, Err(Unrestored::Place("no place"))));
}

#[test]
fn a_result_is_kept_under_the_key_of_the_first_attempt_too() {
    let bench = Bench::new();
    let artifacts = [file(bench.dir.path(), 0, "pixels")];
    let (first, second) = (ContentHash::of(b"1"), ContentHash::of(b"2"));
    let records = keep(&bench.blobs, &[second, first, second], &artifacts, made()).unwrap();
    let mut keys: Vec<ContentHash> = records.iter().map(|record| record.key).collect();
    keys.sort_unstable();
    let mut wanted = [first, second];
    wanted.sort_unstable();
    assert_eq!(keys, wanted);
}

#[test]
fn facts_that_another_kiln_noted_in_another_way_are_a_miss() {
    let bench = Bench::new();
    let mut record = bench.kept(&[]);
    record.facts = serde_json::json!({"run": 7});
    assert_eq!(prove(record, &bench.blobs).unwrap_err(), Miss::Unknown);
}

fn manifest(key: &[u8]) -> Manifest {
    Manifest {
        format: crate::plan::key::FORMAT,
        key: ContentHash::of(key),
        entries: Vec::new(),
        labels: std::collections::BTreeMap::new(),
        files: std::collections::BTreeMap::new(),
        params: std::collections::BTreeMap::new(),
    }
}

#[test]
fn why_a_task_runs_is_told_by_the_strongest_reason() {
    let noted = |key: &[u8]| Noted {
        manifest: manifest(key),
        why: Vec::new(),
        since: None,
    };
    let now = manifest(b"now");
    let said = |step: &StepPlan, miss: Option<&Miss>, earlier: Option<&Noted>| {
        let why = why(step, miss, earlier, &now);
        let texts: Vec<String> = why.iter().map(ToString::to_string).collect();
        texts.join("; ")
    };
    let plain = step("draw");
    let unknown = Some(&Miss::Unknown);
    assert_eq!(said(&plain, unknown, None), "never ran");
    assert_eq!(
        said(&plain, unknown, Some(&noted(b"now"))),
        "its earlier result was removed"
    );
    let damaged = Miss::Damaged {
        file: "a.png".to_owned(),
        error: None,
    };
    assert_eq!(
        said(&plain, Some(&damaged), Some(&noted(b"now"))),
        "its earlier result `a.png` is damaged or gone"
    );
    let forced = StepPlan {
        force: true,
        ..plain.clone()
    };
    assert_eq!(said(&forced, None, Some(&noted(b"now"))), "forced");
    let off = StepPlan {
        cache: CacheMode::Off,
        ..forced.clone()
    };
    assert_eq!(said(&off, None, None), "`cache: false`");
    let command = StepPlan {
        work: Work::Command(CommandStep {
            args: Vec::new(),
            spans: Vec::new(),
            env: IndexMap::new(),
            stdin: None,
            collect: IndexMap::new(),
        }),
        ..forced.clone()
    };
    assert_eq!(
        said(&command, None, None),
        "a command without `outputs` always runs"
    );
    assert!(looks_up(&plain) && !looks_up(&forced) && !looks_up(&off));
    assert!(
        keeps(&forced) && !keeps(&off),
        "`--force` keeps, `cache: false` does not"
    );
}

#[test]
fn a_hit_whose_server_differs_says_so() {
    let bench = Bench::new();
    let mut facts = ServerFacts::new(Realm::Comfy);
    facts.version = Some("0.33.0".to_owned());
    let then = Made {
        server: facts.recorded(&Graph::default()),
        ..made()
    };
    let key = ContentHash::of(b"key");
    let record = keep(&bench.blobs, &[key], &[], then).unwrap().remove(0);
    let found = prove(record, &bench.blobs).unwrap();
    facts.version = Some("0.34.0".to_owned());
    let told = found.differences(&facts.recorded(&Graph::default()));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].to_string(), "server: version 0.33.0 → 0.34.0");
}
