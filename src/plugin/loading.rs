//! Finding plugins, letting them in, and making them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::about::About;
use super::copied::Copied;
use super::declared::Declared;
use super::diagnostic::{ABSENT, FOLDER, not_loaded, of_config, pinned};
use super::host::{Notice, Plugins};
use super::member::{self, Member};
use super::schema::{mismatches, secrets_in};
use super::search::candidates;
use crate::base::secret::MissingSecret;
use crate::base::{ContentHash, Inputs, Secrets};
use crate::diagnostic::Diagnostic;

/// Finds a plugin, lets it in, and makes it. What was read for that is recorded.
pub(super) fn load(
    declared: &Declared,
    (inputs, secrets): (&Inputs, &Secrets),
    notices: &UnboundedSender<Notice>,
) -> Result<Arc<Member>, Vec<Diagnostic>> {
    let config = revealed(&declared.config, secrets)
        .map_err(|error| vec![not_loaded(declared, &[], Some(&error.to_string()))])?;
    let settings = json!({
        "name": declared.name, "kiln": env!("CARGO_PKG_VERSION"), "config": config,
        "timeout_ms": declared.timeout_ms,
    })
    .to_string();
    let mut tried = Vec::new();
    let candidates = candidates(&declared.path, &declared.project);
    for (nth, file) in candidates.iter().enumerate() {
        let library = match read(file, inputs)
            .and_then(|bytes| Copied::of(file, &bytes, &declared.project))
        {
            Ok(library) => library,
            Err(why) => {
                tried.push((file.clone(), why));
                continue;
            }
        };
        if let Some(wrong) = pinned(declared, file, library.hash()) {
            return Err(vec![wrong]);
        }
        let (hash, copy) = (library.hash(), library.path().to_path_buf());
        let opened = match member::open(declared, library, settings.clone(), notices.clone()) {
            Ok(opened) => opened,
            Err(why) => {
                tried.push((file.clone(), meant(&why, &copy, file)));
                continue;
            }
        };
        note_rivals(file, &candidates[nth + 1..], inputs);
        let wrong = opened.about.config.as_ref().map(|schema| {
            let config = with_default(&declared.config);
            mismatches(schema, &config, &secrets_in(&config))
        });
        if let Some(wrong) = wrong.filter(|wrong| !wrong.is_empty()) {
            return Err(of_config(declared, &wrong));
        }
        let found = Declared {
            hash: Some(hash),
            version: opened.about.version.clone(),
            ..declared.clone()
        };
        return opened.make(found).map_err(|fault| {
            let why = format!("it could not be made: {fault}");
            tried.push((file.clone(), why));
            vec![not_loaded(declared, &tried, None)]
        });
    }
    Err(vec![not_loaded(declared, &tried, None)])
}

/// The bytes of a library.
///
/// # Errors
/// A fragment that reads well after the path and a colon.
fn read(file: &Path, inputs: &Inputs) -> Result<Vec<u8>, String> {
    if !file.is_file() {
        // Somebody who watches wants to know when there is one.
        inputs.exists(file);
        return Err(if file.is_dir() { FOLDER } else { ABSENT }.to_owned());
    }
    let read = inputs.read(file);
    read.map_err(|error| format!("it cannot be read: {}", error.source))
}

/// Of a crate's builds the newer one is taken: another one counts as soon as it is built anew.
fn note_rivals(file: &Path, others: &[PathBuf], inputs: &Inputs) {
    let target = |file: &Path| file.parent().and_then(Path::parent).map(Path::to_path_buf);
    for other in others.iter().filter(|one| target(one) == target(file)) {
        if other.is_file() {
            // One that cannot be read is noted as that.
            let _ = inputs.hash(other);
        } else {
            inputs.exists(other);
        }
    }
}

/// What the system says of a copy, said of what it is a copy of.
fn meant(why: &str, copy: &Path, file: &Path) -> String {
    let copy = copy.to_string_lossy();
    let why = why.replace(&format!("{copy}: "), "");
    why.replace(&*copy, &file.to_string_lossy())
}

/// No config is an empty one.
fn with_default(config: &Value) -> Value {
    match config {
        Value::Null => json!({}),
        config => config.clone(),
    }
}

/// A value with its secrets' values.
fn revealed(value: &Value, secrets: &Secrets) -> Result<Value, MissingSecret> {
    Ok(match value {
        Value::String(text) => Value::String(secrets.reveal(text)?),
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| revealed(item, secrets))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, member)| Ok((key.clone(), revealed(member, secrets)?)))
                .collect::<Result<_, MissingSecret>>()?,
        ),
        plain => plain.clone(),
    })
}

impl Plugins {
    /// Loads one plugin by its path alone, to look at it: the file, and what it is.
    ///
    /// # Errors
    /// What was tried and why it failed, as complaints.
    pub fn look_at(
        path: &Path,
        project: &Path,
    ) -> Result<(PathBuf, ContentHash, About), Vec<Diagnostic>> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let declared = Declared::new(&name, path.to_path_buf(), project.to_path_buf());
        let (tell, _notices) = unbounded_channel();
        let mut tried = Vec::new();
        for file in candidates(path, project) {
            let looked = read(&file, &Inputs::default()).and_then(|bytes| {
                let library = Copied::for_a_look(&file, &bytes)?;
                let (hash, copy) = (library.hash(), library.path().to_path_buf());
                let opened = member::open(&declared, library, "{}".to_owned(), tell.clone());
                let opened = opened.map_err(|why| meant(&why, &copy, &file))?;
                Ok((hash, opened.about.clone()))
            });
            match looked {
                Ok((hash, about)) => return Ok((file, hash, about)),
                Err(why) => tried.push((file, why)),
            }
        }
        Err(vec![not_loaded(&declared, &tried, None)])
    }
}
