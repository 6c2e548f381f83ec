//! Programs as steps: what they get, what they leave, how they end.

use std::time::{Duration, Instant};

use crate::support::{Done, Project, Running, finish, settled};

fn project(pipeline: &str) -> Project {
    Project::of(&[("p.yaml", pipeline)])
}

fn run(pipeline: &str) -> (Project, Done) {
    let project = project(pipeline);
    let done = project.kiln(&["run", "p.yaml"]);
    (project, done)
}

fn told(pipeline: &str, code: i32) -> String {
    let (project, done) = run(pipeline);
    let done = done.code(code);
    settled(&done.stderr, project.path())
}

#[test]
fn a_command_hands_its_text_and_its_files_on() {
    let (project, done) = run(r#"steps:
  words: { command: [printf, "%s\n", hello] }
  shout:
    command: [sh, -c, "tr a-z A-Z > out.txt; echo no file > junk.txt"]
    stdin: "{{ steps.words.text }}!"
    outputs: { loud: out.txt }
    save_as: loud
  count:
    command: [wc, -c, "{{ steps.shout.file }}"]
"#);
    done.ok();
    assert_eq!(project.result("shout/loud.txt"), "HELLO!");
    let left = std::fs::read_dir(project.path().join("outputs/p/latest/shout")).unwrap();
    assert_eq!(left.count(), 2, "the file and the record of its origin");
    assert!(
        !project.path().join(".kiln/work").join("p").exists(),
        "the folders of commands are gone"
    );
}

#[test]
fn a_command_has_no_variable_but_its_own_and_three_of_ours() {
    let project = project(
        "steps:\n  show:\n    command: [sh, -c, \"env | cut -d= -f1 | sort > names.txt\"]\n    env: { MINE: 1 }\n    outputs: { names: names.txt }\n",
    );
    let mut command = project.command(&["run", "p.yaml"]);
    finish(command.env("THEIRS", "x")).ok();
    let names = project.result("show/names.txt");
    let names: Vec<&str> = names
        .lines()
        .filter(|name| !["PWD", "SHLVL", "_", "OLDPWD"].contains(name))
        .collect();
    for name in &names {
        assert!(
            ["HOME", "MINE", "PATH", "TMPDIR"].contains(name),
            "{names:?}"
        );
    }
    assert!(names.contains(&"MINE") && names.contains(&"PATH"));
}

#[test]
fn the_value_of_a_secret_reaches_the_command_and_nothing_else() {
    let project = project(
        r#"steps:
  use:
    command: [sh, -c, "printf %s \"$KEY\" | wc -c > size.txt; echo key is $KEY >&2; echo $KEY"]
    env: { KEY: "{{ secret('MY_TEST_KEY') }}" }
    outputs: { size: size.txt }
"#,
    );
    let mut command = project.command(&["run", "p.yaml", "--output", "json"]);
    let done = finish(command.env("MY_TEST_KEY", "hunter2-very-long")).ok();
    assert_eq!(project.result("use/size.txt").trim(), "17");
    assert!(done.stdout.contains("key is ***"), "{}", done.stdout);
    assert!(!done.stdout.contains("hunter2"), "{}", done.stdout);
    for entry in walkdir::WalkDir::new(project.path()) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let found = bytes.windows(7).any(|window| window == b"hunter2");
            assert!(!found, "{} holds the secret", entry.path().display());
        }
    }
}

#[test]
fn a_secret_that_tasks_are_made_for_is_shown_as_stars_wherever_it_is_told() {
    let project = project(
        r#"params:
  key: { type: string, default: "{{ secret('MY_TEST_KEY') }}" }
steps:
  each:
    for_each: [plain, "{{ params.key }}"]
    matrix: { k: ["{{ secret('MY_TEST_KEY') }}", b] }
    command: [sh, -c, "echo $1 $2", x, "{{ item }}", "{{ matrix.k }}"]
"#,
    );
    let kiln = |args: &[&str]| {
        let done = finish(
            project
                .command(args)
                .env("MY_TEST_KEY", "hunter2-very-long"),
        )
        .ok();
        format!("{}{}", done.stdout, done.stderr)
    };
    for format in ["text", "json", "dot", "mermaid", "svg"] {
        let told = kiln(&["plan", "p.yaml", "--output", format]);
        assert!(
            !told.contains(|c| ('\u{e000}'..='\u{f8ff}').contains(&c)),
            "{told}"
        );
        assert!(
            !told.contains("f8f0") && !told.contains("hunter2"),
            "{told}"
        );
    }
    assert!(kiln(&["plan", "p.yaml"]).contains("  key  \"***\"\n"));
    for output in ["text", "json"] {
        let told = kiln(&["run", "p.yaml", "--output", output]);
        assert!(
            !told.contains(|c| ('\u{e000}'..='\u{f8ff}').contains(&c)),
            "{told}"
        );
        assert!(
            !told.contains("hunter2") && told.contains("*** ***"),
            "{told}"
        );
        assert!(
            told.contains("each[1,k=0]"),
            "named by their places: {told}"
        );
    }
}

#[test]
fn numbers_reach_a_command_as_they_are_written() {
    let project = project(
        r#"steps:
  say:
    command: [sh, -c, 'echo "$@" $V $(cat)', x, 1.10, 1e3, 0x1F, +5, [007, 2.0], "{{ 1.10 }}", -0]
    env: { V: 3.10 }
    stdin: 4.50
"#,
    );
    let done = project.kiln(&["run", "p.yaml"]).ok();
    assert!(
        done.stderr
            .contains("1.10 1e3 0x1F +5 007 2.0 1.1 -0 3.10 4.50"),
        "{}",
        done.stderr
    );
}

