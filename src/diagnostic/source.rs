//! Files as they were read, and places in them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::base::{ContentHash, display_path};

/// A file of a [`SourceMap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileId(pub u32);

/// A range of bytes in a file. Empty spans point between two characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// A span of a file.
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        Self { file, start, end }
    }
}

/// Where a value in a graph came from: the line a complaint about it must point at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Written in a pipeline (or on the command line, whose text is a source file of its own).
    Written(Span),
    /// A place in a workflow file, as a JSON pointer (`/3/inputs/seed`); found by `workflow::locate` when it is needed.
    Json {
        /// The workflow file.
        file: FileId,
        /// The pointer.
        pointer: String,
    },
}

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceFile {
    /// How people are told of it: as they gave it, or relative to the current folder.
    pub name: String,
    /// The absolute path; `None` for text from the command line or stdin.
    pub path: Option<PathBuf>,
    /// Its whole text.
    pub text: Arc<str>,
    /// Where its lines are, once somebody asked.
    #[serde(skip)]
    lines: Lines,
}

impl SourceFile {
    /// Whether it is a flag of the command line.
    pub fn is_typed(&self) -> bool {
        self.path.is_none() && self.name.starts_with('-')
    }

    /// Hash of the text.
    pub fn hash(&self) -> ContentHash {
        ContentHash::of(self.text.as_bytes())
    }
}

/// A position counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineColumn {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// All files that diagnostics may point into.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SourceMap {
    files: Vec<SourceFile>,
}

impl SourceMap {
    /// Adds a file read from `path`; the same path twice gives the first id again when the text is the same.
    pub fn add_file(&mut self, path: &Path, text: &str) -> FileId {
        if let Some(at) = self
            .files
            .iter()
            .position(|f| f.path.as_deref() == Some(path) && &*f.text == text)
        {
            return id(at);
        }
        self.push(SourceFile {
            name: display_path(path),
            path: Some(path.to_path_buf()),
            text: text.into(),
            lines: Lines::default(),
        })
    }

    /// Adds text that is no file, e.g. a command-line argument under its flag's name.
    pub fn add_text(&mut self, name: &str, text: &str) -> FileId {
        self.push(SourceFile {
            name: name.to_owned(),
            path: None,
            text: text.into(),
            lines: Lines::default(),
        })
    }

    fn push(&mut self, file: SourceFile) -> FileId {
        self.files.push(file);
        id(self.files.len() - 1)
    }

    /// Puts stars in place of a value that nobody may see: where it stands, and wherever else the file says it. Nothing moves.
    pub fn hide(&mut self, span: Span, value: &str) {
        /// What is shorter is part of half of all words.
        const SHORTEST: usize = 4;
        let Some(file) = self.files.get_mut(span.file.0 as usize) else {
            return;
        };
        let mut text = file.text.to_string();
        if text.get(span.start..span.end).is_some() {
            text.replace_range(span.start..span.end, &"*".repeat(span.end - span.start));
        }
        if value.len() >= SHORTEST {
            text = text.replace(value, &"*".repeat(value.len()));
        }
        file.text = text.into();
        file.lines = Lines::default();
    }

    /// Whether a file has another text now; what nobody may see counts as the same.
    pub fn differs(file: &SourceFile, now: &str) -> bool {
        let same = |(then, now): (u8, u8)| then == now || then == b'*';
        file.text.len() != now.len() || !file.text.bytes().zip(now.bytes()).all(same)
    }

    /// The file of an id.
    ///
    /// # Panics
    /// When the id belongs to another map.
    pub fn file(&self, id: FileId) -> &SourceFile {
        &self.files[id.0 as usize]
    }

    /// All files with their ids.
    pub fn files(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        self.files
            .iter()
            .enumerate()
            .map(|(at, file)| (id(at), file))
    }

    /// Renames a file for people (tools want the name exactly as it was given).
    pub fn rename(&mut self, id: FileId, name: &str) {
        name.clone_into(&mut self.files[id.0 as usize].name);
    }

