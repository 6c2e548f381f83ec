//! The plugin, through the same table of functions that kiln uses.

#![allow(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::path::Path;

use image::{GrayImage, Luma, imageops::blur};
use kiln_plugin::{Value, json, testing};
use kiln_quality_gate::QualityGate;

fn save(folder: &Path, name: &str, picture: &GrayImage) -> Value {
    let path = folder.join(name);
    picture.save(&path).unwrap();
    json!({ "path": path, "hash": "00", "name": name })
}

/// A board of squares, and a slope across it, so that it looks the same from no other side.
fn board(side: u32) -> GrayImage {
    GrayImage::from_fn(96, 96, |x, y| {
        let white = (x / side + y / side).is_multiple_of(2);
        Luma([u8::try_from(x).unwrap() + if white { 120 } else { 0 }])
    })
}

#[test]
fn a_sharp_picture_scores_above_a_blurred_one_and_a_blank_one_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let sharp = board(8);
    let soft = blur(&sharp, 6.0);
    let sharp = save(dir.path(), "sharp.png", &sharp);
    let soft = save(dir.path(), "soft.png", &soft);
    let black = save(dir.path(), "black.png", &GrayImage::new(64, 64));
    let mut host = testing::host::<QualityGate>(json!({})).unwrap();
    let mut score = |file: &Value| {
        host.function("score", json!([file]))
            .unwrap()
            .as_f64()
            .unwrap()
    };
    let (high, low) = (score(&sharp), score(&soft));
    assert!(high > 0.8 && low < 0.3 && low > 0.0, "{high} and {low}");
    assert!(score(&black).abs() < f64::EPSILON);
    assert_eq!(host.function("is_blank", json!([black])).unwrap(), true);
    assert_eq!(host.function("is_blank", json!([soft])).unwrap(), false);
}

#[test]
fn near_duplicates_are_told_from_other_pictures() {
    let dir = tempfile::tempdir().unwrap();
    let one = board(8);
    let brighter = GrayImage::from_fn(96, 96, |x, y| Luma([one.get_pixel(x, y).0[0] / 2 + 60]));
    let other = image::imageops::rotate90(&board(32));
    let one = save(dir.path(), "one.png", &one);
    let brighter = save(dir.path(), "brighter.png", &brighter);
    let other = save(dir.path(), "other.png", &other);
    let mut host = testing::host::<QualityGate>(json!({})).unwrap();
    let likeness = host.function("alike", json!([one, brighter])).unwrap();
    assert!(likeness.as_f64().unwrap() > 0.95, "{likeness}");
    let likeness = host.function("alike", json!([one, other])).unwrap();
    assert!(likeness.as_f64().unwrap() < 0.9, "{likeness}");
    assert_eq!(
        host.function("is_new", json!([one, [other, brighter]]))
            .unwrap(),
        false
    );
    assert_eq!(
        host.function("is_new", json!([one, [other]])).unwrap(),
        true
    );
    assert_eq!(host.function("is_new", json!([one, []])).unwrap(), true);
    let words = host.function("score", json!(["text"])).unwrap_err();
    assert_eq!(words, "argument 1 of `score` is no file");
}
