//! What an editor needs to know while somebody writes `set:`: the nodes of a step's workflow, their inputs, and what each takes on its
//! server, as fragments of the pipeline schema.
//!
//! A schema can only say what holds for every value; what depends on two values (a link's type, a param's) is for `kiln check`. It must
//! never refuse what kiln accepts, so wherever a template may stand, one is accepted.

mod input;
mod nodes;

pub use nodes::fragment;

#[cfg(test)]
mod tests;
