//! `ImageBlend`: one picture over another with a factor and a mode.

use std::str::FromStr;

use crate::cast::weight;
use crate::choice::choose;
use crate::image::check_size;
use crate::scale::{Crop, Method, resize};
use crate::{Error, Image};

/// How the second picture acts on the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlendMode {
    /// The second picture alone.
    Normal,
    /// The product.
    Multiply,
    /// The product of the inverses, inverted.
    Screen,
    /// Multiply where the first is dark, screen where it is bright.
    Overlay,
    /// Darkens where the second is dark, brightens where it is bright.
    SoftLight,
    /// First minus second; not its magnitude.
    Difference,
}

impl FromStr for BlendMode {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        choose(
            "blend mode",
            name,
            &[
                ("normal", Self::Normal),
                ("multiply", Self::Multiply),
                ("screen", Self::Screen),
                ("overlay", Self::Overlay),
                ("soft_light", Self::SoftLight),
                ("difference", Self::Difference),
            ],
        )
    }
}

/// Blends `second` into `first`: `first·(1 - factor) + mode(first, second)·factor`, clamped to 0..1, in the shape of `first`.
///
/// A second picture of another size is scaled to the first one's, bicubically with its middle kept; surplus channels of it are dropped, missing
/// ones are 1. A batch of one is repeated for the other batch.
///
/// Source: the `ImageBlend` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// [`Error::Batch`] for two batches of different lengths neither of which is 1; [`Error::EmptyCrop`] if nothing of the second picture fits.
pub fn blend(first: &Image, second: &Image, factor: f64, mode: BlendMode) -> Result<Image, Error> {
    let batch = match (first.batch(), second.batch()) {
        (left, right) if left == right || right == 1 => left,
        (1, right) => right,
        (left, right) => return Err(Error::Batch { left, right }),
    };
    let (height, width) = (first.height(), first.width());
    let aligned;
    let mut second = second;
    if second.channels() != first.channels() {
        aligned = second.with_channels(first.channels());
        second = &aligned;
    }
    let scaled;
    if (second.height(), second.width()) != (height, width) {
        scaled = resize(second, Method::Bicubic, width, height, Crop::Center)?;
        second = &scaled;
    }
    let pixels = check_size(batch, height, width)?;
    let mut data = Vec::with_capacity(pixels * first.channels());
    for frame in 0..batch {
        let pairs = Pairs {
            first: first.frame_wrapped(frame),
            second: second.frame_wrapped(frame),
            factor: weight(factor),
        };
        match mode {
            BlendMode::Normal => pairs.mix(&mut data, |_, b| b),
            BlendMode::Multiply => pairs.mix(&mut data, |a, b| a * b),
            BlendMode::Screen => pairs.mix(&mut data, screen),
            BlendMode::Overlay => pairs.mix(&mut data, overlay),
            BlendMode::SoftLight => pairs.mix(&mut data, soft_light),
            BlendMode::Difference => pairs.mix(&mut data, |a, b| a - b),
        }
    }
    Image::new(batch, height, width, first.channels(), data)
}

/// Two pictures of one shape and the second one's share.
struct Pairs<'a> {
    first: &'a [f32],
    second: &'a [f32],
    factor: f32,
}

impl Pairs<'_> {
    fn mix(&self, out: &mut Vec<f32>, mode: impl Fn(f32, f32) -> f32) {
        let kept = 1.0 - self.factor;
        let values = self.first.iter().zip(self.second);
        out.extend(values.map(|(a, b)| (a * kept + mode(*a, *b) * self.factor).clamp(0.0, 1.0)));
    }
}

fn screen(a: f32, b: f32) -> f32 {
    1.0 - (1.0 - a) * (1.0 - b)
}

fn overlay(a: f32, b: f32) -> f32 {
    if a <= 0.5 {
        2.0 * a * b
    } else {
        1.0 - 2.0 * (1.0 - a) * (1.0 - b)
    }
}

/// The W3C formula: towards `a²` for dark `b`, towards a root-like curve of `a` for bright `b`.
fn soft_light(a: f32, b: f32) -> f32 {
    if b <= 0.5 {
        a - (1.0 - 2.0 * b) * a * (1.0 - a)
    } else {
        let curve = if a <= 0.25 {
            ((16.0 * a - 12.0) * a + 4.0) * a
        } else {
            a.sqrt()
        };
        a + (2.0 * b - 1.0) * (curve - a)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::close;

    fn line(values: &[f32]) -> Image {
        Image::new(1, 1, values.len(), 1, values.to_vec()).unwrap()
    }

    fn blended(mode: BlendMode, factor: f64) -> Vec<f32> {
        let (first, second) = (line(&[0.2, 0.8, 0.4]), line(&[0.9, 0.3, 0.5]));
        blend(&first, &second, factor, mode).unwrap().into_data()
    }

    #[test]
    fn each_mode_follows_its_formula() {
        close(&blended(BlendMode::Normal, 1.0), &[0.9, 0.3, 0.5]);
        close(&blended(BlendMode::Multiply, 1.0), &[0.18, 0.24, 0.2]);
        close(&blended(BlendMode::Screen, 1.0), &[0.92, 0.86, 0.7]);
        close(&blended(BlendMode::Overlay, 1.0), &[0.36, 0.72, 0.4]);
        close(
            &blended(BlendMode::SoftLight, 1.0),
            &[0.2 + 0.8 * (0.448 - 0.2), 0.8 - 0.4 * 0.16, 0.4],
        );
    }

    #[test]
    fn difference_is_signed_and_clamped() {
        close(&blended(BlendMode::Difference, 1.0), &[0.0, 0.5, 0.0]);
        close(&blended(BlendMode::Difference, 0.5), &[0.0, 0.65, 0.15]);
    }

    #[test]
    fn a_factor_of_zero_keeps_the_first_picture() {
        close(&blended(BlendMode::Screen, 0.0), &[0.2, 0.8, 0.4]);
    }

    #[test]
    fn another_size_is_scaled_and_another_channel_count_aligned() {
        let first = Image::filled(1, 4, 6, 3, 0.5).unwrap();
        let second = Image::filled(1, 9, 5, 4, 0.25).unwrap();
        let result = blend(&first, &second, 1.0, BlendMode::Normal).unwrap();
        assert_eq!(
            (result.height(), result.width(), result.channels()),
            (4, 6, 3)
        );
        close(result.data(), &[0.25; 4 * 6 * 3]);
    }

    #[test]
    fn a_batch_of_one_is_repeated_and_unequal_batches_are_refused() {
        let two = Image::new(2, 1, 1, 1, vec![0.1, 0.2]).unwrap();
        let result = blend(&line(&[0.9]), &two, 1.0, BlendMode::Normal).unwrap();
        close(result.data(), &[0.1, 0.2]);
        let three = Image::filled(3, 1, 1, 1, 0.5).unwrap();
        assert!(matches!(
            blend(&two, &three, 1.0, BlendMode::Normal),
            Err(Error::Batch { left: 2, right: 3 })
        ));
    }

    #[test]
    fn modes_are_named_as_in_the_node() {
        assert_eq!(
            "soft_light".parse::<BlendMode>().unwrap(),
            BlendMode::SoftLight
        );
        assert!("burn".parse::<BlendMode>().is_err());
    }
}
