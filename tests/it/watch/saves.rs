//! Files as people and their programs save them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::watched::{Watched, runs};
use crate::support::{Project, wait_for};

const COPY: &str = r#"steps:
  copy:
    command: [sh, -c, "cat \"$1\" > out.txt", sh, "{{ file('in/a.txt') }}"]
    outputs: { text: out.txt }
    save_as: copy
"#;

const LIST: &str = r#"steps:
  list:
    command: [sh, -c, "for f in \"$@\"; do cat \"$f\"; echo; done > out.txt", sh, "{{ glob('in/**/*.txt') }}"]
    outputs: { text: out.txt }
    save_as: list
"#;

/// One way to save a text under a name.
type Save = fn(&Path, &str);

fn renamed(path: &Path, text: &str) {
    let fresh = path.with_extension("tmp~");
    fs::write(&fresh, text).unwrap();
    fs::rename(fresh, path).unwrap();
}

fn truncated(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

fn made_anew(path: &Path, text: &str) {
    fs::remove_file(path).unwrap();
    fs::write(path, text).unwrap();
}

/// As editors do that keep what was there: the old file gets another name, and a new one its place.
fn kept(path: &Path, text: &str) {
    let old = path.with_extension("txt~");
    let _ = fs::remove_file(&old);
    fs::rename(path, &old).unwrap();
    fs::write(path, text).unwrap();
}

fn linked(path: &Path, text: &str) {
    let fresh = path.with_extension("new");
    let _ = fs::remove_file(&fresh);
    fs::write(&fresh, text).unwrap();
    fs::remove_file(path).unwrap();
    fs::hard_link(fresh, path).unwrap();
}

fn by_sed(path: &Path, text: &str) {
    let script = format!("s/.*/{text}/");
    let done = Command::new("sed").args(["-i", &script]).arg(path).status();
    assert!(done.unwrap().success());
}

fn by_vim(settings: &str, path: &Path, text: &str) {
    let set = format!("set {settings}");
    let change = format!("%s/.*/{text}/");
    let mut vim = Command::new("vim");
    vim.args(["-Nu", "NONE", "-i", "NONE", "-es", "-c", &set]);
    vim.args(["-c", &change, "-c", "wq"]).arg(path);
    let done = vim.stdin(std::process::Stdio::null()).status();
    done.expect("vim is on the PATH");
    assert_eq!(fs::read_to_string(path).unwrap().trim(), text);
}

fn by_vim_in_place(path: &Path, text: &str) {
    by_vim("writebackup backupcopy=yes noswapfile", path, text);
}

fn by_vim_with_a_new_file(path: &Path, text: &str) {
    by_vim("backup writebackup backupcopy=no swapfile", path, text);
}

const SAVES: [Save; 8] = [
    renamed,
    truncated,
    made_anew,
    kept,
    linked,
    by_sed,
    by_vim_in_place,
    by_vim_with_a_new_file,
];

fn project(pipeline: &str) -> Project {
    Project::of(&[
        ("p.yaml", pipeline),
        ("in/a.txt", "first"),
        ("kiln.yaml", ""),
    ])
}

#[track_caller]
fn wait_until_copied(project: &Project, result: &str, text: &str) {
    let path = project.path().join("outputs/p/latest").join(result);
    wait_for(&format!("{text:?} in the result"), || {
        let found = fs::read_to_string(&path).ok()?;
        (found.trim() == text).then_some(())
    });
}

/// Saves in every way, and looks each time for what comes of it.
fn every_save(args: &[&str]) {
    let project = project(COPY);
    let mut watched = Watched::start(&project, args);
    watched.says("watching ");
    wait_until_copied(&project, "copy/copy.txt", "first");
    let path = project.path().join("in/a.txt");
    for (at, save) in SAVES.iter().enumerate() {
        let text = format!("text {at}");
        save(&path, &text);
        wait_until_copied(&project, "copy/copy.txt", &text);
    }
    assert_eq!(watched.end(), 130);
}

#[test]
fn a_file_that_is_saved_in_any_way_counts() {
    every_save(&["p.yaml"]);
}

#[test]
fn a_file_that_is_saved_in_any_way_counts_where_only_looking_helps() {
    every_save(&["p.yaml", "--poll"]);
}

#[test]
fn a_save_that_changes_nothing_runs_nothing() {
    let project = project(COPY);
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("done in");
    let path = project.path().join("in/a.txt");
    for _ in 0..5 {
        renamed(&path, "first");
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::SystemTime::now()).unwrap();
        renamed(&project.path().join("p.yaml"), COPY);
        project.file("in/b.txt", "nobody reads it");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    renamed(&path, "second");
    let heard = watched.says("done in");
    assert_eq!(heard.matches('↻').count(), 1, "{heard}");
    assert!(heard.contains("↻ in/a.txt · copy: "), "{heard}");
    wait_until_copied(&project, "copy/copy.txt", "second");
    watched.end();
    assert_eq!(runs(&project), 2);
}

#[test]
fn nothing_that_kiln_writes_counts() {
    let pipeline = LIST.replace("in/**", "**");
    let project = project(&pipeline);
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("done in");
    for round in 0..5 {
        // The next word about a change is about this file and no other.
        project.file("in/a.txt", format!("round {round}"));
        let heard = watched.says("done in");
        assert_eq!(heard.matches('↻').count(), 1, "{heard}");
        assert!(heard.contains("↻ in/a.txt ·"), "{heard}");
        // It reads what it made before, and that is its own affair.
        let made = project.result("list/list.txt");
        assert!(made.starts_with(&format!("round {round}\n")), "{made}");
    }
    watched.end();
    assert_eq!(runs(&project), 6);
}

#[cfg(unix)]
#[test]
fn links_count_and_what_they_lead_to_and_folders_on_the_way() {
    use std::os::unix::fs::symlink;
    let project = Project::of(&[
        ("p.yaml", COPY),
        ("kiln.yaml", ""),
        ("v1/a.txt", "one"),
        ("v2/a.txt", "two"),
        ("store/b.txt", "three"),
    ]);
    let at = |name: &str| project.path().join(name);
    let relink = |target: &str, name: &str| {
        symlink(target, at("fresh")).unwrap();
        fs::rename(at("fresh"), at(name)).unwrap();
    };
    let is = |text: &str| wait_until_copied(&project, "copy/copy.txt", text);
    relink("v1", "in");
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("done in");
    is("one");
    relink("v2", "in");
    is("two");
    truncated(&at("v2/a.txt"), "written behind the link");
    is("written behind the link");
    relink("../store/b.txt", "v2/a.txt");
    is("three");
    renamed(&at("store/b.txt"), "renamed behind two links");
    is("renamed behind two links");
    // The same content elsewhere is no change, but from now on that is what counts.
    fs::write(at("store/c.txt"), "renamed behind two links").unwrap();
    relink("../store/c.txt", "v2/a.txt");
    std::thread::sleep(std::time::Duration::from_millis(300));
    truncated(&at("store/c.txt"), "the other one");
    is("the other one");
    fs::rename(at("store"), at("elsewhere")).unwrap();
    watched.says("could not read");
    fs::create_dir(at("store")).unwrap();
    fs::write(at("store/c.txt"), "a new folder").unwrap();
    is("a new folder");
    fs::remove_file(at("in")).unwrap();
    fs::create_dir(at("in")).unwrap();
    fs::write(at("in/a.txt"), "no link any more").unwrap();
    is("no link any more");
    fs::remove_dir_all(at("in")).unwrap();
    watched.says("could not read");
    fs::create_dir(at("in")).unwrap();
    fs::write(at("in/a.txt"), "back again").unwrap();
    is("back again");
}

fn new_folders(args: &[&str]) {
    let project = project(LIST);
    let mut watched = Watched::start(&project, args);
    watched.says("done in");
    let is = |text: &str| wait_until_copied(&project, "list/list.txt", text);
    is("first");
    project.file("in/new/deep/b.txt", "second");
    is("first\nsecond");
    project.file("in/new/deep/b.txt", "changed");
    is("first\nchanged");
    project.file("in/new/c.txt", "third");
    is("first\nthird\nchanged");
    fs::rename(
        project.path().join("in/new"),
        project.path().join("in/other"),
    )
    .unwrap();
    project.file("in/other/c.txt", "moved");
    is("first\nmoved\nchanged");
    fs::remove_dir_all(project.path().join("in/other")).unwrap();
    is("first");
}

#[test]
fn files_in_new_folders_count_where_a_pattern_matches_them() {
    new_folders(&["p.yaml"]);
}

#[test]
fn files_in_new_folders_count_where_only_looking_helps() {
    new_folders(&["p.yaml", "--poll"]);
}

#[test]
fn everything_that_a_plan_reads_is_watched() {
    let project = Project::of(&[
        ("kiln.yaml", "dotenv: true\noutput_dir: outputs\n"),
        (".env", "WORD=one\n"),
        ("values.yaml", "said: two\n"),
        ("more.txt", "three"),
        (
            "p.yaml",
            r#"params:
  said: { type: string, default: none }
steps:
  say:
    command: [sh, -c, "echo $1 $2 $3 $4 > out.txt", sh, "{{ env('WORD') }}", "{{ params.said }}", "{{ read_text('more.txt') }}", "{{ exists('flag') }}"]
    outputs: { text: out.txt }
    save_as: say
"#,
        ),
    ]);
    let is = |folder: &str, text: &str| {
        let path = project.path().join(folder).join("p/latest/say/say.txt");
        wait_for(&format!("{text:?} in {folder}"), || {
            let found = fs::read_to_string(&path).ok()?;
            (found.trim() == text).then_some(())
        });
    };
    let mut watched = Watched::start(&project, &["p.yaml", "--params", "values.yaml"]);
    watched.says("done in");
    is("outputs", "one two three false");
    project.file(".env", "WORD=1\n");
    is("outputs", "1 two three false");
    project.file("values.yaml", "said: II\n");
    is("outputs", "1 II three false");
    project.file("more.txt", "3");
    is("outputs", "1 II 3 false");
    project.file("flag", "");
    is("outputs", "1 II 3 true");
    project.file("kiln.yaml", "dotenv: true\noutput_dir: elsewhere\n");
    is("elsewhere", "1 II 3 true");
    fs::remove_file(project.path().join("flag")).unwrap();
    is("elsewhere", "1 II 3 false");
}

#[test]
fn a_project_file_that_appears_counts() {
    let project = Project::of(&[("deep/p.yaml", COPY), ("deep/in/a.txt", "first")]);
    let mut watched = Watched::start(&project, &["deep/p.yaml"]);
    watched.says("done in");
    project.file("kiln.yaml", "output_dir: results\n");
    wait_for("results in the project's folder", || {
        let path = project.path().join("results/p/latest/copy/copy.txt");
        path.exists().then_some(())
    });
}

#[test]
fn an_invalid_file_is_told_and_runs_nothing_until_it_is_valid_again() {
    let project = project(COPY);
    let mut watched = Watched::start(&project, &["p.yaml"]);
    watched.says("done in");
    project.file("p.yaml", COPY.replace("outputs:", "outptus:"));
    let heard = watched.says("nothing runs until");
    assert!(
        heard.contains("error[K0101]") && heard.contains("did you mean `outputs`"),
        "{heard}"
    );
    assert!(heard.contains("--> p.yaml:4:5"), "{heard}");
    // Also what only the plan that was wrong read.
    project.file("in/a.txt", "second");
    project.file("p.yaml", COPY);
    wait_until_copied(&project, "copy/copy.txt", "second");
    fs::remove_file(project.path().join("in/a.txt")).unwrap();
    let heard = watched.says("nothing runs until");
    assert!(heard.contains("there is no such file"), "{heard}");
    fs::remove_file(project.path().join("p.yaml")).unwrap();
    watched.says("nothing runs until");
    project.file("in/a.txt", "third");
    project.file("p.yaml", COPY);
    wait_until_copied(&project, "copy/copy.txt", "third");
    assert_eq!(watched.end(), 130);
}

#[test]
fn a_program_that_fails_and_touches_what_it_read_is_not_run_again_for_ever() {
    let project = Project::of(&[
        (
            "p.yaml",
            "steps:\n  say: { command: [sh, -c, \"touch $1; echo $RANDOM >> $HOME/ran.txt; exit 1\", sh, \"{{ file('in/a.txt') }}\"] }\n",
        ),
        ("in/a.txt", "first"),
        ("kiln.yaml", ""),
    ]);
    let mut command = project.command(&["watch", "p.yaml"]);
    command.env("HOME", project.path());
    let mut watched = Watched::prepared(command);
    let ran = || {
        fs::read_to_string(project.path().join("ran.txt"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    watched.says("failed in");
    watched.says("failed in");
    std::thread::sleep(std::time::Duration::from_millis(800));
    assert_eq!(
        ran(),
        2,
        "once more, in case the file was in the middle of being saved"
    );
    project.file("in/a.txt", "second");
    watched.says("↻ in/a.txt");
    watched.says("failed in");
    watched.says("failed in");
    std::thread::sleep(std::time::Duration::from_millis(800));
    assert_eq!(ran(), 4);
}
