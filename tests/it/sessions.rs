//! Runs over several sessions and several servers: resumed, taken over, stopped from elsewhere.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Project, Server};

fn get(url: &str, path: &str) -> Value {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or(Value::Null)
}

/// Ids of all jobs that a server has executed.
fn executed(server: &Server) -> Vec<String> {
    let history = get(&server.url, "/history");
    history.as_object().unwrap().keys().cloned().collect()
}

#[track_caller]
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "waited for {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A workflow that takes some hundred milliseconds for every few nodes.
fn slow(colour: u32, nodes: usize) -> Value {
    let mut graph = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 1500, "height": 1500, "batch_size": 1, "color": colour}},
        "99": {"class_type": "SaveImage", "inputs": {"images": [nodes.to_string(), 0], "filename_prefix": "slow"}}
    });
    for node in 2..=nodes {
        graph[node.to_string()] = json!({
            "class_type": "ImageBlur",
            "inputs": {"image": [(node - 1).to_string(), 0], "blur_radius": 31, "sigma": 10.0}
        });
    }
    graph
}

struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Running {
    fn start(project: &Project, more: &[&str]) -> Self {
        let mut child = project
            .command(&["run", "p.yaml", "--output", "json"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    #[track_caller]
    fn until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        for line in self.lines.by_ref() {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if wanted(&event) {
                return event;
            }
        }
        panic!("it did not happen");
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn rest(mut self) -> (Vec<Value>, i32) {
        let lines = self.lines.by_ref();
        let events = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let events = events.collect();
        (events, self.child.wait().unwrap().code().unwrap())
    }
}

fn statuses(events: &[Value]) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let ends = events.iter().filter(|e| e["event"] == "task_finished");
    let mut ends: Vec<_> = ends
        .map(|e| (text(&e["task"]), text(&e["status"])))
        .collect();
    ends.sort();
    ends
}

#[test]
fn a_resumed_run_does_not_do_again_what_is_done() {
    let project = Project::new();
    let (log, flag) = (project.path().join("log"), project.path().join("flag"));
    project.file(
        "p.yaml",
        format!(
            r#"steps:
  list: {{ command: [sh, -c, "echo list >> {log}; echo [1,2]"] }}
  each:
    for_each: "{{{{ steps.list.data + [] }}}}"
    command: [sh, -c, "echo each >> {log}; test {{{{ item }}}} = 1 || test -e {flag}"]
  last: {{ command: [sh, -c, "echo last >> {log}"], needs: [each] }}
"#,
            log = log.display(),
            flag = flag.display()
        ),
    );
    let first = project.kiln(&["run", "p.yaml", "--output", "json"]).code(4);
    let run: Value = serde_json::from_str(first.stdout.lines().next().unwrap()).unwrap();
    std::fs::write(&flag, "").unwrap();
    let (events, code) = Running::start(&project, &["--resume", "last"]).rest();
    assert_eq!(code, 0);
    assert_eq!(events[0]["run"], run["run"], "it is the same run");
    let log = std::fs::read_to_string(&log).unwrap();
    assert_eq!(log, "list\neach\neach\neach\nlast\n");
    let counts = &events.last().unwrap()["counts"];
    assert_eq!((&counts["done"], &counts["failed"]), (&json!(4), &json!(0)));
}

#[test]
fn a_job_that_outlived_kiln_is_taken_over_and_one_that_ended_is_collected() {
    let server = Server::start(&["--jobs", "1"]);
    let project = Project::new();
    project.file(
        "p.yaml",
        "steps:\n  a: { workflow: a.json }\n  b: { workflow: b.json, needs: [a] }\n  c: { workflow: c.json }\n",
    );
    project.file("a.json", slow(1, 12).to_string());
    project.file("b.json", slow(2, 2).to_string());
    project.file("c.json", slow(3, 12).to_string());
    let run = Running::start(&project, &["--server", &server.url]);
    wait_for("both jobs to be there", || {
        let queue = get(&server.url, "/queue");
        let pending = queue["queue_pending"].as_array()?.len();
        let running = queue["queue_running"].as_array()?.len();
        (pending + running == 2).then_some(())
    });
    run.kill();
    let (events, code) = Running::start(&project, &["--resume", "last"]).rest();
    assert_eq!(code, 0, "{events:#?}");
    let done = |task: &str| (task.to_owned(), "done".to_owned());
    assert_eq!(statuses(&events), [done("a"), done("b"), done("c")]);
    assert_eq!(executed(&server).len(), 3, "no job ran twice");
    for step in ["a", "b", "c"] {
        let folder = project.path().join("outputs/p/latest").join(step);
        let pictures = std::fs::read_dir(&folder).unwrap();
        let pictures = pictures.filter(|entry| {
            let path = entry.as_ref().unwrap().path();
            path.extension().is_some_and(|extension| extension == "png")
        });
        assert_eq!(pictures.count(), 1, "{}", folder.display());
    }
}

#[test]
fn a_result_that_was_lost_between_two_sessions_is_restored() {
    let project = Project::new();
    let flag = project.path().join("flag");
    project.file(
        "p.yaml",
        format!(
            "steps:\n  a: {{ command: [sh, -c, \"echo x > a.txt\"], outputs: {{ it: a.txt }} }}\n  b: {{ command: [test, -e, {}], needs: [a] }}\n",
            flag.display()
        ),
    );
    project.kiln(&["run", "p.yaml"]).code(4);
    let file = project.path().join("outputs/p/latest/a/a.txt");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&flag, "").unwrap();
    let (events, code) = Running::start(&project, &["--resume", "last"]).rest();
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "x\n");
    let ran = events.iter().filter(|e| e["event"] == "task_started");
    assert_eq!(ran.map(|e| &e["task"]).collect::<Vec<_>>(), [&json!("b")]);
}

