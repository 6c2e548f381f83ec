//! The number conversions that the kernels need, each with the reason why it loses nothing that matters.

/// A size or an index as `f64`: exact below 2^53, and no picture comes near.
#[expect(
    clippy::cast_precision_loss,
    reason = "sizes are bounded by MAX_PIXELS, far below 2^53"
)]
pub(crate) fn size(value: usize) -> f64 {
    value as f64
}

/// A rounded, possibly negative coordinate as a size; below zero and NaN become 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates; callers bound the result"
)]
pub(crate) fn index(value: f64) -> usize {
    value as usize
}

/// The nearest `f32` of a weight or parameter that was computed in `f64`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "kernels work in f32, as torch does"
)]
pub(crate) fn weight(value: f64) -> f32 {
    value as f32
}

/// `ComfyUI`'s eight bits of a value: `x * 255` clipped to 0..255, then truncated. NaN becomes 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is the clip"
)]
pub(crate) fn byte(value: f32) -> u8 {
    (value * 255.0) as u8
}

/// A value between 0 and 255 without its fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "callers clamp to a byte's range"
)]
pub(crate) fn whole(value: f32) -> f32 {
    f32::from(value as u8)
}

/// A byte as 0..1, the way `numpy.float32(x) / 255` gives it.
pub(crate) fn unit(value: u8) -> f32 {
    f32::from(value) / 255.0
}

/// Sixteen bits as 0..1.
pub(crate) fn deep_unit(value: u16) -> f32 {
    f32::from(value) / 65_535.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_way_to_float_and_back() {
        for value in 0..=255 {
            assert_eq!(byte(unit(value)), value);
        }
    }

    #[test]
    fn values_outside_are_clipped_and_fractions_cut_off() {
        assert_eq!(
            [-0.5, 1.5, 0.5, 0.999, f32::NAN].map(byte),
            [0, 255, 127, 254, 0]
        );
    }
}
