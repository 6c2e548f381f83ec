//! What can be refused. Messages are lower-case fragments that read well after "failed to …:".

use crate::image::MAX_PIXELS;

/// Why a kernel refused its inputs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data's length does not fit the shape, or the shape has a zero in it.
    #[error("{actual} values do not make a picture of shape {shape}")]
    Shape {
        /// The shape that was asked for, as `N×H×W×C` or `N×H×W`.
        shape: String,
        /// How many values there were.
        actual: usize,
    },
    /// The result, or the decoded file, would be larger than [`MAX_PIXELS`] or than [`MAX_EDGE`](crate::MAX_EDGE) on one side.
    #[error(
        "{batch} picture(s) of {width}×{height} are too large (at most {MAX_PIXELS} pixels in all)"
    )]
    TooLarge {
        /// Pictures in the batch.
        batch: usize,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// An edge of the result would have no pixels, which torch refuses as well.
    #[error("the result would be {width}×{height} pixels")]
    EmptyResult {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// A crop to the ratio of the new size leaves no pixels.
    #[error("nothing of the picture is left when it is cropped to the ratio of {width}×{height}")]
    EmptyCrop {
        /// Width asked for, in pixels.
        width: usize,
        /// Height asked for, in pixels.
        height: usize,
    },
    /// Padding by reflection needs a picture larger than the radius on both edges.
    #[error(
        "a radius of {radius} needs a picture larger than {radius} pixels on both edges, not {width}×{height}"
    )]
    RadiusTooLarge {
        /// The radius in pixels.
        radius: usize,
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// Two batches that can neither be matched one by one nor repeated.
    #[error("batches of {left} and {right} do not fit together")]
    Batch {
        /// Pictures in the first batch.
        left: usize,
        /// Pictures in the second batch.
        right: usize,
    },
    /// The picture has no such channel, or a channel count that the operation does not know.
    #[error("a picture with {channels} channel(s) {problem}")]
    Channels {
        /// The picture's channels.
        channels: usize,
        /// What is wrong with that.
        problem: &'static str,
    },
    /// A number outside the range in which the operation means anything.
    #[error("{name} must be {expected}, not {value}")]
    Parameter {
        /// The parameter, by its `ComfyUI` name.
        name: &'static str,
        /// The accepted range.
        expected: &'static str,
        /// The value that was given.
        value: f64,
    },
    /// A choice that is not on the list.
    #[error("{value:?} is not a {what} (expected {expected})")]
    UnknownOption {
        /// What kind of choice it is.
        what: &'static str,
        /// The value that was given.
        value: String,
        /// The choices, separated by commas.
        expected: String,
    },
    /// The bytes are no PNG, JPEG or WebP file that can be read.
    #[error("the picture cannot be decoded: {0}")]
    Decode(#[source] ::image::ImageError),
    /// The file or batch has no such picture.
    #[error("there is no such picture")]
    NoFrames,
    /// The PNG could not be written, for example because a text keyword is longer than 79 bytes.
    #[error("the PNG cannot be written: {0}")]
    Encode(#[source] png::EncodingError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_lower_case_fragments() {
        let too_large = Error::TooLarge {
            batch: 1,
            width: 20_000,
            height: 20_000,
        };
        assert_eq!(
            too_large.to_string(),
            "1 picture(s) of 20000×20000 are too large (at most 268435456 pixels in all)"
        );
        let radius = Error::RadiusTooLarge {
            radius: 9,
            width: 4,
            height: 30,
        };
        assert_eq!(
            radius.to_string(),
            "a radius of 9 needs a picture larger than 9 pixels on both edges, not 4×30"
        );
        let option = Error::UnknownOption {
            what: "blend mode",
            value: "burn".into(),
            expected: "normal, multiply".into(),
        };
        assert_eq!(
            option.to_string(),
            "\"burn\" is not a blend mode (expected normal, multiply)"
        );
    }
}
