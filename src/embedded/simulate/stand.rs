//! What stands for models, prompts, latents, sounds and videos.

use std::sync::Arc;

use kiln_pixels::{Image, Mask};
use serde_json::Value as Json;

use crate::base::{ContentHash, Hasher};
use crate::embedded::nodes::Value;

/// The largest edge of a picture that is painted.
const EDGE: usize = 8192;
/// The most pictures of one batch, the frames of a video among them.
const FRAMES: usize = 1024;

/// What the nodes so far were told.
#[derive(Clone, Debug)]
pub(in crate::embedded) struct Stand {
    /// Of the class and everything that went into it.
    pub(super) hash: ContentHash,
    /// Prompts, the first is the positive one.
    pub(super) texts: Vec<String>,
    pub(super) seed: Option<u64>,
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) batch: usize,
    /// Frames of a video.
    pub(super) length: usize,
    pub(super) fps: f64,
    pub(super) seconds: f64,
    pub(super) steps: usize,
    /// How much of the source is painted over, 0 to 1.
    pub(super) denoise: f64,
    /// By how much a model enlarges.
    pub(super) factor: Option<usize>,
    /// The picture it started from.
    pub(super) source: Option<Arc<Image>>,
}

impl Stand {
    /// What a node of a class knows, by its inputs.
    pub(super) fn of(class: &str, inputs: &[(&str, Value)]) -> Self {
        let mut stand = Self {
            hash: hash(class, inputs),
            texts: Vec::new(),
            seed: None,
            width: 0,
            height: 0,
            batch: 0,
            length: 0,
            fps: 0.0,
            seconds: 0.0,
            steps: 0,
            denoise: 0.0,
            factor: None,
            source: None,
        };
        for (_, value) in inputs {
            stand.inherit(value);
        }
        let scale = number(inputs, "scale_by").filter(|scale| (0.01..=16.0).contains(scale));
        for (name, value) in inputs {
            if let Value::Plain(value) = value {
                stand.told(name, value);
            }
        }
        if let Some(scale) = scale {
            stand.width = scaled(stand.width, scale);
            stand.height = scaled(stand.height, scale);
        }
        stand.settle()
    }

    fn inherit(&mut self, value: &Value) {
        match value {
            Value::Stand(other) => {
                self.texts.extend(other.texts.iter().cloned());
                self.seed = self.seed.or(other.seed);
                for (mine, theirs) in [
                    (&mut self.width, other.width),
                    (&mut self.height, other.height),
                    (&mut self.batch, other.batch),
                    (&mut self.length, other.length),
                    (&mut self.steps, other.steps),
                ] {
                    if *mine == 0 {
                        *mine = theirs;
                    }
                }
                self.fps = self.fps.max(other.fps);
                self.seconds = self.seconds.max(other.seconds);
                self.denoise = self.denoise.max(other.denoise);
                self.factor = self.factor.or(other.factor);
                if self.source.is_none() {
                    self.source.clone_from(&other.source);
                }
            }
            Value::Image(image) => {
                if self.source.is_none() {
                    self.source = Some(Arc::clone(image));
                    (self.width, self.height) = (image.width(), image.height());
                    self.batch = image.batch();
                }
            }
            Value::Mask(mask) if self.width == 0 => {
                (self.width, self.height) = (mask.width(), mask.height());
            }
            Value::Mask(_) | Value::Plain(_) => {}
        }
    }

    /// What a widget says.
    fn told(&mut self, name: &str, value: &Json) {
        let size = || {
            value
                .as_u64()
                .and_then(|n| usize::try_from(n).ok())
                .filter(|n| *n > 0)
        };
        match name {
            "seed" | "noise_seed" => self.seed = value.as_u64().or(self.seed),
            "width" => self.width = size().unwrap_or(self.width),
            "height" => self.height = size().unwrap_or(self.height),
            "batch_size" | "amount" => self.batch = size().unwrap_or(self.batch),
            "length" | "frames" | "num_frames" => self.length = size().unwrap_or(self.length),
            "steps" => self.steps = size().unwrap_or(self.steps),
            "fps" | "frame_rate" => self.fps = value.as_f64().unwrap_or(self.fps),
            "seconds" | "duration" => self.seconds = value.as_f64().unwrap_or(self.seconds),
            "denoise" => self.denoise = value.as_f64().unwrap_or(self.denoise),
            "text" | "prompt" | "positive" | "text_g" | "t5xxl" | "tags" => {
                let text = value
                    .as_str()
                    .map(str::trim)
                    .filter(|text| !text.is_empty());
                self.texts.extend(text.map(str::to_owned));
            }
            "model_name" | "upscale_model" => {
                self.factor = value.as_str().and_then(factor).or(self.factor);
            }
            _ => {}
        }
    }

