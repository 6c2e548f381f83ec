//! A step that is a job on a server: rendered, looked up, its files sent, submitted, followed, fetched.

use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::job::names_jobs;
use crate::artifact::Artifact;
use crate::base::{ContentHash, NodeId, brief};
use crate::catalog::Catalog;
use crate::check;
use crate::client::{Connection, Lookup};
use crate::diagnostic::{Diagnostic, Origin, Report, Severity, codes, list_of};
use crate::event::RunEvent;
use crate::machine::{CancelReason, FailureClass, Outcome};
use crate::plan::key::{Manifest, Recorded, ServerFacts, of_workflow, workflow_manifest};
use crate::plan::{self, Plan, Rendered, Results, TaskPlan, Upload, Uploadable, WorkflowStep};
use crate::run::attempt::{Ending, Try};
use crate::run::cache::{self, Miss};
use crate::run::failure::Failure;
use crate::run::identity::make_fresh;
use crate::run::plugins::Changed;
use crate::run::provenance::Did;
use crate::run::recall::{LookedUp, Recalled, look_up};
use crate::run::transfer::{Order, referable};
use crate::servers::Endpoint;
use crate::workflow::verdict::{self, JudgeOptions};
use crate::workflow::{self, Graph};

/// A job that only waits for its slot.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) rendered: Rendered,
    pub(super) connection: Arc<Connection>,
    /// What goes beside the graph.
    pub(super) extra: Map<String, Value>,
    catalog: Arc<Catalog>,
    /// What was sent, to be told once the task has started.
    sent: Vec<RunEvent>,
    /// An earlier session submitted it, and the server has it.
    pub(super) attached: bool,
    /// The socket under which its inputs were sent: with another one, the server may be another one, too.
    pub(super) session: Option<String>,
    /// Results that its inputs take from where the server put them, by names that may be other files' one day.
    pub(super) referred: Vec<Arc<Artifact>>,
    /// The output nodes that are to run.
    pub(super) ends: Vec<NodeId>,
    key: ContentHash,
    first_key: Option<ContentHash>,
    manifest: Manifest,
    miss: Option<Miss>,
    recorded: Recorded,
}

/// A graph with everything that follows from it.
struct Drawn {
    rendered: Rendered,
    catalog: Arc<Catalog>,
    facts: ServerFacts,
    manifest: Manifest,
    /// What is under its key, where that was asked.
    looked_up: Option<LookedUp>,
}

enum Prepared {
    Hit(Outcome),
    Ready(Box<Ready>),
}

impl Try {
    pub(in crate::run) async fn workflow(
        &mut self,
        work: &WorkflowStep,
    ) -> Result<Outcome, Ending> {
        let server = self.endpoint();
        let prepared = match self.prepare_job(&server, work).await {
            Ok(Prepared::Hit(outcome)) => return Ok(outcome),
            Ok(Prepared::Ready(ready)) => Ok(ready),
            Err(ending) => Err(ending),
        };
        let shares = cache::looks_up(self.step()) && !self.fresh;
        let key = prepared.as_ref().ok().map(|ready| ready.key);
        let mut ready = self.in_turn(key.filter(|_| shares), prepared).await?;
        for event in std::mem::take(&mut ready.sent) {
            self.shared.teller.tell(event);
        }
        let mut shaped = if ready.attached {
            self.note_unknown_shape()
        } else {
            self.shape(&server, &mut ready).await?
        };
        let ours = self.job();
        let made = self.carry_out(&server, &ready).await;
        let id = self.job();
        for id in [&ours, &id] {
            self.shared.jobs().remove(id);
        }
        let made = self.after_download(made?).await?;
        let mut told = true;
        if let Some(sent) = self.as_sent(&ready.rendered.graph) {
            ready.rendered.graph = sent;
        } else if ready.attached {
            (told, shaped) = (!shaped, false);
        }
        let recalled = Recalled {
            // Half a result stands for no other one.
            keys: std::iter::once(ready.key)
                .chain(ready.first_key)
                .filter(|_| !self.partial)
                .collect(),
            manifest: ready.manifest,
            miss: ready.miss,
            recorded: ready.recorded,
            did: if told {
                Did::Graph(&ready.rendered)
            } else {
                Did::Untold(&ready.rendered)
            },
            shaped,
            prompt_id: Some(id),
        };
        self.conclude(made, recalled).await
    }

    /// The graph as an earlier session sent it, with secrets as placeholders; `None` when the server does not tell.
    fn as_sent(&mut self, rendered: &Graph) -> Option<Graph> {
        let mut sent = workflow::from_request(self.sent.take()?).ok()?;
        self.shared.hush.hide(&mut sent, rendered);
        Some(sent)
    }

