//! The two kinds of pixel batches. Their fields are private so that the length of the data always fits the shape.

use crate::Error;

/// The most pixels (batch × height × width) that a batch may hold: 2^28, about 268 million.
pub const MAX_PIXELS: usize = 1 << 28;

/// A batch of pictures: N×H×W×C, row by row, channels interleaved, nominally 0..1.
///
/// Source: `ComfyUI`'s `IMAGE` type.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    batch: usize,
    height: usize,
    width: usize,
    channels: usize,
    data: Vec<f32>,
}

/// A batch of masks: N×H×W, row by row, nominally 0..1.
///
/// Source: `ComfyUI`'s `MASK` type.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    batch: usize,
    height: usize,
    width: usize,
    data: Vec<f32>,
}

impl Image {
    /// Wraps data that is already N×H×W×C.
    ///
    /// # Errors
    /// [`Error::Shape`] if an edge, the batch or the channels are 0 or the length does not fit; [`Error::TooLarge`] above [`MAX_PIXELS`].
    pub fn new(
        batch: usize,
        height: usize,
        width: usize,
        channels: usize,
        data: Vec<f32>,
    ) -> Result<Self, Error> {
        let pixels = check_size(batch, height, width)?;
        if pixels == 0
            || channels == 0
            || data.len() / channels != pixels
            || !data.len().is_multiple_of(channels)
        {
            return Err(Error::Shape {
                shape: format!("{batch}×{height}×{width}×{channels}"),
                actual: data.len(),
            });
        }
        Ok(Self {
            batch,
            height,
            width,
            channels,
            data,
        })
    }

    /// A batch with every value the same.
    ///
    /// # Errors
    /// As [`Image::new`].
    pub fn filled(
        batch: usize,
        height: usize,
        width: usize,
        channels: usize,
        value: f32,
    ) -> Result<Self, Error> {
        let pixels = check_size(batch, height, width)?;
        Self::new(
            batch,
            height,
            width,
            channels,
            vec![value; pixels.saturating_mul(channels)],
        )
    }

    /// How many pictures there are, at least 1.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Channels per pixel, at least 1; nearly always 3.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// All values, N×H×W×C.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, N×H×W×C, to be changed in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values alone, N×H×W×C.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The pictures one by one, each H×W×C.
    pub fn frames(&self) -> std::slice::ChunksExact<'_, f32> {
        self.data.chunks_exact(self.height * self.row())
    }

    /// Values in one row.
    pub(crate) fn row(&self) -> usize {
        self.width * self.channels
    }

    /// Picture number `index` of the batch counted round and round, as torch's `repeat` would.
    pub(crate) fn frame_wrapped(&self, index: usize) -> &[f32] {
        let frame = self.height * self.row();
        let start = index % self.batch * frame;
        &self.data[start..start + frame]
    }

    /// The same pictures with `channels` channels: surplus channels are dropped, missing ones are 1 (opaque).
    pub(crate) fn with_channels(&self, channels: usize) -> Self {
        let mut data = Vec::with_capacity(self.data.len() / self.channels * channels);
        let kept = channels.min(self.channels);
        for pixel in self.data.chunks_exact(self.channels) {
            data.extend_from_slice(&pixel[..kept]);
            data.extend(std::iter::repeat_n(1.0, channels - kept));
        }
        Self {
            channels,
            data,
            ..*self
        }
    }
}

impl Mask {
    /// Wraps data that is already N×H×W.
    ///
    /// # Errors
    /// [`Error::Shape`] if an edge or the batch is 0 or the length does not fit; [`Error::TooLarge`] above [`MAX_PIXELS`].
    pub fn new(batch: usize, height: usize, width: usize, data: Vec<f32>) -> Result<Self, Error> {
        let pixels = check_size(batch, height, width)?;
        if pixels == 0 || data.len() != pixels {
            return Err(Error::Shape {
                shape: format!("{batch}×{height}×{width}"),
                actual: data.len(),
            });
        }
        Ok(Self {
            batch,
            height,
            width,
            data,
        })
    }

    /// A batch with every value the same.
    ///
    /// # Errors
    /// As [`Mask::new`].
    pub fn filled(batch: usize, height: usize, width: usize, value: f32) -> Result<Self, Error> {
        let pixels = check_size(batch, height, width)?;
        Self::new(batch, height, width, vec![value; pixels])
    }

    /// How many masks there are, at least 1.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// All values, N×H×W.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All values, N×H×W, to be changed in place.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The values alone, N×H×W.
    pub fn into_data(self) -> Vec<f32> {
        self.data
    }

    /// The masks one by one, each H×W.
    pub fn frames(&self) -> std::slice::ChunksExact<'_, f32> {
        self.data.chunks_exact(self.height * self.width)
    }

    /// Mask number `index` of the batch counted round and round, as torch's `repeat` would.
    pub(crate) fn frame_wrapped(&self, index: usize) -> &[f32] {
        let frame = self.height * self.width;
        let start = index % self.batch * frame;
        &self.data[start..start + frame]
    }
}

/// The number of pixels in a batch, refused above [`MAX_PIXELS`] before anything is allocated.
pub(crate) fn check_size(batch: usize, height: usize, width: usize) -> Result<usize, Error> {
    batch
        .checked_mul(height)
        .and_then(|rows| rows.checked_mul(width))
        .filter(|pixels| *pixels <= MAX_PIXELS)
        .ok_or(Error::TooLarge {
            batch,
            width,
            height,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_that_does_not_fit_its_shape_is_refused() {
        assert!(matches!(
            Image::new(1, 2, 2, 3, vec![0.0; 11]),
            Err(Error::Shape { actual: 11, .. })
        ));
        assert!(matches!(
            Mask::new(1, 0, 2, vec![]),
            Err(Error::Shape { .. })
        ));
        assert!(matches!(
            Image::new(1, 1, 1, 0, vec![]),
            Err(Error::Shape { .. })
        ));
    }

    #[test]
    fn a_batch_beyond_the_limit_is_refused_before_it_is_allocated() {
        assert!(matches!(
            Image::filled(4096, 16_384, 16_384, 3, 0.0),
            Err(Error::TooLarge { .. })
        ));
        assert!(matches!(
            Mask::filled(usize::MAX, 2, 2, 0.0),
            Err(Error::TooLarge { .. })
        ));
    }

    #[test]
    fn channels_are_dropped_or_filled_with_ones() {
        let image = Image::new(1, 1, 2, 3, vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).unwrap();
        assert_eq!(image.with_channels(1).data(), [0.1, 0.4]);
        assert_eq!(
            image.with_channels(4).data(),
            [0.1, 0.2, 0.3, 1.0, 0.4, 0.5, 0.6, 1.0]
        );
    }

    #[test]
    fn frames_wrap_round() {
        let image = Image::new(2, 1, 1, 1, vec![0.1, 0.2]).unwrap();
        assert_eq!(image.frame_wrapped(3), [0.2]);
    }
}
