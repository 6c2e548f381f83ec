//! The engine against a real server: what happens to jobs that are cancelled, lost, remembered or in the way.

use std::fmt::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{
    Done, Project, Running, Server, files, finish, quick, repository, signal, slow, wait_for,
};

fn start(project: &Project, server: &Server) -> Running {
    Running::start(project, &["p.yaml", "--server", &server.url])
}

#[test]
fn ctrl_c_cancels_only_our_own_jobs_and_keeps_what_is_done() {
    let server = Server::start(&[]);
    let project = Project::with(
        "max_parallel: 2\nsteps:\n  first: { workflow: quick.json }\n  second: { workflow: slow.json, needs: [first] }\n  third: { workflow: slow.json, needs: [second] }\n",
        &[("quick", quick(1)), ("slow", slow(2, 40))],
    );
    let mut run = start(&project, &server);
    run.until("task_queued");
    let ours = run.until("task_queued")["prompt_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let theirs = server.queue(&quick(3));
    wait_for("our job to run", || {
        server.jobs().0.contains(&ours).then_some(())
    });
    assert_eq!(server.jobs().1, [theirs.as_str()]);
    run.interrupt();
    assert_eq!(run.end(), 130);

    let last = run.events.last().unwrap();
    assert_eq!(last["status"], "cancelled");
    assert_eq!(
        last["counts"],
        json!({"done": 1, "cached": 0, "failed": 0, "skipped": 0, "cancelled": 2})
    );
    assert_eq!(run.finished("second")["status"], "cancelled");
    assert_eq!(run.finished("third")["status"], "cancelled");
    assert_eq!(
        server.status(&ours).as_deref(),
        Some("error"),
        "ours was interrupted"
    );
    let status = wait_for("their job", || server.status(&theirs));
    assert_eq!(status, "success", "theirs was left alone");
    let latest = project.path().join("outputs/p/latest");
    assert_eq!(files(&latest), ["first/quick_00001_.png"]);
}

#[test]
fn ctrl_c_takes_our_waiting_job_out_of_the_queue() {
    let server = Server::start(&[]);
    let theirs = server.queue(&slow(4, 12));
    let project = Project::with(
        "steps:\n  only: { workflow: quick.json }\n",
        &[("quick", quick(5))],
    );
    let mut run = start(&project, &server);
    let ours = run.until("task_queued")["prompt_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(server.jobs(), (vec![theirs.clone()], vec![ours]));
    run.interrupt();
    assert_eq!(run.end(), 130);
    assert_eq!(server.jobs(), (vec![theirs.clone()], vec![]));
    assert_eq!(wait_for("their job", || server.status(&theirs)), "success");
    assert!(
        !project.path().join("outputs/p").exists(),
        "nothing was made"
    );
}

#[test]
fn a_signal_ends_a_run_whose_server_never_answers() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let project = Project::with(
            "steps:\n  only: { workflow: quick.json }\n",
            &[("quick", quick(1))],
        );
        let child = project
            .command(&["run", "p.yaml", "--server", &url, "--output", "json"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let _asked = silent.accept().unwrap();
        let began = Instant::now();
        signal(&child, name);
        let done = Done::from(child.wait_with_output().unwrap());
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(done.code, code);
        let told = done.json_lines();
        assert_eq!(told.len(), 2, "{told:#?}");
        assert_eq!(told[0]["event"], "run_stopping");
        assert_eq!(told[1]["event"], "run_finished");
        assert_eq!(told[1]["status"], "cancelled");
        assert_eq!(told[1]["exit_code"], code);
    }
}

#[test]
fn a_reader_that_does_not_read_cannot_keep_kiln_from_leaving() {
    let server = Server::start(&[]);
    let mut pipeline = "steps:\n".to_owned();
    for n in 0..200 {
        let set = format!("set: {{ \"1\": {{ color: {n} }} }}");
        let _ = writeln!(pipeline, "  s{n}: {{ workflow: quick.json, {set} }}");
    }
    let project = Project::with(&pipeline, &[("quick", quick(1))]);
    let mut child = project
        .command(&["run", "p.yaml", "--server", &server.url, "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let outputs = project.path().join("outputs/p");
    wait_for("results", || (files(&outputs).len() >= 200).then_some(()));
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(300));
    signal(&child, "-INT");
    let code = wait_for("the end", || child.try_wait().unwrap());
    assert_eq!(code.code(), Some(130));
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    let server = Server::start(&[]);
    // One long node: the server cannot stop it at once.
    let project = Project::with(
        "steps:\n  only: { workflow: slow.json }\n",
        &[("slow", slow(6, 40))],
    );
    let mut run = start(&project, &server);
    run.until("task_executing");
    run.interrupt();
    std::thread::sleep(Duration::from_millis(100));
    run.interrupt();
    let began = Instant::now();
    assert_eq!(run.end(), 130);
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_job_that_the_server_lost_is_submitted_again_under_another_id() {
    let server = Server::start(&[]);
    let theirs = server.queue(&slow(7, 12));
    let project = Project::with(
        "steps:\n  only: { workflow: quick.json }\n",
        &[("quick", quick(8))],
    );
    let mut run = start(&project, &server);
    let first = run.until("task_queued")["prompt_id"]
        .as_str()
        .unwrap()
        .to_owned();
    server.request("POST", "/queue", r#"{"clear": true}"#);
    let second = run.until("task_queued")["prompt_id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(first, second);
    let told = run.events.iter().find(|e| e["event"] == "task_warning");
    assert_eq!(told.unwrap()["diagnostic"]["code"], "K0503");
    assert_eq!(run.end(), 0);
    assert_eq!(server.status(&first), None);
    assert_eq!(server.status(&second).as_deref(), Some("success"));
    assert_eq!(server.status(&theirs).as_deref(), Some("success"));
    assert_eq!(
        files(&project.path().join("outputs/p/latest")),
        ["only/quick_00001_.png"]
    );
}

#[test]
fn the_first_failure_is_the_cause_and_nothing_new_starts() {
    let server = Server::start(&[]);
    let escape = json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "../../escape"}, "_meta": {"title": "Save it"}}
    });
    let project = Project::with(
        "max_parallel: 1\nsteps:\n  bad: { workflow: bad.json }\n  after: { workflow: quick.json, needs: [bad] }\n  other: { workflow: quick.json }\n",
        &[("bad", escape), ("quick", quick(10))],
    );
    let done = project
        .kiln(&["run", "p.yaml", "--server", &server.url, "--output", "json"])
        .code(4);
    let events = done.json_lines();
    let last = events.last().unwrap();
    assert_eq!(last["cause"], "bad");
    assert_eq!(
        last["counts"],
        json!({"done": 0, "cached": 0, "failed": 1, "skipped": 2, "cancelled": 0})
    );
    let failed = events
        .iter()
        .find(|e| e["event"] == "task_finished" && e["task"] == "bad")
        .unwrap();
    let diagnostic = &failed["diagnostic"];
    assert_eq!(diagnostic["code"], "K0501");
    let message = diagnostic["message"].as_str().unwrap();
    assert!(
        message.starts_with("step `bad`: node `Save it` (SaveImage) failed: "),
        "{message}"
    );
    assert_eq!(
        (&diagnostic["node"], &diagnostic["line"]),
        (&json!("9"), &json!(3))
    );
    assert_eq!(
        events
            .iter()
            .filter(|e| e["event"] == "task_started")
            .count(),
        1,
        "nothing was started after the failure"
    );
}

#[test]
fn an_output_folder_that_cannot_be_written_is_told_before_anything_is_queued() {
    let server = Server::start(&[]);
    let project = Project::with(
        "steps:\n  only: { workflow: quick.json }\n",
        &[("quick", quick(11))],
    );
    project.file("outputs", "a file in the way");
    let done = project
        .kiln(&["run", "p.yaml", "--server", &server.url])
        .code(3);
    done.says("error[K0506]: could not write `outputs/p/");
    done.says("a part of the path is a file, not a folder");
    assert_eq!(server.get("/history"), json!({}));
}

#[test]
#[cfg(unix)]
fn a_full_disk_names_the_file_and_keeps_what_was_finished() {
    let server = Server::start(&[]);
    // 2 MiB is enough for the journal and a small picture, not for a large one.
    let large = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "photo.png"}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "bicubic", "width": 2400, "height": 1800, "crop": "disabled"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "large"}}
    });
    let photo = repository().join("pipelines/inputs/coffee.png");
    let pipeline = format!(
        "steps:\n  small: {{ workflow: quick.json }}\n  large:\n    workflow: large.json\n    needs: [small]\n    set:\n      LoadImage: {{ image: \"{{{{ file('{}') }}}}\" }}\n",
        photo.display()
    );
    let project = Project::with(&pipeline, &[("quick", quick(12)), ("large", large)]);
    let program = project.command(&[]);
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -f 4096; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(["run", "p.yaml", "--server", &server.url])
        .env("NO_COLOR", "1")
        .current_dir(project.path());
    let done = finish(&mut limited).code(4);
    done.says("error[K0506]: step `large`: could not write `outputs/p/");
    done.says("large_00001_.png`: the file is larger than the system's limit");
    done.says("results that were finished before are kept");
    assert_eq!(
        files(&project.path().join("outputs/p/latest")),
        ["small/quick_00001_.png"],
        "no half of a file is left"
    );
}

