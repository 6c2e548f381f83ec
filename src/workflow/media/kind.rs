//! What a file is, by how it begins.

use std::fmt;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JSON text.
    Json,
    /// A PNG or APNG picture.
    Png,
    /// A WebP picture.
    Webp,
    /// An AVIF picture.
    Avif,
    /// A JPEG picture.
    Jpeg,
    /// An MP4 or `QuickTime` film, or sound in the same boxes.
    Mp4,
    /// A `WebM` or Matroska film.
    Matroska,
    /// A FLAC sound.
    Flac,
    /// An Ogg sound: Vorbis, Opus.
    Ogg,
    /// An MP3 sound.
    Mp3,
    /// A binary glTF model.
    Glb,
    /// An SVG drawing.
    Svg,
    /// Tensors.
    Safetensors,
    /// Other text.
    Text,
    /// Something else.
    Other,
}

/// How a workflow in API format and the editor's both begin.
const SAFETENSORS_HEAD: u64 = 1 << 30;

impl Kind {
    /// The kind of a file that begins so; some forty bytes are enough.
    pub fn of(head: &[u8]) -> Self {
        let at = |place: usize, mark: &[u8]| {
            head.get(place..).is_some_and(|rest| rest.starts_with(mark))
        };
        if at(0, b"\x89PNG\r\n\x1a\n") {
            return Self::Png;
        }
        if at(0, b"RIFF") && at(8, b"WEBP") {
            return Self::Webp;
        }
        if at(4, b"ftyp") {
            let picture = [b"avif", b"avis", b"mif1", b"msf1", b"heic", b"heix"];
            return if picture.iter().any(|brand| at(8, *brand)) {
                Self::Avif
            } else {
                Self::Mp4
            };
        }
        if [b"moov", b"mdat", b"wide", b"free", b"skip"]
            .iter()
            .any(|name| at(4, *name))
        {
            return Self::Mp4;
        }
        let marks: [(&[u8], Self); 7] = [
            (b"\xff\xd8\xff", Self::Jpeg),
            (b"\x1a\x45\xdf\xa3", Self::Matroska),
            (b"fLaC", Self::Flac),
            (b"OggS", Self::Ogg),
            (b"ID3", Self::Mp3),
            (b"glTF", Self::Glb),
            (b"\xef\xbb\xbf", Self::Text),
        ];
        if let Some((_, kind)) = marks.iter().find(|(mark, _)| at(0, mark)) {
            return match kind {
                Self::Text => Self::of_text(&head[3..]),
                kind => *kind,
            };
        }
        if let Some((length, rest)) = head.split_first_chunk::<8>()
            && u64::from_le_bytes(*length) < SAFETENSORS_HEAD
            && rest.starts_with(b"{")
            && head[4..8] == [0, 0, 0, 0]
        {
            return Self::Safetensors;
        }
        if at(0, b"\xff\xfe") || at(0, b"\xfe\xff") {
            return Self::of_wide(&head[2..]);
        }
        if let [0xff, second, ..] = head
            && second & 0xe0 == 0xe0
        {
            return Self::Mp3;
        }
        if head.len() >= 4 && (head[0] == 0) != (head[1] == 0) && (head[2] == 0) != (head[3] == 0) {
            return Self::of_wide(head);
        }
        Self::of_text(head)
    }

    /// Text whose letters take two bytes each.
    fn of_wide(head: &[u8]) -> Self {
        let narrow: Vec<u8> = head.iter().copied().filter(|byte| *byte != 0).collect();
        Self::of_text(&narrow)
    }

    fn of_text(head: &[u8]) -> Self {
        let start = head.trim_ascii_start();
        match start.first() {
            Some(b'{' | b'[') => Self::Json,
            Some(b'<') => Self::Svg,
            _ if head.contains(&0) => Self::Other,
            _ => Self::Text,
        }
    }

    /// Whether it can hold a workflow beside what it is for.
    pub fn is_media(self) -> bool {
        !matches!(self, Self::Json | Self::Text | Self::Other)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "a JSON file",
            Self::Png => "a PNG picture",
            Self::Webp => "a WebP picture",
            Self::Avif => "an AVIF picture",
            Self::Jpeg => "a JPEG picture",
            Self::Mp4 => "an MP4 film",
            Self::Matroska => "a WebM film",
            Self::Flac => "a FLAC sound",
            Self::Ogg => "an Ogg sound",
            Self::Mp3 => "an MP3 sound",
            Self::Glb => "a GLB model",
            Self::Svg => "an SVG drawing",
            Self::Safetensors => "a safetensors file",
            Self::Text => "a text",
            Self::Other => "a file of an unknown kind",
        })
    }
}
