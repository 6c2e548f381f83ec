//! Workflows inside other files: what `ComfyUI` and its nodes write into pictures, films, sounds and models.
//!
//! A file is known by its content, never by its name. Only the parts that can hold a workflow are read: boxes, chunks and tags are
//! walked from head to head, and what is read is bounded, so that a film of many gigabytes costs no more than its table of contents.
//! This room must never know graphs or catalogs: it gives texts under the names `prompt` (what ran) and `workflow` (what was drawn).

mod audio;
mod boxes;
mod carried;
mod exif;
mod json;
mod kind;
mod matroska;
mod picture;
mod source;
mod text;

pub use carried::{Carried, MediaError, read};
pub use kind::Kind;

#[cfg(test)]
mod tests;
