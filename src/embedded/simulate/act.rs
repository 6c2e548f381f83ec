//! One acted node: what it gives to the nodes after it, and what it shows.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use kiln_pixels::{Image, Mask};
use serde_json::{Value as Json, json};

use super::paint;
use super::{Stand, media};
use crate::catalog::{NodeDef, OutputType};
use crate::embedded::cache::Made;
use crate::embedded::files::Folder;
use crate::embedded::naming::{self, Picture, Place};
use crate::embedded::nodes::{Context, NodeError, Value};

/// A step of a sampler takes so long, all of them together at most [`LONGEST`].
const STEP: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(400);
/// Steps of a sampler that nobody told how many.
const STEPS: usize = 20;
/// Seconds of a sound that nobody told how long.
const SECONDS: f64 = 2.0;

/// Why an acted node ended early.
pub(in crate::embedded) enum Halt {
    Interrupted,
    Failed(NodeError),
}

impl<E: Into<NodeError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// How far a sampler is.
pub(in crate::embedded) struct Step {
    pub(in crate::embedded) value: usize,
    pub(in crate::embedded) max: usize,
    /// A small picture, as PNG.
    pub(in crate::embedded) preview: Option<Vec<u8>>,
}

/// A node to act.
pub(in crate::embedded) struct Role<'a> {
    pub(in crate::embedded) class: &'a str,
    /// Its declaration; `None` for a class that is nowhere declared.
    pub(in crate::embedded) definition: Option<&'a NodeDef>,
    pub(in crate::embedded) inputs: &'a [(&'a str, Value)],
    /// Another node reads what it makes.
    pub(in crate::embedded) read: bool,
}

/// Acts a node. `tell` hears of progress and answers whether to go on.
pub(in crate::embedded) fn act(
    role: &Role<'_>,
    context: &Context<'_>,
    tell: &mut dyn FnMut(Step) -> bool,
) -> Result<Made, Halt> {
    let stand = Arc::new(Stand::of(role.class, role.inputs));
    if samples(role) {
        sample(&stand, tell)?;
    }
    let types: Vec<&str> = match role.definition {
        Some(definition) => definition
            .outputs
            .iter()
            .map(|output| match &output.ty {
                OutputType::Named(name) => name.as_str(),
                OutputType::List(_) => "STRING",
            })
            .collect(),
        None => vec!["*"; 16],
    };
    let mut outputs = Vec::with_capacity(types.len());
    for ty in &types {
        outputs.push(output(ty, role, &stand)?);
    }
    let shows = match role.definition {
        Some(definition) => definition.output_node,
        None => !role.read,
    };
    let ui = if shows {
        Some(show(role, &stand, context)?.into())
    } else {
        None
    };
    Ok(Made {
        outputs: outputs.into(),
        ui,
    })
}

/// What a computed node takes for a stand-in: pixels where it declares pixels.
pub(in crate::embedded) fn pixels(stand: &Arc<Stand>, ty: &str) -> Result<Value, NodeError> {
    Ok(match ty {
        "IMAGE" => paint::pictures(stand)?.into(),
        "MASK" => {
            let (width, height) = stand.size();
            Mask::filled(1, height, width, 0.0)?.into()
        }
        _ => Value::Stand(Arc::clone(stand)),
    })
}

/// Whether it is the kind of node that takes its time.
fn samples(role: &Role<'_>) -> bool {
    let given = |wanted: &[&str]| role.inputs.iter().any(|(name, _)| wanted.contains(name));
    given(&["latent_image", "latent", "samples"])
        && given(&["seed", "noise_seed", "sigmas", "steps"])
}

fn sample(stand: &Stand, tell: &mut dyn FnMut(Step) -> bool) -> Result<(), Halt> {
    let max = if stand.steps == 0 {
        STEPS
    } else {
        stand.steps.min(1000)
    };
    let pause = STEP.min(LONGEST / u32::try_from(max).unwrap_or(1));
    let every = max.div_ceil(4);
    for value in 1..=max {
        std::thread::sleep(pause);
        let preview = if value % every == 0 || value == max {
            let small = paint::preview(stand)?;
            Some(kiln_pixels::encode_png(&small, 0, &[])?)
        } else {
            None
        };
        if !tell(Step {
            value,
            max,
            preview,
        }) {
            return Err(Halt::Interrupted);
        }
    }
    Ok(())
}

fn output(ty: &str, role: &Role<'_>, stand: &Arc<Stand>) -> Result<Value, Halt> {
    let plain = |wanted: &str| {
        role.inputs.iter().find_map(|(name, value)| match value {
            Value::Plain(value) if *name == wanted => Some(value.clone()),
            _ => None,
        })
    };
    Ok(match ty {
        "IMAGE" => picture(role, stand)?.into(),
        "MASK" => {
            let (width, height) = stand.size();
            Mask::filled(1, height, width, 0.0)?.into()
        }
        "STRING" => Value::Plain(
            plain("value")
                .or_else(|| plain("text"))
                .unwrap_or_else(|| json!(stand.texts.first().map_or("simulated", String::as_str))),
        ),
        "INT" => Value::Plain(plain("value").unwrap_or_else(|| json!(stand.seed.unwrap_or(0)))),
        "FLOAT" => Value::Plain(plain("value").unwrap_or_else(|| json!(stand.fps))),
        "BOOLEAN" => Value::Plain(plain("value").unwrap_or_else(|| json!(false))),
        // Nobody knows what it is: a picture that went in is what people would look for.
        "*" if role
            .inputs
            .iter()
            .any(|(_, value)| matches!(value, Value::Image(_))) =>
        {
            picture(role, stand)?.into()
        }
        _ => Value::Stand(Arc::clone(stand)),
    })
}

