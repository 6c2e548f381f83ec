//! Kinds of artifacts, told by the file's extension: servers put videos under `images`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What an artifact is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A still or animated picture.
    Image,
    /// A film.
    Video,
    /// Sound.
    Audio,
    /// A 3D model.
    Model3d,
    /// A text; either a file or a string.
    Text,
    /// Anything else, e.g. a latent.
    Other,
}

impl Kind {
    /// The kind of a file by its name.
    pub fn of_name(name: &str) -> Self {
        let extension = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
        match extension.as_deref().unwrap_or_default() {
            "png" | "apng" | "jpg" | "jpeg" | "webp" | "gif" | "avif" | "bmp" | "tif" | "tiff"
            | "exr" | "hdr" | "svg" | "heic" | "jxl" => Self::Image,
            "mp4" | "webm" | "mov" | "mkv" | "avi" | "m4v" | "mpg" | "mpeg" | "ogv" => Self::Video,
            "flac" | "wav" | "mp3" | "ogg" | "opus" | "m4a" | "aac" => Self::Audio,
            "glb" | "gltf" | "obj" | "ply" | "stl" | "fbx" | "usdz" | "splat" | "spz"
            | "ksplat" => Self::Model3d,
            "txt" | "md" | "json" | "csv" | "srt" | "vtt" | "yaml" | "yml" | "xml" | "html" => {
                Self::Text
            }
            _ => Self::Other,
        }
    }

    /// The singular accessor: `image`, `video`, `audio`, `model3d`, `text`, `other`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Model3d => "model3d",
            Self::Text => "text",
            Self::Other => "other",
        }
    }
}
