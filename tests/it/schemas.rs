//! The schemas in `schemas/` are those of the types; `KILN_BLESS=1` writes them.

use serde_json::Value;

use crate::support::{Project, finish, kiln, repository};

fn printed(which: &str) -> String {
    finish(kiln().args(["schema", which])).ok().stdout
}

#[test]
fn the_checked_in_schemas_are_fresh() {
    for which in ["pipeline", "project", "event"] {
        let path = repository().join(format!("schemas/{which}.schema.json"));
        let now = printed(which);
        if std::env::var_os("KILN_BLESS").is_some() {
            std::fs::write(&path, &now).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            stored == now,
            "{} is stale: KILN_BLESS=1 cargo test schemas",
            path.display()
        );
    }
}

fn validator(which: &str) -> jsonschema::Validator {
    let schema: Value = serde_json::from_str(&printed(which)).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    jsonschema::draft7::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

#[test]
fn the_examples_satisfy_the_schemas() {
    let pipelines = validator("pipeline");
    let mut seen = 0;
    for entry in std::fs::read_dir(repository().join("pipelines")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(
                text.starts_with(
                    "# yaml-language-server: $schema=../schemas/pipeline.schema.json\n"
                ),
                "{path:?}"
            );
            let value = yaml(&text);
            let wrong: Vec<String> = pipelines
                .iter_errors(&value)
                .map(|e| e.to_string())
                .collect();
            assert!(wrong.is_empty(), "{path:?}: {wrong:?}");
            seen += 1;
        }
    }
    assert!(seen >= 1);
    let project = std::fs::read_to_string(repository().join("kiln.yaml")).unwrap();
    assert!(validator("project").is_valid(&yaml(&project)));
}

/// A step of a workflow with these keys.
fn step(keys: &str) -> String {
    format!("steps:\n  a:\n    workflow: w.json\n{keys}")
}

/// What the reader takes and what the schema allows must be the same, or editors mislead.
fn agree(cases: &[(String, bool)]) {
    let schema = validator("pipeline");
    let project = Project::new();
    project.file(
        "w.json",
        r#"{"1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}},
            "9": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}}"#,
    );
    for (text, right) in cases {
        project.file("p.yaml", text);
        let done = project.kiln(&["plan", "p.yaml"]);
        let by_schema = schema.is_valid(&yaml(text));
        if text.contains("width: null") {
            // Removing an input is the language's business; whether the node can do without it is the server's.
            assert!(by_schema);
            assert_eq!(project.kiln(&["check", "p.yaml"]).code, 3);
            continue;
        }
        assert_eq!(
            done.code == 0,
            *right,
            "kiln plan on:\n{text}\n{}",
            done.stderr
        );
        assert_eq!(by_schema, *right, "the schema on:\n{text}");
    }
}

#[test]
fn the_schema_and_the_reader_agree() {
    agree(&[
        (step(""), true),
        (step("    set: { EmptyImage: { width: 128 } }\n"), true),
        (
            step("    set: { EmptyImage: { width: \"{{ 64 * 2 }}\" } }\n"),
            true,
        ),
        (step("    set: { EmptyImage: { width: null } }\n"), false),
        (
            step(
                "    outputs: { it: SaveImage }\n    save_as: x\n    template: false\n    server: embedded\n",
            ),
            true,
        ),
        (step("    needs: []\n"), true),
        (step("    needs: [1]\n"), false),
        (step("    wrong: 1\n"), false),
        (step("    template: maybe\n"), false),
        (
            format!(
                "version: 1\nname: x\ndescription: y\nmax_parallel: 2\n{}",
                step("")
            ),
            true,
        ),
        (format!("version: 2\n{}", step("")), false),
        (format!("max_parallel: 0\n{}", step("")), false),
        (format!("x-anything: [1]\n{}", step("")), true),
        (
            format!("params: {{ a: {{ type: strang }} }}\n{}", step("")),
            false,
        ),
        (
            format!(
                "params: {{ a: {{ type: seed, default: random }} }}\n{}",
                step("")
            ),
            true,
        ),
        (
            format!(
                "params: {{ a: {{ type: integer, default: 3, minimum: 1, maximum: 9 }} }}\n{}",
                step("")
            ),
            true,
        ),
        (
            format!(
                "params: {{ A: {{ type: string, default: x }} }}\n{}",
                step("")
            ),
            false,
        ),
        ("steps: {}\n".to_owned(), false),
        ("name: x\n".to_owned(), false),
    ]);
}

