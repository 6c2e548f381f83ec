//! The plugin, through the same table of functions that kiln uses.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use image::{Rgb, RgbImage, Rgba, RgbaImage};
use kiln_plugin::{abi::hook, json, testing};
use kiln_watermark::Watermark;

#[test]
fn the_mark_goes_into_its_corner_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let (mark, picture, text) = ("mark.png", "a.png", "b.txt");
    let at = |name: &str| dir.path().join(name);
    RgbaImage::from_pixel(10, 10, Rgba([255, 255, 255, 255]))
        .save(at(mark))
        .unwrap();
    RgbImage::from_pixel(100, 50, Rgb([0, 0, 0]))
        .save(at(picture))
        .unwrap();
    std::fs::write(at(text), "text").unwrap();
    let file = |name: &str| json!({ "path": at(name), "name": name, "hash": "00" });
    let config = json!({ "image": file(mark), "size": 0.2, "opacity": 0.5, "margin": 0.1 });
    let mut host = testing::host::<Watermark>(config).unwrap();
    let folder = dir.path().join("work");
    std::fs::create_dir(&folder).unwrap();
    let results = json!({ "folder": folder, "artifacts": [file(text), file(picture)] });
    let answer = host.call(hook::AFTER_DOWNLOAD, results).unwrap();
    let changes = &answer["artifacts"];
    assert_eq!(changes[0], json!({ "keep": 0 }));
    assert_eq!(changes[1]["replace"], 1);
    let marked = image::open(changes[1]["path"].as_str().unwrap())
        .unwrap()
        .to_rgb8();
    assert_eq!(marked.dimensions(), (100, 50));
    for (x, y, pixel) in marked.enumerate_pixels() {
        let inside = (75..95).contains(&x) && (25..45).contains(&y);
        assert_eq!(pixel.0, if inside { [128; 3] } else { [0; 3] }, "{x} {y}");
    }
}

#[test]
fn a_mark_that_is_no_picture_is_refused_at_once() {
    let refused = testing::host::<Watermark>(json!({ "image": "mark.png" }));
    assert!(refused.err().unwrap().starts_with("`image` is no file"));
}
