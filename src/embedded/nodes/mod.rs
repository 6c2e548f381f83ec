//! The node classes that the server knows, and what a node sees while it runs.

mod class;
mod files;
mod images;
mod text;

pub(super) use class::{Call, Class, Context, NodeError, Value, class, classes};
