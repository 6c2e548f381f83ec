//! What steps hand to each other, checked before any of them runs.

use serde_json::json;

use super::{BASE, catalog, check, project};
use crate::support::Done;

#[test]
fn masks_are_checked_across_steps() {
    let paint = r#"{
  "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
  "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 1]}},
  "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}}
}"#;
    let masked = r#"{
  "1": {"class_type": "LoadImageMask", "inputs": {"image": "a.png", "channel": "red"}},
  "2": {"class_type": "MaskToImage", "inputs": {"mask": ["1", 0]}},
  "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}}
}"#;
    let mut info = catalog();
    info["LoadImageMask"] = json!({"input": {"required": {"image": [["a.png"], {"image_upload": true}], "channel": [["alpha", "red"], {}]}}, "output": ["MASK"]});
    info["MaskToImage"] =
        json!({"input": {"required": {"mask": ["MASK", {}]}}, "output": ["IMAGE"]});
    let project = project(&[
        ("base.json", BASE),
        ("next.json", NEXT),
        ("paint.json", paint),
        ("masked.json", masked),
        (
            "wrong.yaml",
            "steps:
  base: { workflow: base.json }
  many: { workflow: base.json, matrix: { i: [1, 2] } }
  list:
    workflow: paint.json
    set: { LoadImage: { image: '{{ mask(steps.many.images, of=steps.base.image) }}' } }
  kind:
    workflow: paint.json
    set: { LoadImage: { image: '{{ mask(steps.base.image, of=steps.base.text) }}' } }
  lost:
    workflow: next.json
    set: { LoadImage: { image: '{{ mask(steps.base.image, of=steps.base.image) }}' } }
  channel:
    workflow: masked.json
    set: { LoadImageMask: { image: '{{ mask(steps.base.image, of=steps.base.image) }}' } }
",
        ),
        (
            "sound.yaml",
            "steps:
  base: { workflow: base.json }
  paint:
    workflow: paint.json
    set: { LoadImage: { image: '{{ mask(steps.base.image, of=steps.base.image) }}' } }
  channel:
    workflow: masked.json
    set: { LoadImageMask: { image: '{{ mask(steps.base.image, of=steps.base.image) }}', channel: alpha } }
",
        ),
    ]);
    project.file("catalog.json", info.to_string());
    insta::assert_snapshot!(check(&project, &["wrong.yaml"]).ok().stderr);
    let sound = check(&project, &["sound.yaml"]).ok();
    assert_eq!(sound.stderr, "ok sound.yaml\n");
}

const NEXT: &str = r#"{
  "1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
  "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}},
  "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}}
}"#;
const SOUND: &str = r#"{
  "1": {"class_type": "LoadAudio", "inputs": {"audio": "a.mp3"}},
  "2": {"class_type": "LoadImage", "inputs": {"image": "a.png"}},
  "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}}
}"#;

fn steps(pipeline: &str) -> Done {
    let project = project(&[
        ("base.json", BASE),
        ("next.json", NEXT),
        ("sound.json", SOUND),
        ("p.yaml", pipeline),
        ("photo.png", "not really"),
        ("film.mp4", "neither"),
    ]);
    check(&project, &["p.yaml"])
}

#[test]
fn kinds_are_checked_across_steps() {
    insta::assert_snapshot!(
        steps(
            "steps:
  base: { workflow: base.json }
  video:
    workflow: next.json
    set: { LoadImage: { image: '{{ steps.base.video }}' } }
  sound:
    workflow: sound.json
    set: { LoadAudio: { audio: '{{ steps.base.image }}' } }
  socket:
    workflow: next.json
    set: { ImageInvert: { image: '{{ steps.base.image }}' } }
  number:
    workflow: base.json
    set: { EmptyImage: { width: '{{ steps.base.image }}' } }
  file:
    workflow: next.json
    set: { LoadImage: { image: \"{{ file('film.mp4') }}\" } }
  program: { command: [echo, '{{ steps.base.audio }}'] }
"
        )
        .ok()
        .stderr
    );
}

#[test]
fn counts_are_checked_across_steps() {
    insta::assert_snapshot!(
        steps(
            "steps:
  base:
    workflow: base.json
    matrix: { i: [1, 2, 3] }
  one:
    workflow: next.json
    set: { LoadImage: { image: '{{ steps.base.image }}' } }
  all:
    workflow: next.json
    set: { LoadImage: { image: '{{ steps.base.images }}' } }
"
        )
        .ok()
        .stderr
    );
}

#[test]
fn steps_that_fit_each_other_need_no_words() {
    let done = steps(
        "steps:
  base:
    workflow: base.json
    matrix: { i: [1, 2, 3] }
    outputs: { final: 2 }
  each:
    workflow: next.json
    for_each: steps.base
    set: { LoadImage: { image: '{{ item.image }}' } }
  images:
    workflow: next.json
    for_each: steps.base.images
    set: { LoadImage: { image: '{{ item }}' } }
  first:
    workflow: next.json
    set: { LoadImage: { image: '{{ steps.base.images[0] }}' } }
  named:
    workflow: next.json
    for_each: steps.base
    set: { LoadImage: { image: '{{ item.outputs.final.image }}' } }
  mine:
    workflow: next.json
    set: { LoadImage: { image: \"{{ file('photo.png') }}\" } }
  program: { command: [echo, '{{ steps.base.images }}', '{{ steps.each.files }}'] }
",
    )
    .ok();
    assert_eq!(done.stderr, "ok p.yaml\n");
}
