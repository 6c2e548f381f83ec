//! Pictures and masks out of nothing: `EmptyImage` and `SolidMask`.

use crate::cast::{unit, weight};
use crate::image::check_size;
use crate::{Error, Image, Mask};

/// A batch of RGB pictures (N×H×W×3) in one colour, given as `0xRRGGBB`; bits above the lowest 24 are ignored.
///
/// Source: the `EmptyImage` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// [`Error::Shape`] for a zero edge or batch, [`Error::TooLarge`] above [`MAX_PIXELS`](crate::MAX_PIXELS).
pub fn empty_image(width: usize, height: usize, batch: usize, color: u32) -> Result<Image, Error> {
    let pixels = check_size(batch, height, width)?;
    let [_, red, green, blue] = color.to_be_bytes();
    let data = [unit(red), unit(green), unit(blue)].repeat(pixels);
    Image::new(batch, height, width, 3, data)
}

/// One mask (1×H×W) with the same value everywhere.
///
/// Source: the `SolidMask` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// [`Error::Shape`] for a zero edge, [`Error::TooLarge`] above [`MAX_PIXELS`](crate::MAX_PIXELS).
pub fn solid_mask(value: f64, width: usize, height: usize) -> Result<Mask, Error> {
    Mask::filled(1, height, width, weight(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_image_repeats_its_colour_over_the_batch() {
        let image = empty_image(3, 2, 2, 0x33_66_99).unwrap();
        assert_eq!(
            (
                image.batch(),
                image.height(),
                image.width(),
                image.channels()
            ),
            (2, 2, 3, 3)
        );
        for pixel in image.data().chunks(3) {
            assert_eq!(pixel, [0.2, 0.4, 0.6]);
        }
    }

    #[test]
    fn a_solid_mask_has_one_value() {
        let mask = solid_mask(0.6, 4, 2).unwrap();
        assert_eq!((mask.batch(), mask.height(), mask.width()), (1, 2, 4));
        assert!(mask.data().iter().all(|value| *value == 0.6));
    }
}
