//! What a step does besides its work: conditions, needs, claims, attempts, times.

use super::{complaint, count, latest, names, picture, project, run, status, text};
use crate::support::Project;

#[test]
fn a_step_that_is_not_wanted_grows_no_tasks_however_its_list_comes_about() {
    for list in [
        "steps.a",
        "steps.a.texts",
        "steps.a.texts | list",
        "steps.a.tasks",
    ] {
        let project = project(&format!(
            r#"params: {{ go: {{ type: boolean, default: false }} }}
steps:
  a: {{ command: [echo, x], matrix: {{ i: [1, 2] }} }}
  b: {{ when: params.go, command: [sh, -c, "touch $0", "{{{{ pipeline.dir }}}}/made"], for_each: {list} }}
  c: {{ command: [echo, "{{{{ steps.b.status }}}}"], needs: [{{ step: b, optional: true }}] }}
"#
        ));
        let plan = project.kiln(&["plan", "p.yaml"]).ok().stdout;
        assert!(plan.contains("its `when` is false"), "{plan}");
        let events = run(&project, &[], 0);
        assert!(!project.path().join("made").exists(), "{list}");
        assert_eq!(text(&events, "c"), "skipped", "{list}");
        run(&project, &["-p", "go=true"], 0);
        assert!(project.path().join("made").exists(), "{list}");
    }
}

#[test]
fn a_condition_is_decided_for_each_task_by_whatever_it_names() {
    let project = project(
        r#"params: { go: { type: boolean, default: false } }
steps:
  yes: { command: [echo, x], when: true }
  no: { command: [echo, x], when: false }
  param: { command: [echo, x], when: params.go }
  braces: { command: [echo, x], when: "{{ not params.go }}" }
  some: { command: [echo, "{{ matrix.i }}"], matrix: { i: [0, 1, 2, 3] }, when: matrix.i % 2 == 0 }
  all: { command: [echo, "{{ steps.some.texts }}"] }
  each: { command: [echo, "{{ item.text }}"], for_each: steps.some, when: item.text != '0' }
  result: { command: [echo, later], when: steps.all.text == '0 2' }
  value: { command: [echo, "{{ item }}"], for_each: [a, b], when: item == 'b' }
"#,
    );
    let events = run(&project, &[], 0);
    for (task, wanted) in [
        ("yes", "done"),
        ("no", "skipped"),
        ("param", "skipped"),
        ("braces", "done"),
        ("some[i=1]", "skipped"),
        ("some[i=2]", "done"),
        ("each[some[i=0]]", "skipped"),
        ("each[some[i=2]]", "done"),
        ("result", "done"),
        ("value[a]", "skipped"),
        ("value[b]", "done"),
    ] {
        assert_eq!(status(&events, task), wanted, "{task}");
    }
    assert_eq!(text(&events, "all"), "0 2", "those that ran");
    let events = run(&project, &["-p", "go=true"], 0);
    assert_eq!(status(&events, "param"), "done");
    assert_eq!(status(&events, "braces"), "skipped");
}

#[test]
fn an_optional_need_waits_for_a_step_however_it_ends() {
    let project = project(
        r#"steps:
  done: { command: [sh, -c, "sleep 0.1; echo x > a.txt"], outputs: { a: a.txt } }
  bad: { command: [sh, -c, "sleep 0.1; exit 1"] }
  no: { command: [echo], when: false }
  half: { command: [test, "{{ matrix.i }}", "=", "1"], matrix: { i: [1, 2] } }
  needy: { command: [echo, x], needs: [bad] }
  empty: { command: [echo], for_each: [] }
  told:
    command: [printf, "%s ", "{{ steps.done.status }}", "{{ steps.bad.status }}", "{{ steps.no.status }}", "{{ steps.half.status }}", "{{ steps.needy.status }}", "{{ steps.empty.status }}", "{{ steps.half.tasks | length }}"]
    needs:
      - { step: done, optional: true }
      - { step: bad, optional: true }
      - { step: no, optional: true }
      - { step: half, optional: true }
      - { step: needy, optional: true }
      - { step: empty, optional: true }
"#,
    );
    let events = run(&project, &["--keep-going"], 4);
    assert_eq!(
        text(&events, "told").trim(),
        "done failed skipped failed skipped skipped 1"
    );
    let events = run(&project, &["--keep-going"], 4);
    let told = text(&events, "told").trim();
    let first = told.split(' ').next();
    assert_eq!(first, Some("done"), "what is cached is done: {told}");
}

