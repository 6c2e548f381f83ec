//! Pictures to masks and back, and inversion: `ImageToMask`, `MaskToImage`, `ImageInvert`, `InvertMask`.

use std::str::FromStr;

use crate::choice::choose;
use crate::{Error, Image, Mask};

/// A channel of a picture, in storage order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// The first channel.
    Red,
    /// The second channel.
    Green,
    /// The third channel.
    Blue,
    /// The fourth channel.
    Alpha,
}

impl Channel {
    /// The position inside a pixel.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Red => 0,
            Self::Green => 1,
            Self::Blue => 2,
            Self::Alpha => 3,
        }
    }
}

impl FromStr for Channel {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        choose(
            "channel",
            name,
            &[
                ("red", Self::Red),
                ("green", Self::Green),
                ("blue", Self::Blue),
                ("alpha", Self::Alpha),
            ],
        )
    }
}

/// One channel of each picture as a mask: N×H×W×C to N×H×W, values untouched.
///
/// Source: the `ImageToMask` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// [`Error::Channels`] if the picture has no such channel.
pub fn image_to_mask(image: &Image, channel: Channel) -> Result<Mask, Error> {
    let index = channel.index();
    if index >= image.channels() {
        return Err(Error::Channels {
            channels: image.channels(),
            problem: "does not have the channel that was asked for",
        });
    }
    let data = image
        .data()
        .chunks_exact(image.channels())
        .map(|pixel| pixel[index])
        .collect();
    Mask::new(image.batch(), image.height(), image.width(), data)
}

/// A mask as grey RGB pictures: N×H×W to N×H×W×3.
///
/// Source: the `MaskToImage` node of `ComfyUI` 0.33.0.
///
/// # Errors
/// None that a valid mask can cause.
pub fn mask_to_image(mask: &Mask) -> Result<Image, Error> {
    let mut data = Vec::with_capacity(mask.data().len() * 3);
    for value in mask.data() {
        data.extend_from_slice(&[*value; 3]);
    }
    Image::new(mask.batch(), mask.height(), mask.width(), 3, data)
}

/// `1 - x` for every value of every channel.
///
/// Source: the `ImageInvert` node of `ComfyUI` 0.33.0.
#[must_use]
pub fn invert(mut image: Image) -> Image {
    for value in image.data_mut() {
        *value = 1.0 - *value;
    }
    image
}

/// `1 - x` for every value.
///
/// Source: the `InvertMask` node of `ComfyUI` 0.33.0.
#[must_use]
pub fn invert_mask(mut mask: Mask) -> Mask {
    for value in mask.data_mut() {
        *value = 1.0 - *value;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image::new(1, 1, 2, 3, vec![0.0, 0.25, 0.5, 1.0, 0.75, 1.5]).unwrap()
    }

    #[test]
    fn a_channel_becomes_a_mask() {
        assert_eq!(
            image_to_mask(&image(), Channel::Blue).unwrap().data(),
            [0.5, 1.5]
        );
    }

    #[test]
    fn a_channel_that_is_not_there_is_refused() {
        let error = image_to_mask(&image(), Channel::Alpha).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a picture with 3 channel(s) does not have the channel that was asked for"
        );
    }

    #[test]
    fn a_mask_becomes_a_grey_picture() {
        let mask = Mask::new(1, 1, 2, vec![0.25, 0.5]).unwrap();
        let image = mask_to_image(&mask).unwrap();
        assert_eq!(image.data(), [0.25, 0.25, 0.25, 0.5, 0.5, 0.5]);
    }

    #[test]
    fn inversion_keeps_values_outside_the_range() {
        assert_eq!(invert(image()).data(), [1.0, 0.75, 0.5, 0.0, 0.25, -0.5]);
        let mask = Mask::new(1, 1, 1, vec![0.25]).unwrap();
        assert_eq!(invert_mask(mask).data(), [0.75]);
    }

    #[test]
    fn channels_are_named_as_in_the_node() {
        assert_eq!("green".parse::<Channel>().unwrap(), Channel::Green);
        assert!("luma".parse::<Channel>().is_err());
    }
}
