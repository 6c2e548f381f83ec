//! The stand-in picture: two colours and a slope from a hash, what it was made from in words, and `SIMULATED` across it.

use kiln_pixels::{Error, Image};

use super::stand::Stand;

/// Letters are five columns of seven dots.
const WIDE: usize = 5;
const TALL: usize = 7;
/// The most pixels that one batch is painted with; larger ones are painted smaller.
const MOST: usize = 1 << 24;
/// Space, digits, capitals: five columns each, the lowest bit on top.
const FONT: [[u8; WIDE]; 37] = [
    [0x00, 0x00, 0x00, 0x00, 0x00],
    [0x3e, 0x51, 0x49, 0x45, 0x3e],
    [0x00, 0x42, 0x7f, 0x40, 0x00],
    [0x42, 0x61, 0x51, 0x49, 0x46],
    [0x21, 0x41, 0x45, 0x4b, 0x31],
    [0x18, 0x14, 0x12, 0x7f, 0x10],
    [0x27, 0x45, 0x45, 0x45, 0x39],
    [0x3c, 0x4a, 0x49, 0x49, 0x30],
    [0x01, 0x71, 0x09, 0x05, 0x03],
    [0x36, 0x49, 0x49, 0x49, 0x36],
    [0x06, 0x49, 0x49, 0x29, 0x1e],
    [0x7e, 0x11, 0x11, 0x11, 0x7e],
    [0x7f, 0x49, 0x49, 0x49, 0x36],
    [0x3e, 0x41, 0x41, 0x41, 0x22],
    [0x7f, 0x41, 0x41, 0x22, 0x1c],
    [0x7f, 0x49, 0x49, 0x49, 0x41],
    [0x7f, 0x09, 0x09, 0x09, 0x01],
    [0x3e, 0x41, 0x49, 0x49, 0x7a],
    [0x7f, 0x08, 0x08, 0x08, 0x7f],
    [0x00, 0x41, 0x7f, 0x41, 0x00],
    [0x20, 0x40, 0x41, 0x3f, 0x01],
    [0x7f, 0x08, 0x14, 0x22, 0x41],
    [0x7f, 0x40, 0x40, 0x40, 0x40],
    [0x7f, 0x02, 0x0c, 0x02, 0x7f],
    [0x7f, 0x04, 0x08, 0x10, 0x7f],
    [0x3e, 0x41, 0x41, 0x41, 0x3e],
    [0x7f, 0x09, 0x09, 0x09, 0x06],
    [0x3e, 0x41, 0x51, 0x21, 0x5e],
    [0x7f, 0x09, 0x19, 0x29, 0x46],
    [0x46, 0x49, 0x49, 0x49, 0x31],
    [0x01, 0x01, 0x7f, 0x01, 0x01],
    [0x3f, 0x40, 0x40, 0x40, 0x3f],
    [0x1f, 0x20, 0x40, 0x20, 0x1f],
    [0x3f, 0x40, 0x38, 0x40, 0x3f],
    [0x63, 0x14, 0x08, 0x14, 0x63],
    [0x07, 0x08, 0x70, 0x08, 0x07],
    [0x61, 0x51, 0x49, 0x45, 0x43],
];

/// A batch of stand-in pictures.
pub(super) fn pictures(stand: &Stand) -> Result<Image, Error> {
    let count = (stand.batch.max(1) * stand.length.max(1)).min(1024);
    let (width, height) = fitting(stand.size(), count);
    let mut data = Vec::with_capacity(count * width * height * 3);
    let source = stand
        .source
        .as_deref()
        .filter(|image| image.channels() >= 3);
    for index in 0..count {
        let mut canvas = Canvas::new(width, height, stand, index, count);
        if let Some(source) = source {
            canvas.lay_over(source, index);
        }
        canvas.letter(stand, index);
        data.extend_from_slice(&canvas.data);
    }
    Image::new(count, height, width, 3, data)
}

/// A small one, while it is being made.
pub(super) fn preview(stand: &Stand) -> Result<Image, Error> {
    let (width, height) = stand.size();
    let larger = width.max(height).max(1);
    let small = |edge: usize| (edge * 128 / larger).max(8);
    let stand = Stand {
        width: small(width),
        height: small(height),
        batch: 1,
        length: 1,
        ..stand.clone()
    };
    pictures(&stand)
}

