//! The client against scripted servers on loopback.

mod access;
mod fake;
mod jobs;
mod requests;
mod transfers;
