//! The program is killed with SIGKILL at many points of its journal and resumed: no file is lost, no job done twice.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use super::{Dice, assert_right, long, two_by};
use crate::support::{Server, quiet};

const COUNT: u64 = 6;

/// Facts that a whole run of the pipeline writes, about.
const FACTS: u64 = 75;

/// Rows of the journal so far.
fn facts(database: &Path) -> u64 {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    Connection::open_with_flags(database, flags)
        .and_then(|c| {
            c.query_row(
                "SELECT coalesce(sum(json_array_length(facts)), 0) FROM journal",
                [],
                |row| row.get::<_, u32>(0),
            )
        })
        .map_or(0, u64::from)
}

/// Runs the pipeline, kills it once its journal has `point` rows, resumes, and looks at what came out. Gives whether it was killed.
fn kill_at(point: u64, jitter: Duration) -> bool {
    let server = Server::start(&["--jobs", "2"]);
    let project = two_by(COUNT, 160);
    let mut child = quiet(&mut project.command(&["run", "p.yaml", "--server", &server.url]))
        .spawn()
        .unwrap();
    let database = project.path().join(".kiln/kiln.db");
    let began = Instant::now();
    let killed = loop {
        if child.try_wait().unwrap().is_some() {
            break false;
        }
        if facts(&database) >= point {
            std::thread::sleep(jitter);
            child.kill().unwrap();
            child.wait().unwrap();
            break true;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "it hangs");
    };
    if killed && facts(&database) > 0 {
        let resumed = project.kiln(&["run", "--resume", "last"]);
        assert_eq!(resumed.code, 0, "point {point}: {}", resumed.stderr);
    } else {
        // Killed before there was anything to resume, or done.
        project
            .kiln(&["run", "p.yaml", "--server", &server.url])
            .ok();
    }
    assert_right(&project.path().join("outputs/p/latest"), COUNT);
    let done = server.carried_out("draw") + server.carried_out("invert");
    assert_eq!(done as u64, 2 * COUNT, "point {point}: a job ran twice");
    killed
}

#[test]
fn killed_at_any_point_of_the_journal_a_run_resumes_without_doing_a_job_twice() {
    let points = if long() { 200 } else { 10 };
    let mut dice = Dice(11);
    let mut killed = 0;
    for at in 0..points {
        let point = 1 + at * FACTS / points;
        let jitter = Duration::from_micros(dice.roll(4000));
        killed += u64::from(kill_at(point, jitter));
    }
    assert!(killed * 2 > points, "only {killed} of {points} were killed");
}

#[test]
fn a_run_that_is_killed_again_and_again_still_ends() {
    let server = Server::start(&[]);
    let project = two_by(COUNT, 160);
    let database = project.path().join(".kiln/kiln.db");
    let mut dice = Dice(5);
    let mut resumed = false;
    for _ in 0..60 {
        let args: &[&str] = if resumed {
            &["run", "--resume", "last"]
        } else {
            &["run", "p.yaml", "--server", &server.url]
        };
        let mut child = quiet(&mut project.command(args)).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + dice.roll(120)));
        let ended = child.try_wait().unwrap();
        let _ = child.kill();
        child.wait().unwrap();
        if let Some(status) = ended {
            assert!(status.success(), "{status}");
            break;
        }
        resumed |= facts(&database) > 0;
    }
    if resumed {
        project.kiln(&["run", "--resume", "last"]).ok();
    }
    assert_right(&project.path().join("outputs/p/latest"), COUNT);
    let done = server.carried_out("draw") + server.carried_out("invert");
    assert_eq!(done as u64, 2 * COUNT, "a job ran twice");
}
