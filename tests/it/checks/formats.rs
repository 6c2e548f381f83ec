//! The forms in which `kiln check` tells: annotations, SARIF, and warnings that are denied.

use serde_json::{Value, json};

use super::{BASE, check, node, project, saving};
use crate::support::{Project, repository};

#[test]
fn annotations_stand_at_the_line_of_the_file() {
    let wrong = saving(&json!({"1": node("EmptyImage", &json!({"width": 0, "wdith": 1}))}));
    let project = project(&[
        ("w.json", &wrong),
        ("v.json", &wrong.replace("\"width\": 0", "\"width\": 1")),
    ]);
    let done = check(&project, &["--output", "github", "w.json", "v.json"]).code(3);
    insta::assert_snapshot!(done.stdout);
    assert_eq!(done.stderr, "");
}

#[test]
fn warnings_are_errors_when_they_are_denied() {
    let odd = saving(&json!({"1": node("EmptyImage", &json!({"width": 8, "wdith": 1}))}));
    let project = project(&[("w.json", &odd)]);
    check(&project, &["w.json"]).ok();
    let done = check(
        &project,
        &["--deny", "warnings", "--output", "json", "w.json"],
    )
    .code(3);
    assert!(
        done.stdout.contains("\"severity\":\"error\""),
        "{}",
        done.stdout
    );
    // A note is no warning.
    let experimental = saving(&json!({
        "0": node("EmptyImage", &json!({"width": 8})),
        "1": node("NewInvert", &json!({"image": ["0", 0]})),
    }));
    project.file("w.json", &experimental);
    check(&project, &["--deny", "warnings", "w.json"])
        .ok()
        .says("note[K0307]");
}

/// What SARIF 2.1.0 demands of the parts of a log that kiln writes, and nothing else in it.
fn sarif_schema() -> Value {
    let path = repository().join("tests/it/fixtures/sarif-subset.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// A log of files that are wrong in different ways, after a look at its structure.
fn sarif(project: &Project) -> Value {
    let files = ["a b.json", "broken.json", "fine.json", "absent.json"];
    let done = check(project, &[&["--output", "sarif"], &files[..]].concat()).code(3);
    let log: Value = serde_json::from_str(&done.stdout).unwrap();
    let validator = jsonschema::validator_for(&sarif_schema()).unwrap();
    let wrong: Vec<String> = validator
        .iter_errors(&log)
        .map(|e| format!("{}: {e}", e.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    log
}

#[test]
fn a_sarif_log_has_the_structure_that_its_standard_demands() {
    let text = saving(&json!({
        "1": node("Switch", &json!({"on": true, "yes": ["2", 0], "no": ["3", 0], "nope": 1})),
        "2": node("EmptyImage", &json!({"width": 0})),
        "3": node("EmptyLatent", &json!({})),
    }));
    let log = sarif(&project(&[
        ("a b.json", &text),
        ("broken.json", "{"),
        ("fine.json", BASE),
    ]));
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    for result in results {
        let at = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(result["ruleId"], rules[at]["id"]);
    }
    let of = |code: &str| results.iter().find(|r| r["ruleId"] == code);
    assert!(
        of("K0004").is_some() && of("K0001").is_some(),
        "{results:?}"
    );
    let place = &of("K0205").unwrap()["locations"][0];
    let physical = &place["physicalLocation"];
    assert_eq!(physical["artifactLocation"]["uri"], "a%20b.json");
    let line = text.lines().position(|l| l.contains("\"width\": 0"));
    assert_eq!(physical["region"]["startLine"], line.unwrap() + 1);
    let node = &place["logicalLocations"][0];
    assert_eq!(node["fullyQualifiedName"], "2.width");
}