#[test]
fn the_schema_and_the_reader_agree_on_many_tasks_and_commands() {
    agree(&[        (
            step(
                "    when: true\n    for_each: [1, 2]\n    matrix: { i: [1, 2], s: \"{{ range(2) }}\", exclude: [{ i: 1 }], include: [{ i: 5, s: 5 }] }\n",
            ),
            true,
        ),
        (step("    when: 3\n"), false),
        (step("    for_each: { a: 1 }\n"), false),
        (step("    matrix: { i: word }\n"), false),
        (step("    matrix: { i: [1], include: [3] }\n"), false),
        (
            step(
                "    retry: { attempts: 3, delay: 500ms, max_delay: 1h30m, for: [transient, oom], until: true }\n    timeout: 10m\n    stall_timeout: \"{{ '5' ~ 'm' }}\"\n    cache: strict\n    transfer: upload\n",
            ),
            true,
        ),
        (step("    retry: 3\n"), false),
        (step("    retry: { attempts: 0 }\n"), false),
        (step("    retry: { attempts: 2, for: everything }\n"), false),
        (step("    timeout: 10\n"), false),
        (step("    timeout: 1m1h\n"), false),
        (step("    cache: never\n"), false),
        (step("    transfer: reference\n"), false),
        (step("    command: [ls]\n"), false),
        (step("    stdin: x\n"), false),
        (step("    plugin: x\n"), false),
        (
            format!("limits: {{ gpu: 2 }}\n{}", step("    claims: { gpu: 1 }\n")),
            true,
        ),
        (format!("limits: {{ gpu: 0 }}\n{}", step("")), false),
        (
            format!(
                "params: {{ a: {{ type: list, items: integer, default: [1, 2], maximum: 3 }} }}\n{}",
                step("")
            ),
            true,
        ),
        (
            format!(
                "params: {{ a: {{ type: list, items: list }} }}\n{}",
                step("")
            ),
            false,
        ),
        (
            "steps: { a: { command: [ls, -l, [1, 2], true], env: { A: 1 }, stdin: x, outputs: { all: '*.txt' } } }\n".to_owned(),
            true,
        ),
        ("steps: { a: { command: ls } }\n".to_owned(), false),
        ("steps: { a: { command: [] } }\n".to_owned(), false),
        ("steps: { a: { command: [ls], set: {} } }\n".to_owned(), false),
        (
            "steps: { a: { command: [ls], env: { A-B: 1 } } }\n".to_owned(),
            false,
        ),
    ]);
}

const WORKFLOW: &str = r#"{
  "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}, "_meta": {"title": "Card"}},
  "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "x"}}
}"#;

#[test]
fn the_schema_of_one_pipeline_knows_the_nodes_of_its_workflows() {
    // Mistakes in a step, and a step without a workflow, keep nobody from writing on.
    let pipeline = "params: { n: { type: integer } }
steps:
  a: { workflow: w.json, set: { Crad: { width: '{{ oops' } }, when: steps.b.nothing }
  b: { workflow: gone.json }
  c: { command: [cat, '{{ steps.a.image }}'] }
";
    let project = Project::of(&[("w.json", WORKFLOW), ("p.yaml", pipeline)]);
    let args = [
        "schema",
        "pipeline",
        "--server",
        "embedded",
        "--pipeline",
        "p.yaml",
    ];
    let done = project.kiln(&args).ok();
    let schema: Value = serde_json::from_str(&done.stdout).unwrap();
    jsonschema::draft7::meta::validate(&schema).unwrap();
    done.says("gone.json");
    let steps = &schema["properties"]["steps"]["properties"];
    let known: Vec<&String> = steps.as_object().unwrap().keys().collect();
    assert_eq!(known, ["a"]);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let fits = |set: &str| {
        validator.is_valid(&yaml(&format!(
            "steps: {{ a: {{ workflow: w.json, set: {set} }} }}"
        )))
    };
    assert!(
        fits("{ Card: { width: 16 } }") && fits("{ '2': { filename_prefix: '{{ params.n }}' } }")
    );
    assert!(
        !fits("{ Crad: { width: 16 } }")
            && !fits("{ Card: { width: 0 } }")
            && !fits("{ Card: { widht: 16 } }")
    );
}

#[test]
fn a_schema_is_written_whole_or_not_at_all() {
    let project = Project::of(&[
        ("w.json", WORKFLOW),
        ("p.yaml", "steps: { a: { workflow: w.json } }\n"),
    ]);
    let write = || {
        project.kiln(&[
            "schema",
            "pipeline",
            "--server",
            "embedded",
            "--pipeline",
            "p.yaml",
            "-o",
            "out/p.schema.json",
        ])
    };
    let done = write().ok();
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), ("", ""));
    let written = std::fs::read(project.path().join("out/p.schema.json")).unwrap();
    let _: Value = serde_json::from_slice(&written).unwrap();
    project.file("p.yaml", "steps: { a: { workflow: w.json }\n");
    write().code(3).says("K0002");
    assert_eq!(
        std::fs::read(project.path().join("out/p.schema.json")).unwrap(),
        written
    );
    project
        .kiln(&["schema", "event", "--pipeline", "p.yaml"])
        .code(2)
        .says("`--pipeline` goes with");
    project
        .kiln(&[
            "schema",
            "pipeline",
            "--pipeline",
            "w.json",
            "--server",
            "embedded",
        ])
        .code(2)
        .says("is a workflow, and no pipeline");
}
