//! A disk that is full at one place or another: what was finished is kept, and a later session goes on.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kiln::base::{DiskStep, DiskWatcher, watch_disk};
use kiln::report::JsonReporter;
use kiln::session::{Request, Wishes, run};
use serde_json::Value;

use super::{ask, assert_colour, latest, server, there};
use crate::support::{Project, Running, Server, files, finish, quick};

/// A disk on which nothing can be written below the folders that `full` names.
struct Full {
    full: fn(&Path) -> bool,
    met: Arc<AtomicBool>,
}

impl DiskWatcher for Full {
    fn before(&self, step: DiskStep<'_>) -> io::Result<()> {
        let writes = matches!(step, DiskStep::Write(..));
        if writes && (self.full)(step.path()) {
            self.met.store(true, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

/// What a run told while the disk was full; the exit code with it.
fn with_full(project: &Project, server: &Server, full: fn(&Path) -> bool) -> (u8, Vec<Value>) {
    let told = tempfile::NamedTempFile::new().unwrap();
    let met = Arc::new(AtomicBool::new(false));
    let watcher = Full {
        full,
        met: Arc::clone(&met),
    };
    let watching = watch_disk(project.path(), Arc::new(watcher));
    let request = Request {
        file: project.path().join("p.yaml"),
        server: Some(server.url.clone()),
        ..Request::default()
    };
    let reporter = JsonReporter::new(io::sink(), told.reopen().unwrap());
    let code = run(&request, &Wishes::default(), Box::new(reporter)).unwrap();
    drop(watching);
    assert!(met.load(Ordering::SeqCst), "nothing met the full disk");
    let text = std::fs::read_to_string(told.path()).unwrap();
    let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (code, events.collect())
}

fn two() -> Project {
    Project::with(
        "steps:\n  one: { workflow: quick.json, save_as: one, set: { EmptyImage: { color: 1 } } }\n  two: { workflow: quick.json, needs: [one], save_as: two, set: { EmptyImage: { color: 2 } } }\n",
        &[("quick", quick(0))],
    )
}

#[test]
fn a_disk_that_is_full_while_a_result_is_fetched_fails_its_task_and_no_other() {
    let server = server();
    let project = two();
    let (code, events) = with_full(&project, &server, |path| {
        path.components().any(|part| part.as_os_str() == "two")
    });
    assert_eq!(code, 4, "{events:#?}");
    let failed = events
        .iter()
        .find(|e| e["event"] == "task_finished" && e["task"] == "two");
    assert_eq!(
        failed.unwrap()["diagnostic"]["code"],
        "K0506",
        "{events:#?}"
    );
    assert_eq!(files(&latest(&project)), ["one/one.png"]);
    let mut again = Running::start(&project, &["--resume", "last"]);
    assert_eq!(again.end(), 0, "{:#?}", again.events);
    assert_colour(&latest(&project).join("two/two.png"), [0, 0, 2]);
    assert_eq!(again.all("task_started").len(), 1);
}

#[test]
fn a_disk_that_is_full_while_a_blob_is_kept_costs_the_cache_and_nothing_else() {
    let server = server();
    let project = two();
    let (code, events) = with_full(&project, &server, |path| {
        path.components().any(|part| part.as_os_str() == "blobs")
    });
    assert_eq!(code, 0, "{events:#?}");
    let warned = events.iter().filter(|e| e["event"] == "task_warning");
    let codes: Vec<_> = warned
        .map(|e| e["diagnostic"]["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, ["K0703", "K0703"]);
    assert_colour(&latest(&project).join("one/one.png"), [0, 0, 1]);
    assert_colour(&latest(&project).join("two/two.png"), [0, 0, 2]);
    assert_eq!(files(&project.path().join(".kiln/blobs")), [""; 0]);
    let mut again = Running::start(&project, &["p.yaml", "--server", &server.url]);
    assert_eq!(again.end(), 0, "{:#?}", again.events);
    assert_eq!(again.events.last().unwrap()["counts"]["done"], 2);
    let mut third = Running::start(&project, &["p.yaml", "--server", &server.url]);
    assert_eq!(third.end(), 0, "{:#?}", third.events);
    assert_eq!(third.events.last().unwrap()["counts"]["cached"], 2);
}

#[test]
#[cfg(unix)]
fn a_disk_that_is_full_while_the_journal_is_written_ends_the_run_and_loses_nothing() {
    const COUNT: usize = 150;
    let server = server();
    let project = Project::of_many(COUNT);
    let program = project.command(&[]);
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -f 2048; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(["run", "p.yaml", "--server", &server.url])
        .env("NO_COLOR", "1")
        .current_dir(project.path());
    let broken = finish(&mut limited).code(7);
    assert!(
        broken
            .stderr
            .contains("error[K0701]: could not write kiln's state"),
        "{}",
        broken.stderr
    );
    assert!(there(&server).is_empty());
    let known = ask(
        &project,
        "SELECT sum(json_array_length(facts)) FROM journal",
    )
    .unwrap();
    assert!(known > 0, "it was full from the beginning");
    let done = server.carried_out("quick");
    assert!(done < COUNT, "it was never full");
    let mut again = Running::start(&project, &["--resume", "last"]);
    assert_eq!(again.end(), 0, "{:#?}", again.events.last());
    for at in 0..COUNT {
        let colour = u8::try_from(at).unwrap();
        assert_colour(
            &latest(&project).join(format!("s{at}/it.png")),
            [0, 0, colour],
        );
    }
    assert_eq!(server.carried_out("quick"), COUNT, "a job ran twice");
}
