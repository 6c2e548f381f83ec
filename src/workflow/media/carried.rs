//! What a file carries, whatever its kind.

use std::collections::HashMap;
use std::io::{self, Read, Seek};

use serde_json::value::RawValue;

use super::kind::Kind;
use super::source::{MOST, Source};
use super::{audio, boxes, json, matroska, picture, text};

/// Strings inside of strings are unpacked so often.
const NESTED: usize = 4;

/// Bytes that texts may cost in all, unpacked and kept: a small file can hold the same thirty megabytes a thousand times.
const MOST_SPENT: u64 = 4 * MOST;

/// Texts under their names, as they were found.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) all: Vec<(String, String)>,
    spent: u64,
}

impl Texts {
    /// Notes a text. Names count in any case.
    pub(super) fn add(&mut self, name: &str, text: &str) {
        let text = text.trim_matches(['\0', ' ', '\n', '\r', '\t']);
        if !text.is_empty() && self.all.len() < 1000 && self.spend(text.len()) {
            let name = name.trim().to_ascii_lowercase();
            self.all.push((name, text.to_owned()));
        }
    }

    /// Notes bytes that should be a text.
    pub(super) fn add_bytes(&mut self, name: &str, bytes: &[u8]) {
        if bytes.len() as u64 <= self.left() {
            self.add(name, &String::from_utf8_lossy(bytes));
        }
    }

    /// How many bytes may still be spent.
    pub(super) fn left(&self) -> u64 {
        MOST_SPENT - self.spent
    }

    /// Takes note of bytes that were made; whether there was room for them.
    pub(super) fn spend(&mut self, bytes: usize) -> bool {
        let fits = bytes as u64 <= self.left();
        self.spent = MOST_SPENT.min(self.spent.saturating_add(bytes as u64));
        fits
    }
}

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carried {
    /// What the file is.
    pub kind: Kind,
    /// What ran: a graph in API format.
    pub prompt: Option<String>,
    /// What was drawn: in the editor's format.
    pub workflow: Option<String>,
}

/// Why a file gives no workflow.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// It cannot be read.
    #[error("could not be read: {0}")]
    Io(#[from] io::Error),
    /// It is none of the kinds that can hold a workflow.
    #[error("is neither a workflow nor a file that can carry one")]
    Unknown,
    /// The text is too long.
    #[error("holds {} MB of text, and a workflow has at most {} MB", .0 >> 20, MOST >> 20)]
    TooLong(u64),
    /// The text is in no encoding that kiln knows.
    #[error("is neither UTF-8 nor UTF-16 text")]
    NotText,
    /// Its structure makes no sense.
    #[error("is {0}, but damaged: {1}")]
    Damaged(Kind, &'static str),
    /// It carries nothing.
    #[error("is {0} without a workflow")]
    Nothing(Kind),
    /// It carries what another program needs to draw it.
    #[error("is {0} with the settings of another program, and no workflow")]
    OtherProgram(Kind),
}

/// Finds the workflow in a file.
///
/// # Errors
/// When there is none, or the file cannot be read.
pub fn read(file: &mut (impl Read + Seek)) -> Result<Carried, MediaError> {
    let mut source = Source::new(file)?;
    let kind = Kind::of(&source.head(64)?);
    let mut texts = Texts::default();
    let looked = match kind {
        Kind::Json | Kind::Text => {
            let text = text::whole(&mut source)?;
            return Ok(Carried {
                kind,
                prompt: None,
                workflow: Some(text),
            });
        }
        Kind::Other => return Err(MediaError::Unknown),
        Kind::Svg => {
            text::svg(&text::whole(&mut source)?, &mut texts);
            Ok(())
        }
        Kind::Png => picture::png(&mut source, &mut texts),
        Kind::Webp => picture::webp(&mut source, &mut texts),
        Kind::Jpeg => picture::jpeg(&mut source, &mut texts),
        Kind::Avif => boxes::avif(&mut source, &mut texts),
        Kind::Mp4 => boxes::mp4(&mut source, &mut texts),
        Kind::Matroska => matroska::tags(&mut source, &mut texts),
        Kind::Flac => audio::flac(&mut source, 0, &mut texts),
        Kind::Ogg => audio::ogg(&mut source, &mut texts),
        Kind::Mp3 => audio::mp3(&mut source, &mut texts),
        Kind::Glb => json::glb(&mut source, &mut texts),
        Kind::Safetensors => json::safetensors(&mut source, &mut texts),
    };
    let carried = chosen(kind, &texts);
    if carried.prompt.is_some() || carried.workflow.is_some() {
        return Ok(carried);
    }
    match looked {
        Ok(()) if texts.all.iter().any(|(name, _)| name == "parameters") => {
            Err(MediaError::OtherProgram(kind))
        }
        Ok(()) => Err(MediaError::Nothing(kind)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(MediaError::Damaged(kind, "it ends too early"))
        }
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Err(MediaError::Damaged(kind, "a part of it is too long"))
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(MediaError::Damaged(kind, "its structure makes no sense"))
        }
        Err(error) => Err(MediaError::Io(error)),
    }
}

/// The texts that matter, strings inside of strings unpacked.
fn chosen(kind: Kind, texts: &Texts) -> Carried {
    let mut carried = Carried {
        kind,
        prompt: None,
        workflow: None,
    };
    for (name, text) in &texts.all {
        // Some writers put the name in front of the text, and some put both texts into one.
        let (name, text) = match text.split_once(':') {
            Some((front, rest)) if is_name(front) => (front.to_ascii_lowercase(), rest),
            _ => (name.clone(), text.as_str()),
        };
        match name.as_str() {
            "prompt" => carried.prompt = carried.prompt.take().or_else(|| unpacked(text)),
            "workflow" => carried.workflow = carried.workflow.take().or_else(|| unpacked(text)),
            "parameters" => {}
            _ => both(text, &mut carried),
        }
    }
    carried
}

fn is_name(text: &str) -> bool {
    ["prompt", "workflow"]
        .iter()
        .any(|name| text.trim().eq_ignore_ascii_case(name))
}

/// An object in a text, however often it was written as a string.
fn unpacked(text: &str) -> Option<String> {
    let mut text = text.trim().to_owned();
    for _ in 0..NESTED {
        if text.starts_with('{') {
            return Some(text);
        }
        let inner: String = serde_json::from_str(&text).ok()?;
        inner.trim().clone_into(&mut text);
    }
    None
}

/// A text that is an object with both in it.
fn both(text: &str, carried: &mut Carried) {
    let Some(text) = unpacked(text) else { return };
    let Ok(members) = crate::protocol::read::<HashMap<String, Box<RawValue>>>(&text) else {
        return;
    };
    let member = |name: &str| match members.get(name)?.get() {
        text if text.starts_with('"') => unpacked(text),
        object if object.starts_with('{') => Some(object.to_owned()),
        _ => None,
    };
    carried.prompt = carried.prompt.take().or_else(|| member("prompt"));
    carried.workflow = carried.workflow.take().or_else(|| member("workflow"));
}
