//! Where events come from: the system's own, or looking at the files again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use notify::event::{AccessKind, AccessMode, Flag, ModifyKind};
use notify::{ErrorKind, Event, EventKind, RecursiveMode, Watcher};
use tokio::sync::mpsc::UnboundedSender;

use super::arms::{Arms, Happened};
use super::poll::Poller;
use super::touch::Touch;
use crate::base::display_path;
use crate::diagnostic::{Diagnostic, codes};
use crate::store::is_network;

/// One pipeline.
pub(super) type Owner = usize;

/// What a pipeline looks at, and how it is told.
type Listening = (Arc<Arms>, UnboundedSender<Touch>);

/// What the callback knows.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    owners: RwLock<BTreeMap<Owner, Listening>>,
    /// Folders that were moved or removed: what the system watches there is something else now.
    lost: Mutex<BTreeSet<PathBuf>>,
}

impl Listeners {
    pub(super) fn arms(&self) -> Vec<(Owner, Arc<Arms>)> {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        owners
            .iter()
            .map(|(owner, (arms, _))| (*owner, Arc::clone(arms)))
            .collect()
    }

    /// Tells whom it concerns.
    fn hear(&self, path: &Path, happened: Happened) {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        for (arms, tell) in owners.values() {
            if happened == Happened::Replaced && arms.folders.contains(path) {
                let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
                lost.insert(path.to_path_buf());
            }
            if let Some(touch) = arms.concern(path, happened) {
                // Who does not listen any more has ended.
                let _ = tell.send(touch);
            }
        }
    }

    pub(super) fn tell(&self, owner: Owner, touch: Touch) {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tell)) = owners.get(&owner) {
            let _ = tell.send(touch);
        }
    }

    /// Events were lost.
    fn rescan(&self) {
        let owners = self.owners.read().unwrap_or_else(PoisonError::into_inner);
        for (_, tell) in owners.values() {
            let _ = tell.send(Touch::Anything);
        }
    }

    /// Takes an event of the system.
    fn event(&self, event: Result<Event, notify::Error>) {
        let Ok(event) = event else {
            return self.rescan();
        };
        if event.attrs.flag() == Some(Flag::Rescan) {
            return self.rescan();
        }
        let happened = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Metadata(_)) => Happened::Written,
            EventKind::Access(_) => return,
            _ => Happened::Replaced,
        };
        for path in &event.paths {
            self.hear(path, happened);
        }
    }
}

/// What came of arming.
#[derive(Debug, Default)]
pub(super) struct Armed {
    pub(super) troubles: Vec<Diagnostic>,
    /// Folders are looked at that were not before.
    pub(super) anew: bool,
}

/// Asks the system to tell the listeners.
type Maker = fn(Arc<Listeners>) -> Result<Box<dyn Watcher + Send>, notify::Error>;

fn watcher(listeners: Arc<Listeners>) -> Result<Box<dyn Watcher + Send>, notify::Error> {
    let watcher = notify::recommended_watcher(move |event| listeners.event(event))?;
    Ok(Box::new(watcher))
}

/// All that is looked at, for all pipelines.
pub(super) struct Source {
    listeners: Arc<Listeners>,
    maker: Maker,
    watcher: Option<Box<dyn Watcher + Send>>,
    watched: BTreeSet<PathBuf>,
    poller: Option<Poller>,
    /// The system gave no more watches, and may give some later.
    exhausted: bool,
    /// Folders of which it was told that they cannot be watched.
    refused: BTreeSet<PathBuf>,
}

impl Source {
    /// With `poll`, the files are looked at again and again. Otherwise the system tells; where it cannot, that is said.
    pub(super) fn start(poll: bool) -> (Self, Option<Diagnostic>) {
        Self::with(watcher, poll)
    }

