//! From a file to the text of a workflow, whatever carries it.

use std::io::Cursor;
use std::path::Path;

use super::media::{self, Kind, MediaError};
use crate::base::{Inputs, ReadError};
use crate::diagnostic::{Diagnostic, codes};
use crate::protocol::{quoted_nan, without_nan};

/// More than this is not taken from stdin.
const MOST_STDIN: u64 = 256 << 20;

/// A file that should hold a workflow, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The text: JSON, if it is a workflow at all.
    pub text: String,
    /// What the workflow was found in; [`Kind::Json`] or [`Kind::Text`] for a file of its own.
    pub kind: Kind,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be opened.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// stdin cannot be read.
    #[error("could not read stdin: {0}")]
    Stdin(String),
    /// There is no workflow in it.
    #[error("`{name}` {source}")]
    Media {
        /// The file, for people.
        name: String,
        /// Why.
        source: MediaError,
    },
}

impl LoadError {
    /// The same for people.
    pub fn diagnostic(&self) -> Diagnostic {
        let unreadable = || Diagnostic::error(&codes::FILE_NOT_READABLE, self.to_string());
        let Self::Media { source, .. } = self else {
            return unreadable();
        };
        let none = || Diagnostic::error(&codes::NO_WORKFLOW, self.to_string());
        match source {
            MediaError::NotText => unreadable().help("save it as UTF-8"),
            MediaError::Io(_) | MediaError::TooLong(_) => unreadable(),
            MediaError::Unknown => none().help(
                "kiln reads workflows from JSON, PNG, WebP, AVIF, JPEG, MP4, MOV, WebM, MKV, FLAC, Ogg, MP3, GLB, SVG and safetensors",
            ),
            MediaError::Damaged(..) => none().help("take the file as ComfyUI wrote it"),
            MediaError::Nothing(_) => none().help(
                "programs that edit, convert or upload files often drop what ComfyUI wrote into them; take the file as ComfyUI wrote it, or the workflow itself",
            ),
            MediaError::OtherProgram(_) => none().help(
                "it was drawn by another program, whose settings are no graph; build the workflow in ComfyUI",
            ),
        }
    }
}

/// Reads a workflow from a file.
///
/// # Errors
/// When the file cannot be read, or carries none.
pub fn load(path: &Path, inputs: &Inputs) -> Result<Loaded, LoadError> {
    let mut file = inputs.open(path)?;
    let name = crate::base::display_path(path);
    taken(media::read(&mut file), name)
}

/// Reads a workflow from stdin.
///
/// # Errors
/// When stdin cannot be read, or carries none.
pub fn load_stdin(inputs: &Inputs) -> Result<Loaded, LoadError> {
    let bytes = inputs
        .read_stdin_bytes(MOST_STDIN)
        .map_err(LoadError::Stdin)?;
    taken(media::read(&mut Cursor::new(bytes)), "<stdin>".to_owned())
}

fn taken(carried: Result<media::Carried, MediaError>, name: String) -> Result<Loaded, LoadError> {
    let carried = carried.map_err(|source| LoadError::Media { name, source })?;
    let kind = carried.kind;
    // What ran is what is wanted; what was drawn has to do where that is not there, or no graph.
    let ran = carried.prompt.map(|text| quoted_nan(&text).into_owned());
    let drawn = carried.workflow.map(|text| match kind {
        Kind::Json | Kind::Text => text,
        _ => without_nan(&text).into_owned(),
    });
    let is_graph = |text: &String| super::parse(text).is_ok();
    let text = match (ran, drawn) {
        (Some(ran), None) => ran,
        (Some(ran), Some(_)) if is_graph(&ran) => ran,
        (_, drawn) => drawn.unwrap_or_default(),
    };
    Ok(Loaded { text, kind })
}
