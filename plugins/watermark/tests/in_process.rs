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

/// What the plugin makes of one file: whether it leaves it as it is.
fn is_left(name: &str, bytes: &[u8]) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    RgbaImage::from_pixel(10, 10, Rgba([255, 255, 255, 255]))
        .save(at("mark.png"))
        .unwrap();
    std::fs::write(at(name), bytes).unwrap();
    let file = |name: &str| json!({ "path": at(name), "name": name, "hash": "00" });
    let mut host = testing::host::<Watermark>(json!({ "image": file("mark.png") })).unwrap();
    let results = json!({ "folder": dir.path(), "artifacts": [file(name)] });
    let answer = host.call(hook::AFTER_DOWNLOAD, results).unwrap();
    answer.is_null()
}

/// A PNG with chunks put before its pixels.
fn png_with(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(8, 8, Rgb([9, 9, 9]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    let bytes = bytes.into_inner();
    // The signature and the header.
    let (head, rest) = bytes.split_at(8 + 25);
    let mut out = head.to_vec();
    for (kind, data) in chunks {
        out.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        let named = [&kind[..], data].concat();
        out.extend_from_slice(&named);
        out.extend_from_slice(&crc32fast::hash(&named).to_be_bytes());
    }
    out.extend_from_slice(rest);
    out
}

/// A WebP picture that says that it is an animation of one frame.
fn animated_webp() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    RgbImage::from_pixel(8, 8, Rgb([9, 9, 9]))
        .write_to(&mut bytes, image::ImageFormat::WebP)
        .unwrap();
    let still = bytes.into_inner();
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let length = u32::try_from(data.len()).unwrap().to_le_bytes();
        let mut out = [&kind[..], &length, data].concat();
        out.resize(out.len().next_multiple_of(2), 0);
        out
    };
    let size = [7, 0, 0];
    let about = [&[0b10, 0, 0, 0][..], &size, &size].concat();
    // Where it stands, how large it is, for how long, and the picture itself.
    let frame = [&[0; 6][..], &size, &size, &[100, 0, 0, 0], &still[12..]].concat();
    let body = [
        b"WEBP".to_vec(),
        chunk(b"VP8X", &about),
        chunk(b"ANIM", &[0; 6]),
        chunk(b"ANMF", &frame),
    ]
    .concat();
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&b"RIFF"[..], &length, &body].concat()
}

#[test]
fn an_animation_stays_as_it_is() {
    assert!(!is_left("a.png", &png_with(&[])), "a still one is marked");
    let frames = [&2_u32.to_be_bytes()[..], &0_u32.to_be_bytes()].concat();
    assert!(is_left("a.png", &png_with(&[(b"acTL", &frames)])));
    assert!(is_left("a.webp", &animated_webp()));
}
