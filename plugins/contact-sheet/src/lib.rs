//! One picture of many, in a labelled grid: a step.
//!
//! ```yaml
//! sheet:
//!   plugin: contact_sheet
//!   with: { images: "{{ steps.draw.images }}", columns: 3, label: task }
//! ```

mod letters;

use image::imageops::{FilterType, overlay, resize};
use image::{Rgb, RgbImage};
use kiln_plugin::{
    About, Artifact, Call, File, Host, Plugin, Result, Task, Value, fail, files_schema, json,
};

/// The largest sheet, in pixels: half a gigabyte of them is nobody's wish.
const MOST: u64 = 200_000_000;
const GAP: u32 = 12;
const PAPER: Rgb<u8> = Rgb([24, 24, 27]);
const INK: Rgb<u8> = Rgb([228, 228, 231]);

/// The plugin.
#[derive(Debug)]
pub struct ContactSheet {
    config: Value,
}

/// What a sheet is like.
struct Layout {
    columns: u32,
    cell: u32,
    scale: u32,
}

impl Plugin for ContactSheet {
    fn about() -> About {
        let columns = json!({ "type": "integer", "minimum": 1, "maximum": 100, "description": "Pictures side by side; without it, as many as make the sheet square." });
        let size = json!({ "type": "integer", "minimum": 16, "maximum": 4096, "default": 256, "description": "The longer side of each picture on the sheet, pixels." });
        let label = json!({ "enum": ["task", "name", "none"], "default": "task", "description": "What stands below each picture." });
        About::new("contact-sheet", env!("CARGO_PKG_VERSION"))
            .description("One picture of many, in a labelled grid.")
            .config(json!({
                "type": "object",
                "additionalProperties": false,
                "properties": { "columns": columns, "size": size, "label": label },
            }))
            .step(json!({
                "type": "object",
                "required": ["images"],
                "additionalProperties": false,
                "properties": {
                    "images": files_schema("The pictures, in their order."),
                    "columns": columns, "size": size, "label": label,
                },
            }))
            .outputs(&["sheet"])
    }

    fn create(config: &Value, _host: Host) -> Result<Self> {
        Ok(Self {
            config: config.clone(),
        })
    }

    fn step(&mut self, task: &Task, call: Call) -> Result<Vec<Artifact>> {
        let files = task.files("images");
        if files.is_empty() {
            fail!("there are no pictures for the sheet");
        }
        let label = match self.setting(task, "label").as_str() {
            Some(label) => label.to_owned(),
            None => "task".to_owned(),
        };
        let layout = self.layout(task, files.len());
        let sheet = draw(&files, &layout, &label, call)?;
        let path = task.folder().join("contact-sheet.png");
        sheet.save(&path)?;
        let meta = json!({ "pictures": files.len(), "columns": layout.columns });
        Ok(vec![Artifact::file(&path).output("sheet").meta(meta)])
    }
}

impl ContactSheet {
    /// What the step says, or else the project.
    fn setting<'a>(&'a self, task: &'a Task, key: &str) -> &'a Value {
        match &task.with()[key] {
            Value::Null => &self.config[key],
            said => said,
        }
    }

    fn layout(&self, task: &Task, count: usize) -> Layout {
        let number = |key: &str| {
            let said = self.setting(task, key).as_u64();
            said.and_then(|n| u32::try_from(n).ok())
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let square = (1..=count).find(|n| n * n >= count).unwrap_or(1);
        let cell = number("size").unwrap_or(256).clamp(16, 4096);
        Layout {
            columns: number("columns").unwrap_or(square).clamp(1, count),
            cell,
            scale: (cell / 128).max(1),
        }
    }
}

fn draw(files: &[File], layout: &Layout, label: &str, call: Call) -> Result<RgbImage> {
    let text = match label {
        "none" => 0,
        _ => letters::TALL * layout.scale + GAP / 2,
    };
    let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
    let rows = count.div_ceil(layout.columns);
    let (across, down) = (layout.cell + GAP, layout.cell + text + GAP);
    let (width, height) = (layout.columns * across + GAP, rows * down + GAP);
    if u64::from(width) * u64::from(height) > MOST {
        fail!("a sheet of {width}×{height} pixels is too large; choose a smaller `size`");
    }
    let mut sheet = RgbImage::from_pixel(width, height, PAPER);
    for (nth, file) in (0..).zip(files) {
        call.go_on()?;
        let (left, top) = (
            GAP + nth % layout.columns * across,
            GAP + nth / layout.columns * down,
        );
        let picture = match image::open(&file.path) {
            Ok(picture) => picture.to_rgb8(),
            Err(error) => fail!("`{}` is no picture that can be read: {error}", file.name),
        };
        let small = fitted(&picture, layout.cell);
        let (dx, dy) = (
            (layout.cell - small.width()) / 2,
            (layout.cell - small.height()) / 2,
        );
        overlay(&mut sheet, &small, (left + dx).into(), (top + dy).into());
        let words = match label {
            "name" => file.name.as_str(),
            "none" => "",
            // A file of the user's was made by no task.
            _ if file.task.is_empty() => file.name.as_str(),
            _ => file.task.as_str(),
        };
        let place = (left, top + layout.cell + GAP / 2);
        letters::write(&mut sheet, place, (words, layout.cell), layout.scale, INK);
        call.progress(f64::from(nth + 1) / f64::from(count), &file.name);
    }
    Ok(sheet)
}

/// The picture, as large as fits into a square.
fn fitted(picture: &RgbImage, side: u32) -> RgbImage {
    let (width, height) = picture.dimensions();
    let longer = width.max(height).max(1);
    let scaled = |n: u32| {
        let n = u64::from(n) * u64::from(side) / u64::from(longer);
        u32::try_from(n).unwrap_or(side).clamp(1, side)
    };
    resize(picture, scaled(width), scaled(height), FilterType::Triangle)
}

kiln_plugin::export!(ContactSheet);
