//! kiln: a declarative pipeline runner for `ComfyUI`.
//!
//! The rooms, in their one order: a room imports only rooms that stand above it in this list (`tests/it/architecture.rs` checks it).
//! `ARCHITECTURE.md` tells what each is for.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        reason = "a test may stop at the first surprise"
    )
)]

pub mod base;

pub mod diagnostic;

pub mod artifact;

pub mod template;

pub mod spec;

pub mod protocol;

pub mod catalog;

pub mod workflow;

pub mod event;

pub mod client;

pub mod plugin;

pub mod embedded;

pub mod servers;

pub mod plan;

pub mod check;

pub mod machine;

pub mod store;

pub mod run;

pub mod report;

pub mod session;

pub mod watch;

pub mod cli;
