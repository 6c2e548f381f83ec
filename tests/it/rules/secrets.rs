//! Secrets, however they are written: they reach the server, and nothing that kiln prints or stores.

use serde_json::{Value, json};

use super::recorder::Recorder;
use super::{card, ended, events};
use crate::support::{Done, Project, Server, finish};

/// Node classes of a server, one of which must be paid for.
fn classes() -> Value {
    let class = |name: &str, inputs: Value, outputs: Value, paid: bool| {
        json!({
            "input": {"required": inputs}, "output": outputs, "output_is_list": [false], "output_name": outputs,
            "name": name, "display_name": name, "category": "image", "output_node": outputs == json!([]), "api_node": paid,
        })
    };
    let int = json!(["INT", {"default": 8}]);
    json!({
        "PaidImage": class("PaidImage", json!({"prompt": ["STRING", {"default": ""}]}), json!(["IMAGE"]), true),
        "EmptyImage": class("EmptyImage", json!({"width": int, "height": int, "batch_size": int, "color": int}), json!(["IMAGE"]), false),
        "SaveImage": class("SaveImage", json!({"images": ["IMAGE"], "filename_prefix": ["STRING", {"default": "x"}]}), json!([]), false),
    })
}

/// A server with those classes, and what is sent to it.
fn server() -> (Server, Recorder) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("classes.json");
    std::fs::write(&file, classes().to_string()).unwrap();
    let server = Server::start(&["--simulate", "--catalog", &file.display().to_string()]);
    let recorder = Recorder::before(&server.url);
    (server, recorder)
}

fn paid() -> Value {
    json!({
        "1": {"class_type": "PaidImage", "inputs": {"prompt": "a cup"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "paid"}}
    })
}

/// A pipeline with a step that must be paid for and one that need not.
fn project(kiln_yaml: &str) -> Project {
    let project = Project::new();
    project.file("kiln.yaml", kiln_yaml);
    project.file("paid.json", paid().to_string());
    project.file("free.json", card().to_string());
    let steps =
        "steps:\n  paid: { workflow: paid.json }\n  free: { workflow: free.json, needs: [paid] }\n";
    project.file("p.yaml", steps);
    project
}

/// Fails when a value stands in anything that kiln wrote or said.
#[track_caller]
pub(crate) fn kept_quiet(project: &Project, said: &[&Done], value: &str) {
    for done in said {
        assert!(!done.stdout.contains(value), "{}", done.stdout);
        assert!(!done.stderr.contains(value), "{}", done.stderr);
    }
    for entry in walkdir::WalkDir::new(project.path()) {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy();
        if !entry.file_type().is_file() || name == "kiln.yaml" || name == ".env" {
            continue;
        }
        let bytes = std::fs::read(entry.path()).unwrap();
        let found = bytes
            .windows(value.len())
            .any(|window| window == value.as_bytes());
        assert!(!found, "{} holds {value}", entry.path().display());
    }
}

/// The bodies of all jobs that were queued, in their order.
fn prompts(recorder: &Recorder) -> Vec<String> {
    let all = recorder.requests("POST /api/prompt ");
    assert!(!all.is_empty(), "nothing was queued");
    all
}

const PARTNER: &str = "comfyui-partner-0123456789";

#[test]
fn the_key_for_partner_nodes_goes_with_the_jobs_that_need_it_and_nowhere_else() {
    for written in [
        PARTNER,
        "\"{{ secret('MY_PARTNER') }}\"",
        "\"{{ env('MY_PARTNER') }}\"",
    ] {
        let (_server, recorder) = server();
        let project = project(&format!(
            "partner_api_key: {written}\ndefault_server: {}\n",
            recorder.url
        ));
        let kiln = |args: &[&str]| {
            let mut command = project.command(args);
            finish(command.env("MY_PARTNER", PARTNER)).ok()
        };
        let said = [
            kiln(&["plan", "p.yaml", "--output", "json"]),
            kiln(&["run", "p.yaml", "--output", "json"]),
            kiln(&["run", "p.yaml", "--force"]),
            kiln(&["show", "last", "--output", "json"]),
        ];
        let prompts = prompts(&recorder);
        let with_key = |prompt: &&String| {
            prompt.contains(&format!(
                "\"extra_data\":{{\"api_key_comfy_org\":\"{PARTNER}\""
            ))
        };
        assert_eq!(prompts.len(), 4);
        assert_eq!(prompts.iter().filter(with_key).count(), 2);
        for prompt in &prompts {
            assert_eq!(prompt.contains(PARTNER), prompt.contains("PaidImage"));
        }
        kept_quiet(&project, &said.each_ref(), PARTNER);
    }
}