/// A picture of the size that the node would make.
fn picture(role: &Role<'_>, stand: &Stand) -> Result<Image, Halt> {
    let source = role
        .inputs
        .iter()
        .any(|(_, value)| matches!(value, Value::Image(_)));
    let enlarges = role.class.to_lowercase().contains("upscale") && source;
    let told = role
        .inputs
        .iter()
        .any(|(name, _)| matches!(*name, "width" | "height" | "scale_by"));
    if !enlarges || told {
        return Ok(paint::pictures(stand)?);
    }
    let (width, height) = stand.size();
    let factor = stand.factor.unwrap_or(2);
    let larger = Stand {
        width: (width * factor).min(8192),
        height: (height * factor).min(8192),
        length: 0,
        // What is enlarged stays what it is.
        denoise: 0.1,
        ..stand.clone()
    };
    Ok(paint::pictures(&larger)?)
}

/// Saves what a last node was given.
fn show(role: &Role<'_>, stand: &Stand, context: &Context<'_>) -> Result<Json, Halt> {
    let class = role.class.to_lowercase();
    let images = role.inputs.iter().find_map(|(_, value)| match value {
        Value::Image(image) => Some(Arc::clone(image)),
        _ => None,
    });
    let saver = Saver { role, context };
    let moving = ["video", "webm", "webp", "animated", "gif"];
    if class.contains("audio") {
        let seconds = if stand.seconds > 0.0 {
            stand.seconds
        } else {
            SECONDS
        };
        let pitch = stand.hash.to_hex().as_bytes().first().copied().unwrap_or(0);
        let file = saver.save(&media::wav(seconds, pitch), "wav", (0, 0), 0)?;
        return Ok(json!({ "audio": [file] }));
    }
    let painted = || {
        Ok::<_, Halt>(match &images {
            Some(images) => Arc::clone(images),
            None => Arc::new(paint::pictures(stand)?),
        })
    };
    if moving.iter().any(|word| class.contains(word)) {
        let frames = match &images {
            Some(images) => Arc::clone(images),
            None => stand.source.clone().map_or_else(painted, Ok)?,
        };
        let bytes = media::mp4(&frames, stand.fps)?;
        let size = (frames.width(), frames.height());
        let file = saver.save(&bytes, "mp4", size, 0)?;
        return Ok(json!({ "images": [file], "animated": [true] }));
    }
    let text = role
        .inputs
        .iter()
        .any(|(_, value)| matches!(value, Value::Stand(_) | Value::Image(_) | Value::Mask(_)));
    if role.definition.is_some() && !text {
        return Ok(json!({ "text": stand.texts.iter().take(1).collect::<Vec<_>>() }));
    }
    let pictures = painted()?;
    let chunks: Vec<(&str, &str)> = context
        .chunks
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let mut files = Vec::with_capacity(pictures.batch());
    for index in 0..pictures.batch() {
        let png = kiln_pixels::encode_png(&pictures, index, &chunks)?;
        files.push(saver.save(&png, "png", (pictures.width(), pictures.height()), index)?);
    }
    Ok(json!({ "images": files }))
}

struct Saver<'a> {
    role: &'a Role<'a>,
    context: &'a Context<'a>,
}

impl Saver<'_> {
    fn save(
        &self,
        bytes: &[u8],
        extension: &str,
        (width, height): (usize, usize),
        index: usize,
    ) -> Result<Json, Halt> {
        let failed = |error: &dyn std::fmt::Display| {
            Halt::Failed(NodeError::new("OSError", error.to_string()))
        };
        let prefix = self
            .role
            .inputs
            .iter()
            .find_map(|(name, value)| match value {
                Value::Plain(Json::String(text)) if *name == "filename_prefix" => {
                    Some(text.as_str())
                }
                _ => None,
            });
        let folder = if self.role.class.starts_with("Preview") {
            Folder::Temp
        } else {
            Folder::Output
        };
        let picture = Picture {
            width,
            height,
            now: jiff::Zoned::now(),
        };
        let root = self.context.folders.path(folder);
        let place = Place::of(&root, prefix.unwrap_or("ComfyUI"), &picture);
        let place = place.map_err(|error| failed(&error))?;
        let (filename, mut file) =
            naming::create_as(self.context.counters, &place, index, extension)
                .map_err(|error| failed(&error))?;
        file.write_all(bytes).map_err(|error| {
            let _ = std::fs::remove_file(place.folder.join(&filename));
            Halt::Failed(NodeError::unwritten(&place.folder, &filename, &error))
        })?;
        Ok(json!({
            "filename": filename,
            "subfolder": place.subfolder,
            "type": folder.name(),
        }))
    }
}