/// Of the lines `begin NAME COUNT` and `end NAME COUNT`, the most that was claimed at a time, and how many began.
fn most(log: &str) -> (u32, usize) {
    let (mut now, mut most, mut began) = (0, 0, 0);
    for line in log.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let claim: u32 = words[2].parse().unwrap();
        if words[0] == "begin" {
            now += claim;
            began += 1;
        } else {
            now -= claim;
        }
        most = most.max(now);
    }
    assert_eq!(now, 0, "{log}");
    (most, began)
}

#[test]
fn claims_of_different_sizes_never_exceed_their_limit() {
    let project = project("");
    let log = project.path().join("log");
    let step = |name: &str, tasks: u32, claim: u32| {
        format!(
            "  {name}:\n    matrix: {{ i: \"{{{{ range({tasks}) }}}}\" }}\n    claims: {{ vram: {claim} }}\n    command: [sh, -c, \"echo begin {name} {claim} >> {log}; sleep 0.05; echo end {name} {claim} >> {log}\"]\n",
            log = log.display()
        )
    };
    project.file(
        "p.yaml",
        format!(
            "limits: {{ vram: 3 }}\nmax_parallel: 6\nsteps:\n{}{}{}",
            step("big", 4, 2),
            step("small", 7, 1),
            step("whole", 2, 3)
        ),
    );
    run(&project, &[], 0);
    let (most, began) = most(&std::fs::read_to_string(log).unwrap());
    assert_eq!(began, 13);
    assert!(most <= 3, "{most} of 3");
}

#[test]
fn max_parallel_holds_over_all_steps_whoever_says_it() {
    let project = project("");
    let log = project.path().join("log");
    let command = format!(
        "command: [sh, -c, \"echo begin x 1 >> {log}; sleep 0.03; echo end x 1 >> {log}\"]",
        log = log.display()
    );
    project.file(
        "p.yaml",
        format!(
            "max_parallel: 2\nsteps:\n  a: {{ {command}, matrix: {{ i: [1, 2, 3, 4] }} }}\n  b: {{ {command}, matrix: {{ i: [1, 2, 3, 4] }} }}\n"
        ),
    );
    for (flags, limit) in [(&[][..], 2), (&["--max-parallel", "1"], 1)] {
        let _ = std::fs::remove_file(&log);
        run(&project, flags, 0);
        let (most, began) = most(&std::fs::read_to_string(&log).unwrap());
        assert_eq!(began, 8);
        assert!(most <= limit, "{most} of {limit}");
    }
}

/// Two tasks of one key, which count how often they ran: the first result is not what `until` wants.
fn twins(attempts: u32) -> (Project, std::path::PathBuf) {
    let project = project("");
    let log = project.path().join("log");
    project.file(
        "p.yaml",
        format!(
            r#"steps:
  roll:
    matrix: {{ i: [1, 2] }}
    command: [sh, -c, "echo ran >> {log}; wc -l < {log} | tr -d ' ' | tee n.dat"]
    outputs: {{ n: n.dat }}
    retry: {{ attempts: {attempts}, delay: 1ms, until: "result.text != '1'" }}
    save_as: "{{{{ matrix.i }}}}"
"#,
            log = log.display()
        ),
    );
    (project, log)
}

