//! Nothing is lost and nothing done twice: kiln is killed, its requests are lost, its servers die, and the same files come out.
//!
//! Each proof runs a sample here; `KILN_PROOF=long` makes it the whole thing, which `.ci/long` does.

mod ambiguity;
mod killed;
mod soak;

use std::path::Path;

use serde_json::json;

use crate::support::{Project, blurred, pictures};

/// Whether the whole proof is wanted, and not a sample of it.
pub(crate) fn long() -> bool {
    std::env::var_os("KILN_PROOF").is_some_and(|v| v == "long")
}

/// Numbers that look random and are the same every time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// A pipeline that draws `count` pictures and inverts each as soon as it is there.
pub(crate) fn two_by(count: u64, size: u32) -> Project {
    let project = Project::new();
    let mut draw = blurred(0, size, 3);
    draw["99"]["inputs"]["filename_prefix"] = json!("draw");
    project.file("draw.json", draw.to_string());
    let invert = json!({
        "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
        "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "invert"}}
    });
    project.file("invert.json", invert.to_string());
    project.file(
        "p.yaml",
        format!(
            r#"steps:
  draw:
    workflow: draw.json
    matrix: {{ i: "{{{{ range({count}) }}}}" }}
    set: {{ EmptyImage: {{ color: "{{{{ {COLOUR} + matrix.i }}}}" }} }}
    save_as: "{{{{ matrix.i }}}}"
  invert:
    workflow: invert.json
    for_each: steps.draw
    set: {{ LoadImage: {{ image: "{{{{ item.image }}}}" }} }}
    save_as: "{{{{ item.matrix.i }}}}"
"#
        ),
    );
    project
}

/// The first colour of [`two_by`].
pub(crate) const COLOUR: u64 = 0x0040_2000;

/// Whether exactly the right pictures of [`two_by`] are in a folder of results.
#[track_caller]
pub(crate) fn assert_right(folder: &Path, count: u64) {
    for i in 0..count {
        let colour = COLOUR + i;
        let [_, r, g, b, ..] = (colour << 32).to_be_bytes();
        assert_colour(&folder.join(format!("draw/{i}.png")), [r, g, b]);
        assert_colour(
            &folder.join(format!("invert/{i}.png")),
            [255 - r, 255 - g, 255 - b],
        );
    }
    for step in ["draw", "invert"] {
        let pictures = pictures(&folder.join(step));
        assert_eq!(pictures.len() as u64, count, "{step}: {pictures:?}");
    }
}

#[track_caller]
pub(crate) fn assert_colour(path: &Path, colour: [u8; 3]) {
    let image = image::open(path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        .to_rgb8();
    for pixel in image.pixels() {
        for (is, should) in pixel.0.iter().zip(colour) {
            assert!(is.abs_diff(should) <= 1, "{}: {pixel:?}", path.display());
        }
    }
}
