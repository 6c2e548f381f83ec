//! Looking at the files again and again, where the system does not tell: exactly at those that count, and no others.

use std::collections::HashMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::arms::Arms;
use super::source::{Listeners, Owner};
use super::touch::Touch;
use crate::base::ContentHash;

/// How often, at most.
const PAUSE: Duration = Duration::from_millis(500);
/// Looking takes at most one part in so many of the time.
const SHARE: u32 = 10;
/// A file that was written so short a time ago may be written again without its time telling.
const FRESH: Duration = Duration::from_secs(2);

/// What a glance at a path tells.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Glance {
    written: Option<SystemTime>,
    size: u64,
    identity: [u64; 3],
    folder: bool,
    /// The content, while the times may not tell.
    content: Option<ContentHash>,
}

impl Glance {
    fn at(path: &Path) -> Option<Self> {
        let found = path.symlink_metadata().ok()?;
        let written = found.modified().ok();
        let age = written.and_then(|at| SystemTime::now().duration_since(at).ok());
        let fresh = found.is_file() && age.is_none_or(|age| age < FRESH);
        Some(Self {
            written,
            size: found.len(),
            identity: identity(&found),
            folder: found.is_dir(),
            content: fresh
                .then(|| ContentHash::of_file(path).ok().map(|(hash, _)| hash))
                .flatten(),
        })
    }

    /// Whether two glances saw different things. What happens in a folder is no concern of it.
    fn differs(&self, other: &Self) -> bool {
        if self.folder && other.folder {
            return self.identity[..2] != other.identity[..2];
        }
        self != other
    }
}

#[cfg(unix)]
fn identity(found: &Metadata) -> [u64; 3] {
    use std::os::unix::fs::MetadataExt;
    let changed = found.ctime() * 1_000_000_000 + found.ctime_nsec();
    [found.dev(), found.ino(), changed.cast_unsigned()]
}

#[cfg(not(unix))]
fn identity(_found: &Metadata) -> [u64; 3] {
    [0; 3]
}

/// What was seen for one pipeline.
#[derive(Debug, Default)]
struct Sight {
    entries: HashMap<PathBuf, Option<Glance>>,
    matches: HashMap<PathBuf, Option<Glance>>,
}

impl Sight {
    fn of(arms: &Arms) -> Self {
        let glance = |path: PathBuf| {
            let seen = Glance::at(&path);
            (path, seen)
        };
        let files = arms.patterns.iter().flat_map(crate::plan::Pattern::files);
        let own = files.filter(|path| !arms.outputs.hold(path));
        Self {
            entries: arms.entries.iter().cloned().map(glance).collect(),
            matches: own.map(glance).collect(),
        }
    }

    /// What is different now.
    fn touches(&self, now: &Self) -> Vec<Touch> {
        let differs = |before: Option<&Option<Glance>>, now: Option<&Option<Glance>>| match (
            before.and_then(Option::as_ref),
            now.and_then(Option::as_ref),
        ) {
            (Some(before), Some(now)) => before.differs(now),
            (None, None) => false,
            _ => true,
        };
        let entries = now.entries.iter();
        let entries = entries.filter(|(path, seen)| differs(self.entries.get(*path), Some(*seen)));
        let entries = entries.map(|(path, seen)| match seen {
            Some(Glance { folder: true, .. }) => Touch::Anything,
            _ => Touch::Entry(path.clone()),
        });
        let all = self.matches.keys().chain(now.matches.keys());
        let matches = all.filter(|path| differs(self.matches.get(*path), now.matches.get(*path)));
        let matches = matches.map(|path| Touch::Match(path.clone()));
        entries.chain(matches).collect()
    }
}

type Sights = Mutex<HashMap<Owner, (Arc<Arms>, Sight)>>;

/// A thread that looks; it ends with this.
#[derive(Debug)]
pub(super) struct Poller {
    sights: Arc<Sights>,
}

impl Poller {
    pub(super) fn start(listeners: Arc<Listeners>) -> Self {
        let sights = Arc::new(Sights::default());
        let weak = Arc::downgrade(&sights);
        std::thread::spawn(move || look(&weak, &listeners));
        Self { sights }
    }

    #[cfg(test)]
    pub(super) fn owners(&self) -> Vec<Owner> {
        let sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        let mut owners: Vec<Owner> = sights.keys().copied().collect();
        owners.sort_unstable();
        owners
    }

    /// Takes what is there now for what was there before.
    pub(super) fn begin(&self, owner: Owner, arms: &Arc<Arms>) {
        let sight = Sight::of(arms);
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        sights.insert(owner, (Arc::clone(arms), sight));
    }
}

fn look(sights: &Weak<Sights>, listeners: &Listeners) {
    let mut took = Duration::ZERO;
    loop {
        std::thread::sleep(PAUSE.max(took * SHARE));
        let Some(sights) = sights.upgrade() else {
            return;
        };
        let began = Instant::now();
        for (owner, arms) in listeners.arms() {
            let now = Sight::of(&arms);
            let touches = {
                let mut sights = sights.lock().unwrap_or_else(PoisonError::into_inner);
                match sights.get_mut(&owner) {
                    // What was armed meanwhile was looked at then.
                    Some((known, seen)) if Arc::ptr_eq(known, &arms) => {
                        let touches = seen.touches(&now);
                        *seen = now;
                        touches
                    }
                    _ => Vec::new(),
                }
            };
            for touch in touches {
                listeners.tell(owner, touch);
            }
        }
        took = began.elapsed();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::arms::Outputs;
    use super::*;
    use crate::plan::Pattern;

    #[test]
    fn a_glance_sees_every_kind_of_change_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let path = |name: &str| base.join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        std::fs::create_dir(path("in")).unwrap();
        write("a.txt", "one");
        write("b.txt", "one");
        write("in/1.png", "1");
        let arms = Arms::new(
            HashSet::from([path("a.txt"), path("b.txt"), path("gone.txt"), path("in")]),
            vec![Pattern::new(&base, "in/*.png").unwrap()],
            Outputs::default(),
        );
        let mut before = Sight::of(&arms);
        let mut seen = || {
            let now = Sight::of(&arms);
            let mut touches = before.touches(&now);
            touches.sort();
            before = now;
            touches
        };
        assert_eq!(seen(), []);
        let entry = |name: &str| Touch::Entry(path(name));
        let matched = |name: &str| Touch::Match(path(name));
        // The same length, and by the clock of a coarse file system the same time.
        write("a.txt", "two");
        assert_eq!(seen(), [entry("a.txt")]);
        write("new", "two");
        std::fs::rename(path("new"), path("b.txt")).unwrap();
        write("gone.txt", "");
        assert_eq!(seen(), [entry("b.txt"), entry("gone.txt")]);
        write("in/2.png", "2");
        std::fs::remove_file(path("in/1.png")).unwrap();
        assert_eq!(seen(), [matched("in/1.png"), matched("in/2.png")]);
        std::fs::rename(path("in"), path("old")).unwrap();
        std::fs::create_dir(path("in")).unwrap();
        assert_eq!(seen(), [matched("in/2.png"), Touch::Anything]);
        assert_eq!(seen(), []);
    }
}
