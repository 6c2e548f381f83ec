//! The stand-in for Comfy Cloud: the same queue, nodes and files behind the Cloud's routes, shapes and rules.
//!
//! Built after the Cloud's published contract and documentation of August 2026, and stricter than they are where they leave something open:
//! it does not tell the end of a job by `executing`, and the port that hands out files refuses whoever shows it a key. Nothing here
//! decides how a job runs, and nothing of it is reached by the local dialect.

mod access;
mod account;
mod files;
mod prompt;
mod records;
mod routes;

pub use account::CloudOptions;
pub(super) use routes::open;
