//! Showing a result with the program that the user's desktop has for it.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[cfg(target_os = "macos")]
const OPENER: &str = "open";
#[cfg(windows)]
const OPENER: &str = "explorer";
#[cfg(not(any(target_os = "macos", windows)))]
const OPENER: &str = "xdg-open";

/// An opener that has not ended by then has opened it: some end only with the program that they started.
const SOON: Duration = Duration::from_secs(5);
/// How often its end is looked for.
const PAUSE: Duration = Duration::from_millis(50);

/// Opens a file or a folder. This waits until the opener has done it, and not for the file to be closed.
///
/// # Errors
/// Why not, in words.
pub(super) fn open(path: &Path) -> Result<(), String> {
    let started = Command::new(OPENER)
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = started.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no `{OPENER}`"),
        _ => error.to_string(),
    })?;
    let began = Instant::now();
    while began.elapsed() < SOON {
        match child.try_wait() {
            // Explorer says 1 whatever it did.
            Ok(Some(status)) if status.success() || cfg!(windows) => return Ok(()),
            Ok(Some(status)) => return Err(format!("`{OPENER}` ended with {status}")),
            Ok(None) => std::thread::sleep(PAUSE),
            Err(error) => return Err(error.to_string()),
        }
    }
    // Nobody else would take note of its end.
    let _ = child.wait();
    Ok(())
}
