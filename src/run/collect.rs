//! Results on their way from a server: which count, what they are called, and fetching them.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use indexmap::IndexMap;

use super::failure::{About, Failure};
use super::folder::Place;
use super::passing;
use super::shared::Shared;
use crate::artifact::{Artifact, Kind, RemoteFile};
use crate::base::{AtomicFile, ContentHash, NodeId, safe_name};
use crate::client::{Client, DownloadError, Growing};
use crate::diagnostic::{Diagnostic, codes};
use crate::machine::{FailureClass, Ticket};
use crate::plan::{self, Results, StepPlan, TaskPlan};
use crate::protocol::{FileRef, NodeResult, ResultValue};

/// Files of one job that are fetched at a time.
const AT_ONCE: usize = 4;

/// Why results are not here.
#[derive(Debug)]
pub(super) enum CollectError {
    /// The server told of a file that it does not have.
    Gone(DownloadError),
    /// Anything else.
    Failed(Box<Failure>),
}

/// What collecting needs to know of its try.
#[derive(Clone, Copy, Debug)]
pub(super) struct Collector<'a> {
    pub(super) about: About<'a>,
    pub(super) task: &'a TaskPlan,
    pub(super) ticket: Ticket,
    pub(super) client: &'a Client,
    /// The endpoint's address.
    pub(super) url: &'a str,
    pub(super) shared: &'a Shared,
    pub(super) results: &'a Results,
}

/// A result with its place.
enum Planned {
    Text(Artifact),
    File(Artifact, FileRef, Place),
}

impl Collector<'_> {
    /// Fetches every result that counts, in order.
    pub(super) async fn collect(
        self,
        found: Vec<NodeResult>,
    ) -> Result<Vec<Arc<Artifact>>, CollectError> {
        let named = &self.about.step.outputs;
        let mut planned = Vec::new();
        for (index, result) in that_count(found, named).into_iter().enumerate() {
            planned.push(
                self.plan(index, result)
                    .map_err(|failure| CollectError::Failed(Box::new(failure)))?,
            );
        }
        // Where texts are all there is, `save_as` is about them.
        let alone = planned.iter().all(|p| matches!(p, Planned::Text(_)));
        if alone && self.about.step.save_as.is_some() {
            return self.written(planned);
        }
        let files = planned.iter();
        let files = files.filter(|p| matches!(p, Planned::File(..))).count();
        stream::iter(planned)
            .map(|planned| self.fetch(planned, files))
            .buffered(AT_ONCE)
            .try_collect()
            .await
    }

    /// Texts as files.
    fn written(self, planned: Vec<Planned>) -> Result<Vec<Arc<Artifact>>, CollectError> {
        let mut written = Vec::new();
        for planned in planned {
            if let Planned::Text(text) = planned {
                let (about, at) = ((self.about, self.task), (self.ticket, self.results));
                let artifact = write_text(self.shared, about, at, text)
                    .map_err(|failure| CollectError::Failed(Box::new(failure)))?;
                written.push(Arc::new(artifact));
            }
        }
        Ok(written)
    }

    fn plan(self, index: usize, result: NodeResult) -> Result<Planned, Failure> {
        let About { step, task, .. } = self.about;
        let output = step
            .outputs
            .iter()
            .find(|(_, node)| **node == result.node)
            .map(|(name, _)| name.clone());
        let blank = Artifact {
            key: result.key,
            output,
            index,
            ..Artifact::blank(step.id.clone(), task.clone(), result.node)
        };
        let file = match result.value {
            ResultValue::Text(text) => {
                let text = self.shared.hush.mask(&text).into_owned();
                return Ok(Planned::Text(Artifact {
                    hash: ContentHash::of(text.as_bytes()),
                    size: text.len() as u64,
                    text: Some(text),
                    ..blank
                }));
            }
            ResultValue::File(file) => file,
        };
        let artifact = Artifact {
            kind: Kind::of_name(&file.filename),
            name: safe_name(&file.filename),
            temp: file.folder == "temp",
            meta: self.shared.hush.mask_members(result.meta),
            ..blank
        };
        let place = place_of(
            self.shared,
            (self.about, self.task),
            (self.ticket, self.results),
            &artifact,
        )?;
        Ok(Planned::File(artifact, file, place))
    }

    /// Fetches one of so many files. What is needed on another server goes there meanwhile.
    async fn fetch(self, planned: Planned, files: usize) -> Result<Arc<Artifact>, CollectError> {
        let (artifact, file, place) = match planned {
            Planned::Text(artifact) => return Ok(Arc::new(artifact)),
            Planned::File(artifact, file, place) => (artifact, file, place),
        };
        let (shared, step) = (self.shared, self.about.step);
        let mut started = Vec::new();
        let offer = |growing: Growing| {
            if passing::is_worth_it(&growing) {
                let (plan, servers) = (&shared.plan, &shared.servers);
                let passing = &shared.transfers.passing;
                let is_certain = |other: &StepPlan| {
                    passing.is_certain(&shared.store, (plan, &shared.run), other)
                };
                let to = passing::onward(plan, servers, step, self.url, files, is_certain);
                started = passing::pass_on(&growing, &file, self.url, &to);
            }
        };
        let fetched = self.client.download_offering(&file, &place.path, offer);
        let fetched = fetched.await;
        if let Ok(downloaded) = &fetched {
            let passing = &shared.transfers.passing;
            passing.started(started, downloaded.finished.hash);
        }
        match fetched {
            Ok(downloaded) => Ok(Arc::new(Artifact {
                path: Some(downloaded.finished.path),
                hash: downloaded.finished.hash,
                size: downloaded.finished.size,
                remote: Some(RemoteFile {
                    server: self.client.name().clone(),
                    url: self.url.to_owned(),
                    filename: file.filename,
                    subfolder: file.subfolder,
                    folder: file.folder,
                    etag: downloaded.etag,
                }),
                ..artifact
            })),
            Err(error @ DownloadError::Missing { .. }) => Err(CollectError::Gone(error)),
            Err(error) => {
                let failure = self.about.download(self.client.name(), &error);
                Err(CollectError::Failed(Box::new(failure)))
            }
        }
    }
}

