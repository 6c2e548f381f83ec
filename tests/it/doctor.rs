//! `kiln doctor`: what is wrong with a setup, through the real program.

use serde_json::Value;

use crate::support::{Done, Project, Server, Spoken, finish, quick, settled};

fn findings(done: &Done) -> Vec<Value> {
    let all: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(all["exit_code"], done.code);
    all["findings"].as_array().unwrap().clone()
}

fn find<'a>(all: &'a [Value], area: &str, words: &str) -> &'a Value {
    let found = all
        .iter()
        .find(|f| f["area"] == area && f["message"].as_str().unwrap().contains(words));
    found.unwrap_or_else(|| panic!("no {words:?} in {area}: {all:#?}"))
}

fn doctor(project: &Project, args: &[&str]) -> Done {
    let all = [&["doctor"], args].concat();
    let mut command = project.command(&all);
    for name in [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ] {
        command.env_remove(name);
    }
    finish(command.env_remove("KILN_STATE_DIR"))
}

#[test]
fn a_healthy_setup_is_told_to_be_well() {
    let server = Server::start(&[]);
    let project = Project::of(&[
        (
            "kiln.yaml",
            &format!(
                "servers: {{ main: {{ url: {} }} }}\ndefault_server: main\n",
                server.url
            ),
        ),
        ("p.yaml", "steps:\n  draw: { workflow: w.json }\n"),
        ("w.json", &quick(1).to_string()),
    ]);
    let done = doctor(&project, &[]).code(0);
    let text = settled(&done.stdout, project.path());
    let numbers = regex_lite::Regex::new(r"[\d,]+ (of [\d,]+ )?MB free|machine \(\w+\)").unwrap();
    insta::assert_snapshot!(numbers.replace_all(&text, "[n]"));
    assert!(done.stderr.is_empty(), "{}", done.stderr);
    project.kiln(&["run", "p.yaml"]).ok();
    let all = findings(&doctor(&project, &["--output", "json"]).code(0));
    find(&all, "state", "in this kiln's format");
    assert!(
        all.iter().all(|finding| finding["level"] == "ok"),
        "{all:#?}"
    );
}

