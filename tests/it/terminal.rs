//! What somebody at a terminal sees, and what a log or a pipe gets instead.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Project, Server, finish, settled};

/// A step that waits for a file, one that does not, and one of many tasks.
fn pipeline(project: &Project) {
    let go = project.path().join("go");
    let text = format!(
        "steps:
  slow: {{ command: [sh, -c, 'while [ ! -e \"{}\" ]; do sleep 0.05; done; echo ready'] }}
  quick: {{ command: [echo, hi] }}
  many: {{ matrix: {{ i: [1, 2, 3] }}, command: [echo, 'n{{{{ matrix.i }}}}'] }}
",
        go.display()
    );
    project.file("p.yaml", text);
}

/// A pane of a real terminal.
struct Pane {
    socket: PathBuf,
}

impl Pane {
    /// Runs a shell command in a terminal of this size, with a prompt's line after it.
    fn open(project: &Project, (columns, rows): (u16, u16), shell: &str) -> Self {
        let pane = Self {
            socket: project.path().join("tmux.sock"),
        };
        let size = [columns.to_string(), rows.to_string()];
        let shell = format!("{shell}; echo \"ended $?\"; sleep 600");
        let made = pane
            .tmux()
            .args([
                "-f",
                "/dev/null",
                "new-session",
                "-d",
                "-x",
                &size[0],
                "-y",
                &size[1],
            ])
            .arg(shell)
            .current_dir(project.path())
            .env_remove("CI")
            .env_remove("TMUX")
            .env("NO_COLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .status()
            .expect("tmux is needed: `apt-get install tmux`");
        assert!(made.success());
        pane
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.args(["-u", "-S"]).arg(&self.socket);
        tmux
    }

    fn screen(&self) -> String {
        let shown = self.tmux().args(["capture-pane", "-p"]).output().unwrap();
        let text = String::from_utf8(shown.stdout).unwrap();
        let lines: Vec<&str> = text.trim_end().lines().map(str::trim_end).collect();
        lines.join("\n")
    }

    /// Waits until the screen is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let patience = Instant::now() + Duration::from_mins(1);
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(Instant::now() < patience, "{what} never came:\n{screen}");
            std::thread::sleep(Duration::from_millis(40));
        }
    }

    fn resize(&self, columns: u16, rows: u16) {
        let size = [columns.to_string(), rows.to_string()];
        let mut tmux = self.tmux();
        tmux.args(["resize-window", "-x", &size[0], "-y", &size[1]]);
        assert!(tmux.status().unwrap().success());
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").status();
    }
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_kiln")
}

/// Characters that only live lines have.
fn is_live(line: &str) -> bool {
    line.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c))
}

#[test]
fn a_real_terminal_shows_what_is_under_way_and_keeps_what_ended() {
    let project = Project::new();
    pipeline(&project);
    let shell = format!("{} run p.yaml", program());
    let pane = Pane::open(&project, (80, 24), &shell);
    let live = pane.until("the live line of `slow`", |screen| {
        screen.contains("4/5")
            && screen
                .lines()
                .any(|line| is_live(line) && line.contains(" slow "))
    });
    assert!(live.contains("  ✓ quick"), "{live}");
    assert_eq!(
        live.lines().filter(|line| is_live(line)).count(),
        2,
        "{live}"
    );
    // Narrower than the lines that are drawn, and lower, then wide again.
    for size in [(24, 24), (24, 8), (100, 24)] {
        pane.resize(size.0, size.1);
        let before = Instant::now();
        pane.until("a picture after the resize", |screen| {
            before.elapsed() > Duration::from_millis(400)
                && screen.lines().filter(|line| is_live(line)).count() == 2
        });
    }
    project.file("go", "");
    let end = pane.until("the end", |screen| screen.contains("ended 0"));
    assert!(!end.lines().any(is_live), "{end}");
    assert!(end.contains("  ✓ slow"), "{end}");
    assert_eq!(end.lines().last(), Some("ended 0"), "{end}");
    let cursor = pane
        .tmux()
        .args(["display-message", "-p", "#{cursor_flag}"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&cursor.stdout).trim(),
        "1",
        "the cursor is shown"
    );
}

