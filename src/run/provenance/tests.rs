use super::*;

use crate::artifact::FileValue;
use crate::plan::{ParamValue, Upload, Work, WorkflowStep};

fn plan(graph: &Value) -> Plan {
    let mut sources = crate::diagnostic::SourceMap::default();
    let file = sources.add_text("draw.json", "{}");
    let graph: Graph = serde_json::from_value(graph.clone()).unwrap();
    let work = Work::Workflow(WorkflowStep {
        file,
        graph,
        places: None,
        in_file: Vec::new(),
        edits: Vec::new(),
        removed: Vec::new(),
        bypassed: Vec::new(),
    });
    let step = StepPlan::new(StepId::from("draw"), None, ServerName::from("local"), work);
    let photo = Datum::File(photo());
    let param = |value| ParamValue {
        value,
        drawn: false,
    };
    Plan {
        pipeline_dir: PathBuf::from("/home/me"),
        project_dir: PathBuf::from("/home/me"),
        output_dir: PathBuf::from("/home/me/outputs"),
        params: IndexMap::from([
            ("photo".to_owned(), param(photo)),
            (
                "subject".to_owned(),
                param(Datum::String("a teapot".to_owned())),
            ),
        ]),
        sources,
        steps: IndexMap::from([(step.id.clone(), step)]),
        tasks: vec![crate::plan::TaskPlan::only(&StepId::from("draw"))],
        ..Plan::blank()
    }
}

fn photo() -> FileValue {
    FileValue {
        path: PathBuf::from("/home/me/photo.png"),
        hash: ContentHash::of(b"photo"),
        size: 5,
    }
}

fn artifact(path: &Path) -> Arc<Artifact> {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, "pixels").unwrap();
    Arc::new(Artifact {
        kind: Kind::Image,
        name: "out_00001_.png".to_owned(),
        path: Some(path.to_path_buf()),
        hash: ContentHash::of(b"pixels"),
        size: 6,
        key: "images".to_owned(),
        output: Some("final".to_owned()),
        ..Artifact::blank(
            StepId::from("draw"),
            TaskName::from("draw"),
            NodeId::from("9"),
        )
    })
}

/// Writes the record of one file and reads it.
fn written(made: Option<&Made>, url: &str) -> String {
    let graph = json!({
        "3": {"class_type": "KSampler", "inputs": {
            "seed": 42, "noise_seed": -1, "model": ["4", 0],
            "token": secret::placeholder("KEY")
        }},
        "5": {"class_type": "LoadImage", "inputs": {"image": "kiln/abc.png"}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["3", 0]}}
    });
    let plan = plan(&graph);
    let step = &plan.steps["draw"];
    let (mut rendered, _) =
        crate::plan::preview(&plan, &plan.tasks[0], step.workflow().unwrap(), None);
    rendered.uploads = vec![Upload {
        node: NodeId::from("5"),
        input: "image".to_owned(),
        pointer: String::new(),
        file: Uploadable::File(photo()),
    }];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("draw/a.png");
    let key = ContentHash::of(b"key");
    let facts = Recorded {
        version: Some("0.33.0".to_owned()),
        ..Recorded::default()
    };
    let run = RunId::from("20261122-141530-k3f9");
    let provenance = Provenance {
        plan: &plan,
        run: &run,
        step,
        task: &plan.tasks[0].name,
        attempt: 1,
        did: Did::Graph(&rendered),
        by: By {
            name: &ServerName::from("local"),
            url,
            facts: &facts,
            simulated: false,
        },
        prompt_id: Some("e1"),
        key: Some(&key),
        made,
        times: (1_700_000_000_000, 1_700_000_001_500),
    };
    assert_eq!(provenance.record().write(&[artifact(&path)]), None);
    std::fs::read_to_string(dir.path().join("draw/a.png.kiln.json")).unwrap()
}