    /// Within bounds.
    fn settle(mut self) -> Self {
        self.width = self.width.min(EDGE);
        self.height = self.height.min(EDGE);
        self.batch = self.batch.min(FRAMES);
        self.length = self.length.min(FRAMES);
        self.texts.truncate(8);
        self.fps = if self.fps.is_finite() {
            self.fps.clamp(0.0, 240.0)
        } else {
            0.0
        };
        self.seconds = if self.seconds.is_finite() {
            self.seconds.clamp(0.0, 600.0)
        } else {
            0.0
        };
        self.denoise = self.denoise.clamp(0.0, 1.0);
        self
    }

    /// The size of a picture.
    pub(super) fn size(&self) -> (usize, usize) {
        match (self.width, self.height) {
            (0, 0) => (512, 512),
            (0, edge) | (edge, 0) => (edge, edge),
            size => size,
        }
    }

    /// Memory that it takes, in bytes.
    pub(in crate::embedded) fn bytes(&self) -> usize {
        let texts: usize = self.texts.iter().map(String::len).sum();
        let source = self
            .source
            .as_ref()
            .map_or(0, |image| size_of_val(image.data()));
        512 + texts + source
    }
}

/// `4x-UltraSharp`, `RealESRGAN_x2`: the factor in a model's name.
fn factor(name: &str) -> Option<usize> {
    let bytes = name.as_bytes();
    let digit = |at: usize| bytes.get(at).filter(|b| (b'1'..=b'8').contains(b));
    let at = (0..bytes.len()).find(|at| {
        matches!(bytes[*at], b'x' | b'X')
            && (digit(at + 1).is_some() || at.checked_sub(1).is_some_and(|at| digit(at).is_some()))
    })?;
    let found = at
        .checked_sub(1)
        .and_then(digit)
        .or_else(|| digit(at + 1))?;
    Some(usize::from(found - b'0'))
}

fn number(inputs: &[(&str, Value)], wanted: &str) -> Option<f64> {
    inputs.iter().find_map(|(name, value)| match value {
        Value::Plain(value) if *name == wanted => value.as_f64(),
        _ => None,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an edge of at most 8192 times a factor of at most 16"
)]
fn scaled(edge: usize, scale: f64) -> usize {
    ((edge as f64 * scale).round() as usize).clamp(1, EDGE)
}

fn hash(class: &str, inputs: &[(&str, Value)]) -> ContentHash {
    let mut hasher = Hasher::default();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(class.as_bytes());
    let mut inputs: Vec<_> = inputs.iter().collect();
    inputs.sort_unstable_by_key(|(name, _)| *name);
    for (name, value) in inputs {
        part(name.as_bytes());
        match value {
            Value::Stand(stand) => part(stand.hash.to_hex().as_bytes()),
            Value::Image(image) => {
                part(pixels(image.data(), image.width(), image.height()).as_bytes());
            }
            Value::Mask(mask) => part(of_mask(mask).as_bytes()),
            Value::Plain(value) => part(value.to_string().as_bytes()),
        }
    }
    hasher.finish().0
}

fn of_mask(mask: &Mask) -> String {
    pixels(mask.data(), mask.width(), mask.height())
}

fn pixels(data: &[f32], width: usize, height: usize) -> String {
    let bytes: Vec<u8> = data.iter().flat_map(|value| value.to_le_bytes()).collect();
    format!("{width}x{height} {}", ContentHash::of(&bytes).to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_models_name_tells_its_factor() {
        for (name, expected) in [
            ("4x-UltraSharp.pth", Some(4)),
            ("RealESRGAN_x2.pth", Some(2)),
            ("OmniSR_X3_DIV2K.safetensors", Some(3)),
            ("maxim.pth", None),
        ] {
            assert_eq!(factor(name), expected, "{name}");
        }
    }

    #[test]
    fn what_nodes_are_told_travels_along_and_the_nearest_word_wins() {
        let latent = Stand::of(
            "EmptyLatentImage",
            &[
                ("width", Value::Plain(json!(640))),
                ("height", Value::Plain(json!(384))),
                ("batch_size", Value::Plain(json!(2))),
            ],
        );
        let prompt = Stand::of("CLIPTextEncode", &[("text", Value::Plain(json!("a cat")))]);
        let inputs = |seed: u64| {
            vec![
                ("latent_image", Value::Stand(Arc::new(latent.clone()))),
                ("positive", Value::Stand(Arc::new(prompt.clone()))),
                ("seed", Value::Plain(json!(seed))),
            ]
        };
        let made = Stand::of("KSampler", &inputs(7));
        assert_eq!(
            (made.size(), made.batch, made.seed),
            ((640, 384), 2, Some(7))
        );
        assert_eq!(made.texts, ["a cat"]);
        assert_eq!(made.hash, Stand::of("KSampler", &inputs(7)).hash);
        assert_ne!(made.hash, Stand::of("KSampler", &inputs(8)).hash);
    }
}
