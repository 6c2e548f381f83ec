//! What a server offers: node definitions, normalised from `object_info`.
//!
//! Old-style and new-style combos, unions, `*`, dynamic inputs and remote combos all become one [`NodeDef`]. A custom node can
//! return anything, so one bad definition is a warning about that node, never a failure. This room must never know a network or a
//! graph: it is data and its reading.

mod read;
mod replace;
mod types;

pub use read::CatalogError;
pub use replace::{InputMapping, OutputMapping, Replacement, Replacements};
pub use types::{
    Autogrow, AutogrowNames, Bounds, Catalog, Combo, DynamicOption, Field, InputDef, InputType,
    NodeDef, OpenInput, OutputDef, OutputType, Section, StandIn,
};

#[cfg(test)]
mod tests;