fn fitting((mut width, mut height): (usize, usize), count: usize) -> (usize, usize) {
    while width * height * count > MOST && width.min(height) > 16 {
        width /= 2;
        height /= 2;
    }
    (width.max(1), height.max(1))
}

struct Canvas {
    width: usize,
    height: usize,
    /// One pixel of a letter is so many pixels of the picture.
    dot: usize,
    data: Vec<f32>,
    /// How much of a source picture is kept, in 256ths.
    keep: usize,
}

impl Canvas {
    /// A slope between two colours. In a batch and in a video it moves from picture to picture.
    fn new(width: usize, height: usize, stand: &Stand, index: usize, count: usize) -> Self {
        let hash = stand.hash.to_hex();
        let byte = |at: usize| {
            let pair = hash.get(at * 2..at * 2 + 2).unwrap_or_default();
            usize::from(u8::from_str_radix(pair, 16).unwrap_or_default())
        };
        let (from, to) = ([byte(0), byte(1), byte(2)], [byte(3), byte(4), byte(5)]);
        let shift = 512 * index / count.max(1);
        let (along_x, along_y) = (byte(6) + 64, byte(7) + 64);
        let mut data = Vec::with_capacity(width * height * 3);
        for y in 0..height {
            for x in 0..width {
                let way = (along_x * x / width + along_y * y / height + shift) % 512;
                let way = if way < 256 { way } else { 511 - way };
                for channel in 0..3 {
                    data.push(unit(
                        (from[channel] * (255 - way) + to[channel] * way) / 255,
                    ));
                }
            }
        }
        Self {
            width,
            height,
            dot: (width.min(height) / 96).max(1),
            data,
            keep: kept(stand.denoise),
        }
    }

    /// What it started from shines through, less the more it was painted over.
    fn lay_over(&mut self, source: &Image, index: usize) {
        let Some(frame) = source.frames().nth(index % source.batch()) else {
            return;
        };
        let keep = unit(self.keep.min(255));
        for y in 0..self.height {
            let from_y = y * source.height() / self.height;
            for x in 0..self.width {
                let from =
                    (from_y * source.width() + x * source.width() / self.width) * source.channels();
                let to = (y * self.width + x) * 3;
                for channel in 0..3 {
                    let mine = self.data[to + channel];
                    self.data[to + channel] = mine + (frame[from + channel] - mine) * keep;
                }
            }
        }
    }

    fn letter(&mut self, stand: &Stand, index: usize) {
        let line = (TALL + 3) * self.dot;
        self.bar(0, line + 2 * self.dot);
        self.write("SIMULATED", 2 * self.dot, true);
        let letters = (self.width / ((WIDE + 1) * self.dot)).max(1);
        let mut y = line * 2;
        let text = stand.texts.first().map_or("", String::as_str);
        for row in wrapped(text, letters.saturating_sub(2)).iter().take(4) {
            self.write(row, y, true);
            y += line;
        }
        let foot = match stand.seed {
            Some(seed) if index > 0 => format!("SEED {seed} NO {}", index + 1),
            Some(seed) => format!("SEED {seed}"),
            None => String::new(),
        };
        self.write(&foot, self.height.saturating_sub(line), true);
    }

    /// A dark bar with slanted stripes, so that the mark is seen on any ground.
    fn bar(&mut self, top: usize, tall: usize) {
        let stripe = (4 * self.dot).max(1);
        for y in top..(top + tall).min(self.height) {
            for x in 0..self.width {
                let bright = ((x + y) / stripe).is_multiple_of(2)
                    && (y < self.dot || y + self.dot >= top + tall);
                self.set(
                    x,
                    y,
                    if bright {
                        [1.0, 0.8, 0.0]
                    } else {
                        [0.05, 0.05, 0.05]
                    },
                );
            }
        }
    }

