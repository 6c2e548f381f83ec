//! What users see when a file is wrong, and what the planner gets when it is right.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::artifact::Datum;
use crate::diagnostic::{Report, SourceMap, render_human};
use crate::template::{Engine, Scope, Template, World};

pub(super) fn load(text: &str) -> (Option<Pipeline>, SourceMap, Report) {
    let mut sources = SourceMap::default();
    let mut report = Report::default();
    let path = Path::new("/p/demo.yaml");
    let file = sources.add_text("demo.yaml", text);
    let pipeline = pipeline_from_text(file, path, &sources, &mut report);
    (pipeline, sources, report)
}

pub(super) fn complaints(text: &str) -> String {
    let (_, sources, report) = load(text);
    render_human(&report, &sources)
}

pub(super) fn good(text: &str) -> Pipeline {
    let (pipeline, sources, report) = load(text);
    assert!(
        report.items.is_empty(),
        "{}",
        render_human(&report, &sources)
    );
    pipeline.unwrap()
}

pub(super) fn project(text: &str) -> (Option<Project>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kiln.yaml");
    std::fs::write(&path, text).unwrap();
    let mut sources = SourceMap::default();
    let mut report = Report::default();
    let inputs = crate::base::Inputs::default();
    let project = load_project(&path, &inputs, &mut sources, &mut report);
    if let Some(project) = &project {
        sources.rename(project.file, "kiln.yaml");
    }
    (project, render_human(&report, &sources))
}

pub(super) const STEP: &str = "steps:\n  a:\n    workflow: a.json\n";

