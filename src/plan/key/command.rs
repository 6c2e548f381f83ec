//! The key of a command task.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use aho_corasick::{AhoCorasick, Input, MatchKind};
use indexmap::IndexMap;

use super::canonical;
use super::facts::Realm;
use super::manifest::{HashSink, KeepSink, Manifest, Sink, Tag};
use super::workflow::params;
use crate::base::ContentHash;
use crate::plan::{Plan, RenderedCommand};

/// Rises when kiln runs commands in another way, so that earlier results no longer stand for new ones.
const KIND: &[u8] = b"command 1";

/// Paths up to this number are looked for one by one.
const FEW: usize = 8;

/// The program of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program<'a> {
    /// Found in `PATH`: its name.
    Named(&'a str),
    /// A file of the project's: its content.
    File(ContentHash),
}

/// Everything that a command is given.
#[derive(Clone, Copy, Debug)]
pub struct CommandInputs<'a> {
    /// What runs.
    pub program: Program<'a>,
    /// Its arguments, without the program itself; files as absolute paths.
    pub args: &'a [String],
    /// Its own variables, without `PATH`, `HOME` and `TMPDIR`.
    pub env: &'a IndexMap<String, String>,
    /// What it reads.
    pub stdin: Option<&'a str>,
    /// Output name → pattern.
    pub collect: &'a IndexMap<String, String>,
    /// Each file whose path stands in an argument, a variable or stdin, with its content.
    pub files: &'a [(PathBuf, ContentHash)],
}

impl<'a> CommandInputs<'a> {
    /// Those of a rendered command.
    pub fn of(command: &'a RenderedCommand, collect: &'a IndexMap<String, String>) -> Self {
        let content = command
            .files
            .iter()
            .find(|(path, _)| *path == command.program);
        Self {
            program: match content {
                Some((_, hash)) => Program::File(*hash),
                // A bare name was text in the pipeline.
                None => Program::Named(command.program.to_str().unwrap_or_default()),
            },
            args: &command.args,
            env: &command.env,
            stdin: command.stdin.as_deref(),
            collect,
            files: &command.files,
        }
    }
}

/// The key of a command task; `None` for one without declared outputs, which always runs.
pub fn of_command(command: &CommandInputs<'_>) -> Option<ContentHash> {
    if command.collect.is_empty() {
        return None;
    }
    Some(hash(command))
}

/// Everything that is in a command task's key.
pub fn command_manifest(plan: &Plan, command: &CommandInputs<'_>) -> Manifest {
    manifest(command, params(plan))
}

pub(super) fn manifest(command: &CommandInputs<'_>, params: BTreeMap<String, String>) -> Manifest {
    let mut sink = KeepSink::new(hash(command), params);
    write(&mut sink, command);
    sink.finish()
}

pub(super) fn hash(command: &CommandInputs<'_>) -> ContentHash {
    let mut sink = HashSink::new(None);
    write(&mut sink, command);
    sink.finish()
}

fn write(sink: &mut impl Sink, command: &CommandInputs<'_>) {
    sink.entry(Tag::Kind, &[], KIND);
    sink.entry(Tag::Realm, &[], Realm::Here.name().as_bytes());
    match command.program {
        Program::Named(name) => sink.entry(Tag::Program, &["name"], name.as_bytes()),
        Program::File(hash) => sink.entry(Tag::Program, &["file"], hash.to_hex().as_bytes()),
    }
    let known = Paths::of(command.files);
    let mut scratch = Vec::new();
    for (at, arg) in command.args.iter().enumerate() {
        known.write(arg, &mut scratch);
        sink.entry(Tag::Argument, &[&(at + 1).to_string()], &scratch);
    }
    let mut env: Vec<(&String, &String)> = command.env.iter().collect();
    env.sort_unstable();
    for (name, value) in env {
        known.write(value, &mut scratch);
        sink.entry(Tag::Environment, &[name], &scratch);
    }
    if let Some(stdin) = command.stdin {
        known.write(stdin, &mut scratch);
        sink.entry(Tag::Stdin, &[], &scratch);
    }
    let mut collect: Vec<(&String, &String)> = command.collect.iter().collect();
    collect.sort_unstable();
    for (name, pattern) in collect {
        sink.entry(Tag::Collect, &[name], pattern.as_bytes());
    }
    for (path, hash) in command.files {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        sink.file(hash, &name);
    }
}