#[test]
fn a_rejected_result_is_not_handed_to_a_task_of_equal_key() {
    let (project, log) = twins(1);
    let events = run(&project, &["--keep-going"], 4);
    let counts = &events.last().unwrap()["counts"];
    assert_eq!(
        (&counts["failed"], &counts["done"]),
        (&1.into(), &1.into()),
        "who ran first failed, its twin ran itself"
    );
    let ran = || std::fs::read_to_string(&log).unwrap().lines().count();
    assert_eq!(ran(), 2);
    let kept = names(&latest(&project).join("roll"));
    assert_eq!(kept.len(), 1, "{kept:?}");
    let made = std::fs::read_to_string(latest(&project).join("roll").join(&kept[0])).unwrap();
    assert_eq!(made, "2\n");

    // What was accepted is what both have from now on.
    let events = run(&project, &[], 0);
    assert_eq!(events.last().unwrap()["counts"]["cached"], 2);
    assert_eq!(ran(), 2);
}

#[test]
fn twins_of_which_the_first_is_rejected_share_what_is_accepted() {
    let (project, log) = twins(2);
    let events = run(&project, &[], 0);
    assert_eq!(count(&events, "task_retried"), 1);
    let ran = std::fs::read_to_string(&log).unwrap().lines().count();
    assert_eq!(ran, 2, "one was rejected, one is shared");
    for name in ["1.dat", "2.dat"] {
        let made = std::fs::read_to_string(latest(&project).join("roll").join(name)).unwrap();
        assert_eq!(made, "2\n", "{name}");
    }
}

#[test]
fn twins_of_a_workflow_run_once() {
    let project = project(
        "steps:\n  a: { workflow: card.json, matrix: { i: [1, 2, 3] }, save_as: \"{{ matrix.i }}\" }\n",
    );
    let events = run(&project, &[], 0);
    let counts = &events.last().unwrap()["counts"];
    assert_eq!((&counts["done"], &counts["cached"]), (&1.into(), &2.into()));
    assert_eq!(
        names(&latest(&project).join("a")),
        ["1.png", "2.png", "3.png"]
    );
    let pixel = picture(&latest(&project).join("a/3.png")).get_pixel(0, 0).0;
    assert_eq!(pixel, [0, 0, 255]);
}

#[test]
fn times_are_per_attempt_and_have_classes_of_their_own() {
    let project = project(
        r#"params: { limit: { type: string, default: 150ms } }
steps:
  slow:
    command: [sleep, "{{ 30 if task.attempt == 1 else 0 }}"]
    timeout: "{{ params.limit }}"
    retry: { attempts: 2, delay: 1ms, for: timeout }
  still:
    command: [sh, -c, "echo begun; sleep {{ 30 if task.attempt == 1 else 0 }}"]
    stall_timeout: 200ms
    retry: { attempts: 2, delay: 1ms, for: [stall] }
  lively:
    command: [sh, -c, "for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.05; done"]
    stall_timeout: 10s
  other: { command: [sleep, 30], timeout: 100ms, retry: { attempts: 3, delay: 1ms, for: [stall, transient, oom, rejected, node_error] } }
"#,
    );
    let events = run(&project, &["--keep-going"], 4);
    assert_eq!(status(&events, "slow"), "done");
    assert_eq!(status(&events, "still"), "done");
    assert_eq!(status(&events, "lively"), "done");
    let retried: Vec<(&str, &str)> = events
        .iter()
        .filter(|e| e["event"] == "task_retried")
        .map(|e| (e["task"].as_str().unwrap(), e["class"].as_str().unwrap()))
        .collect();
    assert_eq!(retried.len(), 2, "{retried:?}");
    assert!(retried.contains(&("slow", "timeout")), "{retried:?}");
    assert!(retried.contains(&("still", "stall")), "{retried:?}");
    assert!(complaint(&events, "other").contains("longer than 100ms"));
}

#[test]
fn what_stands_at_the_top_is_for_every_step_that_says_nothing_itself() {
    let project = project(
        r#"retry: { attempts: 2, delay: 1ms, for: any }
timeout: 10s
cache: false
steps:
  twice: { command: [test, "{{ task.attempt }}", "=", "2"] }
  once: { command: ["false"], retry: { attempts: 1 } }
  anew: { workflow: card.json }
  kept: { workflow: card.json, cache: true, needs: [anew] }
"#,
    );
    let events = run(&project, &["--keep-going"], 4);
    assert_eq!(status(&events, "twice"), "done");
    assert_eq!(count(&events, "task_retried"), 1);
    let events = run(&project, &["--keep-going"], 4);
    assert_eq!(status(&events, "anew"), "done");
    assert_eq!(status(&events, "kept"), "cached");
}