#[test]
fn a_result_that_someone_edits_between_two_sessions_is_left_alone_and_goes_on_as_it_was() {
    let project = Project::new();
    let flag = project.path().join("flag");
    project.file(
        "p.yaml",
        format!(
            "steps:\n  a: {{ command: [sh, -c, \"echo right > a.txt\"], outputs: {{ it: a.txt }} }}\n  b: {{ command: [test, -e, {}], needs: [a] }}\n  c: {{ command: [cp, \"{{{{ steps.a.file }}}}\", c.txt], outputs: {{ it: c.txt }}, needs: [b] }}\n",
            flag.display()
        ),
    );
    project.kiln(&["run", "p.yaml"]).code(4);
    let latest = project.path().join("outputs/p/latest");
    let file = latest.join("a/a.txt");
    std::fs::write(&file, "mine\n").unwrap();
    std::fs::write(&flag, "").unwrap();
    let (events, code) = Running::start(&project, &["--resume", "last"]).rest();
    assert_eq!(code, 0, "{events:#?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine\n");
    let made = std::fs::read_to_string(latest.join("c/c.txt"));
    assert_eq!(made.unwrap(), "right\n");
}

#[test]
fn a_server_of_a_pool_that_dies_loses_no_task() {
    let (first, second) = (
        Server::start(&["--jobs", "1"]),
        Server::start(&["--jobs", "1"]),
    );
    let project = Project::new();
    project.file(
        "kiln.yaml",
        format!(
            "servers:\n  farm: {{ urls: [{}, {}], max_jobs: 1, lost_after: 1s }}\ndefault_server: farm\n",
            first.url, second.url
        ),
    );
    project.file(
        "p.yaml",
        "steps:\n  draw:\n    workflow: w.json\n    matrix: { i: [1, 2, 3, 4, 5, 6] }\n    set: { EmptyImage: { color: \"{{ matrix.i }}\" } }\n    save_as: \"{{ matrix.i }}\"\n",
    );
    project.file("w.json", slow(1, 6).to_string());
    let mut run = Running::start(&project, &[]);
    run.until(|e| e["event"] == "task_finished");
    drop(first);
    let (events, code) = run.rest();
    assert_eq!(code, 0, "{events:#?}");
    for i in 1..=6 {
        let file = format!("outputs/p/latest/draw/{i}.png");
        assert!(project.path().join(&file).exists(), "{file}");
    }
    assert!(!executed(&second).is_empty());
}

#[test]
fn another_process_can_stop_a_run() {
    let project = Project::new();
    project.file("p.yaml", "steps:\n  long: { command: [sleep, 300] }\n");
    let mut run = Running::start(&project, &[]);
    let event = run.until(|e| e["event"] == "task_executing");
    let id = event["run"].as_str().unwrap().to_owned();
    project.kiln(&["cancel", &id]).ok();
    let (events, code) = run.rest();
    assert_eq!(code, 130, "{events:#?}");
    let stopping = events
        .iter()
        .find(|e| e["event"] == "run_stopping")
        .unwrap();
    assert_eq!(stopping["reason"], "requested");
}
