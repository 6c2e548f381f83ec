//! `kiln.yaml`: servers and which of them is chosen, profiles, folders, where paths start.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{card, events, project, record, run, text};
use crate::support::{Project, Server, finish};

/// The address of the server that a step ran on.
fn ran_on(project: &Project, step: &str) -> String {
    record(project, step)["server"]["url"]
        .as_str()
        .unwrap_or("embedded")
        .to_owned()
}

#[test]
fn a_step_runs_on_the_first_server_that_is_said() {
    let servers = [(); 3].map(|()| Server::start(&[]));
    let [one, two, three] = servers.each_ref().map(|server| server.url.clone());
    let project = project(
        "server: two\nsteps:\n  own: { workflow: card.json, server: one }\n  whole: { workflow: card.json, cache: false }\n  here: { command: [echo, x] }\n",
    );
    project.file(
        "kiln.yaml",
        format!(
            "servers:\n  one: {{ url: {one} }}\n  two: {{ url: {two} }}\n  three: {{ url: {three} }}\ndefault_server: three\nprofiles: {{ moved: {{ server: three }} }}\n"
        ),
    );
    let seen = |flags: &[&str], env: &[(&str, &str)]| {
        let mut command = project.command(&["run", "p.yaml", "--force"]);
        finish(command.args(flags).envs(env.iter().copied())).ok();
        (ran_on(&project, "own"), ran_on(&project, "whole"))
    };
    assert_eq!(seen(&[], &[]), (one.clone(), two.clone()));
    let moved = (three.clone(), three.clone());
    assert_eq!(seen(&["--profile", "moved"], &[]), moved);
    assert_eq!(
        seen(&[], &[("KILN_SERVER", "two")]),
        (two.clone(), two.clone())
    );
    let typed = seen(
        &["--server", &one],
        &[("KILN_SERVER", "two"), ("KILN_PROFILE", "moved")],
    );
    assert_eq!(typed, (one.clone(), one.clone()));
    project.file(
        "p.yaml",
        "steps:\n  own: { workflow: card.json, server: one }\n  whole: { workflow: card.json }\n",
    );
    assert_eq!(seen(&[], &[]), (one, three));
}

#[test]
fn what_an_unused_server_needs_may_be_missing() {
    let project = project("steps:\n  a: { workflow: card.json }\n");
    project.file(
        "kiln.yaml",
        "servers:\n  away:\n    url: http://127.0.0.1:9\n    token: \"{{ secret('LANGUAGE_TEST_UNSET') }}\"\n    max_jobs: \"{{ env('LANGUAGE_TEST_UNSET') | int }}\"\n",
    );
    run(&project, &[], 0);
    let refused = project.kiln(&["run", "p.yaml", "--server", "away"]).code(3);
    let told = "the environment variable `LANGUAGE_TEST_UNSET` is not set\n --> kiln.yaml:";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
}

#[test]
fn a_profile_sets_what_a_pipeline_has_and_ignores_the_rest() {
    let project = project(
        "params: { count: { type: integer, default: 3 } }\nsteps:\n  a: { command: [echo, \"{{ matrix.i }}\"], matrix: { i: \"{{ range(params.count) }}\" }, cache: false }\n  b: { workflow: card.json }\n",
    );
    project.file(
        "kiln.yaml",
        "output_dir: results\nprofiles:\n  draft: { params: { count: 1, nobody_has_this: 5 }, output_dir: drafts, max_parallel: 1 }\n",
    );
    let done = |flags: &[&str]| run(&project, flags, 0).last().unwrap()["counts"]["done"].clone();
    assert_eq!(done(&[]), 4);
    assert!(project.path().join("results/p/latest/b").exists());
    assert_eq!(done(&["--profile", "draft", "--force"]), 2);
    assert!(project.path().join("drafts/p/latest/b").exists());
    assert_eq!(done(&["--profile", "draft", "-p", "count=2", "--force"]), 3);
    assert!(!project.path().join("outputs").exists());
}

