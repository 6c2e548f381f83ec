//! Finding plugins, letting them in, and making them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::about::About;
use super::declared::Declared;
use super::diagnostic::{not_loaded, of_config, pinned};
use super::host::{Notice, Plugins};
use super::member::{self, Member};
use super::schema::mismatches;
use super::search::candidates;
use crate::base::secret::MissingSecret;
use crate::base::{ContentHash, Secrets};
use crate::diagnostic::Diagnostic;

/// Finds a plugin, lets it in, and makes it.
pub(super) fn load(
    declared: &Declared,
    secrets: &Secrets,
    notices: &UnboundedSender<Notice>,
) -> Result<Arc<Member>, Vec<Diagnostic>> {
    let config = revealed(&declared.config, secrets)
        .map_err(|error| vec![not_loaded(declared, &[], Some(&error.to_string()))])?;
    let settings = json!({
        "name": declared.name, "kiln": env!("CARGO_PKG_VERSION"), "config": config,
    })
    .to_string();
    let mut tried = Vec::new();
    for file in candidates(&declared.path, &declared.project) {
        if !file.is_file() {
            let why = if file.is_dir() {
                "it is a folder"
            } else {
                "there is no such file"
            };
            tried.push((file, why.to_owned()));
            continue;
        }
        let hash = match ContentHash::of_file(&file) {
            Ok((hash, _)) => hash,
            Err(error) => {
                tried.push((file, format!("it cannot be read: {error}")));
                continue;
            }
        };
        if let Some(wrong) = pinned(declared, &file, hash) {
            return Err(vec![wrong]);
        }
        let opened = match member::open(declared, &file, settings.clone(), notices.clone()) {
            Ok(opened) => opened,
            Err(why) => {
                tried.push((file, why));
                continue;
            }
        };
        let wrong = opened
            .about
            .config
            .as_ref()
            .map(|schema| mismatches(schema, &with_default(&declared.config), &[]));
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
            if !file.is_file() {
                tried.push((file, "there is no such file".to_owned()));
                continue;
            }
            let settings = "{}".to_owned();
            match member::open(&declared, &file, settings, tell.clone()) {
                Ok(opened) => {
                    let hash = ContentHash::of_file(&file).map(|(hash, _)| hash);
                    let hash = hash.map_err(|error| {
                        vec![not_loaded(&declared, &[], Some(&error.to_string()))]
                    })?;
                    return Ok((file, hash, opened.about.clone()));
                }
                Err(why) => tried.push((file, why)),
            }
        }
        Err(vec![not_loaded(&declared, &tried, None)])
    }
}