#[test]
fn a_part_of_a_pipeline_runs_with_what_it_needs_or_afresh() {
    let project = project(
        r#"steps:
  a: { workflow: card.json }
  b: { workflow: invert.json, set: { LoadImage: { image: "{{ steps.a.image }}" } } }
  c: { workflow: invert.json, set: { LoadImage: { image: "{{ steps.b.image }}" } } }
  d: { workflow: card.json, set: { Card: { color: 65280 } } }
"#,
    );
    let invert = serde_json::json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "inverted"}}
    });
    project.file("invert.json", invert.to_string());
    let ends = |flags: &[&str]| {
        let events = run(&project, flags, 0);
        let ends = events.iter().filter(|e| e["event"] == "task_finished");
        let mut ends: Vec<String> = ends
            .map(|e| {
                format!(
                    "{} {}",
                    e["task"].as_str().unwrap(),
                    e["status"].as_str().unwrap()
                )
            })
            .collect();
        ends.sort();
        ends.join(", ")
    };
    let refused = project.kiln(&["run", "p.yaml", "--only", "b"]).code(3);
    assert!(refused.stderr.contains("K0134"), "{}", refused.stderr);
    assert_eq!(ends(&["--to", "b"]), "a done, b done");
    assert_eq!(ends(&["--only", "b"]), "b cached");
    assert_eq!(ends(&["--only", "b", "--force"]), "b done");
    assert_eq!(ends(&["--from", "b"]), "a cached, b done, c done");
    assert_eq!(ends(&["--to", "a,d"]), "a cached, d done");
    assert_eq!(
        ends(&["--from", "b", "--to", "b"]),
        "a cached, b done",
        "what lies between"
    );
    assert_eq!(
        ends(&["--from", "c,d"]),
        "a cached, b cached, c done, d done"
    );
    let pixel = picture(
        &latest(&project)
            .join("c")
            .join(&names(&latest(&project).join("c"))[0]),
    );
    assert_eq!(pixel.get_pixel(0, 0).0, [0, 0, 255], "inverted twice");
}

#[test]
fn random_seeds_are_drawn_once_per_run_and_recorded() {
    let project = project(
        r#"params:
  seed: { type: seed, default: random }
  fixed: { type: seed, default: 7 }
steps:
  say: { command: [echo, "{{ params.seed }} {{ params.fixed }} {{ task.seed }} {{ random() }} {{ seed('a', 1) }} {{ run.seed }}"], matrix: { i: [0, 1] } }
"#,
    );
    let numbers = |flags: &[&str], task: &str| -> Vec<u64> {
        let events = run(&project, flags, 0);
        text(&events, task)
            .split(' ')
            .map(|n| n.parse().unwrap())
            .collect()
    };
    let first = run(&project, &["--seed", "5"], 0);
    let (zero, one) = (text(&first, "say[i=0]"), text(&first, "say[i=1]"));
    let (zero, one): (Vec<&str>, Vec<&str>) = (zero.split(' ').collect(), one.split(' ').collect());
    for at in [0, 1, 4, 5] {
        assert_eq!(zero[at], one[at], "{zero:?} {one:?}");
    }
    for at in [2, 3] {
        assert_ne!(zero[at], one[at], "each task has its own");
    }
    assert_eq!((zero[1], zero[5]), ("7", "5"));
    assert!(zero.iter().all(|n| n.parse::<u64>().unwrap() < 1 << 32));
    let again = run(&project, &["--seed", "5"], 0);
    assert_eq!(text(&again, "say[i=0]"), zero.join(" "), "they repeat");
    let (a, b) = (numbers(&[], "say[i=0]"), numbers(&[], "say[i=0]"));
    assert_ne!(a[0], b[0], "drawn for each run");
    let given = run(&project, &["-p", "seed=12"], 0);
    assert!(text(&given, "say[i=1]").starts_with("12 7 "));
}