    fn with(maker: Maker, poll: bool) -> (Self, Option<Diagnostic>) {
        let mut source = Self {
            listeners: Arc::default(),
            maker,
            watcher: None,
            watched: BTreeSet::new(),
            poller: None,
            exhausted: false,
            refused: BTreeSet::new(),
        };
        if poll {
            source.poll();
            return (source, None);
        }
        match maker(Arc::clone(&source.listeners)) {
            Ok(watcher) => {
                source.watcher = Some(watcher);
                (source, None)
            }
            Err(error) => {
                source.exhausted = is_exhausted(&error);
                source.poll();
                (source, Some(exhausted(&error)))
            }
        }
    }

    /// Looks at the files again and again from now on, at those of all pipelines.
    fn poll(&mut self) {
        self.watcher = None;
        self.watched.clear();
        if self.poller.is_some() {
            return;
        }
        let poller = Poller::start(Arc::clone(&self.listeners));
        for (owner, arms) in self.listeners.arms() {
            poller.begin(owner, &arms);
        }
        self.poller = Some(poller);
    }

    /// Asks the system once more to tell. Until it does, the files are looked at as before.
    fn try_again(&mut self) {
        if let Ok(watcher) = (self.maker)(Arc::clone(&self.listeners)) {
            self.watcher = Some(watcher);
            self.exhausted = false;
        }
    }

    /// Looks at these places for a pipeline, instead of those before.
    pub(super) fn arm(&mut self, owner: Owner, arms: Arms, tell: UnboundedSender<Touch>) -> Armed {
        let arms = Arc::new(arms);
        if let Some(poller) = &self.poller {
            poller.begin(owner, &arms);
        }
        {
            let owners = &self.listeners.owners;
            let mut owners = owners.write().unwrap_or_else(PoisonError::into_inner);
            owners.insert(owner, (Arc::clone(&arms), tell));
        }
        let anew = self.exhausted;
        if anew {
            self.try_again();
        }
        let mut armed = self.watch_folders();
        if anew && self.exhausted {
            // That was told.
            armed.troubles.clear();
        }
        if self.watcher.is_none() {
            return armed;
        }
        // What others do to files there the system is not told.
        if arms.folders.iter().any(|folder| is_network(folder)) {
            self.poll();
        } else {
            self.poller = None;
        }
        armed
    }

    fn watch_folders(&mut self) -> Armed {
        let mut armed = Armed::default();
        let Some(watcher) = &mut self.watcher else {
            return armed;
        };
        let mut wanted = BTreeSet::new();
        let mut counts = BTreeSet::new();
        for (_, arms) in self.listeners.arms() {
            wanted.extend(arms.folders.iter().cloned());
            counts.extend(arms.entries.iter().filter(|e| e.is_file()).cloned());
        }
        let lost = {
            let lost = &self.listeners.lost;
            std::mem::take(&mut *lost.lock().unwrap_or_else(PoisonError::into_inner))
        };
        let is_lost = |folder: &Path| folder.ancestors().any(|above| lost.contains(above));
        let stale = |folder: &&PathBuf| !wanted.contains(*folder) || is_lost(folder);
        for folder in self.watched.iter().filter(stale) {
            // It may be gone already.
            let _ = watcher.unwatch(folder);
        }
        self.watched
            .retain(|folder| wanted.contains(folder) && !is_lost(folder));
        for folder in wanted {
            if self.watched.contains(&folder) {
                continue;
            }
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => armed.anew |= self.watched.insert(folder),
                Err(error) if is_exhausted(&error) => {
                    armed.troubles.push(exhausted(&error));
                    self.exhausted = true;
                    self.poll();
                    return armed;
                }
                // A folder that is gone by now was told of as such.
                Err(_) if !folder.exists() => {}
                Err(error) => {
                    let matters = counts.iter().any(|e| e.parent() == Some(&folder));
                    if matters && self.refused.insert(folder.clone()) {
                        armed.troubles.push(refused(&folder, &error));
                    }
                }
            }
        }
        armed
    }
}