#[test]
fn a_key_that_is_not_set_harms_only_workflows_that_need_it() {
    let (_server, recorder) = server();
    let project = project(&format!(
        "partner_api_key: \"{{{{ secret('NO_SUCH_KEY') }}}}\"\ndefault_server: {}\n",
        recorder.url
    ));
    let refused = project.kiln(&["run", "p.yaml"]).code(3);
    let told = "the environment variable `NO_SUCH_KEY` is not set\n --> kiln.yaml:1:";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    assert!(recorder.requests("POST /api/prompt ").is_empty());
    project.kiln(&["run", "free.json"]).ok();
    assert_eq!(prompts(&recorder).len(), 1);
}

#[test]
fn a_token_and_headers_reach_the_server_and_nothing_else() {
    let (_server, recorder) = server();
    let project = project(&format!(
        "dotenv: true\ndefault_server: studio\nservers:\n  studio:\n    url: {}\n    token: \"{{{{ secret('STUDIO') }}}}\"\n    headers:\n      X-Plain: plain-header-77\n      X-Mixed: \"key {{{{ secret('STUDIO') }}}}\"\n      X-Env: \"{{{{ env('DOOR') }}}}\"\n",
        recorder.url
    ));
    project.file(".env", "STUDIO=studio-token-42\nDOOR=front-door-13\n");
    let said = [
        project.kiln(&["check", "p.yaml"]).ok(),
        project.kiln(&["run", "p.yaml", "--output", "json"]).ok(),
        project.kiln(&["show", "last"]).ok(),
    ];
    for prompt in prompts(&recorder) {
        let prompt = prompt.to_lowercase();
        for header in [
            "authorization: bearer studio-token-42\r\n",
            "x-plain: plain-header-77\r\n",
            "x-mixed: key studio-token-42\r\n",
            "x-env: front-door-13\r\n",
        ] {
            assert!(prompt.contains(header), "{header} in {prompt}");
        }
    }
    for value in ["studio-token-42", "plain-header-77", "front-door-13"] {
        kept_quiet(&project, &said.each_ref(), value);
    }
}

#[test]
fn a_run_that_is_gone_on_with_finds_a_token_that_kiln_yaml_says_itself() {
    let (_server, recorder) = server();
    let settings = |token: &str| {
        format!(
            "default_server: studio\nservers:\n  studio:\n    url: {}\n    {token}\n",
            recorder.url
        )
    };
    let project = project(&settings("token: token-in-the-file-9"));
    project.file(
        "p.yaml",
        "steps:\n  wait: { command: [test, -e, \"{{ pipeline.dir }}/go\"] }\n  free: { workflow: free.json, needs: [wait] }\n",
    );
    let first = project.kiln(&["run", "p.yaml"]).code(4);
    project.file("go", "");
    // Whoever took it out of the file must say where it is now.
    project.file("kiln.yaml", settings("max_jobs: 1"));
    let without = project.kiln(&["run", "--resume", "last"]);
    assert_ne!(without.code, 0);
    let told = "`servers.studio.token` was in kiln.yaml when the run began, and is not any more";
    assert!(without.stderr.contains(told), "{}", without.stderr);

    project.file("kiln.yaml", settings("token: token-in-the-file-9"));
    let again = project
        .kiln(&["run", "--resume", "last", "--output", "json"])
        .ok();
    assert_eq!(ended(&events(&again), "free")["status"], "done");
    for prompt in prompts(&recorder) {
        let prompt = prompt.to_lowercase();
        assert!(prompt.contains("authorization: bearer token-in-the-file-9\r\n"));
    }
    kept_quiet(&project, &[&first, &again], "token-in-the-file-9");
}

#[test]
fn a_mistake_beside_a_token_does_not_show_it() {
    let project = project(
        "servers:\n  studio: { url: nowhere, token: token-in-the-file-9, headers: { X: \"token-in-the-file-9\" } }\ndefault_server: studio\n",
    );
    let done = project.kiln(&["check", "p.yaml"]).code(3);
    assert!(
        done.stderr.contains("`nowhere` is no server address"),
        "{}",
        done.stderr
    );
    assert!(!done.stderr.contains("in-the-file"), "{}", done.stderr);
}