/// A screen with what differs from run to run put into fixed words.
fn still(screen: &str, project: &Path) -> String {
    // A narrow terminal breaks the line in the middle of the run's name.
    let run = regex_lite::Regex::new(r"run [\d\n]+-[\d\n]+-[0-9a-z]{4}").unwrap();
    let text = settled(&run.replace_all(screen, "run [run]"), project);
    let spinner = |c: char| {
        if ('\u{2801}'..='\u{28ff}').contains(&c) {
            '*'
        } else {
            c
        }
    };
    text.chars().map(spinner).collect()
}

fn shown_at(columns: u16) -> String {
    let project = Project::new();
    pipeline(&project);
    let shell = format!("{} run p.yaml", program());
    let pane = Pane::open(&project, (columns, 24), &shell);
    let live = pane.until("the live line of `slow`", |screen| screen.contains("4/5"));
    project.file("go", "");
    let end = pane.until("the end", |screen| screen.contains("ended 0"));
    // What ended ended in any order.
    let mut lines: Vec<&str> = live.lines().collect();
    let first = lines.iter().position(|line| line.contains('✓')).unwrap();
    let last = lines.iter().rposition(|line| line.contains('✓')).unwrap();
    lines[first..=last + 1].sort_unstable();
    let live = lines.join("\n");
    let last: Vec<&str> = end.lines().rev().take(2).collect();
    let text = format!("{live}\n----\n{}\n{}", last[1], last[0]);
    still(&text, project.path())
}

#[test]
fn a_real_terminal_of_40_columns() {
    insta::assert_snapshot!(shown_at(40));
}

#[test]
fn a_real_terminal_of_80_columns() {
    insta::assert_snapshot!(shown_at(80));
}

#[test]
fn a_real_terminal_of_160_columns() {
    insta::assert_snapshot!(shown_at(160));
}

/// Samplers one after the other, so that there is time to see what they are at.
fn samplers() -> serde_json::Value {
    let mut graph = serde_json::json!({
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "any.safetensors"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a teapot", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["35", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "shot"}},
    });
    for at in 30..36 {
        let before = if at == 30 {
            "5".to_owned()
        } else {
            (at - 1).to_string()
        };
        graph[at.to_string()] = serde_json::json!({"class_type": "KSampler", "inputs": {"seed": at, "steps": 80, "cfg": 7.0,
            "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0, "model": ["4", 0], "positive": ["6", 0], "negative": ["6", 0],
            "latent_image": [before, 0]}});
    }
    graph
}

#[test]
fn what_a_sampler_is_at_is_seen_while_it_is_at_it() {
    let server = Server::start(&["--simulate"]);
    let project = Project::with(
        "steps:\n  shot: { workflow: w.json }\n",
        &[("w", samplers())],
    );
    let shell = format!(
        "sleep 1; {} run p.yaml --preview=kitty --server {}",
        program(),
        server.url
    );
    let pane = Pane::open(&project, (80, 24), &shell);
    let raw = project.path().join("raw");
    let mut tmux = pane.tmux();
    tmux.args(["pipe-pane", "-o"])
        .arg(format!("cat > {}", raw.display()));
    assert!(tmux.status().unwrap().success());
    let end = pane.until("the end", |screen| screen.contains("ended 0"));
    assert!(!end.lines().any(is_live), "{end}");
    let told = String::from_utf8_lossy(&std::fs::read(&raw).unwrap()).into_owned();
    let glimpses = told.matches(",p=1,C=1,").count();
    assert!(glimpses >= 2, "{glimpses} pictures");
    let erased = told.rfind("\x1b_Ga=d,d=I,").unwrap();
    assert!(
        told.rfind(",p=1,C=1,").unwrap() < erased,
        "none stays behind"
    );
    assert!(
        told[erased..].contains("\x1b_Ga=T,f=100,q=2,c="),
        "the result itself stays"
    );
    let history = server.get("/history");
    let job = history.as_object().unwrap().values().next().unwrap();
    assert_eq!(job["prompt"][3]["preview_method"], "auto");
}

