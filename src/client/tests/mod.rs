//! The client against scripted servers on loopback.

mod fake;
mod jobs;
mod requests;
mod transfers;