    /// The text a span covers; spans that miss a character boundary or the file's end are cut back.
    pub fn snippet(&self, span: Span) -> &str {
        let text = &self.file(span.file).text;
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        &text[start..end]
    }

    /// Line and column where a span starts.
    pub fn line_column(&self, span: Span) -> LineColumn {
        let file = self.file(span.file);
        file.lines.of(&file.text, floor(&file.text, span.start))
    }
}

/// How many bytes there are at most between two marks.
const APART: usize = 1024;

/// Marks in a text, each with its line and column: a file may be one line of megabytes and have thousands of mistakes, so neither lines
/// nor columns are counted from the start each time.
#[derive(Clone, Debug, Default)]
struct Lines(OnceLock<Arc<[Mark]>>);

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: usize,
    place: LineColumn,
}

/// They follow from the text.
impl PartialEq for Lines {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Lines {}

impl Lines {
    fn of(&self, text: &str, at: usize) -> LineColumn {
        let marks = self.0.get_or_init(|| marks(text).into());
        let after = marks.partition_point(|mark| mark.at <= at);
        let near = after.checked_sub(1).and_then(|before| marks.get(before));
        let (from, start) = near.map_or((0, START), |mark| (mark.at, mark.place));
        LineColumn {
            line: start.line,
            column: start.column + text[from..at].chars().count(),
        }
    }
}

/// Where every text begins.
const START: LineColumn = LineColumn { line: 1, column: 1 };

/// A mark at the start of each line, and more within long ones.
fn marks(text: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut start = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let (mut at, mut column) = (0, 1);
        while at < line.len() {
            let place = LineColumn {
                line: number + 1,
                column,
            };
            marks.push(Mark {
                at: start + at,
                place,
            });
            let next = floor(line, at + APART);
            column += line[at..next].chars().count();
            at = next;
        }
        start += line.len();
    }
    if text.ends_with('\n') {
        let line = text.matches('\n').count() + 1;
        marks.push(Mark {
            at: start,
            place: LineColumn { line, column: 1 },
        });
    }
    marks
}

fn id(at: usize) -> FileId {
    FileId(u32::try_from(at).unwrap_or(u32::MAX))
}

fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_not_bytes() {
        let mut map = SourceMap::default();
        let file = map.add_text("<test>", "a: 1\nüü: x\n");
        let at = map.file(file).text.find('x').unwrap();
        assert_eq!(
            map.line_column(Span::new(file, at, at + 1)),
            LineColumn { line: 2, column: 5 }
        );
        assert_eq!(map.snippet(Span::new(file, at, 999)), "x\n");
    }

    #[test]
    fn places_are_the_same_however_long_the_lines_are() {
        let line = "aüb🜂".repeat(700);
        for text in [
            String::new(),
            line.clone(),
            format!("{line}\n"),
            format!("\n\n{line}\r\n{line}\n\nx"),
        ] {
            let mut map = SourceMap::default();
            let file = map.add_text("<test>", &text);
            for at in (0..=text.len()).filter(|at| text.is_char_boundary(*at)) {
                let before = &text[..at];
                let counted = LineColumn {
                    line: before.matches('\n').count() + 1,
                    column: before.rsplit('\n').next().unwrap().chars().count() + 1,
                };
                let told = map.line_column(Span::new(file, at, at));
                assert_eq!(told, counted, "at {at}");
            }
        }
    }

    #[test]
    fn a_file_of_one_endless_line_is_counted_once() {
        let text = "ü".repeat(8 << 20);
        let mut map = SourceMap::default();
        let file = map.add_text("<test>", &text);
        // Counted from the start each time, this would be a hundred thousand times eight million characters.
        for n in 0..100_000 {
            let at = text.len() - 2 * (n + 1);
            let column = (8 << 20) - n;
            assert_eq!(
                map.line_column(Span::new(file, at, at)),
                LineColumn { line: 1, column }
            );
        }
    }
}
