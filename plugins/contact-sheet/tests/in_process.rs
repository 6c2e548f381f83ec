//! The plugin, through the same table of functions that kiln uses.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use image::{Rgb, RgbImage};
use kiln_contact_sheet::ContactSheet;
use kiln_plugin::{json, testing};

#[test]
fn pictures_lie_in_a_grid_with_their_tasks_below_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut images = Vec::new();
    for n in 0..3_u8 {
        let path = dir.path().join(format!("{n}.png"));
        RgbImage::from_pixel(40, 20, Rgb([n * 100, 200, 0]))
            .save(&path)
            .unwrap();
        images.push(
            json!({ "path": path, "hash": "00", "name": format!("{n}.png"), "task": "draw" }),
        );
    }
    let mut host = testing::host::<ContactSheet>(json!({ "size": 64 })).unwrap();
    let made = host
        .step(json!({ "images": images, "columns": 2 }), dir.path())
        .unwrap();
    assert_eq!(made[0]["output"], "sheet");
    assert_eq!(made[0]["meta"], json!({ "pictures": 3, "columns": 2 }));
    let sheet = image::open(made[0]["path"].as_str().unwrap())
        .unwrap()
        .to_rgb8();
    assert_eq!(sheet.dimensions(), (2 * 76 + 12, 2 * (64 + 13 + 12) + 12));
    assert_eq!(sheet.get_pixel(12 + 32, 12 + 32).0, [0, 200, 0]);
    assert_eq!(sheet.get_pixel(88 + 32, 12 + 32).0, [100, 200, 0]);
    assert_eq!(sheet.get_pixel(12 + 32, 101 + 32).0, [200, 200, 0]);
    let ink = |top: u32| {
        (12..76).any(|x| (top..top + 7).any(|y| sheet.get_pixel(x, y).0 == [228, 228, 231]))
    };
    assert!(ink(12 + 64 + 6), "a label stands below the first picture");
    assert_eq!(host.progress().len(), 3);
}

#[test]
fn a_file_that_is_no_picture_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.png");
    std::fs::write(&path, "no picture").unwrap();
    let mut host = testing::host::<ContactSheet>(json!({})).unwrap();
    let images = json!([{ "path": path, "hash": "00", "name": "a.png" }]);
    let words = host
        .step(json!({ "images": images }), dir.path())
        .unwrap_err();
    assert!(
        words.starts_with("`a.png` is no picture that can be read"),
        "{words}"
    );
    let words = host.step(json!({ "images": [] }), dir.path()).unwrap_err();
    assert_eq!(words, "there are no pictures for the sheet");
}
