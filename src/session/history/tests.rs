use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::compare::differences;
use super::*;
use crate::artifact::{Artifact, Kind};
use crate::base::{ContentHash, NodeId, RunId, StepId, TaskName};
use crate::diagnostic::{Diagnostic, SourceMap, codes, to_json};
use crate::event::{Counts, RunStatus};
use crate::machine::{
    CancelReason, Cause, EndpointIx, Fact, FailureClass, Outcome, RetryCause, Settlement, Ticket,
};
use crate::plan::{Plan, TaskIx};
use crate::session::{Request, load};
use crate::store::{CacheRecord, Journal, Store};

const PIPELINE: &str = "name: shots
server: far
params: { size: { type: integer, default: 8 } }
steps:
  draw: { workflow: w.json, set: { EmptyImage: { width: '{{ params.size }}' } } }
  sheet: { workflow: w.json, needs: [draw] }
";

struct Project {
    dir: tempfile::TempDir,
    store: Store,
}

impl Project {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("shots.yaml", PIPELINE);
        // Nothing listens there.
        write(
            "kiln.yaml",
            "servers: { far: { url: 'http://127.0.0.1:9' } }\n",
        );
        write(
            "w.json",
            r#"{"1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
                "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}}}"#,
        );
        let store = Store::open(dir.path()).unwrap();
        Self { dir, store }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn plan(&self, params: &[&str]) -> Plan {
        let loaded = load(&Request {
            file: self.path().join("shots.yaml"),
            params: params.iter().map(|param| (*param).to_owned()).collect(),
            seed: Some(7),
            ..Request::default()
        });
        loaded
            .plan
            .unwrap_or_else(|| panic!("{:?}", loaded.report.items))
    }

    /// A run with one result, kept under a key of its own; its journal.
    fn run(&self, run: &str, started: u64) -> Journal {
        let id = RunId::from(run);
        let journal = self.store.begin(&id, &self.plan(&[]), started).unwrap();
        let result = self.result(run);
        std::fs::create_dir_all(result.parent().unwrap()).unwrap();
        std::fs::write(&result, format!("made by {run}")).unwrap();
        std::fs::write(result.with_file_name("a.png.kiln.json"), "{}").unwrap();
        let artifact = artifact(&result);
        let blobs = self.store.blobs();
        blobs.put(&result, &artifact.hash, artifact.size).unwrap();
        let key = ContentHash::of(run.as_bytes());
        self.store.keep(CacheRecord {
            key,
            artifacts: vec![Arc::clone(&artifact)],
            facts: serde_json::Value::Null,
            run: id,
            task: TaskName::from("draw"),
            made_at: started,
        });
        let facts = vec![
            assigned(0, 1, 1),
            Fact::Prepared {
                ticket: ticket(0, 1, 1),
                key: Some(key),
            },
            ended(0, 1, vec![artifact]),
        ];
        let now = millis(SystemTime::now());
        journal.append(now, facts).wait_blocking().unwrap();
        journal
    }

    fn ended_run(&self, run: &str, started: u64) {
        let journal = self.run(run, started);
        let now = millis(SystemTime::now());
        let counts = Counts {
            done: 2,
            ..Counts::default()
        };
        let finished = journal.finish(now, RunStatus::Done, 0, counts);
        finished.wait_blocking().unwrap();
    }

    fn result(&self, run: &str) -> PathBuf {
        self.path().join(format!("outputs/shots/{run}/draw/a.png"))
    }

    fn history(&self) -> History {
        History::open(self.path()).unwrap()
    }

    fn ids(&self) -> Vec<String> {
        let runs = self.store.runs().unwrap();
        runs.into_iter().map(|run| run.run.0).collect()
    }

