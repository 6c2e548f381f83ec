//! The one recorded door to files and the environment before a run: what a plan read is what a watcher must watch and a resume must verify.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::dotenv::{self, DotenvError};
use super::hash::ContentHash;
use super::path::display_path;

/// Files up to this size are hashed when they are opened to be read in parts.
const HASHED: u64 = 64 << 20;

/// A file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read `{}`: {}", display_path(path), reason(source))]
pub struct ReadError {
    /// The file, absolute.
    pub path: PathBuf,
    /// What the system answered.
    pub source: io::Error,
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        _ => error.to_string(),
    }
}

/// One thing that was read, and what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "input")]
pub enum Input {
    /// A file by its absolute path.
    File {
        /// Where it lies.
        path: PathBuf,
        /// Its content, `None` when it did not exist.
        hash: Option<ContentHash>,
        /// Its length in bytes.
        size: u64,
    },
    /// What came through stdin.
    Stdin {
        /// Its content.
        hash: ContentHash,
    },
    /// An environment variable.
    Env {
        /// Its name.
        name: String,
        /// Hash of its value, `None` when unset: the value may be a secret.
        value: Option<ContentHash>,
    },
    /// A secret: only whether it has a value, since a hash of a short one tells it.
    Secret {
        /// The environment variable's name.
        name: String,
        /// Whether it is set.
        set: bool,
    },
    /// Whether something was there: its content does not matter.
    Presence {
        /// Where, absolute.
        path: PathBuf,
        /// Whether it was.
        there: bool,
    },
    /// A pattern and the files that matched it, sorted.
    Glob {
        /// The folder that the pattern starts from, absolute.
        #[serde(default)]
        folder: PathBuf,
        /// The pattern, as it was written.
        pattern: String,
        /// Absolute paths.
        matches: Vec<PathBuf>,
    },
}

/// UTF-8 text without its byte order mark.
fn decoded(bytes: Vec<u8>) -> io::Result<String> {
    let utf16 = bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]);
    let text = String::from_utf8(bytes).map_err(|_| {
        let why = if utf16 {
            "it is UTF-16 text; save it as UTF-8"
        } else {
            "it is not UTF-8 text"
        };
        io::Error::new(io::ErrorKind::InvalidData, why)
    })?;
    Ok(text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text))
}

/// The door. Shared by reference between everything that reads before a run.
#[derive(Debug, Default)]
pub struct Inputs {
    seen: Mutex<BTreeMap<String, Input>>,
    /// What a `.env` file says; the real environment wins.
    dotenv: OnceLock<IndexMap<String, String>>,
    /// Secrets that are no variables, by the names that stand for them.
    kept: Mutex<BTreeMap<String, String>>,
}

