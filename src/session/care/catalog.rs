//! What a server has, saved for checks without it.

use serde_json::{Map, Value, json};

use super::models::folders;
use super::reach::{Complaint, Open};

/// The format of a saved catalog.
pub const CATALOG_FORMAT: u32 = 1;

/// Everything that a server has: its answer to `GET /object_info` as it is, its models by folder, and the classes that take the place of
/// others.
///
/// # Errors
/// When the server cannot be asked.
pub async fn saved_catalog(open: &Open) -> Result<Value, Box<Complaint>> {
    let endpoint = open.first();
    let client = endpoint.client();
    let (info, folders, replaced) = tokio::join!(
        client.object_info(),
        folders(open),
        client.node_replacements()
    );
    let info = info.map_err(|error| open.wrong(&error))?;
    let mut models = Map::new();
    for row in folders? {
        let files = client.models_in(&row.folder).await;
        let files = files.map_err(|error| open.wrong(&error))?;
        models.insert(row.folder, json!(files));
    }
    // A server that does not tell leaves it open.
    let replaced = replaced.ok().map(|told| json!(told));
    Ok(json!({
        "kiln_catalog": CATALOG_FORMAT,
        "server": open.name.to_string(),
        "version": endpoint.info().map(|info| info.version.clone()),
        "saved": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "models": models,
        "node_replacements": replaced,
        "object_info": info,
    }))
}