#[test]
fn a_record_tells_what_made_a_file() {
    let text = written(None, "http://me:secret@gpu:8188/?key=k");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["file"], "a.png");
    assert_eq!(json["hash"], ContentHash::of(b"pixels").to_hex());
    assert_eq!(json["task"], "draw");
    assert_eq!(json["started_at"], "2023-11-14T22:13:20Z");
    assert_eq!(json["ended_at"], "2023-11-14T22:13:21.5Z");
    assert_eq!(json["server"]["url"], "http://gpu:8188");
    assert_eq!(json["server"]["version"], "0.33.0");
    assert_eq!(json["params"]["subject"], "a teapot");
    assert_eq!(json["params"]["photo"]["file"], "photo.png");
    assert_eq!(json["seeds"]["run"], 7);
    assert_eq!(
        json["seeds"]["graph"],
        json!({"3.seed": 42, "3.noise_seed": -1})
    );
    let hash = ContentHash::of(b"photo").to_hex();
    assert_eq!(
        json["inputs"],
        json!([{"node": "5", "input": "image", "file": "photo.png", "hash": hash, "size": 5}])
    );
    assert_eq!(json["graph"]["5"]["inputs"]["image"], "kiln/abc.png");
    assert_eq!(json["key"], ContentHash::of(b"key").to_hex());
    assert!(json.get("cached_from").is_none());
    assert!(json.get("command").is_none());
}

#[test]
fn a_record_holds_no_secret_no_credential_and_no_path_of_this_machine() {
    let text = written(None, "http://me:hunter2@gpu:8188/?key=hunter2");
    assert!(
        !text.contains("hunter2") && !text.contains("/home/me"),
        "{text}"
    );
    assert!(!secret::is_in(&text), "{text}");
    assert!(
        text.contains("\"token\": \"{{ secret('KEY') }}\""),
        "{text}"
    );
}

#[test]
fn the_record_of_a_hit_says_who_made_it() {
    let made = Made {
        run: RunId::from("first"),
        task: TaskName::from("sketch"),
        at: 1_700_000_000_000,
        attempt: 1,
        server: Recorded {
            version: Some("0.30.0".to_owned()),
            ..Recorded::default()
        },
        prompt_id: None,
        graph: None,
        stamps: Vec::new(),
    };
    let text = written(Some(&made), "http://gpu:8188");
    let json: Value = serde_json::from_str(&text).unwrap();
    let from = json!({"run": "first", "task": "sketch", "ended_at": "2023-11-14T22:13:20Z"});
    assert_eq!(json["cached_from"], from);
    assert_eq!(json["server"]["version"], "0.30.0", "the one that made it");
    assert_eq!(json["graph"]["5"]["inputs"]["image"], "kiln/abc.png");
    let graph = json!({"5": {"class_type": "LoadImage", "inputs": {"image": "by-a-plugin.png"}}});
    let shaped = Made {
        graph: Some(serde_json::from_value(graph.clone()).unwrap()),
        ..made
    };
    let text = written(Some(&shaped), "http://gpu:8188");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["graph"], graph, "what plugins made of it then");
}

#[test]
fn a_command_is_told_without_paths_of_this_machine() {
    let plan = plan(&json!({}));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    let run = RunId::from("r");
    let here = ServerName::from("this machine");
    let provenance = Provenance {
        plan: &plan,
        run: &run,
        step: &plan.steps["draw"],
        task: &plan.tasks[0].name,
        attempt: 1,
        did: Did::Command {
            program: "ffmpeg",
            args: &["-i=/home/me/photo.png".to_owned()],
            env: &IndexMap::from([("TOKEN".to_owned(), secret::placeholder("KEY"))]),
            stdin: None,
            files: &[(photo().path, photo().hash)],
        },
        by: By {
            name: &here,
            url: "",
            facts: &Recorded::default(),
            simulated: false,
        },
        prompt_id: None,
        key: None,
        made: None,
        times: (0, 0),
    };
    assert_eq!(provenance.record().write(&[artifact(&path)]), None);
    let text = std::fs::read_to_string(dir.path().join("a.mp4.kiln.json")).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let env = json!({"TOKEN": "{{ secret('KEY') }}"});
    assert_eq!(
        json["command"],
        json!({"program": "ffmpeg", "args": ["-i=photo.png"], "env": env, "stdin": null})
    );
    assert!(json.get("graph").is_none() && json.get("key").is_none());

    // A folder stands where the record should be.
    let blocked = artifact(&dir.path().join("b.mp4"));
    std::fs::create_dir_all(dir.path().join("b.mp4.kiln.json/x")).unwrap();
    let warning = provenance.record().write(&[blocked]).unwrap();
    assert!(
        warning
            .message
            .starts_with("a result has no record of its origin"),
        "{}",
        warning.message
    );
}
