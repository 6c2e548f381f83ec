//! Functions that tell good pictures from bad ones, for `until`, `when` and `save_as`.
//!
//! ```yaml
//! draw:
//!   workflow: draw.json
//!   set: { KSampler: { seed: "{{ task.seed }}" } }
//!   retry: { attempts: 4, until: score(result.image) > 0.2 }
//! ```
//!
//! - `score(image)`: 0 for a picture that is black, white or of one colour, else how sharp it is, up to 1.
//! - `is_blank(image)`: whether it is black, white or of one colour.
//! - `alike(a, b)`: how alike two pictures are, 0 to 1; above 0.95 they are near-duplicates.
//! - `is_new(image, others)`: whether it is no near-duplicate of any of the others.

use image::GrayImage;
use image::imageops::{FilterType, resize};
use kiln_plugin::{About, Arguments, Call, File, Host, Plugin, Result, Value, fail, json};

/// Pictures are looked at in this size, so that a score means the same for all of them.
const SIDE: u32 = 512;
/// The variance of the Laplacian at which the score is one half.
const HALF: f64 = 150.0;

/// The plugin.
#[derive(Debug)]
pub struct QualityGate {
    /// Below this deviation of brightness a picture is of one colour.
    blank: f64,
    /// From this likeness on two pictures are near-duplicates.
    duplicate: f64,
}

impl Plugin for QualityGate {
    fn about() -> About {
        let part = |default: f64, about: &str| json!({ "type": "number", "minimum": 0, "maximum": 1, "default": default, "description": about });
        About::new("quality-gate", env!("CARGO_PKG_VERSION"))
            .description("Functions that tell good pictures from bad ones.")
            .config(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "blank": part(0.01, "The deviation of brightness below which a picture is of one colour."),
                    "duplicate": part(0.95, "The likeness from which on two pictures are near-duplicates."),
                },
            }))
            .function("score", "How good a picture is: 0 when it is blank, else how sharp it is, up to 1.")
            .function("is_blank", "Whether a picture is black, white or of one colour.")
            .function("alike", "How alike two pictures are, 0 to 1.")
            .function("is_new", "Whether a picture is no near-duplicate of any of a list.")
    }

    fn create(config: &Value, _host: Host) -> Result<Self> {
        Ok(Self {
            blank: config["blank"].as_f64().unwrap_or(0.01),
            duplicate: config["duplicate"].as_f64().unwrap_or(0.95),
        })
    }

    fn function(&mut self, given: &Arguments, call: Call) -> Result<Value> {
        let first = read(&given.file(0)?)?;
        Ok(match given.name() {
            "score" if self.is_blank(&first) => json!(0.0),
            "score" => json!(sharpness(&first)),
            "is_blank" => json!(self.is_blank(&first)),
            "alike" => json!(likeness(&first, &read(&given.file(1)?)?)),
            "is_new" => {
                let others = match given.get(1) {
                    Value::Array(others) => others.iter().filter_map(File::of).collect(),
                    one => File::of(one).into_iter().collect::<Vec<_>>(),
                };
                for other in others {
                    call.go_on()?;
                    if likeness(&first, &read(&other)?) >= self.duplicate {
                        return Ok(json!(false));
                    }
                }
                json!(true)
            }
            other => fail!("there is no function `{other}`"),
        })
    }
}

impl QualityGate {
    fn is_blank(&self, picture: &GrayImage) -> bool {
        deviation(picture) < self.blank
    }
}

fn read(file: &File) -> Result<GrayImage> {
    match image::open(&file.path) {
        Ok(picture) => {
            let picture = picture.to_luma8();
            let longer = picture.width().max(picture.height());
            if longer <= SIDE {
                return Ok(picture);
            }
            let scaled = |n: u32| (n * SIDE / longer).max(1);
            let (width, height) = (scaled(picture.width()), scaled(picture.height()));
            Ok(resize(&picture, width, height, FilterType::Triangle))
        }
        Err(error) => fail!("`{}` is no picture that can be read: {error}", file.name),
    }
}

/// The standard deviation of brightness, of 1.
fn deviation(picture: &GrayImage) -> f64 {
    let values = || picture.pixels().map(|pixel| f64::from(pixel.0[0]) / 255.0);
    variance(values).sqrt()
}

fn variance<I: Iterator<Item = f64>>(values: impl Fn() -> I) -> f64 {
    let (count, sum) = values().fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + value));
    if count == 0.0 {
        return 0.0;
    }
    let mean: f64 = sum / count;
    values().map(|value| (value - mean).powi(2)).sum::<f64>() / count
}

/// How much fine detail there is, as a number from 0 to 1: the variance of the Laplacian.
fn sharpness(picture: &GrayImage) -> f64 {
    let (width, height) = picture.dimensions();
    if width < 3 || height < 3 {
        return 0.0;
    }
    let at = |x: u32, y: u32| f64::from(picture.get_pixel(x, y).0[0]);
    let laplacian = || {
        (1..height - 1)
            .flat_map(move |y| (1..width - 1).map(move |x| (x, y)))
            .map(|(x, y)| {
                at(x - 1, y) + at(x + 1, y) + at(x, y - 1) + at(x, y + 1) - 4.0 * at(x, y)
            })
    };
    let variance = variance(laplacian);
    variance / (variance + HALF)
}

/// Which of 256 neighbours is the brighter one, in 16 rows of 17 pixels.
fn print_of(picture: &GrayImage) -> Vec<bool> {
    let small = resize(picture, 17, 16, FilterType::Triangle);
    let at = |x: u32, y: u32| small.get_pixel(x, y).0[0];
    (0..16)
        .flat_map(|y| (0..16).map(move |x| (x, y)))
        .map(|(x, y)| at(x, y) < at(x + 1, y))
        .collect()
}

fn likeness(a: &GrayImage, b: &GrayImage) -> f64 {
    let (a, b) = (print_of(a), print_of(b));
    let same = a.iter().zip(&b).filter(|(a, b)| a == b).count();
    let count = |n: usize| u32::try_from(n).map_or(f64::MAX, f64::from);
    count(same) / count(a.len())
}

kiln_plugin::export!(QualityGate);
