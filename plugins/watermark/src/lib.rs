//! A mark on every picture.
//!
//! ```yaml
//! plugins:
//!   watermark:
//!     path: plugins/watermark
//!     steps: [final]
//!     config: { image: "{{ file('brand/mark.png') }}", corner: bottom-right, size: 0.2, opacity: 0.6 }
//! ```
//!
//! PNG, JPEG and WebP pictures are marked and keep their format; what a PNG carried beside its pixels, such as the workflow, is not kept.
//! Animations and other files stay as they are.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::imageops::{FilterType, resize};
use image::{DynamicImage, ImageFormat, RgbaImage};
use kiln_plugin::{
    About, Artifact, Call, Change, Host, Plugin, Result, Results, Value, fail, file_schema, json,
};

/// The plugin.
#[derive(Debug)]
pub struct Watermark {
    mark: RgbaImage,
    corner: String,
    /// The mark's width, of the picture's.
    size: f64,
    opacity: f64,
    /// The distance from the edges, of the picture's shorter side.
    margin: f64,
}

impl Plugin for Watermark {
    fn about() -> About {
        let part = |default: f64, about: &str| json!({ "type": "number", "minimum": 0, "maximum": 1, "default": default, "description": about });
        About::new("watermark", env!("CARGO_PKG_VERSION"))
            .description("A mark on every picture.")
            .config(json!({
                "type": "object",
                "required": ["image"],
                "additionalProperties": false,
                "properties": {
                    "image": file_schema("The mark, a picture: `\"{{ file('mark.png') }}\"`."),
                    "corner": {
                        "enum": ["top-left", "top-right", "bottom-left", "bottom-right", "center"],
                        "default": "bottom-right", "description": "Where it goes.",
                    },
                    "size": part(0.2, "Its width, of the picture's."),
                    "opacity": part(0.7, "How much it covers."),
                    "margin": part(0.03, "Its distance from the edges, of the picture's shorter side."),
                },
            }))
            .after_download()
    }

    fn create(config: &Value, _host: Host) -> Result<Self> {
        let Some(file) = kiln_plugin::File::of(&config["image"]) else {
            fail!("`image` is no file: write it as `\"{{{{ file('mark.png') }}}}\"`");
        };
        let mark = match image::open(&file.path) {
            Ok(mark) => mark.to_rgba8(),
            Err(error) => fail!("the mark `{}` cannot be read: {error}", file.name),
        };
        let number = |key: &str, usual: f64| config[key].as_f64().unwrap_or(usual);
        Ok(Self {
            mark,
            corner: config["corner"]
                .as_str()
                .unwrap_or("bottom-right")
                .to_owned(),
            size: number("size", 0.2),
            opacity: number("opacity", 0.7),
            margin: number("margin", 0.03),
        })
    }

    fn after_download(&mut self, results: &Results, call: Call) -> Result<Option<Vec<Change>>> {
        let mut changes = results.keep_all();
        let mut any = false;
        for (at, file) in results.files() {
            call.go_on()?;
            let format = ImageFormat::from_path(&file.name);
            let Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) = format
            else {
                continue;
            };
            if moves(&file.path, format)? {
                continue;
            }
            let Ok(picture) = image::open(&file.path) else {
                // Something that only has the name of a picture.
                continue;
            };
            let path = results.folder().join(format!("{at}-{}", file.name));
            let marked = self.marked(picture.to_rgba8());
            let marked = match (format, picture.color().has_alpha()) {
                (ImageFormat::Jpeg, _) | (_, false) => DynamicImage::from(marked).to_rgb8().into(),
                (_, true) => DynamicImage::from(marked),
            };
            marked.save_with_format(&path, format)?;
            changes[at] =
                Change::Replace(at, Artifact::file(&path).meta(json!({ "watermark": true })));
            any = true;
        }
        Ok(any.then_some(changes))
    }
}

/// Whether a picture is an animation, of which only the first frame would be left.
fn moves(path: &Path, format: ImageFormat) -> Result<bool> {
    let file = || File::open(path).map(BufReader::new);
    Ok(match format {
        ImageFormat::WebP => WebPDecoder::new(file()?).is_ok_and(|webp| webp.has_animation()),
        ImageFormat::Png => {
            PngDecoder::new(file()?).is_ok_and(|png| png.is_apng().unwrap_or(false))
        }
        _ => false,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "parts of a picture's sides, which are small positive numbers"
)]
impl Watermark {
    fn marked(&self, mut picture: RgbaImage) -> RgbaImage {
        let (width, height) = picture.dimensions();
        let wide = ((f64::from(width) * self.size) as u32).clamp(1, width);
        let ratio = f64::from(self.mark.height()) / f64::from(self.mark.width().max(1));
        let tall = ((f64::from(wide) * ratio) as u32).clamp(1, height);
        let mark = resize(&self.mark, wide, tall, FilterType::Triangle);
        let margin = (f64::from(width.min(height)) * self.margin) as u32;
        let far = |whole: u32, part: u32| whole.saturating_sub(part + margin);
        let left = match self.corner.as_str() {
            "center" => (width - wide) / 2,
            corner if corner.ends_with("left") => margin.min(width - wide),
            _ => far(width, wide),
        };
        let top = match self.corner.as_str() {
            "center" => (height - tall) / 2,
            corner if corner.starts_with("top") => margin.min(height - tall),
            _ => far(height, tall),
        };
        for (x, y, dot) in mark.enumerate_pixels() {
            let Some(pixel) = picture.get_pixel_mut_checked(left + x, top + y) else {
                continue;
            };
            let cover = f64::from(dot.0[3]) / 255.0 * self.opacity;
            for channel in 0..3 {
                let (below, above) = (f64::from(pixel.0[channel]), f64::from(dot.0[channel]));
                pixel.0[channel] = (below * (1.0 - cover) + above * cover).round() as u8;
            }
        }
        picture
    }
}

kiln_plugin::export!(Watermark);
