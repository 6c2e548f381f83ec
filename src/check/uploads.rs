//! Files that a server would not take, or a node not load: said before anything is queued, since a server says it only in the middle of
//! an upload, by closing the connection, or when the node runs.

use std::path::Path;

use super::graph::Setting;
use crate::base::{NodeId, ServerName, display_path};
use crate::diagnostic::{Diagnostic, SourceMap, codes};
use crate::plan::{Rendered, Upload, Uploadable};
use crate::protocol::UploadRules;
use crate::workflow;

/// Pixels beyond which Pillow, with which `ComfyUI` reads pictures, takes a picture for an attack (as 0.3.64 answered).
const MOST_PIXELS: u64 = 178_956_970;
/// Inputs that read a picture with Pillow.
const PICTURES: [(&str, &str); 2] = [("LoadImage", "image"), ("LoadImageMask", "image")];

/// What would be refused of the files that a graph takes from the user.
pub(super) fn refused(
    rendered: &Rendered,
    server: &ServerName,
    sources: &SourceMap,
    setting: Setting<'_>,
) -> Vec<Diagnostic> {
    let uploads = rendered.uploads.iter();
    uploads
        .filter(|upload| matches!(upload.file, Uploadable::File(_)))
        .filter_map(|upload| upload_diagnostic(rendered, upload, server, sources, setting))
        .collect()
}

/// Why a server would refuse a file or the node could not load it, at the line of the input.
pub fn upload_diagnostic(
    rendered: &Rendered,
    upload: &Upload,
    server: &ServerName,
    sources: &SourceMap,
    setting: Setting<'_>,
) -> Option<Diagnostic> {
    let (path, size) = match &upload.file {
        Uploadable::File(file) => (file.path.as_path(), file.size),
        Uploadable::Artifact(artifact) => (artifact.path.as_deref()?, artifact.size),
    };
    let node = rendered.graph.nodes.get(&upload.node);
    let class = node.map_or("", |node| node.class_type.as_str());
    let built = too_large(path, size, server, setting.uploads)
        .or_else(|| too_wide(path, (class, &upload.input), server, setting))?;
    let built = built.node(upload.node.as_str(), class, Some(&upload.input));
    Some(placed(
        built,
        rendered,
        &upload.node,
        &upload.input,
        sources,
    ))
}

fn placed(
    built: Diagnostic,
    rendered: &Rendered,
    node: &NodeId,
    input: &str,
    sources: &SourceMap,
) -> Diagnostic {
    match rendered.origins.of(node, Some(input)) {
        Some(origin) => built.at(workflow::span_of(&origin, sources)),
        None => built,
    }
}

fn too_large(
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
fn too_wide(
    path: &Path,
    input: (&str, &String),
    server: &ServerName,
    setting: Setting<'_>,
) -> Option<Diagnostic> {
    let rules = setting.uploads;
    let by_server = rules.is_some_and(|r| r.max_edge.is_some() || r.max_pixels.is_some());
    let by_node = !setting.embedded && PICTURES.contains(&(input.0, input.1.as_str()));
    if !by_server && !by_node {
        return None;
    }
    let (width, height) = edges(path)?;
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