    fn is_kept(&self, run: &str) -> bool {
        let hash = ContentHash::of(format!("made by {run}").as_bytes());
        self.store.blobs().verify(&hash)
    }
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

fn artifact(path: &Path) -> Arc<Artifact> {
    let (hash, size) = ContentHash::of_file(path).unwrap();
    Arc::new(Artifact {
        kind: Kind::Image,
        name: "a.png".to_owned(),
        path: Some(path.to_path_buf()),
        hash,
        size,
        key: "images".to_owned(),
        ..Artifact::blank(
            StepId::from("draw"),
            TaskName::from("draw"),
            NodeId::from("2"),
        )
    })
}

fn ticket(task: u32, attempt: u32, try_: u32) -> Ticket {
    Ticket {
        task: TaskIx(task),
        attempt,
        try_,
    }
}

fn assigned(task: u32, attempt: u32, try_: u32) -> Fact {
    Fact::Assigned {
        ticket: ticket(task, attempt, try_),
        endpoint: EndpointIx(0),
        fresh: false,
    }
}

fn ended(task: u32, attempt: u32, artifacts: Vec<Arc<Artifact>>) -> Fact {
    Fact::Ended {
        ticket: ticket(task, attempt, 1),
        outcome: Outcome::Done { artifacts },
    }
}

fn failed(task: u32) -> Fact {
    let diagnostic = Diagnostic::error(&codes::NODE_FAILED, "node 1 raised an error");
    Fact::Ended {
        ticket: ticket(task, 1, 1),
        outcome: Outcome::Failed {
            class: FailureClass::Node,
            diagnostic: Box::new(to_json(&diagnostic, &SourceMap::default())),
        },
    }
}

fn fold(plan: &Plan, facts: &[Fact]) -> Standing {
    let mut standing = Standing::new(plan);
    for (at, fact) in (1..).zip(facts) {
        standing.apply(at * 1000, fact);
    }
    standing
}

fn states(standing: &Standing) -> Vec<State> {
    standing.tasks.iter().map(|task| task.status).collect()
}

#[test]
fn tasks_stand_as_their_facts_say() {
    let project = Project::new();
    let plan = project.plan(&[]);
    let facts = [
        assigned(0, 1, 1),
        failed(0),
        Fact::Retried {
            task: TaskIx(0),
            not_before: 0,
            fresh: false,
            attempt: true,
            because: RetryCause::Failed,
        },
        assigned(0, 2, 1),
        failed(0),
        Fact::Settled {
            task: TaskIx(0),
            settlement: Settlement::Failed,
        },
        Fact::Settled {
            task: TaskIx(1),
            settlement: Settlement::Skipped {
                cause: Cause::Task(TaskIx(0)),
            },
        },
    ];
    let standing = fold(&plan, &facts);
    assert_eq!(states(&standing), [State::Failed, State::Skipped]);
    assert_eq!(
        (standing.tasks[0].attempts, standing.tasks[0].tries),
        (2, 2)
    );
    assert_eq!(standing.tasks[0].server.as_deref(), Some("far"));
    assert_eq!(standing.tasks[0].took(), Some(2000));
    assert_eq!(standing.tasks[1].because.as_deref(), Some("`draw` failed"));
    let facts: Vec<(u64, Fact)> = (1..).zip(facts).collect();
    let told: Vec<String> = events_of(&standing, TaskIx(0), &facts)
        .into_iter()
        .map(|event| event.what)
        .collect();
    assert_eq!(
        told,
        [
            "given to far",
            "failed: node 1 raised an error [K0501]",
            "to be tried again: `retry` grants another attempt",
            "given to far (attempt 2)",
            "failed: node 1 raised an error [K0501]",
            "not tried again",
        ]
    );
}

#[test]
fn a_run_that_goes_on_gives_its_failures_another_chance_and_keeps_what_is_done() {
    let project = Project::new();
    let plan = project.plan(&[]);
    let facts = [
        assigned(0, 1, 1),
        ended(0, 1, Vec::new()),
        assigned(1, 1, 1),
        failed(1),
        Fact::Settled {
            task: TaskIx(1),
            settlement: Settlement::Failed,
        },
        Fact::Stop {
            reason: CancelReason::Requested,
        },
        Fact::Finished {
            status: RunStatus::Failed,
        },
        Fact::Resumed { again: Vec::new() },
    ];
    let standing = fold(&plan, &facts);
    assert_eq!(states(&standing), [State::Done, State::Waiting]);
    assert_eq!((standing.stop, standing.finished), (None, None));
    assert_eq!(standing.resumed, 1);
    let mut standing = standing;
    let again = vec![TaskIx(0)];
    standing.apply(9000, &Fact::Resumed { again });
    assert_eq!(states(&standing), [State::Waiting, State::Waiting]);
}

#[test]
fn a_run_whose_process_died_is_interrupted() {
    let project = Project::new();
    project.ended_run("one", 1);
    let journal = project.run("two", 2);
    let status = || {
        let rows = project.history().rows().unwrap();
        rows.iter().map(|row| row.status).collect::<Vec<_>>()
    };
    assert_eq!(status(), [Alive::Running, Alive::Done]);
    drop(journal);
    assert_eq!(status(), [Alive::Interrupted, Alive::Done]);
    let rows = project.history().rows().unwrap();
    assert_eq!((rows[0].counts.done, rows[0].tasks), (1, 2));
    assert_eq!((rows[1].counts.done, rows[1].tasks), (2, 2));
}

#[test]
fn old_runs_go_with_what_they_made_and_nothing_else() {
    let project = Project::new();
    for (at, run) in ["one", "two", "three"].iter().enumerate() {
        project.ended_run(run, at as u64);
    }
    let latest = project.path().join("outputs/shots/latest");
    #[cfg(unix)]
    std::os::unix::fs::symlink("two", latest).unwrap();
    #[cfg(not(unix))]
    std::fs::write(latest, "two").unwrap();
    let note = project.result("one").with_file_name("note.txt");
    std::fs::write(&note, "mine").unwrap();

    let wanted = Cleaning {
        keep: Some(1),
        dry_run: true,
        ..Cleaning::default()
    };
    let would = sweep(&project.history(), &wanted).unwrap();
    assert_eq!(project.ids(), ["three", "two", "one"]);
    assert!(project.result("one").exists() && project.is_kept("one"));

    let wanted = Cleaning {
        dry_run: false,
        ..wanted
    };
    let did = sweep(&project.history(), &wanted).unwrap();
    assert_eq!(would.runs, did.runs);
    assert_eq!((would.records, would.blobs), (did.records, did.blobs));
    assert_eq!(
        did.runs.len(),
        1,
        "`latest` leads to two, three is the newest"
    );
    assert_eq!(did.runs[0].results.files, 2, "the result and its record");
    assert_eq!(did.runs[0].stay, std::slice::from_ref(&note));
    assert_eq!((did.records, did.blobs.unwrap().files), (1, 1));
    assert_eq!(project.ids(), ["three", "two"]);
    assert!(!project.result("one").exists());
    assert_eq!(std::fs::read_to_string(&note).unwrap(), "mine");
    assert!(project.result("two").exists() && project.result("three").exists());
    assert!(!project.is_kept("one") && project.is_kept("two") && project.is_kept("three"));
    assert_eq!(did.resisting, Vec::<PathBuf>::new());
}

#[test]
fn a_result_that_somebody_changed_outlives_its_run() {
    let project = Project::new();
    for run in ["one", "two"] {
        project.ended_run(run, 1);
    }
    let result = project.result("one");
    let file = std::fs::File::options().write(true).open(&result).unwrap();
    file.set_modified(SystemTime::now() + Duration::from_mins(1))
        .unwrap();
    let wanted = Cleaning {
        keep: Some(1),
        ..Cleaning::default()
    };
    let did = sweep(&project.history(), &wanted).unwrap();
    assert_eq!(did.runs[0].stay, std::slice::from_ref(&result));
    assert!(result.exists());
    assert_eq!(project.ids(), ["two"]);
}

#[test]
fn while_a_run_is_under_way_neither_it_nor_any_content_goes() {
    let project = Project::new();
    project.ended_run("one", 1);
    let journal = project.run("two", 2);
    let all = Cleaning {
        keep: Some(0),
        ..Cleaning::default()
    };
    let did = sweep(&project.history(), &all).unwrap();
    assert_eq!(did.blobs, None);
    assert_eq!(project.ids(), ["two"]);
    assert!(project.is_kept("one") && project.is_kept("two"));
    assert!(project.result("two").exists());
    drop(journal);
    let did = sweep(&project.history(), &Cleaning::default()).unwrap();
    assert_eq!(did.runs, []);
    assert!(!project.is_kept("one"), "nothing refers to it");
    assert!(project.is_kept("two"), "its run may go on");
}

#[test]
fn only_old_runs_go_when_an_age_is_given() {
    let project = Project::new();
    project.ended_run("one", 1);
    let day = Some(86_400_000);
    let wanted = Cleaning {
        older_than: day,
        ..Cleaning::default()
    };
    assert_eq!(sweep(&project.history(), &wanted).unwrap().runs, []);
    assert_eq!(project.ids(), ["one"]);
}

#[test]
fn another_process_is_asked_and_a_dead_one_is_cleaned_up_after() {
    let project = Project::new();
    let journal = project.run("one", 1);
    journal
        .append(2, vec![assigned(1, 1, 1)])
        .wait_blocking()
        .unwrap();
    let run = RunId::from("one");
    let history = project.history();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let stop = || {
        let stored = history.find("one").unwrap();
        runtime.block_on(cancel(&history, &stored)).unwrap()
    };
    let Cancelled::Asked { process } = stop() else {
        panic!("its process lives");
    };
    assert_eq!(process.pid, std::process::id());
    assert!(project.store.cancel_requested(&run).unwrap());
    drop(journal);
    let Cancelled::Cleaned { jobs } = stop() else {
        panic!("its process is dead");
    };
    // The task that was done has no job any more.
    assert_eq!(jobs.len(), 1);
    assert_eq!(
        (jobs[0].task.as_str(), jobs[0].fate),
        ("sheet", Fate::Unreachable)
    );
    let strays = project.store.strays("http://127.0.0.1:9").unwrap();
    assert_eq!(strays, [jobs[0].prompt_id.clone()]);
    assert_eq!(
        stop(),
        Cancelled::Nothing {
            status: Alive::Cancelled
        }
    );
}

#[test]
fn what_differs_is_told_by_the_name_people_know_it_by() {
    let project = Project::new();
    let old = project.plan(&[]);
    let new = project.plan(&["size=16"]);
    let done = fold(&old, &[assigned(0, 1, 1), ended(0, 1, Vec::new())]);
    let broken = fold(&new, &[assigned(0, 1, 1), failed(0)]);
    let found: Vec<String> = differences(&(old, done), &(new, broken))
        .found
        .into_iter()
        .map(|d| {
            let [old, new] = [d.old, d.new].map(Option::unwrap_or_default);
            format!("{}: {}: {old} → {new}", d.about, d.what)
        })
        .collect();
    assert_eq!(
        found,
        [
            "params: size: 8 → 16",
            "plan: draw.EmptyImage (node 1).width: 8 → 16",
            "tasks: draw: done → failed",
        ]
    );
}

#[test]
fn the_files_of_an_embedded_server_go_only_when_it_is_dead() {
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str| {
        let folder = dir.path().join(name);
        std::fs::create_dir_all(folder.join("output")).unwrap();
        std::fs::write(folder.join("output/a.png"), "x").unwrap();
        folder
    };
    let alive = make("kiln-embedded-a");
    let dead = make("kiln-embedded-b");
    make("kiln-embedded-young");
    make("other");
    let lock = std::fs::File::create(alive.join(crate::embedded::ALIVE)).unwrap();
    lock.try_lock().unwrap();
    std::fs::File::create(dead.join(crate::embedded::ALIVE)).unwrap();
    let found = super::gc::embedded_folders(dir.path());
    assert!(found.iter().all(|file| file.path.starts_with(&dead)));
    assert_eq!(super::gc::remove(&found, None), Vec::<PathBuf>::new());
    assert!(!dead.exists() && alive.exists());
}

#[test]
fn a_replay_tells_of_a_server_that_was_away_and_of_the_end_of_each_session() {
    let project = Project::new();
    let id = RunId::from("20261122-141530-aaaa");
    let journal = project.store.begin(&id, &project.plan(&[]), 1000).unwrap();
    let endpoint = EndpointIx(0);
    let facts = [
        (2000, Fact::ServerUp { endpoint }),
        (2000, assigned(0, 1, 1)),
        (3000, Fact::ServerDown { endpoint }),
        (4000, Fact::ServerUp { endpoint }),
        (5000, failed(0)),
        (
            6000,
            Fact::Finished {
                status: RunStatus::Failed,
            },
        ),
        (9000, Fact::Resumed { again: Vec::new() }),
        (9500, ended(0, 2, Vec::new())),
    ];
    for (at, fact) in facts {
        journal.append(at, vec![fact]).wait_blocking().unwrap();
    }
    let counts = Counts::default();
    let finished = journal.finish(9900, RunStatus::Done, 0, counts);
    finished.wait_blocking().unwrap();
    let history = project.history();
    let run = history.find(&id.0).unwrap();
    let told = replayed(&history, &run).unwrap();
    let word = |(at, event): &(i64, _)| {
        let event = serde_json::to_value(event).unwrap();
        let status = event["status"].as_str().unwrap_or_default();
        format!("{at} {} {status}", event["event"].as_str().unwrap())
    };
    let words: Vec<String> = told.events.iter().map(word).collect();
    assert_eq!(
        words,
        [
            "1000 run_started ",
            "3000 server_lost ",
            "4000 server_back ",
            "5000 task_finished failed",
            "6000 run_finished failed",
            "9000 run_started ",
            "9500 task_finished done",
            "9900 run_finished done",
        ]
    );
}
