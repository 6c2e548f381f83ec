//! What servers offered when they were last asked, kept for checks while they are away.
//!
//! A kept catalog is a file in the project's own `.kiln/catalogs`, in the format of `kiln server catalog`, so that `--catalog` reads it,
//! too. It is written by checks alone, and only where something ran already; it never stands for a server that answers, since lists of
//! models change without a word.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::care::CATALOG_FORMAT;
use crate::base::{AtomicFile, ContentHash, ServerName, safe_name};
use crate::catalog::Catalog;
use crate::store::STATE_FOLDER;

/// A catalog that was kept.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) catalog: Catalog,
    /// The server's version then.
    pub(super) version: String,
    /// The day it was kept.
    pub(super) day: String,
}

fn folder(project: &Path) -> PathBuf {
    project.join(STATE_FOLDER).join("catalogs")
}

/// The file for the server at an address. Not its name alone: names move to other addresses.
fn file(project: &Path, server: &ServerName, url: &str) -> PathBuf {
    let hash = ContentHash::of(url.as_bytes()).to_hex();
    let name = format!("{}-{}.json", safe_name(server.as_str()), &hash[..8]);
    folder(project).join(name)
}

/// Keeps what a server told, beside what the same version told before. Failing to do so harms nothing.
pub(super) fn keep(
    project: &Path,
    (server, url): (&ServerName, &str),
    version: &str,
    catalog: &Catalog,
) {
    if !project.join(STATE_FOLDER).is_dir() {
        return;
    }
    let path = file(project, server, url);
    let before = read(&path).filter(|kept| kept.version == version);
    let mut both = before
        .as_ref()
        .map(|kept| kept.catalog.clone())
        .unwrap_or_default();
    both.merge(catalog.clone());
    let info = both.to_object_info();
    let same = |kept: &Kept| {
        kept.catalog.to_object_info() == info && kept.catalog.replacements() == both.replacements()
    };
    if info.len() <= 2 || before.as_ref().is_some_and(same) {
        return;
    }
    let saved = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let head = json!({
        "kiln_catalog": CATALOG_FORMAT,
        "server": server,
        "version": version,
        "saved": saved.to_string(),
        "node_replacements": both.replacements(),
    });
    let head = head.to_string();
    let text = format!(
        "{},\"object_info\":{info}}}\n",
        head.strip_suffix('}').unwrap_or(&head)
    );
    let _ = AtomicFile::put(&path, text.as_bytes());
}

/// What the server at an address offered when it was last asked.
pub(super) fn recall(project: &Path, server: &ServerName, url: &str) -> Option<Kept> {
    read(&file(project, server, url))
}

fn read(path: &Path) -> Option<Kept> {
    let text = std::fs::read_to_string(path).ok()?;
    let catalog = Catalog::open(&text).ok()?;
    let head: indexmap::IndexMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(&text).ok()?;
    let told = |name: &str| {
        let raw = head.get(name)?;
        let value: Value = serde_json::from_str(raw.get()).ok()?;
        value.as_str().map(str::to_owned)
    };
    Some(Kept {
        catalog,
        version: told("version")?,
        day: told("saved")?.get(..10)?.to_owned(),
    })
}

/// Every catalog that is kept in a project, each with its server's name.
pub(super) fn all(project: &Path) -> Vec<(String, Catalog)> {
    let entries = std::fs::read_dir(folder(project)).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    files.sort();
    files
        .iter()
        .filter_map(|path| {
            let name = path.file_stem()?.to_str()?.rsplit_once('-')?.0.to_owned();
            Some((name, read(path)?.catalog))
        })
        .collect()
}
