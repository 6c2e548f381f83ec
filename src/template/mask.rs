//! `mask(image, of=image)`: a picture that carries a mask the way `ComfyUI`'s `LoadImage` reads it.
//!
//! `LoadImage` drops the alpha from the image and gives `1 - alpha` as the mask, so a white pixel of the mask (repaint here) becomes
//! alpha 0. Both pictures are turned upright as `LoadImage` does it.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageReader, RgbaImage};

/// A picture that cannot be used for, or as, a mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MaskError {
    /// The bytes are no picture that kiln reads.
    #[error("`{name}` is no PNG, JPEG or WebP picture that can be read: {reason}")]
    Unreadable {
        /// The file's name.
        name: String,
        /// What the decoder says.
        reason: String,
    },
    /// The pictures differ in size.
    #[error("the mask `{mask}` is {mask_size} and `{of}` is {of_size}: they must be of one size")]
    Sizes {
        /// The mask's file.
        mask: String,
        /// Its size, `64×32`.
        mask_size: String,
        /// The picture's file.
        of: String,
        /// Its size.
        of_size: String,
    },
    /// The result could not be written down as a PNG.
    #[error("the picture cannot be written: {0}")]
    Unwritable(String),
}

/// A file's name and its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// For messages.
    pub name: &'a str,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// The PNG of `of` whose alpha is 0 where `mask` is white. What counts of the mask is its brightness; where it is transparent it is
/// black.
///
/// # Errors
/// When one of them cannot be read, or their sizes differ.
pub fn compose_mask(mask: Picture<'_>, of: Picture<'_>) -> Result<Vec<u8>, MaskError> {
    let shade = read(mask)?;
    let picture = read(of)?;
    let size = |image: &DynamicImage| format!("{}×{}", image.width(), image.height());
    if (shade.width(), shade.height()) != (picture.width(), picture.height()) {
        return Err(MaskError::Sizes {
            mask: mask.name.to_owned(),
            mask_size: size(&shade),
            of: of.name.to_owned(),
            of_size: size(&picture),
        });
    }
    let mut out: RgbaImage = picture.into_rgba8();
    for (pixel, shade) in out.pixels_mut().zip(shade.into_luma_alpha8().pixels()) {
        let [brightness, alpha] = shade.0.map(u16::from);
        let masked = (brightness * alpha + 127) / 255;
        pixel.0[3] = 255 - u8::try_from(masked).unwrap_or(u8::MAX);
    }
    let mut bytes = Cursor::new(Vec::new());
    out.write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|error| MaskError::Unwritable(error.to_string()))?;
    Ok(bytes.into_inner())
}

fn read(picture: Picture<'_>) -> Result<DynamicImage, MaskError> {
    let bad = |error: image::ImageError| MaskError::Unreadable {
        name: picture.name.to_owned(),
        reason: error.to_string(),
    };
    let reader = ImageReader::new(Cursor::new(picture.bytes))
        .with_guessed_format()
        .map_err(|error| bad(error.into()))?;
    let mut decoder = reader.into_decoder().map_err(bad)?;
    let upright = decoder.orientation().map_err(bad)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(bad)?;
    image.apply_orientation(upright);
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image
            .into()
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    }

    fn named<'a>(name: &'a str, bytes: &'a [u8]) -> Picture<'a> {
        Picture { name, bytes }
    }

    #[test]
    fn white_in_the_mask_is_alpha_zero_and_the_colours_stay() {
        let photo = RgbaImage::from_fn(3, 1, |x, _| {
            image::Rgba([10, 20, u8::try_from(x).unwrap(), 7])
        });
        let mask = image::GrayImage::from_fn(3, 1, |x, _| image::Luma([[0, 255, 51][x as usize]]));
        let made = compose_mask(named("m.png", &png(mask)), named("p.png", &png(photo))).unwrap();
        let made = image::load_from_memory(&made).unwrap();
        assert_eq!(made.color(), image::ColorType::Rgba8);
        let pixels: Vec<[u8; 4]> = made.to_rgba8().pixels().map(|p| p.0).collect();
        assert_eq!(pixels, [[10, 20, 0, 255], [10, 20, 1, 0], [10, 20, 2, 204]]);
    }

    #[test]
    fn a_transparent_part_of_the_mask_is_black() {
        let photo = image::RgbImage::new(2, 1);
        let mask = RgbaImage::from_fn(2, 1, |x, _| {
            image::Rgba([255, 255, 255, [0, 255][x as usize]])
        });
        let made = compose_mask(named("m", &png(mask)), named("p", &png(photo))).unwrap();
        let made = image::load_from_memory(&made).unwrap().to_rgba8();
        assert_eq!(
            [made.get_pixel(0, 0).0[3], made.get_pixel(1, 0).0[3]],
            [255, 0]
        );
    }

    #[test]
    fn unequal_sizes_and_strange_files_are_named() {
        let small = png(image::GrayImage::new(4, 2));
        let large = png(image::GrayImage::new(8, 2));
        let error = compose_mask(named("m.png", &small), named("p.png", &large)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the mask `m.png` is 4×2 and `p.png` is 8×2: they must be of one size"
        );
        let error = compose_mask(named("m.txt", b"hello"), named("p.png", &large)).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("`m.txt` is no PNG, JPEG or WebP picture"),
            "{error}"
        );
    }
}
