//! `SaveImage` and `PreviewImage`: one picture as the bytes of a PNG file.

use png::{BitDepth, ColorType, Compression, Encoder};

use crate::cast::byte;
use crate::{Error, Image};

/// Encodes picture number `index` of the batch as an 8-bit PNG: `x * 255` clipped to 0..255, then truncated.
///
/// One channel gives a grey PNG, two grey with alpha, three RGB, four RGBA. Each text is a keyword (Latin-1, 1 to 79 bytes) and its value,
/// written before the pixels: as `tEXt` where the value is Latin-1 and as `iTXt` where not. `ComfyUI` writes `prompt` and then each member of
/// `extra_pnginfo`, as JSON in ASCII.
///
/// Source: the `SaveImage` node of `ComfyUI` 0.33.0, and Pillow for the choice of chunk. `ComfyUI`'s compression level is not reproduced: only decoded
/// pixels count, and fast filters with a fast deflate are quicker and hardly larger.
///
/// # Errors
/// [`Error::Channels`] for more than four channels; [`Error::NoFrames`] if there is no picture `index`; [`Error::Encode`] for a keyword that PNG
/// does not allow.
pub fn encode_png(image: &Image, index: usize, texts: &[(&str, &str)]) -> Result<Vec<u8>, Error> {
    let color = match image.channels() {
        1 => ColorType::Grayscale,
        2 => ColorType::GrayscaleAlpha,
        3 => ColorType::Rgb,
        4 => ColorType::Rgba,
        channels => {
            return Err(Error::Channels {
                channels,
                problem: "cannot be written as PNG",
            });
        }
    };
    let frame = image.frames().nth(index).ok_or(Error::NoFrames)?;
    let bytes: Vec<u8> = frame.iter().copied().map(byte).collect();
    let mut file = Vec::with_capacity(bytes.len() / 2);
    write(&mut file, image, color, &bytes, texts).map_err(Error::Encode)?;
    Ok(file)
}

fn write(
    file: &mut Vec<u8>,
    image: &Image,
    color: ColorType,
    bytes: &[u8],
    texts: &[(&str, &str)],
) -> Result<(), png::EncodingError> {
    let edge = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let mut encoder = Encoder::new(file, edge(image.width()), edge(image.height()));
    encoder.set_color(color);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::Fast);
    for (keyword, value) in texts {
        let (keyword, value) = (String::from(*keyword), String::from(*value));
        if value.chars().all(|c| u32::from(c) < 256) {
            encoder.add_text_chunk(keyword, value)?;
        } else {
            encoder.add_itxt_chunk(keyword, value)?;
        }
    }
    let mut writer = encoder.write_header()?;
    writer.write_image_data(bytes)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode;

    #[test]
    fn pixels_come_back_clipped_and_truncated() {
        let image = Image::new(1, 1, 2, 3, vec![-1.0, 0.5, 2.0, 0.999, 0.25, 1.0]).unwrap();
        let loaded = decode(&encode_png(&image, 0, &[]).unwrap()).unwrap();
        let expected = [0.0, 127.0, 255.0, 254.0, 63.0, 255.0].map(|v: f32| v / 255.0);
        assert_eq!(loaded.image.data(), expected);
    }

    #[test]
    fn four_channels_keep_their_alpha() {
        let image = Image::new(1, 1, 1, 4, vec![0.2, 0.4, 0.6, 0.8]).unwrap();
        let loaded = decode(&encode_png(&image, 0, &[]).unwrap()).unwrap();
        assert!((loaded.mask.data()[0] - 0.2).abs() < 1e-6);
        assert!((loaded.image.data()[2] - 0.6).abs() < 1e-6);
    }

    #[test]
    fn texts_are_written_in_order_and_before_the_pixels() {
        let image = Image::filled(1, 2, 2, 3, 0.5).unwrap();
        let texts = [("prompt", r#"{"a":1}"#), ("workflow", "{}"), ("note", "雪")];
        let file = encode_png(&image, 0, &texts).unwrap();
        let reader = png::Decoder::new(std::io::Cursor::new(file))
            .read_info()
            .unwrap();
        let info = reader.info();
        let latin: Vec<_> = info
            .uncompressed_latin1_text
            .iter()
            .map(|chunk| (chunk.keyword.as_str(), chunk.text.as_str()))
            .collect();
        assert_eq!(latin, texts[..2]);
        assert_eq!(info.utf8_text[0].keyword, "note");
        assert_eq!(info.utf8_text[0].get_text().unwrap(), "雪");
    }

    #[test]
    fn each_picture_of_a_batch_can_be_had_and_no_more() {
        let image = Image::new(2, 1, 1, 1, vec![0.0, 1.0]).unwrap();
        let second = decode(&encode_png(&image, 1, &[]).unwrap()).unwrap();
        assert_eq!(second.image.data(), [1.0; 3]);
        assert!(matches!(encode_png(&image, 2, &[]), Err(Error::NoFrames)));
    }

    #[test]
    fn five_channels_and_bad_keywords_are_refused() {
        let image = Image::filled(1, 1, 1, 5, 0.5).unwrap();
        assert!(matches!(
            encode_png(&image, 0, &[]),
            Err(Error::Channels { channels: 5, .. })
        ));
        let image = Image::filled(1, 1, 1, 3, 0.5).unwrap();
        for keyword in [String::new(), "k".repeat(80), "雪".into()] {
            assert!(matches!(
                encode_png(&image, 0, &[(&keyword, "")]),
                Err(Error::Encode(_))
            ));
        }
    }
}
