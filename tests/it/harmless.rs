//! What kiln never does to a server, and what it makes of half a result: by the requests that arrive.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::support::proxy::{Fate, Proxy};
use crate::support::{Project, Server, files, quick};

/// A server, and the first line of every request to it.
struct Watched {
    server: Server,
    proxy: Proxy,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    fn start() -> Self {
        let server = Server::start(&[]);
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&lines);
        let script = move |line: &str| {
            noted.lock().unwrap().push(line.to_owned());
            Fate::Pass
        };
        let proxy = Proxy::start(&server.url, Box::new(script));
        Self {
            server,
            proxy,
            lines,
        }
    }

    /// How many requests of this kind arrived.
    fn count(&self, request: &str) -> usize {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .filter(|line| line.starts_with(request))
            .count()
    }

    /// The prefixes under which the jobs were to save, in the order of the jobs.
    fn prefixes(&self) -> Vec<String> {
        let history = self.server.get("/history");
        let mut jobs: Vec<&Value> = history.as_object().unwrap().values().collect();
        jobs.sort_by_key(|job| job["prompt"][0].as_i64());
        let prefix = |job: &&Value| job["prompt"][2]["9"]["inputs"]["filename_prefix"].clone();
        jobs.iter()
            .map(prefix)
            .map(|prefix| prefix.as_str().unwrap().to_owned())
            .collect()
    }
}

fn project(step: &str, graph: &Value) -> Project {
    let project = Project::new();
    project.file(
        "p.yaml",
        format!("steps:\n  only: {{ workflow: w.json{step} }}\n"),
    );
    project.file("w.json", serde_json::to_string_pretty(graph).unwrap());
    project
}

/// Two pictures, the second of which no server makes.
fn half() -> Value {
    json!({
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 7}},
        "2": {"class_type": "ImageScale", "inputs": {"image": ["1", 0], "upscale_method": "by magic", "width": 8, "height": 8, "crop": "disabled"}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "bad"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "good"}}
    })
}

#[test]
fn a_remembered_success_whose_file_is_gone_is_run_once_more_under_another_prefix() {
    let watched = Watched::start();
    let project = project("", &quick(9));
    let run = || {
        let done = project.kiln(&["run", "p.yaml", "--force", "--server", &watched.proxy.url]);
        done.ok();
    };
    run();
    let latest = project.path().join("outputs/p/latest");
    let made = std::fs::read(latest.join("only/quick_00001_.png")).unwrap();
    let saved = walkdir::WalkDir::new(watched.server.dir())
        .into_iter()
        .filter_map(Result::ok)
        .find(|entry| entry.file_name() == "quick_00001_.png")
        .unwrap();
    std::fs::remove_file(saved.path()).unwrap();

    run();
    assert_eq!(
        watched.count("POST /api/prompt"),
        3,
        "one, one that was remembered, one afresh"
    );
    let prefixes = watched.prefixes();
    assert_eq!(prefixes[..2], ["quick", "quick"]);
    assert!(
        prefixes[2].starts_with("kiln-") && prefixes[2].ends_with("/quick"),
        "{prefixes:?}"
    );
    assert_eq!(
        files(&latest),
        ["only/quick_00001_.png"],
        "its name is what it was"
    );
    let again = std::fs::read(latest.join("only/quick_00001_.png")).unwrap();
    let pixels = |bytes: &[u8]| image::load_from_memory(bytes).unwrap().into_rgb8();
    assert_eq!(pixels(&again), pixels(&made));
    assert_eq!(
        watched.count("POST /api/free"),
        0,
        "everybody's results would go"
    );
    assert_eq!(watched.count("POST /free"), 0);
}

#[test]
fn half_a_result_is_a_failure_unless_it_is_allowed_and_is_never_remembered() {
    let watched = Watched::start();
    let strict = project("", &half());
    let refused = strict.kiln(&["run", "p.yaml", "--server", &watched.proxy.url]);
    let refused = refused.code(3);
    refused.says("by magic");
    assert_eq!(watched.count("POST /api/prompt"), 0);

    let lenient = project(", allow_partial: true", &half());
    for run in 1..=2 {
        let done = lenient.kiln(&["run", "p.yaml", "--server", &watched.proxy.url]);
        let done = done.ok();
        done.says("warning[K0502]");
        done.says("leaves out what needs `node 2 (ImageScale)`, and runs the rest");
        assert_eq!(
            watched.count("POST /api/prompt"),
            run,
            "the result stands for no other"
        );
        let latest = lenient.path().join("outputs/p/latest");
        assert_eq!(files(&latest).len(), 1, "{:?}", files(&latest));
        assert!(files(&latest)[0].starts_with("only/good_"));
    }
}

#[test]
fn a_link_that_leads_nowhere_is_never_sent_wherever_it_stands_and_whatever_is_allowed() {
    let watched = Watched::start();
    for step in ["", ", allow_partial: true"] {
        let places = [
            ("1", "bogus", "K0302"),
            ("9", "extra", "K0302"),
            ("9", "images", "K0212"),
        ];
        for (node, input, code) in places {
            let mut graph = quick(3);
            // One that is fine beside it, so that there is something to run.
            graph["7"] = json!({"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}});
            graph[node]["inputs"][input] = json!(["404", 0]);
            let project = project(step, &graph);
            let done = project.kiln(&["run", "p.yaml", "--server", &watched.proxy.url]);
            let done = done.code(3);
            done.says(code);
            done.says("links to node `404`, which does not exist");
            done.says("--> w.json:");
        }
    }
    assert_eq!(watched.count("POST /api/prompt"), 0);
}

#[test]
fn a_link_that_leads_nowhere_through_a_template_is_not_sent_either() {
    let watched = Watched::start();
    let project = Project::new();
    project.file("w.json", quick(4).to_string());
    project.file(
        "p.yaml",
        "params:\n  from: { type: string, default: nowhere }\nsteps:\n  only:\n    workflow: w.json\n    set: { \"9\": { more: [\"{{ params.from }}\", 0] } }\n",
    );
    let done = project.kiln(&["run", "p.yaml", "--server", &watched.proxy.url]);
    assert_ne!(done.code, 0);
    assert_eq!(watched.count("POST /api/prompt"), 0);
}

#[test]
fn a_node_without_inputs_reaches_the_server_with_some() {
    let watched = Watched::start();
    let mut graph = quick(5);
    graph["3"] = json!({"class_type": "EmptyImage"});
    let project = project("", &graph);
    project
        .kiln(&["run", "p.yaml", "--server", &watched.proxy.url])
        .ok();
    let history = watched.server.get("/history");
    let job = history.as_object().unwrap().values().next().unwrap();
    assert_eq!(job["prompt"][2]["3"]["inputs"], json!({}));
}
