//! `LoadImage` and `LoadImageMask`: the bytes of a PNG, JPEG or WebP file as pictures and masks.
//!
//! EXIF orientation is applied, colour profiles are not, and only an alpha channel or a palette with transparency counts as alpha, never
//! a single transparent colour of a grey or RGB PNG. Animated PNG and WebP files give all their frames as a batch; a still that a PNG
//! shows in place of its animation is left out, while `ComfyUI` counts it as a frame. JPEG decoders differ among themselves: this one stays
//! within a few of 255 of Pillow's where colour is stored at half the width, within about 10 at edges.
//!
//! Files come from outside: sizes are checked from the header, before pixels are asked for.

use std::io::Cursor;

use ::image::codecs::jpeg::JpegDecoder;
use ::image::codecs::png::PngDecoder;
use ::image::codecs::webp::WebPDecoder;
use ::image::error::ImageFormatHint;
use ::image::metadata::Orientation;
use ::image::{
    AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageError, ImageFormat, Limits,
};

use crate::cast::{deep_unit, unit};
use crate::image::check_size;
use crate::mask::{Channel, image_to_mask};
use crate::{Error, Image, Mask};

/// The longest edge of a file that is decoded, in pixels.
pub const MAX_EDGE: usize = 16_384;

/// The most memory that a PNG's ancillary chunks may unpack to.
const MAX_PNG_EXTRAS: u64 = 64 << 20;

/// Where the colour type stands in a PNG: the header chunk is always the first.
const PNG_COLOR_TYPE: usize = 25;

/// What `LoadImage` gives for one file.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The pictures, N×H×W×3, without their alpha.
    pub image: Image,
    /// One minus alpha, N×H×W; N×64×64 zeros if the file has no alpha.
    pub mask: Mask,
}

/// Decodes a PNG, JPEG or WebP file to pictures and masks; bytes become `u8 / 255`.
///
/// Sixteen bits per channel become `u16 / 65535`.
///
/// Source: the `LoadImage` node of `ComfyUI` 0.33.0 for 8-bit PNGs, of 0.3.64 with Pillow 13 for the rest. Only sixteen-bit grey differs from
/// the latter on purpose: Pillow 13 clips it at 255 of 65535, which leaves nothing but white.
///
/// # Errors
/// [`Error::Decode`] for bytes that are none of the three formats or are damaged; [`Error::TooLarge`] for an edge above [`MAX_EDGE`] or more
/// than [`MAX_PIXELS`](crate::MAX_PIXELS) in all frames.
pub fn decode(bytes: &[u8]) -> Result<Loaded, Error> {
    let file = File::read(bytes)?;
    let (batch, height, width) = (file.frames.len(), file.height, file.width);
    let pixels = check_size(batch, height, width)?;
    let mut values = Values {
        colors: Vec::with_capacity(pixels * 3),
        alpha: Vec::new(),
    };
    for frame in file.frames {
        match frame {
            DynamicImage::ImageRgb8(frame) => values.push_colors(frame.as_raw(), unit),
            DynamicImage::ImageRgba8(frame) => values.push_pixels(frame.as_raw(), unit),
            DynamicImage::ImageRgba16(frame) => values.push_pixels(frame.as_raw(), deep_unit),
            frame => values.push_colors(frame.into_rgb16().as_raw(), deep_unit),
        }
    }
    let Values { colors, alpha } = values;
    let image = Image::new(batch, height, width, 3, colors)?;
    let mask = if alpha.is_empty() {
        Mask::filled(batch, 64, 64, 0.0)?
    } else {
        Mask::new(batch, height, width, alpha)?
    };
    Ok(Loaded { image, mask })
}

/// One channel of each frame of a file as a mask: for alpha the mask that [`decode`] gives, zeros of 64×64 where there is none; for a
/// colour its values, N×H×W.
///
/// Source: the `LoadImageMask` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// As [`decode`].
pub fn decode_mask(bytes: &[u8], channel: Channel) -> Result<Mask, Error> {
    let Loaded { image, mask } = decode(bytes)?;
    match channel {
        Channel::Alpha => Ok(mask),
        color => image_to_mask(&image, color),
    }
}

