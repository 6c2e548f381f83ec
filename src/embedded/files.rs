//! The three folders of a server and the names that point into them.
//!
//! A name never reaches the file system before [`inside`] has proved on its text that it stays in its folder.

use std::io;
use std::path::{Component, Path, PathBuf};

/// Which folder a file lives in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Folder {
    /// What clients uploaded.
    Input,
    /// What jobs made.
    Output,
    /// What jobs made to be looked at only.
    Temp,
}

impl Folder {
    /// The folder that `type=` names.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "input" => Some(Self::Input),
            "output" => Some(Self::Output),
            "temp" => Some(Self::Temp),
            _ => None,
        }
    }

    /// Its name in messages and file objects.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
            Self::Temp => "temp",
        }
    }
}

/// Where the folders are.
#[derive(Debug)]
pub(super) struct Folders {
    root: PathBuf,
    /// Removes everything when the server is gone; absent when the user named the folder.
    temporary: Option<tempfile::TempDir>,
    /// Locked as long as the server lives: a temporary folder whose server was killed can be told from others.
    _alive: Option<std::fs::File>,
}

/// How the names of temporary folders begin.
pub const TEMPORARY_FOLDER: &str = "kiln-embedded-";
/// The file in a temporary folder that is locked as long as its server lives.
pub const ALIVE: &str = ".alive";

impl Folders {
    /// Makes the folders below `dir`, or below a temporary folder that goes with the server.
    ///
    /// # Errors
    /// When a folder cannot be made.
    pub(super) fn open(dir: Option<&Path>) -> io::Result<Self> {
        let (root, temporary) = if let Some(dir) = dir {
            std::fs::create_dir_all(dir)?;
            (std::path::absolute(dir)?, None)
        } else {
            let made = tempfile::Builder::new()
                .prefix(TEMPORARY_FOLDER)
                .tempdir()?;
            (made.path().to_path_buf(), Some(made))
        };
        for folder in [Folder::Input, Folder::Output, Folder::Temp] {
            std::fs::create_dir_all(root.join(folder.name()))?;
        }
        let alive = match &temporary {
            Some(_) => {
                let file = std::fs::File::create(root.join(ALIVE))?;
                // A file system without locks costs only that nobody cleans up after us.
                let _ = file.try_lock();
                Some(file)
            }
            None => None,
        };
        Ok(Self {
            root,
            temporary,
            _alive: alive,
        })
    }

    /// The folder that holds all three.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder as a path.
    pub(super) fn path(&self, folder: Folder) -> PathBuf {
        self.root.join(folder.name())
    }

    /// Removes everything, if the folder was made for this server alone.
    pub(super) fn discard(&self) {
        if self.temporary.is_some() {
            // What cannot be removed now is tried again when this is dropped.
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }

    /// A nameless place for a file that is still arriving, on the same file system as the folders.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(super) fn scratch(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new()
            .prefix(".arriving-")
            .tempfile_in(&self.root)
    }

    /// The path that a `LoadImage` value names: `a.png`, `sub/a.png`, each with ` [input]`, ` [output]` or ` [temp]`. `None` when it leaves its folder.
    pub(super) fn annotated(&self, value: &str) -> Option<PathBuf> {
        let (name, folder) = split_annotation(value);
        inside(&self.path(folder.unwrap_or(Folder::Input)), name)
    }

    /// The names that `LoadImage` offers: the files at the top of the input folder that look like pictures, sorted.
    pub(super) fn pictures(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path(Folder::Input))
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| content_type(name).starts_with("image/"))
            .collect();
        names.sort();
        names
    }
}

/// A name without its annotation, and the folder that the annotation named.
pub(super) fn split_annotation(value: &str) -> (&str, Option<Folder>) {
    for folder in [Folder::Input, Folder::Output, Folder::Temp] {
        let plain = value
            .strip_suffix(']')
            .and_then(|rest| rest.strip_suffix(folder.name()))
            .and_then(|rest| rest.strip_suffix('['));
        if let Some(plain) = plain {
            return (plain.strip_suffix(' ').unwrap_or(plain), Some(folder));
        }
    }
    (value, None)
}

/// `relative` below `root`, with `.` and `..` resolved on the text. `None` when the result is not inside `root`, or holds a NUL.
pub(super) fn inside(root: &Path, relative: &str) -> Option<PathBuf> {
    if relative.contains('\0') {
        return None;
    }
    let mut path = PathBuf::new();
    for part in root.join(relative).components() {
        match part {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path.starts_with(root).then_some(path)
}

/// The media type of a file, by its extension. `ComfyUI` decides by name as well.
pub(super) fn content_type(name: &str) -> &'static str {
    let extension = Path::new(name)
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default()
        .to_ascii_lowercase();
    match extension.as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "bmp" => "image/bmp",
        "tif" | "tiff" => "image/tiff",
        "svg" => "image/svg+xml",
        "mp4" => "video/mp4",
        "webm" => "video/webm",
        "mov" => "video/quicktime",
        "wav" => "audio/x-wav",
        "mp3" => "audio/mpeg",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "json" => "application/json",
        "html" | "htm" => "text/html",
        "js" | "mjs" => "text/javascript",
        "css" => "text/css",
        "xml" => "text/xml",
        _ => "application/octet-stream",
    }
}

/// Whether a disk, or what one may use of it, is exhausted.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_folder() {
        let root = Path::new("/srv/input");
        for bad in ["../a.png", "a/../../b", "/etc/passwd", "..", "a\0b"] {
            assert_eq!(inside(root, bad), None, "{bad:?}");
        }
        assert_eq!(
            inside(root, "a/../b.png"),
            Some(PathBuf::from("/srv/input/b.png"))
        );
        assert_eq!(
            inside(root, "/srv/input/c.png"),
            Some(PathBuf::from("/srv/input/c.png"))
        );
    }

    #[test]
    fn an_annotation_names_the_folder() {
        assert_eq!(
            split_annotation("sub/a.png [output]"),
            ("sub/a.png", Some(Folder::Output))
        );
        assert_eq!(
            split_annotation("a.png [temp]"),
            ("a.png", Some(Folder::Temp))
        );
        assert_eq!(split_annotation("a.png [other]"), ("a.png [other]", None));
        assert_eq!(split_annotation("a.png"), ("a.png", None));
    }

    #[test]
    fn only_pictures_are_offered() {
        let folders = Folders::open(None).unwrap();
        let input = folders.path(Folder::Input);
        std::fs::write(input.join("b.png"), b"").unwrap();
        std::fs::write(input.join("a.JPG"), b"").unwrap();
        std::fs::write(input.join("notes.txt"), b"").unwrap();
        std::fs::create_dir(input.join("sub.png")).unwrap();
        assert_eq!(folders.pictures(), ["a.JPG", "b.png"]);
    }

    #[test]
    fn atemporary_folder_goes_with_the_server() {
        let folders = Folders::open(None).unwrap();
        let input = folders.path(Folder::Input);
        assert!(input.is_dir());
        drop(folders);
        assert!(!input.exists());
    }

    #[test]
    fn a_node_that_finds_the_disk_full_says_so_and_where() {
        let full = std::io::ErrorKind::StorageFull.into();
        let error = crate::embedded::nodes::NodeError::unwritten(Path::new("/out"), "a.png", &full);
        assert_eq!(
            error.to_string(),
            "no space left on the disk: `a.png` cannot be written in /out"
        );
    }
}