#[test]
fn without_preview_no_server_is_asked_for_pictures_and_in_tmux_it_is_said_that_there_are_none() {
    let server = Server::start(&["--simulate"]);
    let project = Project::with(
        "steps:\n  shot: { workflow: w.json }\n",
        &[("w", samplers())],
    );
    let shell = format!("{} run p.yaml --preview --server {}", program(), server.url);
    let pane = Pane::open(&project, (80, 24), &shell);
    let end = pane.until("the end", |screen| screen.contains("ended 0"));
    let note = "note: no pictures are shown: tmux and screen pass no pictures on";
    assert!(end.contains(note), "{end}");
    let history = server.get("/history");
    let job = history.as_object().unwrap().values().next().unwrap();
    assert!(job["prompt"][3].get("preview_method").is_none(), "{job}");
}

#[test]
fn a_kiln_that_is_killed_leaves_a_usable_terminal() {
    let project = Project::new();
    pipeline(&project);
    let shell = format!("{} run p.yaml & echo $! > pid; wait", program());
    let pane = Pane::open(&project, (80, 24), &shell);
    pane.until("the live line", |screen| screen.contains("4/5"));
    let pid = std::fs::read_to_string(project.path().join("pid")).unwrap();
    let killed = Command::new("kill")
        .args(["-9", pid.trim()])
        .status()
        .unwrap();
    assert!(killed.success());
    let end = pane.until("the prompt", |screen| screen.contains("ended"));
    let last = end.lines().find(|line| line.contains("ended")).unwrap();
    assert!(last.starts_with("ended"), "on a line of its own:\n{end}");
}

