//! What a killed kiln leaves behind, and what an endpoint leaves behind that never answered.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Project, Server};

/// A text with at least so many lines, once it is there.
fn lines(path: &Path, count: usize) -> Vec<String> {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() >= count && text.ends_with('\n') {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{text:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn start(project: &Project, args: &[&str]) -> Child {
    let mut command = project.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

#[cfg(target_os = "linux")]
fn is_alive(id: &str) -> bool {
    // It may stay a zombie where nobody reaps orphans.
    std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
#[cfg(target_os = "linux")]
fn a_command_outlives_any_number_of_kills_and_never_runs_twice_at_a_time() {
    let project = Project::new();
    let script = "echo $$ >> ../../../../pids; while ! test -e ../../../../go; do sleep 0.05; done; echo x > f.txt";
    project.file(
        "p.yaml",
        format!("steps:\n  a: {{ command: [sh, -c, \"{script}\"], outputs: {{ f: f.txt }} }}\n"),
    );
    let pids = project.path().join("pids");
    for session in 1..=5 {
        let args: &[&str] = match session {
            1 => &["run", "p.yaml"],
            _ => &["run", "--resume", "last"],
        };
        let mut kiln = start(&project, args);
        let started = lines(&pids, session);
        let alive = started.iter().filter(|id| is_alive(id)).count();
        assert_eq!(alive, 1, "{started:?}");
        kiln.kill().unwrap();
        kiln.wait().unwrap();
    }
    project.file("go", "");
    let done = project.kiln(&["run", "--resume", "last"]).ok();
    done.says("under way when kiln was stopped");
    done.says_not("does not know");
    assert!(project.path().join("outputs/p/latest/a/f.txt").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn cancelling_a_dead_run_ends_its_programs() {
    let project = Project::new();
    project.file(
        "p.yaml",
        "steps:\n  a: { command: [sh, -c, \"echo $$ >> ../../../../pids; sleep 300\"] }\n",
    );
    let mut kiln = start(&project, &["run", "p.yaml"]);
    let left = lines(&project.path().join("pids"), 1).remove(0);
    kiln.kill().unwrap();
    kiln.wait().unwrap();
    assert!(is_alive(&left));
    project.kiln(&["cancel", "last"]).ok();
    let began = Instant::now();
    while is_alive(&left) {
        assert!(began.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_goes_to_another_endpoint_was_not_lost() {
    let server = Server::start(&["--jobs", "1"]);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let nowhere = nobody.local_addr().unwrap();
    drop(nobody);
    let project = Project::new();
    project.file(
        "kiln.yaml",
        format!(
            "servers:\n  farm: {{ urls: [\"http://{nowhere}\", \"{}\"] }}\ndefault_server: farm\n",
            server.url
        ),
    );
    project.file(
        "p.yaml",
        "steps:\n  draw:\n    workflow: w.json\n    matrix: { i: [1, 2, 3, 4, 5, 6] }\n    set: { EmptyImage: { color: \"{{ matrix.i }}\" } }\n",
    );
    project.file(
        "w.json",
        r#"{"1":{"class_type":"EmptyImage","inputs":{"width":16,"height":16,"batch_size":1,"color":0}},
            "2":{"class_type":"SaveImage","inputs":{"images":["1",0],"filename_prefix":"x"}}}"#,
    );
    let done = project.kiln(&["run", "p.yaml"]).ok();
    done.says_not("K0503");
    done.says_not("again in");
}

#[test]
fn of_hundreds_of_failures_the_first_are_told_and_the_others_counted() {
    let project = Project::new();
    project.file(
        "p.yaml",
        "steps:\n  a:\n    matrix: { i: \"{{ range(60) }}\" }\n    command: [\"false\"]\n",
    );
    let done = project.kiln(&["run", "-k", "p.yaml"]).code(4);
    let told = done.stderr.matches("error[K0510]").count();
    assert_eq!(told, 20, "{}", done.stderr);
    done.says("… and 40 more");
    done.says("60 errors");
}