    /// Lets plugins change the graph, which is judged again then; whether they did.
    async fn shape(&mut self, server: &Endpoint, ready: &mut Ready) -> Result<bool, Ending> {
        if self.step().shaped_by.is_empty() {
            return Ok(false);
        }
        let graph = &mut ready.rendered.graph;
        let changed = self.before_submit(server.name.as_str(), graph).await?;
        if !changed.by.is_empty() {
            self.judge(&ready.rendered, &ready.catalog, &changed)?;
            ready.extra = self.extra_data(&ready.rendered.graph, &ready.catalog)?;
            ready.ends = ends(&ready.rendered, &ready.catalog);
        }
        Ok(!changed.by.is_empty())
    }

    /// Everything that can be done before the task has a slot.
    async fn prepare_job(
        &mut self,
        server: &Arc<Endpoint>,
        work: &WorkflowStep,
    ) -> Result<Prepared, Ending> {
        let Drawn {
            mut rendered,
            catalog,
            facts,
            manifest,
            looked_up,
        } = self.draw(server, work).await?;
        let key = manifest.key;
        let recorded = facts.recorded(&rendered.graph);
        let did = Did::Graph(&rendered);
        let miss = match self.recall(key, looked_up, &recorded, did).await? {
            Ok(hit) => return Ok(Prepared::Hit(hit)),
            Err(miss) => miss,
        };
        let first_key = self.first_key(&catalog, &facts).await;
        let ask = || server.connection().boxed();
        let connection = self.patiently(server, CancelReason::Requested, ask).await?;
        let attached = self.is_there(server, &connection).await?;
        let session = connection.session();
        let (sent, referred);
        if attached {
            (sent, referred) = (Vec::new(), self.did_refer(server, &rendered));
        } else {
            (sent, referred) = self.send_inputs(server, &mut rendered).await?;
            if self.fresh {
                make_fresh(&mut rendered.graph, &self.shared.run, self.ticket);
            }
            self.judge(&rendered, &catalog, &Changed::default())?;
        }
        let mut extra = self.extra_data(&rendered.graph, &catalog)?;
        if self.shared.previews.is_some() && !server.is_cloud() {
            // For this job alone; servers older than 0.7 do not know it.
            extra.insert("preview_method".to_owned(), "auto".into());
        }
        Ok(Prepared::Ready(Box::new(Ready {
            extra,
            session,
            referred,
            ends: ends(&rendered, &catalog),
            catalog,
            rendered,
            connection,
            sent,
            attached,
            key,
            first_key,
            manifest,
            miss,
            recorded,
        })))
    }

    /// The graph, its key, and what is known under that: in one go off this thread, unless the server must be asked for its models.
    async fn draw(&mut self, server: &Arc<Endpoint>, work: &WorkflowStep) -> Result<Drawn, Ending> {
        let classes = classes(&work.graph);
        let ask = || server.catalog(&classes).boxed();
        let catalog = self.patiently(server, CancelReason::Requested, ask).await?;
        let (shared, at, known) = (
            Arc::clone(&self.shared),
            Arc::clone(server),
            Arc::clone(&catalog),
        );
        let (mode, recalls) = (self.step().cache, self.recalls());
        let drawn = self.off_thread(move |plan, task, results, attempt| {
            let rendered = render_step(plan, task, results, &known, attempt)?;
            let facts = shared.facts.at_hand(&at, &known, &rendered);
            let keyed = facts.map(|facts| {
                let manifest = workflow_manifest(plan, &rendered, mode, &facts);
                let looked_up = recalls.then(|| look_up(&shared.store, &manifest.key));
                (facts, manifest, looked_up)
            });
            Ok((rendered, keyed))
        });
        let (rendered, keyed) = drawn.await?;
        let (facts, manifest, looked_up) = if let Some(keyed) = keyed {
            keyed
        } else {
            let facts = self.shared.facts.of(server, &catalog, &rendered);
            let facts = facts.await;
            let manifest = workflow_manifest(&self.shared.plan, &rendered, mode, &facts);
            (facts, manifest, None)
        };
        Ok(Drawn {
            rendered,
            catalog,
            facts,
            manifest,
            looked_up,
        })
    }

    /// What the first attempt would have been kept under, had it succeeded.
    async fn first_key(&self, catalog: &Arc<Catalog>, facts: &ServerFacts) -> Option<ContentHash> {
        if self.ticket.attempt < 2 || !cache::keeps(self.step()) {
            return None;
        }
        let catalog = Arc::clone(catalog);
        let rendered = self.off_thread(move |plan, task, results, _| {
            render_step(plan, task, results, &catalog, 1)
        });
        let rendered = rendered.await.ok()?;
        Some(of_workflow(&rendered, self.step().cache, facts, None))
    }

