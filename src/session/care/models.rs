//! The model files of a server.

use futures_util::{StreamExt, stream};
use serde::Serialize;

use super::reach::{Complaint, Open};
use crate::client::Client;
use crate::diagnostic::did_you_mean;

/// Folders asked for at a time.
const AT_ONCE: usize = 8;

/// A folder of models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FolderRow {
    /// Its name, e.g. `checkpoints`.
    pub folder: String,
    /// How many files it holds; null where the server does not tell.
    pub files: Option<usize>,
}

/// A model file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ModelRow {
    /// Its folder.
    pub folder: String,
    /// Its name there, as inputs take it.
    pub name: String,
    /// Bytes; null where the server does not tell.
    pub size: Option<u64>,
    /// When it was changed, milliseconds since 1970; null where the server does not tell.
    pub modified: Option<u64>,
}

/// All folders of models, with how much is in each.
///
/// # Errors
/// When the server cannot be asked.
pub async fn folders(open: &Open) -> Result<Vec<FolderRow>, Box<Complaint>> {
    let client = open.first().client();
    let names = client.models().await.map_err(|error| open.wrong(&error))?;
    let counted = names.into_iter().map(|folder| count(client, folder));
    Ok(stream::iter(counted).buffered(AT_ONCE).collect().await)
}

async fn count(client: &Client, folder: String) -> FolderRow {
    let files = client.models_in(&folder).await;
    FolderRow {
        files: files.ok().map(|files| files.len()),
        folder,
    }
}

/// The files of one folder, by name.
///
/// # Errors
/// When there is no such folder, or the server cannot be asked.
pub async fn models_in(open: &Open, folder: &str) -> Result<Vec<ModelRow>, Box<Complaint>> {
    let client = open.first().client();
    let (names, told) = tokio::join!(client.models_in(folder), client.model_files(folder));
    let names = names.map_err(|error| open.wrong(&error))?;
    let told = told.map_err(|error| open.wrong(&error))?;
    if names.is_empty() {
        let known = client.models().await.map_err(|error| open.wrong(&error))?;
        if !known.iter().any(|known| known == folder) {
            return Err(no_folder(open, folder, &known));
        }
    }
    let mut rows: Vec<ModelRow> = names
        .into_iter()
        .map(|name| {
            let known = told.iter().find(|file| file.name == name);
            ModelRow {
                folder: folder.to_owned(),
                size: known.and_then(|file| file.size),
                modified: known.and_then(|file| file.modified),
                name,
            }
        })
        .collect();
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(rows)
}

#[expect(
    clippy::unnecessary_box_returns,
    reason = "it is the error of a result, where it is boxed"
)]
fn no_folder(open: &Open, folder: &str, known: &[String]) -> Box<Complaint> {
    let message = format!("`{}` has no folder of models `{folder}`", open.name);
    let near = did_you_mean(folder, known.iter().map(String::as_str));
    match near {
        Some(near) => Complaint::typed(message, format!("did you mean `{near}`?")),
        None => Complaint::typed(message, "`kiln server models` lists the folders"),
    }
}
