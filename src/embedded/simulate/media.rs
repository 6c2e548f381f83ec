//! Stand-ins that are no pictures: a quiet tone as WAV, moving pictures as MP4 of PNG frames.

use kiln_pixels::{Error, Image, encode_png};

/// Samples per second.
const RATE: u32 = 22_050;

/// A tone of so many seconds, mono, 16 bits. Each hash has its own pitch.
pub(super) fn wav(seconds: f64, pitch: u8) -> Vec<u8> {
    let count = samples(seconds);
    let size = count * 2;
    let mut out = Vec::with_capacity(44 + size as usize);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&(36 + size).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16_u32.to_le_bytes());
    for word in [1_u16, 1] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&RATE.to_le_bytes());
    out.extend_from_slice(&(RATE * 2).to_le_bytes());
    for word in [2_u16, 16] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(b"data");
    out.extend_from_slice(&size.to_le_bytes());
    // A triangle wave: whole numbers alone, so that every machine makes the same bytes.
    let period = 40 + u32::from(pitch) / 4;
    for at in 0..count {
        let place = at % period;
        let rising = place.min(period - place) * 2000 / period;
        let value = i16::try_from(rising).unwrap_or(0) - 500;
        out.extend_from_slice(&value.to_le_bytes());
    }
    out
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most ten minutes of samples"
)]
fn samples(seconds: f64) -> u32 {
    (seconds.clamp(0.1, 600.0) * f64::from(RATE)) as u32
}

/// Moving pictures: an MP4 whose one track holds PNG frames.
pub(super) fn mp4(frames: &Image, fps: f64) -> Result<Vec<u8>, Error> {
    let frames_png: Vec<Vec<u8>> = (0..frames.batch())
        .map(|index| encode_png(frames, index, &[]))
        .collect::<Result<_, _>>()?;
    let sizes: Vec<u32> = frames_png.iter().map(|png| long(png.len())).collect();
    let mut out = atom(
        *b"ftyp",
        &[b"isom", &0x200_u32.to_be_bytes()[..], b"isommp41"],
    );
    let first = long(out.len()) + 8;
    let parts: Vec<&[u8]> = frames_png.iter().map(Vec::as_slice).collect();
    out.extend(atom(*b"mdat", &parts));
    let track = Track {
        width: frames.width(),
        height: frames.height(),
        sizes,
        first,
        delta: delta(fps),
    };
    out.extend(track.movie());
    Ok(out)
}

/// Ticks of 1/1000 second per frame.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 4 and 1000"
)]
fn delta(fps: f64) -> u32 {
    let fps = if fps < 1.0 { 16.0 } else { fps };
    (1000.0 / fps).round() as u32
}

struct Track {
    width: usize,
    height: usize,
    sizes: Vec<u32>,
    /// Where the first frame lies.
    first: u32,
    delta: u32,
}

impl Track {
    fn movie(&self) -> Vec<u8> {
        let duration = self.delta * long(self.sizes.len());
        let matrix = numbers(&[0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000]);
        let mut header = numbers(&[0, 0, 0, 1000, duration, 0x1_0000, 0x100_0000, 0, 0]);
        header.extend(&matrix);
        header.extend(numbers(&[0, 0, 0, 0, 0, 0, 2]));
        let mut track = numbers(&[7, 0, 0, 1, 0, duration, 0, 0, 0, 0]);
        track.extend(&matrix);
        track.extend(numbers(&[long(self.width) << 16, long(self.height) << 16]));
        let media = atom(
            *b"mdia",
            &[
                &atom(
                    *b"mdhd",
                    &[&numbers(&[0, 0, 0, 1000, duration, 0x55c4_0000])],
                ),
                &atom(
                    *b"hdlr",
                    &[&numbers(&[0, 0]), b"vide", &numbers(&[0, 0, 0]), b"kiln\0"],
                ),
                &self.information(),
            ],
        );
        let track = atom(*b"trak", &[&atom(*b"tkhd", &[&track]), &media]);
        atom(*b"moov", &[&atom(*b"mvhd", &[&header]), &track])
    }

    fn information(&self) -> Vec<u8> {
        let reference = atom(
            *b"dref",
            &[&numbers(&[0, 1]), &atom(*b"url ", &[&numbers(&[1])])],
        );
        let count = long(self.sizes.len());
        let mut offsets = numbers(&[0, count]);
        let mut at = self.first;
        for size in &self.sizes {
            offsets.extend(at.to_be_bytes());
            at += size;
        }
        let mut sizes = numbers(&[0, 0, count]);
        sizes.extend(numbers(&self.sizes));
        let table = atom(
            *b"stbl",
            &[
                &atom(*b"stsd", &[&numbers(&[0, 1]), &self.sample()]),
                &atom(*b"stts", &[&numbers(&[0, 1, count, self.delta])]),
                &atom(*b"stsc", &[&numbers(&[0, 1, 1, 1, 1])]),
                &atom(*b"stsz", &[&sizes]),
                &atom(*b"stco", &[&offsets]),
            ],
        );
        let header = atom(*b"vmhd", &[&numbers(&[1, 0, 0])]);
        atom(*b"minf", &[&header, &atom(*b"dinf", &[&reference]), &table])
    }

    fn sample(&self) -> Vec<u8> {
        let size = |edge: usize| u16::try_from(edge).unwrap_or(u16::MAX).to_be_bytes();
        let mut entry = numbers(&[0, 1, 0, 0, 0, 0]);
        entry.extend(size(self.width));
        entry.extend(size(self.height));
        entry.extend(numbers(&[0x48_0000, 0x48_0000, 0]));
        entry.extend(1_u16.to_be_bytes());
        entry.extend([0; 32]);
        entry.extend([0, 24, 0xff, 0xff]);
        atom(*b"png ", &[&entry])
    }
}

fn long(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn numbers(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

/// A box: its length, its name, what it holds.
fn atom(name: [u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let length = 8 + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut out = Vec::with_capacity(length);
    out.extend(long(length).to_be_bytes());
    out.extend_from_slice(&name);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_has_its_length_and_is_the_same_each_time() {
        let tone = wav(2.0, 9);
        assert_eq!(tone.len(), 44 + 2 * 2 * RATE as usize);
        assert_eq!(&tone[..4], b"RIFF");
        assert_eq!(tone, wav(2.0, 9));
        assert_ne!(tone, wav(2.0, 200));
    }

    #[test]
    fn a_video_is_whole_and_points_at_its_frames() {
        let frames = Image::filled(3, 8, 16, 3, 0.5).unwrap();
        let file = mp4(&frames, 8.0).unwrap();
        let (mut at, mut names) = (0, Vec::new());
        while at < file.len() {
            let length = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
            names.push(String::from_utf8_lossy(&file[at + 4..at + 8]).into_owned());
            at += length;
        }
        assert_eq!(
            (at, names),
            (
                file.len(),
                vec!["ftyp".to_owned(), "mdat".to_owned(), "moov".to_owned()]
            )
        );
        let table = file.windows(4).rposition(|w| w == b"stco").unwrap() + 12;
        for frame in 0..3 {
            let place = table + frame * 4;
            let offset = u32::from_be_bytes(file[place..place + 4].try_into().unwrap()) as usize;
            assert_eq!(&file[offset + 1..offset + 4], b"PNG");
        }
    }
}
