//! `ImageCompositeMasked`: one picture pasted onto another through a mask.

use crate::scale::{Crop, Method, resize, resize_mask};
use crate::{Error, Image, Mask};

/// Pastes `source` onto `destination` with its top left corner at `x`, `y` (pixels); what would lie outside is cut off.
///
/// With `resize_source` the source is first stretched to the destination's size, bilinearly. The mask is stretched to the source's size in the same
/// way; where it is 1 the source shows, where it is 0 the destination, between them they are mixed; no mask is 1 everywhere. Source and mask
/// batches are repeated or cut to the destination's. Surplus channels of the source are dropped, missing ones are 1. The result has the
/// destination's shape and is not clamped.
///
/// Source: the `ImageCompositeMasked` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// [`Error::TooLarge`] if a resized source or mask batch is above [`MAX_PIXELS`](crate::MAX_PIXELS).
pub fn composite_masked(
    destination: &Image,
    source: &Image,
    x: usize,
    y: usize,
    resize_source: bool,
    mask: Option<&Mask>,
) -> Result<Image, Error> {
    let mut result = destination.clone();
    let aligned;
    let mut source = source;
    if source.channels() != destination.channels() {
        aligned = source.with_channels(destination.channels());
        source = &aligned;
    }
    let (height, width) = (destination.height(), destination.width());
    let resized;
    if resize_source && (source.height(), source.width()) != (height, width) {
        resized = resize(source, Method::Bilinear, width, height, Crop::Disabled)?;
        source = &resized;
    }
    let stretched = mask
        .map(|mask| resize_mask(mask, source.width(), source.height()))
        .transpose()?;
    let paste = Paste {
        source,
        mask: stretched.as_ref(),
        x: x.min(width),
        y: y.min(height),
    };
    let row = destination.row();
    for (number, frame) in result.data_mut().chunks_exact_mut(height * row).enumerate() {
        paste.onto(frame, number, row);
    }
    Ok(result)
}

/// What is pasted, and where.
struct Paste<'a> {
    source: &'a Image,
    mask: Option<&'a Mask>,
    x: usize,
    y: usize,
}

impl Paste<'_> {
    fn onto(&self, frame: &mut [f32], number: usize, row: usize) {
        let channels = self.source.channels();
        let start = self.x * channels;
        let length = self.source.row().min(row - start);
        if length == 0 {
            return;
        }
        let source = self.source.frame_wrapped(number);
        let mask = self.mask.map(|mask| mask.frame_wrapped(number));
        let targets = frame.chunks_exact_mut(row).skip(self.y);
        let sources = source.chunks_exact(self.source.row());
        for (line, (target, source)) in targets.zip(sources).enumerate() {
            let target = &mut target[start..start + length];
            match mask {
                None => target.copy_from_slice(&source[..length]),
                Some(mask) => {
                    let shares = &mask[line * self.source.width()..];
                    mix(target, &source[..length], shares, channels);
                }
            }
        }
    }
}

/// Mixes pixels by one share each: `source·share + target·(1 - share)`.
fn mix(target: &mut [f32], source: &[f32], shares: &[f32], channels: usize) {
    let pixels = target
        .chunks_exact_mut(channels)
        .zip(source.chunks_exact(channels));
    for ((target, source), share) in pixels.zip(shares) {
        for (target, source) in target.iter_mut().zip(source) {
            *target = source * share + *target * (1.0 - share);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::close;

    fn grey(batch: usize, height: usize, width: usize, value: f32) -> Image {
        Image::filled(batch, height, width, 1, value).unwrap()
    }

    #[test]
    fn a_source_is_pasted_at_its_place_and_cut_at_the_edges() {
        let result =
            composite_masked(&grey(1, 3, 4, 0.0), &grey(1, 2, 2, 1.0), 3, 2, false, None).unwrap();
        let mut expected = [0.0; 12];
        expected[11] = 1.0;
        assert_eq!(result.data(), expected);
    }

    #[test]
    fn a_place_outside_leaves_the_destination_alone() {
        let destination = grey(1, 3, 4, 0.25);
        for (x, y) in [(4, 0), (0, 3), (9000, 9000)] {
            let result =
                composite_masked(&destination, &grey(1, 2, 2, 1.0), x, y, false, None).unwrap();
            assert_eq!(result, destination);
        }
    }

    #[test]
    fn the_mask_is_stretched_to_the_source_and_mixes() {
        let mask = Mask::filled(1, 7, 5, 0.25).unwrap();
        let result = composite_masked(
            &grey(1, 2, 3, 0.0),
            &grey(1, 1, 1, 1.0),
            0,
            0,
            true,
            Some(&mask),
        )
        .unwrap();
        close(result.data(), &[0.25; 2 * 3]);
    }

    #[test]
    fn a_cut_source_keeps_its_mask_in_step() {
        let source = Image::new(1, 2, 2, 1, vec![0.1, 0.2, 0.3, 0.4]).unwrap();
        let mask = Mask::new(1, 2, 2, vec![1.0, 1.0, 0.0, 1.0]).unwrap();
        let result =
            composite_masked(&grey(1, 2, 2, 0.9), &source, 1, 0, false, Some(&mask)).unwrap();
        assert_eq!(result.data(), [0.9, 0.1, 0.9, 0.9]);
    }

    #[test]
    fn batches_are_repeated_or_cut_to_the_destination() {
        let source = Image::new(2, 1, 1, 1, vec![0.1, 0.2]).unwrap();
        let paste =
            |batch| composite_masked(&grey(batch, 1, 1, 0.0), &source, 0, 0, false, None).unwrap();
        assert_eq!(paste(3).data(), [0.1, 0.2, 0.1]);
        assert_eq!(paste(1).data(), [0.1]);
    }

    #[test]
    fn a_source_with_alpha_loses_it_on_a_picture_without() {
        let destination = Image::filled(1, 1, 1, 3, 0.0).unwrap();
        let source = Image::new(1, 1, 1, 4, vec![0.1, 0.2, 0.3, 0.4]).unwrap();
        let result = composite_masked(&destination, &source, 0, 0, false, None).unwrap();
        assert_eq!(result.data(), [0.1, 0.2, 0.3]);
    }
}