#[test]
fn a_task_of_equal_seed_draws_the_same_at_every_attempt_but_its_own_number() {
    let project = project(
        "steps:\n  try: { command: [sh, -c, \"echo {{ task.attempt }} {{ task.seed }} >> {{ pipeline.dir }}/log; exit {{ 0 if task.attempt == 3 else 1 }}\"], retry: { attempts: 3, delay: 1ms, for: any } }\n",
    );
    run(&project, &[], 0);
    let log = std::fs::read_to_string(project.path().join("log")).unwrap();
    let seeds: std::collections::BTreeSet<&str> = log
        .lines()
        .map(|line| line.split_once(' ').unwrap().1)
        .collect();
    assert_eq!(seeds.len(), 3, "each attempt has a seed of its own: {log}");
}

#[test]
fn a_cycle_is_shown_as_a_path() {
    let project = project(
        "steps:\n  a: { command: [echo, \"{{ steps.c.text }}\"] }\n  b: { command: [echo], needs: a }\n  c: { command: [echo], needs: [b] }\n",
    );
    let done = project.kiln(&["run", "p.yaml"]).code(3);
    assert!(done.stderr.contains("a → b → c → a"), "{}", done.stderr);
}

#[test]
fn one_record_tells_the_number_of_the_attempt_that_made_a_file() {
    let project = project(
        "steps:\n  try: { command: [sh, -c, \"echo x > a.txt; exit {{ 0 if task.attempt == 2 else 1 }}\"], outputs: { a: a.txt }, retry: { attempts: 2, delay: 1ms, for: any } }\n",
    );
    let events = run(&project, &[], 0);
    assert_eq!(status(&events, "try"), "done");
    assert_eq!(super::record(&project, "try")["attempt"], 2);
}

#[test]
fn workflow_server_matrix_and_timeout_are_decided_by_params_before_anything_runs() {
    let project = project(
        r#"params:
  which: { type: string, default: card }
  where: { type: string, default: embedded }
  sizes: { type: list, items: integer, default: [8, 16] }
  limit: { type: string, default: 1m }
steps:
  a:
    workflow: "{{ params.which }}.json"
    server: "{{ params.where }}"
    matrix: { size: "{{ params.sizes }}" }
    timeout: "{{ params.limit }}"
    save_as: "{{ matrix.size }}"
  b: { command: [echo, "{{ steps.a.images | length }}"] }
"#,
    );
    let events = run(&project, &["-p", "sizes=[8,16,24]"], 0);
    assert_eq!(text(&events, "b"), "3");
    for (flag, code, told) in [
        ("which=nothing", 3, "nothing.json"),
        ("where=nowhere", 3, "there is no server `nowhere`"),
        ("limit=soon", 3, "`soon`"),
    ] {
        let refused = project.kiln(&["run", "p.yaml", "-p", flag]).code(code);
        assert!(refused.stderr.contains(told), "{}", refused.stderr);
        assert!(refused.stderr.contains("p.yaml:"), "{}", refused.stderr);
    }
    project.file(
        "p.yaml",
        "steps:\n  b: { command: [echo, card] }\n  a: { workflow: \"{{ steps.b.text }}.json\" }\n",
    );
    let refused = project.kiln(&["run", "p.yaml"]).code(3);
    assert!(
        refused.stderr.contains("decided before anything runs"),
        "{}",
        refused.stderr
    );
}

#[test]
fn keys_of_ones_own_hold_what_several_steps_share() {
    let project = project(
        r#"x-patient: &patient
  retry: { attempts: 2, delay: 1ms, for: any }
  env: &env { WORD: shared }
steps:
  x-command: &command [sh, -c, "test {{ task.attempt }} = 2 && echo $WORD"]
  a: { <<: *patient, command: *command }
  b: { <<: *patient, command: *command, env: { <<: *env, WORD: own } }
"#,
    );
    let events = run(&project, &[], 0);
    assert_eq!((text(&events, "a"), text(&events, "b")), ("shared", "own"));
    assert_eq!(count(&events, "task_retried"), 2);
}
