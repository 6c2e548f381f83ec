//! The keyboard, in a real terminal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;

use super::watched::runs;
use crate::support::proxy::Proxy;
use crate::support::{CARD, Project, Server, kiln, wait_for};

/// A terminal of its own, with a shell in it, that ends with the test.
struct Pane {
    socket: PathBuf,
    dir: PathBuf,
}

impl Pane {
    fn open(project: &Project) -> Self {
        let pane = Self {
            socket: project.path().join("tmux.socket"),
            dir: project.path().to_path_buf(),
        };
        let path = format!(
            "{}:{}",
            pane.dir.join("bin").display(),
            std::env::var("PATH").unwrap()
        );
        let mut tmux = pane.tmux();
        tmux.args([
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "40",
        ]);
        tmux.arg("-c")
            .arg(&pane.dir)
            .args(["env", "-i", "TERM=screen", "PS1=$ "]);
        tmux.arg(format!("PATH={path}"))
            .arg(format!("HOME={}", pane.dir.display()))
            .arg("sh");
        let opened = tmux.status().expect("tmux is on the PATH");
        assert!(opened.success());
        pane
    }

    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.arg("-S").arg(&self.socket);
        tmux
    }

    fn press(&self, keys: &[&str]) {
        let sent = self.tmux().arg("send-keys").args(keys).status().unwrap();
        assert!(sent.success());
    }

    fn types(&self, line: &str) {
        self.press(&[line, "Enter"]);
    }

    fn shows(&self) -> String {
        let shown = self
            .tmux()
            .args(["capture-pane", "-p", "-J", "-S", "-200"])
            .output()
            .unwrap();
        String::from_utf8(shown.stdout).unwrap()
    }

    /// Waits until a text is there so many times.
    #[track_caller]
    fn wait(&self, text: &str, times: usize) {
        wait_for(
            &format!("{text:?} {times} times in\n{}", self.shows()),
            || (self.shows().matches(text).count() >= times).then_some(()),
        );
    }
}

impl Drop for Pane {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the terminal shows:\n{}", self.shows());
        }
        let _ = self.tmux().arg("kill-server").status();
    }
}

fn program(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, script).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn project() -> Project {
    let project = Project::of(&[
        ("kiln.yaml", ""),
        ("a.txt", "first"),
        (
            "p.yaml",
            "steps:\n  say: { command: [sh, -c, \"cat $1 > out.txt\", sh, \"{{ file('a.txt') }}\"], outputs: { text: out.txt }, save_as: say }\n",
        ),
    ]);
    let opened = project.path().join("opened.txt");
    program(
        &project.path().join("bin/xdg-open"),
        &format!("#!/bin/sh\necho \"$1\" > {}\n", opened.display()),
    );
    project
}

/// `kiln watch`.
fn command() -> String {
    format!("{} watch p.yaml", kiln().get_program().to_str().unwrap())
}

/// `kiln watch`, with its process id in a file, and how the terminal is before and after.
fn watch() -> String {
    let program = kiln();
    let kiln = program.get_program().to_str().unwrap();
    format!(
        "stty -a > before.txt; sh -c 'echo $$ > pid.txt; exec {kiln} watch p.yaml'; echo it ended with $?; stty -a > after.txt; touch over.txt"
    )
}

#[track_caller]
fn is_as_before(project: &Project) {
    let read = |name: &str| fs::read_to_string(project.path().join(name));
    wait_for("the shell", || read("over.txt").ok());
    assert_eq!(read("after.txt").unwrap(), read("before.txt").unwrap());
    fs::remove_file(project.path().join("over.txt")).unwrap();
}

#[test]
fn keys_run_force_open_pause_and_quit() {
    let project = project();
    let pane = Pane::open(&project);
    pane.types(&watch());
    pane.wait(
        "watching 3 files · r run all · f force · o open newest · p pause · q quit",
        1,
    );
    pane.wait("done in", 1);
    pane.press(&["o"]);
    let opened = project.path().join("opened.txt");
    let path = wait_for("the picture to be opened", || {
        let path = fs::read_to_string(&opened).ok()?;
        path.ends_with('\n').then_some(path)
    });
    assert!(path.trim().ends_with("say/say.txt"), "{path}");
    assert_eq!(fs::read_to_string(path.trim()).unwrap(), "first");
    pane.press(&["r"]);
    pane.wait("↻ again · nothing runs again · 1 stays", 1);
    pane.press(&["f"]);
    pane.wait("↻ again · say: forced", 1);
    pane.wait("done in", 2);
    pane.press(&["p"]);
    pane.wait("paused: changes wait until p is pressed again", 1);
    project.file("a.txt", "second");
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(!pane.shows().contains("a.txt ·"), "{}", pane.shows());
    pane.press(&["p"]);
    pane.wait("going on", 1);
    pane.wait("↻ a.txt · say", 1);
    pane.wait("done in", 3);
    assert_eq!(project.result("say/say.txt"), "second");
    pane.press(&["x", "Enter", "q"]);
    pane.wait("it ended with 0", 1);
    is_as_before(&project);
    assert_eq!(runs(&project), 3);
}