/// The pixels of all frames, 0..1; no alpha at all, or one value for every pixel.
struct Values {
    colors: Vec<f32>,
    alpha: Vec<f32>,
}

impl Values {
    fn push_colors<T: Copy>(&mut self, raw: &[T], unit: impl Fn(T) -> f32) {
        self.colors.extend(raw.iter().copied().map(unit));
    }

    fn push_pixels<T: Copy>(&mut self, raw: &[T], unit: impl Fn(T) -> f32) {
        let (pixels, _) = raw.as_chunks::<4>();
        self.alpha.reserve_exact(pixels.len());
        for [red, green, blue, opaque] in pixels {
            let color = [unit(*red), unit(*green), unit(*blue)];
            self.colors.extend_from_slice(&color);
            self.alpha.push(1.0 - unit(*opaque));
        }
    }
}

/// Frames of one size and one kind: RGBA where alpha counts, RGB where not; all of eight or all of sixteen bits.
struct File {
    frames: Vec<DynamicImage>,
    height: usize,
    width: usize,
}

impl File {
    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let input = Cursor::new(bytes);
        match ::image::guess_format(bytes).map_err(Error::Decode)? {
            ImageFormat::Png => {
                let mut limits = Limits::no_limits();
                limits.max_alloc = Some(MAX_PNG_EXTRAS);
                let decoder = PngDecoder::with_limits(input, limits).map_err(Error::Decode)?;
                Self::from_png(decoder, bytes)
            }
            ImageFormat::WebP => {
                let mut decoder = WebPDecoder::new(input).map_err(Error::Decode)?;
                if !decoder.has_animation() {
                    return Self::from_still(decoder, true);
                }
                let header = Header::read(&mut decoder)?;
                let alpha = decoder.color_type().has_alpha();
                header.animation(decoder.into_frames(), alpha)
            }
            ImageFormat::Jpeg => {
                Self::from_still(JpegDecoder::new(input).map_err(Error::Decode)?, false)
            }
            other => Err(Error::Decode(ImageError::Unsupported(
                ImageFormatHint::Exact(other).into(),
            ))),
        }
    }

    fn from_png(mut decoder: PngDecoder<Cursor<&[u8]>>, bytes: &[u8]) -> Result<Self, Error> {
        let kind = bytes.get(PNG_COLOR_TYPE).copied();
        // Grey (0) and RGB (2) PNGs may name one transparent colour, which is not alpha to Pillow.
        let alpha = !matches!(kind, Some(0 | 2)) && decoder.color_type().has_alpha();
        let header = Header::read(&mut decoder)?;
        let color = decoder.color_type();
        let narrow = color.bytes_per_pixel() == color.channel_count();
        if narrow && decoder.is_apng().map_err(Error::Decode)? {
            decoder
                .set_limits(Limits::no_limits())
                .map_err(Error::Decode)?;
            let frames = decoder.apng().map_err(Error::Decode)?.into_frames();
            return header.animation(frames, alpha);
        }
        let still = DynamicImage::from_decoder(decoder).map_err(Error::Decode)?;
        Ok(header.still(still, alpha))
    }

    fn from_still(mut decoder: impl ImageDecoder, alpha: bool) -> Result<Self, Error> {
        let header = Header::read(&mut decoder)?;
        let alpha = alpha && decoder.color_type().has_alpha();
        let still = DynamicImage::from_decoder(decoder).map_err(Error::Decode)?;
        Ok(header.still(still, alpha))
    }
}

/// What is known before pixels are decoded.
struct Header {
    width: usize,
    height: usize,
    orientation: Orientation,
}

