//! Pools whose servers are not equal.

use serde_json::{Value, json};

use super::servers;
use crate::support::{Project, Running, Server};

/// A server with these models, and with these classes beside.
fn with(models: &[&str], more: &[&str]) -> Server {
    let class = |name: &str, input: Value| {
        json!({
            "input": {"required": input}, "output": ["IMAGE"], "output_is_list": [false], "output_name": ["IMAGE"],
            "name": name, "display_name": name, "description": "", "category": "", "output_node": false, "python_module": "nodes",
        })
    };
    let mut classes = json!({"DrawWith": class("DrawWith", json!({"model_name": [models]}))});
    for name in more {
        classes[*name] = class(name, json!({}));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), classes.to_string()).unwrap();
    Server::start(&["--simulate", "--catalog", file.path().to_str().unwrap()])
}

fn graph(class: &str, inputs: &Value) -> Value {
    json!({
        "1": {"class_type": class, "inputs": inputs},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": class}}
    })
}

#[test]
fn a_step_runs_only_on_those_of_a_pool_that_have_its_models_and_classes() {
    let poor = with(&["small.safetensors"], &[]);
    let rich = with(&["small.safetensors", "large.safetensors"], &["Special"]);
    let project = Project::with(
        "server: farm\nsteps:\n  large:\n    workflow: draw.json\n    matrix: { i: [1, 2, 3, 4], model: [large.safetensors] }\n    \
         set: { DrawWith: { model_name: \"{{ matrix.model }}\" }, SaveImage: { filename_prefix: \"large-{{ matrix.i }}\" } }\n  \
         special:\n    workflow: special.json\n    matrix: { i: [1, 2, 3] }\n    \
         set: { SaveImage: { filename_prefix: \"special-{{ matrix.i }}\" } }\n",
        &[
            (
                "draw",
                graph("DrawWith", &json!({"model_name": "small.safetensors"})),
            ),
            ("special", graph("Special", &json!({}))),
        ],
    );
    // The first of the pool is the poor one, with room for every job.
    let urls = format!("urls: [\"{}\", \"{}\"], max_jobs: 8", poor.url, rich.url);
    servers(&project, &[("farm", urls)]);
    let done = project.kiln(&["check", "p.yaml"]).ok();
    for lack in ["`large.safetensors`", "`Special`"] {
        done.says(&format!(
            "server `farm`: {} does not have {lack}, which others of the pool have",
            poor.url
        ));
    }
    let mut run = Running::start(&project, &["p.yaml"]);
    assert_eq!(run.end(), 0, "{:#?}", run.events);
    assert_eq!(run.events.last().unwrap()["counts"]["done"], 7);
    assert_eq!(poor.carried_out("large"), 0);
    assert_eq!(poor.carried_out("special"), 0);
}
