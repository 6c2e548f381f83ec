//! Steps that fan out, claim, retry and run commands: what the planner gets, and what users read.

use super::tests::{STEP, complaints, good, project};
use super::*;
use crate::artifact::Datum;

/// What is said about the keys of a step that runs a workflow.
fn about(keys: &str) -> String {
    complaints(&format!("{STEP}{keys}"))
}

/// What is said about a step by itself.
fn about_step(keys: &str) -> String {
    complaints(&format!("steps:\n  a:\n{keys}"))
}

fn json(node: &Node) -> serde_json::Value {
    node.to_datum().to_json()
}

const EVERY_KEY: &str = "limits: { upscaler: 2, disk: 5 }
retry: { attempts: 2 }
timeout: 1h
stall_timeout: \"{{ params.stall }}\"
cache: false
params: { stall: { type: string, default: 5m } }
steps:
  base:
    workflow: w.json
    when: params.stall != ''   # a comment is a comment
    matrix:
      i: \"{{ range(3) }}\"
      style: [ink, photo]
      exclude: [{ i: 1 }]
      include: [{ i: 9, style: \"{{ params.stall }}\" }]
    for_each: [1, 2]
    set: { Detail LoRA: bypass, Other: null }
    needs: [first, { step: second, optional: true }]
    claims: { upscaler: 1 }
    retry: { attempts: 3, delay: 2s, max_delay: 1m30s, for: [oom, node_error, oom], until: \"{{ result.image }}\" }
    timeout: 10m
    stall_timeout: 90s
    cache: strict
    transfer: upload
    allow_partial: true
  first: { workflow: w.json, when: false, for_each: steps.second.images, needs: { step: second } }
  second: { workflow: w.json, retry: { attempts: 2, until: true } }
";

#[test]
fn what_holds_for_all_steps_is_read_as_written() {
    let pipeline = good(EVERY_KEY);
    assert_eq!(pipeline.limits["disk"].value, 5);
    let all = pipeline.retry.unwrap();
    assert_eq!(all.attempts.value, 2);
    assert_eq!(all.classes[0].value, RetryClass::Transient);
    assert_eq!(pipeline.timeout.unwrap().as_str(), Some("1h"));
    assert!(pipeline.stall_timeout.is_some());
    assert_eq!(pipeline.cache.unwrap().value, CacheMode::Off);
}

#[test]
fn every_key_of_a_workflow_step_is_read_as_written() {
    let pipeline = good(EVERY_KEY);
    let base = &pipeline.steps["base"];
    assert_eq!(
        base.when.as_ref().unwrap().as_str(),
        Some("params.stall != ''")
    );
    let matrix = base.matrix.as_ref().unwrap();
    assert_eq!(matrix.keys.keys().collect::<Vec<_>>(), ["i", "style"]);
    assert_eq!(json(&matrix.exclude[0]), serde_json::json!({"i": 1}));
    assert_eq!(matrix.include.len(), 1);
    assert_eq!(
        json(base.for_each.as_ref().unwrap()),
        serde_json::json!([1, 2])
    );
    assert_eq!(base.set[0].entry, SetEntry::Bypass);
    assert_eq!(base.set[1].entry, SetEntry::Remove);
    let needs: Vec<_> = base
        .needs
        .iter()
        .map(|n| (n.step.value.as_str(), n.optional))
        .collect();
    assert_eq!(needs, [("first", false), ("second", true)]);
    assert_eq!(base.claims["upscaler"].value, 1);
    let retry = base.retry.as_ref().unwrap();
    assert_eq!(retry.delay.as_ref().unwrap().value, 2_000);
    assert_eq!(retry.max_delay.as_ref().unwrap().value, 90_000);
    let classes: Vec<RetryClass> = retry.classes.iter().map(|c| c.value).collect();
    assert_eq!(classes, [RetryClass::Oom, RetryClass::NodeError]);
    assert!(retry.until.is_some());
    assert_eq!(base.timeout.as_ref().unwrap().as_str(), Some("10m"));
    assert_eq!(base.cache.as_ref().unwrap().value, CacheMode::Strict);
    assert_eq!(base.transfer.as_ref().unwrap().value, Transfer::Upload);
    assert!(base.allow_partial);

    let first = &pipeline.steps["first"];
    assert_eq!(first.when.as_ref().unwrap().kind, NodeKind::Bool(false));
    assert_eq!(first.needs.len(), 1);
    let until = pipeline.steps["second"].retry.as_ref().unwrap();
    let classes: Vec<RetryClass> = until.classes.iter().map(|c| c.value).collect();
    assert_eq!(classes, [RetryClass::Transient, RetryClass::Rejected]);
}

#[test]
fn a_command_is_read_as_written() {
    let pipeline = good(
        "steps:
  film:
    command: [ffmpeg, -framerate, 2, -i, \"{{ steps.sheet.image }}\", [a, 1], \"\", true]
    env: { LANG: C, N: 3, FILE: \"{{ steps.sheet.image }}\" }
    stdin: |
      one
      two
    outputs: { film: \"*.mp4\", frames: \"frames/**/*.png\" }
    claims: {}
    timeout: 1m
  sheet: { workflow: w.json }
",
    );
    let film = &pipeline.steps["film"];
    let StepWork::Command(command) = &film.work else {
        panic!("{film:?}");
    };
    assert_eq!(command.args.len(), 8);
    // Numbers reach a program as they are written.
    assert_eq!(json(&command.args[2]), "2");
    assert_eq!(json(&command.args[5]), serde_json::json!(["a", "1"]));
    let names: Vec<&str> = command.env.iter().map(|(name, _)| &*name.value).collect();
    assert_eq!(names, ["LANG", "N", "FILE"]);
    assert_eq!(command.stdin.as_ref().unwrap().as_str(), Some("one\ntwo\n"));
    assert_eq!(film.outputs["frames"].1.value, "frames/**/*.png");
}

#[test]
fn anchors_and_merges_work_at_the_top_and_among_the_steps() {
    let pipeline = good(
        "x-often: &often { attempts: 4, delay: 1s }
x-far: &far
  server: far
  timeout: 5m
steps:
  x-claims: &claims { claims: { gpu: 1 } }
  a:
    <<: [*far, *claims]
    workflow: a.json
    retry: { <<: *often, attempts: 2 }
  b:
    <<: *far
    server: near
    workflow: b.json
    retry: *often
limits: { gpu: 1 }
",
    );
    let a = &pipeline.steps["a"];
    assert_eq!(a.server.as_ref().unwrap().as_str(), Some("far"));
    assert_eq!(a.claims["gpu"].value, 1);
    let retry = a.retry.as_ref().unwrap();
    assert_eq!(
        (retry.attempts.value, retry.delay.as_ref().unwrap().value),
        (2, 1_000)
    );
    let b = &pipeline.steps["b"];
    assert_eq!(b.server.as_ref().unwrap().as_str(), Some("near"));
    assert_eq!(b.timeout.as_ref().unwrap().as_str(), Some("5m"));
    assert_eq!(b.retry.as_ref().unwrap().attempts.value, 4);
}

#[test]
fn expressions_that_yaml_takes_apart_are_shown_quoted() {
    insta::assert_snapshot!(
        "expressions",
        [
            about("    when: !params.draft\n    for_each: !x\n    retry: { attempts: 2, until: ! result.image }\n"),
            about("    when: !params.a and params.b # not now\n"),
            about("    when:\n    for_each:\n    retry: { attempts: 2, until: '{{ }}' }\n"),
            about("    when: params.x == 'a #b'\n"),
            about("    when: 'ink' == params.style\n"),
            about("    when: \"ink\" in params.styles\n"),
            about("    when: params.x == {'a': 1}\n"),
            about("    for_each: [1, 2] + params.more\n"),
            about("    when: not {{ params.x }}\n    for_each: steps.{{ params.x }}\n"),
            about("    when: {{ params.x }}\n    for_each: {{ steps.b.images }}\n"),
            about("    when: {{ params.x }} == 1\n"),
            about("    server: \"far\n    when: params.x[0]\n"),
            about("    when: yes\n    for_each: 3\n    retry: { attempts: 2, until: [1] }\n"),
            about("    when: params.x = 3\n    for_each: \"!params.a && params.b || (params.c === 1)\"\n"),
            about("    retry: { attempts: 2, until: not {{ result.x }} }\n"),
            complaints("steps:\n  a: { workflow: a.json, when: params.x == 'a #b', save_as: x }\n"),
            complaints("steps:\n  a: { workflow: a.json, when: params.x == 'a, b' }\n"),
            complaints("steps:\n  a: { workflow: a.json, for_each: params.x[0] }\n"),
            complaints("steps:\n  a: { command: [ffmpeg, -i, x{{ params.x }}.png] }\n"),
        ]
        .join("\n")
    );
}

#[test]
fn what_yaml_reads_as_meant_is_left_alone() {
    for when in [
        "params.a # only then",
        "\"not params.a\"",
        "'params.x == \"a #b\"'",
        "\"{{ params.a and params.b }}\"",
        "{ a: 1 }.a",
    ] {
        let text = format!("{STEP}    when: {when}\n");
        if when.starts_with('{') {
            assert!(complaints(&text).contains("error"), "{when}");
        } else {
            good(&text);
        }
    }
}

#[test]
fn durations_show_their_forms() {
    insta::assert_snapshot!(
        "durations",
        [
            about("    timeout: 10\n    stall_timeout: 0s\n"),
            about("    timeout: 1.5h\n    stall_timeout: 10 minutes\n"),
            about("    timeout: soon\n    stall_timeout: [1m]\n"),
            about("    retry: { attempts: 2, delay: 1m, max_delay: 10s }\n"),
            about("    retry: { attempts: 2, delay: '{{ params.delay }}', max_delay: 30m1h }\n"),
        ]
        .join("\n")
    );
}

#[test]
fn mistakes_in_retry() {
    insta::assert_snapshot!(
        "retry",
        [
            about("    retry: 3\n"),
            about("    retry: { for: [transiet, network, whatever] }\n"),
            about("    retry: { attempts: 0, for: [] }\n"),
            about("    retry: { attempts: '3', for: { oom: 2 }, dealy: 1s }\n"),
            complaints(&format!("retry: {{ atempts: 3 }}\n{STEP}")),
        ]
        .join("\n")
    );
}

#[test]
fn mistakes_in_a_matrix() {
    insta::assert_snapshot!(
        "matrix",
        [
            about("    matrix: {}\n"),
            about("    matrix: [1, 2]\n"),
            about("    matrix:\n      Style: [ink]\n      a: photo\n      b: range(params.count)\n      c: 3\n      d:\n      e: 'x{{ params.a }}'\n      f: { a: 1 }\n      g: '{{ params. }}'\n      '{{ params.key }}': [1]\n"),
            about("    matrix:\n      i: [1, 2]\n      style: [ink, photo]\n      include: [{ i: 3 }, { i: 1, style: ink, size: 3 }, 7]\n      exclude: [{ stile: ink }, {}, { i: null }]\n"),
            about("    matrix: { i: [1], include: '{{ params.more }}' }\n"),
            about("    matrix: { include: [{ i: 1 }, { i: 2, b: 3 }], exclude: [{ i: 1 }] }\n"),
        ]
        .join("\n")
    );
    let pipeline = good(&format!(
        "{STEP}    matrix: {{ include: [{{ i: 1, j: 2 }}, {{ j: 3, i: 4 }}] }}\n"
    ));
    let matrix = pipeline.steps["a"].matrix.as_ref().unwrap();
    assert_eq!((matrix.keys.len(), matrix.include.len()), (0, 2));
}

#[test]
fn a_step_does_exactly_one_thing() {
    insta::assert_snapshot!(
        "step_kinds",
        [
            about_step("    needs: b\n  b: { workflow: b.json }\n"),
            about_step("    workflow: a.json\n    command: [x]\n"),
            about_step("    comand: [x]\n"),
            about_step("    command: [x]\n    set: { A: { b: 1 } }\n    template: false\n    transfer: upload\n    server: far\n"),
            about_step("    workflow: a.json\n    env: { A: b }\n    stdin: x\n"),
            about_step("    workflow: a.json\n    cache: never\n    transfer: reference\n    set: { A: byass, B: remove, C: 3, '{{ params.x }}': null, D: { '{{ params.y }}': 1 } }\n"),
            about_step("    workflow: a.json\n    needs: [{ stp: b }, { step: b, optional: maybe }, 3]\n  b: { workflow: b.json }\n"),
        ]
        .join("\n")
    );
}

#[test]
fn mistakes_in_a_command() {
    insta::assert_snapshot!(
        "commands",
        [
            about_step("    command: ffmpeg -i '{{ steps.b.image }}' \"my film.mp4\"\n"),
            about_step("    command: ls *.png | wc -l\n"),
            about_step("    command: []\n"),
            about_step("    command:\n"),
            about_step("    command: [3, null, { a: 1 }, [[1]]]\n"),
            about_step("    command: ['', -x]\n"),
            about_step("    command: [x]\n    env: { MY-VAR: 1, '{{ params.x }}': 2, A: [1] }\n    stdin: [1]\n"),
            about_step("    command: [x]\n    outputs: { a: ../*.mp4, b: /tmp/x, c: '[', d: '{{ params.x }}', e: frames/, Film: x.mp4 }\n"),
        ]
        .join("\n")
    );
}

#[test]
fn claims_that_can_never_be_met_are_refused() {
    insta::assert_snapshot!(
        "claims",
        [
            complaints("limits: { upscaler: 1 }\nsteps:\n  a: { workflow: a.json, claims: { upscaler: 2 } }\n  b: { workflow: b.json, claims: { upscalr: 1 } }\n  c: { workflow: c.json, claims: { zzz: 1, upscaler: 0 } }\n"),
            complaints("steps:\n  a: { workflow: a.json, claims: { upscaler: 2 } }\n  b: { workflow: b.json, claims: upscaler }\n"),
            complaints("limits: { Upscaler: 1, gpu: many }\nsteps:\n  a: { workflow: a.json, claims: { gpu: 9 } }\n"),
        ]
        .join("\n")
    );
}

#[test]
fn mistakes_around_plugins() {
    insta::assert_snapshot!(
        "plugins",
        [
            about_step("    plugin: sheet\n    with: [1]\n    outputs: { a: b }\n    server: far\n    set: {}\n"),
            about_step("    plugin: sheet\n    command: [x]\n"),
            about_step("    workflow: a.json\n    with: { columns: 2 }\n"),
            about_step("    plugn: sheet\n"),
            project("plugins: { sheet: { path: plugins/sheet, on_error: wran, isolation: thread, timeout: 10, hash: abc, pipelines: p, config: 3 } }\n").1,
            project("plugins: { Sheet: { path: '' }, b: {}, c: { config: {} }, d: x }\n").1,
        ]
        .join("\n")
    );
}

#[test]
fn lists_are_declared_with_their_items() {
    insta::assert_snapshot!(
        "list_params",
        complaints(&format!(
            "params:
  a: {{ type: list, items: integer, default: [1, two, 30], maximum: 20 }}
  b: {{ type: list, items: list }}
  c: {{ type: list, items: flaot }}
  d: {{ type: string, items: string }}
  e: {{ type: list, enum: [ink, photo], default: [ink, phto] }}
  f: {{ type: list, default: ink }}
  g: {{ type: array }}
  h: {{ type: list, items: string, minimum: 3 }}
  i: {{ type: list, default: [3] }}
{STEP}"
        ))
    );
}

#[test]
fn lists_are_typed_in_brackets_or_one_item_at_a_time() {
    let pipeline = good(&format!(
        "params:
  texts: {{ type: list }}
  counts: {{ type: list, items: integer, minimum: 1, maximum: 9 }}
  seeds: {{ type: list, items: seed, default: [random, 3] }}
  styles: {{ type: list, enum: [ink, photo] }}
  files: {{ type: list, items: file, default: \"{{{{ glob('*.png') }}}}\" }}
{STEP}"
    ));
    let parse = |name: &str, text: &str| pipeline.params[name].parse(text).map(|d| d.to_json());
    for (name, text, value) in [
        ("counts", "[1,2]", serde_json::json!([1, 2])),
        ("counts", "[ 1 , 2, ]", serde_json::json!([1, 2])),
        ("counts", "3", serde_json::json!([3])),
        ("counts", "[]", serde_json::json!([])),
        // Texts stay as they are written.
        (
            "texts",
            "[1,true,007]",
            serde_json::json!(["1", "true", "007"]),
        ),
        ("texts", "a, b", serde_json::json!(["a, b"])),
        (
            "texts",
            "[masterpiece], cat",
            serde_json::json!(["[masterpiece], cat"]),
        ),
        (
            "texts",
            r#"["a, \"b\"", 'c, d', e f]"#,
            serde_json::json!(["a, \"b\"", "c, d", "e f"]),
        ),
        ("seeds", "[random,7]", serde_json::json!(["random", 7])),
        ("styles", "ink", serde_json::json!(["ink"])),
    ] {
        assert_eq!(parse(name, text), Ok(value), "{name}={text}");
    }
    let refused: Vec<String> = [
        ("counts", "[1,two]"),
        ("counts", "[1,10]"),
        ("counts", ""),
        ("counts", "[1,,2]"),
        ("texts", "['a]"),
        ("texts", "[\"a]"),
        ("texts", "['a' b]"),
        ("styles", "[ink,phto]"),
        ("seeds", "[-1]"),
    ]
    .map(|(name, text)| format!("{name}={text}: {}", parse(name, text).unwrap_err()))
    .to_vec();
    insta::assert_snapshot!("list_values", refused.join("\n"));
    let list =
        |items: &[i64]| Datum::List(items.iter().map(|n| Datum::Number((*n).into())).collect());
    assert!(pipeline.params["counts"].check(&list(&[1, 9])).is_ok());
    assert!(pipeline.params["counts"].check(&list(&[1, 10])).is_err());
    assert!(
        pipeline.params["counts"]
            .check(&Datum::Number(1.into()))
            .is_err()
    );
}

#[test]
fn every_key_of_a_project_is_read_as_written() {
    let (read, said) = project(
        "servers:
  farm: { urls: [http://gpu-1:8188, \"{{ env('GPU_2') }}\"], max_jobs: 2, token: t, lost_after: 10m }
  guarded: { url: https://x, headers: { X-Key: \"{{ secret('KEY') }}\" }, ca_cert: ca.pem }
  sketch: { kind: embedded, simulate: true }
partner_api_key: \"{{ secret('COMFY_API_KEY') }}\"
dotenv: true
profiles:
  draft: { server: sketch, params: { count: 1, style: ink }, output_dir: drafts, max_parallel: 2 }
  full: {}
",
    );
    assert_eq!(said, "");
    let read = read.unwrap();
    let farm = &read.servers["farm"].value;
    assert!(matches!(&farm.kind, ServerKind::Comfy { urls } if urls.len() == 2));
    assert_eq!(farm.lost_after.as_ref().unwrap().value, 600_000);
    assert_eq!(farm.token.as_ref().unwrap().as_str(), Some("t"));
    let guarded = &read.servers["guarded"].value;
    assert_eq!(guarded.headers[0].0.value, "X-Key");
    assert_eq!(guarded.ca_cert.as_ref().unwrap().as_str(), Some("ca.pem"));
    assert_eq!(
        read.servers["sketch"].value.kind,
        ServerKind::Embedded { simulate: true }
    );
    assert!(read.partner_api_key.is_some());
    assert!(read.dotenv);
    let draft = &read.profiles["draft"];
    assert_eq!(draft.name.value, "draft");
    assert_eq!(draft.server.as_ref().unwrap().as_str(), Some("sketch"));
    assert_eq!(draft.params.len(), 2);
    assert_eq!(draft.output_dir.as_ref().unwrap().as_str(), Some("drafts"));
    assert_eq!(draft.max_parallel.as_ref().unwrap().value, 2);
    assert!(read.profiles["full"].params.is_empty());
}

/// The YAML blocks of a page: whole files, or keys of one step.
fn blocks(page: &str) -> Vec<&str> {
    let blocks: Vec<&str> = page
        .split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(blocks.len() >= 3);
    blocks
}

#[test]
fn the_examples_of_the_guide_are_right() {
    let guide = include_str!("../../docs/guide/pipelines.md");
    for block in blocks(guide) {
        if block.lines().any(|line| line == "steps:") {
            good(block);
            continue;
        }
        let keys = block
            .lines()
            .fold(String::new(), |keys, line| keys + "    " + line + "\n");
        let work = ["workflow:", "command:"]
            .iter()
            .any(|key| block.starts_with(key));
        let work = if work { "" } else { "    workflow: a.json\n" };
        good(&format!("steps:\n  a:\n{work}{keys}"));
    }
    for block in blocks(include_str!("../../docs/guide/servers.md")) {
        let (read, said) = project(block);
        assert_eq!(said, "", "{block}");
        assert!(read.is_some());
    }
}

#[test]
fn the_guide_names_every_key() {
    fn keys(schema: &serde_json::Value, found: &mut Vec<String>) {
        let members = schema.as_object().into_iter().flatten();
        for (name, member) in members {
            if name == "properties" {
                found.extend(
                    member
                        .as_object()
                        .into_iter()
                        .flatten()
                        .map(|(k, _)| k.clone()),
                );
            }
            keys(member, found);
        }
        for item in schema.as_array().into_iter().flatten() {
            keys(item, found);
        }
    }
    for (schema, page) in [
        (
            pipeline_schema(),
            include_str!("../../docs/guide/pipelines.md"),
        ),
        (
            project_schema(),
            concat!(
                include_str!("../../docs/guide/servers.md"),
                include_str!("../../docs/guide/plugins.md")
            ),
        ),
    ] {
        let mut found = Vec::new();
        keys(&schema, &mut found);
        assert!(found.len() > 12);
        for key in found {
            let named = [format!("`{key}`"), format!("{key}: "), format!("`{key}:")];
            assert!(named.iter().any(|form| page.contains(form)), "{key}");
        }
    }
}
