//! The one resampler that is not torch's: Pillow's antialiased Lanczos on eight bits, to which `ComfyUI` hands its pictures.
//!
//! Pixels are cut to bytes first, as on saving, and come back as `u8 / 255`; with two or four channels the last one is alpha, and the others are
//! resampled premultiplied. Pillow resamples one axis after the other, and rounds and clips to bytes in between: on contrasty pictures the
//! other order ends up to 26/255 away, which is why no library stands here that chooses its own order. All numbers are whole bytes held
//! in f32; at most 1/255 from Pillow 13 on random pictures and sizes, 2/255 with alpha.

use crate::Error;
use crate::axis::{Axis, Kernel};
use crate::cast::{byte, whole};
use crate::resample::{Region, add_scaled, push_columns};

/// Resamples a region of each picture to `width`×`height`, one after the other, and appends the results to `out`.
pub(crate) fn resample<'a>(
    frames: impl Iterator<Item = &'a [f32]>,
    region: Region,
    width: usize,
    height: usize,
    out: &mut Vec<f32>,
) -> Result<(), Error> {
    let channels = region.channels;
    if channels > 4 {
        return Err(Error::Channels {
            channels,
            problem: "cannot be resampled with lanczos",
        });
    }
    // Pillow copies a picture that has its size already, without a detour through premultiplied alpha.
    let alpha = channels.is_multiple_of(2) && (region.width, region.height) != (width, height);
    let columns = Axis::new(Kernel::Lanczos, 0, region.width, width);
    let rows = Axis::new(Kernel::Lanczos, 0, region.height, height);
    let (mut source, mut between) = (Vec::new(), Vec::new());
    for frame in frames {
        source.clear();
        between.clear();
        push_bytes(frame, region, &mut source);
        if alpha {
            premultiply(&mut source, channels);
        }
        let start = out.len();
        if down_first(region, width, height) {
            down(&source, region.width * channels, &rows, &mut between);
            across(&between, region.width, &columns, channels, out);
        } else {
            across(&source, region.width, &columns, channels, &mut between);
            down(&between, width * channels, &rows, out);
        }
        let result = &mut out[start..];
        if alpha {
            unpremultiply(result, channels);
        }
        for value in result {
            *value /= 255.0;
        }
    }
    Ok(())
}

/// Whether Pillow goes down before it goes across: since version 13, if the height shrinks by more than twice what the width does (measured
/// on 3949 pairs of sizes without an exception; Pillow's pull request 9549). Pillow 12.3 did so for 5 of these pairs only.
fn down_first(region: Region, width: usize, height: usize) -> bool {
    region.height > height && region.height - height + 2 * width > 2 * region.width
}

fn push_bytes(frame: &[f32], region: Region, bytes: &mut Vec<f32>) {
    let start = region.x * region.channels;
    let end = start + region.width * region.channels;
    let rows = frame.chunks_exact(region.stride);
    for row in rows.skip(region.y).take(region.height) {
        bytes.extend(row[start..end].iter().map(|value| f32::from(byte(*value))));
    }
}

fn across(source: &[f32], width: usize, columns: &Axis, channels: usize, out: &mut Vec<f32>) {
    let start = out.len();
    for row in source.chunks_exact(width * channels) {
        push_columns(row, columns, channels, out);
    }
    round(&mut out[start..]);
}

fn down(source: &[f32], length: usize, rows: &Axis, out: &mut Vec<f32>) {
    for (positions, weights) in rows.taps() {
        let start = out.len();
        out.resize(start + length, 0.0);
        let target = &mut out[start..];
        for (y, share) in positions.iter().zip(weights) {
            add_scaled(target, &source[y * length..(y + 1) * length], *share);
        }
        round(target);
    }
}

/// To the nearest byte, halves up.
fn round(values: &mut [f32]) {
    for value in values {
        *value = whole((*value + 0.5).clamp(0.0, 255.0));
    }
}

fn premultiply(values: &mut [f32], channels: usize) {
    for pixel in values.chunks_exact_mut(channels) {
        if let [colors @ .., alpha] = pixel {
            for color in colors {
                *color = whole(*color * *alpha / 255.0 + 0.5);
            }
        }
    }
}

/// Colours are truncated, as Pillow's integer division does; where nothing is opaque they stay.
fn unpremultiply(values: &mut [f32], channels: usize) {
    for pixel in values.chunks_exact_mut(channels) {
        if let [colors @ .., alpha] = pixel
            && *alpha > 0.0
        {
            for color in colors {
                *color = whole((*color * 255.0 / *alpha).min(255.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::unit;

    fn bytes(values: &[u8], region: Region, width: usize, height: usize) -> Vec<u8> {
        let frame: Vec<f32> = values.iter().copied().map(unit).collect();
        let mut out = Vec::new();
        resample(std::iter::once(&frame[..]), region, width, height, &mut out).unwrap();
        out.into_iter().map(byte).collect()
    }

    fn near(left: &[u8], right: &[u8]) {
        assert_eq!(left.len(), right.len());
        for (left, right) in left.iter().zip(right) {
            assert!(left.abs_diff(*right) <= 1, "{left} is not {right}");
        }
    }

    // The expected numbers are Pillow 13's for the same bytes.
    #[test]
    fn a_grey_line_matches_pillow() {
        let line = [20, 200, 60, 250, 0, 130];
        near(
            &bytes(&line, Region::whole(6, 1, 1), 9, 1),
            &[0, 119, 192, 64, 166, 232, 27, 42, 149],
        );
        near(
            &bytes(&line, Region::whole(6, 1, 1), 4, 1),
            &[86, 147, 137, 69],
        );
    }

    #[test]
    fn alpha_is_premultiplied_as_in_pillow() {
        let line = [200, 100, 50, 255, 10, 250, 90, 0, 60, 70, 80, 128];
        let expected = [
            223, 112, 57, 255, 211, 103, 46, 158, 0, 0, 0, 0, 0, 55, 93, 60, 68, 71, 78, 150,
        ];
        near(&bytes(&line, Region::whole(3, 1, 4), 5, 1), &expected);
    }

    #[test]
    fn a_height_that_shrinks_most_is_resampled_first() {
        let picture = [
            255, 0, 255, 0, 255, 0, 255, 0, 0, 255, 0, 255, 0, 128, 128, 255, 255, 128, 128, 0,
            255, 0, 255, 0, 0, 255, 0, 255, 0, 255, 0, 255, 255, 0, 255, 0,
        ];
        let expected = [
            161, 94, 128, 161, 94, 124, 136, 128, 119, 131, 109, 144, 128, 111, 146,
        ];
        near(&bytes(&picture, Region::whole(4, 9, 1), 5, 3), &expected);
        let expected = [161, 94, 106, 149, 106, 150, 178, 77, 94, 161, 136, 119];
        near(&bytes(&picture, Region::whole(4, 9, 1), 2, 6), &expected);
    }

    #[test]
    fn the_same_size_gives_the_same_bytes() {
        let values: Vec<u8> = (0..60).map(|n| n * 4).collect();
        assert_eq!(bytes(&values, Region::whole(5, 4, 3), 5, 4), values);
    }

    #[test]
    fn five_channels_are_refused() {
        let frame = [0.0; 5];
        let mut out = Vec::new();
        let result = resample(
            std::iter::once(&frame[..]),
            Region::whole(1, 1, 5),
            2,
            2,
            &mut out,
        );
        assert!(matches!(result, Err(Error::Channels { channels: 5, .. })));
    }
}