/// What ends a watch in a pane.
type End = Box<dyn Fn(&Project, &Pane)>;

#[test]
fn the_terminal_is_put_back_however_the_watch_ends() {
    let project = project();
    let pane = Pane::open(&project);
    let signalled = |signal: &'static str| {
        move |project: &Project, _: &Pane| {
            let pid = fs::read_to_string(project.path().join("pid.txt")).unwrap();
            let sent = Command::new("kill").args([signal, pid.trim()]).status();
            assert!(sent.unwrap().success());
        }
    };
    let typed = |_: &Project, pane: &Pane| pane.press(&["C-c"]);
    let ends: [(i32, End); 3] = [
        (130, Box::new(typed)),
        (143, Box::new(signalled("-TERM"))),
        (143, Box::new(signalled("-HUP"))),
    ];
    for (at, (code, end)) in ends.iter().enumerate() {
        pane.types(&watch());
        pane.wait("q quit", at + 1);
        pane.wait("do", 1);
        end(&project, &pane);
        pane.wait(&format!("it ended with {code}"), 1);
        is_as_before(&project);
    }
}

#[test]
fn a_watch_that_was_stopped_and_brought_back_takes_keys_again() {
    let project = project();
    let pane = Pane::open(&project);
    let program = kiln();
    pane.types("set -m; stty -a > before.txt");
    pane.types(&format!(
        "{} watch p.yaml",
        program.get_program().to_str().unwrap()
    ));
    pane.wait("q quit", 1);
    pane.wait("done in", 1);
    pane.press(&["C-z"]);
    pane.wait("topped", 1);
    pane.types("stty sane; fg");
    pane.wait("fg", 1);
    // The shell needs a moment to hand the terminal over.
    wait_for("an answer to a key", || {
        pane.press(&["r"]);
        std::thread::sleep(std::time::Duration::from_millis(200));
        pane.shows().contains("↻ again").then_some(())
    });
    pane.press(&["q"]);
    // What is typed before it has ended is for kiln.
    wait_for("the shell", || {
        pane.types("echo it is over");
        std::thread::sleep(std::time::Duration::from_millis(200));
        pane.shows().contains("\nit is over").then_some(())
    });
}

#[test]
fn what_was_forced_while_a_server_is_away_runs_when_it_is_back() {
    let server = Server::start(&[]);
    let (proxy, up) = Proxy::switched(&server.url, true);
    let project = Project::of(&[
        ("kiln.yaml", ""),
        ("card.json", CARD),
        ("p.yaml", "steps:\n  card: { workflow: card.json }\n"),
    ]);
    let pane = Pane::open(&project);
    pane.types(&format!("{} --server {}", command(), proxy.url));
    pane.wait("done in", 1);
    up.store(false, Ordering::Relaxed);
    proxy.cut();
    pane.press(&["f"]);
    pane.wait("↻ again · card: forced", 1);
    pane.wait("waiting: ", 1);
    up.store(true, Ordering::Relaxed);
    pane.wait("it answers again: going on", 1);
    pane.wait("done in", 2);
    assert!(!pane.shows().contains("cached"), "{}", pane.shows());
    assert_eq!(runs(&project), 2);
    pane.press(&["r"]);
    pane.wait("↻ again · nothing runs again", 1);
    pane.press(&["q"]);
}

#[test]
fn results_of_an_earlier_run_are_opened_and_a_program_that_cannot_is_told() {
    let project = project();
    project.kiln(&["run", "p.yaml"]).ok();
    let pane = Pane::open(&project);
    pane.types(&command());
    pane.wait("nothing to do: 1 task done before", 1);
    pane.press(&["o"]);
    let opened = project.path().join("opened.txt");
    let path = wait_for("the results to be opened", || {
        let path = fs::read_to_string(&opened).ok()?;
        path.ends_with('\n').then_some(path)
    });
    assert!(path.trim().ends_with("outputs/p/latest"), "{path}");
    program(&project.path().join("bin/xdg-open"), "#!/bin/sh\nexit 3\n");
    pane.press(&["o"]);
    pane.wait("could not open it: `xdg-open` ended with exit status: 3", 1);
    pane.press(&["q"]);
}

