//! Nodes that read and write picture files.

use std::io::Write;
use std::sync::Arc;

use kiln_pixels as pixels;
use serde_json::json;

use super::class::{CORE, Call, Class, NodeError, Value};
use crate::embedded::cache::Made;
use crate::embedded::files::Folder;
use crate::embedded::naming::{self, NamingError, Picture, Place};

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "LoadImage",
        display_name: "Load Image",
        category: "image",
        inputs: || json!({"required": {"image": [[], {"image_upload": true}]}}),
        outputs: &[("IMAGE", "IMAGE"), ("MASK", "MASK")],
        reads: Some("image"),
        run: load,
        ..CORE
    },
    Class {
        name: "SaveImage",
        display_name: "Save Image",
        category: "image",
        output_node: true,
        inputs: || {
            json!({
                "required": {
                    "images": ["IMAGE"],
                    "filename_prefix": ["STRING", {"default": "ComfyUI"}],
                },
                "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
            })
        },
        outputs: &[("IMAGE", "images")],
        run: |call| save(call, Folder::Output, call.text("filename_prefix")?),
        ..CORE
    },
    Class {
        name: "PreviewImage",
        display_name: "Preview Image",
        category: "image",
        output_node: true,
        inputs: || {
            json!({
                "required": {"images": ["IMAGE"]},
                "hidden": {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"},
            })
        },
        outputs: &[("IMAGE", "images")],
        run: |call| {
            let prefix = format!("ComfyUI_temp_{}", call.context.preview_tag);
            save(call, Folder::Temp, &prefix)
        },
        ..CORE
    },
];

fn load(call: &Call<'_>) -> Result<Made, NodeError> {
    let name = call.text("image")?;
    let path = call
        .context
        .folders
        .annotated(name)
        .ok_or_else(|| NodeError::new("ValueError", format!("`{name}` leaves its folder")))?;
    let bytes = std::fs::read(&path).map_err(|error| {
        NodeError::new(
            "FileNotFoundError",
            format!("cannot read `{name}`: {error}"),
        )
    })?;
    let loaded = pixels::decode(&bytes).map_err(|error| {
        let kind = NodeError::from(error);
        NodeError::new(
            kind.exception,
            format!("cannot identify image file `{name}`: {}", kind.message),
        )
    })?;
    Ok(Made::of([loaded.image.into(), loaded.mask.into()]))
}

fn save(call: &Call<'_>, folder: Folder, prefix: &str) -> Result<Made, NodeError> {
    let images = call.image("images")?;
    let context = call.context;
    let picture = Picture {
        width: images.width(),
        height: images.height(),
        now: jiff::Zoned::now(),
    };
    let place = Place::of(&context.folders.path(folder), prefix, &picture)
        .map_err(|error| naming_error(&error))?;
    let chunks: Vec<(&str, &str)> = context
        .chunks
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let mut files = Vec::with_capacity(images.batch());
    for index in 0..images.batch() {
        let png = pixels::encode_png(images, index, &chunks)?;
        let (filename, mut file) = naming::create(context.counters, &place, index)
            .map_err(|error| naming_error(&error))?;
        file.write_all(&png).map_err(|error| {
            // A file that is not whole must not be taken for one.
            let _ = std::fs::remove_file(place.folder.join(&filename));
            NodeError::unwritten(&place.folder, &filename, &error)
        })?;
        files.push(json!({
            "filename": filename,
            "subfolder": place.subfolder,
            "type": folder.name(),
        }));
    }
    Ok(Made {
        outputs: [Value::Image(Arc::clone(images))].into(),
        ui: Some(json!({ "images": files }).into()),
    })
}

fn naming_error(error: &NamingError) -> NodeError {
    let exception = match error {
        NamingError::Outside { .. } => "Exception",
        NamingError::Io { .. } => "OSError",
    };
    NodeError::new(exception, error.to_string())
}
