//! What changes the key of a command, and what is said of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indexmap::IndexMap;

use super::command::{self, CommandInputs, Part, Paths, Program, of_command};
use super::manifest::Tag;
use super::stale::explain;
use super::tests::texts;
use crate::base::ContentHash;

/// A command, owned.
#[derive(Clone, Debug)]
struct Call {
    program: &'static str,
    args: Vec<String>,
    env: IndexMap<String, String>,
    stdin: Option<String>,
    collect: IndexMap<String, String>,
    files: Vec<(PathBuf, ContentHash)>,
}

impl Call {
    fn inputs(&self) -> CommandInputs<'_> {
        CommandInputs {
            program: Program::Named(self.program),
            args: &self.args,
            env: &self.env,
            stdin: self.stdin.as_deref(),
            collect: &self.collect,
            files: &self.files,
        }
    }

    fn key(&self) -> ContentHash {
        of_command(&self.inputs()).unwrap()
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

fn call() -> Call {
    let of = |name: &str, value: &str| IndexMap::from([(name.to_owned(), value.to_owned())]);
    Call {
        program: "ffmpeg",
        args: vec!["-i=/out/run-1/a.png".to_owned(), "film.mp4".to_owned()],
        env: of("LEVEL", "1"),
        stdin: Some("lines of /out/run-1/a.png".to_owned()),
        collect: of("film", "*.mp4"),
        files: vec![(
            PathBuf::from("/out/run-1/a.png"),
            ContentHash::of(b"pixels"),
        )],
    }
}

#[test]
fn each_change_of_a_command_is_told() {
    let manifest = |call: &Call| command::manifest(&call.inputs(), BTreeMap::new());
    let cases: Vec<(&str, Call)> = vec![
        (
            "program ffmpeg → avconv",
            call().with(|c| c.program = "avconv"),
        ),
        (
            "argument 2 film.mp4 → film.webm",
            call().with(|c| c.args[1] = "film.webm".to_owned()),
        ),
        (
            "argument 3 = -y is new",
            call().with(|c| c.args.push("-y".to_owned())),
        ),
        (
            "argument 2 (was film.mp4) is gone",
            call().with(|c| {
                c.args.pop();
            }),
        ),
        (
            "variable LEVEL 1 → 2",
            call().with(|c| c.env["LEVEL"] = "2".to_owned()),
        ),
        (
            "stdin (was lines of a.png (de6a7900)) is gone",
            call().with(|c| c.stdin = None),
        ),
        (
            "pattern of output film *.mp4 → *.*",
            call().with(|c| c.collect["film"] = "*.*".to_owned()),
        ),
    ];
    for (text, changed) in cases {
        assert_ne!(changed.key(), call().key(), "{text}");
        assert_eq!(
            texts(&explain(&manifest(&call()), &manifest(&changed))),
            [text]
        );
    }
    let content = call().with(|c| c.files[0].1 = ContentHash::of(b"new pixels"));
    assert_eq!(
        texts(&explain(&manifest(&call()), &manifest(&content)))[0],
        "argument 1 -i=a.png (de6a7900) → -i=a.png (681b08f7)"
    );
}

#[test]
fn files_of_a_command_count_by_content_wherever_they_lie() {
    let moved = call().with(|c| {
        c.args[0] = "-i=/out/run-2/b.png".to_owned();
        c.stdin = Some("lines of /out/run-2/b.png".to_owned());
        c.files[0].0 = PathBuf::from("/out/run-2/b.png");
    });
    assert_eq!(moved.key(), call().key());
    let other_kind = call().with(|c| {
        c.args[0] = "-i=/out/run-1/a.jpg".to_owned();
        c.files.push((
            PathBuf::from("/out/run-1/a.jpg"),
            ContentHash::of(b"pixels"),
        ));
    });
    assert_ne!(
        other_kind.key(),
        call().key(),
        "programs go by the extension"
    );
    let longer = call().with(|c| {
        c.args[0] = "-i=/out/run-1/a.png.txt".to_owned();
        c.files.push((
            PathBuf::from("/out/run-1/a.png.txt"),
            ContentHash::of(b"text"),
        ));
    });
    let manifest = command::manifest(&longer.inputs(), BTreeMap::new());
    let argument = manifest
        .entries
        .iter()
        .find(|e| e.0 == Tag::Argument)
        .unwrap();
    assert!(
        argument.2.contains(&ContentHash::of(b"text").to_hex()),
        "{argument:?}"
    );
    assert_eq!(
        Paths::of(&longer.files).of_here("-i=/out/run-1/a.png.txt"),
        "-i=a.png.txt"
    );
}

#[test]
fn paths_are_found_in_the_same_way_among_few_files_and_among_thousands() {
    let hash = ContentHash::of(b"x");
    let few = ["/o/a.png", "/o/a.png.txt", "/o/é.png", ""];
    let few: Vec<_> = few.map(|path| (PathBuf::from(path), hash)).to_vec();
    let more = (0..5000).map(|n| (PathBuf::from(format!("/more/{n}.png")), hash));
    let many: Vec<_> = few.iter().cloned().chain(more).collect();
    let (few, many) = (Paths::of(&few), Paths::of(&many));
    for (text, parts) in [
        ("", vec![Part::Text("")]),
        ("plain", vec![Part::Text("plain")]),
        (
            "/o/a.png.txt,/o/é.png",
            vec![
                Part::Text(""),
                Part::File(1, "/o/a.png.txt"),
                Part::Text(","),
                Part::File(2, "/o/é.png"),
                Part::Text(""),
            ],
        ),
        (
            "ü/o/a.png/o/a.pngx",
            vec![
                Part::Text("ü"),
                Part::File(0, "/o/a.png"),
                Part::Text(""),
                Part::File(0, "/o/a.png"),
                Part::Text("x"),
            ],
        ),
    ] {
        assert_eq!(few.split(text), parts, "{text}");
        assert_eq!(many.split(text), parts, "{text}");
    }
    assert_eq!(many.of_here("-i /more/4999.png"), "-i 4999.png");
}

#[test]
fn an_argument_that_looks_like_a_files_entry_is_not_one() {
    let hash = ContentHash::of(b"pixels");
    let posing = call().with(|c| {
        c.args[0] = format!("[\"-i=\",{{\"file\":\"{hash}.png\"}},\"\"]");
    });
    assert_ne!(posing.key(), call().key());
}

#[test]
fn a_command_without_outputs_has_no_key() {
    let none = call().with(|c| c.collect.clear());
    assert_eq!(of_command(&none.inputs()), None);
    assert!(of_command(&call().inputs()).is_some());
}
