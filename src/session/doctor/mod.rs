//! What is wrong with a setup, and what to do: the project, its servers, its pipelines, its state.
//!
//! Everything is looked at, whatever was found before; nothing is changed. What only the command line knows (the terminal, the variables of
//! flags) it adds itself.

mod finding;
mod pipelines;
mod project;
mod servers;
mod state;

pub use finding::{Area, Checkup, Finding, Level};

use super::care::Place;
use super::care::find;
use crate::plan::Which;

/// Looks at everything.
pub async fn examine(place: &Place) -> Checkup {
    let mut found = find(&place.folder(), Which::Declared);
    let mut checkup = Checkup::default();
    project::examine(&found, &mut checkup);
    servers::complete(&mut found, place, &mut checkup);
    let started = servers::examine(&found, &mut checkup).await;
    pipelines::examine(&found, &started, &mut checkup).await;
    for (_, servers) in started {
        servers.shutdown().await;
    }
    state::examine(&found.project_dir, &mut checkup);
    checkup
}
