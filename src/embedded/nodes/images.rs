//! Nodes that turn pictures and masks into pictures and masks. Each takes its inputs apart and hands them to `kiln_pixels`.

use std::sync::Arc;

use kiln_pixels as pixels;
use serde_json::json;

use super::class::{Class, NodeError, Style, Value};
use crate::embedded::cache::Made;

const CORE: &str = "nodes";
const FILTERS: &str = "comfy_extras.nodes_post_processing";
const MASKS: &str = "comfy_extras.nodes_mask";

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
        module: CORE,
        style: Style::First,
        output_node: false,
        inputs: || {
            json!({"required": {
                "width": number!("INT", 512, 1, 16384, 1),
                "height": number!("INT", 512, 1, 16384, 1),
                "batch_size": ["INT", {"default": 1, "min": 1, "max": 4096}],
                "color": number!("INT", 0, 0, 0x00ff_ffff, 1, "display": "color"),
            }})
        },
        outputs: &[("IMAGE", "IMAGE")],
        reads: None,
        run: |call| {
            let color = u32::try_from(call.size("color")?).unwrap_or_default();
            image(pixels::empty_image(
                call.size("width")?,
                call.size("height")?,
                call.size("batch_size")?,
                color,
            )?)
        },
    },
    Class {
        name: "ImageScale",
        display_name: "Upscale Image",
        category: "image/upscaling",
        module: CORE,
        style: Style::First,
        output_node: false,
        inputs: || {
            json!({"required": {
                "image": ["IMAGE"],
                "upscale_method": [METHODS],
                "width": number!("INT", 512, 0, 16384, 1),
                "height": number!("INT", 512, 0, 16384, 1),
                "crop": [["disabled", "center"]],
            }})
        },
        outputs: &[("IMAGE", "IMAGE")],
        reads: None,
        run: |call| {
            let (width, height) = (call.size("width")?, call.size("height")?);
            let source = call.image("image")?;
            if (width, height) == (0, 0) {
                return same(source);
            }
            image(pixels::scale(
                source,
                call.text("upscale_method")?.parse()?,
                width,
                height,
                call.text("crop")?.parse()?,
            )?)
        },
    },
    Class {
        name: "ImageScaleBy",
        display_name: "Upscale Image By",
        category: "image/upscaling",
        module: CORE,
        style: Style::First,
        output_node: false,
        inputs: || {
            json!({"required": {
                "image": ["IMAGE"],
                "upscale_method": [METHODS],
                "scale_by": number!("FLOAT", 1.0, 0.01, 8.0, 0.01),
            }})
        },
        outputs: &[("IMAGE", "IMAGE")],
        reads: None,
        run: |call| {
            image(pixels::scale_by(
                call.image("image")?,
                call.text("upscale_method")?.parse()?,
                call.float("scale_by")?,
            )?)
        },
    },
    Class {
        name: "ImageInvert",
        display_name: "Invert Image Colors",
        category: "image/color",
        module: CORE,
        style: Style::First,
        output_node: false,
        inputs: || json!({"required": {"image": ["IMAGE"]}}),
        outputs: &[("IMAGE", "IMAGE")],
        reads: None,
        run: |call| image(pixels::invert((**call.image("image")?).clone())),
    },
    Class {
        name: "ImagePadForOutpaint",
        display_name: "Pad Image for Outpainting",
        category: "image/transform",
        module: CORE,
        style: Style::First,
        output_node: false,
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
        reads: None,
        run: |call| {
            let margins = pixels::Margins {
                left: call.size("left")?,
                top: call.size("top")?,
                right: call.size("right")?,
                bottom: call.size("bottom")?,
            };
            let (padded, mask) =
                pixels::pad_for_outpaint(call.image("image")?, margins, call.size("feathering")?)?;
            Ok(Made {
                outputs: [padded.into(), mask.into()].into(),
                ui: None,
            })
        },
    },
    Class {
        name: "ImageBlur",
        display_name: "Blur Image",
        category: "image/filters",
        module: FILTERS,
        style: Style::Third,
        output_node: false,
        inputs: || {
            json!({"required": {
                "image": ["IMAGE", {}],
                "blur_radius": number!("INT", 1, 1, 31, 1),
                "sigma": number!("FLOAT", 1.0, 0.1, 10.0, 0.1),
            }})
        },
        outputs: &[("IMAGE", "IMAGE")],
        reads: None,
        run: |call| {
            image(pixels::blur(
                call.image("image")?,
                call.size("blur_radius")?,
                call.float("sigma")?,
            )?)
        },
    },
    Class {
        name: "ImageSharpen",
        display_name: "Sharpen Image",
        category: "image/filters",
        module: FILTERS,
        style: Style::Third,
        output_node: false,
        inputs: || {
            json!({"required": {
                "image": ["IMAGE", {}],
                "sharpen_radius": ["INT", {"advanced": true, "default": 1, "min": 1, "max": 31, "step": 1}],
                "sigma": ["FLOAT", {"advanced": true, "default": 1.0, "min": 0.1, "max": 10.0, "step": 0.01}],
                "alpha": ["FLOAT", {"advanced": true, "default": 1.0, "min": 0.0, "max": 5.0, "step": 0.01}],
            }})
        },
        outputs: &[("IMAGE", "IMAGE")],
        reads: None,
        run: |call| {
            image(pixels::sharpen(
                call.image("image")?,
                call.size("sharpen_radius")?,
                call.float("sigma")?,
                call.float("alpha")?,
            )?)
        },
    },
    Class {
        name: "ImageBlend",
        display_name: "Blend Images",
        category: "image/filters",
        module: FILTERS,
        style: Style::Third,
        output_node: false,
        inputs: || {
            json!({"required": {
                "image1": ["IMAGE", {}],
                "image2": ["IMAGE", {}],
                "blend_factor": number!("FLOAT", 0.5, 0.0, 1.0, 0.01),
                "blend_mode": combo!("normal", "multiply", "screen", "overlay", "soft_light", "difference"),
            }})
        },
        outputs: &[("IMAGE", "IMAGE")],
        reads: None,
        run: |call| {
            image(pixels::blend(
                call.image("image1")?,
                call.image("image2")?,
                call.float("blend_factor")?,
                call.text("blend_mode")?.parse()?,
            )?)
        },
    },
    Class {
        name: "ImageCompositeMasked",
        display_name: "Image Composite Masked",
        category: "image/compositing",
        module: MASKS,
        style: Style::Third,
        output_node: false,
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
        outputs: &[("IMAGE", "IMAGE")],
        reads: None,
        run: |call| {
            let mask = match call.optional("mask") {
                Some(_) => Some(&**call.mask("mask")?),
                None => None,
            };
            image(pixels::composite_masked(
                call.image("destination")?,
                call.image("source")?,
                call.size("x")?,
                call.size("y")?,
                call.flag("resize_source")?,
                mask,
            )?)
        },
    },
    Class {
        name: "ImageToMask",
        display_name: "Convert Image to Mask",
        category: "image/mask",
        module: MASKS,
        style: Style::Third,
        output_node: false,
        inputs: || {
            json!({"required": {
                "image": ["IMAGE", {}],
                "channel": combo!("red", "green", "blue", "alpha"),
            }})
        },
        outputs: &[("MASK", "MASK")],
        reads: None,
        run: |call| {
            mask(pixels::image_to_mask(
                call.image("image")?,
                call.text("channel")?.parse()?,
            )?)
        },
    },
    Class {
        name: "MaskToImage",
        display_name: "Convert Mask to Image",
        category: "image/mask",
        module: MASKS,
        style: Style::Third,
        output_node: false,
        inputs: || json!({"required": {"mask": ["MASK", {}]}}),
        outputs: &[("IMAGE", "IMAGE")],
        reads: None,
        run: |call| image(pixels::mask_to_image(call.mask("mask")?)?),
    },
    Class {
        name: "SolidMask",
        display_name: "Create Solid Mask",
        category: "image/mask",
        module: MASKS,
        style: Style::Third,
        output_node: false,
        inputs: || {
            json!({"required": {
                "value": number!("FLOAT", 1.0, 0.0, 1.0, 0.01),
                "width": number!("INT", 512, 1, 16384, 1),
                "height": number!("INT", 512, 1, 16384, 1),
            }})
        },
        outputs: &[("MASK", "MASK")],
        reads: None,
        run: |call| {
            mask(pixels::solid_mask(
                call.float("value")?,
                call.size("width")?,
                call.size("height")?,
            )?)
        },
    },
    Class {
        name: "InvertMask",
        display_name: "Invert Mask",
        category: "image/mask",
        module: MASKS,
        style: Style::Third,
        output_node: false,
        inputs: || json!({"required": {"mask": ["MASK", {}]}}),
        outputs: &[("MASK", "MASK")],
        reads: None,
        run: |call| mask(pixels::invert_mask((**call.mask("mask")?).clone())),
    },
];

#[expect(
    clippy::unnecessary_wraps,
    reason = "the last expression of nearly every node"
)]
fn image(image: pixels::Image) -> Result<Made, NodeError> {
    Ok(one(image.into()))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the last expression of nearly every node"
)]
fn mask(mask: pixels::Mask) -> Result<Made, NodeError> {
    Ok(one(mask.into()))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "the last expression of nearly every node"
)]
fn same(image: &Arc<pixels::Image>) -> Result<Made, NodeError> {
    Ok(one(Value::Image(Arc::clone(image))))
}

fn one(value: Value) -> Made {
    Made {
        outputs: [value].into(),
        ui: None,
    }
}