#[test]
fn paths_start_from_the_file_that_says_them_and_typed_ones_from_the_current_folder() {
    let project = Project::new();
    project.file("kiln.yaml", "output_dir: results\n");
    project.file("deep/flows/card.json", card().to_string());
    project.file("deep/in.txt", "beside the pipeline");
    project.file("elsewhere/in.txt", "typed");
    project.file("elsewhere/values.yaml", "file: in.txt\n");
    project.file("deep/tool.sh", "#!/bin/sh\ncat \"$1\" \"$2\"\n");
    project.file(
        "deep/p.yaml",
        r#"params: { file: { type: file, default: in.txt } }
steps:
  draw: { workflow: flows/card.json }
  say: { command: [./tool.sh, "{{ params.file }}", "{{ file('in.txt') }}"] }
  fresh: { command: [sh, -c, "ls -A | wc -l | tr -d ' '"] }
"#,
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let tool = project.path().join("deep/tool.sh");
        std::fs::set_permissions(tool, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let said = |flags: &[&str]| {
        let mut command = project.command(&["run", "../deep/p.yaml", "--output", "json"]);
        command
            .args(flags)
            .current_dir(project.path().join("elsewhere"));
        let events = events(&finish(&mut command).ok());
        assert_eq!(text(&events, "fresh"), "0", "its folder is empty");
        text(&events, "say").to_owned()
    };
    assert_eq!(said(&[]), "beside the pipelinebeside the pipeline");
    assert_eq!(said(&["-p", "file=in.txt"]), "typedbeside the pipeline");
    assert_eq!(
        said(&["--params", "values.yaml"]),
        "typedbeside the pipeline"
    );
    assert!(project.path().join("results/p/latest/draw").exists());
    assert!(project.path().join(".kiln").is_dir());
    said(&["--output-dir", "out"]);
    assert!(project.path().join("elsewhere/out/p/latest/draw").exists());
    // Without `kiln.yaml` the pipeline's folder is the project.
    std::fs::remove_file(project.path().join("kiln.yaml")).unwrap();
    said(&[]);
    assert!(project.path().join("deep/outputs/p/latest/draw").exists());
    assert!(project.path().join("deep/.kiln").is_dir());
}

#[test]
fn no_more_jobs_than_max_jobs_are_kept_on_a_server() {
    let project = project(
        "steps:\n  a: { workflow: slow.json, matrix: { i: \"{{ range(6) }}\" }, set: { Card: { color: \"{{ matrix.i }}\" } } }\n",
    );
    let mut slow = card();
    slow["1"]["inputs"]["width"] = json!(700);
    slow["1"]["inputs"]["height"] = json!(700);
    slow["2"] = json!({"class_type": "ImageBlur", "inputs": {"image": ["1", 0], "blur_radius": 31, "sigma": 9.0}});
    slow["9"]["inputs"]["images"] = json!(["2", 0]);
    project.file("slow.json", slow.to_string());
    for (written, limit) in [
        ("", 2),
        (", max_jobs: 1", 1),
        (", max_jobs: \"{{ 2 + 1 }}\"", 3),
    ] {
        // A server that has done them before would be done at once.
        let server = Server::start(&["--jobs", "1"]);
        let settings = format!(
            "servers: {{ away: {{ url: {}{written} }} }}\ndefault_server: away\n",
            server.url
        );
        project.file("kiln.yaml", settings);
        let done = Arc::new(AtomicBool::new(false));
        let (url, seen) = (server.url.clone(), Arc::clone(&done));
        let watch = std::thread::spawn(move || {
            let mut most = 0;
            while !seen.load(Ordering::Relaxed) {
                most = most.max(jobs(&url));
                std::thread::sleep(Duration::from_millis(3));
            }
            most
        });
        let events = run(&project, &["--force"], 0);
        done.store(true, Ordering::Relaxed);
        assert_eq!(events.last().unwrap()["counts"]["done"], 6);
        assert_eq!(watch.join().unwrap(), limit, "{written}");
    }
}

/// How many jobs a server has, queued or running.
fn jobs(url: &str) -> usize {
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    write!(
        stream,
        "GET /queue HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let queue: Value = serde_json::from_str(body).unwrap();
    let count = |which: &str| queue[which].as_array().map_or(0, Vec::len);
    count("queue_running") + count("queue_pending")
}

#[test]
fn params_come_from_flags_files_and_profiles_in_this_order() {
    let project = project(
        r#"params:
  text: { type: string, default: of the pipeline }
  list: { type: list, items: integer, default: [1] }
  none: { type: file, default: null }
  flag: { type: boolean, default: false }
  ratio: { type: number, default: 0.5 }
steps:
  say: { command: [printf, "%s|", "{{ params.text }}", "{{ params.list | join('+') }}", "{{ params.none is none }}", "{{ params.flag }}", "{{ params.ratio }}"] }
"#,
    );
    project.file(
        "kiln.yaml",
        "profiles: { p: { params: { text: of the profile, list: [4], ratio: 0.25 } } }\n",
    );
    project.file(
        "values.yaml",
        "text: of the file\nlist: [2, 3]\nnone: values.yaml\n",
    );
    let said = |flags: &[&str]| text(&run(&project, flags, 0), "say").to_owned();
    assert_eq!(said(&[]), "of the pipeline|1|true|false|0.5|");
    assert_eq!(
        said(&["--profile", "p"]),
        "of the profile|4|true|false|0.25|"
    );
    let file = ["--profile", "p", "--params", "values.yaml"];
    assert_eq!(said(&file), "of the file|2+3|false|false|0.25|");
    let typed = [
        "-p",
        "text=5",
        "-p",
        "list=7",
        "-p",
        "list=[8,9]",
        "-p",
        "flag=true",
    ];
    assert_eq!(
        said(&[&file[..], &typed].concat()),
        "5|7+8+9|false|true|0.25|"
    );
    let refused = project.kiln(&["run", "p.yaml", "-p", "ratio=half"]).code(2);
    assert!(refused.stderr.contains("`half`"), "{}", refused.stderr);
    project.file("p.yaml", "params: { must: { type: string } }\nsteps:\n  a: { command: [echo, \"{{ params.must }}\"] }\n");
    let refused = project.kiln(&["run", "p.yaml"]);
    assert_ne!(refused.code, 0);
    assert!(refused.stderr.contains("must"), "{}", refused.stderr);
}
