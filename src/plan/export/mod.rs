//! The plan's steps as a picture: for Graphviz, for Mermaid, and drawn by kiln itself. The same plan gives the same bytes.

mod diagram;
mod dot;
mod layout;
mod mermaid;
mod svg;

pub use dot::to_dot;
pub use mermaid::to_mermaid;
pub use svg::to_svg;