fn os_error(error: &notify::Error) -> Option<i32> {
    match &error.kind {
        ErrorKind::Io(error) => error.raw_os_error(),
        _ => None,
    }
}

/// Whether the system gives no more watches, or no more watchers.
fn is_exhausted(error: &notify::Error) -> bool {
    const TOO_MANY_FILES: [i32; 2] = [23, 24];
    const NO_SPACE: i32 = 28;
    matches!(error.kind, ErrorKind::MaxFilesWatch)
        || os_error(error).is_some_and(|code| code == NO_SPACE || TOO_MANY_FILES.contains(&code))
}

/// What to say when the system does not watch.
fn exhausted(error: &notify::Error) -> Diagnostic {
    let instead = "until then kiln looks at the files itself, twice a second, as with `--poll`";
    let (setting, enough) = match os_error(error) {
        _ if !is_exhausted(error) => {
            let message = format!("the system does not tell of changes: {error}");
            return Diagnostic::warning(&codes::CANNOT_WATCH, message)
                .help("kiln looks at the files itself, twice a second, as with `--poll`");
        }
        Some(23 | 24) => ("fs.inotify.max_user_instances", 1024),
        _ => ("fs.inotify.max_user_watches", 524_288),
    };
    let file = format!("/proc/sys/{}", setting.replace('.', "/"));
    let now = std::fs::read_to_string(file).unwrap_or_default();
    let is = match now.trim() {
        "" => String::new(),
        now => format!(", which is {now}"),
    };
    let what = match setting {
        "fs.inotify.max_user_instances" => "watchers of files",
        _ => "watches of folders",
    };
    let message =
        format!("the system gives no more {what}: their number is set by `{setting}`{is}");
    Diagnostic::warning(&codes::CANNOT_WATCH, message)
        .help(format!(
            "raise it, e.g. with `sudo sysctl {setting}={enough}`"
        ))
        .help(instead)
}