impl Header {
    /// Refuses what is too large, and learns which way up the picture is.
    fn read(decoder: &mut impl ImageDecoder) -> Result<Self, Error> {
        let (width, height) = decoder.dimensions();
        let edge = |length: u32| usize::try_from(length).unwrap_or(usize::MAX);
        let (width, height) = (edge(width), edge(height));
        check_size(1, height, width)?;
        if width.max(height) > MAX_EDGE {
            return Err(Error::TooLarge {
                batch: 1,
                width,
                height,
            });
        }
        // A damaged EXIF block is no reason to refuse the picture; Pillow ignores it as well.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        Ok(Self {
            width,
            height,
            orientation,
        })
    }

    fn still(&self, still: DynamicImage, alpha: bool) -> File {
        let frame = self.upright(still, alpha);
        self.file(vec![frame])
    }

    fn animation(&self, frames: Frames<'_>, alpha: bool) -> Result<File, Error> {
        let mut upright = Vec::new();
        for frame in frames {
            check_size(upright.len() + 1, self.height, self.width)?;
            let frame = frame.map_err(Error::Decode)?.into_buffer();
            upright.push(self.upright(DynamicImage::ImageRgba8(frame), alpha));
        }
        if upright.is_empty() {
            return Err(Error::NoFrames);
        }
        Ok(self.file(upright))
    }

    /// A frame turned as its EXIF says, with alpha only where alpha counts.
    fn upright(&self, frame: DynamicImage, alpha: bool) -> DynamicImage {
        let deep = frame.color().bytes_per_pixel() > frame.color().channel_count();
        let mut frame = match (deep, alpha) {
            (false, false) => DynamicImage::ImageRgb8(frame.into_rgb8()),
            (false, true) => DynamicImage::ImageRgba8(frame.into_rgba8()),
            (true, false) => DynamicImage::ImageRgb16(frame.into_rgb16()),
            (true, true) => DynamicImage::ImageRgba16(frame.into_rgba16()),
        };
        frame.apply_orientation(self.orientation);
        frame
    }

    fn file(&self, frames: Vec<DynamicImage>) -> File {
        let turned = matches!(
            self.orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        );
        let (width, height) = if turned {
            (self.height, self.width)
        } else {
            (self.width, self.height)
        };
        File {
            frames,
            height,
            width,
        }
    }
}

#[cfg(test)]
mod tests {
    use png::{BitDepth, ColorType};

    use super::*;

    struct Png {
        color: ColorType,
        depth: BitDepth,
        palette: Option<Vec<u8>>,
        transparency: Option<Vec<u8>>,
        orientation: Option<u8>,
        frames: Vec<Vec<u8>>,
    }

    impl Png {
        fn new(color: ColorType, depth: BitDepth, pixels: &[u8]) -> Self {
            Self {
                color,
                depth,
                palette: None,
                transparency: None,
                orientation: None,
                frames: vec![pixels.to_vec()],
            }
        }

        fn bytes(&self, width: u32, height: u32) -> Vec<u8> {
            let mut file = Vec::new();
            let mut info = png::Info::with_size(width, height);
            info.exif_metadata = self.orientation.map(|turn| {
                // Little-endian TIFF with one entry: 0x0112, a short, counted once.
                let entry = [0x12, 1, 3, 0, 1, 0, 0, 0, turn, 0, 0, 0];
                [&b"II*\0\x08\0\0\0\x01\0"[..], &entry, &[0; 4]]
                    .concat()
                    .into()
            });
            let mut encoder = png::Encoder::with_info(&mut file, info).unwrap();
            encoder.set_color(self.color);
            encoder.set_depth(self.depth);
            if let Some(palette) = &self.palette {
                encoder.set_palette(palette);
            }
            if let Some(transparency) = &self.transparency {
                encoder.set_trns(transparency);
            }
            if self.frames.len() > 1 {
                encoder
                    .set_animated(u32::try_from(self.frames.len()).unwrap(), 0)
                    .unwrap();
            }
            let mut writer = encoder.write_header().unwrap();
            for frame in &self.frames {
                writer.write_image_data(frame).unwrap();
            }
            writer.finish().unwrap();
            file
        }
    }

    fn shape(loaded: &Loaded) -> [usize; 6] {
        let (image, mask) = (&loaded.image, &loaded.mask);
        [
            image.batch(),
            image.height(),
            image.width(),
            mask.batch(),
            mask.height(),
            mask.width(),
        ]
    }

