//! From the editor's own format to what a server takes: exactly the graph that the editor itself would send.
//!
//! `document` reads the file, `frames` opens its sheets (a subgraph is a sheet behind a node), `fields` gives saved values their names
//! by the definitions of a catalog, `resolve` follows connections to where they really come from, `shown` knows what a node holds for
//! fields of the nodes behind it, and `convert` puts it all together. What was chosen or lost is a [`Notice`], never silent; every
//! input of the graph keeps its place in the file ([`Places`]). No file can make it loop, overflow the stack or grow without bound.

mod choices;
mod convert;
mod document;
mod fields;
mod frames;
mod group;
mod notice;
mod passing;
mod prefix;
mod resolve;
mod shown;
mod tell;

pub use convert::{Imported, Places};
pub use notice::{Lost, Notice, What};
pub use tell::{Drawn, drawn};

#[cfg(test)]
mod tests;