#[test]
fn a_watch_in_the_background_goes_on_and_takes_keys_when_it_is_back() {
    let project = project();
    let pane = Pane::open(&project);
    pane.types("set -m");
    pane.types(&command());
    pane.wait("q quit", 1);
    pane.wait("done in", 1);
    pane.press(&["C-z"]);
    pane.wait("topped", 1);
    pane.types("bg");
    project.file("a.txt", "second");
    pane.wait("↻ a.txt · say", 1);
    pane.wait("done in", 2);
    pane.types("jobs");
    pane.wait("Running", 1);
    pane.types("fg");
    wait_for("an answer to a key", || {
        pane.press(&["r"]);
        std::thread::sleep(std::time::Duration::from_millis(300));
        pane.shows().contains("↻ again").then_some(())
    });
    pane.press(&["q"]);
}

#[test]
fn a_watch_that_is_ended_hard_puts_the_terminal_back() {
    let project = project();
    let pane = Pane::open(&project);
    pane.types(&watch());
    pane.wait("q quit", 1);
    pane.press(&["C-\\"]);
    pane.wait("it ended with 131", 1);
    is_as_before(&project);
}

/// A program that waits until there is a file `go`, and another one that does not.
fn gated() -> Project {
    let project = Project::new();
    let go = project.path().join("go");
    project.file("kiln.yaml", "");
    project.file(
        "p.yaml",
        format!(
            "steps:\n  slow: {{ command: [sh, -c, 'while [ ! -e {0} ]; do sleep 0.05; done; echo ready > out.txt'], outputs: {{ text: out.txt }} }}\n  quick: {{ command: [sh, -c, 'echo hi > out.txt'], outputs: {{ text: out.txt }} }}\n",
            go.display()
        ),
    );
    project
}

/// Lines that only stand there while something is under way.
fn live(shown: &str) -> Vec<&str> {
    let is_live = |line: &&str| line.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
    shown.lines().filter(is_live).collect()
}

#[test]
fn live_rows_stand_below_what_is_said_while_a_watch_runs_and_keys_leave_none_behind() {
    let project = gated();
    let pane = Pane::open(&project);
    pane.types(&command());
    pane.wait("1/2", 1);
    for (key, said) in [
        ("p", "paused: changes wait"),
        ("p", "going on"),
        ("o", "could not open it"),
        ("r", "it is running"),
    ] {
        pane.press(&[key]);
        pane.wait(said, 1);
    }
    pane.press(&["Enter", "Enter", "x"]);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let shown = pane.shows();
    let rows = live(&shown);
    assert_eq!(rows.len(), 2, "{shown}");
    assert!(
        rows[0].contains(" slow ") && rows[1].contains("1/2"),
        "{shown}"
    );
    let last = shown.trim_end().lines().last().unwrap();
    assert_eq!(last, rows[1], "{shown}");
    project.file("go", "");
    pane.wait("done in", 1);
    assert!(live(&pane.shows()).is_empty(), "{}", pane.shows());
    pane.press(&["q"]);
}

#[test]
fn what_is_typed_during_a_run_leaves_no_row_behind_and_the_terminal_is_put_back() {
    let project = gated();
    let pane = Pane::open(&project);
    let kiln = kiln().get_program().to_str().unwrap().to_owned();
    pane.types(&format!(
        "stty -a > before.txt; {kiln} run p.yaml; echo it ended with $?; stty -a > after.txt; touch over.txt"
    ));
    pane.wait("1/2", 1);
    pane.press(&["Enter", "a", "Enter", "Enter"]);
    std::thread::sleep(std::time::Duration::from_millis(400));
    let shown = pane.shows();
    assert_eq!(live(&shown).len(), 2, "{shown}");
    project.file("go", "");
    pane.wait("it ended with 0", 1);
    assert!(live(&pane.shows()).is_empty(), "{}", pane.shows());
    is_as_before(&project);
    fs::remove_file(project.path().join("go")).unwrap();
    fs::remove_dir_all(project.path().join(".kiln")).unwrap();
    pane.types(&format!(
        "stty -a > before.txt; {kiln} run p.yaml; echo it ended with $?; stty -a > after.txt; touch over.txt"
    ));
    pane.wait("1/2", 1);
    pane.press(&["C-c"]);
    pane.wait("it ended with 130", 1);
    is_as_before(&project);
}

#[test]
fn what_a_shell_said_while_a_run_was_stopped_is_not_wiped() {
    let project = gated();
    let pane = Pane::open(&project);
    let kiln = kiln().get_program().to_str().unwrap().to_owned();
    pane.types("set -m");
    pane.types(&format!("{kiln} run p.yaml"));
    pane.wait("1/2", 1);
    pane.press(&["C-z"]);
    pane.wait("topped", 1);
    pane.types("echo a word of the shell");
    pane.wait("\na word of the shell", 1);
    pane.types("fg");
    pane.wait("fg", 1);
    wait_for("rows below it", || {
        let shown = pane.shows();
        let (_, below) = shown.split_once("\na word of the shell")?;
        (live(below).len() == 2).then_some(())
    });
    project.file("go", "");
    pane.wait("done in", 1);
    assert!(
        pane.shows().contains("\na word of the shell"),
        "{}",
        pane.shows()
    );
}
