//! New sizes: `ImageScale` and `ImageScaleBy`, and the resize that other nodes use to make pictures fit.

use std::str::FromStr;

use crate::axis::Kernel;
use crate::cast::{index, size};
use crate::choice::choose;
use crate::image::check_size;
use crate::resample::{Region, resample};
use crate::{Error, Image, Mask, lanczos};

/// How pixels are made up between pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The source pixel whose area holds the centre of the new one.
    NearestExact,
    /// Two by two source pixels, without antialiasing.
    Bilinear,
    /// The mean of all source pixels that the new one touches.
    Area,
    /// Four by four source pixels (A = -0.75), without antialiasing; overshoots stay in the result.
    Bicubic,
    /// Pillow's Lanczos on eight bits, with antialiasing.
    Lanczos,
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        choose(
            "scaling method",
            name,
            &[
                ("nearest-exact", Self::NearestExact),
                ("bilinear", Self::Bilinear),
                ("area", Self::Area),
                ("bicubic", Self::Bicubic),
                ("lanczos", Self::Lanczos),
            ],
        )
    }
}

/// What happens to a picture whose aspect ratio is not that of its new size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crop {
    /// It is stretched.
    Disabled,
    /// It loses as much on two opposite edges as makes it fit.
    Center,
}

impl FromStr for Crop {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        choose(
            "crop",
            name,
            &[("disabled", Self::Disabled), ("center", Self::Center)],
        )
    }
}

/// Scales each picture to `width`×`height` pixels: N×H×W×C to N×height×width×C, not clamped.
///
/// A width or height of 0 follows from the other one and the picture's own ratio (rounded half to even, at least 1); with both 0 the picture
/// stays as it is.
///
/// Source: the `ImageScale` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// [`Error::TooLarge`] above [`MAX_PIXELS`](crate::MAX_PIXELS); [`Error::EmptyCrop`] if the crop leaves nothing; [`Error::Channels`] for
/// lanczos with more than four channels.
pub fn scale(
    image: &Image,
    method: Method,
    width: usize,
    height: usize,
    crop: Crop,
) -> Result<Image, Error> {
    let follow = |edge: usize, other: usize, known: usize| {
        index((size(edge) * size(known) / size(other)).round_ties_even()).max(1)
    };
    let (width, height) = match (width, height) {
        (0, 0) => return Ok(image.clone()),
        (0, height) => (follow(image.width(), image.height(), height), height),
        (width, 0) => (width, follow(image.height(), image.width(), width)),
        both => both,
    };
    resize(image, method, width, height, crop)
}

/// Scales each picture by a factor: both edges are multiplied and rounded half to even.
///
/// Source: the `ImageScaleBy` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// [`Error::Parameter`] for a factor that is no positive number, [`Error::EmptyResult`] if an edge rounds to 0 (torch refuses that too),
/// otherwise as [`scale`].
pub fn scale_by(image: &Image, method: Method, factor: f64) -> Result<Image, Error> {
    if !(factor > 0.0 && factor.is_finite()) {
        return Err(Error::Parameter {
            name: "scale_by",
            expected: "a positive number",
            value: factor,
        });
    }
    let edge = |edge: usize| index((size(edge) * factor).round_ties_even());
    resize(
        image,
        method,
        edge(image.width()),
        edge(image.height()),
        Crop::Disabled,
    )
}

/// [`scale`] without the special meaning of 0.
pub(crate) fn resize(
    image: &Image,
    method: Method,
    width: usize,
    height: usize,
    crop: Crop,
) -> Result<Image, Error> {
    let pixels = check_size(image.batch(), height, width)?;
    if pixels == 0 {
        return Err(Error::EmptyResult { width, height });
    }
    let region = region(image, width, height, crop);
    if region.width == 0 || region.height == 0 {
        // torch refuses a picture without pixels, Pillow makes black of it.
        return match method {
            Method::Lanczos => Image::filled(image.batch(), height, width, image.channels(), 0.0),
            _ => Err(Error::EmptyCrop { width, height }),
        };
    }
    let mut data = Vec::with_capacity(pixels * image.channels());
    let kernel = match method {
        Method::NearestExact => Kernel::NearestExact,
        Method::Bilinear => Kernel::Bilinear,
        Method::Area => Kernel::Area,
        Method::Bicubic => Kernel::Bicubic,
        Method::Lanczos => {
            lanczos::resample(image.frames(), region, width, height, &mut data)?;
            return Image::new(image.batch(), height, width, image.channels(), data);
        }
    };
    for frame in image.frames() {
        resample(frame, region, kernel, width, height, &mut data);
    }
    Image::new(image.batch(), height, width, image.channels(), data)
}

/// Stretches masks to `width`×`height` bilinearly.
pub(crate) fn resize_mask(mask: &Mask, width: usize, height: usize) -> Result<Mask, Error> {
    let mut data = Vec::with_capacity(check_size(mask.batch(), height, width)?);
    let region = Region::whole(mask.width(), mask.height(), 1);
    for frame in mask.frames() {
        resample(frame, region, Kernel::Bilinear, width, height, &mut data);
    }
    Mask::new(mask.batch(), height, width, data)
}

