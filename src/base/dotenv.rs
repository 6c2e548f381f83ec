//! `.env` files: variables for `env()` and `secret()` that the process environment never sees.
//!
//! The syntax is that of the `dotenvy` crate: `NAME=value`, quotes, `export`, comments, `${OTHER}`. A line that is wrong is told by its
//! number and never shown, since it may hold a secret.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use super::inputs::ReadError;
use super::path::display_path;

/// A `.env` file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DotenvError {
    /// It could not be read.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// A line is no assignment.
    #[error("line {line} of `{}` is no `NAME=value`", display_path(path))]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
    },
}

/// The variables of a `.env` file's text; of equal names the first counts, as in a shell that does not export twice.
///
/// # Errors
/// When a line cannot be understood.
pub(super) fn parse(path: &Path, text: &str) -> Result<IndexMap<String, String>, DotenvError> {
    let mut variables = IndexMap::new();
    for variable in dotenvy::Iter::new(text.as_bytes()) {
        let (name, value) = variable.map_err(|error| {
            let wrong = match error {
                dotenvy::Error::LineParse(wrong, _) => wrong,
                _ => String::new(),
            };
            // What is wrong may go over several lines (an open quote): where it begins is what counts.
            let first = wrong.lines().next().unwrap_or_default();
            let at = text.lines().position(|line| line.trim() == first.trim());
            DotenvError::Line {
                path: path.to_path_buf(),
                line: at.map_or(1, |at| at + 1),
            }
        })?;
        variables.entry(name).or_insert(value);
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, String> {
        parse(Path::new("/p/.env"), text)
            .map(|variables| variables.into_iter().collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn assignments_quotes_comments_and_exports_are_read() {
        let variables = read(
            "# a note\n\nA=1 # why\nexport B=\"two words\\n\"\nC='$A raw'\r\nD=${A}2\nE=\nF=\"a\nb\"\nA=9\n",
        )
        .unwrap();
        let expected = [
            ("A", "1"),
            ("B", "two words\n"),
            ("C", "$A raw"),
            ("D", "12"),
            ("E", ""),
            ("F", "a\nb"),
        ];
        assert_eq!(
            variables,
            expected.map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
    }

    #[test]
    fn a_wrong_line_is_told_by_its_number_and_not_shown() {
        for (text, line) in [
            ("A=1\nhunter2\n", 2),
            ("A=1\n\nB='hunter2", 3),
            ("A='hunter2\nB=2\n", 1),
            ("A=x hunter2\n", 1),
        ] {
            let error = read(text).expect_err(text);
            assert!(
                error.contains(&format!("line {line} of")),
                "{text:?}: {error}"
            );
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
