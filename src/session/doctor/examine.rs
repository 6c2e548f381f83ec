//! One look at everything, in order.

use super::super::care::{Place, find};
use super::finding::Checkup;
use super::{pipelines, project, servers, state};
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
