//! What template functions may reach: files beside the pipeline, the environment, the run's seed and start.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use indexmap::IndexMap;

use super::pattern::Pattern;
use super::steps::neighbour;
use crate::artifact::{Datum, FileValue};
use crate::base::{AtomicFile, ContentHash, Inputs, Secrets};
use crate::plugin::Callables;
use crate::template::{Picture, World, compose_mask};

/// Where `mask()` keeps what it makes, below the project's folder.
pub const MASKS: &str = ".kiln/masks";

/// The world of one plan. Everything read goes through [`Inputs`].
#[derive(Debug)]
pub(super) struct PlanWorld {
    inputs: Arc<Inputs>,
    folder: PathBuf,
    seed: u64,
    now: jiff::Zoned,
    /// `None` once the plan is sealed: that they are there was found out before, and their values are put in elsewhere.
    secrets: Option<Secrets>,
    /// Where files go that templates make.
    scratch: Option<PathBuf>,
    /// A `.env` file that was not read yet.
    dotenv: Option<PathBuf>,
    dotenv_read: Once,
    /// Functions and filters of plugins.
    plugins: Option<Callables>,
}

impl PlanWorld {
    /// A world whose relative paths start from `folder`.
    pub(super) fn new(inputs: Arc<Inputs>, folder: &Path, seed: u64, now: jiff::Zoned) -> Self {
        Self {
            inputs,
            folder: folder.to_path_buf(),
            seed,
            now,
            secrets: None,
            scratch: None,
            dotenv: None,
            dotenv_read: Once::new(),
            plugins: None,
        }
    }

    /// A world whose variables are also those of a `.env` file, which is read when the first of them is asked for.
    pub(super) fn with_dotenv(mut self, file: Option<PathBuf>) -> Self {
        self.dotenv = file;
        self
    }

    /// A world that knows which secrets have values.
    pub(super) fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// A world that may make files: in the project's `.kiln/masks/`, named by their content.
    pub(super) fn in_project(mut self, project_dir: &Path) -> Self {
        self.scratch = Some(project_dir.join(MASKS));
        self
    }

    /// A world with the functions and filters of plugins.
    pub(super) fn with_plugins(mut self, plugins: Callables) -> Self {
        self.plugins = Some(plugins);
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }
}

/// Hashes a file of the user's.
pub(super) fn file_value(inputs: &Inputs, path: PathBuf) -> Result<FileValue, String> {
    let (hash, size) = inputs.hash(&path).map_err(|e| e.to_string())?;
    Ok(FileValue { path, hash, size })
}

impl World for PlanWorld {
    fn file(&self, path: &str) -> Result<FileValue, String> {
        let path = self.path(path);
        file_value(&self.inputs, path.clone()).map_err(|why| match neighbour(&path) {
            Some(near) => format!("{why}; did you mean `{near}`?"),
            None => why,
        })
    }

    fn exists(&self, path: &str) -> bool {
        self.inputs.exists(&self.path(path))
    }

    fn glob(&self, pattern: &str) -> Result<Vec<FileValue>, String> {
        let matches = Pattern::new(&self.folder, pattern)?.files();
        self.inputs.record_glob(&self.folder, pattern, &matches);
        matches
            .into_iter()
            .map(|path| file_value(&self.inputs, path))
            .collect()
    }

    fn read_text(&self, path: &str) -> Result<String, String> {
        self.inputs
            .read_text(&self.path(path))
            .map_err(|e| e.to_string())
    }

    fn env(&self, name: &str) -> Option<String> {
        if let Some(file) = &self.dotenv {
            self.dotenv_read.call_once(|| {
                // It could be read when the plan was made. If it no longer can, what it says is missing, and whoever needs it says so.
                drop(self.inputs.read_dotenv(file));
            });
        }
        self.inputs.env(name)
    }

    fn secret(&self, name: &str) -> Result<(), String> {
        match &self.secrets {
            Some(secrets)
                if self
                    .inputs
                    .secret(name)
                    .or_else(|| secrets.get(name))
                    .is_none() =>
            {
                Err(format!("the environment variable `{name}` is not set"))
            }
            _ => Ok(()),
        }
    }

