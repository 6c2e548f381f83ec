//! Whether a server has the files that a workflow loads, where its lists do not tell: it is asked for each of them.

use std::collections::HashMap;

use futures_util::future::join_all;

use super::prepare;
use crate::base::{Secrets, ServerName};
use crate::plan::Plan;
use crate::protocol::FileRef;
use crate::workflow::Graph;
use crate::workflow::verdict::{Assumed, FileOracle, Unsure};

/// More files than these are not asked for.
const MOST: usize = 64;

/// What a server said of files, by the name that the workflow has for each.
#[derive(Debug, Default)]
pub(super) struct Told(HashMap<String, bool>);

impl FileOracle for Told {
    fn exists(&self, _class_type: &str, _input: &str, name: &str) -> Option<bool> {
        self.0.get(name).copied()
    }
}

/// Asks the server of a plan for the files that were taken for granted. A server that does not answer leaves them unknown.
pub(super) async fn files(
    plan: &Plan,
    server: &ServerName,
    secrets: &Secrets,
    graph: &Graph,
    assumed: &[Assumed],
) -> Told {
    let files = assumed.iter();
    let files = files.filter(|assumed| assumed.unsure == Unsure::File);
    let names = files.filter_map(|assumed| {
        let node = graph.nodes.get(&assumed.node)?;
        node.inputs.get(&assumed.input)?.as_str()
    });
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(MOST);
    let mut alone = plan.clone();
    alone.servers.retain(|name, _| name == server);
    let Ok(servers) = prepare::connect(&alone, secrets).await else {
        return Told::default();
    };
    let mut told = HashMap::new();
    // The first endpoint is as good as the others: inputs are uploaded to all of them, or to none.
    if let Some(endpoint) = servers.of(server).iter().find(|e| !e.is_here()) {
        let asked = names.iter().map(|name| {
            let file = file_of(name);
            async move {
                (
                    *name,
                    endpoint
                        .client()
                        .stamp_of(&file)
                        .await
                        .ok()
                        .map(|stamp| stamp.is_some()),
                )
            }
        });
        for (name, answer) in join_all(asked).await {
            if let Some(there) = answer {
                told.insert(name.to_owned(), there);
            }
        }
    }
    servers.shutdown().await;
    Told(told)
}

/// The file that a loading node means: `sub/a.png [output]`.
fn file_of(name: &str) -> FileRef {
    let folders = ["input", "output", "temp"];
    let (path, folder) = folders
        .iter()
        .find_map(|folder| {
            let path = name.strip_suffix(&format!("[{folder}]"))?;
            Some((path.trim_end(), *folder))
        })
        .unwrap_or((name, "input"));
    let path = path.replace('\\', "/");
    let (subfolder, filename) = path.rsplit_once('/').unwrap_or(("", &path));
    FileRef {
        filename: filename.to_owned(),
        subfolder: subfolder.to_owned(),
        folder: folder.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loading_nodes_file_is_found_in_its_folder() {
        let parts = |name: &str| {
            let file = file_of(name);
            [file.subfolder, file.filename, file.folder]
        };
        assert_eq!(parts("a.png"), ["", "a.png", "input"]);
        assert_eq!(parts("b/c/a.png [output]"), ["b/c", "a.png", "output"]);
        assert_eq!(parts("b\\a.png[temp]"), ["b", "a.png", "temp"]);
    }
}