/// The part of the picture that is scaled: all of it, or its middle with the ratio of the new size. What is cut off is rounded half to even
/// per side and the same on both, so a region may be a pixel away from the exact ratio, and empty for an extreme one.
fn region(image: &Image, width: usize, height: usize, crop: Crop) -> Region {
    let mut region = Region::whole(image.width(), image.height(), image.channels());
    if crop == Crop::Disabled {
        return region;
    }
    let ratio = size(image.width()) / size(image.height());
    let target = size(width) / size(height);
    let margin = |edge: usize, share: f64| {
        let side = index(((size(edge) - size(edge) * share) / 2.0).round_ties_even());
        side.min(edge / 2)
    };
    if ratio > target {
        region.x = margin(region.width, target / ratio);
        region.width -= 2 * region.x;
    } else if ratio < target {
        region.y = margin(region.height, ratio / target);
        region.height -= 2 * region.y;
    }
    region
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cast::weight;
    use crate::invert;

    fn ramp(width: usize, height: usize) -> Image {
        let data = (0..width * height * 3)
            .map(|n| weight(size(n) / 1000.0))
            .collect();
        Image::new(1, height, width, 3, data).unwrap()
    }

    fn shape(image: &Image) -> (usize, usize) {
        (image.width(), image.height())
    }

    #[test]
    fn a_zero_edge_follows_the_ratio_and_rounds_half_to_even() {
        let picture = ramp(5, 10);
        for (asked, given) in [
            ((0, 20), (10, 20)),
            ((20, 0), (20, 40)),
            ((0, 5), (2, 5)),
            ((0, 7), (4, 7)),
            ((0, 0), (5, 10)),
        ] {
            let scaled = scale(&picture, Method::Area, asked.0, asked.1, Crop::Disabled).unwrap();
            assert_eq!(shape(&scaled), given);
        }
        let sliver = scale(&ramp(1, 50), Method::Area, 0, 3, Crop::Disabled).unwrap();
        assert_eq!(shape(&sliver), (1, 3));
    }

    #[test]
    fn a_factor_rounds_half_to_even() {
        let scaled = scale_by(&ramp(5, 7), Method::Bilinear, 0.5).unwrap();
        assert_eq!(shape(&scaled), (2, 4));
    }

    #[test]
    fn a_factor_that_leaves_nothing_is_refused() {
        let error = scale_by(&ramp(5, 7), Method::Bilinear, 0.01).unwrap_err();
        assert_eq!(error.to_string(), "the result would be 0×0 pixels");
        assert!(matches!(
            scale_by(&ramp(5, 7), Method::Bilinear, f64::NAN),
            Err(Error::Parameter { .. })
        ));
    }

    #[test]
    fn center_cuts_the_same_from_both_sides() {
        let picture = ramp(10, 4);
        let scaled = scale(&picture, Method::NearestExact, 4, 4, Crop::Center).unwrap();
        let expected: Vec<f32> = picture
            .data()
            .chunks(30)
            .flat_map(|row| row[9..21].to_vec())
            .collect();
        assert_eq!(scaled.data(), expected);
    }

    #[test]
    fn a_crop_that_leaves_nothing_is_refused_by_torch_and_black_in_pillow() {
        let picture = invert(ramp(4, 50));
        let scaled = |method| scale(&picture, method, 300, 4, Crop::Center);
        assert!(matches!(
            scaled(Method::Bicubic),
            Err(Error::EmptyCrop {
                width: 300,
                height: 4
            })
        ));
        let black = scaled(Method::Lanczos).unwrap();
        assert!(black.data().iter().all(|value| *value == 0.0));
        assert_eq!(shape(&black), (300, 4));
    }

    #[test]
    fn the_same_size_gives_the_same_values() {
        let picture = ramp(6, 5);
        for method in [
            Method::NearestExact,
            Method::Bilinear,
            Method::Area,
            Method::Bicubic,
        ] {
            let scaled = scale(&picture, method, 6, 5, Crop::Center).unwrap();
            assert_eq!(scaled.data(), picture.data(), "{method:?}");
        }
    }

    #[test]
    fn bicubic_overshoot_is_kept() {
        let edge = Image::new(1, 1, 4, 1, vec![0.0, 0.0, 1.0, 1.0]).unwrap();
        let scaled = scale(&edge, Method::Bicubic, 16, 1, Crop::Disabled).unwrap();
        assert!(scaled.data().iter().any(|value| *value > 1.0));
        assert!(scaled.data().iter().any(|value| *value < 0.0));
    }

    #[test]
    fn every_picture_of_a_batch_is_scaled() {
        let mut data = ramp(4, 3).into_data();
        data.extend(ramp(4, 3).into_data().iter().map(|value| value + 0.5));
        let both = Image::new(2, 3, 4, 3, data).unwrap();
        for method in [Method::Area, Method::Lanczos] {
            let scaled = scale(&both, method, 2, 2, Crop::Disabled).unwrap();
            assert_eq!(scaled.batch(), 2);
            let mut frames = scaled.frames();
            assert!(frames.next().unwrap()[0] + 0.4 < frames.next().unwrap()[0]);
        }
    }

    #[test]
    fn a_result_beyond_the_limit_is_refused() {
        assert!(matches!(
            scale(&ramp(4, 4), Method::Area, 20_000, 20_000, Crop::Disabled),
            Err(Error::TooLarge { .. })
        ));
    }
}
