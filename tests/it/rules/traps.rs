//! The traps of strict templates: what another engine would pass over in silence ends a run before it begins, or fails its task where
//! only the results tell.

use super::{complaint, project, run, text};

/// What is undefined, and the name that the complaint is about.
const TRAPS: &[(&str, &str)] = &[
    ("X.nope", "`X.nope` is not defined"),
    ("X.rows[9]", "`X.rows[9]` is not defined"),
    ("X.rows[0].nope.more", "`X.rows[0].nope` is not defined"),
    ("[1, X.nope]", "`X.nope` is not defined"),
    ("{'a': X.nope}", "`X.nope` is not defined"),
    ("X.rows | map(attribute='h')", "not defined"),
    ("X.rows | groupby('h')", "not defined"),
    ("X.rows | map(attribute='h') | sort", "not defined"),
    ("(X.rows | map(attribute='h'))[1:2]", "not defined"),
    ("(X.rows | map(attribute='h'))[7]", "not defined"),
    ("1 if X.rows | length > 9", "not defined"),
    ("X.nope == 1", "`X.nope` is not defined"),
    ("'x' ~ X.nope", "`X.nope` is not defined"),
];

const ROWS: &str = r#"{"rows": [{"w": 2, "h": 3}, {"w": 1}]}"#;

#[test]
fn what_is_not_defined_in_a_param_is_told_before_anything_runs() {
    for (expression, told) in TRAPS {
        let expression = expression.replace('X', "read_json('rows.json')");
        let project = project(&format!(
            "steps:\n  a: {{ command: [touch, \"{{{{ pipeline.dir }}}}/ran\", \"{{{{ {expression} }}}}\"] }}\n"
        ));
        project.file("rows.json", ROWS);
        let done = project.kiln(&["run", "p.yaml"]).code(3);
        let told = told.replace('X', "read_json('rows.json')");
        let known = done.stderr.contains(&told) || done.stderr.contains("not defined");
        assert!(known, "{expression}: {}", done.stderr);
        assert!(done.stderr.contains("p.yaml:2:"), "{}", done.stderr);
        assert!(!project.path().join("ran").exists(), "{expression}");
    }
}

#[test]
fn what_is_not_defined_in_a_result_fails_the_task_that_uses_it() {
    use std::fmt::Write as _;

    let mut steps = format!("steps:\n  x: {{ command: [printf, '%s', '{ROWS}'] }}\n");
    for (at, (expression, _)) in TRAPS.iter().enumerate() {
        let expression = expression.replace('X', "steps.x.data");
        writeln!(
            steps,
            "  t{at}: {{ command: [echo, \"{{{{ {expression} }}}}\"] }}"
        )
        .unwrap();
    }
    let project = project(&steps);
    let events = run(&project, &["--keep-going"], 4);
    assert_eq!(events.last().unwrap()["counts"]["failed"], TRAPS.len());
    for (at, (_, told)) in TRAPS.iter().enumerate() {
        let message = complaint(&events, &format!("t{at}"));
        let told = told.replace('X', "steps.x.data");
        assert!(message.contains(&told), "{told}: {message}");
    }
}

#[test]
fn what_only_looks_like_a_trap_is_a_value() {
    let project = project(&format!(
        r#"steps:
  x: {{ command: [printf, '%s', '{ROWS}'] }}
  short: {{ command: [echo, "{{{{ steps.x.data.rows[1:9] }}}}!"] }}
  filled: {{ command: [echo, "{{{{ steps.x.data.rows | map(attribute='h', default=0) | sum }}}}"] }}
  default: {{ command: [echo, "{{{{ steps.x.data.nope | default('none') }}}}"] }}
  asked: {{ command: [echo, "{{{{ steps.x.data.nope is defined }}}}"] }}
  list: {{ command: [echo, "{{{{ steps.x.data.rows | map(attribute='w') }}}}"] }}
  lazy: {{ command: [echo, "{{{{ steps.x.data.rows | map(attribute='w') }}}}!"] }}
  says: {{ command: [echo, "{{{{ true }}}} {{{{ none }}}} {{{{ [1, 'a'] }}}} {{{{ 1.0 }}}} {{{{ 9007199254740993 }}}}"] }}
  block:
    command: [od, -An, -c]
    stdin: |
      n{{{{ 1 }}}}
"#
    ));
    let events = run(&project, &[], 0);
    assert_eq!(text(&events, "short"), "[{\"w\":1}]!");
    assert_eq!(text(&events, "filled"), "3");
    assert_eq!(text(&events, "default"), "none");
    assert_eq!(text(&events, "asked"), "false");
    assert_eq!(text(&events, "list"), "2 1", "a list becomes arguments");
    assert_eq!(text(&events, "lazy"), "[2,1]!", "what is lazy, too");
    assert_eq!(
        text(&events, "says"),
        "true null [1,\"a\"] 1.0 9007199254740993"
    );
    assert_eq!(text(&events, "block").trim(), "n   1  \\n");
}

#[test]
fn conditions_that_yaml_takes_apart_are_shown_quoted() {
    for (written, told) in [
        ("!params.go", "\"not params.go\""),
        ("", "has no value"),
        ("params.title != 'take #2'", "\"params.title != 'take #2'\""),
        ("{{ params.go }}", "\"{{ params.go }}\""),
    ] {
        let project = project(&format!(
            "params:\n  go: {{ type: boolean, default: true }}\n  title: {{ type: string, default: x }}\nsteps:\n  a:\n    command: [echo]\n    when: {written}\n"
        ));
        let done = project.kiln(&["run", "p.yaml"]).code(3);
        assert!(
            done.stderr.contains(told),
            "{written}: {told}\n{}",
            done.stderr
        );
    }
}
