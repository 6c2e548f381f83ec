//! `ImagePadForOutpaint`: room around a picture, and the mask that says where to paint.

use crate::cast::{size, weight};
use crate::image::check_size;
use crate::{Error, Image, Mask};

/// Pixels to add on each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Margins {
    /// Columns before the first.
    pub left: usize,
    /// Rows above the first.
    pub top: usize,
    /// Columns after the last.
    pub right: usize,
    /// Rows below the last.
    pub bottom: usize,
}

/// Puts each picture (N×H×W×C) on a larger grey one (0.5 in every channel) and gives the mask (1×H'×W') of what is new: 1 in the margins, 0 in
/// the picture, and `(1 - d/feathering)²` for pixels of the picture less than `feathering` pixels away from a margin.
///
/// The distance `d` counts from 0 at the top and the left, from 1 at the bottom and the right. Sides without a margin are not feathered, and
/// nothing is if twice the feathering reaches the width or the height of the picture.
///
/// Source: the `ImagePadForOutpaint` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// [`Error::TooLarge`] above [`MAX_PIXELS`](crate::MAX_PIXELS).
pub fn pad_for_outpaint(
    image: &Image,
    margins: Margins,
    feathering: usize,
) -> Result<(Image, Mask), Error> {
    let (height, width) = (image.height(), image.width());
    let grow = |edge: usize, before: usize, after: usize| {
        edge.saturating_add(before).saturating_add(after)
    };
    let new_height = grow(height, margins.top, margins.bottom);
    let new_width = grow(width, margins.left, margins.right);
    check_size(image.batch(), new_height, new_width)?;

    let mut padded = Image::filled(image.batch(), new_height, new_width, image.channels(), 0.5)?;
    let (row, new_row) = (image.row(), padded.row());
    let start = margins.left * image.channels();
    let targets = padded.data_mut().chunks_exact_mut(new_height * new_row);
    for (source, target) in image.frames().zip(targets) {
        let targets = target.chunks_exact_mut(new_row).skip(margins.top);
        for (source, target) in source.chunks_exact(row).zip(targets) {
            target[start..start + row].copy_from_slice(source);
        }
    }

    let mut mask = Mask::filled(1, new_height, new_width, 1.0)?;
    let rows = mask.data_mut().chunks_exact_mut(new_width);
    let feather = Feather::new(image, margins, feathering);
    for (y, line) in rows.skip(margins.top).take(height).enumerate() {
        feather.fill(y, &mut line[margins.left..margins.left + width]);
    }
    Ok((padded, mask))
}

/// How the mask rises towards the margins.
struct Feather {
    margins: Margins,
    reach: usize,
    height: usize,
}

impl Feather {
    fn new(image: &Image, margins: Margins, feathering: usize) -> Self {
        let fits = |edge: usize| feathering.saturating_mul(2) < edge;
        let reach = if fits(image.height()) && fits(image.width()) {
            feathering
        } else {
            0
        };
        Self {
            margins,
            reach,
            height: image.height(),
        }
    }

    /// Writes the mask of row `y` of the picture.
    fn fill(&self, y: usize, line: &mut [f32]) {
        let vertical = self.distance(y, self.height, self.margins.top, self.margins.bottom);
        line.fill(self.value(vertical));
        let width = line.len();
        // Only columns this close to a side can differ from the middle of the row.
        for near in 0..self.reach {
            for x in [near, width - 1 - near] {
                let across = self.distance(x, width, self.margins.left, self.margins.right);
                line[x] = self.value(vertical.min(across));
            }
        }
    }

    /// The distance to the nearest of two sides that have a margin, at most `reach`.
    fn distance(&self, position: usize, edge: usize, before: usize, after: usize) -> usize {
        let start = if before == 0 { self.reach } else { position };
        let end = if after == 0 {
            self.reach
        } else {
            edge - position
        };
        start.min(end).min(self.reach)
    }

    fn value(&self, distance: usize) -> f32 {
        if distance >= self.reach {
            return 0.0;
        }
        let share = size(self.reach - distance) / size(self.reach);
        weight(share * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn margins(left: usize, top: usize, right: usize, bottom: usize) -> Margins {
        Margins {
            left,
            top,
            right,
            bottom,
        }
    }

    #[test]
    fn the_picture_lies_inside_grey_margins() {
        let image = Image::new(1, 1, 2, 1, vec![0.1, 0.2]).unwrap();
        let (padded, mask) = pad_for_outpaint(&image, margins(1, 1, 0, 0), 0).unwrap();
        assert_eq!(padded.data(), [0.5, 0.5, 0.5, 0.5, 0.1, 0.2]);
        assert_eq!(mask.data(), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn feathering_falls_with_the_square_and_starts_at_one_on_the_left() {
        let image = Image::filled(1, 9, 9, 1, 0.0).unwrap();
        let (_, mask) = pad_for_outpaint(&image, margins(1, 0, 1, 0), 4).unwrap();
        let expected = [
            1.0, 1.0, 0.5625, 0.25, 0.0625, 0.0, 0.0, 0.0625, 0.25, 0.5625, 1.0,
        ];
        for row in mask.data().chunks(11) {
            assert_eq!(row, expected);
        }
    }

    #[test]
    fn corners_take_the_nearer_side() {
        let image = Image::filled(1, 9, 9, 1, 0.0).unwrap();
        let (_, mask) = pad_for_outpaint(&image, margins(1, 1, 0, 0), 2).unwrap();
        assert_eq!(mask.data()[2 * 10..2 * 10 + 4], [1.0, 1.0, 0.25, 0.25]);
        assert_eq!(mask.data()[3 * 10..3 * 10 + 4], [1.0, 1.0, 0.25, 0.0]);
    }

    #[test]
    fn a_feathering_that_reaches_the_middle_is_none() {
        let image = Image::filled(1, 8, 20, 1, 0.0).unwrap();
        for (feathering, sum) in [(4, 8.0), (3, 8.0 + 8.0 * (1.0 + 4.0 / 9.0 + 1.0 / 9.0))] {
            let (_, mask) = pad_for_outpaint(&image, margins(1, 0, 0, 0), feathering).unwrap();
            let total: f32 = mask.data().iter().sum();
            assert!((total - sum).abs() < 1e-5, "{total} is not {sum}");
        }
    }

    #[test]
    fn margins_beyond_the_limit_are_refused() {
        let image = Image::filled(1, 8, 8, 1, 0.0).unwrap();
        for margins in [
            margins(usize::MAX, 0, 1, 0),
            margins(16_384, 16_384, 16_384, 0),
        ] {
            assert!(matches!(
                pad_for_outpaint(&image, margins, 0),
                Err(Error::TooLarge { .. })
            ));
        }
    }
}