#[test]
fn a_pipeline_is_read_as_written() {
    let pipeline = good(
        "version: 1
description: Draws.
x-common: &common { server: far }
params:
  subject: { type: string, default: a teapot, description: What. }
  count: { type: integer, minimum: 1, maximum: 16 }
  seed: { type: seed, default: random }
  photo: { type: file, default: null }
  style: { type: string, enum: [photo, ink], default: ink }
server: near
max_parallel: 8
steps:
  x-more: 1
  base:
    <<: *common
    workflow: w.json
    set:
      3: { seed: '{{ params.seed }}', cfg: 7.5, model: [Loader, 0] }
      Detail: null
    outputs: { final: Save Image, other: 9 }
    save_as: '{{ params.subject }}'
  next:
    workflow: w2.json
    needs: [base]
    template: false
",
    );
    assert_eq!(pipeline.name, "demo");
    assert_eq!(pipeline.max_parallel.unwrap().value, 8);
    assert_eq!(pipeline.server.unwrap().as_str(), Some("near"));
    assert!(pipeline.params["photo"].optional());
    assert_eq!(pipeline.params["count"].default, None);
    assert_eq!(pipeline.params["style"].choices.len(), 2);
    let base = &pipeline.steps["base"];
    assert_eq!(base.server.as_ref().unwrap().as_str(), Some("far"));
    assert_eq!(base.set[0].node.value, "3");
    let SetEntry::Inputs(inputs) = &base.set[0].entry else {
        panic!("{base:?}");
    };
    assert_eq!(inputs[1].1.to_datum(), Datum::from(serde_json::json!(7.5)));
    assert!(matches!(&inputs[2].1.kind, NodeKind::List(items) if items.len() == 2));
    assert_eq!(base.set[1].entry, SetEntry::Remove);
    assert_eq!(base.outputs["other"].1.value, "9");
    assert_eq!(pipeline.steps["next"].needs[0].step.value, "base");
    assert_eq!(pipeline.steps["next"].template, Some(false));
    assert_eq!(pipeline.steps.len(), 2);
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once() {
    insta::assert_snapshot!(
        "mistakes",
        complaints(
            "version: 2
nmae: demo
params:
  Count: { type: int, default: 3 }
  size: { type: integer, default: big, minimum: 9, maximum: 1 }
  style: { type: string, enum: [photo, ink], default: phto }
  flag: { type: boolean, default: yes }
  text: { type: string, default: 5 }
max_parallel: '4'
steps:
  my-step:
    workfow: a.json
  b:
    workflow: 3
    matrix: { i: [1, 2] }
    set: { KSampler: bypas }
    template: on
    outputs: [Save]
    workflow: b.json
  c:
    workflow: '{{ params.size }}'
    needs: '{{ params.size }}'
    server:
"
        )
    );
}

#[test]
fn an_unquoted_template_is_named_whatever_yaml_makes_of_it() {
    insta::assert_snapshot!(
        "unquoted_template",
        [
            "steps:\n  a:\n    workflow: {{ params.file }}\n",
            "steps:\n  a:\n    workflow: a.json\n    set: { KSampler: { seed: {{ params.seed }} } }\n",
            "steps:\n  a:\n    workflow: a.json\n    save_as: {{ params.a }}-{{ params.b }}\n",
            "steps:\n  a:\n    workflow: a.json\n    save_as: {{ params.a | join(\",\") }}\n    server: x\n",
            "steps:\n  a:\n    workflow: a.json\n    save_as: {% if x %}a{% endif %}\n",
        ]
        .map(complaints)
        .join("\n")
    );
}

#[test]
fn every_unquoted_template_of_a_file_is_found() {
    let (_, _, report) = load(
        "params:\n  a: { type: string, default: {{ env('A') }} }\nsteps:\n  a:\n    workflow: {{ x }}\n    save_as: {{ y }}\n",
    );
    assert_eq!(report.items.len(), 3);
    assert!(report.items.iter().all(|d| d.code.id == "K0105"));
}

#[test]
fn broken_yaml_points_at_the_line() {
    insta::assert_snapshot!(
        "invalid_yaml",
        [
            "steps:\n  a:\n\tworkflow: a.json\n",
            "description: one: two\nsteps: {}\n",
            "description: @home\n",
            "steps:\n  a:\n    workflow: *nothing\n",
            "name: \"unfinished\nsteps: {}\n",
            "name: \"C:\\pictures\"\n",
            "a: 1\n---\nb: 2\n",
            "steps:\n  a: 1\n b: 2\n",
            "steps:\n  a:\n    <<: 3\n",
        ]
        .map(complaints)
        .join("\n")
    );
}

#[test]
fn a_yaml_bomb_is_refused_with_the_limit_named() {
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for pair in ["ab", "bc", "cd", "de", "ef", "fg", "gh"] {
        let (from, to) = pair.split_at(1);
        let list = vec![format!("*{from}"); 10].join(",");
        writeln!(bomb, "{to}: &{to} [{list}]").unwrap();
    }
    let deep = format!("a: {}1{}\n", "[".repeat(70), "]".repeat(70));
    let deeper = format!("a: {}\n", "[".repeat(5000));
    let aliases = format!("a: &a 1\nb: [{}]\n", vec!["*a"; 1001].join(","));
    let shown: Vec<String> = [bomb, deep, deeper, aliases]
        .iter()
        .map(|text| {
            let (pipeline, _, report) = load(text);
            assert!(pipeline.is_none());
            assert_eq!(report.items.len(), 1);
            format!("{} {}", report.items[0].code.id, report.items[0].message)
        })
        .collect();
    insta::assert_snapshot!("yaml_limits", shown.join("\n"));
    insta::assert_snapshot!(
        "yaml_limit",
        complaints(&format!("a: {}1{}\n", "[".repeat(70), "]".repeat(70)))
    );
}

#[test]
fn values_that_mean_nothing_are_refused() {
    insta::assert_snapshot!(
        "bad_value",
        complaints(&format!(
            "name: a/b\nx-a: 18446744073709551616\nx-b: .inf\nx-c: !env HOME\nx-d: !!binary aGVsbG8=\nx-e: {{[1]: 2}}\n{STEP}    save_as: ''\n"
        ))
    );
}

#[test]
fn a_file_that_is_no_map_is_refused() {
    insta::assert_snapshot!(
        "no_map",
        [
            "",
            "- a\n",
            "steps: []\n",
            "name: x\n",
            "steps: { x-a: 1 }\n"
        ]
        .map(complaints)
        .join("\n")
    );
}

#[test]
fn duplicate_keys_show_both_places() {
    insta::assert_snapshot!(
        "duplicate_key",
        complaints(&format!(
            "{STEP}    set: {{ '3': {{ a: 1 }}, 3: {{ a: 2 }} }}\n  a:\n    workflow: b.json\n"
        ))
    );
    // What a merge brings is no duplicate.
    good(&format!(
        "x-a: &a {{ server: s }}\n{STEP}    <<: *a\n    server: t\n"
    ));
}

#[test]
fn a_merged_value_is_shown_where_it_is_written() {
    let text = format!("x-a: &a\n  servr: s\n{STEP}    <<: *a\n");
    let (_, sources, report) = load(&text);
    let span = report.items[0].primary.as_ref().unwrap().span;
    assert_eq!(sources.line_column(span).line, 2);
}

#[test]
fn yes_is_text_and_ids_may_be_called_on() {
    let pipeline = good(
        "steps:\n  on:\n    workflow: yes\n    set: { N: { a: yes, b: 017, c: 1_000, d: 0x1F } }\n",
    );
    let step = &pipeline.steps["on"];
    assert!(matches!(&step.work, StepWork::Workflow(node) if node.as_str() == Some("yes")));
    let SetEntry::Inputs(inputs) = &step.set[0].entry else {
        panic!()
    };
    let values: Vec<_> = inputs.iter().map(|(_, n)| n.to_datum().to_json()).collect();
    assert_eq!(
        serde_json::json!(values),
        serde_json::json!(["yes", "017", "1_000", 31])
    );
}

#[test]
fn a_project_is_read_and_its_mistakes_are_told() {
    let (read, said) = project(
        "servers:
  workstation: { url: http://127.0.0.1:8188, max_jobs: 3 }
  here: { kind: embedded }
  there: { url: \"{{ env('URL') }}\", max_jobs: \"{{ env('N') }}\" }
default_server: workstation
output_dir: out
x-note: mine
",
    );
    assert_eq!(said, "");
    let read = read.unwrap();
    assert_eq!(read.servers.len(), 3);
    assert_eq!(
        read.servers["here"].value.kind,
        ServerKind::Embedded { simulate: false }
    );
    assert_eq!(read.output_dir.unwrap().as_str(), Some("out"));
    assert!(project("").0.is_some());
    insta::assert_snapshot!(
        "project",
        project(
            "servers:
  a: { ulr: http://x }
  b: { kind: cloud, api_key: k, token: t }
  f: { urls: [http://x, http://x/], url: http://y }
  g: { urls: [http://x, http://x/], token: '', simulate: true }
  h: { urls: http://x, lost_after: 2 min, headers: { 'a b': c, Authorization: d }, token: t }
  i: { kind: embedded, simulate: yes, token: t }
  j: { urls: [] }
  k: { kind: remote, url: http://k }
  c: { kind: embedded, url: http://x }
  http://d: { url: http://d }
  e: { url: http://e, max_jobs: 0 }
default_servr: a
dotenv: 1
plugins: { sheet: { path: x } }
profiles:
  my draft: { server: sketch }
  draft: { sever: sketch, params: { count: { type: integer, default: 1 } }, max_parallel: 0 }
  other: fast
"
        )
        .1
    );
}

struct Nothing;
impl World for Nothing {
    fn file(&self, _: &str) -> Result<crate::artifact::FileValue, String> {
        Err("there is no such file".to_owned())
    }
    fn exists(&self, _: &str) -> bool {
        false
    }
    fn glob(&self, _: &str) -> Result<Vec<crate::artifact::FileValue>, String> {
        Ok(Vec::new())
    }
    fn read_text(&self, _: &str) -> Result<String, String> {
        Err("there is no such file".to_owned())
    }
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn run_seed(&self) -> u64 {
        1
    }
    fn now(&self) -> jiff::Zoned {
        jiff::Zoned::default()
    }
}

/// What a template in `save_as` is told.
fn template_complaint(yaml: &str) -> String {
    let (pipeline, sources, report) = load(&format!("{STEP}    save_as: {yaml}\n"));
    assert!(report.items.is_empty(), "{report:?}");
    let node = pipeline.unwrap().steps["a"].save_as.clone().unwrap();
    let scope = Scope::default()
        .with(
            "params",
            Datum::from(serde_json::json!({"subject": "x", "count": 3})),
        )
        .with(
            "photo",
            Datum::File(crate::artifact::FileValue {
                path: "/p/cup.png".into(),
                hash: crate::base::ContentHash::of(b""),
                size: 0,
            }),
        )
        .with_step("base", crate::template::StepResult::default());
    let engine = Engine::new(std::sync::Arc::new(Nothing));
    let error = Template::parse(node.as_str().unwrap())
        .and_then(|t| engine.eval(&t.expect("a template"), &scope))
        .expect_err(yaml);
    let mut report = Report::default();
    report.push(template_diagnostic(&error, &node, &sources));
    render_human(&report, &sources)
}

#[test]
fn template_errors_point_into_the_users_lines() {
    insta::assert_snapshot!(
        "template_errors",
        [
            "'{{ params.count + }}'",
            "a {{ params.x # y }}",
            "\"\\u00fc\\n{{ params.subjct }}\"",
            "|\n      first\n        {{ params.subject }}\n      {{ params.subjct | upper }}\n",
            ">-\n      folded\n      text {{ parms.subject }}",
            "'it''s {{ params.count | shout }}'",
            "'{{ env(\"HOME_OF_NOBODY\") }}'",
            "'{{ file(\"none.png\") }}'",
            "'{{ steps.base.image }}'",
            "'a cup like {{ photo }}'",
            "'{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}'",
        ]
        .map(template_complaint)
        .join("\n")
    );
}

#[test]
fn params_check_what_they_are_given() {
    let pipeline = good(
        "params:
  text: { type: string }
  count: { type: integer, minimum: 1, maximum: 18446744073709551615 }
  ratio: { type: number, maximum: 1 }
  flag: { type: boolean }
  seed: { type: seed }
  photo: { type: file, default: null }
  style: { type: string, enum: [photo, ink] }
  steps: { type: integer, enum: [10, 20] }
steps:
  a:
    workflow: a.json
",
    );
    let parse = |name: &str, text: &str| pipeline.params[name].parse(text).map(|d| d.to_json());
    assert_eq!(parse("text", "5"), Ok("5".into()));
    assert_eq!(parse("count", "18446744073709551615"), Ok(u64::MAX.into()));
    assert_eq!(parse("ratio", "0.5"), Ok(0.5.into()));
    assert_eq!(parse("ratio", "-3"), Ok((-3).into()));
    assert_eq!(parse("flag", "true"), Ok(true.into()));
    assert_eq!(parse("seed", "random"), Ok("random".into()));
    assert_eq!(parse("seed", "9"), Ok(9.into()));
    assert_eq!(parse("steps", "20"), Ok(20.into()));
    let errors: Vec<String> = [
        ("count", "four"),
        ("count", "0"),
        ("count", "1.0"),
        ("count", "18446744073709551616"),
        ("ratio", "inf"),
        ("ratio", "1.5"),
        ("flag", "yes"),
        ("seed", "-1"),
        ("photo", ""),
        ("style", "phot"),
        ("style", "zzz"),
        ("steps", "15"),
    ]
    .map(|(name, text)| format!("{name} {}", parse(name, text).unwrap_err()))
    .to_vec();
    insta::assert_snapshot!("param_values", errors.join("\n"));
    assert_eq!(
        pipeline.params["photo"].check(&Datum::Null),
        Ok(Datum::Null)
    );
    assert!(pipeline.params["text"].check(&Datum::Null).is_err());
}

#[test]
fn params_without_a_value_are_asked_for() {
    let (pipeline, sources, _) = load(&format!("params:\n  subject: {{ type: string }}\n{STEP}"));
    let mut report = Report::default();
    report.push(missing_param(&pipeline.unwrap().params["subject"]));
    insta::assert_snapshot!("missing_param", render_human(&report, &sources));
}

#[test]
fn what_is_broken_is_named_so_that_nobody_misses_it() {
    let (pipeline, _, report) =
        load("params:\n  a: { type: what }\nsteps:\n  b: {}\n  c:\n    workflow: c.json\n");
    let pipeline = pipeline.unwrap();
    assert_eq!(report.items.len(), 2);
    assert_eq!(pipeline.broken_params, ["a"]);
    assert_eq!(pipeline.broken_steps, ["b"]);
    assert_eq!(pipeline.steps.len(), 1);
}

#[test]
fn the_examples_of_the_pages_do_what_the_pages_say() {
    for id in [
        "K0002", "K0003", "K0101", "K0102", "K0103", "K0104", "K0105", "K0110", "K0123", "K0124",
        "K0125", "K0126", "K0127", "K0128", "K0130", "K0131",
    ] {
        let page = crate::diagnostic::codes::find(id).unwrap().page;
        let (_, rest) = page.split_once("```yaml\n").expect(id);
        let (example, _) = rest.split_once("```").expect(id);
        let (_, _, report) = load(example);
        assert!(
            report.items.iter().any(|d| d.code.id == id),
            "{id}: {:?}",
            report.items
        );
    }
}

#[test]
fn the_example_pipeline_in_the_repository_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/quickstart.yaml");
    let (pipeline, _, report) = load(&std::fs::read_to_string(path).unwrap());
    let pipeline = pipeline.unwrap();
    assert!(report.items.is_empty(), "{report:?}");
    assert!(pipeline.steps.len() >= 3);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(400))]

    /// Whatever a file holds: it is read or refused, and every complaint stands in it.
    #[test]
    fn no_file_makes_the_reader_stumble(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "steps", "params", "when", "for_each: ", "until", "matrix", "retry", "command", "claims", "! ", " #", "\"a", "'a' ", ": ", ":\n", "\n", "  ", "    ", "- ", "{", "}", "{{ x }}", "{%", "[", "]", ", ", "a", "workflow", "set", "type",
                "'", "\"", "\\", "|", ">", "|2-", "&a ", "*a", "<<: ", "!x ", "!!int ", "# ", "ü", "😀", "1", "1e999", ".nan", "yes", "null", "~", "? ",
                "---\n", "...\n", "\t", "\r\n", "\u{feff}", "version: 1\n", "x-a", "@", "%", "`", "\u{0}", "\u{2028}",
            ]),
            0..24,
        )
    ) {
        let text = parts.concat();
        let (pipeline, sources, report) = load(&text);
        for diagnostic in &report.items {
            let span = diagnostic.primary.as_ref().expect("a place").span;
            assert!(span.end <= text.len() && text.get(span.start..span.end).is_some(), "{text:?}: {diagnostic:?}");
        }
        assert!(pipeline.is_some() || !report.items.is_empty());
        render_human(&report, &sources);
    }
}
