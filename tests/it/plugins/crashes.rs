//! Plugins that panic, hang and crash: what happens to the run, and to the plugin.

use super::{DRAW, declare, in_c, noted, placed, project};
use crate::support::{Project, Running, files, settled};

/// What is said of a plugin that misbehaves at a hook.
fn misbehaving(hook: &str, how: &str, lines: &str, pipeline: &str) -> String {
    let config = format!("config: {{ misbehave: {{ {hook}: {how} }} }}\n{lines}");
    let project = project(&config, pipeline);
    let done = project.kiln(&["run", "p.yaml"]);
    let told = settled(&done.stderr, project.path());
    let place = regex_lite::Regex::new(r"\((\S*/)?src/lib\.rs:\d+\)").unwrap();
    let told = place.replace_all(&told, "(src/lib.rs:[line])");
    let times = regex_lite::Regex::new(r"failed \d+ more times").unwrap();
    let told = times.replace_all(&told, "failed [n] more times");
    let told = in_order(&placed(&told));
    let results = files(&project.path().join("outputs"));
    let results: Vec<&String> = results
        .iter()
        .filter(|name| name.contains("draw"))
        .collect();
    format!(
        "exit code {}, {} pictures\n{told}",
        done.code,
        results.len()
    )
}

/// Warnings that come together, in a fixed order: which of two threads speaks first is nobody's business.
fn in_order(told: &str) -> String {
    let mut out = Vec::new();
    let mut warnings: Vec<String> = Vec::new();
    for line in told.lines() {
        if line.starts_with("    warning") {
            warnings.push(line.to_owned());
        } else if let Some(last) = warnings.last_mut().filter(|_| line.starts_with("      ")) {
            *last += "\n";
            *last += line;
        } else {
            warnings.sort();
            out.append(&mut warnings);
            out.push(line.to_owned());
        }
    }
    warnings.sort();
    out.append(&mut warnings);
    out.join("\n")
}

const STEP: &str = "steps:\n  it: { plugin: trial }\n";
const SCORED: &str = "steps:\n  say: { command: [echo, \"{{ score('abc') }}\"] }\n";

#[test]
fn a_panic_where_the_plugin_is_made() {
    insta::assert_snapshot!(misbehaving("create", "panic", "", DRAW));
}

#[test]
fn a_panic_before_a_graph_is_submitted() {
    insta::assert_snapshot!(misbehaving("before_submit", "panic", "", DRAW));
}

#[test]
fn a_panic_after_results_were_fetched() {
    insta::assert_snapshot!(misbehaving("after_download", "panic", "", DRAW));
}

#[test]
fn a_panic_that_is_let_pass_leaves_the_result_as_it_is() {
    insta::assert_snapshot!(misbehaving(
        "after_download",
        "panic",
        "on_error: warn",
        DRAW
    ));
}

#[test]
fn a_panic_at_every_event_is_told_once_and_the_run_does_not_end_well() {
    insta::assert_snapshot!(misbehaving("event", "panic", "", DRAW));
}

#[test]
fn an_error_at_every_event_that_is_let_pass() {
    insta::assert_snapshot!(misbehaving("event", "error", "on_error: warn", DRAW));
}

#[test]
fn a_panic_in_a_step() {
    insta::assert_snapshot!(misbehaving("step", "panic", "", STEP));
}

#[test]
fn a_panic_in_a_function() {
    insta::assert_snapshot!(misbehaving("function", "panic", "", SCORED));
}

#[test]
fn a_panic_in_a_filter() {
    let pipeline = "steps:\n  say: { command: [echo, \"{{ 'abc' | backwards }}\"] }\n";
    insta::assert_snapshot!(misbehaving("filter", "panic", "", pipeline));
}

#[test]
fn a_panic_at_every_message_of_a_server() {
    insta::assert_snapshot!(misbehaving("server_event", "panic", "", DRAW));
}

#[test]
fn a_panic_at_every_preview() {
    let project = project(
        "config: { misbehave: { preview: panic } }",
        "server: sketch\nsteps:\n  draw: { workflow: txt2img.json }\n",
    );
    let workflow = crate::support::repository().join("pipelines/workflows/txt2img.json");
    project.file("txt2img.json", std::fs::read(workflow).unwrap());
    let declared = std::fs::read_to_string(project.path().join("kiln.yaml")).unwrap();
    let servers = "servers: { sketch: { kind: embedded, simulate: true } }\n";
    project.file("kiln.yaml", format!("{servers}{declared}"));
    let done = project.kiln(&["run", "p.yaml"]).code(4);
    let words = "plugin `trial`, preview: it panicked: preview panics on purpose";
    assert_eq!(
        done.stderr
            .matches(&format!("error[K0606]: {words}"))
            .count(),
        1,
        "{}",
        done.stderr
    );
    assert_eq!(
        files(&project.path().join("outputs/p/latest/draw")).len(),
        1
    );
}