#[test]
fn whoever_stops_listening_stops_nothing() {
    for stream in ["stdout", "stderr", "both"] {
        let project = Project::of(&[(
            "p.yaml",
            "steps:\n  many: { matrix: { i: [1, 2, 3, 4, 5, 6, 7, 8] }, command: [sh, -c, 'sleep 0.05; echo x > a.txt'], outputs: { a: a.txt } }\n",
        )]);
        let mut child = project
            .command(&["run", "p.yaml"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        if stream != "stderr" {
            drop(child.stdout.take());
        }
        if stream != "stdout" {
            drop(child.stderr.take());
        }
        let done = child.wait_with_output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{stream}");
        let folder = project.path().join("outputs/p/latest/many");
        let made = std::fs::read_dir(folder).unwrap().flatten();
        let made = made.filter(|file| file.path().extension().is_some_and(|e| e == "txt"));
        assert_eq!(made.count(), 8, "{stream}");
    }
}

const LOGGED: &str = "max_parallel: 1
steps:
  first: { matrix: { i: [1, 2] }, command: [echo, 'n{{ matrix.i }}'] }
  then: { needs: [first], command: [sh, -c, 'echo about to fail >&2; exit 3'] }
  other: { command: [echo, hi] }
";

#[test]
fn a_log_of_continuous_integration_has_no_control_codes_and_groups_by_step() {
    let project = Project::of(&[("p.yaml", LOGGED)]);
    let done = finish(project.command(&["run", "p.yaml", "-k"]).env("CI", "true")).code(4);
    assert!(!done.stderr.contains('\u{1b}') && !done.stderr.contains('\r'));
    // A step that took next to no time says nothing of it.
    let told = settled(&done.stderr, project.path());
    let lines = told.lines();
    let lines = lines.map(|line| line.trim_end_matches(" in [time]"));
    let told = lines.collect::<Vec<_>>().join("\n");
    insta::assert_snapshot!(told);
}

#[test]
fn a_log_of_github_folds_the_lines_of_a_step() {
    let project = Project::of(&[("p.yaml", LOGGED)]);
    let mut command = project.command(&["run", "p.yaml", "-k"]);
    let done = finish(command.env("CI", "true").env("GITHUB_ACTIONS", "true")).code(4);
    let lines: Vec<&str> = done.stderr.lines().collect();
    let at = |start: &str| lines.iter().position(|line| line.starts_with(start));
    let (opened, closed) = (at("::group::first: 2 done"), at("::endgroup::"));
    assert_eq!(closed.unwrap() - opened.unwrap(), 5, "{}", done.stderr);
}

/// Lines about tasks, without their times.
fn told_of_tasks(text: &str, project: &Path) -> Vec<String> {
    let marks = ["  ✓", "  ✗", "  ↻"];
    let lines = settled(text, project);
    let lines = lines
        .lines()
        .filter(|line| marks.iter().any(|mark| line.starts_with(mark)));
    let mut lines: Vec<String> = lines
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.sort();
    lines
}

#[test]
fn a_replay_tells_what_the_run_told() {
    let project = Project::of(&[("p.yaml", LOGGED)]);
    let ran = project.kiln(&["run", "p.yaml", "-k"]).code(4);
    let again = project.kiln(&["replay"]).ok();
    assert_eq!(
        told_of_tasks(&again.stderr, project.path()),
        told_of_tasks(&ran.stderr, project.path())
    );
    assert!(!told_of_tasks(&again.stderr, project.path()).is_empty());
    again.says("first by `then`");
    again.says("to go on: kiln run --resume ");
    assert_eq!(again.stdout, ran.stdout, "paths");
}

#[test]
fn a_replay_of_a_resumed_run_ends_as_the_run_did() {
    let project = Project::new();
    project.file(
        "p.yaml",
        format!(
            "steps:\n  first: {{ command: [echo, hi] }}\n  then: {{ needs: [first], command: [test, -e, '{}/go'] }}\n",
            project.path().display()
        ),
    );
    project.kiln(&["run", "p.yaml"]).code(4);
    project.file("go", "");
    project.kiln(&["run", "--resume", "last"]).ok();
    let again = project.kiln(&["replay", "last", "--output", "json"]).ok();
    let events = again.json_lines();
    let last = events.last().unwrap();
    assert_eq!(last["event"], "run_finished");
    assert_eq!(
        (&last["status"], &last["counts"]["done"]),
        (&"done".into(), &2.into())
    );
    let kinds = |kind: &str| -> Vec<usize> {
        let of = events
            .iter()
            .enumerate()
            .filter(|(_, e)| e["event"] == kind);
        of.map(|(at, _)| at).collect()
    };
    let (begins, ends) = (kinds("run_started"), kinds("run_finished"));
    assert_eq!((begins.len(), ends.len()), (2, 2), "one for each session");
    assert_eq!(
        ends[0] + 1,
        begins[1],
        "a session ends before the next begins"
    );
    assert_eq!(events[ends[0]]["status"], "failed");
    let fails = events[..ends[0]].iter().filter(|e| e["status"] == "failed");
    assert_eq!(fails.count(), 1, "`then` failed in the first session");
    let seqs: Vec<u64> = events.iter().map(|e| e["seq"].as_u64().unwrap()).collect();
    assert!(seqs.iter().copied().eq(0..events.len() as u64));
}

#[test]
fn a_replay_tells_of_a_failure_when_it_happened() {
    let project = Project::of(&[(
        "p.yaml",
        "steps:\n  bad: { command: [sh, -c, 'exit 3'] }\n  slow: { command: [sleep, '0.5'] }\n",
    )]);
    project.kiln(&["run", "p.yaml", "-k"]).code(4);
    let again = project.kiln(&["replay", "last", "--output", "json"]).ok();
    let events = again.json_lines();
    let ended = events.iter().filter(|e| e["event"] == "task_finished");
    let ended: Vec<&str> = ended.map(|e| e["task"].as_str().unwrap()).collect();
    assert_eq!(ended, ["bad", "slow"]);
}

#[test]
fn a_run_that_is_not_there_cannot_be_replayed() {
    let project = Project::of(&[("p.yaml", "steps:\n  first: { command: [echo, hi] }\n")]);
    project.kiln(&["run", "p.yaml"]).ok();
    let done = project.kiln(&["replay", "nosuch"]);
    assert_ne!(done.code, 0);
    done.says("there is no run `nosuch`");
}

fn bash(project: &Project, script: &str) -> String {
    let folder = Path::new(program()).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let done = Command::new("bash")
        .args(["--norc", "--noprofile", "-c", script])
        .current_dir(project.path())
        .env("PATH", format!("{}:{path}", folder.display()))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success() && errors.is_empty(), "{errors}");
    String::from_utf8(done.stdout).unwrap()
}

/// What bash offers for a command line whose last word is being typed.
fn offered(project: &Project, flag: &str, function: &str, line: &[&str]) -> Vec<String> {
    let words: Vec<String> = line.iter().map(|word| format!("'{word}'")).collect();
    let (last, before) = (&line[line.len() - 1], &line[line.len() - 2]);
    let script = format!(
        "source <(kiln completions {flag} bash)
        COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; COMP_LINE='{}'; COMP_POINT=${{#COMP_LINE}}
        {function} kiln '{last}' '{before}' 2>/dev/null
        printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.join(" "),
        line.len() - 1,
        line.join(" "),
    );
    let text = bash(project, &script);
    text.lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn bash_completes_commands_and_flags() {
    let project = Project::new();
    let found = offered(&project, "", "_kiln", &["kiln", "re"]);
    assert_eq!(found, ["replay"]);
    let found = offered(&project, "", "_kiln", &["kiln", "run", "--keep"]);
    assert_eq!(found, ["--keep-going"]);
    let bound = bash(
        &project,
        "source <(kiln completions bash); complete -p kiln",
    );
    assert!(bound.contains("_kiln"), "{bound}");
}

#[test]
fn bash_completes_the_names_of_steps_profiles_servers_and_runs() {
    let project = Project::of(&[
        (
            "p.yaml",
            "steps:\n  base: { command: [echo, hi] }\n  basement: { command: [echo, ho] }\n",
        ),
        (
            "kiln.yaml",
            "servers: { farm: { url: 'http://127.0.0.1:9' } }\nprofiles: { draft: { server: farm } }\n",
        ),
    ]);
    project.kiln(&["run", "p.yaml"]).ok();
    let run = project
        .kiln(&["runs", "--output", "json"])
        .ok()
        .json_lines();
    let run = run[0]["run"].as_str().unwrap().to_owned();
    let function = "_clap_complete_kiln";
    let of = |line: &[&str]| offered(&project, "--dynamic", function, line);
    assert_eq!(
        of(&["kiln", "run", "p.yaml", "--to", "bas"]),
        ["base", "basement"]
    );
    assert_eq!(of(&["kiln", "run", "p.yaml", "--profile", "d"]), ["draft"]);
    assert_eq!(of(&["kiln", "run", "p.yaml", "--server", "f"]), ["farm"]);
    assert_eq!(of(&["kiln", "show", &run[..10]]), [run.as_str()]);
    assert_eq!(of(&["kiln", "replay", "la"]), ["last"]);
}

#[test]
fn zsh_takes_both_scripts() {
    let project = Project::new();
    for flag in ["--dynamic", ""] {
        let script = project.file("_kiln", "");
        let mut command = project.command(&["completions", "zsh"]);
        if !flag.is_empty() {
            command.arg(flag);
        }
        let text = finish(&mut command).ok().stdout;
        std::fs::write(&script, text).unwrap();
        let done = Command::new("zsh")
            .args(["-f", "-c", "autoload -Uz compinit && compinit -D -u && source ./_kiln && print -- $_comps[kiln]"])
            .current_dir(project.path())
            .output()
            .expect("zsh is needed: `apt-get install zsh`");
        let told = String::from_utf8_lossy(&done.stdout).into_owned();
        let errors = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success() && errors.is_empty(), "{errors}");
        assert!(told.contains("kiln"), "{flag}: {told:?}");
    }
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let project = Project::new();
    let page = project.kiln(&["man"]).ok().stdout;
    assert!(
        page.contains(".TH kiln 1") && page.contains("replay"),
        "{page}"
    );
    let page = project.kiln(&["man", "run"]).ok().stdout;
    assert!(
        page.contains(".TH kiln-run 1") && page.contains("keep\\-going"),
        "{page}"
    );
    project.kiln(&["man", "--out-dir", "pages"]).ok();
    let pages = std::fs::read_dir(project.path().join("pages")).unwrap();
    let names: Vec<String> = pages
        .flatten()
        .map(|page| page.file_name().into_string().unwrap())
        .collect();
    for name in ["kiln.1", "kiln-run.1", "kiln-show.1"] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
    project.kiln(&["man", "nosuch"]).code(2);
}
