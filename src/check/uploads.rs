//! Files that a server would not take, or a node not load: said before anything is queued, since a server says it only in the middle of
//! an upload, by closing the connection, or when the node runs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::graph::Setting;
use crate::base::{ContentHash, ServerName, display_path};
use crate::diagnostic::{Diagnostic, SourceMap, codes};
use crate::plan::{Rendered, Upload, Uploadable};
use crate::protocol::UploadRules;
use crate::workflow;

/// Pixels beyond which Pillow, with which `ComfyUI` reads pictures, takes a picture for an attack (as 0.3.64 answered).
const MOST_PIXELS: u64 = 178_956_970;
/// Inputs that read a picture with Pillow.
const PICTURES: [(&str, &str); 2] = [("LoadImage", "image"), ("LoadImageMask", "image")];

/// The edges of the pictures that were looked at: one that many tasks take is opened once.
#[derive(Debug, Default)]
pub(super) struct Pictures(HashMap<(PathBuf, ContentHash), Option<(u32, u32)>>);

impl Pictures {
    fn edges(&mut self, path: &Path, hash: ContentHash) -> Option<(u32, u32)> {
        let known = self.0.entry((path.to_path_buf(), hash));
        *known.or_insert_with(|| edges(path))
    }
}

/// What would be refused of the files that a graph takes from the user.
pub(super) fn refused(
    rendered: &Rendered,
    server: &ServerName,
    sources: &SourceMap,
    setting: Setting<'_>,
    pictures: &mut Pictures,
) -> Vec<Diagnostic> {
    let uploads = rendered.uploads.iter();
    uploads
        .filter(|upload| matches!(upload.file, Uploadable::File(_)))
        .filter_map(|upload| {
            let large = too_large(rendered, upload, server, sources, setting);
            large.or_else(|| wide(rendered, upload, server, sources, setting, pictures))
        })
        .collect()
}

/// Why a server would refuse a file that has to be sent for its size, at the line of the input.
pub fn too_large(
    rendered: &Rendered,
    upload: &Upload,
    server: &ServerName,
    sources: &SourceMap,
    setting: Setting<'_>,
) -> Option<Diagnostic> {
    let (path, size, _) = file_of(upload)?;
    let built = larger(path, size, server, setting.uploads)?;
    Some(placed(built, rendered, upload, sources))
}

/// Why a server would refuse a picture or the node could not load it, at the line of the input.
pub fn too_wide(
    rendered: &Rendered,
    upload: &Upload,
    server: &ServerName,
    sources: &SourceMap,
    setting: Setting<'_>,
) -> Option<Diagnostic> {
    let mut pictures = Pictures::default();
    wide(rendered, upload, server, sources, setting, &mut pictures)
}

fn wide(
    rendered: &Rendered,
    upload: &Upload,
    server: &ServerName,
    sources: &SourceMap,
    setting: Setting<'_>,
    pictures: &mut Pictures,
) -> Option<Diagnostic> {
    let (path, _, hash) = file_of(upload)?;
    let input = (class_of(rendered, upload), &upload.input);
    let built = wider(path, input, server, setting, || pictures.edges(path, hash))?;
    Some(placed(built, rendered, upload, sources))
}

fn file_of(upload: &Upload) -> Option<(&Path, u64, ContentHash)> {
    match &upload.file {
        Uploadable::File(file) => Some((file.path.as_path(), file.size, file.hash)),
        Uploadable::Artifact(artifact) => {
            Some((artifact.path.as_deref()?, artifact.size, artifact.hash))
        }
    }
}

fn class_of<'a>(rendered: &'a Rendered, upload: &Upload) -> &'a str {
    let node = rendered.graph.nodes.get(&upload.node);
    node.map_or("", |node| node.class_type.as_str())
}

fn placed(
    built: Diagnostic,
    rendered: &Rendered,
    upload: &Upload,
    sources: &SourceMap,
) -> Diagnostic {
    let class = class_of(rendered, upload);
    let built = built.node(upload.node.as_str(), class, Some(&upload.input));
    match rendered.origins.of(&upload.node, Some(&upload.input)) {
        Some(origin) => built.at(workflow::span_of(&origin, sources)),
        None => built,
    }
}

fn larger(
    path: &Path,
    size: u64,
    server: &ServerName,
    rules: Option<UploadRules>,
) -> Option<Diagnostic> {
    let rules = rules?;
    let most = rules.max_bytes.filter(|_| !rules.takes(size))?;
    let message = format!(
        "`{}` has {}, and server `{server}` takes requests of at most {}",
        display_path(path),
        megabytes(size),
        megabytes(most),
    );
    let built = Diagnostic::error(&codes::FILE_REFUSED, message);
    Some(if rules.named_by_hash {
        built.help("Comfy Cloud takes no larger file: make it smaller")
    } else {
        let wanted = (size + UploadRules::ENVELOPE).div_ceil(1 << 20);
        built.help(format!(
            "make the file smaller, or start ComfyUI with `--max-upload-size {wanted}` or more"
        ))
    })
}

/// Its edges are read from the head of the file; of formats that kiln does not read, nothing is said.
fn wider(
    path: &Path,
    input: (&str, &String),
    server: &ServerName,
    setting: Setting<'_>,
    edges: impl FnOnce() -> Option<(u32, u32)>,
) -> Option<Diagnostic> {
    let rules = setting.uploads;
    let by_server = rules.is_some_and(|r| r.max_edge.is_some() || r.max_pixels.is_some());
    let by_node = !setting.embedded && PICTURES.contains(&(input.0, input.1.as_str()));
    if !by_server && !by_node {
        return None;
    }
    let (width, height) = edges()?;
    let pixels = u64::from(width) * u64::from(height);
    let most_edge = rules.and_then(|rules| rules.max_edge);
    let most_pixels = rules.and_then(|rules| rules.max_pixels);
    let limit = if let Some(most) = most_edge.filter(|most| width.max(height) > *most) {
        format!("server `{server}` takes edges of at most {most} pixels")
    } else if let Some(most) = most_pixels.filter(|most| pixels > *most) {
        format!("server `{server}` takes at most {most} pixels")
    } else if by_node && pixels > MOST_PIXELS {
        format!(
            "`{}` loads at most {MOST_PIXELS} pixels: Pillow takes a larger picture for an attack",
            input.0
        )
    } else {
        return None;
    };
    let message = format!(
        "`{}` is a picture of {width} × {height} pixels, and {limit}",
        display_path(path)
    );
    Some(
        Diagnostic::error(&codes::FILE_REFUSED, message)
            .help("scale it down, or cut it into tiles, before it is sent"),
    )
}

fn edges(path: &Path) -> Option<(u32, u32)> {
    let reader = image::ImageReader::open(path).ok()?;
    let mut reader = reader.with_guessed_format().ok()?;
    reader.no_limits();
    reader.into_dimensions().ok()
}

fn megabytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1 << 20);
    match tenths % 10 {
        0 => format!("{} MiB", tenths / 10),
        rest => format!("{}.{rest} MiB", tenths / 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_many_tasks_take_is_opened_once_and_a_changed_one_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.png");
        let mut pictures = Pictures::default();
        let (one, other) = (ContentHash::of(b"one"), ContentHash::of(b"other"));
        image::RgbImage::new(3, 2).save(&path).unwrap();
        assert_eq!(pictures.edges(&path, one), Some((3, 2)));
        image::RgbImage::new(5, 4).save(&path).unwrap();
        assert_eq!(pictures.edges(&path, one), Some((3, 2)), "not opened again");
        assert_eq!(pictures.edges(&path, other), Some((5, 4)));
    }
}