#[test]
fn a_panic_at_the_end_of_a_plugin_is_nobodys_business() {
    let told = misbehaving("destroy", "panic", "", DRAW);
    assert!(told.starts_with("exit code 0, 1 pictures"), "{told}");
    assert!(!told.contains("K06"), "{told}");
}

#[test]
fn a_step_in_c_that_hangs_is_given_up_and_a_process_of_its_own_is_ended() {
    let pipeline = "steps:\n  it: { plugin: trial, timeout: 300ms, matrix: { n: [1, 2] } }\n";
    let hanging = |isolation: &str| {
        let project = Project::of(&[("p.yaml", pipeline)]);
        let library = in_c(project.path(), "bad.c", "HANGS");
        declare(&project, &library, isolation);
        let done = project.kiln(&["run", "p.yaml", "--keep-going", "--max-parallel", "1"]);
        in_order(&settled(&done.stderr, project.path()))
    };
    insta::assert_snapshot!(format!(
        "{}\n---\n{}",
        hanging(""),
        hanging("isolation: process")
    ));
}

#[test]
fn a_hook_that_hangs_is_given_up_with_its_plugin() {
    let lines = "timeout: 300ms";
    insta::assert_snapshot!(misbehaving("before_submit", "hang", lines, DRAW));
}

#[test]
fn a_hook_that_hangs_and_may_fail_costs_its_time_and_no_more() {
    let lines = "timeout: 300ms\non_error: warn";
    insta::assert_snapshot!(misbehaving("after_download", "hang", lines, DRAW));
}

#[test]
fn an_event_that_hangs_is_given_up_and_the_run_ends() {
    let lines = "timeout: 300ms\non_error: warn";
    insta::assert_snapshot!(misbehaving("event", "hang", lines, DRAW));
}

#[test]
fn a_call_that_notices_that_its_time_is_over_costs_the_plugin_nothing() {
    let told = misbehaving(
        "before_submit",
        "slow",
        "timeout: 300ms\non_error: warn",
        DRAW,
    );
    assert!(told.starts_with("exit code 0, 1 pictures"), "{told}");
    assert!(!told.contains("K0607"), "{told}");
    assert!(
        told.contains("before_submit: it did not answer within 300ms"),
        "{told}"
    );
}

/// As [`misbehaving`], in a process of its own.
fn crashing(flag: &str, lines: &str) -> String {
    let project = Project::of(&[("p.yaml", STEP)]);
    let library = in_c(project.path(), "bad.c", flag);
    declare(&project, &library, &format!("isolation: process\n{lines}"));
    let done = project.kiln(&["run", "p.yaml"]);
    format!(
        "exit code {}\n{}",
        done.code,
        settled(&done.stderr, project.path())
    )
}

#[test]
fn a_segfault_in_a_process_of_its_own_is_a_failed_call() {
    insta::assert_snapshot!(crashing("CRASHES", ""));
}

#[test]
fn an_exit_in_a_process_of_its_own_is_a_failed_call() {
    insta::assert_snapshot!(crashing("EXITS", ""));
}

#[test]
fn a_hang_in_a_process_of_its_own_is_ended() {
    let project = project(
        "isolation: process\ntimeout: 300ms\non_error: warn\nconfig: { misbehave: { before_submit: hang } }",
        DRAW,
    );
    let done = project.kiln(&["run", "p.yaml"]).ok();
    done.says("did not answer within 300ms");
    done.says_not("K0607");
}

#[test]
fn a_bad_library_in_a_process_of_its_own_is_refused_in_the_same_words() {
    let told = crashing("NEWER_MAJOR", "");
    assert!(told.starts_with("exit code 6"), "{told}");
    assert!(
        told.contains("it was built for version 2.3 of the plugin interface"),
        "{told}"
    );
}

#[test]
fn a_process_is_started_once_more_and_then_given_up() {
    let pipeline = "steps:\n  it: { plugin: trial, matrix: { n: [1, 2, 3, 4] }, with: { text: \"{{ matrix.n }}\" } }\n";
    let project = project(
        "isolation: process\nconfig: { log: LOG, misbehave: { step: abort } }",
        &pipeline.replace("\"{{ matrix.n }}\"", "\"{{ matrix.n ~ '' }}\""),
    );
    let done = project.kiln(&["run", "p.yaml", "--keep-going"]).code(4);
    assert_eq!(
        done.stderr
            .matches("was ended by signal 6 (SIGABRT)")
            .count(),
        5,
        "{}",
        done.stderr
    );
    assert_eq!(
        done.stderr.matches("it was given up before").count(),
        4,
        "{}",
        done.stderr
    );
}