    /// Whether a job that an earlier session may have submitted is on its server. One that is not is lost: it has to be under another id
    /// that it is submitted again.
    async fn is_there(
        &mut self,
        server: &Endpoint,
        connection: &Arc<Connection>,
    ) -> Result<bool, Ending> {
        if self.owed.is_none() {
            return Ok(false);
        }
        if names_jobs(server) && self.named.is_none() {
            if !self.is_under_way() {
                return Ok(false);
            }
            let cause = "kiln was stopped before the answer came";
            return Err(self.about().ambiguous(&server.name, cause).into());
        }
        let id = self.job();
        let found = if server.is_embedded() {
            // It was started just now, by us, and knows nothing of earlier sessions.
            let ask = || connection.lookup(&id).boxed();
            self.patiently(server, CancelReason::Requested, ask).await?
        } else {
            let ask = || connection.resolve_ambiguous(&id).boxed();
            self.patiently(server, CancelReason::Requested, ask).await?
        };
        if found == Lookup::Absent {
            if self.is_under_way() {
                self.shared.expect_stray(self.at, id);
            }
            return Err(Ending::Lost);
        }
        Ok(true)
    }

    async fn send_inputs(
        &mut self,
        server: &Endpoint,
        rendered: &mut Rendered,
    ) -> Result<(Vec<RunEvent>, Vec<Arc<Artifact>>), Ending> {
        let shared = Arc::clone(&self.shared);
        let (mut events, mut referred) = (Vec::new(), Vec::new());
        self.refused(server, rendered).await?;
        for at in 0..rendered.uploads.len() {
            let upload = &rendered.uploads[at];
            let sources = &shared.plan.sources;
            let too_large =
                check::too_large(rendered, upload, &server.name, sources, setting(server));
            let order = self.order(rendered, upload, too_large.as_ref());
            let began = Instant::now();
            let send = || {
                let sent = shared.transfers.send(&shared.store, server, &order);
                sent.map(|sent| match sent {
                    Ok(sent) => Ok(Ok(sent)),
                    Err(error) => error.complaint().map(Err),
                })
                .boxed()
            };
            let there = self
                .patiently(server, CancelReason::Requested, send)
                .await?
                .map_err(|(class, built)| Failure::one(class, self.about().complain(built)))?;
            if let Some(size) = there.size {
                events.push(RunEvent::TaskUploaded {
                    task: self.name().clone(),
                    name: there.value.clone(),
                    size,
                    seconds: began.elapsed().as_secs_f64(),
                });
            }
            if there.referred
                && let Uploadable::Artifact(artifact) = &upload.file
            {
                referred.push(Arc::clone(artifact));
            }
            rendered.fill(at, &there.value);
        }
        Ok((events, referred))
    }

