//! Comfy Cloud, rehearsed: the real program against `kiln serve --cloud`, where every job would cost money.

mod adopted;
mod exceptions;
mod refusals;
mod versions;
mod works;

use std::process::Command;

use serde_json::Value;

use crate::support::{Project, Server};

/// The key of the account.
const KEY: &str = "comfyui-rehearsal-7f3a9c51";
/// The variable that holds it.
const VARIABLE: &str = "REHEARSAL_KEY";

/// A rehearsal of Comfy Cloud.
fn cloud(flags: &[&str]) -> Server {
    Server::start(&[&["--cloud", "--api-key", KEY], flags].concat())
}

/// What `kiln.yaml` says of it.
fn declared(url: &str) -> String {
    format!(
        "default_server: cloud\nservers:\n  cloud: {{ kind: cloud, url: \"{url}\", api_key: \"{{{{ secret('{VARIABLE}') }}}}\" }}\n"
    )
}

/// A project with these files, whose steps run there.
fn project(url: &str, files: &[(&str, &str)]) -> Project {
    let project = Project::of(files);
    project.file("kiln.yaml", declared(url));
    project
}

/// kiln with the key in its environment.
fn keyed(project: &Project, key: &str, args: &[&str]) -> Command {
    let mut command = project.command(args);
    command.env(VARIABLE, key);
    command
}

/// The jobs that the server carried out, newest first, whoever asked for them.
fn ended(server: &Server) -> Vec<Value> {
    let history = server.get("/api/history_v2");
    history["history"].as_array().unwrap().clone()
}

/// How many of them left results with this prefix.
fn ended_with(server: &Server, prefix: &str) -> usize {
    let with = |job: &&Value| job["outputs"].to_string().contains(prefix);
    ended(server).iter().filter(with).count()
}

/// A step that makes a picture out of nothing.
const ONE: &str = "steps:\n  one: { workflow: one.json }\n";