#[test]
fn a_disk_too_full_for_the_state_is_told() {
    let server = Server::start(&[]);
    for blocks in ["8", "64"] {
        let project = Project::with(
            "steps:\n  one: { workflow: quick.json }\n",
            &[("quick", quick(13))],
        );
        let program = project.command(&[]);
        let mut limited = std::process::Command::new("sh");
        limited
            .args(["-c", "ulimit -f \"$0\"; exec \"$@\"", blocks])
            .arg(program.get_program())
            .args(["run", "p.yaml", "--server", &server.url])
            .env("NO_COLOR", "1")
            .current_dir(project.path());
        let done = finish(&mut limited).code(7);
        done.says("error[K0701]: could not write kiln's state in `.kiln/kiln.db`");
        done.says_not("· \n");
        // With room again, the same project works.
        project
            .kiln(&["run", "p.yaml", "--server", &server.url])
            .ok();
    }
}

#[test]
fn two_results_of_one_name_both_stay() {
    let server = Server::start(&[]);
    let mut two = quick(13);
    two["1"]["inputs"]["batch_size"] = json!(2);
    let project = Project::with(
        "steps:\n  only: { workflow: two.json, save_as: same }\n",
        &[("two", two)],
    );
    let done = project
        .kiln(&["run", "p.yaml", "--server", &server.url])
        .ok();
    done.says("K0509");
    assert_eq!(
        files(&project.path().join("outputs/p/latest")),
        ["only/same-2.png", "only/same.png"]
    );
}