impl Inputs {
    /// Reads a whole file.
    ///
    /// # Errors
    /// When it cannot be read; its absence is recorded too.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, ReadError> {
        match std::fs::read(path) {
            Ok(bytes) => {
                self.record_file(path, Some(ContentHash::of(&bytes)), bytes.len() as u64);
                Ok(bytes)
            }
            Err(source) => {
                self.record_file(path, None, 0);
                Err(ReadError {
                    path: path.to_path_buf(),
                    source,
                })
            }
        }
    }

    /// Opens a file of which only parts are read. One that is not too big is recorded with its content, of others only that they
    /// are there.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self, path: &Path) -> Result<std::fs::File, ReadError> {
        let opened = std::fs::File::open(path).and_then(|file| {
            let about = file.metadata()?;
            if about.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok((file, about.len()))
        });
        match opened {
            Ok((file, size)) if size <= HASHED => self.hash(path).map(|_| file),
            Ok((file, _)) => {
                self.exists(path);
                Ok(file)
            }
            Err(source) => {
                self.record_file(path, None, 0);
                Err(ReadError {
                    path: path.to_path_buf(),
                    source,
                })
            }
        }
    }

    /// Reads all of stdin as bytes, at most so many. It can be read once: whoever asks second is told so.
    ///
    /// # Errors
    /// The reason, to be read after "could not read stdin: ".
    pub fn read_stdin_bytes(&self, most: u64) -> Result<Vec<u8>, String> {
        let key = "stdin";
        if self.lock().contains_key(key) {
            return Err("it was read already, and `-` can stand for one file only".to_owned());
        }
        let mut bytes = Vec::new();
        let read = io::stdin().take(most + 1).read_to_end(&mut bytes);
        read.map_err(|error| reason(&error))?;
        if bytes.len() as u64 > most {
            return Err(format!("it is longer than {} MB", most >> 20));
        }
        let hash = ContentHash::of(&bytes);
        self.insert(key.to_owned(), Input::Stdin { hash });
        Ok(bytes)
    }

    /// Reads a text file; a byte order mark is dropped.
    ///
    /// # Errors
    /// When it cannot be read or is not UTF-8 ([`io::ErrorKind::InvalidData`]).
    pub fn read_text(&self, path: &Path) -> Result<String, ReadError> {
        let bytes = self.read(path)?;
        decoded(bytes).map_err(|source| ReadError {
            path: path.to_path_buf(),
            source,
        })
    }

    /// Reads all of stdin as text; a byte order mark is dropped. It can be read once: whoever asks second is told so.
    ///
    /// # Errors
    /// The reason, to be read after "could not read stdin: ".
    pub fn read_stdin(&self) -> Result<String, String> {
        let key = "stdin";
        if self.lock().contains_key(key) {
            return Err("it was read already, and `-` can stand for one file only".to_owned());
        }
        let mut bytes = Vec::new();
        let text = io::stdin().read_to_end(&mut bytes).and_then(|_| {
            self.insert(
                key.to_owned(),
                Input::Stdin {
                    hash: ContentHash::of(&bytes),
                },
            );
            decoded(bytes)
        });
        text.map_err(|error| reason(&error))
    }

    /// Hashes a file without keeping its content.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn hash(&self, path: &Path) -> Result<(ContentHash, u64), ReadError> {
        match ContentHash::of_file(path) {
            Ok((hash, size)) => {
                self.record_file(path, Some(hash), size);
                Ok((hash, size))
            }
            Err(source) => {
                self.record_file(path, None, 0);
                Err(ReadError {
                    path: path.to_path_buf(),
                    source,
                })
            }
        }
    }

    /// Whether a file or folder is there.
    pub fn exists(&self, path: &Path) -> bool {
        let there = path.exists();
        self.insert(
            format!("there:{}", path.display()),
            Input::Presence {
                path: path.to_path_buf(),
                there,
            },
        );
        there
    }

    /// Reads a `.env` file, whose variables [`Inputs::env`] and [`Inputs::secret`] know from then on; only the first such file counts.
    /// One that does not exist says nothing.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read_dotenv(&self, path: &Path) -> Result<(), DotenvError> {
        let text = match self.read_text(path) {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => return Ok(()),
            outcome => outcome?,
        };
        let variables = dotenv::parse(path, &text)?;
        self.dotenv.get_or_init(|| variables);
        Ok(())
    }

    /// An environment variable, when it is set and valid Unicode.
    pub fn env(&self, name: &str) -> Option<String> {
        let value = self.variable(name);
        let hash = value.as_ref().map(|v| ContentHash::of(v.as_bytes()));
        self.insert(
            format!("env:{name}"),
            Input::Env {
                name: name.to_owned(),
                value: hash,
            },
        );
        value
    }

    /// The value of a secret: an environment variable of which nothing but its presence is recorded. An empty one counts as unset.
    pub fn secret(&self, name: &str) -> Option<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = kept.get(name) {
            return Some(value.clone());
        }
        drop(kept);
        let value = self.variable(name).filter(|value| !value.is_empty());
        self.insert(
            format!("secret:{name}"),
            Input::Secret {
                name: name.to_owned(),
                set: value.is_some(),
            },
        );
        value
    }

    /// Makes a value that a file says a secret: [`Inputs::secret`] knows it by this name from then on. Nothing of it is recorded.
    pub fn keep_secret(&self, name: &str, value: &str) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.insert(name.to_owned(), value.to_owned());
    }

    /// What the `.env` file says.
    pub fn dotenv(&self) -> BTreeMap<String, String> {
        let file = self.dotenv.get();
        file.into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn variable(&self, name: &str) -> Option<String> {
        let file = || self.dotenv.get().and_then(|file| file.get(name).cloned());
        std::env::var(name).ok().or_else(file)
    }

    /// Records what a pattern matched that starts from a folder.
    pub fn record_glob(&self, folder: &Path, pattern: &str, matches: &[PathBuf]) {
        self.insert(
            format!("glob:{}:{pattern}", folder.display()),
            Input::Glob {
                folder: folder.to_path_buf(),
                pattern: pattern.to_owned(),
                matches: matches.to_vec(),
            },
        );
    }

    /// Everything read so far, in a stable order.
    pub fn recorded(&self) -> Vec<Input> {
        self.lock().values().cloned().collect()
    }

    fn record_file(&self, path: &Path, hash: Option<ContentHash>, size: u64) {
        self.insert(
            path.display().to_string(),
            Input::File {
                path: path.to_path_buf(),
                hash,
                size,
            },
        );
    }

    fn insert(&self, key: String, input: Input) {
        self.lock().insert(key, input);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Input>> {
        // A panic while the map was held cannot leave it half-changed.
        self.seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_remembered_with_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.txt");
        std::fs::write(&file, "\u{feff}hi").unwrap();
        let inputs = Inputs::default();
        assert_eq!(inputs.read_text(&file).unwrap(), "hi");
        assert!(inputs.read(&dir.path().join("none")).is_err());
        assert!(!inputs.exists(&dir.path().join("neither")));
        let recorded = inputs.recorded();
        assert_eq!(recorded.len(), 3);
        assert!(
            recorded
                .iter()
                .any(|i| matches!(i, Input::Presence { there: false, .. }))
        );
        assert!(
            recorded
                .iter()
                .any(|i| matches!(i, Input::File { hash: None, .. }))
        );
    }

    #[test]
    fn a_dotenv_file_speaks_where_the_environment_is_silent() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        let inputs = Inputs::default();
        inputs.read_dotenv(&file).unwrap();
        assert_eq!(inputs.env("KILN_TEST_ONLY_HERE"), None);
        std::fs::write(&file, "KILN_TEST_ONLY_HERE=here\nPATH=elsewhere\n").unwrap();
        inputs.read_dotenv(&file).unwrap();
        assert_eq!(inputs.env("KILN_TEST_ONLY_HERE").as_deref(), Some("here"));
        assert_ne!(inputs.env("PATH").as_deref(), Some("elsewhere"));
        assert!(std::env::var("KILN_TEST_ONLY_HERE").is_err());
        let recorded = |path| {
            inputs
                .recorded()
                .iter()
                .any(|i| matches!(i, Input::File { path: p, .. } if p == path))
        };
        assert!(recorded(&file));
    }

    #[test]
    fn of_a_secret_only_its_presence_is_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        std::fs::write(&file, "KILN_TEST_SECRET=hunter2\n").unwrap();
        let inputs = Inputs::default();
        inputs.read_dotenv(&file).unwrap();
        assert_eq!(
            inputs.secret("KILN_TEST_SECRET").as_deref(),
            Some("hunter2")
        );
        assert_eq!(inputs.secret("KILN_TEST_NO_SECRET"), None);
        let recorded = serde_json::to_string(&inputs.recorded()).unwrap();
        assert!(recorded.contains(r#"{"input":"secret","name":"KILN_TEST_SECRET","set":true}"#));
        assert!(!recorded.contains(ContentHash::of(b"hunter2").to_hex().as_str()));
        assert!(!recorded.contains("hunter2"));
    }
}
