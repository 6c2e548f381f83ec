//! What stdout and stderr get when one of them fails, and when the user wants to stop.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::support::{Project, Server, blurred, signal, wait_for};

const QUICK: &str = r#"{
  "1": { "class_type": "EmptyImage", "inputs": { "width": 8, "height": 8, "batch_size": 1, "color": 0 } },
  "9": { "class_type": "SaveImage", "inputs": { "images": ["1", 0], "filename_prefix": "x" } }
}"#;

fn project() -> Project {
    Project::of(&[
        ("w.json", QUICK),
        (
            "p.yaml",
            "steps:\n  a: { workflow: w.json, cache: false }\n  b: { workflow: w.json, cache: false, needs: [a] }\n",
        ),
    ])
}

#[cfg(target_os = "linux")]
#[test]
fn a_stdout_that_cannot_be_written_is_told_once_and_the_run_goes_on() {
    for output in ["text", "json"] {
        let project = project();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let child = project
            .command(&["run", "p.yaml", "--output", output])
            .stdout(full)
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let done = child.wait_with_output().unwrap();
        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(1), "{told}");
        let complaint = "error: could not write to stdout: No space left on device";
        assert_eq!(told.matches(complaint).count(), 1, "{told}");
        assert_eq!(told.contains("2 done"), output == "text", "{told}");
        let latest = project.path().join("outputs/p/latest");
        assert!(latest.join("a/x_00001_.png").exists());
        assert!(latest.join("b/x_00001_.png").exists());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_failed_run_keeps_its_exit_code_when_stdout_cannot_be_written() {
    let project = project();
    project.file("p.yaml", "steps:\n  a: { workflow: none.json }\n");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = project
        .command(&["run", "p.yaml", "--output", "json"])
        .stdout(full)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn a_reader_of_stdout_that_leaves_is_no_error() {
    for output in ["text", "json"] {
        let project = project();
        let mut child = project
            .command(&["run", "p.yaml", "--output", output])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(0), "{told}");
        assert!(!told.contains("error"), "{told}");
        assert_eq!(told.contains("2 done"), output == "text", "{told}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_stderr_that_cannot_be_written_keeps_no_path_from_stdout() {
    let project = project();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let done = project
        .command(&["run", "p.yaml"])
        .stderr(full)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(done.status.code(), Some(0));
    assert_eq!(String::from_utf8(done.stdout).unwrap().lines().count(), 2);
}

#[cfg(unix)]
#[test]
fn the_summary_names_latest_when_it_is_this_run() {
    let project = project();
    let done = project.kiln(&["run", "p.yaml"]).ok();
    let last = done.stderr.lines().last().unwrap();
    assert!(
        last.ends_with(" · 2 done · results in outputs/p/latest"),
        "{last}"
    );
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    let events = done.json_lines();
    let latest = events.last().unwrap()["latest"].as_str().unwrap();
    assert!(latest.ends_with("outputs/p/latest"), "{latest}");
}

#[test]
fn help_without_a_place_has_no_empty_gutter() {
    let project = Project::new();
    project.file("pipeline.yaml", "");
    let done = project.kiln(&["run", "pipelin.yaml"]);
    done.says("\n  = help: ");
    assert!(
        done.stderr.lines().all(|l| l.trim() != "|"),
        "{}",
        done.stderr
    );
}

#[cfg(unix)]
#[test]
fn each_ctrl_c_is_answered_at_once() {
    let server = Server::start(&[]);
    let project = project();
    project.file("w.json", blurred(3, 4096, 9).to_string());
    project.file(
        "kiln.yaml",
        format!(
            "servers: {{ workstation: {{ url: '{}' }} }}\ndefault_server: workstation\n",
            server.url
        ),
    );
    let mut child = project
        .command(&["run", "p.yaml"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("ComfyUI") {
        line.clear();
        assert_ne!(told.read_line(&mut line).unwrap(), 0);
    }
    // Nothing tells people that a job was queued; the server knows.
    wait_for("the job to run", || server.jobs().0.pop());
    std::thread::sleep(std::time::Duration::from_millis(200));
    signal(&child, "-INT");
    line.clear();
    told.read_line(&mut line).unwrap();
    let stopping = line.trim_end().to_owned();
    signal(&child, "-INT");
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(
        stopping,
        "stopping: waiting for 1 job to end on workstation (Ctrl-C again to leave at once)"
    );
    assert!(
        rest.contains("leaving: 1 job may still be on workstation\n"),
        "{rest}"
    );
    assert!(rest.contains("2 cancelled"), "{rest}");
}
