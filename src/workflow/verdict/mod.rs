//! What a server answers to a graph: graph × catalog → [`Verdict`].
//!
//! This is the one place that knows what a server accepts. It follows `ComfyUI` 0.33's `POST /prompt` validation as observed: which
//! nodes are looked at, in which order a complaint hides another, what is coerced, and the words of the answer. It never asks a
//! server: whether an input file exists is told by a [`FileOracle`].
//!
//! Two things the server leaves to chance (it walks unordered sets) are fixed here: outputs go in file order, inputs in declared order.

mod judge;
mod python;
mod replace;
mod types;
mod validators;
mod values;

pub use judge::judge;
pub use replace::replaced;
pub use types::{
    Assumed, Dependents, FileOracle, JudgeOptions, ListedFiles, NodeError, NodeErrors, Replaced,
    TopError, Unsure, Verdict,
};
pub use validators::{must_be_written, takes_any_input};

#[cfg(test)]
mod tests;
