//! Rehearsals: node classes that this server cannot compute are acted, and what they make is marked as a stand-in.
//!
//! The rule is simple, so that nobody mistakes a rehearsal for the real thing. Every value that is not a picture is a [`Stand`]: it carries
//! the prompt, the seed, the size and whatever else the nodes before it were told. Where a picture is asked for, one of that size is painted
//! from the hash of all this, with `SIMULATED` across it; sounds are a quiet tone, videos a few moving pictures. The same graph makes the
//! same pixels. Without a catalog the usual classes are declared here, and any other class takes whatever it is given; with one, exactly its
//! classes exist.

mod act;
mod classes;
mod media;
mod paint;
mod stand;

pub(super) use act::{Halt, Role, Step, act, pixels};
pub(super) use classes::Simulation;
pub use classes::{LENIENT, simulated_catalog};
pub(super) use stand::Stand;
