//! The key of a command task.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::canonical;
use super::facts::Realm;
use super::manifest::{HashSink, KeepSink, Manifest, Sink, Tag};
use super::workflow::params;
use crate::base::ContentHash;
use crate::plan::{Plan, RenderedCommand};

/// Rises when kiln runs commands in another way, so that earlier results no longer stand for new ones.
const KIND: &[u8] = b"command 1";

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
    let known = Known::new(command.files);
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

/// A text with the names of files in the place of their paths on this machine.
pub fn of_here(text: &str, files: &[(PathBuf, ContentHash)]) -> String {
    let known = Known::new(files);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, (path, file, _))) = known.next(rest) {
        out.push_str(&rest[..at]);
        out.push_str(&file.file_name().unwrap_or_default().to_string_lossy());
        rest = &rest[at + path.len()..];
    }
    out + rest
}

/// Files by their paths, the longest first, so that `a.png.txt` is not taken for `a.png` and more.
struct Known<'a>(Vec<(String, &'a Path, ContentHash)>);

impl<'a> Known<'a> {
    fn new(files: &'a [(PathBuf, ContentHash)]) -> Self {
        let mut known: Vec<(String, &Path, ContentHash)> = files
            .iter()
            .map(|(path, hash)| (path.to_string_lossy().into_owned(), path.as_path(), *hash))
            .filter(|(text, ..)| !text.is_empty())
            .collect();
        known.sort_unstable_by_key(|(text, ..)| std::cmp::Reverse(text.len()));
        Self(known)
    }

    /// A text as a JSON string; or, when paths stand in it, as a list of texts and `{"file": content}`. The extension stays, since
    /// programs go by it.
    fn write(&self, text: &str, out: &mut Vec<u8>) {
        out.clear();
        let mut rest = text;
        let mut parts = 0;
        while let Some((at, found)) = self.next(rest) {
            let (path, file, hash) = found;
            out.push(if parts == 0 { b'[' } else { b',' });
            parts += 1;
            canonical::string(&rest[..at], out);
            let extension = file.extension().unwrap_or_default().to_string_lossy();
            out.extend_from_slice(b",{\"file\":");
            canonical::string(&format!("{hash}.{}", extension.to_ascii_lowercase()), out);
            out.push(b'}');
            rest = &rest[at + path.len()..];
        }
        if parts == 0 {
            canonical::string(text, out);
        } else {
            out.push(b',');
            canonical::string(rest, out);
            out.push(b']');
        }
    }

    /// The first path in a text; of those that begin at the same place, the longest.
    fn next(&self, text: &str) -> Option<(usize, &(String, &'a Path, ContentHash))> {
        self.0
            .iter()
            .filter_map(|known| Some((text.find(&known.0)?, known)))
            .min_by_key(|(at, known)| (*at, std::cmp::Reverse(known.0.len())))
    }
}
