//! Showing a result with the program that the user's desktop has for it.

use std::path::Path;
use std::process::{Command, Stdio};

#[cfg(target_os = "macos")]
const OPENER: &str = "open";
#[cfg(windows)]
const OPENER: &str = "explorer";
#[cfg(not(any(target_os = "macos", windows)))]
const OPENER: &str = "xdg-open";

/// Opens a file, and does not wait for it to be closed.
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
    // Nobody else would take note of its end.
    std::thread::spawn(move || child.wait());
    Ok(())
}
