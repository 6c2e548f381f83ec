//! Files as they were read, and places in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

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
        })
    }

    /// Adds text that is no file, e.g. a command-line argument under its flag's name.
    pub fn add_text(&mut self, name: &str, text: &str) -> FileId {
        self.push(SourceFile {
            name: name.to_owned(),
            path: None,
            text: text.into(),
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
        let text = &self.file(span.file).text;
        let before = &text[..floor(text, span.start)];
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        LineColumn {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
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
}