fn refused(folder: &Path, error: &notify::Error) -> Diagnostic {
    let why = match &error.kind {
        ErrorKind::Io(system) => system.to_string(),
        _ => error.to_string(),
    };
    let message = format!(
        "the folder `{}` cannot be watched: {why}",
        display_path(folder)
    );
    Diagnostic::warning(&codes::CANNOT_WATCH, message)
        .help("what changes in it is not seen; `--poll` looks at the files themselves")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::super::arms::Outputs;
    use super::*;

    fn heard(listeners: &Listeners, entry: &str) -> UnboundedReceiver<Touch> {
        let (tell, heard) = unbounded_channel();
        let arms = Arms::new(
            HashSet::from([PathBuf::from(entry)]),
            Vec::new(),
            Outputs::default(),
        );
        let mut owners = listeners.owners.write().unwrap();
        let owner = owners.len();
        owners.insert(owner, (Arc::new(arms), tell));
        heard
    }

    /// Watches nothing, and only so many folders.
    struct Few(usize);

    impl Watcher for Few {
        fn new<F: notify::EventHandler>(_: F, _: notify::Config) -> notify::Result<Self> {
            Ok(Self(usize::MAX))
        }

        fn watch(&mut self, _: &Path, _: RecursiveMode) -> notify::Result<()> {
            match self.0.checked_sub(1) {
                Some(left) => {
                    self.0 = left;
                    Ok(())
                }
                None => Err(notify::Error::new(ErrorKind::MaxFilesWatch)),
            }
        }

        fn unwatch(&mut self, _: &Path) -> notify::Result<()> {
            Ok(())
        }

        fn kind() -> notify::WatcherKind {
            notify::WatcherKind::NullWatcher
        }
    }

    fn arms_of(folder: &str) -> Arms {
        let entry = Path::new(folder).join("p.yaml");
        Arms::new(HashSet::from([entry]), Vec::new(), Outputs::default())
    }

    fn arm(source: &mut Source, owner: Owner, folder: &str) -> Armed {
        source.arm(owner, arms_of(folder), unbounded_channel().0)
    }

    #[test]
    fn used_up_watches_are_told_once_and_asked_for_again_with_every_plan() {
        let (mut source, trouble) = Source::with(|_| Ok(Box::new(Few(1))), false);
        assert!(trouble.is_none());
        assert!(arm(&mut source, 0, "/one").troubles.is_empty());
        assert_eq!(arm(&mut source, 1, "/two").troubles.len(), 1);
        assert!(source.watcher.is_none() && source.poller.is_some());
        assert!(arm(&mut source, 1, "/two").troubles.is_empty());
        assert!(source.poller.is_some(), "still used up");
        source.maker = |_| Ok(Box::new(Few(9)));
        assert!(arm(&mut source, 1, "/two").troubles.is_empty());
        assert!(source.watcher.is_some() && source.poller.is_none());
    }

    #[test]
    fn whoever_is_watched_is_looked_at_when_the_system_does_not_tell_any_more() {
        let (mut source, _) = Source::with(|_| Ok(Box::new(Few(9))), false);
        arm(&mut source, 0, "/one");
        arm(&mut source, 1, "/two");
        source.poll();
        let poller = source.poller.as_ref().unwrap();
        assert_eq!(poller.owners(), [0, 1]);
    }

    #[test]
    fn events_that_were_lost_make_everything_suspect_to_everyone() {
        let listeners = Listeners::default();
        let mut one = heard(&listeners, "/p/a.yaml");
        let mut two = heard(&listeners, "/q/b.yaml");
        listeners.event(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert_eq!(one.try_recv(), Ok(Touch::Anything));
        assert_eq!(two.try_recv(), Ok(Touch::Anything));
        listeners.event(Err(notify::Error::generic("no more events")));
        assert_eq!(one.try_recv(), Ok(Touch::Anything));
    }

    #[test]
    fn whom_an_event_does_not_concern_is_not_told_and_reading_is_no_event() {
        let listeners = Listeners::default();
        let mut one = heard(&listeners, "/p/a.yaml");
        let mut two = heard(&listeners, "/p/b.yaml");
        let written = EventKind::Modify(ModifyKind::Data(notify::event::DataChange::Any));
        listeners.event(Ok(Event::new(written).add_path("/p/a.yaml".into())));
        let open = EventKind::Access(AccessKind::Open(AccessMode::Any));
        listeners.event(Ok(Event::new(open).add_path("/p/b.yaml".into())));
        assert_eq!(one.try_recv(), Ok(Touch::Entry("/p/a.yaml".into())));
        assert!(two.try_recv().is_err());
    }

    #[test]
    fn a_folder_that_cannot_be_watched_is_named() {
        let error = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
        let report = crate::diagnostic::Report {
            items: vec![refused(Path::new("/srv/shots"), &notify::Error::io(error))],
        };
        let mut shown = Vec::new();
        let sources = crate::diagnostic::SourceMap::default();
        crate::report::write_report(&mut shown, &report, &sources, None).unwrap();
        let shown = anstream::adapter::strip_bytes(&shown).into_vec();
        insta::assert_snapshot!(String::from_utf8(shown).unwrap());
    }

    #[test]
    fn used_up_watches_are_told_with_the_setting_and_what_to_do() {
        for (error, setting) in [
            (
                notify::Error::new(ErrorKind::MaxFilesWatch),
                "max_user_watches",
            ),
            (
                notify::Error::io(std::io::Error::from_raw_os_error(24)),
                "max_user_instances",
            ),
        ] {
            assert!(is_exhausted(&error));
            let told = exhausted(&error);
            assert!(told.message.contains(&format!("`fs.inotify.{setting}`")));
            let help = told.help.join("; ");
            assert!(
                help.contains(&format!("sudo sysctl fs.inotify.{setting}=")),
                "{help}"
            );
            assert!(help.contains("--poll"), "{help}");
        }
    }
}