/// A part of a text in which paths of files may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'t> {
    /// What is between them.
    Text(&'t str),
    /// The path of the file with this index.
    File(usize, &'t str),
}

/// Finds the paths of files in texts: the first, and of those that begin at the same place, the longest, so that `a.png.txt` is not
/// taken for `a.png` and more. A command may be given thousands of files.
#[derive(Debug)]
pub struct Paths<'a> {
    files: &'a [(PathBuf, ContentHash)],
    /// The paths as text, each with the index of its file; none is empty.
    texts: Vec<(Cow<'a, str>, usize)>,
    /// Finds them all at once; `None` where there are so few that making it would take longer.
    finder: Option<AhoCorasick>,
}

impl<'a> Paths<'a> {
    /// The paths of these files.
    pub fn of(files: &'a [(PathBuf, ContentHash)]) -> Self {
        let texts = files.iter().map(|(path, _)| path.to_string_lossy());
        let texts: Vec<(Cow<'_, str>, usize)> = texts
            .zip(0..)
            .filter(|(text, _)| !text.is_empty())
            .collect();
        let finder = (texts.len() > FEW).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(texts.iter().map(|(text, _)| text.as_bytes()))
        });
        Self {
            files,
            finder: finder.and_then(Result::ok),
            texts,
        }
    }

    /// The first path in a text from a place on: where it stands, and which it is.
    fn next(&self, text: &str, from: usize) -> Option<(Range<usize>, usize)> {
        if let Some(finder) = &self.finder {
            let found = finder.find(Input::new(text).range(from..))?;
            return Some((found.range(), self.texts[found.pattern().as_usize()].1));
        }
        let found = self.texts.iter().filter_map(|(path, file)| {
            let at = from + text[from..].find(&**path)?;
            Some((at..at + path.len(), *file))
        });
        found.min_by_key(|(range, _)| (range.start, Reverse(range.end)))
    }

    /// A text as paths and what is between them. Texts come before, between and after paths, and may be empty.
    pub fn split<'t>(&self, text: &'t str) -> Vec<Part<'t>> {
        let mut parts = Vec::new();
        let mut rest = 0;
        while let Some((range, file)) = self.next(text, rest) {
            parts.push(Part::Text(&text[rest..range.start]));
            rest = range.end;
            parts.push(Part::File(file, &text[range]));
        }
        parts.push(Part::Text(&text[rest..]));
        parts
    }

    /// A text with the names of files in the place of their paths on this machine.
    pub fn of_here(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for part in self.split(text) {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::File(at, _) => {
                    let name = self.files[at].0.file_name().unwrap_or_default();
                    out.push_str(&name.to_string_lossy());
                }
            }
        }
        out
    }

    /// A text as a JSON string; or, when paths stand in it, as a list of texts and `{"file": content}`. The extension stays, since
    /// programs go by it.
    fn write(&self, text: &str, out: &mut Vec<u8>) {
        out.clear();
        let parts = self.split(text);
        if let [Part::Text(text)] = parts[..] {
            return canonical::string(text, out);
        }
        for (nth, part) in parts.into_iter().enumerate() {
            out.push(if nth == 0 { b'[' } else { b',' });
            match part {
                Part::Text(text) => canonical::string(text, out),
                Part::File(at, _) => {
                    let (path, hash) = &self.files[at];
                    let extension = path.extension().unwrap_or_default().to_string_lossy();
                    out.extend_from_slice(b"{\"file\":");
                    canonical::string(&format!("{hash}.{}", extension.to_ascii_lowercase()), out);
                    out.push(b'}');
                }
            }
        }
        out.push(b']');
    }
}