#[test]
fn every_server_that_cannot_be_used_is_a_problem_of_its_own() {
    let page = Spoken::start(|_| (200, "text/html", "<html>".to_owned()));
    let locked = Spoken::start(|_| (401, "application/json", r#"{"error": "login"}"#.to_owned()));
    let yaml = format!(
        "servers:\n  gone: {{ url: \"http://127.0.0.1:9\" }}\n  page: {{ url: {} }}\n  locked: {{ url: {} }}\n",
        page.url, locked.url
    );
    let project = Project::of(&[("kiln.yaml", &yaml)]);
    let all = findings(&doctor(&project, &["--output", "json"]).code(5));
    for (name, code) in [("gone", "K0401"), ("page", "K0402"), ("locked", "K0404")] {
        let finding = all
            .iter()
            .find(|f| f["subject"] == name && f["level"] == "problem")
            .unwrap();
        assert_eq!(finding["code"], code);
        assert!(!finding["fix"].as_array().unwrap().is_empty(), "{finding}");
    }
}

#[test]
fn an_old_server_behind_a_proxy_is_noted() {
    let server = Spoken::start(|line| {
        match line {
        line if line.contains("/system_stats") => (
            200,
            "application/json\r\nServer: nginx/1.25.3\r\nDate: Thu, 01 Jan 2015 00:00:00 GMT",
            r#"{"system": {"comfyui_version": "0.3.10"}, "devices": [{"name": "cuda:0", "type": "cuda", "vram_total": 1000000000, "vram_free": 1000000}]}"#.to_owned(),
        ),
        line if line.contains("/queue") => (200, "application/json", r#"{"queue_running": [], "queue_pending": [[1, "a"]]}"#.to_owned()),
        line if line.contains("/prompt") => (
            200,
            "application/json\r\nServer: nginx/1.25.3\r\nDate: Thu, 01 Jan 2015 00:00:00 GMT",
            "{}".to_owned(),
        ),
        _ => (404, "text/plain", String::new()),
    }
    });
    let project = Project::new();
    let all = findings(&doctor(&project, &["--server", &server.url, "--output", "json"]).code(5));
    assert_eq!(
        find(&all, "server", "older than any version")["level"],
        "note"
    );
    find(&all, "server", "cuda:0 is almost full");
    find(&all, "server", "nothing runs although jobs wait");
    find(
        &all,
        "server",
        "a proxy stands in front of it: nginx/1.25.3",
    );
    find(&all, "server", "behind this machine's");
    let socket = find(&all, "server", "its WebSocket does not open");
    assert_eq!(
        (&socket["level"], &socket["exit_code"]),
        (&"problem".into(), &5.into())
    );
}

#[test]
fn what_pipelines_need_and_their_servers_lack_is_named_once() {
    let server = Server::start(&[]);
    let lacking = r#"{"1": {"class_type": "FancyUpscale", "inputs": {}}, "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "a"}}}"#;
    let project = Project::of(&[
        (
            "kiln.yaml",
            &format!(
                "servers: {{ main: {{ url: {} }} }}\ndefault_server: main\n",
                server.url
            ),
        ),
        ("a.yaml", "steps:\n  draw: { workflow: w.json }\n"),
        ("sub/b.yaml", "steps:\n  draw: { workflow: ../w.json }\n"),
        ("broken.yaml", "steps:\n  draw: { workflw: w.json }\n"),
        ("outputs/old.yaml", "steps:\n  draw: { nonsense: 1 }\n"),
        ("other/kiln.yaml", "default_server: embedded\n"),
        ("other/deep/p.yaml", "steps:\n  draw: { nonsense: 1 }\n"),
        ("notes.yaml", "words: [1]\n"),
        ("w.json", lacking),
    ]);
    let all = findings(&doctor(&project, &["--output", "json"]).code(3));
    let missing: Vec<_> = all.iter().filter(|f| f["code"] == "K0201").collect();
    assert_eq!(missing.len(), 1, "{missing:#?}");
    assert_eq!(missing[0]["subject"], "a.yaml, sub/b.yaml");
    assert!(
        missing[0]["message"]
            .as_str()
            .unwrap()
            .contains("FancyUpscale")
    );
    assert_eq!(
        all.iter().find(|f| f["subject"] == "broken.yaml").unwrap()["level"],
        "problem"
    );
    assert!(
        all.iter()
            .all(|f| f["subject"] != "outputs/old.yaml" && f["subject"] != "notes.yaml")
    );
    assert!(
        !all.iter()
            .any(|f| f["subject"].as_str().unwrap_or_default().contains("other")),
        "a folder with a project file is a project of its own: {all:#?}"
    );
}

#[test]
fn a_state_that_cannot_be_used_is_a_problem() {
    let project = Project::of(&[("kiln.yaml", "default_server: embedded\n")]);
    project.file(
        ".kiln/kiln.db",
        "this is no database, and long enough to be one".repeat(40),
    );
    let done = doctor(&project, &["--output", "json"]).code(7);
    let all = findings(&done);
    assert_eq!(find(&all, "state", "is damaged")["code"], "K0701");
}

#[test]
fn variables_are_told_and_misspelt_ones_found() {
    let project = Project::of(&[("kiln.yaml", "default_server: embedded\n")]);
    let mut command = project.command(&["doctor", "--output", "json"]);
    command
        .env("KILN_SERVR", "x")
        .env("KILN_KEEP_GOING", "1")
        .env("HTTPS_PROXY", "http://me:hunter2@proxy.example:3128");
    let done = finish(&mut command).code(0);
    assert!(!done.stdout.contains("hunter2"), "{}", done.stdout);
    let all = findings(&done);
    find(&all, "environment", "KILN_KEEP_GOING stand");
    assert_eq!(
        find(&all, "environment", "kiln reads no such variable")["fix"][0],
        "did you mean `KILN_SERVER`?"
    );
    find(&all, "environment", "go through http://proxy.example:3128/");
}

#[test]
fn a_project_file_with_a_mistake_is_a_problem_at_its_line() {
    let project = Project::of(&[(
        "kiln.yaml",
        "servers:\n  main: { ulr: http://127.0.0.1:9 }\n",
    )]);
    let all = findings(&doctor(&project, &["--output", "json"]).code(3));
    let found = all
        .iter()
        .find(|f| f["area"] == "project" && f["level"] == "problem")
        .unwrap();
    assert!(
        found["message"].as_str().unwrap().contains("kiln.yaml:2"),
        "{found}"
    );
}

#[test]
fn a_pipeline_whose_program_is_not_there_is_not_well() {
    let project = Project::of(&[(
        "p.yaml",
        "steps:\n  shrink: { command: [kiln-has-no-such-program] }\n",
    )]);
    let done = doctor(&project, &["--output", "json"]);
    let all = findings(&done);
    let finding = find(&all, "pipeline", "kiln-has-no-such-program");
    assert_eq!(finding["code"], "K0511");
    assert_ne!(done.code, 0);
}
