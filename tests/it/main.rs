//! The integration tests: one binary, a module per topic, the real program and the real embedded server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a test may stop at the first surprise"
)]

mod architecture;
mod attempts;
mod checks;
mod choices;
mod cloud;
mod codes;
mod commands;
mod doctor;
mod engine;
mod examples;
mod failures;
mod faults;
mod first_hour;
mod fuzzed;
mod harmless;
mod hazards;
mod helping;
mod history;
mod importing;
mod leftovers;
mod looking_after;
mod mistakes;
mod mutations;
mod newcomer;
mod odd;
mod params;
mod plugins;
mod promises;
mod proofs;
mod quickstart;
mod readme;
mod resting;
mod rules;
mod schemas;
mod selection;
mod sessions;
mod streams;
#[allow(unreachable_pub, reason = "one test binary shares it")]
mod support;
mod templates_guide;
mod terminal;
mod transfers;
mod watch;
mod why;
