//! Nodes that turn pictures and masks into pictures and masks. Each takes its inputs apart and hands them to `kiln_pixels`.

use std::sync::Arc;

use kiln_pixels as pixels;
use serde_json::json;

use super::class::{CORE, Class, NodeError, Style, Value};
use crate::embedded::cache::Made;

const FILTERS: Class = Class {
    module: "comfy_extras.nodes_post_processing",
    style: Style::Third,
    ..CORE
};
const MASKS: Class = Class {
    module: "comfy_extras.nodes_mask",
    ..FILTERS
};

/// `[type, {default, min, max, step}]`.
macro_rules! number {
    ($kind:literal, $default:expr, $min:expr, $max:expr, $step:expr $(, $key:literal: $value:expr)*) => {
        json!([$kind, {"default": $default, "min": $min, "max": $max, "step": $step $(, $key: $value)*}])
    };
}

/// A choice in the newer style.
macro_rules! combo {
    ($($option:literal),*) => {
        json!(["COMBO", {"multiselect": false, "options": [$($option),*]}])
    };
}

const METHODS: [&str; 5] = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"];

pub(super) const CLASSES: &[Class] = &[
    Class {
        name: "EmptyImage",
        display_name: "Empty Image",
        category: "image",
        inputs: || {
            json!({"required": {
                "width": number!("INT", 512, 1, 16384, 1),
                "height": number!("INT", 512, 1, 16384, 1),
                "batch_size": ["INT", {"default": 1, "min": 1, "max": 4096}],
                "color": number!("INT", 0, 0, 0x00ff_ffff, 1, "display": "color"),
            }})
        },
        run: |call| {
            let color = u32::try_from(call.size("color")?).unwrap_or_default();
            made(pixels::empty_image(
                call.size("width")?,
                call.size("height")?,
                call.size("batch_size")?,
                color,
            )?)
        },
        ..CORE
    },
    Class {
        name: "ImageScale",
        display_name: "Upscale Image",
        category: "image/upscaling",
        inputs: || {
            json!({"required": {
                "image": ["IMAGE"],
                "upscale_method": [METHODS],
                "width": number!("INT", 512, 0, 16384, 1),
                "height": number!("INT", 512, 0, 16384, 1),
                "crop": [["disabled", "center"]],
            }})
        },
        run: |call| {
            let (width, height) = (call.size("width")?, call.size("height")?);
            let source = call.image("image")?;
            if (width, height) == (0, 0) {
                return made(Value::Image(Arc::clone(source)));
            }
            made(pixels::scale(
                source,
                call.text("upscale_method")?.parse()?,
                width,
                height,
                call.text("crop")?.parse()?,
            )?)
        },
        ..CORE
    },
    Class {
        name: "ImageScaleBy",
        display_name: "Upscale Image By",
        category: "image/upscaling",
        inputs: || {
            json!({"required": {
                "image": ["IMAGE"],
                "upscale_method": [METHODS],
                "scale_by": number!("FLOAT", 1.0, 0.01, 8.0, 0.01),
            }})
        },
        run: |call| {
            made(pixels::scale_by(
                call.image("image")?,
                call.text("upscale_method")?.parse()?,
                call.float("scale_by")?,
            )?)
        },
        ..CORE
    },
    Class {
        name: "ImageInvert",
        display_name: "Invert Image Colors",
        category: "image/color",
        inputs: || json!({"required": {"image": ["IMAGE"]}}),
        run: |call| made(pixels::invert((**call.image("image")?).clone())),
        ..CORE
    },
    Class {
        name: "ImagePadForOutpaint",
        display_name: "Pad Image for Outpainting",
        category: "image/transform",
        inputs: || {
            json!({"required": {
                "image": ["IMAGE"],
                "left": number!("INT", 0, 0, 16384, 8),
                "top": number!("INT", 0, 0, 16384, 8),
                "right": number!("INT", 0, 0, 16384, 8),
                "bottom": number!("INT", 0, 0, 16384, 8),
                "feathering": number!("INT", 40, 0, 16384, 1, "advanced": true),
            }})
        },
        outputs: &[("IMAGE", "IMAGE"), ("MASK", "MASK")],
        run: |call| {
            let margins = pixels::Margins {
                left: call.size("left")?,
                top: call.size("top")?,
                right: call.size("right")?,
                bottom: call.size("bottom")?,
            };
            let (padded, mask) =
                pixels::pad_for_outpaint(call.image("image")?, margins, call.size("feathering")?)?;
            Ok(Made::of([padded.into(), mask.into()]))
        },
        ..CORE
    },
    Class {
        name: "ImageBlur",
        display_name: "Blur Image",
        category: "image/filters",
        inputs: || {
            json!({"required": {
                "image": ["IMAGE", {}],
                "blur_radius": number!("INT", 1, 1, 31, 1),
                "sigma": number!("FLOAT", 1.0, 0.1, 10.0, 0.1),
            }})
        },
        run: |call| {
            made(pixels::blur(
                call.image("image")?,
                call.size("blur_radius")?,
                call.float("sigma")?,
            )?)
        },
        ..FILTERS
    },
    Class {
        name: "ImageSharpen",
        display_name: "Sharpen Image",
        category: "image/filters",
        inputs: || {
            json!({"required": {
                "image": ["IMAGE", {}],
                "sharpen_radius": ["INT", {"advanced": true, "default": 1, "min": 1, "max": 31, "step": 1}],
                "sigma": ["FLOAT", {"advanced": true, "default": 1.0, "min": 0.1, "max": 10.0, "step": 0.01}],
                "alpha": ["FLOAT", {"advanced": true, "default": 1.0, "min": 0.0, "max": 5.0, "step": 0.01}],
            }})
        },
        run: |call| {
            made(pixels::sharpen(
                call.image("image")?,
                call.size("sharpen_radius")?,
                call.float("sigma")?,
                call.float("alpha")?,
            )?)
        },
        ..FILTERS
    },
    Class {
        name: "ImageBlend",
        display_name: "Blend Images",
        category: "image/filters",
        inputs: || {
            json!({"required": {
                "image1": ["IMAGE", {}],
                "image2": ["IMAGE", {}],
                "blend_factor": number!("FLOAT", 0.5, 0.0, 1.0, 0.01),
                "blend_mode": combo!("normal", "multiply", "screen", "overlay", "soft_light", "difference"),
            }})
        },
        run: |call| {
            made(pixels::blend(
                call.image("image1")?,
                call.image("image2")?,
                call.float("blend_factor")?,
                call.text("blend_mode")?.parse()?,
            )?)
        },
        ..FILTERS
    },
    Class {
        name: "ImageCompositeMasked",
        display_name: "Image Composite Masked",
        category: "image/compositing",
        inputs: || {
            json!({
                "required": {
                    "destination": ["IMAGE", {}],
                    "source": ["IMAGE", {}],
                    "x": number!("INT", 0, 0, 16384, 1),
                    "y": number!("INT", 0, 0, 16384, 1),
                    "resize_source": ["BOOLEAN", {"default": false}],
                },
                "optional": {"mask": ["MASK", {}]},
            })
        },
        run: |call| {
            let mask = match call.optional("mask") {
                Some(_) => Some(&**call.mask("mask")?),
                None => None,
            };
            made(pixels::composite_masked(
                call.image("destination")?,
                call.image("source")?,
                call.size("x")?,
                call.size("y")?,
                call.flag("resize_source")?,
                mask,
            )?)
        },
        ..MASKS
    },
    Class {
        name: "ImageToMask",
        display_name: "Convert Image to Mask",
        category: "image/mask",
        inputs: || {
            json!({"required": {
                "image": ["IMAGE", {}],
                "channel": combo!("red", "green", "blue", "alpha"),
            }})
        },
        outputs: &[("MASK", "MASK")],
        run: |call| {
            made(pixels::image_to_mask(
                call.image("image")?,
                call.text("channel")?.parse()?,
            )?)
        },
        ..MASKS
    },
    Class {
        name: "MaskToImage",
        display_name: "Convert Mask to Image",
        category: "image/mask",
        inputs: || json!({"required": {"mask": ["MASK", {}]}}),
        run: |call| made(pixels::mask_to_image(call.mask("mask")?)?),
        ..MASKS
    },
    Class {
        name: "SolidMask",
        display_name: "Create Solid Mask",
        category: "image/mask",
        inputs: || {
            json!({"required": {
                "value": number!("FLOAT", 1.0, 0.0, 1.0, 0.01),
                "width": number!("INT", 512, 1, 16384, 1),
                "height": number!("INT", 512, 1, 16384, 1),
            }})
        },
        outputs: &[("MASK", "MASK")],
        run: |call| {
            made(pixels::solid_mask(
                call.float("value")?,
                call.size("width")?,
                call.size("height")?,
            )?)
        },
        ..MASKS
    },
    Class {
        name: "InvertMask",
        display_name: "Invert Mask",
        category: "image/mask",
        inputs: || json!({"required": {"mask": ["MASK", {}]}}),
        outputs: &[("MASK", "MASK")],
        run: |call| made(pixels::invert_mask((**call.mask("mask")?).clone())),
        ..MASKS
    },
];

#[expect(
    clippy::unnecessary_wraps,
    reason = "the last expression of nearly every node"
)]
fn made(value: impl Into<Value>) -> Result<Made, NodeError> {
    Ok(Made::of([value.into()]))
}
