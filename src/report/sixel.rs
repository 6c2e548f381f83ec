//! Sixel: pixels in bands of six rows, one colour after the other, with 252 colours that are always the same.
//!
//! The crates for it choose a palette for each picture, and bring sixteen others for that: pictures as small as these do without.

use std::fmt::Write as _;

use image::imageops::colorops::ColorMap;
use image::{Rgba, RgbaImage};

/// Levels of red, green and blue.
const LEVELS: [u32; 3] = [6, 7, 6];

/// The colours: a cube with evenly spaced levels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cube;

/// The nearest level of a channel.
fn level(value: u8, levels: u32) -> u32 {
    (u32::from(value) * (levels - 1) + 127) / 255
}

/// The value of a level, out of `whole`.
fn value(level: u32, levels: u32, whole: u32) -> u32 {
    (level * whole + (levels - 1) / 2) / (levels - 1)
}

fn index([r, g, b]: [u8; 3]) -> usize {
    let [red, green, blue] = LEVELS;
    let at = (level(r, red) * green + level(g, green)) * blue + level(b, blue);
    at as usize
}

/// The levels of a colour.
fn levels(index: usize) -> [u32; 3] {
    let [_, green, blue] = LEVELS;
    let index = u32::try_from(index).unwrap_or(0);
    [index / blue / green, index / blue % green, index % blue]
}

impl ColorMap for Cube {
    type Color = Rgba<u8>;

    fn index_of(&self, color: &Self::Color) -> usize {
        let Rgba([r, g, b, _]) = *color;
        index([r, g, b])
    }

    fn map_color(&self, color: &mut Self::Color) {
        let of = levels(self.index_of(color));
        for (at, channel) in of.into_iter().enumerate() {
            color.0[at] = u8::try_from(value(channel, LEVELS[at], 255)).unwrap_or(u8::MAX);
        }
    }
}

/// A picture whose colours are those of [`Cube`]. What is more than half transparent is left out.
pub(super) fn encoded(picture: &RgbaImage) -> String {
    let (width, height) = picture.dimensions();
    let mut code = format!("\x1bP0;1q\"1;1;{width};{height}");
    let mut known = [false; 252];
    let colors: Vec<Option<usize>> = picture
        .pixels()
        .map(|&Rgba([r, g, b, a])| (a > 127).then(|| index([r, g, b])))
        .collect();
    for color in colors.iter().flatten() {
        if !std::mem::replace(&mut known[*color], true) {
            let of = levels(*color);
            let part = |at: usize| value(of[at], LEVELS[at], 100);
            let _ = write!(code, "#{color};2;{};{};{}", part(0), part(1), part(2));
        }
    }
    for band in colors.chunks(width.max(1) as usize * 6) {
        let mut used: Vec<usize> = band.iter().flatten().copied().collect();
        used.sort_unstable();
        used.dedup();
        for color in used {
            let _ = write!(code, "#{color}");
            row(&mut code, band, width as usize, color);
            code.push('$');
        }
        code.push('-');
    }
    code.push_str("\x1b\\");
    code
}

/// The pixels of one colour in a band, with repetitions told by their count.
fn row(code: &mut String, band: &[Option<usize>], width: usize, color: usize) {
    let six = |x: usize| {
        let rows = (0..6).filter(|y| band.get(y * width + x) == Some(&Some(color)));
        rows.fold(0u8, |bits, y| bits | (1 << y))
    };
    let mut x = 0;
    while x < width {
        let bits = six(x);
        let run = (x..width).take_while(|at| six(*at) == bits).count();
        let letter = char::from(b'?' + bits);
        let _ = if run > 3 {
            write!(code, "!{run}{letter}")
        } else {
            write!(code, "{}", letter.to_string().repeat(run))
        };
        x += run;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_of_the_cube_is_itself() {
        for at in 0..252 {
            let mut color = Rgba([0, 0, 0, 255]);
            let of = levels(at);
            for channel in 0..3 {
                color.0[channel] = u8::try_from(value(of[channel], LEVELS[channel], 255)).unwrap();
            }
            let before = color;
            Cube.map_color(&mut color);
            assert_eq!((color, Cube.index_of(&color)), (before, at));
        }
    }

    #[test]
    fn a_picture_is_told_in_bands_of_six_rows() {
        let mut picture = RgbaImage::from_pixel(5, 7, Rgba([255, 255, 255, 255]));
        picture.put_pixel(0, 0, Rgba([0, 0, 0, 255]));
        picture.put_pixel(4, 6, Rgba([0, 0, 0, 0]));
        assert_eq!(
            encoded(&picture),
            "\x1bP0;1q\"1;1;5;7#0;2;0;0;0#251;2;100;100;100#0@!4?$#251}!4~$-#251!4@?$-\x1b\\"
        );
    }
}
