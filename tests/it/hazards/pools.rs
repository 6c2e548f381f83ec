//! Pools whose servers are not equal.

use serde_json::{Value, json};

use super::{servers, until_there};
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

/// Runs `p.yaml` against a pool of which no server has all; nothing may be queued.
#[track_caller]
fn refused(project: &Project, pool: &[&Server], says: &[&str]) {
    let urls: Vec<String> = pool.iter().map(|s| format!("\"{}\"", s.url)).collect();
    servers(
        project,
        &[("farm", format!("urls: [{}], max_jobs: 8", urls.join(", ")))],
    );
    for command in ["check", "run"] {
        let done = project.kiln(&[command, "p.yaml"]).code(3);
        for text in says {
            done.says(text);
        }
        done.says_not("run on the others");
    }
    for server in pool {
        assert_eq!(server.get("/history"), json!({}));
    }
}

#[test]
fn a_step_whose_tasks_each_fit_another_server_of_a_pool_is_refused_before_anything_is_queued() {
    let (one, two) = (with(&["m1"], &[]), with(&["m2"], &[]));
    let project = Project::with(
        "server: farm\nsteps:\n  draw:\n    workflow: draw.json\n    matrix: { model: [m1, m2] }\n    \
         set: { DrawWith: { model_name: \"{{ matrix.model }}\" } }\n",
        &[("draw", graph("DrawWith", &json!({"model_name": "m1"})))],
    );
    let message = format!(
        "error[K0203]: step `draw`: no server of the pool `farm` has all that it uses: {} does not have `{}`; {} does not have `{}`",
        one.url.as_str().min(two.url.as_str()),
        if one.url < two.url { "m2" } else { "m1" },
        one.url.as_str().max(two.url.as_str()),
        if one.url < two.url { "m1" } else { "m2" },
    );
    refused(
        &project,
        &[&one, &two],
        &[&message, "split the step by what the servers have"],
    );
}

#[test]
fn a_graph_of_which_each_server_of_a_pool_lacks_something_is_refused_before_anything_is_queued() {
    let (one, two) = (
        with(&["small"], &["Special"]),
        with(&["small", "large"], &[]),
    );
    let mut both = graph("DrawWith", &json!({"model_name": "large"}));
    both["2"] = json!({"class_type": "Special", "inputs": {}});
    both["8"] = json!({"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "special"}});
    let project = Project::with(
        "server: farm\nsteps:\n  draw: { workflow: draw.json }\n",
        &[("draw", both)],
    );
    let lacks = [
        format!("{} does not have `large`", one.url),
        format!("{} does not have `Special`", two.url),
    ];
    refused(
        &project,
        &[&one, &two],
        &[
            "error[K0201]: step `draw`: no server of the pool `farm` has all that it uses",
            &lacks[0],
            &lacks[1],
            "even a single task uses more than any of them has",
        ],
    );
}

#[test]
fn what_only_the_last_of_many_tasks_uses_is_looked_for_on_every_server_of_a_pool() {
    let (poor, rich) = (with(&["small"], &[]), with(&["small", "large"], &[]));
    let project = Project::with(
        "server: farm\nsteps:\n  draw:\n    workflow: draw.json\n    matrix: { i: \"{{ range(600) }}\" }\n    \
         set: { DrawWith: { model_name: \"{{ 'large' if matrix.i == 599 else 'small' }}\" } }\n",
        &[("draw", graph("DrawWith", &json!({"model_name": "small"})))],
    );
    let urls = format!("urls: [\"{}\", \"{}\"]", poor.url, rich.url);
    servers(&project, &[("farm", urls)]);
    let done = project.kiln(&["check", "p.yaml"]).ok();
    done.says(&format!("{} does not have `large`", poor.url));
}

#[test]
fn what_nobody_needs_or_is_not_known_yet_keeps_no_step_from_a_server() {
    let (one, two) = (with(&["m1", "both"], &[]), with(&["m2", "both"], &[]));
    let mut draw = graph("DrawWith", &json!({"model_name": "m1"}));
    // Leads nowhere: servers do not look at its values.
    draw["5"] = json!({"class_type": "DrawWith", "inputs": {"model_name": "m2"}});
    let project = Project::with(
        "server: farm\nsteps:\n  name: { command: [sh, -c, \"echo both\"] }\n  draw:\n    workflow: draw.json\n    needs: [name]\n    \
         set: { \"1\": { model_name: \"{{ steps.name.text }}\" } }\n",
        &[("draw", draw)],
    );
    let urls = format!("urls: [\"{}\", \"{}\"]", one.url, two.url);
    servers(&project, &[("farm", urls)]);
    project
        .kiln(&["check", "p.yaml"])
        .ok()
        .says_not("does not have");
}

#[test]
fn a_step_whose_only_fit_server_of_a_pool_goes_away_fails_as_with_a_server_that_is_away() {
    let (poor, rich) = (with(&["small"], &[]), with(&["small", "large"], &[]));
    let project = Project::with(
        "",
        &[("draw", graph("DrawWith", &json!({"model_name": "large"})))],
    );
    let wait = until_there(&project, "flag");
    project.file(
        "p.yaml",
        format!(
            "server: farm\nsteps:\n  wait: {{ command: {wait} }}\n  draw: {{ workflow: draw.json, needs: [wait] }}\n"
        ),
    );
    let urls = format!("urls: [\"{}\", \"{}\"], lost_after: 1s", poor.url, rich.url);
    servers(&project, &[("farm", urls)]);
    let mut run = Running::start(&project, &["p.yaml"]);
    run.until("task_executing");
    drop(rich);
    project.file("flag", "");
    assert_eq!(run.end(), 5, "{:#?}", run.events);
    let diagnostic = &run.finished("draw")["diagnostic"];
    assert_eq!(diagnostic["code"], "K0401", "{diagnostic}");
    assert_eq!(poor.carried_out("DrawWith"), 0);
}
