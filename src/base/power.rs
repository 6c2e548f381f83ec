//! A power cut for tests: refuses every step from one on, and then takes from the disk what was never synced.

use std::collections::HashMap;
use std::fs::{File, Permissions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::disk::{DiskStep, DiskWatcher, Watching, watch_disk};

/// What becomes of names that no folder's sync made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    Lost,
    Kept,
}

/// What becomes of content that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The file is empty.
    Lost,
    /// It has its length, its second half is zeros, and its times tell nothing.
    Torn,
    /// It got to the disk by luck.
    Kept,
}

/// Everything a power cut may leave.
pub(crate) const AFTERMATHS: [(Names, Content); 6] = [
    (Names::Lost, Content::Lost),
    (Names::Lost, Content::Torn),
    (Names::Lost, Content::Kept),
    (Names::Kept, Content::Lost),
    (Names::Kept, Content::Torn),
    (Names::Kept, Content::Kept),
];

/// Cuts the power before a step, by its number.
pub(crate) struct PowerCut {
    before: usize,
    model: Arc<Model>,
    watching: Watching,
}

struct Model {
    before: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    steps: usize,
    synced: Vec<Option<Vec<u8>>>,
    now: HashMap<PathBuf, usize>,
    durable: HashMap<PathBuf, usize>,
}

impl DiskWatcher for Model {
    fn before(&self, step: DiskStep<'_>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        if state.steps >= self.before {
            return Err(io::Error::other("the power is out"));
        }
        state.steps += 1;
        state.take(step);
        Ok(())
    }
}

impl State {
    fn take(&mut self, step: DiskStep<'_>) {
        match step {
            DiskStep::Create(path) => {
                self.synced.push(None);
                self.now.insert(path.to_path_buf(), self.synced.len() - 1);
            }
            DiskStep::Write(path, _) => {
                let file = self.now[path];
                self.synced[file] = None;
            }
            DiskStep::Sync(path) => {
                let file = self.now[path];
                self.synced[file] = Some(std::fs::read(path).unwrap());
            }
            DiskStep::Rename(from, to) => {
                let file = self.now.remove(from).unwrap();
                self.now.insert(to.to_path_buf(), file);
            }
            DiskStep::SyncFolder(folder) => {
                self.durable.retain(|path, _| path.parent() != Some(folder));
                let inside = self.now.iter();
                let inside = inside.filter(|(path, _)| path.parent() == Some(folder));
                self.durable
                    .extend(inside.map(|(path, file)| (path.clone(), *file)));
            }
            DiskStep::Remove(path) => {
                self.now.remove(path);
            }
        }
    }
}

impl PowerCut {
    /// The power goes out below `folder` before the step of this number (the first is 0), and stays out.
    pub(crate) fn before(step: usize, folder: &Path) -> Self {
        let model = Arc::new(Model {
            before: step,
            state: Mutex::default(),
        });
        Self {
            before: step,
            watching: watch_disk(folder, Arc::clone(&model) as Arc<dyn DiskWatcher>),
            model,
        }
    }

    /// Whether there were fewer steps than the cut waited for.
    pub(crate) fn came_too_late(&self) -> bool {
        self.model.state.lock().unwrap().steps < self.before
    }

    /// Leaves on the disk what may be left of it, and ends the watch.
    pub(crate) fn strike(self, names: Names, content: Content) {
        let state = self.model.state.lock().unwrap();
        for (path, file) in &state.now {
            let durable = state.durable.get(path);
            if durable != Some(file) && names == Names::Lost {
                let _ = std::fs::remove_file(path);
                continue;
            }
            // A temporary file may have been cleaned up by whoever could not go on.
            if state.synced[*file].is_none() && path.exists() {
                spoil(path, content);
            }
        }
        if names == Names::Lost {
            for (path, file) in &state.durable {
                if state.now.get(path) != Some(file) {
                    let bytes = state.synced[*file].clone().unwrap_or_default();
                    std::fs::write(path, bytes).unwrap();
                }
            }
        }
        drop(state);
        drop(self.watching);
    }
}

/// Harms the content of a file, and leaves no trace in its times.
pub(crate) fn spoil(path: &Path, content: Content) {
    let metadata = std::fs::metadata(path).unwrap();
    let mut bytes = std::fs::read(path).unwrap();
    match content {
        Content::Kept => return,
        Content::Lost => bytes.clear(),
        Content::Torn => {
            let half = bytes.len() / 2;
            bytes[half..].fill(0);
        }
    }
    writable(path, &metadata.permissions());
    let file = File::options().write(true).open(path).unwrap();
    io::Write::write_all(&mut &file, &bytes).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
    std::fs::set_permissions(path, metadata.permissions()).unwrap();
}

#[cfg(unix)]
fn writable(path: &Path, _before: &Permissions) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
}

#[cfg(not(unix))]
fn writable(path: &Path, before: &Permissions) {
    let mut permissions = before.clone();
    permissions.set_readonly(false);
    std::fs::set_permissions(path, permissions).unwrap();
}