#[test]
fn a_process_does_the_same_work_and_its_output_is_nobodys_business() {
    let pipeline = "steps:
  draw: { workflow: card.json }
  it: { plugin: trial, with: { images: \"{{ steps.draw.images }}\", text: tail }, save_as: joined }
  say: { command: [echo, \"{{ 'abc' | backwards }} {{ score('four') }}\"] }
";
    let project = project("isolation: process\nconfig: { log: log }", pipeline);
    project.file(
        "kiln.yaml",
        std::fs::read_to_string(project.path().join("kiln.yaml"))
            .unwrap()
            .replace(
                "log: log",
                &format!("log: {}", project.path().join("log").display()),
            ),
    );
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    assert!(done.stdout.contains("cba 4"), "{}", done.stdout);
    let text = project.result("it/joined.txt");
    assert!(text.ends_with("tail"), "{text}");
    assert!(noted(&project).contains(&"run run_finished".to_owned()));
}

#[test]
fn an_interrupted_step_hears_of_it() {
    let project = project("config: { misbehave: { step: slow } }", STEP);
    let mut running = Running::start(&project, &["p.yaml"]);
    running.until("task_executing");
    running.interrupt();
    assert_eq!(running.end(), 130);
    assert_eq!(running.finished("it")["status"], "cancelled");
}

#[test]
fn a_step_beyond_its_timeout_is_tried_again_when_that_is_wanted() {
    let pipeline = "steps:\n  it: { plugin: trial, timeout: 300ms, retry: { attempts: 2, delay: 1ms, for: timeout } }\n";
    let project = project("config: { misbehave: { step: slow } }", pipeline);
    let done = project.kiln(&["run", "p.yaml"]).code(4);
    done.says("error[K0512]");
    done.says("retr");
}

#[test]
fn a_program_that_an_isolated_plugin_starts_reads_nothing_of_what_kiln_says() {
    let project = Project::of(&[("p.yaml", "steps:\n  it: { plugin: trial, timeout: 20s }\n")]);
    let library = in_c(project.path(), "bad.c", "READS_STDIN");
    declare(&project, &library, "isolation: process");
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    assert!(done.stdout.contains("nothing to read"), "{}", done.stdout);
}

#[test]
fn a_program_that_an_isolated_plugin_left_behind_keeps_no_run_from_its_end() {
    let project = Project::of(&[("p.yaml", "steps:\n  it: { plugin: trial, timeout: 30s }\n")]);
    let library = in_c(project.path(), "bad.c", "LEAVES_ONE_BEHIND");
    declare(&project, &library, "isolation: process");
    let done = project.kiln(&["run", "p.yaml"]).code(4);
    done.says("its process was ended by signal 6 (SIGABRT)");
}

#[test]
fn a_process_starts_again_from_the_library_that_was_loaded() {
    let pipeline =
        "steps:\n  it: { plugin: trial, retry: { attempts: 2, delay: 1ms, for: any } }\n";
    let project = Project::of(&[("p.yaml", pipeline)]);
    let library = in_c(project.path(), "bad.c", "GOES_WITH_ITS_LIBRARY");
    declare(&project, &library, "isolation: process");
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    assert!(!library.exists());
    assert!(done.stdout.contains("here again"), "{}", done.stdout);
}

#[cfg(unix)]
#[test]
fn a_key_that_interrupts_everything_interrupts_kiln_alone() {
    use std::os::unix::process::CommandExt;
    let project = project("", STEP);
    let log = project.path().join("log");
    let lines = format!(
        "isolation: process\nconfig: {{ log: {}, misbehave: {{ step: slow }} }}",
        log.display()
    );
    declare(&project, &super::trial(), &lines);
    let mut command = project.command(&["run", "p.yaml", "--output", "json"]);
    command.process_group(0);
    let mut running = Running::prepared(command);
    running.until("task_executing");
    let group = format!("-{}", running.child.id());
    let killed = std::process::Command::new("kill")
        .args(["-INT", "--", &group])
        .status();
    assert!(killed.unwrap().success());
    assert_eq!(running.end(), 130);
    let told = format!("{:?}", running.events);
    assert!(!told.contains("its process"), "{told}");
    assert_eq!(
        noted(&project).last().map(String::as_str),
        Some("run run_finished")
    );
}

#[test]
fn what_waits_for_its_turn_is_not_silent() {
    // Each works for 600 ms and says so; the last one waits for longer than it may be silent.
    let pipeline = "steps:\n  it: { plugin: trial, stall_timeout: 450ms, matrix: { n: [1, 2, 3] }, with: { columns: \"{{ matrix.n }}\" } }\n";
    let project = project("config: { misbehave: { step: work } }", pipeline);
    project.kiln(&["run", "p.yaml"]).ok();
}
