//! `kiln server`: looking after a server, through the real program on the embedded server and on servers that follow a script.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{Done, Project, Server, Spoken, quick, settled, slow, wait_for};

fn told(project: &Project, done: &Done) -> String {
    let text = format!("{}{}", done.stdout, done.stderr);
    let text = settled(&text, project.path());
    // A job's id and how much memory the machine has differ from run to run.
    let id = regex_lite::Regex::new(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").unwrap();
    let memory = regex_lite::Regex::new(r"\d+\.\d GB of \d+\.\d GB").unwrap();
    let text = id.replace_all(&text, "[id]");
    memory.replace_all(&text, "[n] of [m]").into_owned()
}

fn ask(server: &str, words: &[&str]) -> (Project, Done) {
    let project = Project::new();
    let args = [&["server"], words, &["--server", server]].concat();
    let done = project.kiln(&args);
    (project, done)
}

fn busy(server: &Server) -> (String, String) {
    let running = server.queue(&slow(1, 60));
    wait_for("a job that runs", || {
        server.jobs().0.contains(&running).then_some(())
    });
    let waiting = server.queue(&quick(2));
    (running, waiting)
}

#[test]
fn a_server_tells_what_it_is() {
    let server = Server::start(&[]);
    let (project, done) = ask(&server.url, &["status"]);
    insta::assert_snapshot!(told(&project, &done.ok()));
    let (_, done) = ask(&server.url, &["status", "--output", "json"]);
    let row = &done.ok().json_lines()[0];
    assert_eq!(
        (&row["reachable"], &row["kind"]),
        (&json!(true), &json!("embedded"))
    );
    assert_eq!(
        (&row["version"], &row["support"]),
        (&json!("0.33.0"), &json!("verified"))
    );
}

#[test]
fn every_declared_server_is_shown_also_those_that_are_down() {
    let server = Server::start(&[]);
    let project = Project::of(&[(
        "kiln.yaml",
        &format!(
            "servers:\n  up: {{ url: {} }}\n  gone: {{ url: \"http://127.0.0.1:9\" }}\n",
            server.url
        ),
    )]);
    let done = project.kiln(&["server", "status"]).code(5);
    assert!(
        done.stdout.contains("up    up") || done.stdout.contains("up  up"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.contains("gone  down"), "{}", done.stdout);
    done.says("K0401");
}

#[test]
fn servers_that_are_none() {
    let page = Spoken::start(|_| {
        (
            200,
            "text/html",
            "<!doctype html>\n<title>Router</title>".to_owned(),
        )
    });
    let locked = Spoken::start(|_| {
        (
            401,
            "application/json",
            r#"{"error": "login first"}"#.to_owned(),
        )
    });
    let mut all = String::new();
    for (what, url) in [
        ("down", "http://127.0.0.1:9"),
        ("page", &page.url),
        ("locked", &locked.url),
    ] {
        let (project, done) = ask(url, &["queue"]);
        let done = done.code(5);
        let _ = write!(all, "-- {what}\n{}", told(&project, &done));
    }
    insta::assert_snapshot!(all);
}

#[test]
fn classes_are_found_by_pattern_and_shown_by_name() {
    let server = Server::start(&[]);
    let (project, done) = ask(&server.url, &["nodes", "scale"]);
    let list = done.ok();
    assert!(
        list.stdout.contains("ImageScaleBy") && !list.stdout.contains("SaveImage"),
        "{}",
        list.stdout
    );
    let (_, done) = ask(&server.url, &["nodes", "ImageBlur"]);
    insta::assert_snapshot!(told(&project, &done.ok()));
    let (_, done) = ask(&server.url, &["nodes", "ImageBlur", "--output", "json"]);
    let node = &done.ok().json_lines()[0];
    let radius = node["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|i| i["name"] == "blur_radius");
    assert_eq!(radius.unwrap()["max"], 31);
    let (project, done) = ask(&server.url, &["nodes", "ImageBlurr"]);
    insta::assert_snapshot!("a_class_that_is_not_there", told(&project, &done.code(2)));
}

#[test]
fn models_are_listed_by_folder() {
    let server = Server::start(&[]);
    let (_, done) = ask(&server.url, &["models", "--output", "json"]);
    let rows = done.ok().json_lines();
    assert!(
        rows.iter()
            .any(|row| row["folder"] == "checkpoints" && row["files"] == 0)
    );
    let (_, done) = ask(&server.url, &["models", "checkpoints"]);
    assert!(done.ok().stdout.contains("has nothing in `checkpoints`"));
    let (project, done) = ask(&server.url, &["models", "chekpoints"]);
    insta::assert_snapshot!(told(&project, &done.code(2)));
}

#[test]
fn only_the_job_that_is_named_is_cancelled() {
    let server = Server::start(&[]);
    let (running, waiting) = busy(&server);
    let rows = ask(&server.url, &["queue", "--output", "json"])
        .1
        .ok()
        .json_lines();
    assert_eq!(rows[0]["id"], running.as_str());
    assert_eq!(
        (&rows[1]["state"], &rows[1]["before"]),
        (&json!("waiting"), &json!(1))
    );
    assert_eq!(rows[1]["own"], Value::Null);
    assert!(
        rows[1]["titles"]
            .as_array()
            .unwrap()
            .contains(&json!("SaveImage"))
    );

    let other = server.queue(&quick(3));
    let (project, done) = ask(&server.url, &["cancel", "none"]);
    insta::assert_snapshot!("a_job_that_is_not_there", told(&project, &done.code(2)));
    let (_, done) = ask(&server.url, &["cancel", &waiting]);
    assert!(
        done.ok()
            .stdout
            .contains(&format!("took out job {waiting}"))
    );
    assert_eq!(server.jobs(), (vec![running], vec![other]));
}

#[test]
fn a_foreign_job_is_interrupted_only_when_it_is_meant() {
    let server = Server::start(&[]);
    let (running, waiting) = busy(&server);
    let (project, done) = ask(&server.url, &["interrupt"]);
    insta::assert_snapshot!(told(&project, &done.code(2)));
    assert_eq!(server.jobs().0, [running.as_str()], "it goes on");
    let (_, done) = ask(&server.url, &["interrupt", &waiting]);
    done.code(2).says("does not run: it waits");
    let (_, done) = ask(&server.url, &["interrupt", &running[..8]]);
    assert!(done.ok().stdout.starts_with("stopped job"));
    wait_for("the end of the job", || server.status(&running));
    assert_eq!(server.status(&running).as_deref(), Some("error"));
    wait_for("the other job", || server.status(&waiting));
    assert_eq!(server.status(&waiting).as_deref(), Some("success"));
}

#[test]
fn clearing_spares_what_runs_and_asks_before_it_takes_what_is_foreign() {
    let server = Server::start(&[]);
    let (running, _) = busy(&server);
    let (project, done) = ask(&server.url, &["clear"]);
    insta::assert_snapshot!(told(&project, &done.code(2)));
    assert_eq!(server.jobs().1.len(), 1);
    let (_, done) = ask(&server.url, &["clear", "--yes", "--output", "json"]);
    assert_eq!(
        done.ok().json_lines()[0]["stopped"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(server.jobs(), (vec![running], Vec::new()));
}

#[test]
fn a_job_of_a_run_of_this_project_is_known_and_needs_no_yes() {
    let server = Server::start(&[]);
    let project = Project::of(&[
        ("p.yaml", "steps:\n  draw: { workflow: w.json }\n"),
        ("w.json", &slow(5, 60).to_string()),
        (
            "kiln.yaml",
            &format!(
                "servers: {{ main: {{ url: {} }} }}\ndefault_server: main\n",
                server.url
            ),
        ),
    ]);
    let mut run = project.command(&["run", "p.yaml"]);
    let mut child = crate::support::quiet(&mut run).spawn().unwrap();
    wait_for("a job that runs", || {
        (!server.jobs().0.is_empty()).then_some(())
    });
    let rows = project
        .kiln(&["server", "queue", "--output", "json"])
        .ok()
        .json_lines();
    assert_eq!(rows[0]["own"]["task"], "draw", "{rows:?}");
    let done = project.kiln(&["server", "interrupt"]).ok();
    assert!(done.stdout.contains(", draw of run "), "{}", done.stdout);
    assert!(
        !child.wait().unwrap().success(),
        "the run was told that its job was stopped"
    );
}

#[test]
fn what_ended_is_listed_and_forgotten_by_name() {
    let server = Server::start(&[]);
    let first = server.queue(&quick(1));
    let second = server.queue(&quick(2));
    wait_for("both jobs", || {
        server.status(&first).and(server.status(&second))
    });
    let rows = ask(&server.url, &["history", "--output", "json"])
        .1
        .ok()
        .json_lines();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (&rows[0]["id"], &rows[0]["status"]),
        (&json!(second), &json!("succeeded"))
    );
    assert_eq!(rows[0]["results"], 1);
    let rows = ask(&server.url, &["history", "-n", "1", "--output", "json"])
        .1
        .ok()
        .json_lines();
    assert_eq!(rows.len(), 1);
    let (_, done) = ask(&server.url, &["history", "--delete", &first]);
    assert!(done.ok().stdout.contains("has forgotten 1 job"));
    assert!(server.status(&first).is_none() && server.status(&second).is_some());
    ask(&server.url, &["history", "--clear"]).1.ok();
    assert!(server.status(&second).is_none());
}

#[test]
fn a_saved_catalog_serves_checks_without_the_server() {
    let server = Server::start(&[]);
    let project = Project::of(&[("w.json", &quick(1).to_string())]);
    let args = [
        "server",
        "catalog",
        "-o",
        "studio.json",
        "--server",
        &server.url,
    ];
    let done = project.kiln(&args).ok();
    assert!(done.stdout.ends_with("in studio.json\n"), "{}", done.stdout);
    drop(server);
    project
        .kiln(&["check", "w.json", "--catalog", "studio.json"])
        .ok();
    let unknown = json!({"1": {"class_type": "KSampler", "inputs": {}}}).to_string();
    project.file("x.json", unknown);
    project
        .kiln(&["check", "x.json", "--catalog", "studio.json"])
        .code(3)
        .says("K0201");
}

#[test]
fn a_catalog_goes_to_stdout_as_one_document() {
    let (_, done) = ask("embedded", &["catalog", "-o", "-"]);
    let saved: Value = serde_json::from_str(&done.ok().stdout).unwrap();
    assert_eq!(saved["kiln_catalog"], 1);
    assert!(saved["object_info"]["SaveImage"].is_object());
    assert!(saved["models"]["loras"].is_array());
}

#[test]
fn installing_without_a_manager_says_what_to_install() {
    let server = Server::start(&[]);
    let (project, done) = ask(
        &server.url,
        &["install", "node", "https://example.org/pack"],
    );
    insta::assert_snapshot!(told(&project, &done.code(5)));
    let args = [
        "install",
        "model",
        "https://example.org/a.safetensors",
        "--folder",
        "loras",
    ];
    let (_, done) = ask(&server.url, &args);
    done.code(5).says("models/loras/a.safetensors");
    let (_, done) = ask(&server.url, &["install", "node", "git@example.org:pack"]);
    done.code(2)
        .says("is no address that a server could fetch from");
}

#[test]
fn a_manager_that_may_not_says_so() {
    let server = Spoken::start(|line| match line {
        line if line.contains("/system_stats") => (
            200,
            "application/json",
            r#"{"system": {"comfyui_version": "0.33.0"}, "devices": []}"#.to_owned(),
        ),
        line if line.contains("/manager/queue/status") => (
            200,
            "application/json",
            r#"{"total_count": 0, "done_count": 0, "is_processing": false}"#.to_owned(),
        ),
        line if line.contains("/manager/") => (403, "text/plain", String::new()),
        _ => (404, "text/plain", String::new()),
    });
    let (project, done) = ask(
        &server.url,
        &["install", "node", "https://example.org/pack"],
    );
    insta::assert_snapshot!(told(&project, &done.code(5)));
}

#[test]
fn memory_is_emptied_as_asked() {
    let server = Server::start(&[]);
    let (_, done) = ask(&server.url, &["free", "--models", "--output", "json"]);
    let row = &done.ok().json_lines()[0];
    assert_eq!(
        (&row["models"], &row["results"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        (&row["asked"], &row["after_job"]),
        (&json!(true), &json!(false))
    );
}
