//! Image kernels with `ComfyUI`'s semantics: float32 batches in, float32 batches out.
//!
//! Each public function is the pixel part of one `ComfyUI` node (`LoadImage`, `ImageScale`, `ImageBlur`, …): it takes the node's inputs as
//! plain values and gives the node's outputs, so that the embedded server only has to wire graphs. The crate knows nothing of nodes, graphs,
//! files, JSON or threads of others: no I/O, no async, no serde.
//!
//! Invariants:
//! - An [`Image`] is N×H×W×C and a [`Mask`] is N×H×W, both contiguous `f32`, never empty, nominally 0..1; values outside survive until
//!   [`encode_png`] clips them or a kernel is documented to clamp.
//! - No kernel allocates more than [`MAX_PIXELS`] pixels per picture batch; what would be larger is [`Error::TooLarge`], checked before memory
//!   is asked for.
//! - Nothing here panics on what a user hands in: every refusal is an [`Error`].
//!
//! The facts were measured, not read: against pictures that `ComfyUI` 0.33.0 produced, against random graphs run by 0.3.64, and against
//! torch's `interpolate` and Pillow's `resize` on random inputs. The bar is 2/255 per channel after encoding.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::float_cmp,
        reason = "tests may panic, and compare values that must be exact"
    )
)]

mod axis;
mod blend;
mod cast;
mod choice;
#[cfg(test)]
mod close;
mod composite;
mod create;
mod decode;
mod encode;
mod error;
mod filter;
mod image;
mod lanczos;
mod mask;
mod pad;
mod resample;
mod scale;

pub use crate::blend::{BlendMode, blend};
pub use crate::composite::composite_masked;
pub use crate::create::{empty_image, solid_mask};
pub use crate::decode::{Loaded, MAX_EDGE, decode, decode_mask};
pub use crate::encode::encode_png;
pub use crate::error::Error;
pub use crate::filter::{blur, sharpen};
pub use crate::image::{Image, MAX_PIXELS, Mask};
pub use crate::mask::{Channel, image_to_mask, invert, invert_mask, mask_to_image};
pub use crate::pad::{Margins, pad_for_outpaint};
pub use crate::scale::{Crop, Method, scale, scale_by};
