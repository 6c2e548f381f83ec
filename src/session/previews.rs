//! Pictures of what tasks are at, while they run.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::run::Preview;
use crate::servers::Servers;

/// What is said when no picture came and a server may be too old to be asked for some. Once is enough.
const TOO_OLD: &str = "note: no previews came: ComfyUI before 0.7 sends them only when it was started with `--preview-method auto`";

static SAID: AtomicBool = AtomicBool::new(false);

/// What comes of the wish for pictures.
pub(super) struct Previews {
    /// `None` when nobody looks.
    pictures: Option<watch::Receiver<Option<Preview>>>,
    /// A server of the run is not asked for pictures by a job.
    old: bool,
    came: bool,
}

impl Previews {
    pub(super) fn new(
        pictures: Option<watch::Receiver<Option<Preview>>>,
        servers: &Servers,
    ) -> Self {
        let mut endpoints = servers
            .endpoints()
            .iter()
            .filter(|endpoint| !endpoint.is_embedded());
        let old =
            endpoints.any(|endpoint| endpoint.info().is_some_and(|info| is_old(&info.version)));
        Self {
            pictures,
            old,
            came: false,
        }
    }

    /// The next picture; never when nobody looks, and `None` once when there will be no more.
    pub(super) async fn next(&mut self) -> Option<Preview> {
        let Some(pictures) = &mut self.pictures else {
            return std::future::pending().await;
        };
        if pictures.changed().await.is_err() {
            self.pictures = None;
            return None;
        }
        self.came = true;
        pictures.borrow_and_update().clone()
    }

    /// What to say when tasks were done and no picture came.
    pub(super) fn missing(&self, done: usize) -> Option<&'static str> {
        let wanted = self.pictures.is_some() || self.came;
        let none = wanted && self.old && !self.came && done > 0;
        (none && !SAID.swap(true, Ordering::Relaxed)).then_some(TOO_OLD)
    }
}

/// Whether jobs cannot ask a server of this version for pictures.
fn is_old(version: &str) -> bool {
    let mut parts = version.trim_start_matches('v').split('.');
    let mut next = || parts.next().and_then(|part| part.parse::<u32>().ok());
    matches!((next(), next()), (Some(0), Some(0..=6)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_before_0_7_are_too_old() {
        for (version, old) in [
            ("0.3.64", true),
            ("v0.6.0", true),
            ("0.7.0", false),
            ("0.33.0", false),
            ("1.2", false),
            ("unknown", false),
        ] {
            assert_eq!(is_old(version), old, "{version}");
        }
    }
}