    /// A row of letters, bright with a dark edge.
    fn write(&mut self, text: &str, top: usize, centred: bool) {
        let glyphs: Vec<[u8; WIDE]> = text.chars().map(glyph).collect();
        let wide = glyphs.len() * (WIDE + 1) * self.dot;
        let left = if centred {
            self.width.saturating_sub(wide) / 2
        } else {
            0
        };
        for (shift, colour) in [(1, [0.0, 0.0, 0.0]), (0, [1.0, 1.0, 1.0])] {
            for (at, glyph) in glyphs.iter().enumerate() {
                for (column, bits) in glyph.iter().enumerate() {
                    for row in (0..TALL).filter(|row| bits >> row & 1 == 1) {
                        let x = left + (at * (WIDE + 1) + column) * self.dot + shift;
                        self.block(x, top + row * self.dot + shift, colour);
                    }
                }
            }
        }
    }

    fn block(&mut self, left: usize, top: usize, colour: [f32; 3]) {
        for y in top..(top + self.dot).min(self.height) {
            for x in left..(left + self.dot).min(self.width) {
                self.set(x, y, colour);
            }
        }
    }

    fn set(&mut self, x: usize, y: usize, colour: [f32; 3]) {
        let at = (y * self.width + x) * 3;
        if let Some(pixel) = self.data.get_mut(at..at + 3) {
            pixel.copy_from_slice(&colour);
        }
    }
}

fn glyph(c: char) -> [u8; WIDE] {
    let c = c.to_ascii_uppercase();
    match c {
        '0'..='9' | 'A'..='Z' => {
            let at = c.to_digit(36).and_then(|digit| usize::try_from(digit).ok());
            at.map_or(FONT[0], |at| FONT[at + 1])
        }
        '.' | ',' => [0x00, 0x60, 0x60, 0x00, 0x00],
        '-' | '_' => [0x08, 0x08, 0x08, 0x08, 0x08],
        '(' | ')' | ':' | ';' => [0x00, 0x36, 0x36, 0x00, 0x00],
        _ => FONT[0],
    }
}

/// Words in rows of at most so many letters.
fn wrapped(text: &str, letters: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word: String = word.chars().take(letters.max(1)).collect();
        match rows.last_mut() {
            Some(row) if row.chars().count() + 1 + word.chars().count() <= letters => {
                row.push(' ');
                row.push_str(&word);
            }
            _ => rows.push(word),
        }
    }
    rows
}

/// A byte as the float that pictures are made of.
fn unit(byte: usize) -> f32 {
    f32::from(u8::try_from(byte).unwrap_or(u8::MAX)) / 255.0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of 200 is a small whole number"
)]
fn kept(denoise: f64) -> usize {
    let denoise = if denoise == 0.0 { 0.3 } else { denoise };
    ((1.0 - denoise.clamp(0.0, 1.0)) * 200.0) as usize + 40
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand() -> Stand {
        Stand {
            texts: vec!["a teapot on a table".to_owned()],
            width: 192,
            height: 128,
            batch: 2,
            seed: Some(7),
            ..Stand::of("KSampler", &[])
        }
    }

    #[test]
    fn the_same_words_paint_the_same_picture_and_every_picture_is_marked() {
        let first = pictures(&stand()).unwrap();
        assert_eq!(
            (first.batch(), first.height(), first.width()),
            (2, 128, 192)
        );
        assert_eq!(first, pictures(&stand()).unwrap());
        let other = Stand {
            hash: crate::base::ContentHash::of(b"other"),
            ..stand()
        };
        assert_ne!(first, pictures(&other).unwrap());
        for frame in first.frames() {
            let white = frame[..192 * 12 * 3].chunks(3).filter(|p| **p == [1.0; 3]);
            assert!(white.count() > 100, "the mark is there");
        }
    }

    #[test]
    fn long_videos_are_painted_small() {
        let long = Stand {
            width: 1280,
            height: 720,
            batch: 1,
            length: 121,
            ..stand()
        };
        let made = pictures(&long).unwrap();
        assert_eq!(made.batch(), 121, "every frame is there");
        assert!(made.data().len() <= MOST * 3);
    }

    #[test]
    fn words_are_broken_into_rows() {
        assert_eq!(wrapped("a red fox jumps", 7), ["a red", "fox", "jumps"]);
        assert_eq!(wrapped("", 7), [""; 0]);
    }
}