#[test]
fn what_a_command_writes_to_stderr_is_told_as_it_comes() {
    let project =
        project("steps:\n  talk: { command: [sh, -c, \"echo one >&2; echo two >&2\"] }\n");
    let done = project.kiln(&["run", "p.yaml", "--output", "json"]).ok();
    let lines: Vec<_> = done
        .json_lines()
        .iter()
        .filter(|e| e["event"] == "task_output")
        .map(|e| e["line"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(lines, ["one", "two"]);
}

#[test]
fn a_command_that_fails_tells_its_last_words() {
    insta::assert_snapshot!(told(
        "steps:\n  film:\n    command: [sh, -c, \"echo no such codec >&2; exit 3\"]\n",
        4
    ));
}

#[test]
fn a_command_that_leaves_nothing_has_failed() {
    insta::assert_snapshot!(told(
        "steps:\n  film:\n    command: [touch, film.webm]\n    outputs: { film: \"*.mp4\" }\n",
        4
    ));
}

#[test]
fn a_program_that_is_not_there() {
    let text = told("steps:\n  film: { command: [kiln-no-such-program] }\n", 3);
    insta::assert_snapshot!(text);
}

#[test]
fn without_a_program_that_a_step_names_nothing_begins() {
    let first =
        "steps:\n  first: { command: [sh, -c, \"touch $0\", \"{{ pipeline.dir }}/made\"] }\n";
    let project = Project::of(&[("p.yaml", "")]);
    project.file(
        "p.yaml",
        format!("{first}  film: {{ command: [pirntf, x] }}\n"),
    );
    let refused = project.kiln(&["run", "p.yaml"]).code(3);
    refused.says("error[K0511]: there is no program `pirntf` in PATH\n --> p.yaml:3:21");
    refused.says("did you mean `printf`?");
    assert!(!project.path().join("made").exists());
    project.kiln(&["check", "p.yaml"]).ok();
    project.file(
        "p.yaml",
        format!("{first}  film: {{ command: [pirntf, x], when: false }}\n"),
    );
    project.kiln(&["run", "p.yaml"]).ok();
    assert!(project.path().join("made").exists());
}

#[test]
fn a_command_that_takes_too_long_is_ended() {
    let began = Instant::now();
    insta::assert_snapshot!(told(
        "steps:\n  film:\n    command: [sleep, 100]\n    timeout: 500ms\n",
        4
    ));
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn more_than_sixteen_megabytes_belong_into_a_file() {
    let text = told("steps:\n  film: { command: [yes] }\n", 4);
    assert!(text.contains("`yes` printed more than 16 MB"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_link_out_of_the_folder_is_no_result() {
    let text = told(
        "steps:\n  steal:\n    command: [ln, -s, /etc/hostname, out.txt]\n    outputs: { it: out.txt }\n",
        4,
    );
    assert!(
        text.contains("outside of the folder of the command"),
        "{text}"
    );
}

#[test]
fn a_command_with_outputs_is_not_run_again_and_one_without_is() {
    let project = project("");
    let log = project.path().join("log");
    project.file(
        "p.yaml",
        format!(
            r#"steps:
  kept:
    command: [sh, -c, "echo kept >> {log}; echo x > out.txt"]
    outputs: {{ it: out.txt }}
  always:
    command: [sh, -c, "echo always >> {log}"]
"#,
            log = log.display()
        ),
    );
    for _ in 0..2 {
        project.kiln(&["run", "p.yaml"]).ok();
    }
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("kept").count(), 1, "{text}");
    assert_eq!(text.matches("always").count(), 2, "{text}");
    project.kiln(&["run", "p.yaml", "--force"]).ok();
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.matches("kept").count(), 2, "{text}");
}

#[test]
fn a_result_that_someone_edits_reaches_a_command_as_it_was() {
    let project = project("");
    let made = project.path().join("outputs/p");
    project.file(
        "p.yaml",
        format!(
            r#"steps:
  first: {{ command: [sh, -c, "echo right > a.txt"], outputs: {{ it: a.txt }} }}
  edit:
    needs: [first]
    command: [sh, -c, "for f in {}/*/first/a.txt; do echo wrong > $f; done"]
  last:
    needs: [edit]
    command: [sh, -c, "cat $FILE > b.txt"]
    env: {{ FILE: "{{{{ steps.first.file }}}}" }}
    outputs: {{ it: b.txt }}
"#,
            made.display()
        ),
    );
    project.kiln(&["run", "p.yaml"]).ok();
    assert_eq!(project.result("last/b.txt"), "right\n");
    assert_eq!(
        project.result("first/a.txt"),
        "wrong\n",
        "edits are left alone"
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_command_and_what_it_started() {
    let project = project(
        "steps:\n  long: { command: [sh, -c, \"sleep 300 & echo $! >&2; wait\"] }\n  after: { command: [echo, x], needs: [long] }\n",
    );
    let mut run = Running::start(&project, &["p.yaml"]);
    let told = run.until("task_output");
    let pid = told["line"].as_str().unwrap();
    run.interrupt();
    assert_eq!(run.end(), 130);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[test]
fn a_command_whose_file_was_written_to_while_it_ran_made_nothing_that_is_kept() {
    let project = project(
        "steps:\n  read: { command: [sh, -c, \"sleep 0.1; printf ha > $1; cat $1 > out.txt; printf half > $1\", sh, \"{{ file('in.txt') }}\"], outputs: { text: out.txt } }\n",
    );
    project.file("in.txt", "half");
    for _ in 0..2 {
        let done = project.kiln(&["run", "p.yaml"]).code(4);
        done.says("error[K0505]: step `read`: `in.txt` was changed while the pipeline ran");
    }
    assert_eq!(
        std::fs::read_to_string(project.path().join("in.txt")).unwrap(),
        "half"
    );
}