    fn mask(&self, mask: &Datum, of: &Datum) -> Result<FileValue, String> {
        let scratch = self.scratch.as_ref();
        let scratch = scratch.ok_or("there is no project to keep the picture in")?;
        let (mask_name, mask) = picture(&self.inputs, mask)?;
        let (of_name, of) = picture(&self.inputs, of)?;
        let mask = Picture {
            name: &mask_name,
            bytes: &mask,
        };
        let of = Picture {
            name: &of_name,
            bytes: &of,
        };
        let bytes = compose_mask(mask, of).map_err(|error| error.to_string())?;
        let hash = ContentHash::of(&bytes);
        let path = scratch.join(format!("{hash}.png"));
        let there = ContentHash::of_file(&path).is_ok_and(|(found, _)| found == hash);
        if !there {
            AtomicFile::put(&path, &bytes).map_err(|error| error.to_string())?;
        }
        Ok(FileValue {
            path,
            hash,
            size: bytes.len() as u64,
        })
    }

    fn functions(&self) -> Vec<String> {
        self.plugins
            .as_ref()
            .map_or_else(Vec::new, Callables::functions)
    }

    fn filters(&self) -> Vec<String> {
        self.plugins
            .as_ref()
            .map_or_else(Vec::new, Callables::filters)
    }

    fn call(
        &self,
        filter: bool,
        name: &str,
        args: &[Datum],
        named: &IndexMap<String, Datum>,
    ) -> Result<Datum, String> {
        match &self.plugins {
            Some(plugins) => plugins.call(filter, name, args, named),
            None => Err("nothing has it".to_owned()),
        }
    }

    fn run_seed(&self) -> u64 {
        self.seed
    }

    fn now(&self) -> jiff::Zoned {
        self.now.clone()
    }
}

/// The name and the bytes of a file, which must still be the file that the value tells of.
fn picture(inputs: &Inputs, value: &Datum) -> Result<(String, Vec<u8>), String> {
    let (path, hash) = match value {
        Datum::File(file) => (Some(&file.path), file.hash),
        Datum::Artifact(artifact) => (artifact.path.as_ref(), artifact.hash),
        _ => return Err(format!("{} is no picture", value.describe())),
    };
    let path = path.ok_or("a text is no picture")?;
    let bytes = inputs.read(path).map_err(|error| error.to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if ContentHash::of(&bytes) != hash {
        return Err(format!("`{name}` has changed since the run began"));
    }
    Ok((name.into_owned(), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dotenv_file_is_read_when_a_variable_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".env");
        let world = PlanWorld::new(Arc::default(), dir.path(), 1, jiff::Zoned::default())
            .with_dotenv(Some(file.clone()));
        std::fs::write(&file, "KILN_TEST_LATE=here\n").unwrap();
        assert_eq!(world.env("KILN_TEST_LATE").as_deref(), Some("here"));
        assert_eq!(world.env("KILN_TEST_NEVER"), None);
    }

    fn png(width: u32, shade: u8) -> Vec<u8> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image::GrayImage::from_pixel(width, 1, image::Luma([shade]))
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_mask_is_kept_in_the_project_under_its_content() {
        let dir = tempfile::tempdir().unwrap();
        for (name, bytes) in [
            ("m.png", png(4, 255)),
            ("p.png", png(4, 9)),
            ("q.png", png(5, 9)),
        ] {
            std::fs::write(dir.path().join(name), bytes).unwrap();
        }
        let world = PlanWorld::new(Arc::default(), dir.path(), 1, jiff::Zoned::default());
        let file = |name: &str| Datum::File(world.file(name).unwrap());
        let (mask, picture, wide) = (file("m.png"), file("p.png"), file("q.png"));
        assert!(world.mask(&mask, &picture).is_err());

        let world = world.in_project(dir.path());
        let made = world.mask(&mask, &picture).unwrap();
        assert_eq!(made.path.parent().unwrap(), dir.path().join(".kiln/masks"));
        assert_eq!(
            ContentHash::of_file(&made.path).unwrap(),
            (made.hash, made.size)
        );
        let pixels = image::open(&made.path).unwrap().to_rgba8();
        assert_eq!(pixels.get_pixel(0, 0).0, [9, 9, 9, 0]);

        // What somebody did to it is undone; the same mask is the same file.
        std::fs::write(&made.path, "scribble").unwrap();
        assert_eq!(world.mask(&mask, &picture).unwrap(), made);
        assert_eq!(ContentHash::of_file(&made.path).unwrap().0, made.hash);

        let error = world.mask(&mask, &wide).unwrap_err();
        assert_eq!(
            error,
            "the mask `m.png` is 4×1 and `q.png` is 5×1: they must be of one size"
        );
        std::fs::write(dir.path().join("p.png"), png(4, 10)).unwrap();
        let error = world.mask(&mask, &picture).unwrap_err();
        assert_eq!(error, "`p.png` has changed since the run began");
    }
}
