//! Programs that outlived the kiln which started them: it was killed before it could end them. Before their run goes on they are ended,
//! so that no two of them do the same work at a time.
//!
//! A program under way works in a folder of its own, by which it is known; one that went elsewhere is known by its marker beside that folder,
//! named after its process id and the time at which that process began, for an id alone may be someone else's by then. A kiln that is killed
//! in the moment in which it starts a program leaves no marker. Only Linux tells these things without ado; elsewhere programs are not found.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::shared::work_folder;
use crate::base::RunId;
use crate::store::Store;

const PREFIX: &str = "program-";
/// Where `/proc/<id>/stat` tells the process group, counted from what follows the name.
const GROUP: usize = 2;
/// Where it tells when the process began, in the kernel's own ticks.
const BEGAN: usize = 19;

/// Says that a program is under way, until it is dropped.
#[derive(Debug)]
pub(super) struct Marker(Option<PathBuf>);

impl Marker {
    /// A marker for the process `id` that works in `folder`.
    pub(super) fn set(folder: &Path, id: Option<u32>) -> Self {
        let path = id.and_then(|id| {
            let name = format!("{PREFIX}{id}-{}", began(id)?);
            let path = folder.parent()?.join(name);
            fs::File::create(&path).ok()?;
            Some(path)
        });
        Self(path)
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Ends the programs that a run left behind when its kiln was killed. Whoever asks holds the run.
pub fn end_programs(store: &Store, run: &RunId) {
    end(&work_folder(store, run));
}

/// Ends the programs that are still under way in a run's work folder, with all that they started.
pub(super) fn end(work: &Path) {
    for entry in fs::read_dir(work).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some((id, then)) = name.to_str().and_then(parse) else {
            continue;
        };
        if began(id) == Some(then) {
            kill(id);
        }
        let _ = fs::remove_file(entry.path());
    }
    let Ok(work) = work.canonicalize() else {
        return;
    };
    for group in groups_in(&work) {
        kill(group);
    }
}

/// The process groups that work in a folder, except our own.
fn groups_in(work: &Path) -> HashSet<u32> {
    let own = stat(std::process::id(), GROUP);
    let mut groups = HashSet::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let there = fs::read_link(process.path().join("cwd"));
        if there.is_ok_and(|folder| folder.starts_with(work)) {
            let group = stat(id, GROUP).filter(|group| Some(*group) != own);
            groups.extend(group.and_then(|group| u32::try_from(group).ok()));
        }
    }
    groups
}

fn parse(name: &str) -> Option<(u32, u64)> {
    let (id, began) = name.strip_prefix(PREFIX)?.split_once('-')?;
    Some((id.parse().ok()?, began.parse().ok()?))
}

/// When a process began, in the kernel's own ticks.
fn began(id: u32) -> Option<u64> {
    stat(id, BEGAN)
}

fn stat(id: u32, field: usize) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name in the second field may hold anything, the last bracket closes it.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(field)?.parse().ok()
}

/// Each program leads a process group of its own.
#[cfg(unix)]
fn kill(id: u32) {
    let id = i32::try_from(id)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(id) = id {
        let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
    }
}

#[cfg(not(unix))]
fn kill(_: u32) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    fn sleeper() -> Child {
        let mut command = Command::new("sh");
        let script = "sleep 100 & wait";
        command
            .args(["-c", script])
            .process_group(0)
            .spawn()
            .unwrap()
    }

    #[test]
    fn what_a_dead_kiln_left_running_is_ended_and_nothing_else() {
        let work = tempfile::tempdir().unwrap();
        let folder = work.path().join("task-1");
        let (mut left, mut other) = (sleeper(), sleeper());
        let marker = Marker::set(&folder, Some(left.id()));
        std::mem::forget(marker);
        // Its id is that of another process by now.
        let reused = format!("{PREFIX}{}-{}", other.id(), began(other.id()).unwrap() + 1);
        fs::write(work.path().join(reused), "").unwrap();
        end(work.path());
        assert!(!left.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0);
        kill(other.id());
        other.wait().unwrap();
    }

    #[test]
    fn a_program_without_a_marker_is_known_by_its_folder() {
        let work = tempfile::tempdir().unwrap();
        let folder = work.path().join("task-1");
        fs::create_dir(&folder).unwrap();
        let mut command = Command::new("sleep");
        let command = command.arg("100").process_group(0);
        let mut left = command.current_dir(&folder).spawn().unwrap();
        let mut other = command.current_dir("/").spawn().unwrap();
        end(work.path());
        assert!(!left.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        kill(other.id());
        other.wait().unwrap();
    }

    #[test]
    fn a_program_that_ended_leaves_no_marker() {
        let work = tempfile::tempdir().unwrap();
        let marker = Marker::set(&work.path().join("task-1"), Some(std::process::id()));
        assert_eq!(fs::read_dir(work.path()).unwrap().count(), 1);
        drop(marker);
        assert_eq!(fs::read_dir(work.path()).unwrap().count(), 0);
    }
}