    fn order<'a>(
        &self,
        rendered: &'a Rendered,
        upload: &'a Upload,
        too_large: Option<&'a Diagnostic>,
    ) -> Order<'a> {
        // After a loss, nothing that was sent before is taken for granted.
        let anew = self.ticket.try_ > 1;
        let class = rendered.graph.nodes.get(&upload.node);
        Order {
            upload,
            class: class.map_or("", |node| node.class_type.as_str()),
            by_reference: !anew && !self.step().transfer_upload,
            anew,
            too_large,
        }
    }

    /// Results that an earlier session named to the server: those of which it did not send a copy.
    fn did_refer(&self, server: &Endpoint, rendered: &Rendered) -> Vec<Arc<Artifact>> {
        let uploads = rendered.uploads.iter();
        uploads
            .filter_map(|upload| {
                let order = self.order(rendered, upload, None);
                let artifact = referable(server, &order)?;
                let copy = self
                    .shared
                    .store
                    .known_upload(&server.url, &artifact.hash)
                    .ok()?;
                copy.is_none().then(|| Arc::clone(artifact))
            })
            .collect()
    }

    /// What the server or its nodes would refuse of the files is said before any of them is sent. How large a result is matters only
    /// when it turns out that it has to be sent.
    async fn refused(&self, server: &Endpoint, rendered: &Rendered) -> Result<(), Ending> {
        if rendered.uploads.is_empty() {
            return Ok(());
        }
        let setting = setting(server);
        let (shared, name) = (Arc::clone(&self.shared), server.name.clone());
        // Only what the look at the files needs goes to the other thread.
        let files = Rendered::clone(rendered);
        let looked = brief(move || {
            let uploads = files.uploads.iter();
            let sources = &shared.plan.sources;
            uploads
                .filter_map(|one| {
                    let large = match one.file {
                        Uploadable::File(_) => {
                            check::too_large(&files, one, &name, sources, setting)
                        }
                        Uploadable::Artifact(_) => None,
                    };
                    large.or_else(|| check::too_wide(&files, one, &name, sources, setting))
                })
                .collect::<Vec<_>>()
        });
        match looked.await {
            Ok(found) if found.is_empty() => Ok(()),
            Ok(found) => {
                let about = self.about();
                let found = found.into_iter().map(|d| about.complain(d));
                Err(Failure::invalid(found.collect()).into())
            }
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// Values that were not known before the run are judged before they are sent. Files are the server's own business: what was
    /// uploaded is there, and of others it knows best.
    fn judge(
        &self,
        rendered: &Rendered,
        catalog: &Catalog,
        changed: &Changed,
    ) -> Result<(), Ending> {
        let options = JudgeOptions {
            targets: (!rendered.targets.is_empty()).then_some(rendered.targets.as_slice()),
            files: &AllThere,
        };
        let verdict = verdict::judge(&rendered.graph, catalog, &options);
        // A plugin's doing is shown where the plugin is declared.
        let by = changed.by.last();
        let by = by.and_then(|name| self.shared.plan.plugins.get(name)?.span);
        let origin_of = |node: &NodeId, input: Option<&str>| match by {
            Some(span) if changed.has(node, input) => Some(Origin::Written(span)),
            _ => rendered.origins.of(node, input),
        };
        let found = check::verdict_diagnostics(
            &verdict,
            &rendered.graph,
            catalog,
            &origin_of,
            &self.shared.plan.sources,
            check::Setting {
                partial: self.step().allow_partial,
                ..check::Setting::default()
            },
        );
        if found.iter().any(|d| d.severity == Severity::Error) {
            let about = self.about();
            let told = found.into_iter().map(|found| {
                let built = about.complain(found);
                match changed.by.as_slice() {
                    [] => built,
                    by => built.help(format!(
                        "the graph was changed before it was submitted, by the plugin{} {}",
                        if by.len() == 1 { "" } else { "s" },
                        list_of(by.iter().map(String::as_str), 8)
                    )),
                }
            });
            return Err(Failure::invalid(told.collect()).into());
        }
        Ok(())
    }

    /// The key for partner nodes goes beside graphs that have some, and beside no other.
    fn extra_data(&self, graph: &Graph, catalog: &Catalog) -> Result<Map<String, Value>, Ending> {
        let mut extra = Map::new();
        let is_partner = |class: &str| catalog.node(class).is_some_and(|node| node.api_node);
        if let Some(key) = &self.shared.plan.partner_key
            && graph.nodes.values().any(|n| is_partner(&n.class_type))
        {
            let key = self.reveal(key)?;
            extra.insert("api_key_comfy_org".to_owned(), Value::String(key));
        }
        Ok(extra)
    }

    /// A text as it leaves kiln, with the values of its secrets.
    pub(super) fn reveal(&self, text: &str) -> Result<String, Ending> {
        let revealed = self.shared.hush.reveal(text);
        revealed.map_err(|error| self.without_secret(&error).into())
    }

    pub(super) fn without_secret(&self, error: &crate::base::secret::MissingSecret) -> Failure {
        let built = Diagnostic::error(&codes::TEMPLATE_FAILED, error.to_string());
        Failure::one(FailureClass::Invalid, self.about().complain(built))
    }
}

/// What the files that a graph takes are judged by on a server.
fn setting(server: &Endpoint) -> check::Setting<'static> {
    check::Setting {
        embedded: server.is_embedded(),
        uploads: Some(server.client().dialect().uploads),
        ..check::Setting::default()
    }
}

fn render_step(
    plan: &Plan,
    task: &TaskPlan,
    results: &Results,
    catalog: &Catalog,
    attempt: u32,
) -> Result<Rendered, Report> {
    let Some(work) = plan.steps[&task.step].workflow() else {
        unreachable!("only a workflow step is rendered as a graph")
    };
    plan::render(plan, task, work, results, Some(catalog), attempt)
}

/// The output nodes that a server is to run.
fn ends(rendered: &Rendered, catalog: &Catalog) -> Vec<NodeId> {
    if !rendered.targets.is_empty() {
        return rendered.targets.clone();
    }
    let ends = |class: &str| {
        let def = catalog.node_or_stand_in(class);
        def.is_some_and(|def| def.output_node)
    };
    let nodes = rendered.graph.nodes.iter();
    nodes
        .filter(|(_, node)| ends(&node.class_type))
        .map(|(id, _)| id.clone())
        .collect()
}

struct AllThere;

impl verdict::FileOracle for AllThere {
    fn exists(&self, _: &str, _: &str, _: &str) -> Option<bool> {
        Some(true)
    }
}

fn classes(graph: &Graph) -> Vec<&str> {
    let mut classes: Vec<&str> = graph
        .nodes
        .values()
        .map(|n| n.class_type.as_str())
        .collect();
    classes.sort_unstable();
    classes.dedup();
    classes
}
