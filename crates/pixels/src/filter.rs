//! `ImageBlur` and `ImageSharpen`: one Gaussian, padded by reflection.
//!
//! `ComfyUI`'s Gaussian does not measure sigma in pixels: its coordinates run from -1 to 1 across the kernel, whatever the radius. It is separable,
//! so each output row is summed from rows, then along itself. Sharpening needs no kernel of its own: minus ten alpha times the Gaussian with a
//! centre that brings the sum to 1 is the same as `x + 10·alpha·(x - blurred)`.

use crate::cast::{size, weight};
use crate::{Error, Image};

/// Values per turn of the summation: few enough that sums and sources stay in the nearest cache.
const TILE: usize = 1024;

/// Blurs each picture (N×H×W×C, shape kept, not clamped) with a Gaussian of `2·radius + 1` pixels; `sigma` is in half kernels. A radius of 0
/// changes nothing.
///
/// Source: the `ImageBlur` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// [`Error::RadiusTooLarge`] if the radius reaches an edge's length, as in torch's reflection; [`Error::Parameter`] for a sigma that is no
/// positive number.
pub fn blur(image: &Image, radius: usize, sigma: f64) -> Result<Image, Error> {
    filter(image, radius, sigma, |row, blurred| {
        row.copy_from_slice(blurred);
    })
}

/// Sharpens each picture (N×H×W×C, shape kept, clamped to 0..1) by `10·alpha` times its difference from its blur. A radius of 0 changes
/// nothing, not even values outside 0..1.
///
/// Source: the `ImageSharpen` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// As [`blur`].
pub fn sharpen(image: &Image, radius: usize, sigma: f64, alpha: f64) -> Result<Image, Error> {
    let amount = weight(alpha * 10.0);
    filter(image, radius, sigma, |row, blurred| {
        for (value, blurred) in row.iter_mut().zip(blurred) {
            *value = (*value + amount * (*value - blurred)).clamp(0.0, 1.0);
        }
    })
}

/// Hands every row of a copy of the picture to `finish`, together with the same row blurred.
fn filter(
    image: &Image,
    radius: usize,
    sigma: f64,
    finish: impl Fn(&mut [f32], &[f32]),
) -> Result<Image, Error> {
    let mut result = image.clone();
    if radius == 0 {
        return Ok(result);
    }
    let (width, height, channels) = (image.width(), image.height(), image.channels());
    if radius >= width || radius >= height {
        return Err(Error::RadiusTooLarge {
            radius,
            width,
            height,
        });
    }
    let half = half_gaussian(radius, sigma)?;
    let length = image.row();
    let margin = radius * channels;
    let mut padded = vec![0.0; length + 2 * margin];
    let mut blurred = vec![0.0; length];
    let targets = result.data_mut().chunks_exact_mut(height * length);
    for (source, target) in image.frames().zip(targets) {
        let row = |y: usize| &source[y * length..(y + 1) * length];
        for (y, target) in target.chunks_exact_mut(length).enumerate() {
            sum_symmetric(&mut padded[margin..margin + length], &half, |distance| {
                let above = row(y.abs_diff(distance));
                let below = row(reflect_end(y + distance, height));
                (above, below)
            });
            reflect_row(&mut padded, radius, width, channels);
            sum_symmetric(&mut blurred, &half, |distance| {
                let step = distance * channels;
                let left = &padded[margin - step..margin - step + length];
                let right = &padded[margin + step..margin + step + length];
                (left, right)
            });
            finish(target, &blurred);
        }
    }
    Ok(result)
}

/// The weights from the centre outwards, so that the whole kernel sums to 1.
fn half_gaussian(radius: usize, sigma: f64) -> Result<Vec<f32>, Error> {
    if !(sigma > 0.0 && sigma.is_finite()) {
        return Err(Error::Parameter {
            name: "sigma",
            expected: "a positive number",
            value: sigma,
        });
    }
    let half: Vec<f64> = (0..=radius)
        .map(|distance| size(distance) / size(radius) / sigma)
        .map(|x| (-x * x / 2.0).exp())
        .collect();
    let sum = half[0] + 2.0 * half[1..].iter().sum::<f64>();
    Ok(half.into_iter().map(|value| weight(value / sum)).collect())
}

/// `sum[i] = half[0]·centre[i] + Σ half[d]·(before[i] + after[i])`, where `sources(d)` gives the two lines at distance `d`.
fn sum_symmetric<'a>(
    sum: &mut [f32],
    half: &[f32],
    sources: impl Fn(usize) -> (&'a [f32], &'a [f32]),
) {
    for (number, sum) in sum.chunks_mut(TILE).enumerate() {
        let tile = number * TILE..number * TILE + sum.len();
        let (centre, _) = sources(0);
        for (sum, value) in sum.iter_mut().zip(&centre[tile.clone()]) {
            *sum = half[0] * value;
        }
        for (distance, share) in half.iter().enumerate().skip(1) {
            let (before, after) = sources(distance);
            let pairs = before[tile.clone()].iter().zip(&after[tile.clone()]);
            for (sum, (before, after)) in sum.iter_mut().zip(pairs) {
                *sum += share * (before + after);
            }
        }
    }
}