/// A text that is a file as well, under the name that `save_as` gives it; without an extension it is a `.txt`.
pub(super) fn write_text(
    shared: &Shared,
    about: (About<'_>, &TaskPlan),
    at: (Ticket, &Results),
    artifact: Artifact,
) -> Result<Artifact, Failure> {
    let artifact = artifact.text_file();
    let place = place_of(shared, about, at, &artifact)?;
    let text = artifact.text.as_deref().unwrap_or_default();
    let finished = AtomicFile::put(&place.path, text.as_bytes())
        .map_err(|error| about.0.cannot_write(&error))?;
    Ok(Artifact {
        path: Some(finished.path),
        ..artifact
    })
}

/// Where a result goes in the run's folder.
pub(super) fn place_of(
    shared: &Shared,
    (about, task): (About<'_>, &TaskPlan),
    (ticket, results): (Ticket, &Results),
    artifact: &Artifact,
) -> Result<Place, Failure> {
    let wanted = plan::save_as(about.plan, task, artifact, results, ticket.attempt)
        .map_err(|diagnostic| Failure::one(FailureClass::Invalid, *diagnostic))?;
    let owner = (ticket.task, artifact.index);
    let place = shared.folder.place(&artifact.step, owner, &wanted);
    let place = place.map_err(|error| {
        let message = format!("a result's path {error}");
        let built = Diagnostic::error(&codes::UNSAFE_OUTPUT_PATH, message);
        Failure::one(FailureClass::Invalid, about.complain(built))
    })?;
    // Without `save_as` names are the server's, which count from 1 wherever they are not taken there: nobody chose them.
    if let Some(renamed) = &place.renamed
        && about.step.save_as.is_some()
        && shared.is_first_renamed(&artifact.step)
    {
        let built = about.renamed((&wanted, renamed), place.within);
        shared.teller.warn(&artifact.task, built);
    }
    Ok(place)
}

/// Files that a job did not save for good (`temp`, or inputs that a node shows) count only when it saved nothing else, or when
/// `outputs` names their node. The order stays: by node, then the server's.
fn that_count(found: Vec<NodeResult>, named: &IndexMap<String, NodeId>) -> Vec<NodeResult> {
    let folder = |result: &NodeResult| match &result.value {
        ResultValue::File(file) => Some(file.folder.clone()),
        ResultValue::Text(_) => None,
    };
    let any_saved = found.iter().any(|r| folder(r).as_deref() == Some("output"));
    found
        .into_iter()
        .filter(|result| match folder(result).as_deref() {
            None | Some("output") => true,
            Some("temp") => !any_saved || named.values().any(|node| *node == result.node),
            Some(_) => named.values().any(|node| *node == result.node),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(node: &str, folder: &str, filename: &str) -> NodeResult {
        NodeResult {
            node: NodeId::from(node),
            key: "images".to_owned(),
            value: ResultValue::File(FileRef {
                filename: filename.to_owned(),
                subfolder: String::new(),
                folder: folder.to_owned(),
            }),
            meta: serde_json::Map::new(),
        }
    }

    fn names(results: Vec<NodeResult>) -> Vec<String> {
        results
            .into_iter()
            .map(|r| match r.value {
                ResultValue::File(file) => file.filename,
                ResultValue::Text(text) => text,
            })
            .collect()
    }

    #[test]
    fn previews_count_only_when_nothing_was_saved_or_their_node_is_named() {
        let saved = || file("9", "output", "saved.png");
        let preview = || file("3", "temp", "preview.png");
        let none = IndexMap::new();
        assert_eq!(
            names(that_count(vec![preview(), saved()], &none)),
            ["saved.png"]
        );
        assert_eq!(names(that_count(vec![preview()], &none)), ["preview.png"]);
        let named = IndexMap::from([("small".to_owned(), NodeId::from("3"))]);
        assert_eq!(
            names(that_count(vec![preview(), saved()], &named)),
            ["preview.png", "saved.png"]
        );
    }

    #[test]
    fn an_input_that_a_node_shows_is_no_result() {
        let shown = file("2", "input", "photo.png");
        assert!(that_count(vec![shown], &IndexMap::new()).is_empty());
    }

    #[test]
    fn texts_always_count() {
        let text = NodeResult {
            value: ResultValue::Text("hi".to_owned()),
            ..file("4", "", "")
        };
        let saved = file("9", "output", "saved.png");
        assert_eq!(
            names(that_count(vec![text, saved], &IndexMap::new())),
            ["hi", "saved.png"]
        );
    }
}
