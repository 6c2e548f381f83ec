//! The client against scripted servers on loopback.

mod access;
mod fake;
mod following;
mod jobs;
mod odd_answers;
mod passing_on;
mod requests;
mod rest;
mod room;
mod transfers;
mod wire;
