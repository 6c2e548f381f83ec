//! From the editor's own format to what a server takes.
mod choices;
mod convert;
mod document;
mod fields;
mod frames;
mod group;
mod notice;
mod passing;
mod resolve;
mod shown;

pub use convert::{Imported, Places, convert};
pub use notice::{Lost, Notice, What};