/// A position that may lie beyond the last one, mirrored at the last one.
fn reflect_end(position: usize, length: usize) -> usize {
    position.min(2 * (length - 1) - position)
}

/// Fills the margins of a padded row with its pixels, mirrored at the first and at the last one.
fn reflect_row(padded: &mut [f32], radius: usize, width: usize, channels: usize) {
    for distance in 1..=radius {
        let pixel = |x: usize| x * channels..(x + 1) * channels;
        padded.copy_within(pixel(radius + distance), pixel(radius - distance).start);
        let last = radius + width - 1;
        padded.copy_within(pixel(last - distance), pixel(last + distance).start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Image {
        let data = (0..24_u16)
            .map(|n| f32::from(n * 37 % 101) / 100.0)
            .collect();
        Image::new(2, 3, 4, 1, data).unwrap()
    }

    /// The definition, pixel by pixel, with a two-dimensional kernel.
    fn slow_blur(image: &Image, radius: usize, sigma: f64) -> Vec<f64> {
        let whole = |value: usize| i32::try_from(value).unwrap();
        let (width, height, radius) = (whole(image.width()), whole(image.height()), whole(radius));
        let mirror = |p: i32, n: i32| {
            if p < 0 {
                -p
            } else if p >= n {
                2 * (n - 1) - p
            } else {
                p
            }
        };
        let gauss = |dx: i32, dy: i32| {
            let (x, y) = (
                f64::from(dx) / f64::from(radius),
                f64::from(dy) / f64::from(radius),
            );
            (-(x * x + y * y) / (2.0 * sigma * sigma)).exp()
        };
        let mut out = Vec::new();
        for frame in image.frames() {
            for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
                let (mut sum, mut total) = (0.0, 0.0);
                for dy in -radius..=radius {
                    for dx in -radius..=radius {
                        let at = mirror(y + dy, height) * width + mirror(x + dx, width);
                        sum += gauss(dx, dy) * f64::from(frame[usize::try_from(at).unwrap()]);
                        total += gauss(dx, dy);
                    }
                }
                out.push(sum / total);
            }
        }
        out
    }

    #[test]
    fn blur_is_the_two_dimensional_gaussian_over_mirrored_edges() {
        for radius in 1..=2 {
            for sigma in [0.1, 0.5, 1.0, 4.0] {
                let image = picture();
                let fast = blur(&image, radius, sigma).unwrap();
                for (fast, slow) in fast.data().iter().zip(slow_blur(&image, radius, sigma)) {
                    assert!((f64::from(*fast) - slow).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn channels_do_not_mix() {
        let grey = picture();
        let data = grey
            .data()
            .iter()
            .flat_map(|v| [*v, 0.0, 1.0 - v])
            .collect();
        let colour = blur(&Image::new(2, 3, 4, 3, data).unwrap(), 2, 0.7).unwrap();
        let grey = blur(&grey, 2, 0.7).unwrap();
        for (pixel, grey) in colour.data().chunks(3).zip(grey.data()) {
            assert!((pixel[0] - grey).abs() < 1e-6 && pixel[1] == 0.0);
            assert!((pixel[2] - (1.0 - grey)).abs() < 1e-6);
        }
    }

    #[test]
    fn rows_longer_than_a_tile_have_no_seams() {
        let data = vec![0.25; 3 * 3000];
        let wide = blur(&Image::new(1, 3, 3000, 1, data).unwrap(), 2, 1.0).unwrap();
        assert!(wide.data().iter().all(|value| (value - 0.25).abs() < 1e-6));
    }

    #[test]
    fn a_radius_of_zero_changes_nothing() {
        assert_eq!(blur(&picture(), 0, 1.0).unwrap(), picture());
        assert_eq!(sharpen(&picture(), 0, 1.0, 1.0).unwrap(), picture());
    }

    #[test]
    fn a_radius_as_long_as_an_edge_is_refused() {
        assert!(matches!(
            blur(&picture(), 3, 1.0),
            Err(Error::RadiusTooLarge { radius: 3, .. })
        ));
    }

    #[test]
    fn a_sigma_of_zero_is_refused() {
        let error = sharpen(&picture(), 1, 0.0, 1.0).unwrap_err();
        assert_eq!(error.to_string(), "sigma must be a positive number, not 0");
    }

    #[test]
    fn sharpening_moves_values_away_from_the_blur_and_clamps() {
        let (image, alpha) = (picture(), 0.05);
        let blurred = blur(&image, 1, 1.0).unwrap();
        let sharp = sharpen(&image, 1, 1.0, alpha).unwrap();
        let expected = image
            .data()
            .iter()
            .zip(blurred.data())
            .map(|(x, b)| (x * 1.5 - 0.5 * b).clamp(0.0, 1.0));
        for (sharp, expected) in sharp.data().iter().zip(expected) {
            assert!((sharp - expected).abs() < 1e-6);
        }
    }
}