    #[test]
    fn rgb_without_alpha_gives_a_small_empty_mask() {
        let file = Png::new(ColorType::Rgb, BitDepth::Eight, &[51, 102, 255, 0, 0, 0]);
        let loaded = decode(&file.bytes(2, 1)).unwrap();
        assert_eq!(loaded.image.data(), [0.2, 0.4, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(shape(&loaded), [1, 1, 2, 1, 64, 64]);
        assert!(loaded.mask.data().iter().all(|value| *value == 0.0));
    }

    #[test]
    fn alpha_is_taken_out_and_inverted() {
        let file = Png::new(ColorType::Rgba, BitDepth::Eight, &[51, 102, 255, 51]);
        let loaded = decode(&file.bytes(1, 1)).unwrap();
        assert_eq!(loaded.image.data(), [0.2, 0.4, 1.0]);
        assert_eq!(loaded.mask.data(), [0.8]);
        let file = Png::new(ColorType::GrayscaleAlpha, BitDepth::Eight, &[51, 255]);
        let loaded = decode(&file.bytes(1, 1)).unwrap();
        assert_eq!(loaded.image.data(), [0.2; 3]);
        assert_eq!(loaded.mask.data(), [0.0]);
    }

    #[test]
    fn a_transparent_palette_entry_is_alpha_and_keeps_its_colour() {
        let mut file = Png::new(ColorType::Indexed, BitDepth::Eight, &[0, 1]);
        file.palette = Some(vec![51, 102, 255, 255, 0, 0]);
        assert_eq!(
            shape(&decode(&file.bytes(2, 1)).unwrap()),
            [1, 1, 2, 1, 64, 64]
        );
        file.transparency = Some(vec![0]);
        let loaded = decode(&file.bytes(2, 1)).unwrap();
        assert_eq!(loaded.image.data(), [0.2, 0.4, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(loaded.mask.data(), [1.0, 0.0]);
    }

    #[test]
    fn a_transparent_colour_of_an_rgb_or_grey_file_is_not_alpha() {
        let mut file = Png::new(ColorType::Rgb, BitDepth::Eight, &[51, 102, 255]);
        file.transparency = Some(vec![0, 51, 0, 102, 0, 255]);
        let loaded = decode(&file.bytes(1, 1)).unwrap();
        assert_eq!(loaded.image.data(), [0.2, 0.4, 1.0]);
        assert_eq!(loaded.mask.width(), 64);
        let mut file = Png::new(ColorType::Grayscale, BitDepth::Eight, &[51]);
        file.transparency = Some(vec![0, 51]);
        assert_eq!(decode(&file.bytes(1, 1)).unwrap().mask.width(), 64);
    }

    #[test]
    fn sixteen_bits_are_scaled() {
        let grey = Png::new(ColorType::Grayscale, BitDepth::Sixteen, &[0x33, 0x33]);
        let loaded = decode(&grey.bytes(1, 1)).unwrap();
        assert_eq!(loaded.image.data(), [0.2; 3]);
        let rgba = [0x33, 0x33, 0x66, 0x66, 0xff, 0xff, 0x33, 0x33];
        let loaded =
            decode(&Png::new(ColorType::Rgba, BitDepth::Sixteen, &rgba).bytes(1, 1)).unwrap();
        assert_eq!(loaded.image.data(), [0.2, 0.4, 1.0]);
        assert_eq!(loaded.mask.data(), [0.8]);
    }

    #[test]
    fn exif_turns_the_picture_and_its_mask() {
        let mut file = Png::new(
            ColorType::GrayscaleAlpha,
            BitDepth::Eight,
            &[0, 255, 51, 204, 255, 0],
        );
        file.orientation = Some(6);
        let loaded = decode(&file.bytes(3, 1)).unwrap();
        assert_eq!(shape(&loaded), [1, 3, 1, 1, 3, 1]);
        let red: Vec<f32> = loaded.image.data().iter().copied().step_by(3).collect();
        assert_eq!(red, [0.0, 0.2, 1.0]);
        file.orientation = Some(3);
        let loaded = decode(&file.bytes(3, 1)).unwrap();
        assert_eq!(shape(&loaded), [1, 1, 3, 1, 1, 3]);
        assert_eq!(loaded.image.data()[..3], [1.0; 3]);
        assert_eq!(loaded.mask.data()[0], 1.0);
    }

    #[test]
    fn every_frame_of_an_animation_is_in_the_batch() {
        let mut file = Png::new(ColorType::Rgb, BitDepth::Eight, &[51; 3]);
        file.frames.push(vec![102; 3]);
        let loaded = decode(&file.bytes(1, 1)).unwrap();
        assert_eq!(shape(&loaded), [2, 1, 1, 2, 64, 64]);
        assert_eq!(loaded.image.data(), [0.2, 0.2, 0.2, 0.4, 0.4, 0.4]);
    }

    #[test]
    fn a_header_that_promises_too_much_is_refused() {
        let mut file = Png::new(ColorType::Rgb, BitDepth::Eight, &[0; 3]).bytes(1, 1);
        file[16..24].copy_from_slice(&[0, 0, 0x40, 1, 0, 0, 0, 1]);
        // The header's checksum is CRC-32 over type and data; this one belongs to 16385×1, RGB, 8 bits.
        file[29..33].copy_from_slice(&[0x46, 0x3f, 0x4a, 0x31]);
        let error = decode(&file).unwrap_err();
        assert!(
            matches!(error, Error::TooLarge { width: 16_385, .. }),
            "{error}"
        );
    }

    #[test]
    fn webp_keeps_its_alpha() {
        let pixels = ::image::RgbaImage::from_raw(2, 1, vec![51, 102, 255, 51, 0, 0, 0, 255]);
        let mut file = Cursor::new(Vec::new());
        pixels
            .unwrap()
            .write_to(&mut file, ImageFormat::WebP)
            .unwrap();
        let loaded = decode(file.get_ref()).unwrap();
        assert_eq!(loaded.image.data(), [0.2, 0.4, 1.0, 0.0, 0.0, 0.0]);
        assert_eq!(loaded.mask.data(), [0.8, 0.0]);
    }

    #[test]
    fn a_grey_jpeg_becomes_rgb() {
        let pixels = ::image::GrayImage::from_pixel(20, 10, ::image::Luma([102]));
        let mut file = Cursor::new(Vec::new());
        pixels.write_to(&mut file, ImageFormat::Jpeg).unwrap();
        let loaded = decode(file.get_ref()).unwrap();
        assert_eq!(shape(&loaded), [1, 10, 20, 1, 64, 64]);
        assert!(loaded.image.data().iter().all(|v| (v - 0.4).abs() < 0.01));
    }

    #[test]
    fn a_file_cut_short_is_refused_without_a_panic() {
        let whole = Png::new(ColorType::Rgba, BitDepth::Eight, &[9; 4 * 40]).bytes(8, 5);
        for end in 0..whole.len() - 20 {
            assert!(decode(&whole[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [
            &b""[..],
            b"hello",
            b"GIF89a\x01\0\x01\0",
            b"\x89PNG\r\n\x1a\n",
        ] {
            assert!(matches!(decode(bytes), Err(Error::Decode(_))));
        }
    }

    #[test]
    fn a_mask_is_the_inverted_alpha_or_a_colour() {
        let file = Png::new(ColorType::Rgba, BitDepth::Eight, &[51, 102, 255, 51]).bytes(1, 1);
        assert_eq!(decode_mask(&file, Channel::Alpha).unwrap().data(), [0.8]);
        assert_eq!(decode_mask(&file, Channel::Green).unwrap().data(), [0.4]);
        let file = Png::new(ColorType::Rgb, BitDepth::Eight, &[51, 102, 255]).bytes(1, 1);
        assert_eq!(decode_mask(&file, Channel::Alpha).unwrap().width(), 64);
    }
}