#[test]
fn a_second_kiln_on_the_same_outputs_is_refused_by_the_name_of_the_first() {
    let server = Server::start(&[]);
    let project = Project::with(
        "steps:\n  only: { workflow: slow.json }\n",
        &[("slow", slow(14, 40))],
    );
    let mut run = start(&project, &server);
    let id = run.until("task_executing")["run"]
        .as_str()
        .unwrap()
        .to_owned();
    let second = project
        .kiln(&["run", "p.yaml", "--server", &server.url])
        .code(7);
    second.says("K0702");
    assert!(
        second
            .stderr
            .contains(&format!("in use by run {id} (process ")),
        "{}",
        second.stderr
    );
    run.interrupt();
    assert_eq!(run.end(), 130);
}

#[test]
fn a_result_that_is_edited_while_the_pipeline_runs_is_not_passed_on() {
    let server = Server::start(&[]);
    let pass = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "pass"}}
    });
    let project = Project::with(
        "steps:\n  first: { workflow: quick.json }\n  wait: { workflow: slow.json, needs: [first] }\n  last:\n    workflow: pass.json\n    needs: [wait]\n    set: { LoadImage: { image: \"{{ steps.first.image }}\" } }\n",
        &[("quick", quick(15)), ("slow", slow(16, 4)), ("pass", pass)],
    );
    let mut run = start(&project, &server);
    let made = run.until("task_finished")["outputs"][0]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    std::fs::write(&made, "edited").unwrap();
    assert_eq!(run.end(), 0);
    let passed = run.finished("last")["outputs"][0]["path"].clone();
    let passed = image::open(passed.as_str().unwrap()).unwrap();
    assert_eq!((passed.width(), passed.height()), (16, 16));
    assert_eq!(std::fs::read_to_string(&made).unwrap(), "edited");
}
